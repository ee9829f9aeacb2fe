#include "sources/s3_position.h"

#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"

enum { MAX_PACKED_BYTES = 8 << 20, READ_BYTES = 12, MAX_HASH_INPUT = 4096 };

void s3_position_init(struct s3_position *p) {
    *p = (struct s3_position){.cursor = str_dup(""), .chunk_end = str_dup("")};
}

void s3_position_done(struct s3_position *p) {
    mem_free(p->cursor);
    mem_free(p->chunk_end);
    mem_free(p->pending);
    mem_free(p->object_key);
    mem_free(p->object_etag);
    mem_free(p->window);
    *p = (struct s3_position){0};
}

uint64_t s3_hash(const char *key, const char *etag) {
    BUF_AUTO(text, MAX_HASH_INPUT);
    buf_printf(&text, "%s\n%s", etag, key);
    uint8_t hash[SHA256_BYTES] = {0};
    result_ignore(sha256(buf_slice(&text), hash)); /* only fails when the library itself does */
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | hash[i];
    return v;
}

bool s3_position_wants(const struct s3_position *p, uint64_t hash, int64_t modified_ms) {
    if (p->pass == 0) return true;
    if (modified_ms < p->window_ms) return false;
    for (size_t i = 0; i < p->window_count; i++)
        if (p->window[i].hash == hash) return false;
    return true;
}

/* ---- the window ---- */

static int by_time(const void *a, const void *b) {
    uint32_t x = ((const struct s3_read *)a)->modified_s, y = ((const struct s3_read *)b)->modified_s;
    return x < y ? -1 : x > y;
}

/* Drops what was modified before; it counts as read from now on. */
static void move_window(struct s3_position *p, int64_t to_ms) {
    if (to_ms <= p->window_ms) return;
    size_t kept = 0;
    for (size_t i = 0; i < p->window_count; i++)
        if ((int64_t)p->window[i].modified_s * 1000 >= to_ms) p->window[kept++] = p->window[i];
    p->window_count = kept;
    p->window_ms = to_ms;
}

static void shorten_window(struct s3_position *p) {
    qsort(p->window, p->window_count, sizeof *p->window, by_time);
    /* To a quarter less, so that this is seldom done. */
    size_t drop = p->window_count - S3_WINDOW_OBJECTS / 4 * 3;
    int64_t to = ((int64_t)p->window[drop - 1].modified_s + 1) * 1000, latest = p->pass_began_ms - S3_SLACK_MS;
    move_window(p, to < latest ? to : latest);
}

static void add_to_window(struct s3_position *p, uint64_t hash, int64_t modified_ms) {
    if (modified_ms < p->window_ms || modified_ms < p->pass_began_ms - S3_WINDOW_MS) return;
    if ((p->window_count & (p->window_count - 1)) == 0)
        p->window = mem_resize(p->window, (p->window_count ? p->window_count * 2 : 1) * sizeof *p->window);
    p->window[p->window_count++] = (struct s3_read){hash, (uint32_t)(modified_ms / 1000)};
    if (p->window_count > S3_WINDOW_OBJECTS) shorten_window(p);
}

static void set_text(char **to, const char *text) {
    char *copy = str_dup(text);
    mem_free(*to);
    *to = copy;
}

void s3_position_finish_object(struct s3_position *p, const char *key, int64_t modified_ms, bool is_read) {
    if (is_read) add_to_window(p, p->pending[0], modified_ms);
    p->pending_count--;
    mem_move(p->pending, p->pending + 1, p->pending_count * sizeof *p->pending);
    set_text(&p->cursor, key);
    mem_free(TAKE(p->object_key));
    mem_free(TAKE(p->object_etag));
    p->place = (struct records_place){0};
    p->read_objects++;
}

void s3_position_finish_pass(struct s3_position *p) {
    move_window(p, p->pass_began_ms - S3_WINDOW_MS);
    p->pass++;
    set_text(&p->cursor, "");
    set_text(&p->chunk_end, "");
    p->is_last_chunk = false;
}

/* ---- as JSON ---- */

static json_t *pack_pending(const struct s3_position *p) {
    BUF_AUTO(bytes, MAX_PACKED_BYTES);
    BUF_AUTO(text, MAX_PACKED_BYTES * 2);
    for (size_t i = 0; i < p->pending_count; i++)
        put_u64(&bytes, p->pending[i]);
    base64_encode(buf_slice(&bytes), &text);
    return json_string(buf_str(&text));
}

static json_t *pack_window(const struct s3_position *p) {
    BUF_AUTO(bytes, MAX_PACKED_BYTES);
    BUF_AUTO(text, MAX_PACKED_BYTES * 2);
    for (size_t i = 0; i < p->window_count; i++) {
        put_u64(&bytes, p->window[i].hash);
        put_u32(&bytes, p->window[i].modified_s);
    }
    base64_encode(buf_slice(&bytes), &text);
    return json_string(buf_str(&text));
}

static json_t *pack_object(const struct s3_position *p) {
    return json_pack("{s:s, s:s, s:i, s:I, s:I}", "key", p->object_key, "etag", p->object_etag, "mode",
                     (int)p->place.mode, "offset", (json_int_t)p->place.offset, "number", (json_int_t)p->place.number);
}

