#include "gateway/s3_chunked.h"

#include <ctype.h>
#include <string.h>

#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SIGNATURE_EXTENSION "chunk-signature="
#define SIGNATURE_TRAILER "x-amz-trailer-signature"

void s3_chunked_start(enum sigv4_payload form, uint64_t decoded_length, const struct s3_chunked_seed *seed,
                      struct s3_chunked *ret) {
    *ret = (struct s3_chunked){.is_signed = form != SIGV4_PAYLOAD_STREAMING_UNSIGNED_TRAILER,
                               .has_trailer = form != SIGV4_PAYLOAD_STREAMING,
                               .seed = *seed,
                               .expected = decoded_length};
    if (ret->is_signed) mem_copy(ret->previous, seed->signature, sizeof ret->previous);
}

void s3_chunked_done(struct s3_chunked *c) {
    c->chunk = digest_free(c->chunk);
}

static bool refuse(struct s3_refusal *refusal, enum s3_error error, const char *what) {
    s3_refuse(refusal, error, "%s", what);
    return false;
}

static bool malformed(struct s3_refusal *refusal) {
    return refuse(refusal, S3_ERR_INVALID_REQUEST, "the body is not well-formed aws-chunked");
}

static bool bad_trailer(struct s3_refusal *refusal) {
    return refuse(refusal, S3_ERR_MALFORMED_TRAILER, s3_error_text(S3_ERR_MALFORMED_TRAILER));
}

static bool failed_hashing(struct s3_refusal *refusal) {
    return refuse(refusal, S3_ERR_INTERNAL, "the body could not be hashed");
}

/* Collects up to the line feed. *ret_whole: c->line holds a line, without its ending. */
static bool take_line(struct s3_chunked *c, struct slice *in, bool *ret_whole, struct s3_refusal *refusal) {
    *ret_whole = false;
    while (in->len > 0) {
        char byte = (char)in->data[0];
        *in = slice_make(in->data + 1, in->len - 1);
        if (byte == '\n') {
            if (c->line_len > 0 && c->line[c->line_len - 1] == '\r') c->line_len--;
            c->line[c->line_len] = '\0';
            c->line_len = 0;
            *ret_whole = true;
            return strchr(c->line, '\r') == NULL || malformed(refusal);
        }
        if (byte == '\0' || c->line_len == sizeof c->line - 1) return malformed(refusal);
        c->line[c->line_len++] = byte;
    }
    return true;
}

static bool take_signature(const char *text, char ret[static SIGV4_SIGNATURE_BYTES]) {
    size_t n = strspn(text, "0123456789abcdef");
    if (n != SIGV4_SIGNATURE_BYTES - 1 || text[n] != '\0') return false;
    mem_copy(ret, text, SIGV4_SIGNATURE_BYTES);
    return true;
}

/* "10000;chunk-signature=..." */
static bool begin_chunk(struct s3_chunked *c, struct s3_refusal *refusal) {
    const char *p = c->line;
    uint64_t size = 0;
    for (; isxdigit((unsigned char)*p); p++) {
        if (p - c->line == 15) return malformed(refusal);
        int digit = isdigit((unsigned char)*p) ? *p - '0' : (*p | 0x20) - 'a' + 10;
        size = size << 4 | (unsigned)digit;
    }
    if (p == c->line) return malformed(refusal);
    if (c->is_signed) {
        size_t n = strlen(SIGNATURE_EXTENSION);
        if (*p != ';' || strncmp(p + 1, SIGNATURE_EXTENSION, n) != 0 || !take_signature(p + 1 + n, c->claimed))
            return refuse(refusal, S3_ERR_INVALID_REQUEST, "a chunk has no well-formed chunk-signature");
    } else if (*p != '\0' && *p != ';') {
        return malformed(refusal);
    }
    if (size > c->expected - c->decoded)
        return refuse(refusal, S3_ERR_INCOMPLETE_BODY, "the body is longer than x-amz-decoded-content-length");
    c->left = size;
    if (c->is_signed && is_err(digest_new(DIGEST_SHA256, &c->chunk))) return failed_hashing(refusal);
    return true;
}

/* Is `claimed` the signature that follows in the chain? `kind` and `hashes` are what the string to sign differs in. */
static bool check_signature(struct s3_chunked *c, const char *kind, const char *hashes, struct s3_refusal *refusal) {
    BUF_AUTO(text, 1024);
    char signature[SIGV4_SIGNATURE_BYTES];
    buf_printf(&text, "%s\n%s\n%s\n%s\n%s", kind, c->seed.amz_date, c->seed.scope, c->previous, hashes);
    if (is_err(buf_check(&text)) || is_err(sigv4_signature(c->seed.signing_key, buf_slice(&text), signature)))
        return failed_hashing(refusal);
    if (!secret_equal(slice_make(signature, sizeof signature), slice_make(c->claimed, sizeof c->claimed)))
        return refuse(refusal, S3_ERR_SIGNATURE_MISMATCH, "the signature of a chunk or of the trailer is not right");
    mem_copy(c->previous, signature, sizeof c->previous);
    return true;
}

