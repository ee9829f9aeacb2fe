#include "store/sealed.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static const uint8_t magic[SEALED_MAGIC_BYTES] = "LOCKSEAL";

enum { CHUNK = LEASE_CHUNK_BYTES, SEALED_CHUNK = LEASE_CHUNK_BYTES + GCM_TAG_BYTES, AAD_BYTES = SHA256_BYTES + 8 + 1 };

/* ---- Header ---- */

struct result sealed_header_parse(struct slice bytes, struct sealed_header *ret) {
    struct slice at = bytes, field;
    struct sealed_header h = {0};
    uint16_t version, arn_len;
    CHECK(take_bytes(&at, SEALED_MAGIC_BYTES, &field) && slice_equal(field, slice_make(magic, sizeof magic)),
          ERR_CORRUPT, "not a sealed file");
    CHECK(take_u16(&at, &version), ERR_CORRUPT, "a sealed file ends inside of its header");
    CHECK(version == SEALED_VERSION || version == SEALED_VERSION_CLEAR, ERR_CORRUPT,
          "a sealed file of format version %u, which is not known here", version);
    h.version = version;
    CHECK(take_u16(&at, &arn_len) && arn_len >= 1 && arn_len <= SEALED_ARN_MAX_BYTES &&
              take_bytes(&at, arn_len, &h.key_arn),
          ERR_CORRUPT, "a sealed file ends inside of its header");
    CHECK(take_bytes(&at, LEASE_BRANCH_ID_BYTES, &field), ERR_CORRUPT, "a sealed file ends inside of its header");
    mem_copy(h.branch, field.data, field.len);
    CHECK(take_bytes(&at, LEASE_SALT_BYTES, &field), ERR_CORRUPT, "a sealed file ends inside of its header");
    mem_copy(h.salt, field.data, field.len);
    h.len = bytes.len - at.len;
    *ret = h;
    return OK;
}

static void header_write(unsigned version, const char *key_arn, const uint8_t *branch, const uint8_t *salt,
                         struct buf *out) {
    buf_append(out, magic, sizeof magic);
    put_u16(out, (uint16_t)version);
    put_u16(out, (uint16_t)strlen(key_arn));
    buf_append_str(out, key_arn);
    buf_append(out, branch, LEASE_BRANCH_ID_BYTES);
    buf_append(out, salt, LEASE_SALT_BYTES);
}

/* ---- Chunks ---- */

static uint64_t chunk_count(uint64_t plain_bytes) {
    return plain_bytes == 0 ? 1 : (plain_bytes - 1) / CHUNK + 1;
}

static size_t chunk_len(uint64_t plain_bytes, uint64_t index) {
    uint64_t rest = plain_bytes - index * CHUNK;
    return rest > CHUNK ? CHUNK : (size_t)rest;
}

uint64_t sealed_file_bytes(size_t header_bytes, uint64_t plain_bytes) {
    return header_bytes + plain_bytes + chunk_count(plain_bytes) * GCM_TAG_BYTES;
}

struct aad {
    uint8_t bytes[AAD_BYTES];
};

static struct result aad_init(struct slice header, struct aad *ret) {
    return sha256(header, ret->bytes);
}

static struct slice aad_at(struct aad *a, uint64_t index, bool final) {
    for (int i = 0; i < 8; i++)
        a->bytes[SHA256_BYTES + i] = (uint8_t)(index >> (56 - 8 * i));
    a->bytes[AAD_BYTES - 1] = final;
    return slice_make(a->bytes, sizeof a->bytes);
}

/* ---- Whole ---- */

static void cipher_cleanup(struct lease_cipher **c) {
    lease_cipher_free(*c);
}

/* A cipher for a new file, and its header. */
static struct result begin(struct lease *lease, unsigned version, struct slice context, struct buf *header,
                           struct aad *aad, struct lease_cipher **ret) {
    AUTO(cipher_cleanup) struct lease_cipher *cipher = NULL;
    uint8_t branch[LEASE_BRANCH_ID_BYTES], salt[LEASE_SALT_BYTES];
    TRY(lease_cipher_new_seal(lease, context, branch, salt, &cipher));
    size_t before = header->len;
    header_write(version, lease_key_arn(lease), branch, salt, header);
    TRY(buf_check(header));
    TRY(aad_init(slice_make(header->data + before, header->len - before), aad));
    *ret = TAKE(cipher);
    return OK;
}

static struct result chunk_seal(struct lease_cipher *c, unsigned version, uint64_t index, bool final, struct slice aad,
                                struct slice in, uint8_t *out) {
    return version == SEALED_VERSION ? lease_cipher_seal(c, index, final, aad, in, out)
                                     : lease_cipher_mark(c, index, final, aad, in, out);
}

static struct result chunk_open(struct lease_cipher *c, unsigned version, uint64_t index, bool final, struct slice aad,
                                struct slice in, uint8_t *out) {
    return version == SEALED_VERSION ? lease_cipher_open(c, index, final, aad, in, out)
                                     : lease_cipher_verify(c, index, final, aad, in, out);
}

