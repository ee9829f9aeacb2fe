#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/remote.h"

struct store_reader {
    struct store *store;
    struct record record;
    uint8_t tag[NAME_TAG_BYTES];
    bool pinned;
    /* The segment that was read last, its body once something had to come from there, and the chunk that was opened
     * last. */
    bool has_segment, has_chunk;
    size_t segment, body_segment;
    uint64_t segment_start;
    struct sealed_reader *body;
    uint8_t *scratch; /* for the cache; NULL without one */
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
    mem_free(r->scratch);
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

/* ---- Records in the cache: their length in four bytes, then they themselves, in blocks numbered from the highest
 * index down, where no chunk of a body is. ---- */

enum { RECORD_PREFIX_BYTES = 4, RECORD_CACHED_MAX_BYTES = 2 * CACHE_BLOCK_MAX_BYTES };

static struct cache_key record_block(const uint8_t *tag, size_t number) {
    struct cache_key key = {.index = UINT64_MAX - number};
    mem_copy(key.id, tag, sizeof key.id);
    return key;
}

/* Appends the record with its prefix to out when all of it is there. */
static enum cache_answer record_from_cache(struct store_reader *r, uint8_t *scratch, struct buf *out) {
    size_t total = 0;
    do {
        struct cache_key key = record_block(r->tag, out->len / CACHE_BLOCK_MAX_BYTES);
        size_t room = out->max - out->len < CACHE_BLOCK_MAX_BYTES ? out->max - out->len : CACHE_BLOCK_MAX_BYTES;
        uint8_t *to = buf_reserve(out, room);
        size_t len = 0;
        if (!to) return CACHE_MISS;
        enum cache_answer answer = cache_get(r->store->cache, &key, scratch, to, room, &len);
        if (answer != CACHE_HIT) return answer;
        out->len += len;
        struct slice at = buf_slice(out);
        uint32_t n;
        if (!take_u32(&at, &n)) return CACHE_MISS;
        total = RECORD_PREFIX_BYTES + (size_t)n;
    } while (out->len < total && out->len % CACHE_BLOCK_MAX_BYTES == 0);
    return out->len == total ? CACHE_HIT : CACHE_MISS;
}

static void record_to_cache(struct store_reader *r, struct slice with_prefix, uint8_t *scratch) {
    for (size_t i = 0; with_prefix.len > 0; i++) {
        struct cache_key key = record_block(r->tag, i);
        size_t n = with_prefix.len < CACHE_BLOCK_MAX_BYTES ? with_prefix.len : CACHE_BLOCK_MAX_BYTES;
        cache_put(r->store->cache, &key, slice_make(with_prefix.data, n), scratch);
        with_prefix = slice_make(with_prefix.data + n, with_prefix.len - n);
    }
}

static struct result record_from_store(struct store_reader *r, const struct store_located *found, struct buf *out) {
    BUF_AUTO(context, STORE_CONTEXT_MAX_BYTES);
    TRY(store_context(r->store, "object", slice_make(r->tag, sizeof r->tag), &context));
    if (r->store->remote) return remote_open_record(r->store, found->path, buf_slice(&context), out);
    return store_open_record(r->store, found->fd, buf_slice(&context), out);
}

static struct result parse_and_match(struct store_reader *r, struct slice plain, const char *key,
                                     const struct store_located *found) {
    TRY(record_parse(plain, &r->record));
    return record_matches(&r->record, key, &found->summary);
}

/* A record that is not too long, by way of the cache. `sealed_bytes`, its file's length, is more than it has itself. */
static struct result read_cached(struct store_reader *r, const char *key, const struct store_located *found,
                                 size_t sealed_bytes) {
    AUTO(buf_done) struct buf plain;
    buf_init_wiping(&plain, sealed_bytes);
    AUTO_FREE uint8_t *scratch = mem_alloc(sealed_bytes + GCM_TAG_BYTES);
    enum cache_answer answer = record_from_cache(r, scratch, &plain);
    if (answer != CACHE_HIT) {
        buf_clear(&plain);
        put_u32(&plain, 0);
        TRY(record_from_store(r, found, &plain));
        uint32_t n = (uint32_t)(plain.len - RECORD_PREFIX_BYTES);
        for (int i = 0; i < RECORD_PREFIX_BYTES; i++)
            plain.data[i] = (uint8_t)(n >> (24 - 8 * i));
        if (answer == CACHE_WANTED) record_to_cache(r, buf_slice(&plain), scratch);
    }
    return parse_and_match(r, slice_make(plain.data + RECORD_PREFIX_BYTES, plain.len - RECORD_PREFIX_BYTES), key,
                           found);
}

/* *ret: the length of the record's file, or more; 0 when it is too long for the cache. */
static struct result cached_bytes(const struct store_reader *r, const struct store_located *found, size_t *ret) {
    *ret = 0;
    if (!r->store->cache) return OK;
    if (r->store->remote) {
        /* Not known before it is read. Only those of objects in many parts are longer. */
        enum { PARTS_MAX = 100 };
        if (found->summary.etag.parts <= PARTS_MAX) *ret = RECORD_CACHED_MAX_BYTES;
        return OK;
    }
    struct stat st;
    if (fstat(found->fd, &st) != 0) return err_from_errno(errno, "reading a record");
    if (st.st_size >= SEALED_HEADER_MIN_BYTES && st.st_size <= RECORD_CACHED_MAX_BYTES) *ret = (size_t)st.st_size;
    return OK;
}

static struct result read_record(struct store_reader *r, const char *key, const struct store_located *found) {
    size_t bytes;
    TRY(cached_bytes(r, found, &bytes));
    if (bytes > 0) {
        struct result cached = read_cached(r, key, found, bytes);
        if (cached.code != ERR_TOO_LARGE) return cached;
    }
    AUTO(buf_done) struct buf plain;
    buf_init_wiping(&plain, RECORD_MAX_BYTES + LEASE_CHUNK_BYTES);
    TRY(record_from_store(r, found, &plain));
    return parse_and_match(r, buf_slice(&plain), key, found);
}

static void located_done(struct store_located *found) {
    fd_close(&found->fd);
    mem_free(found->path);
}

/* *ret_gone: in S3 the record had disappeared before it was read; look again. */
static struct result reader_new(struct store *s, const char *key, uint8_t *last_tag, bool *ret_gone,
                                struct store_reader **ret) {
    AUTO(located_done) struct store_located found = {.fd = -1};
    TRY(store_locate(s, key, &found));
    AUTO(store_reader_free_auto) struct store_reader *r = mem_alloc(sizeof *r);
    record_init(&r->record);
    r->store = s;
    r->pinned = true;
    mem_copy(r->tag, found.tag, sizeof r->tag);
    struct result read = read_record(r, key, &found);
    *ret_gone = s->remote && read.code == ERR_NOT_FOUND;
    if (*ret_gone) {
        /* Replaced meanwhile, then there is another one; else memory and S3 differ. */
        if (mem_order(last_tag, found.tag, sizeof found.tag) == 0) remote_doubt(s, key);
        mem_copy(last_tag, found.tag, sizeof found.tag);
    }
    TRY(read);
    *ret = TAKE(r);
    return OK;
}

struct result store_reader_new(struct store *s, const char *key, struct store_reader **ret) {
    enum { ATTEMPTS_MAX = 20 };
    uint8_t last_tag[NAME_TAG_BYTES] = {0};
    struct result r = OK;
    for (int i = 0; i < ATTEMPTS_MAX; i++) {
        bool gone = false;
        r = reader_new(s, key, last_tag, &gone, ret);
        if (!gone) return r;
    }
    return r;
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

static struct result open_file(struct store_reader *r, struct slice context, struct sealed_reader **ret) {
    struct store *s = r->store;
    char path[STORE_PATH_BYTES];
    bodies_path(r->tag, r->segment, path);
    FD_AUTO(fd) = openat(s->bodies_fd, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return err_make(ERR_CORRUPT, "a body of the object is missing");
    if (fd < 0) return err_from_errno(errno, "opening a body");
    TRY(sealed_reader_new_file(s->lease, context, fd, r->record.segments[r->segment].size, ret));
    fd = -1; /* the reader's now */
    return OK;
}

/* `first`: the chunk that is wanted of it. */
static struct result open_body(struct store_reader *r, uint64_t first) {
    struct store *s = r->store;
    size_t segment = r->segment;
    BUF_AUTO(context, STORE_CONTEXT_MAX_BYTES);
    TRY(bodies_context(s, r->record.segments[segment].body_id, &context));
    struct sealed_reader *body = NULL;
    if (s->remote)
        TRY(remote_body_open(s, &r->record.segments[segment], buf_slice(&context), first, &body));
    else
        TRY(open_file(r, buf_slice(&context), &body));
    sealed_reader_free(r->body);
    r->body = body;
    r->body_segment = segment;
    return OK;
}

/* Makes the segment that holds an offset (inside of the object) the current one. */
static void seek(struct store_reader *r, uint64_t offset) {
    size_t segment = r->has_segment && offset >= r->segment_start ? r->segment : 0;
    uint64_t start = segment ? r->segment_start : 0;
    while (offset - start >= r->record.segments[segment].size)
        start += r->record.segments[segment++].size;
    if (!r->has_segment || segment != r->segment) r->has_chunk = false;
    r->has_segment = true;
    r->segment = segment;
    r->segment_start = start;
}

/* A chunk of the current segment, from the cache or its body; out has room for LEASE_CHUNK_BYTES. */
static struct result open_chunk(struct store_reader *r, uint64_t index, uint8_t *out, size_t *ret_len) {
    struct cache *cache = r->store->cache;
    const struct record_segment *segment = &r->record.segments[r->segment];
    uint64_t rest = segment->size - index * LEASE_CHUNK_BYTES;
    struct cache_key key = {.index = index};
    mem_copy(key.id, segment->body_id, sizeof key.id);
    if (cache && !r->scratch) r->scratch = mem_alloc(CACHE_SCRATCH_BYTES);
    enum cache_answer answer = cache_get(cache, &key, r->scratch, out, LEASE_CHUNK_BYTES, ret_len);
    if (answer == CACHE_HIT && *ret_len == (rest < LEASE_CHUNK_BYTES ? rest : LEASE_CHUNK_BYTES)) return OK;
    if (!r->body || r->body_segment != r->segment) TRY(open_body(r, index));
    TRY(sealed_reader_chunk(r->body, index, out, ret_len));
    if (answer == CACHE_WANTED) cache_put(cache, &key, slice_make(out, *ret_len), r->scratch);
    return OK;
}

/* Copies what one chunk can give of [offset, offset + max). */
static struct result read_chunk(struct store_reader *r, uint64_t offset, uint8_t *to, size_t max, size_t *ret_len) {
    seek(r, offset);
    uint64_t inside = offset - r->segment_start, index = inside / LEASE_CHUNK_BYTES;
    size_t skip = (size_t)(inside % LEASE_CHUNK_BYTES);
    if (skip == 0 && max >= LEASE_CHUNK_BYTES) return open_chunk(r, index, to, ret_len);
    if (!r->has_chunk || r->chunk_index != index) {
        r->has_chunk = false;
        TRY(open_chunk(r, index, r->chunk, &r->chunk_len));
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