static bool end_chunk(struct s3_chunked *c, struct s3_refusal *refusal) {
    if (!c->is_signed) return true;
    uint8_t sum[SHA256_BYTES];
    struct result r = digest_finish(c->chunk, sum);
    c->chunk = digest_free(c->chunk);
    if (is_err(r)) return failed_hashing(refusal);
    BUF_AUTO(hashes, 256);
    buf_append_str(&hashes, EMPTY_SHA256 "\n");
    hex_encode(slice_make(sum, sizeof sum), &hashes);
    return check_signature(c, "AWS4-HMAC-SHA256-PAYLOAD", buf_str(&hashes), refusal);
}

static bool check_trailer_signature(struct s3_chunked *c, struct s3_refusal *refusal) {
    BUF_AUTO(lines, 2 * S3_CHUNKED_LINE_BYTES);
    const char *name, *value;
    if (s3_chunked_trailer(c, &name, &value)) buf_printf(&lines, "%s:%s\n", name, value);
    uint8_t sum[SHA256_BYTES];
    if (is_err(sha256(buf_slice(&lines), sum))) return failed_hashing(refusal);
    BUF_AUTO(hex, 2 * SHA256_BYTES + 1);
    hex_encode(slice_make(sum, sizeof sum), &hex);
    c->trailer_signed = true;
    return check_signature(c, "AWS4-HMAC-SHA256-TRAILER", buf_str(&hex), refusal);
}

/* "name:value", with the name in lower case and no space around either. */
static bool take_trailer(struct s3_chunked *c, struct s3_refusal *refusal) {
    char *colon = strchr(c->line, ':');
    if (colon == NULL || colon == c->line || c->trailer_signed) return bad_trailer(refusal);
    *colon = '\0';
    char *value = colon + 1 + strspn(colon + 1, " \t");
    for (char *end = value + strlen(value); end > value && (end[-1] == ' ' || end[-1] == '\t');)
        *--end = '\0';
    for (char *p = c->line; *p != '\0'; p++)
        *p = (char)tolower((unsigned char)*p);
    if (c->is_signed && strcmp(c->line, SIGNATURE_TRAILER) == 0) {
        if (!take_signature(value, c->claimed)) return bad_trailer(refusal);
        return check_trailer_signature(c, refusal);
    }
    if (c->trailer[0] != '\0') return bad_trailer(refusal);
    size_t name_len = strlen(c->line), value_len = strlen(value);
    mem_copy(c->trailer, c->line, name_len + 1);
    mem_copy(c->trailer + name_len + 1, value, value_len + 1);
    return true;
}

static bool take_trailer_line(struct s3_chunked *c, struct s3_refusal *refusal) {
    if (c->line[0] != '\0') {
        if (c->has_trailer) return take_trailer(c, refusal);
        return bad_trailer(refusal);
    }
    /* An empty line is the end, but clients exist that put one before the trailer's signature. */
    if (c->is_signed && c->has_trailer && !c->trailer_signed) return true;
    c->state = S3_CHUNKED_END;
    return true;
}

static bool take_size_line(struct s3_chunked *c, struct s3_refusal *refusal) {
    if (!begin_chunk(c, refusal)) return false;
    c->state = S3_CHUNKED_DATA;
    if (c->left > 0) return true;
    c->state = S3_CHUNKED_TRAILER;
    return end_chunk(c, refusal);
}

static bool take_data(struct s3_chunked *c, struct slice *in, struct slice *ret_data, struct s3_refusal *refusal) {
    size_t n = in->len < c->left ? in->len : (size_t)c->left;
    *ret_data = slice_make(in->data, n);
    *in = slice_make(in->data + n, in->len - n);
    c->left -= n;
    c->decoded += n;
    if (c->is_signed && is_err(digest_update(c->chunk, *ret_data))) return failed_hashing(refusal);
    if (c->left > 0) return true;
    c->state = S3_CHUNKED_DATA_END;
    return end_chunk(c, refusal);
}

bool s3_chunked_next(struct s3_chunked *c, struct slice *in, struct slice *ret_data, struct s3_refusal *refusal) {
    *ret_data = (struct slice){0};
    if (in->len == 0) return true;
    if (c->state == S3_CHUNKED_END) return malformed(refusal);
    if (c->state == S3_CHUNKED_DATA) return take_data(c, in, ret_data, refusal);
    bool whole = false;
    if (!take_line(c, in, &whole, refusal)) return false;
    if (!whole) return true;
    if (c->state == S3_CHUNKED_TRAILER) return take_trailer_line(c, refusal);
    if (c->state == S3_CHUNKED_SIZE) return take_size_line(c, refusal);
    if (c->line[0] != '\0') return malformed(refusal);
    c->state = S3_CHUNKED_SIZE;
    return true;
}

bool s3_chunked_finish(const struct s3_chunked *c, struct s3_refusal *refusal) {
    if (c->state != S3_CHUNKED_END)
        return refuse(refusal, S3_ERR_INCOMPLETE_BODY, "the body ends before its last chunk");
    if (c->decoded != c->expected)
        return refuse(refusal, S3_ERR_INCOMPLETE_BODY, "the body is shorter than x-amz-decoded-content-length");
    return true;
}

bool s3_chunked_trailer(const struct s3_chunked *c, const char **ret_name, const char **ret_value) {
    if (c->trailer[0] == '\0') return false;
    *ret_name = c->trailer;
    *ret_value = c->trailer + strlen(c->trailer) + 1;
    return true;
}
