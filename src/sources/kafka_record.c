#include "sources/kafka_record.h"

#include <assert.h>
#include <inttypes.h>

#include "base/crypto.h"
#include "lifecycle/document.h"
#include "lifecycle/scan.h"

enum {
    TEXT_MAX_BYTES = 1 << 30,
    FIRST_RECORDS = 64,
    BASE64_MAX_KEY_BYTES = 300,
    EXCERPT_BYTES = 2048,                              /* of a value that is no document */
    BESIDE_VALUE_BYTES = DOCUMENT_MAX_ID_BYTES + 1024, /* id, origin, flaw */
};

void kafka_filling_init(struct kafka_filling *f, struct source_batch *batch) {
    *batch = (struct source_batch){0};
    buf_init_wiping(&batch->text, TEXT_MAX_BYTES);
    *f = (struct kafka_filling){.batch = batch};
}

bool kafka_filling_is_full(const struct kafka_filling *f, const struct kafka_message *m) {
    const struct source_batch *b = f->batch;
    if (b->count == 0) return false;
    return b->count >= SOURCE_BATCH_MAX_RECORDS ||
           b->text.len + m->value.len + BESIDE_VALUE_BYTES > SOURCE_BATCH_MAX_BYTES;
}

void kafka_id_of_key(struct slice key, struct buf *out) {
    bool is_text = key.len > 0 && key.len <= DOCUMENT_MAX_ID_BYTES && slice_is_utf8(key) && !slice_has_nul(key) &&
                   !slice_starts_with(key, "base64:") && !slice_starts_with(key, "sha256:");
    if (is_text) {
        buf_append_slice(out, key);
        return;
    }
    if (key.len <= BASE64_MAX_KEY_BYTES) {
        buf_append_str(out, "base64:");
        base64_encode(key, out);
        return;
    }
    uint8_t digest[SHA256_BYTES] = {0};
    result_ignore(sha256(key, digest)); /* fails only if OpenSSL has no SHA-256 at all */
    buf_append_str(out, "sha256:");
    hex_encode(slice_make(digest, sizeof digest), out);
}

/* The value's JSON object without the white space around it. */
static struct result find_object(struct slice value, struct slice *ret) {
    struct scan s;
    scan_init(&s, value);
    CHECK(value.len > 0, ERR_INVALID, "an empty value");
    CHECK(scan_peek(&s) == '{', ERR_INVALID, "the value is not a JSON object");
    TRY(scan_value(&s, ret, NULL));
    return scan_end(&s);
}

/* Appends; the slice has the length only, as the text may still move: kafka_filling_end() gives it its place. */
static struct slice put(struct buf *text, struct slice s) {
    buf_append_slice(text, s);
    return slice_make(NULL, s.len);
}

static struct slice excerpt(struct slice value) {
    return slice_make(value.data, value.len < EXCERPT_BYTES ? value.len : EXCERPT_BYTES);
}

void kafka_filling_add(struct kafka_filling *f, const struct kafka_message *m, bool key_is_id) {
    struct source_batch *b = f->batch;
    if (b->count == f->capacity) {
        f->capacity = f->capacity ? f->capacity * 2 : FIRST_RECORDS;
        b->records = mem_resize(b->records, f->capacity * sizeof *b->records);
    }
    struct source_record *r = &b->records[b->count++];
    *r = (struct source_record){0};
    bool has_id = m->has_key && key_is_id;
    struct slice document = {0};
    err_forget();
    if (m->has_value) {
        if (is_ok(find_object(m->value, &document))) r->document = put(&b->text, document);
    } else if (has_id) {
        r->is_deletion = true;
    } else if (m->has_key) {
        err_note("no value: keys don't name documents here (key_is_id), so that nothing can be deleted by them");
    } else {
        err_note("neither a value nor a key");
    }
    bool is_flaw = !r->is_deletion && r->document.len == 0;
    if (is_flaw) r->document = put(&b->text, excerpt(m->value));
    if (has_id && !is_flaw) {
        size_t at = b->text.len;
        kafka_id_of_key(m->key, &b->text);
        r->id.len = b->text.len - at;
    }
    size_t at = b->text.len;
    buf_printf(&b->text, "%s[%d]@%" PRId64, m->topic, m->partition, m->offset);
    r->origin.len = b->text.len - at;
    if (is_flaw) r->flaw = put(&b->text, slice_str(err_detail()));
}

void kafka_filling_end(struct kafka_filling *f) {
    struct source_batch *b = f->batch;
    assert(!b->text.overflowed); /* librdkafka takes no message near that size */
    const uint8_t *at = b->text.data;
    for (size_t i = 0; i < b->count; i++) {
        /* In the order in which kafka_filling_add appends them. */
        struct slice *const slices[] = {&b->records[i].document, &b->records[i].id, &b->records[i].origin,
                                        &b->records[i].flaw};
        for (size_t k = 0; k < ARRAY_LEN(slices); k++) {
            slices[k]->data = at;
            at += slices[k]->len;
        }
    }
}