struct result sealed_seal(struct lease *lease, unsigned version, struct slice context, struct slice plain,
                          struct buf *out) {
    AUTO(cipher_cleanup) struct lease_cipher *cipher = NULL;
    struct aad aad;
    TRY(begin(lease, version, context, out, &aad, &cipher));
    uint64_t count = chunk_count(plain.len);
    for (uint64_t i = 0; i < count; i++) {
        struct slice chunk = slice_make(plain.data + i * CHUNK, chunk_len(plain.len, i));
        bool final = i + 1 == count;
        uint8_t *to = buf_reserve(out, chunk.len + GCM_TAG_BYTES);
        if (!to) return buf_check(out);
        TRY(chunk_seal(cipher, version, i, final, aad_at(&aad, i, final), chunk, to));
        out->len += chunk.len + GCM_TAG_BYTES;
    }
    return OK;
}

struct result sealed_open(struct lease *lease, struct slice context, struct slice sealed, struct buf *out) {
    struct sealed_header header;
    TRY(sealed_header_parse(sealed, &header));
    struct aad aad;
    TRY(aad_init(slice_make(sealed.data, header.len), &aad));
    AUTO(cipher_cleanup) struct lease_cipher *cipher = NULL;
    TRY(lease_cipher_new_open(lease, header.branch, header.salt, context, &cipher));
    struct slice rest = slice_make(sealed.data + header.len, sealed.len - header.len);
    for (uint64_t i = 0;; i++) {
        bool final = rest.len <= SEALED_CHUNK;
        size_t n = final ? rest.len : SEALED_CHUNK;
        /* Only a file without content has an empty chunk. */
        CHECK(n > GCM_TAG_BYTES || (n == GCM_TAG_BYTES && i == 0), ERR_CORRUPT, "a sealed file ends early");
        uint8_t *to = buf_reserve(out, n);
        if (!to) return buf_check(out);
        TRY(chunk_open(cipher, header.version, i, final, aad_at(&aad, i, final), slice_make(rest.data, n), to));
        out->len += n - GCM_TAG_BYTES;
        if (final) return OK;
        rest = slice_make(rest.data + n, rest.len - n);
    }
}

/* ---- Writing ---- */

struct sealed_writer {
    struct sealed_sink sink;
    int fd; /* of the sink into a file; borrowed */
    unsigned version;
    struct lease_cipher *cipher;
    struct aad aad;
    uint64_t index;
    size_t len;                  /* plaintext waiting in chunk */
    uint8_t chunk[SEALED_CHUNK]; /* sealed in place, or straight from where it came */
};

struct sealed_writer *sealed_writer_free(struct sealed_writer *w) {
    if (!w) return NULL;
    lease_cipher_free(w->cipher);
    wipe(w->chunk, w->len);
    mem_free(w);
    return NULL;
}

static void writer_cleanup(struct sealed_writer **w) {
    sealed_writer_free(*w);
}

static struct result writer_begin(struct sealed_writer *w, struct lease *lease, struct slice context) {
    BUF_AUTO(header, SEALED_HEADER_MAX_BYTES);
    TRY(begin(lease, w->version, context, &header, &w->aad, &w->cipher));
    return w->sink.write(w->sink.arg, buf_slice(&header));
}

struct result sealed_writer_new(struct lease *lease, unsigned version, struct slice context,
                                const struct sealed_sink *sink, struct sealed_writer **ret) {
    AUTO(writer_cleanup) struct sealed_writer *w = mem_alloc(sizeof *w);
    w->sink = *sink;
    w->version = version;
    TRY(writer_begin(w, lease, context));
    *ret = TAKE(w);
    return OK;
}

static struct result write_to_file(void *arg, struct slice bytes) {
    const struct sealed_writer *w = arg;
    return file_write_all(w->fd, bytes, "a sealed file");
}

struct result sealed_writer_new_file(struct lease *lease, struct slice context, int fd, struct sealed_writer **ret) {
    AUTO(writer_cleanup) struct sealed_writer *w = mem_alloc(sizeof *w);
    w->fd = fd;
    w->sink = (struct sealed_sink){write_to_file, w};
    w->version = SEALED_VERSION;
    TRY(writer_begin(w, lease, context));
    *ret = TAKE(w);
    return OK;
}

static struct result writer_seal(struct sealed_writer *w, bool final, struct slice chunk) {
    TRY(chunk_seal(w->cipher, w->version, w->index, final, aad_at(&w->aad, w->index, final), chunk, w->chunk));
    w->index++;
    w->len = 0;
    return w->sink.write(w->sink.arg, slice_make(w->chunk, chunk.len + GCM_TAG_BYTES));
}

