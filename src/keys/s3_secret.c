#include "keys/s3_secret.h"

#include <string.h>

#include "base/crypto.h"

enum { TEXT_MAX_BYTES = 2048, RAW_BYTES = 30 };

static struct result add_text(struct buf *info, const char *text) {
    size_t len = strlen(text);
    CHECK(len >= 1 && len <= TEXT_MAX_BYTES, ERR_INVALID, "a secret is derived from texts of 1 to %d bytes",
          TEXT_MAX_BYTES);
    uint8_t length[2] = {(uint8_t)(len >> 8), (uint8_t)len};
    buf_append(info, length, sizeof length);
    buf_append(info, text, len);
    return OK;
}

struct result s3_secret_derive(struct slice name_key, const char *org, const char *region, const char *access_key_id,
                               char ret[static S3_SECRET_CHARS + 1]) {
    static const char label[] = "lockset s3 secret 1"; /* its NUL ends it */
    BUF_AUTO(info, 3 * (TEXT_MAX_BYTES + 2) + sizeof label);
    buf_append(&info, label, sizeof label);
    TRY(add_text(&info, org));
    TRY(add_text(&info, region));
    TRY(add_text(&info, access_key_id));
    TRY(buf_check(&info));
    uint8_t raw[RAW_BYTES];
    TRY(hkdf_sha256(name_key, (struct slice){0}, buf_slice(&info), raw, sizeof raw));
    AUTO(buf_done) struct buf text;
    buf_init_wiping(&text, S3_SECRET_CHARS + 8);
    base64url_encode(slice_make(raw, sizeof raw), &text);
    wipe(raw, sizeof raw);
    TRY(buf_check(&text));
    CHECK(text.len == S3_SECRET_CHARS, ERR_INTERNAL, "a secret of %zu characters", text.len);
    mem_copy(ret, text.data, S3_SECRET_CHARS);
    ret[S3_SECRET_CHARS] = '\0';
    return OK;
}
