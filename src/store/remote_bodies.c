/* Bodies in S3: writing them in pieces, reading them in windows, and who has them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "store/remote_priv.h"

enum {
    PIECE_BYTES = 8 << 20,          /* of a body, sent at once */
    PIECE_MAX_BYTES = 128 << 20,    /* of a very long one, so that S3_STORE_MAX_PARTS are enough */
    PIECES_OF_A_SIZE = 1000,        /* then they double */
    WINDOW_FIRST_BYTES = 128 << 10, /* of sealed bytes read at once; doubled as long as they are read in order */
    WINDOW_MAX_BYTES = 4 << 20,
};

void remote_body_path(const uint8_t id[static RECORD_BODY_ID_BYTES], char ret[static STORE_PATH_BYTES]) {
    BUF_AUTO(hex, 2 * RECORD_BODY_ID_BYTES);
    hex_encode(slice_make(id, RECORD_BODY_ID_BYTES), &hex);
    snprintf(ret, STORE_PATH_BYTES, "bodies/%.2s/%s", buf_str(&hex), buf_str(&hex));
}

void remote_share_path(const uint8_t *body, const uint8_t *tag, char ret[static STORE_PATH_BYTES]) {
    BUF_AUTO(hex, 2 * RECORD_BODY_ID_BYTES);
    BUF_AUTO(tag_hex, 2 * NAME_TAG_BYTES);
    hex_encode(slice_make(body, RECORD_BODY_ID_BYTES), &hex);
    hex_encode(slice_make(tag, NAME_TAG_BYTES), &tag_hex);
    snprintf(ret, STORE_PATH_BYTES, "refs/%s/%s", buf_str(&hex), buf_str(&tag_hex));
}

bool remote_parse_hex(struct slice hex, uint8_t ret[static RECORD_BODY_ID_BYTES]) {
    BUF_AUTO(bytes, RECORD_BODY_ID_BYTES);
    if (is_err(hex_decode(hex, &bytes)) || bytes.len != RECORD_BODY_ID_BYTES) return false;
    mem_copy(ret, bytes.data, bytes.len);
    return true;
}

/* ---- Writing ---- */

struct result remote_body_new(struct store *s, const uint8_t id[static RECORD_BODY_ID_BYTES],
                              struct remote_body **ret) {
    struct remote_body *b = mem_alloc(sizeof *b);
    char path[STORE_PATH_BYTES];
    remote_body_path(id, path);
    b->store = s;
    b->path = str_dup(path);
    mem_copy(b->id, id, sizeof b->id);
    buf_init(&b->waiting, PIECE_MAX_BYTES);
    store_lock(s);
    b->next = s->remote->living;
    s->remote->living = b;
    store_unlock(s);
    *ret = b;
    return OK;
}

static size_t piece_bytes(const struct remote_body *b) {
    size_t bytes = PIECE_BYTES;
    for (size_t n = PIECES_OF_A_SIZE; n <= b->part_count && bytes < PIECE_MAX_BYTES; n += PIECES_OF_A_SIZE)
        bytes *= 2;
    return bytes;
}

static struct result upload_start(struct remote_body *b, const char *key) {
    struct s3_failure why = {0};
    return remote_result(b->store, s3_store_upload_create(remote_client(b->store), key, &b->upload_id, &why), &why);
}

static struct result send_piece(struct remote_body *b) {
    struct store *s = b->store;
    BUF_AUTO(key, S3_STORE_MAX_KEY_BYTES);
    TRY(remote_key(s, b->path, &key));
    TRY(lease_check(s->lease));
    if (!b->upload_id) TRY(upload_start(b, buf_str(&key)));
    CHECK(b->part_count < S3_STORE_MAX_PARTS, ERR_TOO_LARGE, "an object too large for one body in S3");
    if (b->part_count == b->part_capacity) {
        b->part_capacity = b->part_capacity ? 2 * b->part_capacity : 16;
        b->parts = mem_resize(b->parts, b->part_capacity * sizeof *b->parts);
    }
    struct s3_upload_part *part = &b->parts[b->part_count];
    part->number = (unsigned)b->part_count + 1;
    struct s3_failure why = {0};
    struct result r = s3_store_upload_part(remote_client(s), buf_str(&key), b->upload_id, part->number,
                                           buf_slice(&b->waiting), part->etag, &why);
    TRY(remote_result(s, r, &why));
    b->part_count++;
    b->sent += b->waiting.len;
    buf_clear(&b->waiting);
    return OK;
}

