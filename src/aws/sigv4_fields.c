/* Headers collected for verification, and the payload literal. */
#include <string.h>

#include "aws/sigv4.h"
#include "base/crypto.h"

static void grow(struct sigv4_fields *f) {
    if (f->count + 1 < f->capacity) return;
    f->capacity = f->capacity ? 2 * f->capacity : 32;
    f->list = mem_resize(f->list, f->capacity * sizeof *f->list);
    f->list[f->count] = (struct http_field){0};
}

void sigv4_fields_add(void *arg, const char *name, const char *value) {
    struct sigv4_fields *f = arg;
    grow(f);
    f->list[f->count++] = (struct http_field){name, value};
    f->list[f->count] = (struct http_field){0};
}

const struct http_field *sigv4_fields_list(struct sigv4_fields *f) {
    grow(f);
    return f->list;
}

void sigv4_fields_done(struct sigv4_fields *f) {
    mem_free(f->list);
    *f = (struct sigv4_fields){0};
}

static bool is_sha256(const char *value, uint8_t *ret_sha256) {
    if (strlen(value) / 2 != SHA256_BYTES || strlen(value) % 2 != 0) return false;
    BUF_AUTO(raw, SHA256_BYTES);
    if (is_err(hex_decode(slice_str(value), &raw)) || raw.len != SHA256_BYTES) return false;
    if (ret_sha256) mem_copy(ret_sha256, raw.data, SHA256_BYTES);
    return true;
}

enum sigv4_payload sigv4_payload_parse(const char *value, uint8_t *ret_sha256) {
    static const struct {
        const char *text;
        enum sigv4_payload kind;
    } literals[] = {
        {"UNSIGNED-PAYLOAD", SIGV4_PAYLOAD_UNSIGNED},
        {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", SIGV4_PAYLOAD_STREAMING},
        {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", SIGV4_PAYLOAD_STREAMING_TRAILER},
        {"STREAMING-UNSIGNED-PAYLOAD-TRAILER", SIGV4_PAYLOAD_STREAMING_UNSIGNED_TRAILER},
        {"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", SIGV4_PAYLOAD_STREAMING_ECDSA},
        {"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER", SIGV4_PAYLOAD_STREAMING_ECDSA},
    };
    if (value == NULL) return SIGV4_PAYLOAD_ABSENT;
    for (size_t i = 0; i < ARRAY_LEN(literals); i++)
        if (strcmp(value, literals[i].text) == 0) return literals[i].kind;
    return is_sha256(value, ret_sha256) ? SIGV4_PAYLOAD_SHA256 : SIGV4_PAYLOAD_INVALID;
}
