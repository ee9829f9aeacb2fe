/* Records: what parses is what writing it again gives, and keeps its promises. */
#include "fuzz.h"

#include <string.h>

#include "store/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    RECORD_AUTO(record);
    err_forget();
    struct result r = record_parse(slice_make(data, size), &record);
    PROMISE(is_settled(r));
    PROMISE(is_ok(r) || r.code == ERR_CORRUPT);
    if (is_err(r)) return 0;
    BUF_AUTO(again, size);
    PROMISE(is_ok(record_write(&record, &again)));
    PROMISE(slice_equal(buf_slice(&again), slice_make(data, size)));
    uint64_t total = record.content.len;
    for (size_t i = 0; i < record.segment_count; i++)
        total += record.segments[i].size;
    PROMISE(total == record.info.size);
    PROMISE(record.segment_count == 0 || record.content.len == 0);
    for (size_t i = 0; i < record.info.field_count; i++)
        PROMISE(store_info_field(&record.info, record.info.fields[i].name) != NULL);
    return 0;
}