struct result remote_body_write(void *body, struct slice bytes) {
    struct remote_body *b = body;
    while (bytes.len > 0) {
        size_t limit = piece_bytes(b);
        if (b->waiting.len == limit) {
            TRY(send_piece(b));
            continue;
        }
        size_t n = bytes.len < limit - b->waiting.len ? bytes.len : limit - b->waiting.len;
        buf_append(&b->waiting, bytes.data, n);
        TRY(buf_check(&b->waiting));
        bytes = slice_make(bytes.data + n, bytes.len - n);
    }
    return OK;
}

static struct result finish_upload(struct remote_body *b, const char *key) {
    struct store *s = b->store;
    if (b->waiting.len > 0) TRY(send_piece(b));
    char etag[S3_STORE_ETAG_BYTES];
    struct s3_failure why = {0};
    struct result r = s3_store_upload_complete(remote_client(s), key, b->upload_id, b->parts, b->part_count,
                                               (int64_t)b->sent, etag, &why);
    /* It may be there, or be an upload still: the sweep finds either. */
    if (is_err(r) && why.unsure) b->keeps = true;
    return remote_result(s, r, &why);
}

struct result remote_body_finish(struct remote_body *b) {
    struct store *s = b->store;
    BUF_AUTO(key, S3_STORE_MAX_KEY_BYTES);
    TRY(remote_key(s, b->path, &key));
    TRY(lease_check(s->lease));
    if (b->upload_id) {
        TRY(finish_upload(b, buf_str(&key)));
        mem_free(TAKE(b->upload_id));
    } else {
        bool unsure;
        b->is_there = true; /* also when the answer is missing */
        TRY(remote_put(s, b->path, buf_slice(&b->waiting), &unsure));
    }
    b->is_there = true;
    buf_done(&b->waiting);
    return OK;
}

void remote_body_free(struct remote_body *b, bool published) {
    struct store *s = b->store;
    store_lock(s);
    if (!published && !b->keeps && (b->upload_id || b->is_there)) remote_discard(s, b->path, b->upload_id);
    struct remote_body **at = &s->remote->living;
    while (*at != b)
        at = &(*at)->next;
    *at = b->next;
    store_unlock(s);
    buf_done(&b->waiting);
    mem_free(b->upload_id);
    mem_free(b->parts);
    mem_free(b->path);
    mem_free(b);
}

/* ---- Reading ---- */

/* Sealed bytes of a body, fetched in windows that grow while they are read in order. */
struct window {
    struct store *store;
    char *key;
    bool is_known;
    uint64_t size; /* of the whole, when it is known */
    char etag[S3_STORE_ETAG_BYTES];
    size_t next_bytes;
    uint64_t start;
    struct buf bytes;
};

static void window_free(void *arg) {
    struct window *w = arg;
    buf_done(&w->bytes);
    mem_free(w->key);
    mem_free(w);
}

static void window_free_auto(struct window **w) {
    if (*w) window_free(*w);
}

static bool window_take(void *arg, struct slice piece) {
    struct window *w = arg;
    buf_append_slice(&w->bytes, piece);
    return is_ok(buf_check(&w->bytes));
}

/* Fetches n bytes behind those that the window has; fewer at the end. */
static struct result window_fetch(struct window *w, size_t n) {
    struct store *s = w->store;
    TRY(lease_check(s->lease));
    size_t before = w->bytes.len;
    struct s3_head head = {0};
    struct s3_failure why = {0};
    const struct s3_get get = {.key = w->key,
                               .etag = w->is_known ? w->etag : NULL,
                               .from = (int64_t)(w->start + before),
                               .length = (int64_t)n,
                               .take = window_take,
                               .arg = w};
    struct result r = s3_store_get(remote_client(s), &get, &head, &why);
    CHECK(why.trouble != S3_TROUBLE_NOT_FOUND, ERR_CORRUPT, "a body of the object is missing");
    CHECK(why.trouble != S3_TROUBLE_RANGE, ERR_CORRUPT, "a sealed file ends early");
    CHECK(why.trouble != S3_TROUBLE_PRECONDITION, ERR_CORRUPT, "a body was changed while it was read");
    TRY(remote_result(s, r, &why));
    CHECK(head.size >= 0 && (!w->is_known || (uint64_t)head.size == w->size), ERR_CORRUPT,
          "a body was changed while it was read");
    w->size = (uint64_t)head.size;
    mem_copy(w->etag, head.etag, sizeof w->etag);
    w->is_known = true;
    uint64_t rest = w->size - w->start - before;
    CHECK(w->bytes.len - before == (rest < n ? rest : n), ERR_IO, "the store in S3 gave another length than it told");
    return OK;
}

static struct result window_size(void *arg, uint64_t *ret) {
    struct window *w = arg;
    if (!w->is_known) TRY(window_fetch(w, w->next_bytes));
    *ret = w->size;
    return OK;
}