struct result sealed_writer_append(struct sealed_writer *w, struct slice plain) {
    while (plain.len > 0) {
        /* A full chunk waits until it is known that it isn't the last. */
        if (w->len == CHUNK) TRY(writer_seal(w, false, slice_make(w->chunk, CHUNK)));
        size_t n = plain.len < CHUNK - w->len ? plain.len : CHUNK - w->len;
        if (w->len == 0 && plain.len > CHUNK) {
            TRY(writer_seal(w, false, slice_make(plain.data, CHUNK)));
        } else {
            mem_copy(w->chunk + w->len, plain.data, n);
            w->len += n;
        }
        plain = slice_make(plain.data + n, plain.len - n);
    }
    return OK;
}

struct result sealed_writer_finish(struct sealed_writer *w) {
    return writer_seal(w, true, slice_make(w->chunk, w->len));
}

/* ---- Reading ---- */

struct sealed_reader {
    struct sealed_source source;
    int fd; /* of the source from a file */
    unsigned version;
    struct lease_cipher *cipher;
    struct aad aad;
    size_t header_len;
    uint64_t plain_bytes;
    uint8_t sealed[SEALED_CHUNK];
};

struct sealed_reader *sealed_reader_free(struct sealed_reader *r) {
    if (!r) return NULL;
    lease_cipher_free(r->cipher);
    if (r->source.done) r->source.done(r->source.arg);
    mem_free(r);
    return NULL;
}

static void reader_cleanup(struct sealed_reader **r) {
    sealed_reader_free(*r);
}

static struct result reader_begin(struct sealed_reader *r, const struct sealed_source *source, struct lease *lease,
                                  struct slice context, uint64_t plain_bytes) {
    uint64_t size;
    TRY(source->size(source->arg, &size));
    CHECK(size >= SEALED_HEADER_MIN_BYTES && plain_bytes <= SEALED_PLAIN_MAX_BYTES, ERR_CORRUPT,
          "a sealed file ends early");
    uint8_t bytes[SEALED_HEADER_MAX_BYTES];
    size_t n = size < SEALED_HEADER_MAX_BYTES ? (size_t)size : SEALED_HEADER_MAX_BYTES;
    TRY(source->read(source->arg, 0, bytes, n));
    struct sealed_header header;
    TRY(sealed_header_parse(slice_make(bytes, n), &header));
    CHECK(size == sealed_file_bytes(header.len, plain_bytes), ERR_CORRUPT,
          "a sealed file has another length than its record says");
    r->version = header.version;
    r->header_len = header.len;
    r->plain_bytes = plain_bytes;
    TRY(aad_init(slice_make(bytes, header.len), &r->aad));
    return lease_cipher_new_open(lease, header.branch, header.salt, context, &r->cipher);
}

struct result sealed_reader_new(struct lease *lease, struct slice context, const struct sealed_source *source,
                                uint64_t plain_bytes, struct sealed_reader **ret) {
    AUTO(reader_cleanup) struct sealed_reader *r = mem_alloc(sizeof *r);
    TRY(reader_begin(r, source, lease, context, plain_bytes));
    r->source = *source;
    *ret = TAKE(r);
    return OK;
}

static struct result read_file(void *arg, uint64_t offset, uint8_t *to, size_t n) {
    const struct sealed_reader *r = arg;
    while (n > 0) {
        ssize_t got = pread(r->fd, to, n, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return err_from_errno(errno, "reading a sealed file");
        CHECK(got > 0, ERR_CORRUPT, "a sealed file ends early");
        to += got;
        offset += (uint64_t)got;
        n -= (size_t)got;
    }
    return OK;
}

static struct result size_of_file(void *arg, uint64_t *ret) {
    const struct sealed_reader *r = arg;
    struct stat st;
    if (fstat(r->fd, &st) != 0) return err_from_errno(errno, "reading a sealed file");
    *ret = (uint64_t)st.st_size;
    return OK;
}

static void close_file(void *arg) {
    struct sealed_reader *r = arg;
    fd_close(&r->fd);
}

struct result sealed_reader_new_file(struct lease *lease, struct slice context, int fd, uint64_t plain_bytes,
                                     struct sealed_reader **ret) {
    AUTO(reader_cleanup) struct sealed_reader *r = mem_alloc(sizeof *r);
    r->fd = fd;
    const struct sealed_source source = {read_file, size_of_file, close_file, r};
    TRY(reader_begin(r, &source, lease, context, plain_bytes));
    r->source = source;
    *ret = TAKE(r);
    return OK;
}

struct result sealed_reader_chunk(struct sealed_reader *r, uint64_t index, uint8_t *out, size_t *ret_len) {
    uint64_t count = chunk_count(r->plain_bytes);
    CHECK(index < count, ERR_INTERNAL, "a chunk past the end");
    size_t len = chunk_len(r->plain_bytes, index);
    TRY(r->source.read(r->source.arg, r->header_len + index * SEALED_CHUNK, r->sealed, len + GCM_TAG_BYTES));
    bool final = index + 1 == count;
    TRY(chunk_open(r->cipher, r->version, index, final, aad_at(&r->aad, index, final),
                   slice_make(r->sealed, len + GCM_TAG_BYTES), out));
    *ret_len = len;
    return OK;
}
