#include "kms/usage.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

enum { FILE_VERSION = 1, FILE_MAX_BYTES = 64 << 20 };

struct kmsd_usage {
    char *path;
    int64_t since_ms;
    pthread_mutex_t mutex; /* guards what follows */
    struct kmsd_use *list; /* sorted by key */
    size_t count, capacity;
    bool changed;
};

static pthread_mutex_t *hold(pthread_mutex_t *m) {
    pthread_mutex_lock(m);
    return m;
}
static void let_go(pthread_mutex_t **m) {
    pthread_mutex_unlock(*m);
}
#define HOLD(usage) AUTO(let_go) pthread_mutex_t *held_ __attribute__((unused)) = hold(&(usage)->mutex)

/* Where the key stands, or would. */
static size_t place(const struct kmsd_usage *u, const char *key_id, bool *ret_found) {
    size_t low = 0, high = u->count;
    *ret_found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(u->list[middle].key_id, key_id);
        if (order == 0) *ret_found = true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The mutex is held. */
static void put(struct kmsd_usage *u, const struct kmsd_use *use) {
    bool found;
    size_t at = place(u, use->key_id, &found);
    if (!found) {
        if (u->count == u->capacity) {
            u->capacity = u->capacity == 0 ? 16 : u->capacity * 2;
            u->list = mem_resize(u->list, u->capacity * sizeof *u->list);
        }
        for (size_t i = u->count++; i > at; i--)
            u->list[i] = u->list[i - 1];
    }
    u->list[at] = *use;
}

/* --- The file. --- */

static struct result copy_text(const json_t *j, const char *name, char *to, size_t size) {
    const char *text = NULL;
    TRY(json_get_str(j, name, &text));
    CHECK(strlen(text) < size, ERR_INVALID, "'%s' is too long", name);
    snprintf(to, size, "%s", text);
    return OK;
}

static struct result read_list(struct slice text, struct kmsd_usage *u) {
    JSON_AUTO(j);
    json_t *keys = NULL;
    int64_t version = 0;
    TRY(json_parse_object(text, &j));
    TRY(json_get_int(j, "version", FILE_VERSION, FILE_VERSION, &version));
    TRY(json_get_int(j, "since_ms", 0, INT64_MAX, &u->since_ms));
    TRY(json_get_array(j, "keys", &keys));
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const json_t *entry = json_array_get(keys, i);
        struct kmsd_use use = {0};
        TRY(copy_text(entry, "key_id", use.key_id, sizeof use.key_id));
        TRY(copy_text(entry, "operation", use.operation, sizeof use.operation));
        TRY(copy_text(entry, "request_id", use.request_id, sizeof use.request_id));
        TRY(copy_text(entry, "event_id", use.event_id, sizeof use.event_id));
        TRY(json_get_int(entry, "at_ms", 0, INT64_MAX, &use.at_ms));
        put(u, &use);
    }
    return OK;
}

struct result kmsd_usage_open(const char *data_dir, int64_t now_ms, struct kmsd_usage **ret) {
    struct kmsd_usage *u = mem_alloc(sizeof *u);
    *u = (struct kmsd_usage){.path = str_format("%s/usage.json", data_dir), .since_ms = now_ms};
    pthread_mutex_init(&u->mutex, NULL);
    BUF_AUTO(text, FILE_MAX_BYTES);
    struct result r = file_read(u->path, FILE_MAX_BYTES, &text);
    if (r.code == ERR_NOT_FOUND) {
        u->changed = true; // since when uses are recorded is worth writing down at once
        r = OK;
    } else if (is_ok(r) && is_err(read_list(buf_slice(&text), u))) {
        AUTO_FREE char *why = str_dup(err_detail());
        r = err_make(ERR_INVALID, "%s is damaged: %s", u->path, why);
    }
    if (is_err(r)) {
        kmsd_usage_close(u);
        return r;
    }
    *ret = u;
    return OK;
}

struct kmsd_usage *kmsd_usage_close(struct kmsd_usage *u) {
    if (u == NULL) return NULL;
    pthread_mutex_destroy(&u->mutex);
    mem_free(u->list);
    mem_free(u->path);
    mem_free(u);
    return NULL;
}

int64_t kmsd_usage_since_ms(const struct kmsd_usage *u) {
    return u->since_ms;
}

static void write_use(const struct kmsd_use *use, struct buf *out) {
    buf_append_str(out, "{\"key_id\":");
    json_write_str(slice_str(use->key_id), out);
    buf_append_str(out, ",\"operation\":");
    json_write_str(slice_str(use->operation), out);
    buf_printf(out, ",\"at_ms\":%lld,\"request_id\":", (long long)use->at_ms);
    json_write_str(slice_str(use->request_id), out);
    buf_append_str(out, ",\"event_id\":");
    json_write_str(slice_str(use->event_id), out);
    buf_append_byte(out, '}');
}

/* The file's new text; false: nothing changed. */
static bool take_text(struct kmsd_usage *u, struct buf *out) {
    HOLD(u);
    if (!u->changed) return false;
    u->changed = false;
    buf_printf(out, "{\"version\":%d,\"since_ms\":%lld,\"keys\":[", FILE_VERSION, (long long)u->since_ms);
    for (size_t i = 0; i < u->count; i++) {
        if (i > 0) buf_append_byte(out, ',');
        write_use(&u->list[i], out);
    }
    buf_append_str(out, "]}\n");
    return true;
}

struct result kmsd_usage_save(struct kmsd_usage *u) {
    BUF_AUTO(text, FILE_MAX_BYTES);
    if (!take_text(u, &text)) return OK;
    struct result r = buf_check(&text);
    if (is_ok(r)) r = file_write_atomic(u->path, buf_slice(&text), 0600);
    if (is_ok(r)) return OK;
    HOLD(u);
    u->changed = true; // for the next time
    return r;
}

/* --- Uses. --- */

void kmsd_usage_note(struct kmsd_usage *u, const struct kmsd_use *use) {
    HOLD(u);
    put(u, use);
    u->changed = true;
}

bool kmsd_usage_find(struct kmsd_usage *u, const char *key_id, struct kmsd_use *ret) {
    bool found;
    HOLD(u);
    size_t at = place(u, key_id, &found);
    if (found) *ret = u->list[at];
    return found;
}

void kmsd_usage_forget(struct kmsd_usage *u, const char *key_id) {
    bool found;
    HOLD(u);
    size_t at = place(u, key_id, &found);
    if (!found) return;
    u->count--;
    for (size_t i = at; i < u->count; i++)
        u->list[i] = u->list[i + 1];
    u->changed = true;
}
