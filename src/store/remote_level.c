/* Levels of names/ from listings of S3. */
#include <string.h>

#include "store/remote_priv.h"

/* Listing one folder of names/: '+' folders in it belong to the same level. */
struct listing {
    struct store *store;
    const char *dir; /* "names/" and what follows, ending with '/' */
    const uint8_t *chain;
    struct slice name_so_far;
    struct level_found_list *found;
    bool *damaged;
};

static struct result list_folder(struct listing *l);

static void opened_done(struct name_opened *o) {
    buf_done(&o->component);
}

static struct result list_pieces(struct listing *l, const char *name, const struct name_opened *o) {
    CHECK(o->component.len <= STORE_KEY_MAX_BYTES, ERR_CORRUPT, "a name in the store is too long");
    AUTO_FREE char *dir = str_format("%s%s/", l->dir, name);
    struct listing inner = {l->store, dir, o->chain, buf_slice(&o->component), l->found, l->damaged};
    return list_folder(&inner);
}

static struct result list_one(void *arg, const char *path, const struct s3_entry *entry) {
    struct listing *l = arg;
    size_t skip = strlen(l->dir);
    CHECK(strncmp(path, l->dir, skip) == 0, ERR_IO, "the store in S3 lists what was not asked for");
    AUTO_FREE char *name = str_dup(path + skip);
    size_t len = strlen(name);
    if (len == 0) return OK; /* the folder itself, as some tools make it */
    if (entry->is_prefix) name[len - 1] = '\0';
    AUTO(opened_done) struct name_opened o = {0};
    buf_init_wiping(&o.component, STORE_KEY_MAX_BYTES + NAME_PIECE_BYTES + 2);
    buf_append_slice(&o.component, l->name_so_far);
    struct result r = names_open(&l->store->names, l->chain, name, &o);
    if (r.code == ERR_CORRUPT || (is_ok(r) && (o.kind == NAME_OBJECT) == entry->is_prefix)) {
        *l->damaged = true;
        return OK;
    }
    TRY(r);
    if (o.kind == NAME_PIECE) return list_pieces(l, name, &o);
    if (o.kind == NAME_FOLDER) buf_append_byte(&o.component, '/');
    TRY(buf_check(&o.component));
    level_found_add(l->found, buf_slice(&o.component), name, &o);
    return OK;
}

static struct result list_folder(struct listing *l) {
    return remote_walk(l->store, l->dir, "/", list_one, l);
}

/* Nothing is there: if a name in the folder above doesn't open, it may be the one that is missed. */
static struct result check_above(struct store *s, struct level *l) {
    struct slice prefix = slice_str(l->prefix);
    if (l->count > 0 || prefix.len == 0) return OK;
    struct level *above;
    TRY(remote_level_get(s, key_prefix(slice_make(prefix.data, prefix.len - 1)), &above));
    if (above->damaged) l->damaged = true;
    if (l->count == 0) {
        size_t at = strlen(above->prefix);
        level_remove(&s->levels, above, slice_make(l->prefix + at, prefix.len - at));
        if (above->count == 0) remote_levels_disappeared(s, slice_str(above->prefix));
    }
    level_release(&s->levels, above);
    return OK;
}

static struct result load(struct store *s, struct level *l) {
    while (l->writers > 0)
        remote_await(s);
    level_clear(&s->levels, l);
    AUTO(level_found_list_done) struct level_found_list found = {0};
    bool damaged = false;
    AUTO_FREE char *dir = l->place.dir.len ? str_format("names/%s/", buf_str(&l->place.dir)) : str_dup("names/");
    struct listing listing = {s, dir, l->place.chain, {0}, &found, &damaged};
    store_unlock(s);
    struct result r = list_folder(&listing);
    store_lock(s);
    TRY(r);
    level_install(&s->levels, l, &found);
    l->exists = l->count > 0;
    l->damaged = damaged;
    return check_above(s, l);
}

struct result remote_level_get(struct store *s, struct slice prefix, struct level **ret) {
    AUTO_FREE char *text = slice_to_str(prefix); /* what it is from may go with the lock */
    struct level *l;
    TRY(level_enter(&s->levels, slice_str(text), &l));
    while (l->is_loading || l->unsure) {
        if (l->is_loading) {
            remote_await(s);
            continue;
        }
        l->is_loading = true;
        l->unsure = false; /* who finds a reason for doubt from here on says so again */
        struct result r = load(s, l);
        l->is_loading = false;
        remote_announce(s);
        if (is_ok(r)) continue;
        l->unsure = true;
        level_release(&s->levels, l);
        return r;
    }
    *ret = l;
    return OK;
}

struct result remote_level_find(struct store *s, struct slice prefix, char **ret_missing, struct level **ret) {
    struct level *l = level_peek(&s->levels, prefix);
    if (!l || l->is_loading || l->unsure) {
        *ret_missing = slice_to_str(prefix);
        return err_make(ERR_BUSY, "a level is not loaded");
    }
    l->users++;
    *ret = l;
    return OK;
}
