#include "kms/aliases.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

enum { FILE_VERSION = 1, FILE_MAX_BYTES = 16 << 20 };

struct kmsd_aliases {
    char *path;
    pthread_mutex_t mutex;
    struct kmsd_alias *list; /* sorted by account and name */
    size_t count;
};

static pthread_mutex_t *hold(pthread_mutex_t *m) {
    pthread_mutex_lock(m);
    return m;
}
static void let_go(pthread_mutex_t **m) {
    pthread_mutex_unlock(*m);
}
#define HOLD(aliases) AUTO(let_go) pthread_mutex_t *held_ __attribute__((unused)) = hold(&(aliases)->mutex)

static int order(const struct kmsd_alias *a, const char *account, const char *name) {
    int by_account = strcmp(a->account, account);
    return by_account != 0 ? by_account : strcmp(a->name, name);
}

/* Where the name stands, or would. */
static size_t place(const struct kmsd_alias *list, size_t count, const char *account, const char *name,
                    bool *ret_found) {
    size_t low = 0, high = count;
    *ret_found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int o = order(&list[middle], account, name);
        if (o == 0) *ret_found = true;
        if (o < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* --- The file. --- */

static struct result copy_text(const json_t *j, const char *name, char *to, size_t size) {
    const char *text = NULL;
    TRY(json_get_str(j, name, &text));
    CHECK(strlen(text) < size, ERR_INVALID, "'%s' is too long", name);
    snprintf(to, size, "%s", text);
    return OK;
}

static struct result alias_from_json(const json_t *j, struct kmsd_alias *ret) {
    TRY(copy_text(j, "account", ret->account, sizeof ret->account));
    TRY(copy_text(j, "name", ret->name, sizeof ret->name));
    TRY(copy_text(j, "key_id", ret->key_id, sizeof ret->key_id));
    TRY(json_get_int(j, "created_ms", 0, INT64_MAX, &ret->created_ms));
    return json_get_int(j, "updated_ms", 0, INT64_MAX, &ret->updated_ms);
}

static struct result insert(struct kmsd_alias **list, size_t *count, const struct kmsd_alias *alias) {
    bool found;
    size_t at = place(*list, *count, alias->account, alias->name, &found);
    CHECK(!found, ERR_EXISTS, "there is an alias %s already", alias->name);
    *list = mem_resize(*list, (*count + 1) * sizeof **list);
    for (size_t i = (*count)++; i > at; i--)
        (*list)[i] = (*list)[i - 1];
    (*list)[at] = *alias;
    return OK;
}

static struct result read_list(struct slice text, struct kmsd_aliases *a) {
    JSON_AUTO(j);
    json_t *entries = NULL;
    int64_t version = 0;
    TRY(json_parse_object(text, &j));
    TRY(json_get_int(j, "version", FILE_VERSION, FILE_VERSION, &version));
    TRY(json_get_array(j, "aliases", &entries));
    for (size_t i = 0; i < json_array_size(entries); i++) {
        struct kmsd_alias alias = {0};
        TRY(alias_from_json(json_array_get(entries, i), &alias));
        TRY(insert(&a->list, &a->count, &alias));
    }
    return OK;
}

struct result kmsd_aliases_open(const char *data_dir, struct kmsd_aliases **ret) {
    struct kmsd_aliases *a = mem_alloc(sizeof *a);
    *a = (struct kmsd_aliases){.path = str_format("%s/aliases.json", data_dir)};
    pthread_mutex_init(&a->mutex, NULL);
    BUF_AUTO(text, FILE_MAX_BYTES);
    struct result r = file_read(a->path, FILE_MAX_BYTES, &text);
    if (r.code == ERR_NOT_FOUND) {
        r = OK;
    } else if (is_ok(r) && is_err(read_list(buf_slice(&text), a))) {
        AUTO_FREE char *why = str_dup(err_detail());
        r = err_make(ERR_INVALID, "%s is damaged: %s", a->path, why);
    }
    if (is_err(r)) {
        kmsd_aliases_close(a);
        return r;
    }
    *ret = a;
    return OK;
}

struct kmsd_aliases *kmsd_aliases_close(struct kmsd_aliases *a) {
    if (a == NULL) return NULL;
    pthread_mutex_destroy(&a->mutex);
    mem_free(a->list);
    mem_free(a->path);
    mem_free(a);
    return NULL;
}

/* Writes the list, and only then takes it over: a failure leaves everything as it was. */
static struct result publish(struct kmsd_aliases *a, struct kmsd_alias **list, size_t count) {
    json_t *entries = json_array();
    for (size_t i = 0; i < count; i++) {
        const struct kmsd_alias *e = &(*list)[i];
        json_array_append_new(entries, json_pack("{s:s, s:s, s:s, s:I, s:I}", "account", e->account, "name", e->name,
                                                 "key_id", e->key_id, "created_ms", (json_int_t)e->created_ms,
                                                 "updated_ms", (json_int_t)e->updated_ms));
    }
    AUTO(json_unref) json_t *j = json_pack("{s:i, s:o}", "version", FILE_VERSION, "aliases", entries);
    BUF_AUTO(text, FILE_MAX_BYTES);
    TRY(json_write(j, &text));
    buf_append_byte(&text, '\n');
    TRY(buf_check(&text));
    TRY(file_write_atomic(a->path, buf_slice(&text), 0600));
    mem_free(a->list);
    a->list = *list;
    a->count = count;
    *list = NULL;
    return OK;
}

static struct kmsd_alias *copy(const struct kmsd_aliases *a) {
    return mem_dup(a->list, a->count * sizeof *a->list);
}

/* --- What is asked of it. --- */

struct result kmsd_aliases_find(struct kmsd_aliases *a, const char *account, const char *name, struct kmsd_alias *ret) {
    HOLD(a);
    bool found;
    size_t at = place(a->list, a->count, account, name, &found);
    CHECK(found, ERR_NOT_FOUND, "no alias %s", name);
    *ret = a->list[at];
    return OK;
}

struct result kmsd_aliases_create(struct kmsd_aliases *a, const struct kmsd_alias *alias, size_t max_per_key) {
    HOLD(a);
    size_t of_key = 0, count = a->count;
    for (size_t i = 0; i < a->count; i++)
        of_key += strcmp(a->list[i].key_id, alias->key_id) == 0;
    AUTO_FREE struct kmsd_alias *list = copy(a);
    TRY(insert(&list, &count, alias));
    CHECK(of_key < max_per_key, ERR_TOO_LARGE, "the key has %zu aliases", of_key);
    return publish(a, &list, count);
}

struct result kmsd_aliases_point(struct kmsd_aliases *a, const struct kmsd_alias *alias) {
    HOLD(a);
    bool found;
    size_t at = place(a->list, a->count, alias->account, alias->name, &found);
    CHECK(found, ERR_NOT_FOUND, "no alias %s", alias->name);
    AUTO_FREE struct kmsd_alias *list = copy(a);
    snprintf(list[at].key_id, sizeof list[at].key_id, "%s", alias->key_id);
    list[at].updated_ms = alias->updated_ms;
    return publish(a, &list, a->count);
}

struct result kmsd_aliases_delete(struct kmsd_aliases *a, const char *account, const char *name) {
    HOLD(a);
    bool found;
    size_t at = place(a->list, a->count, account, name, &found);
    CHECK(found, ERR_NOT_FOUND, "no alias %s", name);
    AUTO_FREE struct kmsd_alias *list = copy(a);
    for (size_t i = at; i + 1 < a->count; i++)
        list[i] = list[i + 1];
    return publish(a, &list, a->count - 1);
}

struct result kmsd_aliases_forget_key(struct kmsd_aliases *a, const char *key_id) {
    HOLD(a);
    AUTO_FREE struct kmsd_alias *list = copy(a);
    size_t kept = 0;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(list[i].key_id, key_id) != 0) list[kept++] = list[i];
    return kept == a->count ? OK : publish(a, &list, kept);
}

void kmsd_aliases_list(struct kmsd_aliases *a, const char *account, const char *key_id, const char *after, size_t max,
                       struct kmsd_alias **ret_list, size_t *ret_count, bool *ret_more) {
    struct kmsd_alias *list = mem_alloc_array(max, sizeof *list);
    size_t count = 0;
    HOLD(a);
    *ret_more = false;
    bool found;
    size_t at = place(a->list, a->count, account, after, &found);
    for (size_t i = at + found; i < a->count && strcmp(a->list[i].account, account) == 0 && !*ret_more; i++) {
        if (key_id != NULL && strcmp(a->list[i].key_id, key_id) != 0) continue;
        if (count == max)
            *ret_more = true;
        else
            list[count++] = a->list[i];
    }
    *ret_list = list;
    *ret_count = count;
}
