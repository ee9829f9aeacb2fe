/* Whatever is read as a position in a bucket is written and read again as the same; nothing else changes one. */
#include "fuzz.h"

#include "sources/s3_position.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    JSON_AUTO(j);
    struct s3_position p, again;
    if (is_err(json_parse(slice_make(data, size), &j))) return 0;
    s3_position_init(&p);
    s3_position_init(&again);
    if (is_ok(s3_position_read(j, &p))) {
        AUTO(json_unref) json_t *written = s3_position_write(&p);
        PROMISE(is_ok(s3_position_read(written, &again)));
        AUTO(json_unref) json_t *twice = s3_position_write(&again);
        PROMISE(json_equal(written, twice));
        if (p.pending_count) s3_position_finish_object(&p, "key", p.pass_began_ms, true);
        s3_position_wants(&p, 1, p.window_ms);
        s3_position_finish_pass(&p);
    } else {
        PROMISE(p.pending_count == 0 && p.window_count == 0 && !p.object_key);
    }
    s3_position_done(&p);
    s3_position_done(&again);
    return 0;
}
