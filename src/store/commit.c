/* What makes objects appear and disappear. The order of steps is what keeps every crash harmless:
 *
 *   put      bodies linked and synced, record written and synced, renamed in under a higher sequence, folder synced,
 *            success; then the older version's file goes, then its bodies. Highest sequence counts, always.
 *   delete   older versions first, then the current one, folder synced, success; then the bodies. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/remote.h"

/* ---- Where an object is ---- */

void spot_done(struct spot *spot) {
    name_place_done(&spot->place);
}

struct result spot_init(struct store *s, const char *key, struct spot *spot) {
    name_place_init(&spot->place);
    struct slice text = slice_str(key);
    spot->prefix = key_prefix(text);
    spot->last = slice_make(text.data + spot->prefix.len, text.len - spot->prefix.len);
    TRY(names_descend(&s->names, spot->prefix, &spot->place));
    return names_leaf(&s->names, spot->last, &spot->place, spot->name, spot->chain);
}

struct result spot_file(struct store *s, const struct spot *spot, const struct name_summary *summary,
                        char ret_file[static NAME_FILE_BYTES], uint8_t ret_tag[static NAME_TAG_BYTES]) {
    char file[NAME_FILE_BYTES];
    mem_copy(file, spot->name, sizeof file);
    TRY(names_add_summary(&s->names, spot->chain, summary, file, ret_tag));
    mem_copy(ret_file, file, sizeof file);
    return OK;
}