json_t *s3_position_write(const struct s3_position *p) {
    json_t *o =
        json_pack("{s:i, s:I, s:I, s:s, s:s, s:b, s:o, s:I, s:o, s:I, s:I, s:I}", "version", 1, "pass",
                  (json_int_t)p->pass, "pass_began_ms", (json_int_t)p->pass_began_ms, "cursor", p->cursor, "chunk_end",
                  p->chunk_end, "is_last_chunk", p->is_last_chunk, "pending", pack_pending(p), "window_ms",
                  (json_int_t)p->window_ms, "window", pack_window(p), "listed_objects", (json_int_t)p->listed_objects,
                  "listed_bytes", (json_int_t)p->listed_bytes, "read_objects", (json_int_t)p->read_objects);
    if (p->object_key) json_object_set_new(o, "object", pack_object(p));
    return o;
}

static struct result unpack(const json_t *o, const char *name, size_t item_bytes, struct buf *bytes) {
    const char *text;
    TRY(json_get_str(o, name, &text));
    TRY(base64_decode(slice_str(text), bytes));
    CHECK(bytes->len % item_bytes == 0, ERR_INVALID, "'%s' has a part of an entry", name);
    return OK;
}

static struct result read_lists(const json_t *o, struct s3_position *p) {
    BUF_AUTO(pending, MAX_PACKED_BYTES);
    BUF_AUTO(window, MAX_PACKED_BYTES);
    TRY(unpack(o, "pending", sizeof(uint64_t), &pending));
    TRY(unpack(o, "window", READ_BYTES, &window));
    struct slice s = buf_slice(&pending);
    p->pending_count = s.len / sizeof(uint64_t);
    p->pending = mem_alloc_array(p->pending_count + 1, sizeof *p->pending);
    for (size_t i = 0; i < p->pending_count; i++)
        take_u64(&s, &p->pending[i]);
    s = buf_slice(&window);
    size_t count = s.len / READ_BYTES, capacity = 1;
    while (capacity < count)
        capacity *= 2; /* as add_to_window grows it */
    p->window = mem_alloc_array(capacity, sizeof *p->window);
    for (; p->window_count < count; p->window_count++) {
        take_u64(&s, &p->window[p->window_count].hash);
        take_u32(&s, &p->window[p->window_count].modified_s);
    }
    return OK;
}

static struct result read_object(const json_t *o, struct s3_position *p) {
    json_t *object = NULL;
    TRY(json_opt_object(o, "object", &object));
    if (!object) return OK;
    const char *key, *etag;
    int64_t mode, offset, number;
    TRY(json_get_str(object, "key", &key));
    TRY(json_get_str(object, "etag", &etag));
    TRY(json_get_int(object, "mode", RECORDS_UNKNOWN, RECORDS_OVER, &mode));
    TRY(json_get_int(object, "offset", 0, INT64_MAX, &offset));
    TRY(json_get_int(object, "number", 0, INT64_MAX, &number));
    CHECK(p->pending_count > 0 && p->pending[0] == s3_hash(key, etag), ERR_INVALID,
          "the object is not the first pending one");
    set_text(&p->object_key, key);
    set_text(&p->object_etag, etag);
    p->place = (struct records_place){(enum records_mode)mode, (uint64_t)offset, (uint64_t)number};
    return OK;
}

static struct result read_all(const json_t *o, struct s3_position *p) {
    int64_t version, pass;
    const char *cursor, *chunk_end;
    CHECK(json_is_object(o), ERR_INVALID, "it is no object");
    TRY(json_get_int(o, "version", 1, 1, &version));
    TRY(json_get_int(o, "pass", 0, INT64_MAX, &pass));
    TRY(json_get_int(o, "pass_began_ms", 0, INT64_MAX, &p->pass_began_ms));
    TRY(json_get_str(o, "cursor", &cursor));
    TRY(json_get_str(o, "chunk_end", &chunk_end));
    TRY(json_opt_bool(o, "is_last_chunk", &p->is_last_chunk));
    TRY(json_get_int(o, "window_ms", 0, INT64_MAX, &p->window_ms));
    TRY(json_get_int(o, "listed_objects", 0, INT64_MAX, &p->listed_objects));
    TRY(json_get_int(o, "listed_bytes", 0, INT64_MAX, &p->listed_bytes));
    TRY(json_get_int(o, "read_objects", 0, INT64_MAX, &p->read_objects));
    p->pass = (uint64_t)pass;
    set_text(&p->cursor, cursor);
    set_text(&p->chunk_end, chunk_end);
    TRY(read_lists(o, p));
    return read_object(o, p);
}

struct result s3_position_read(const json_t *o, struct s3_position *p) {
    struct s3_position read;
    s3_position_init(&read);
    struct result r = read_all(o, &read);
    if (is_err(r)) {
        AUTO_FREE char *detail = str_dup(err_detail());
        s3_position_done(&read);
        FAIL(ERR_CORRUPT, "the kept position in the bucket can't be read: %s", detail);
    }
    s3_position_done(p);
    *p = read;
    return OK;
}
