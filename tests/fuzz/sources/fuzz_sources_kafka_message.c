/* Any message is one record of exactly one kind, its slices lie within the batch, and its _id can be stored. The first
 * byte says what the message has; the second, how long its key is. */
#include "lifecycle/document.h"
#include "sources/kafka_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition) {
    if (!condition) __builtin_trap();
}

static void check_inside(const struct source_batch *b, struct slice s) {
    require(s.data >= b->text.data && s.data + s.len <= b->text.data + b->text.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    struct slice rest = slice_make(data + 2, size - 2), key = {0};
    size_t key_len = data[1] * 4U < rest.len ? data[1] * 4U : rest.len;
    take_bytes(&rest, key_len, &key);
    struct kafka_message m = {
        .topic = "t", .partition = 1, .offset = 2, .has_key = data[0] & 1, .has_value = data[0] & 2};
    if (m.has_key) m.key = key;
    if (m.has_value) m.value = rest;
    bool key_is_id = data[0] & 4;
    struct source_batch b;
    struct kafka_filling f;
    kafka_filling_init(&f, &b);
    kafka_filling_add(&f, &m, key_is_id);
    kafka_filling_add(&f, &m, key_is_id);
    kafka_filling_end(&f);
    require(b.count == 2);
    for (size_t i = 0; i < b.count; i++) {
        const struct source_record *r = &b.records[i];
        require((r->document.len > 0 && r->flaw.len == 0) + (r->flaw.len > 0) + r->is_deletion == 1);
        require((r->id.len > 0) == (m.has_key && key_is_id && r->flaw.len == 0));
        require(!r->is_deletion || !m.has_value);
        require(r->id.len <= DOCUMENT_MAX_ID_BYTES && slice_is_utf8(r->id) && !slice_has_nul(r->id));
        require(r->document.len == 0 || r->flaw.len > 0 ||
                (r->document.data[0] == '{' && r->document.data[r->document.len - 1] == '}'));
        require(slice_is(r->origin, "t[1]@2"));
        check_inside(&b, r->document);
        check_inside(&b, r->id);
        check_inside(&b, r->flaw);
    }
    source_batch_done(&b);
    return 0;
}