static struct result locate_in(struct store *s, const struct spot *spot, struct level *level, struct store_located *ret,
                               bool *ret_gone) {
    const struct level_entry *e = level_find(level, spot->last);
    CHECK(e || !level->damaged, ERR_CORRUPT, "a name in the object's folder does not verify: it may be this one");
    CHECK(e, ERR_NOT_FOUND, "no such object");
    struct store_located found = {.summary = e->summary};
    char file[NAME_FILE_BYTES];
    TRY(spot_file(s, spot, &e->summary, file, found.tag));
    FD_AUTO(dir) = -1;
    TRY(level_open_dir(s->names_fd, &spot->place, &dir));
    found.fd = openat(dir, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    *ret_gone = found.fd < 0 && errno == ENOENT;
    if (found.fd < 0) return err_from_errno(errno, "opening a record");
    bodies_pin(s, found.tag);
    *ret = found;
    return OK;
}

static struct result locate_locked(struct store *s, const struct spot *spot, struct store_located *ret) {
    struct level *level;
    TRY(level_get(&s->levels, spot->prefix, &level));
    bool gone = false;
    struct result r = locate_in(s, spot, level, ret, &gone);
    if (gone) { /* somebody else wrote in our folder: see what is there */
        r = level_reload(&s->levels, level);
        if (is_ok(r)) r = locate_in(s, spot, level, ret, &gone);
    }
    level_release(&s->levels, level);
    return r;
}

struct result store_locate(struct store *s, const char *key, struct store_located *ret) {
    TRY(store_check_key(key));
    TRY(lease_check(s->lease));
    AUTO(spot_done) struct spot spot;
    TRY(spot_init(s, key, &spot));
    if (s->remote) return remote_locate(s, &spot, ret);
    store_lock(s);
    struct result r = locate_locked(s, &spot, ret);
    store_unlock(s);
    return r;
}

/* ---- Conditions ---- */

struct result store_condition_check(const struct store_condition *condition, const struct level_entry *e) {
    switch (condition->kind) {
    case STORE_ALWAYS:
        return OK;
    case STORE_IF_ABSENT:
        CHECK(!e, ERR_PRECONDITION, "the object exists already");
        return OK;
    case STORE_IF_MATCH:
        CHECK(e, ERR_NOT_FOUND, "no such object");
        CHECK(store_etag_equal(&e->summary.etag, &condition->etag), ERR_PRECONDITION, "the object has another ETag");
        return OK;
    }
    FAIL(ERR_INTERNAL, "an unknown condition");
}

/* ---- Folders ---- */

void levels_appeared(struct store *s, struct slice prefix) {
    while (prefix.len > 0) {
        struct level *own = level_peek(&s->levels, prefix);
        if (own) own->exists = true;
        struct slice parent = key_prefix(slice_make(prefix.data, prefix.len - 1));
        struct level *above = level_peek(&s->levels, parent);
        if (above) level_add(&s->levels, above, slice_make(prefix.data + parent.len, prefix.len - parent.len), true);
        prefix = parent;
    }
}

/* Removes the folder of a place, and those above it, as long as they are empty. Leaves the place at the first that
 * stays. */
static void folders_prune(struct store *s, struct slice prefix, struct name_place *place) {
    while (place->dir.len > 0) {
        size_t cut = place->dir.len;
        while (cut > 0 && place->dir.data[cut - 1] != '/')
            cut--;
        char name[NAME_FILE_BYTES];
        size_t n = place->dir.len - cut;
        mem_copy(name, place->dir.data + cut, n);
        name[n] = '\0';
        place->dir.len = cut > 0 ? cut - 1 : 0;
        FD_AUTO(above) = -1;
        struct result r = level_open_dir(s->names_fd, place, &above);
        bool is_gone = r.code == ERR_NOT_FOUND;
        if (is_ok(r)) is_gone = unlinkat(above, name, AT_REMOVEDIR) == 0 || errno == ENOENT;
        if (!is_gone) {
            /* Not empty, the usual end. The place goes back to it. */
            if (is_err(r) || (errno != ENOTEMPTY && errno != EEXIST)) s->is_unsettled = true;
            if (cut > 0) buf_append_byte(&place->dir, '/');
            buf_append_str(&place->dir, name);
            return;
        }
        if (name[0] == '+') continue; /* not a folder of the key */
        struct level *own = level_peek(&s->levels, prefix);
        if (own) own->exists = false;
        struct slice parent = key_prefix(slice_make(prefix.data, prefix.len - 1));
        struct level *parent_level = level_peek(&s->levels, parent);
        if (parent_level)
            level_remove(&s->levels, parent_level, slice_make(prefix.data + parent.len, prefix.len - parent.len));
        prefix = parent;
    }
}

/* ---- Put ---- */

/* One attempt to make a record visible. */
struct attempt {
    struct spot spot;
    struct name_summary summary;
    char file[NAME_FILE_BYTES];
    uint8_t tag[NAME_TAG_BYTES];
    char temporary[STORE_PATH_BYTES]; /* the sealed record in tmp/; "" once it is gone from there */
    int dir;                          /* the folder it is in */
    bool created;                     /* folders were made for it */
    bool withdrawn;                   /* it was in the folder, and its bodies are cared for */
    size_t sync_from;                 /* of store_sync_folder */
};

static uint64_t next_sequence(struct store *s) {
    store_lock(s);
    uint64_t now = (uint64_t)clock_unix_us();
    s->last_sequence = now > s->last_sequence ? now : s->last_sequence + 1;
    uint64_t sequence = s->last_sequence;
    store_unlock(s);
    return sequence;
}

/* Everything that needs no lock: names, bodies and record, all synced. */
static struct result prepare(struct store *s, struct record *record, const struct bodies_source *bodies,
                             struct attempt *a) {
    record->sequence = next_sequence(s);
    record->info.mtime_ms = clock_unix_ms();
    a->summary = (struct name_summary){record->sequence, record->info.size, record->info.mtime_ms, record->info.etag};
    TRY(spot_file(s, &a->spot, &a->summary, a->file, a->tag));
    BUF_AUTO(context, STORE_CONTEXT_MAX_BYTES);
    TRY(store_context(s, "object", slice_make(a->tag, sizeof a->tag), &context));
    TRY(bodies_place(s, a->tag, bodies));
    struct result r = store_write_record(s, record, buf_slice(&context), a->temporary);
    if (is_err(r)) {
        store_lock(s);
        bodies_remove(s, a->tag);
        store_unlock(s);
    }
    return r;
}

static void attempt_undo(struct store *s, struct attempt *a) {
    if (a->temporary[0]) unlinkat(s->tmp_fd, a->temporary, 0);
    a->temporary[0] = '\0';
    if (a->withdrawn) return;
    store_lock(s);
    bodies_remove(s, a->tag);
    store_unlock(s);
}

static struct result rename_in(struct store *s, struct attempt *a) {
    struct result r = level_make_dir(s->names_fd, &a->spot.place, &a->sync_from, &a->dir);
    a->created = a->sync_from < a->spot.place.dir.len;
    if (is_ok(r) && renameat(s->tmp_fd, a->temporary, a->dir, a->file) != 0)
        r = err_from_errno(errno, "renaming a record into place");
    if (is_err(r)) {
        AUTO_FREE char *detail = str_dup(err_detail());
        folders_prune(s, a->spot.prefix, &a->spot.place);
        err_note("%s", detail);
        return r;
    }
    a->temporary[0] = '\0';
    return OK;
}

/* The new version is in the folder: the level shows it, and remembers the file of the one before. */
static struct result level_update(struct store *s, struct attempt *a, struct level *level) {
    struct level_entry *e = level_add(&s->levels, level, a->spot.last, false);
    if (e->summary.sequence != 0) {
        struct level_stale *stale = mem_alloc(sizeof *stale);
        char file[NAME_FILE_BYTES];
        struct result r = spot_file(s, &a->spot, &e->summary, file, stale->tag);
        if (is_err(r)) {
            mem_free(stale);
            level->unsure = true;
            return r;
        }
        stale->sequence = e->summary.sequence;
        stale->file = str_dup(file);
        struct level_stale **at = &e->stale;
        while (*at)
            at = &(*at)->next;
        *at = stale;
    }
    e->summary = a->summary;
    return OK;
}

/* *ret_behind: a version with a higher sequence is there already; try again with a higher one. */
static struct result publish_locked(struct store *s, struct attempt *a, const struct store_condition *condition,
                                    uint64_t token, struct level *level, bool *ret_behind) {
    const struct level_entry *e = level_find(level, a->spot.last);
    TRY(store_condition_check(condition, e));
    CHECK(e || condition->kind == STORE_ALWAYS || !level->damaged, ERR_CORRUPT,
          "a name in the object's folder does not verify: it may be this one");
    if (e && e->summary.sequence >= a->summary.sequence) {
        if (s->last_sequence < e->summary.sequence) s->last_sequence = e->summary.sequence;
        *ret_behind = true;
        return OK;
    }
    TRY(store_may_commit(s, token));
    TRY(rename_in(s, a));
    /* Folders that others made for themselves may be ours as well, and are not synced yet. */
    if (s->creating > 0 && s->creating_from < a->sync_from) a->sync_from = s->creating_from;
    if (s->is_unsettled) a->sync_from = 0;
    if (a->created || s->is_unsettled) levels_appeared(s, a->spot.prefix);
    if (a->created) {
        s->creating++;
        s->creating_from = a->sync_from;
    }
    level->exists = true;
    return level_update(s, a, level);
}

/* After the sync: what the new version replaced goes. */
static void drop_stale(struct store *s, struct attempt *a, struct level *level) {
    struct level_entry *e = level_find(level, a->spot.last);
    while (e && e->stale && e->stale->sequence < a->summary.sequence) {
        struct level_stale *stale = e->stale;
        unlinkat(a->dir, stale->file, 0); /* if it stays, the next open or load sweeps it */
        bodies_remove(s, stale->tag);
        e->stale = stale->next;
        mem_free(stale->file);
        mem_free(stale);
    }
}

/* The new version may or may not be on the disk: out with it, and see what is there. Its bodies stay for the next open
 * to sweep if the record may come back, which would count as the object. */
static void withdraw(struct store *s, struct attempt *a, struct level *level) {
    bool is_out = unlinkat(a->dir, a->file, 0) == 0 || errno == ENOENT;
    if (is_out && fsync(a->dir) == 0) bodies_remove(s, a->tag);
    a->withdrawn = true;
    if (a->created) s->is_unsettled = true;
    result_ignore(level_reload(&s->levels, level)); /* marks it unsure when it fails */
    if (level->count == 0) folders_prune(s, a->spot.prefix, &a->spot.place);
}

static struct result publish_once(struct store *s, struct attempt *a, const struct store_condition *condition,
                                  uint64_t token, bool *ret_behind) {
    store_lock(s);
    struct level *level;
    struct result r = level_get(&s->levels, a->spot.prefix, &level);
    if (is_err(r)) {
        store_unlock(s);
        return r;
    }
    r = publish_locked(s, a, condition, token, level, ret_behind);
    bool is_in = !a->temporary[0];
    if (!is_in) {
        level_release(&s->levels, level);
        store_unlock(s);
        return r;
    }
    store_unlock(s);
    if (is_ok(r)) r = store_sync_folder(s, buf_slice(&a->spot.place.dir), a->dir, a->sync_from);
    store_lock(s);
    if (a->created) s->creating--;
    if (is_ok(r))
        drop_stale(s, a, level);
    else
        withdraw(s, a, level);
    level_release(&s->levels, level);
    store_unlock(s);
    return r;
}

static void attempt_done(struct attempt *a) {
    spot_done(&a->spot);
    fd_close(&a->dir);
}

struct result store_publish(struct store *s, struct record *record, const struct bodies_source *bodies,
                            const struct store_condition *condition, uint64_t token, struct store_written *ret) {
    if (s->remote) return remote_publish(s, record, bodies->shared_from, condition, token, ret);
    enum { ATTEMPTS_MAX = 100 }; /* a second one is rare: two writers of one key overtook each other */
    for (int i = 0; i < ATTEMPTS_MAX; i++) {
        AUTO(attempt_done) struct attempt a = {.dir = -1};
        TRY(spot_init(s, record->info.key, &a.spot));
        TRY(prepare(s, record, bodies, &a));
        bool behind = false;
        struct result r = publish_once(s, &a, condition, token, &behind);
        if (is_err(r) || behind) attempt_undo(s, &a);
        if (is_ok(r) && behind) continue;
        TRY(r);
        *ret = (struct store_written){record->info.etag, record->info.mtime_ms, record->info.size};
        return OK;
    }
    FAIL(ERR_BUSY, "too many writers of one object");
}

/* ---- Delete ---- */

struct deletion {
    struct spot spot;
    int dir; /* the folder whose sync makes it durable */
    uint8_t (*tags)[NAME_TAG_BYTES];
    size_t tag_count;
};

static void deletion_done(struct deletion *d) {
    spot_done(&d->spot);
    fd_close(&d->dir);
    mem_free(d->tags);
}

static void deletion_remember(struct deletion *d, const uint8_t *tag) {
    d->tags = mem_resize(d->tags, (d->tag_count + 1) * sizeof *d->tags);
    mem_copy(d->tags[d->tag_count++], tag, NAME_TAG_BYTES);
}

/* Older versions first: were the newest removed before them, a crash could bring an old one back. */
static struct result unlink_versions(struct store *s, struct deletion *d, const struct level_entry *e) {
    for (const struct level_stale *stale = e->stale; stale; stale = stale->next) {
        if (unlinkat(d->dir, stale->file, 0) != 0 && errno != ENOENT) return err_from_errno(errno, "removing a record");
        deletion_remember(d, stale->tag);
    }
    if (e->stale && fsync(d->dir) != 0) return err_from_errno(errno, "syncing a folder of the store");
    char file[NAME_FILE_BYTES];
    uint8_t tag[NAME_TAG_BYTES];
    TRY(spot_file(s, &d->spot, &e->summary, file, tag));
    if (unlinkat(d->dir, file, 0) != 0 && errno != ENOENT) return err_from_errno(errno, "removing a record");
    deletion_remember(d, tag);
    return OK;
}

static struct result delete_locked(struct store *s, struct deletion *d, const struct store_condition *condition,
                                   uint64_t token, struct level *level, bool *ret_existed) {
    const struct level_entry *e = level_find(level, d->spot.last);
    CHECK(e || !level->damaged, ERR_CORRUPT, "a name in the object's folder does not verify: it may be this one");
    TRY(store_condition_check(condition, e));
    if (!e) return OK;
    TRY(store_may_commit(s, token));
    TRY(level_open_dir(s->names_fd, &d->spot.place, &d->dir));
    struct result r = unlink_versions(s, d, e);
    if (is_err(r)) {
        level->unsure = true;
        return r;
    }
    level_remove(&s->levels, level, d->spot.last);
    *ret_existed = true;
    if (level->count > 0 && d->spot.last.len <= NAME_PIECE_BYTES) return OK;
    size_t before = d->spot.place.dir.len;
    folders_prune(s, d->spot.prefix, &d->spot.place);
    if (d->spot.place.dir.len == before) return OK;
    fd_close(&d->dir);
    return level_open_dir(s->names_fd, &d->spot.place, &d->dir);
}

struct result store_delete(struct store *s, const char *key, const struct store_condition *condition, uint64_t token,
                           bool *ret_existed) {
    TRY(store_check_key(key));
    TRY(lease_check(s->lease));
    if (s->remote) return remote_delete(s, key, condition, token, ret_existed);
    AUTO(deletion_done) struct deletion d = {.dir = -1};
    TRY(spot_init(s, key, &d.spot));
    bool existed = false;
    store_lock(s);
    struct level *level;
    struct result r = level_get(&s->levels, d.spot.prefix, &level);
    if (is_ok(r)) {
        r = delete_locked(s, &d, condition, token, level, &existed);
        level_release(&s->levels, level);
    }
    store_unlock(s);
    TRY(r);
    struct slice dir = buf_slice(&d.spot.place.dir);
    if (existed) TRY(store_sync_folder(s, dir, d.dir, dir.len));
    store_lock(s);
    for (size_t i = 0; i < d.tag_count; i++)
        bodies_remove(s, d.tags[i]);
    store_unlock(s);
    *ret_existed = existed;
    return OK;
}
