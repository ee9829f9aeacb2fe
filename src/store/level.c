#include "store/level.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "store/record.h"

enum { BUCKETS = ARRAY_LEN(((struct level_cache *)NULL)->buckets) };

/* ---- Entries ---- */

static int compare(const char *a, size_t a_len, const char *b, size_t b_len) {
    int order = mem_order(a, b, a_len < b_len ? a_len : b_len);
    if (order != 0) return order;
    return a_len < b_len ? -1 : a_len > b_len;
}

void level_stale_free(struct level_stale *s) {
    while (s) {
        struct level_stale *next = s->next;
        mem_free(s->file);
        mem_free(s);
        s = next;
    }
}

static void entry_free(struct level_entry *e) {
    level_stale_free(e->stale);
    mem_free(e);
}

size_t level_position(const struct level *l, struct slice name) {
    size_t low = 0, high = l->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct level_entry *e = l->entries[middle];
        if (compare(e->name, e->len, (const char *)name.data, name.len) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool entry_is(const struct level_entry *e, struct slice name) {
    return slice_equal(slice_make(e->name, e->len), name);
}

struct level_entry *level_find(const struct level *l, struct slice name) {
    size_t at = level_position(l, name);
    return at < l->count && entry_is(l->entries[at], name) ? l->entries[at] : NULL;
}

static struct level_entry *entry_new(struct slice name, bool is_folder) {
    struct level_entry *e = mem_alloc(sizeof *e + name.len + 1);
    e->is_folder = is_folder;
    e->len = name.len;
    mem_copy(e->name, name.data, name.len);
    return e;
}

static void make_room(struct level *l) {
    if (l->count < l->capacity) return;
    l->capacity = l->capacity ? l->capacity * 2 : 16;
    l->entries = mem_resize(l->entries, l->capacity * sizeof(struct level_entry *));
}

/* ---- What disappears while a level is being loaded ---- */

static bool gone_find(const struct level *l, struct slice name, size_t *ret) {
    for (size_t i = 0; i < l->gone.count; i++) {
        if (!slice_is(name, l->gone.items[i])) continue;
        *ret = i;
        return true;
    }
    return false;
}

static void gone_forget(struct level *l, struct slice name) {
    size_t at;
    if (!gone_find(l, name, &at)) return;
    mem_free(l->gone.items[at]);
    l->gone.items[at] = l->gone.items[--l->gone.count];
}

static void gone_note(struct level *l, struct slice name) {
    size_t at;
    if (gone_find(l, name, &at)) return;
    l->gone.items = mem_resize(l->gone.items, (l->gone.count + 1) * sizeof(char *));
    l->gone.items[l->gone.count++] = slice_to_str(name);
}

static void gone_clear(struct level *l) {
    for (size_t i = 0; i < l->gone.count; i++)
        mem_free(l->gone.items[i]);
    mem_free(l->gone.items);
    l->gone = (struct level_names){0};
}

struct level_entry *level_add(struct level_cache *c, struct level *l, struct slice name, bool is_folder) {
    size_t at = level_position(l, name);
    if (at < l->count && entry_is(l->entries[at], name)) return l->entries[at];
    make_room(l);
    mem_move(l->entries + at + 1, l->entries + at, (l->count - at) * sizeof(struct level_entry *));
    l->entries[at] = entry_new(name, is_folder);
    l->count++;
    c->entries++;
    if (l->is_loading) gone_forget(l, name);
    return l->entries[at];
}

void level_remove(struct level_cache *c, struct level *l, struct slice name) {
    if (l->is_loading) gone_note(l, name);
    size_t at = level_position(l, name);
    if (at >= l->count || !entry_is(l->entries[at], name)) return;
    entry_free(l->entries[at]);
    mem_move(l->entries + at, l->entries + at + 1, (l->count - at - 1) * sizeof(struct level_entry *));
    l->count--;
    c->entries--;
}

void level_clear(struct level_cache *c, struct level *l) {
    for (size_t i = 0; i < l->count; i++)
        entry_free(l->entries[i]);
    c->entries -= l->count;
    l->count = 0;
    gone_clear(l);
}

/* ---- The cache ---- */

void level_cache_init(struct level_cache *c, int names_fd, const struct names *names, size_t entries_max) {
    c->names_fd = names_fd;
    c->names = names;
    c->entries_max = entries_max;
}

static size_t bucket_of(struct slice prefix) {
    uint64_t h = 1469598103934665603ULL; /* FNV-1a; tenants choose names, but only slow their own gateway */
    for (size_t i = 0; i < prefix.len; i++)
        h = (h ^ prefix.data[i]) * 1099511628211ULL;
    return (size_t)(h % BUCKETS);
}

static void age_unlink(struct level_cache *c, struct level *l) {
    if (l->newer)
        l->newer->older = l->older;
    else if (c->newest == l)
        c->newest = l->older;
    if (l->older)
        l->older->newer = l->newer;
    else if (c->oldest == l)
        c->oldest = l->newer;
    l->newer = l->older = NULL;
}

static void age_front(struct level_cache *c, struct level *l) {
    age_unlink(c, l);
    l->older = c->newest;
    if (c->newest)
        c->newest->newer = l;
    else
        c->oldest = l;
    c->newest = l;
}

static void level_drop(struct level_cache *c, struct level *l) {
    struct level **at = &c->buckets[bucket_of(slice_str(l->prefix))];
    while (*at && *at != l)
        at = &(*at)->hash_next;
    if (*at) *at = l->hash_next;
    age_unlink(c, l);
    level_clear(c, l);
    c->entries--;
    mem_free(l->entries);
    mem_free(l->prefix);
    name_place_done(&l->place);
    mem_free(l);
}

void level_cache_done(struct level_cache *c) {
    while (c->oldest)
        level_drop(c, c->oldest);
}

static void evict(struct level_cache *c, const struct level *keep) {
    struct level *l = c->oldest;
    while (l && c->entries > c->entries_max) {
        struct level *newer = l->newer;
        if (l != keep && l->users == 0) level_drop(c, l);
        l = newer;
    }
}

struct level *level_peek(struct level_cache *c, struct slice prefix) {
    for (struct level *l = c->buckets[bucket_of(prefix)]; l; l = l->hash_next)
        if (slice_is(prefix, l->prefix)) return l;
    return NULL;
}

/* ---- Reading folders ---- */

static void dir_close(DIR **d) {
    if (*d) closedir(*d);
}

/* A walk to the folder of a place. */
struct walk {
    bool makes;  /* what is missing */
    size_t made; /* length of the path of the folder in which the first was made */
    size_t keys; /* how many folders of keys ('+' folders not counted) were there, also when NOT_FOUND is returned */
};

/* Paths may be longer than the system takes at once; mostly it is two or three steps. */
static struct result walk(int names_fd, struct slice dir, struct walk *w, int *ret_fd) {
    w->keys = 0;
    w->made = dir.len;
    FD_AUTO(fd) = openat(names_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return err_from_errno(errno, "opening a folder of the store");
    struct slice rest = dir;
    size_t len = 0; /* of the path that fd is at */
    while (rest.len > 0) {
        struct slice step;
        slice_cut(rest, '/', &step, &rest);
        char name[NAME_FILE_BYTES];
        mem_copy(name, step.data, step.len);
        name[step.len] = '\0';
        if (w->makes && mkdirat(fd, name, 0700) == 0)
            w->made = w->made < len ? w->made : len;
        else if (w->makes && errno != EEXIST)
            return err_from_errno(errno, "creating a folder of the store");
        int next = openat(fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (next < 0 && errno == ENOENT) return err_make(ERR_NOT_FOUND, "no such folder in the store");
        if (next < 0) return err_from_errno(errno, "opening a folder of the store");
        fd_close(&fd);
        fd = next;
        len += (len > 0) + step.len;
        if (name[0] != '+') w->keys++;
    }
    *ret_fd = TAKE_FD(fd);
    return OK;
}

struct result level_open_dir(int names_fd, const struct name_place *place, int *ret_fd) {
    struct walk w = {0};
    return walk(names_fd, buf_slice(&place->dir), &w, ret_fd);
}

struct result level_make_dir(int names_fd, const struct name_place *place, size_t *ret_made, int *ret_fd) {
    struct walk w = {.makes = true};
    struct result r = walk(names_fd, buf_slice(&place->dir), &w, ret_fd);
    *ret_made = w.made;
    return r;
}

static void opened_done(struct name_opened *o) {
    buf_done(&o->component);
}

static struct level_stale *stale_new(const char *file, const struct name_opened *o) {
    struct level_stale *s = mem_alloc(sizeof *s);
    s->sequence = o->summary.sequence;
    s->has_bodies = name_summary_has_bodies(&o->summary);
    s->file = str_dup(file);
    mem_copy(s->tag, o->tag, sizeof s->tag);
    return s;
}

/* Several versions of an object in one folder: a crash came between putting the new one in and removing the old one.
 * The highest counts. The folder is synced first, so that the newest is sure to stay. */
static struct result versions_settle(struct level_cache *c, int dir_fd, struct level_stale **versions, size_t count,
                                     size_t best) {
    if (fsync(dir_fd) != 0) return err_from_errno(errno, "syncing a folder of the store");
    for (size_t i = 0; i < count; i++) {
        if (i == best) continue;
        if (unlinkat(dir_fd, versions[i]->file, 0) != 0 && errno != ENOENT)
            return err_from_errno(errno, "removing an overwritten version");
        if (c->remove_bodies) c->remove_bodies(c->arg, versions[i]->tag);
    }
    return OK;
}

void level_found_list_done(struct level_found_list *l) {
    for (size_t i = 0; i < l->count; i++) {
        if (l->items[i].entry) entry_free(l->items[i].entry);
        level_stale_free(l->items[i].file);
    }
    mem_free(l->items);
}

static void found_add(struct level_found_list *l, struct level_found item) {
    if (l->count == l->capacity) {
        l->capacity = l->capacity ? l->capacity * 2 : 16;
        l->items = mem_resize(l->items, l->capacity * sizeof *l->items);
    }
    l->items[l->count++] = item;
}

void level_found_add(struct level_found_list *l, struct slice name, const char *file, const struct name_opened *o) {
    struct level_found item = {entry_new(name, o->kind == NAME_FOLDER), NULL};
    item.entry->summary = o->summary;
    if (o->kind == NAME_OBJECT) item.file = stale_new(file, o);
    found_add(l, item);
}

static int found_order(const void *a, const void *b) {
    const struct level_found *x = a, *y = b;
    int order = compare(x->entry->name, x->entry->len, y->entry->name, y->entry->len);
    if (order != 0) return order;
    return x->entry->summary.sequence < y->entry->summary.sequence   ? -1
           : x->entry->summary.sequence > y->entry->summary.sequence ? 1
                                                                     : 0;
}

static struct result read_folder(struct level_cache *c, struct level *l, int dir_fd, const uint8_t *chain,
                                 struct slice name_so_far);

/* The part of a long component that nests in a '+' folder belongs to the same level. */
static struct result read_pieces(struct level_cache *c, struct level *l, int dir_fd, const char *file,
                                 const struct name_opened *o) {
    /* A key has at most STORE_KEY_MAX_BYTES, so this nests at most nine deep. */
    CHECK(o->component.len <= STORE_KEY_MAX_BYTES, ERR_CORRUPT, "a name in the store is too long");
    FD_AUTO(fd) = openat(dir_fd, file, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return err_from_errno(errno, "opening a folder of the store");
    return read_folder(c, l, fd, o->chain, buf_slice(&o->component));
}

/* Adds what was found in one folder to the level, the highest version of each object only. */
static struct result adopt(struct level_cache *c, struct level *l, int dir_fd, struct level_found_list *list) {
    if (list->count == 0) return OK;
    qsort(list->items, list->count, sizeof *list->items, found_order);
    for (size_t i = 0; i < list->count;) {
        size_t last = i;
        while (last + 1 < list->count &&
               entry_is(list->items[last + 1].entry, slice_make(list->items[i].entry->name, list->items[i].entry->len)))
            last++;
        if (last > i) {
            struct level_stale **versions = mem_alloc_array(last - i + 1, sizeof(struct level_stale *));
            for (size_t k = i; k <= last; k++)
                versions[k - i] = list->items[k].file;
            struct result r = versions_settle(c, dir_fd, versions, last - i + 1, last - i);
            mem_free(versions);
            TRY(r);
        }
        make_room(l);
        l->entries[l->count++] = TAKE(list->items[last].entry);
        c->entries++;
        i = last + 1;
        /* Those passed over are freed with the list. */
    }
    return OK;
}

static struct result read_one(struct level_cache *c, struct level *l, int dir_fd, const uint8_t *chain,
                              struct slice name_so_far, const char *file, struct level_found_list *list) {
    AUTO(opened_done) struct name_opened o = {0};
    buf_init_wiping(&o.component, STORE_KEY_MAX_BYTES + NAME_PIECE_BYTES + 2);
    buf_append_slice(&o.component, name_so_far);
    struct result r = names_open(c->names, chain, file, &o);
    if (r.code == ERR_CORRUPT) {
        l->damaged = true;
        return OK;
    }
    TRY(r);
    if (o.kind == NAME_PIECE) return read_pieces(c, l, dir_fd, file, &o);
    if (o.kind == NAME_FOLDER) buf_append_byte(&o.component, '/');
    TRY(buf_check(&o.component));
    level_found_add(list, buf_slice(&o.component), file, &o);
    return OK;
}

static struct result read_folder(struct level_cache *c, struct level *l, int dir_fd, const uint8_t *chain,
                                 struct slice name_so_far) {
    AUTO(level_found_list_done) struct level_found_list list = {0};
    FD_AUTO(copy) = fcntl(dir_fd, F_DUPFD_CLOEXEC, 0);
    AUTO(dir_close) DIR *dir = fdopendir(copy);
    if (!dir) return err_from_errno(errno, "reading a folder of the store");
    copy = -1; /* closed with dir */
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(dir);
        if (!e && errno != 0) return err_from_errno(errno, "reading a folder of the store");
        if (!e) break;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        TRY(read_one(c, l, dir_fd, chain, name_so_far, e->d_name, &list));
    }
    return adopt(c, l, dir_fd, &list);
}

static int entry_order(const void *a, const void *b) {
    const struct level_entry *x = *(struct level_entry *const *)a, *y = *(struct level_entry *const *)b;
    return compare(x->name, x->len, y->name, y->len);
}

/* The folder is not there, only those of its first `keys` components are: if a name in the last of them doesn't open,
 * it may be the one that is missed. */
static struct result check_above(struct level_cache *c, struct level *l, size_t keys) {
    struct slice prefix = slice_str(l->prefix);
    size_t n = 0;
    for (; keys > 0 && n < prefix.len; n++)
        if (prefix.data[n] == '/') keys--;
    if (n == prefix.len) return OK;
    struct level *above;
    TRY(level_get(c, slice_make(prefix.data, n), &above));
    l->damaged = above->damaged;
    level_release(c, above);
    return OK;
}

struct result level_reload(struct level_cache *c, struct level *l) {
    level_clear(c, l);
    l->damaged = false;
    l->unsure = true;
    FD_AUTO(fd) = -1;
    struct walk w = {0};
    struct result r = walk(c->names_fd, buf_slice(&l->place.dir), &w, &fd);
    l->exists = is_ok(r);
    l->users++; /* loading another level may drop those that nobody holds */
    if (is_ok(r))
        r = read_folder(c, l, fd, l->place.chain, (struct slice){0});
    else if (r.code == ERR_NOT_FOUND)
        r = check_above(c, l, w.keys);
    l->users--;
    TRY(r);
    if (l->count > 1) qsort(l->entries, l->count, sizeof(struct level_entry *), entry_order);
    l->unsure = false;
    return OK;
}

/* ---- For S3 ---- */

bool name_summary_has_bodies(const struct name_summary *summary) {
    return summary->size > RECORD_INLINE_MAX_BYTES || summary->etag.parts > 0;
}

/* The older versions of the object whose newest is `last`. */
static struct level_stale *stale_of(struct level_found *items, size_t first, size_t last) {
    struct level_stale *list = NULL;
    for (size_t i = last; i-- > first;) {
        struct level_stale *s = TAKE(items[i].file);
        s->next = list;
        list = s;
    }
    return list;
}

void level_install(struct level_cache *c, struct level *l, struct level_found_list *found) {
    size_t at, before = l->count; /* folders that appeared meanwhile */
    if (found->count > 1) qsort(found->items, found->count, sizeof *found->items, found_order);
    for (size_t i = 0; i < found->count;) {
        struct slice name = slice_make(found->items[i].entry->name, found->items[i].entry->len);
        size_t last = i;
        while (last + 1 < found->count && entry_is(found->items[last + 1].entry, name))
            last++;
        bool known = gone_find(l, name, &at);
        for (size_t k = 0; k < before && !known; k++)
            known = entry_is(l->entries[k], name);
        if (!known) {
            found->items[last].entry->stale = stale_of(found->items, i, last);
            make_room(l);
            l->entries[l->count++] = TAKE(found->items[last].entry);
            c->entries++;
        }
        i = last + 1;
    }
    gone_clear(l);
    if (l->count > 1) qsort(l->entries, l->count, sizeof(struct level_entry *), entry_order);
}

/* ---- Getting at levels ---- */

static struct result level_make(struct level_cache *c, struct slice prefix, struct level **ret) {
    struct level *l = mem_alloc(sizeof *l);
    l->prefix = slice_to_str(prefix);
    name_place_init(&l->place);
    size_t bucket = bucket_of(prefix);
    l->hash_next = c->buckets[bucket];
    c->buckets[bucket] = l;
    c->entries++; /* an empty level costs about as much as an entry */
    age_front(c, l);
    struct result r = names_descend(c->names, prefix, &l->place);
    if (is_err(r))
        level_drop(c, l);
    else
        *ret = l;
    return r;
}

static void level_hold(struct level_cache *c, struct level *l) {
    age_front(c, l);
    l->users++;
    evict(c, l);
}

struct result level_enter(struct level_cache *c, struct slice prefix, struct level **ret) {
    struct level *l = level_peek(c, prefix);
    if (!l) {
        TRY(level_make(c, prefix, &l));
        l->unsure = true;
    }
    level_hold(c, l);
    *ret = l;
    return OK;
}

struct result level_get(struct level_cache *c, struct slice prefix, struct level **ret) {
    struct level *l = level_peek(c, prefix);
    if (!l) {
        TRY(level_make(c, prefix, &l));
        struct result r = level_reload(c, l);
        if (is_err(r)) {
            level_drop(c, l);
            return r;
        }
    }
    if (l->unsure) TRY(level_reload(c, l));
    level_hold(c, l);
    *ret = l;
    return OK;
}

void level_release(struct level_cache *c, struct level *l) {
    l->users--;
}