static struct result window_read(void *arg, uint64_t offset, uint8_t *to, size_t n) {
    struct window *w = arg;
    uint64_t end = w->start + w->bytes.len;
    if (offset < w->start || offset + n > end) {
        bool in_order = offset >= w->start && offset <= end && w->bytes.len > 0;
        size_t kept = in_order ? (size_t)(end - offset) : 0;
        if (kept > 0) mem_move(w->bytes.data, w->bytes.data + (offset - w->start), kept);
        w->bytes.len = kept;
        w->start = offset;
        size_t wanted = in_order ? 2 * w->next_bytes : WINDOW_FIRST_BYTES;
        w->next_bytes = wanted < WINDOW_MAX_BYTES ? wanted : WINDOW_MAX_BYTES;
        size_t least = n - kept;
        TRY(window_fetch(w, w->next_bytes > least ? w->next_bytes : least));
        CHECK(w->bytes.len >= n, ERR_CORRUPT, "a sealed file ends early");
    }
    mem_copy(to, w->bytes.data + (offset - w->start), n);
    return OK;
}

struct result remote_body_open(struct store *s, const struct record_segment *segment, struct slice context,
                               uint64_t first_chunk, struct sealed_reader **ret) {
    char path[STORE_PATH_BYTES];
    remote_body_path(segment->body_id, path);
    BUF_AUTO(key, S3_STORE_MAX_KEY_BYTES);
    TRY(remote_key(s, path, &key));
    AUTO(window_free_auto) struct window *w = mem_alloc(sizeof *w);
    w->store = s;
    w->key = str_dup(buf_str(&key));
    buf_init(&w->bytes, WINDOW_MAX_BYTES + 2 * LEASE_CHUNK_BYTES);
    /* Only the header first, when it is somewhere else that reading begins. */
    w->next_bytes = first_chunk == 0 ? WINDOW_FIRST_BYTES : SEALED_HEADER_MAX_BYTES;
    const struct sealed_source source = {window_read, window_size, window_free, w};
    TRY(sealed_reader_new(s->lease, context, &source, segment->size, ret));
    w = NULL; /* the reader's now */
    return OK;
}

/* ---- Who has a body ---- */

static struct remote_share **share_find(const struct store *s, const uint8_t *body) {
    size_t bucket = ((size_t)body[0] << 8 | body[1]) % ARRAY_LEN(s->remote->shares);
    struct remote_share **at = &s->remote->shares[bucket];
    while (*at && mem_order((*at)->body, body, RECORD_BODY_ID_BYTES) != 0)
        at = &(*at)->next;
    return at;
}

static struct remote_sharer *sharer_find(struct remote_share *share, const uint8_t *tag) {
    for (size_t i = 0; i < share->count; i++)
        if (mem_order(share->sharers[i].tag, tag, NAME_TAG_BYTES) == 0) return &share->sharers[i];
    return NULL;
}

bool remote_is_shared(const struct store *s, const uint8_t *body) {
    return *share_find(s, body) != NULL;
}

void remote_share_add(struct store *s, const uint8_t *body, const uint8_t *tag, bool is_old) {
    struct remote_share **at = share_find(s, body);
    if (!*at) {
        *at = mem_alloc(sizeof **at);
        mem_copy((*at)->body, body, RECORD_BODY_ID_BYTES);
        s->remote->share_count++;
    }
    struct remote_share *share = *at;
    if (sharer_find(share, tag)) return;
    share->sharers = mem_resize(share->sharers, (share->count + 1) * sizeof *share->sharers);
    struct remote_sharer *sharer = &share->sharers[share->count++];
    sharer->is_old = is_old;
    mem_copy(sharer->tag, tag, NAME_TAG_BYTES);
}

void remote_share_remove(struct store *s, const uint8_t *body, const uint8_t *tag) {
    struct remote_share **at = share_find(s, body), *share = *at;
    struct remote_sharer *sharer = share ? sharer_find(share, tag) : NULL;
    if (!sharer) return;
    char path[STORE_PATH_BYTES];
    remote_share_path(body, tag, path);
    remote_discard(s, path, NULL);
    *sharer = share->sharers[--share->count];
    if (share->count > 0) return;
    *at = share->next;
    s->remote->share_count--;
    mem_free(share->sharers);
    mem_free(share);
}

/* Without the lock: one ref, in S3 before it counts here, so that it never counts without being there. */
static struct result share_put(struct store *s, const uint8_t *body, const uint8_t *tag) {
    char path[STORE_PATH_BYTES];
    remote_share_path(body, tag, path);
    bool unsure;
    TRY(remote_put(s, path, (struct slice){0}, &unsure));
    store_lock(s);
    remote_share_add(s, body, tag, false);
    store_unlock(s);
    return OK;
}

