#include <string.h>

#include "store/remote.h"

struct lister {
    struct store *store;
    struct slice prefix, delimiter, start_after;
    size_t max;
    struct store_list list;
    size_t capacity;
    bool full;     /* an entry more than max was met */
    char *missing; /* in S3: the level that has to be loaded before the page can be made */
};

static bool starts_with(struct slice a, struct slice beginning) {
    return a.len >= beginning.len && slice_equal(slice_make(a.data, beginning.len), beginning);
}

static int compare(struct slice a, struct slice b) {
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n ? mem_order(a.data, b.data, n) : 0;
    if (order != 0) return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

static struct slice behind(struct slice a, size_t n) {
    return slice_make(a.data + n, a.len - n);
}

void store_list_done(struct store_list *list) {
    for (size_t i = 0; i < list->count; i++)
        mem_free(list->entries[i].key);
    mem_free(list->entries);
    *list = (struct store_list){0};
}

static void add(struct lister *l, struct store_list_entry entry, struct slice key) {
    if (l->list.count == l->max) {
        l->full = true;
        return;
    }
    if (l->list.count == l->capacity) {
        l->capacity = l->capacity ? l->capacity * 2 : 16;
        l->list.entries = mem_resize(l->list.entries, l->capacity * sizeof *l->list.entries);
    }
    entry.key = slice_to_str(key);
    l->list.entries[l->list.count++] = entry;
}

/* The common prefix that a key, or everything in a folder, is shown as; false if it is shown as itself. */
static bool rolls_up(const struct lister *l, struct slice key, struct slice *ret) {
    if (l->delimiter.len == 0 || !starts_with(key, l->prefix)) return false;
    struct slice rest = behind(key, l->prefix.len);
    const uint8_t *at = rest.len ? memmem(rest.data, rest.len, l->delimiter.data, l->delimiter.len) : NULL;
    if (!at) return false;
    *ret = slice_make(key.data, (size_t)(at - key.data) + l->delimiter.len);
    return true;
}

static void add_prefix(struct lister *l, struct slice common) {
    if (l->list.count > 0) {
        const struct store_list_entry *last = &l->list.entries[l->list.count - 1];
        if (last->is_prefix && slice_is(common, last->key)) return;
    }
    /* Given as start_after, it was on the page before. */
    if (slice_equal(common, l->start_after)) return;
    add(l, (struct store_list_entry){.is_prefix = true}, common);
}

static void visit_object(struct lister *l, const struct level_entry *e, struct slice key) {
    if (!starts_with(key, l->prefix) || compare(key, l->start_after) <= 0) return;
    struct slice common;
    if (rolls_up(l, key, &common)) {
        add_prefix(l, common);
        return;
    }
    add(l, (struct store_list_entry){.size = e->summary.size, .mtime_ms = e->summary.mtime_ms, .etag = e->summary.etag},
        key);
}

static struct result visit_level(struct lister *l, struct slice prefix);

static struct result visit_folder(struct lister *l, struct slice folder) {
    bool is_before = compare(folder, l->start_after) <= 0;
    /* All of it comes before start_after? */
    if (is_before && !starts_with(l->start_after, folder)) return OK;
    struct slice common;
    if (rolls_up(l, folder, &common)) {
        if (slice_equal(common, l->start_after)) return OK;
        /* No folder is empty, so something in it stands for the prefix, unless that may all be before start_after. */
        if (!is_before) {
            add_prefix(l, common);
            return OK;
        }
    }
    return visit_level(l, folder);
}

/* The first entry of a level that can matter for a bound (the prefix asked for, or start_after). */
static size_t first_entry(const struct level *level, struct slice level_prefix, struct slice bound) {
    if (!starts_with(bound, level_prefix)) return 0;
    struct slice rest = behind(bound, level_prefix.len), head, tail;
    if (slice_cut(rest, '/', &head, &tail)) head.len++; /* with its slash: the folder's name */
    return level_position(level, head);
}

static struct result visit_entries(struct lister *l, const struct level *level) {
    CHECK(!level->damaged, ERR_CORRUPT, "a name in the folder does not verify");
    struct slice prefix = slice_str(level->prefix);
    size_t i = first_entry(level, prefix, l->prefix), later = first_entry(level, prefix, l->start_after);
    if (later > i) i = later;
    BUF_AUTO(key, 2 * STORE_KEY_MAX_BYTES + 16);
    for (; i < level->count && !l->full; i++) {
        const struct level_entry *e = level->entries[i];
        if (i % 256 == 0) TRY(lease_check(l->store->lease));
        buf_clear(&key);
        buf_append_slice(&key, prefix);
        buf_append(&key, e->name, e->len);
        TRY(buf_check(&key));
        struct slice full = buf_slice(&key);
        bool fits = starts_with(full, l->prefix) || (e->is_folder && starts_with(l->prefix, full));
        if (!fits && compare(full, l->prefix) > 0) return OK; /* past the prefix */
        if (!fits) continue;
        if (e->is_folder)
            TRY(visit_folder(l, full));
        else
            visit_object(l, e, full);
    }
    return OK;
}

static struct result visit_level(struct lister *l, struct slice prefix) {
    struct level *level;
    if (l->store->remote)
        TRY(remote_level_find(l->store, prefix, &l->missing, &level));
    else
        TRY(level_get(&l->store->levels, prefix, &level));
    struct result r = visit_entries(l, level);
    level_release(&l->store->levels, level);
    return r;
}

static void lister_done(struct lister *l) {
    store_list_done(&l->list);
    mem_free(l->missing);
}

/* With the lock held. In S3 a level is loaded without the lock, so that the page is begun anew behind each one. */
static struct result visit_all(struct lister *l) {
    struct level **held = NULL; /* so that none of them goes again meanwhile */
    size_t count = 0;
    struct result r;
    for (;;) {
        r = visit_level(l, key_prefix(l->prefix));
        if (!l->missing) break;
        AUTO_FREE char *prefix = TAKE(l->missing);
        store_list_done(&l->list);
        l->capacity = 0;
        l->full = false;
        struct level *level;
        r = remote_level_get(l->store, slice_str(prefix), &level);
        if (is_err(r)) break;
        held = mem_resize(held, (count + 1) * sizeof(struct level *));
        held[count++] = level;
    }
    while (count > 0)
        level_release(&l->store->levels, held[--count]);
    mem_free(held);
    return r;
}

struct result store_list_page(struct store *s, const struct store_list_query *query, struct store_list *ret) {
    TRY(lease_check(s->lease));
    AUTO(lister_done)
    struct lister l = {
        .store = s,
        .prefix = slice_str(query->prefix),
        .delimiter = slice_str(query->delimiter),
        .start_after = slice_str(query->start_after),
        .max = query->max < STORE_LIST_MAX ? query->max : STORE_LIST_MAX,
    };
    /* No key is longer, or isn't UTF-8; such a prefix matches nothing. */
    if (query->max > 0 && l.prefix.len <= STORE_KEY_MAX_BYTES) {
        store_lock(s);
        struct result r = visit_all(&l);
        store_unlock(s);
        TRY(r);
    }
    l.list.truncated = l.full;
    *ret = l.list;
    l.list = (struct store_list){0};
    return OK;
}
