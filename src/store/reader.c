#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "store/store_priv.h"

struct store_reader {
    struct store *store;
    struct record record;
    uint8_t tag[NAME_TAG_BYTES];
    bool pinned;
    /* The body that was read last, and its chunk that was opened last. */
    struct sealed_reader *body;
    size_t segment;
    uint64_t segment_start;
    bool has_chunk;
    uint64_t chunk_index;
    size_t chunk_len;
    uint8_t chunk[LEASE_CHUNK_BYTES];
};

const struct record *store_reader_record(const struct store_reader *r) {
    return &r->record;
}

const uint8_t *store_reader_tag(const struct store_reader *r) {
    return r->tag;
}

const struct store_info *store_reader_info(const struct store_reader *r) {
    return &r->record.info;
}

struct store_reader *store_reader_free(struct store_reader *r) {
    if (!r) return NULL;
    sealed_reader_free(r->body);
    if (r->pinned) {
        store_lock(r->store);
        bodies_unpin(r->store, r->tag);
        store_unlock(r->store);
    }
    record_done(&r->record);
    wipe(r->chunk, sizeof r->chunk);
    mem_free(r);
    return NULL;
}

/* The record must be the one that the file name announces: same key, version, size, ETag. */
static struct result record_matches(const struct record *record, const char *key, const struct name_summary *summary) {
    CHECK(record->type == RECORD_OBJECT && strcmp(record->info.key, key) == 0 &&
              record->sequence == summary->sequence && record->info.size == summary->size &&
              record->info.mtime_ms == summary->mtime_ms && store_etag_equal(&record->info.etag, &summary->etag),
          ERR_CORRUPT, "a record and its file name tell different things");
    return OK;
}

static struct result read_record(struct store *s, const char *key, const struct store_located *found, int fd,
                                 struct record *record) {
    BUF_AUTO(context, STORE_CONTEXT_MAX_BYTES);
    TRY(store_context(s, "object", slice_make(found->tag, sizeof found->tag), &context));
    TRY(store_read_record(s, fd, buf_slice(&context), record));
    return record_matches(record, key, &found->summary);
}

struct result store_reader_new(struct store *s, const char *key, struct store_reader **ret) {
    struct store_located found;
    TRY(store_locate(s, key, &found));
    FD_AUTO(fd) = found.fd;
    AUTO(store_reader_free_auto) struct store_reader *r = mem_alloc(sizeof *r);
    record_init(&r->record);
    r->store = s;
    r->pinned = true;
    mem_copy(r->tag, found.tag, sizeof r->tag);
    TRY(read_record(s, key, &found, fd, &r->record));
    *ret = TAKE(r);
    return OK;
}

struct result store_head(struct store *s, const char *key, struct store_info *ret) {
    AUTO(store_reader_free_auto) struct store_reader *r = NULL;
    TRY(store_reader_new(s, key, &r));
    *ret = r->record.info;
    r->record.info = (struct store_info){0};
    return OK;
}

struct result store_reader_part(const struct store_reader *r, unsigned number, uint64_t *ret_offset, uint64_t *ret_size,
                                unsigned *ret_count) {
    const struct record *record = &r->record;
    if (record->part_count == 0) {
        CHECK(number == 1, ERR_NOT_FOUND, "the object has one part only");
        *ret_offset = 0;
        *ret_size = record->info.size;
        *ret_count = 1;
        return OK;
    }
    uint64_t offset = 0;
    size_t segment = 0;
    for (size_t i = 0; i < record->part_count; i++) {
        uint64_t size = 0;
        for (size_t last = segment + record->parts[i].segments; segment < last; segment++)
            size += record->segments[segment].size;
        if (record->parts[i].number == number) {
            *ret_offset = offset;
            *ret_size = size;
            *ret_count = (unsigned)record->part_count;
            return OK;
        }
        offset += size;
    }
    FAIL(ERR_NOT_FOUND, "the object has no part %u", number);
}

static struct result open_body(struct store_reader *r, size_t segment) {
    struct store *s = r->store;
    char path[STORE_PATH_BYTES];
    bodies_path(r->tag, segment, path);
    FD_AUTO(fd) = openat(s->bodies_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return err_make(ERR_CORRUPT, "a body of the object is missing");
    if (fd < 0) return err_from_errno(errno, "opening a body");
    BUF_AUTO(context, STORE_CONTEXT_MAX_BYTES);
    TRY(bodies_context(s, r->record.segments[segment].body_id, &context));
    struct sealed_reader *body;
    TRY(sealed_reader_new(s->lease, buf_slice(&context), fd, r->record.segments[segment].size, &body));
    fd = -1; /* the reader's now */
    sealed_reader_free(r->body);
    r->body = body;
    r->has_chunk = false;
    return OK;
}

/* Makes the body that holds an offset (inside of the object) the open one. */
static struct result seek(struct store_reader *r, uint64_t offset) {
    size_t segment = r->body && offset >= r->segment_start ? r->segment : 0;
    uint64_t start = segment ? r->segment_start : 0;
    while (offset - start >= r->record.segments[segment].size)
        start += r->record.segments[segment++].size;
    if (!r->body || segment != r->segment) {
        TRY(open_body(r, segment));
        r->segment = segment;
    }
    r->segment_start = start;
    return OK;
}

/* Copies what one chunk can give of [offset, offset + max). */
static struct result read_chunk(struct store_reader *r, uint64_t offset, uint8_t *to, size_t max, size_t *ret_len) {
    TRY(seek(r, offset));
    uint64_t inside = offset - r->segment_start, index = inside / LEASE_CHUNK_BYTES;
    size_t skip = (size_t)(inside % LEASE_CHUNK_BYTES);
    if (skip == 0 && max >= LEASE_CHUNK_BYTES) return sealed_reader_chunk(r->body, index, to, ret_len);
    if (!r->has_chunk || r->chunk_index != index) {
        r->has_chunk = false;
        TRY(sealed_reader_chunk(r->body, index, r->chunk, &r->chunk_len));
        r->has_chunk = true;
        r->chunk_index = index;
    }
    TRY(lease_check(r->store->lease)); /* also for the rest of a chunk that was opened before */
    size_t n = r->chunk_len - skip < max ? r->chunk_len - skip : max;
    mem_copy(to, r->chunk + skip, n);
    *ret_len = n;
    return OK;
}

struct result store_reader_read(struct store_reader *r, uint64_t offset, uint8_t *to, size_t max, size_t *ret_len) {
    TRY(lease_check(r->store->lease));
    uint64_t size = r->record.info.size;
    uint64_t rest = offset < size ? size - offset : 0;
    if (max > rest) max = (size_t)rest;
    if (r->record.segment_count == 0) {
        if (max) mem_copy(to, r->record.content.data + offset, max);
        *ret_len = max;
        return OK;
    }
    size_t done = 0;
    while (done < max) {
        size_t n = 0;
        TRY(read_chunk(r, offset + done, to + done, max - done, &n));
        done += n;
    }
    *ret_len = done;
    return OK;
}