static bool has_share(struct store *s, const uint8_t *body, const uint8_t *tag) {
    store_lock(s);
    struct remote_share *share = *share_find(s, body);
    bool has = share && sharer_find(share, tag);
    store_unlock(s);
    return has;
}

static bool is_shared_now(struct store *s, const uint8_t *body) {
    store_lock(s);
    bool shared = remote_is_shared(s, body);
    store_unlock(s);
    return shared;
}

struct result remote_share_bodies(struct store *s, const struct record *record, const uint8_t *shared_from,
                                  const uint8_t *tag) {
    for (size_t i = 0; i < record->segment_count; i++) {
        const uint8_t *body = record->segments[i].body_id;
        if (shared_from && !has_share(s, body, shared_from)) TRY(share_put(s, body, shared_from));
        if ((shared_from || is_shared_now(s, body)) && !has_share(s, body, tag)) TRY(share_put(s, body, tag));
    }
    return OK;
}

static bool record_names(const struct record *record, const uint8_t *body) {
    for (size_t i = 0; record && i < record->segment_count; i++)
        if (mem_order(record->segments[i].body_id, body, RECORD_BODY_ID_BYTES) == 0) return true;
    return false;
}

/* `tag` has this body no more. */
static void body_drop(struct store *s, const uint8_t *tag, const uint8_t *body, bool stays) {
    remote_share_remove(s, body, tag);
    if (stays || remote_is_shared(s, body)) return;
    char path[STORE_PATH_BYTES];
    remote_body_path(body, path);
    remote_discard(s, path, NULL);
}

void remote_bodies_let_go(struct store *s, struct remote_bodies *bodies) {
    for (size_t i = 0; i < bodies->count; i++)
        body_drop(s, bodies->tag, bodies->ids[i], false);
    mem_free(bodies->ids);
    mem_free(bodies);
}

void remote_bodies_drop(struct store *s, const uint8_t *tag, const struct record *record, const struct record *except) {
    struct remote_bodies *bodies = mem_alloc(sizeof *bodies);
    mem_copy(bodies->tag, tag, sizeof bodies->tag);
    bodies->ids = mem_alloc_array(record->segment_count, sizeof *bodies->ids);
    for (size_t i = 0; i < record->segment_count; i++) {
        if (record_names(except, record->segments[i].body_id))
            body_drop(s, tag, record->segments[i].body_id, true);
        else
            mem_copy(bodies->ids[bodies->count++], record->segments[i].body_id, RECORD_BODY_ID_BYTES);
    }
    struct store_pin *pin = *bodies_find_pin(s, tag);
    if (!pin) {
        remote_bodies_let_go(s, bodies);
    } else if (!pin->bodies) {
        pin->bodies = bodies;
    } else { /* known already */
        mem_free(bodies->ids);
        mem_free(bodies);
    }
}

void remote_bodies_unshare(struct store *s, const uint8_t *tag, const struct record *record) {
    for (size_t i = 0; i < record->segment_count; i++) {
        struct remote_share *share = *share_find(s, record->segments[i].body_id);
        /* Those that it shares with nobody belong to their writer, or to parts. */
        if (share && sharer_find(share, tag)) body_drop(s, tag, record->segments[i].body_id, false);
    }
}

void remote_bodies_keep(struct store *s, const struct record *record) {
    for (struct remote_body *b = s->remote->living; b; b = b->next)
        if (record_names(record, b->id)) b->keeps = true;
}

static int candidate_order(const void *a, const void *b) {
    return mem_order(a, b, RECORD_BODY_ID_BYTES);
}

void remote_bodies_used(struct store *s, const struct record *record) {
    struct remote *r = s->remote;
    for (size_t i = 0; r->candidate_count > 0 && i < record->segment_count; i++) {
        struct remote_candidate *c = bsearch(record->segments[i].body_id, r->candidates, r->candidate_count,
                                             sizeof *r->candidates, candidate_order);
        if (c) c->is_used = true;
    }
}

/* ---- At the opening ---- */

static struct result load_share(void *arg, const char *path, const struct s3_entry *entry) {
    struct store *s = arg;
    uint8_t body[RECORD_BODY_ID_BYTES], tag[NAME_TAG_BYTES];
    struct slice rest = slice_str(path), head, tail;
    if (!slice_cut(rest, '/', &head, &rest) || !slice_cut(rest, '/', &head, &tail)) return OK; /* not ours */
    if (!remote_parse_hex(head, body) || !remote_parse_hex(tail, tag)) return OK;
    remote_share_add(s, body, tag, entry->modified_ms < clock_unix_ms() - REMOTE_SWEEP_AGE_S * 1000LL);
    return OK;
}

struct result remote_shares_load(struct store *s) {
    return remote_walk(s, "refs/", NULL, load_share, s);
}
