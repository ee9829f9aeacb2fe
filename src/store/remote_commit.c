/* What makes objects in S3 appear and disappear. */
#include <string.h>

#include "base/clock.h"
#include "store/remote_priv.h"

static struct result record_context(struct store *s, const uint8_t *tag, struct buf *out) {
    return store_context(s, "object", slice_make(tag, NAME_TAG_BYTES), out);
}

static char *record_path(const struct name_place *place, const char *file) {
    return place->dir.len ? str_format("names/%s/%s", buf_str(&place->dir), file) : str_format("names/%s", file);
}

/* ---- Locate ---- */

static struct result locate_in(struct store *s, const struct spot *spot, struct level *level,
                               struct store_located *ret) {
    const struct level_entry *e = level_find(level, spot->last);
    CHECK(e || !level->damaged, ERR_CORRUPT, "a name in the object's folder does not verify: it may be this one");
    CHECK(e, ERR_NOT_FOUND, "no such object");
    struct store_located found = {.fd = -1, .summary = e->summary};
    char file[NAME_FILE_BYTES];
    TRY(spot_file(s, spot, &e->summary, file, found.tag));
    found.path = record_path(&spot->place, file);
    bodies_pin(s, found.tag);
    *ret = found;
    return OK;
}

struct result remote_locate(struct store *s, const struct spot *spot, struct store_located *ret) {
    store_lock(s);
    struct level *level;
    struct result r = remote_level_get(s, spot->prefix, &level);
    if (is_ok(r)) {
        r = locate_in(s, spot, level, ret);
        level_release(&s->levels, level);
    }
    store_unlock(s);
    return r;
}

void remote_doubt(struct store *s, const char *key) {
    store_lock(s);
    struct level *level = level_peek(&s->levels, key_prefix(slice_str(key)));
    if (level) level->unsure = true;
    store_unlock(s);
}

/* ---- Versions that go ---- */

/* One version of an object: its file, and which bodies it has. */
struct version {
    uint8_t tag[NAME_TAG_BYTES];
    char file[NAME_FILE_BYTES];
    bool has_bodies;
};

/* Its record, for the sake of its bodies. Empty if it can't be read any more: the sweep knows what to do then. */
static void version_read(struct store *s, const struct spot *spot, const struct version *v, struct record *ret) {
    if (!v->has_bodies) return;
    AUTO_FREE char *path = record_path(&spot->place, v->file);
    BUF_AUTO(context, STORE_CONTEXT_MAX_BYTES);
    if (is_err(record_context(s, v->tag, &context)) || is_err(remote_read_record(s, path, buf_slice(&context), ret))) {
        record_done(ret);
        record_init(ret);
    }
}

/* Without the lock. */
static struct result version_remove(struct store *s, const struct spot *spot, const struct version *v,
                                    const struct record *except) {
    RECORD_AUTO(record);
    version_read(s, spot, v, &record);
    AUTO_FREE char *path = record_path(&spot->place, v->file);
    TRY(remote_delete_path(s, path));
    store_lock(s);
    remote_bodies_drop(s, v->tag, &record, except);
    store_unlock(s);
    return OK;
}

static struct result stale_remove(struct store *s, const struct spot *spot, const struct level_stale *stale,
                                  const struct record *except) {
    for (; stale; stale = stale->next) {
        struct version v = {.has_bodies = stale->has_bodies};
        mem_copy(v.tag, stale->tag, sizeof v.tag);
        mem_copy(v.file, stale->file, strlen(stale->file) + 1);
        TRY(version_remove(s, spot, &v, except));
    }
    return OK;
}

static void stale_free_auto(struct level_stale **stale) {
    level_stale_free(*stale);
}

/* ---- Put ---- */

struct attempt {
    struct spot spot;
    struct name_summary summary;
    char file[NAME_FILE_BYTES];
    uint8_t tag[NAME_TAG_BYTES];
    struct level *level; /* held, and one of its writers */
};

static void attempt_done(struct attempt *a) {
    spot_done(&a->spot);
}

static void level_leave(struct store *s, struct level *level) {
    level->writers--;
    level_release(&s->levels, level);
    remote_announce(s);
}

/* With the lock held: may it be written, and under which sequence? */
static struct result attempt_begin(struct store *s, struct attempt *a, const struct store_condition *condition) {
    struct level *level;
    TRY(remote_level_get(s, a->spot.prefix, &level));
    const struct level_entry *e = level_find(level, a->spot.last);
    struct result r = store_condition_check(condition, e);
    if (is_ok(r) && !e && condition->kind != STORE_ALWAYS && level->damaged)
        r = err_make(ERR_CORRUPT, "a name in the object's folder does not verify: it may be this one");
    if (is_err(r)) {
        level_release(&s->levels, level);
        return r;
    }
    uint64_t now = (uint64_t)clock_unix_us();
    if (e && e->summary.sequence > s->last_sequence) s->last_sequence = e->summary.sequence;
    s->last_sequence = now > s->last_sequence ? now : s->last_sequence + 1;
    a->summary.sequence = s->last_sequence;
    a->level = level;
    level->writers++;
    return OK;
}

static struct result may_commit(struct store *s, uint64_t token) {
    store_lock(s);
    struct result r = store_may_commit(s, token);
    store_unlock(s);
    return r;
}

/* The record's request. *ret_unsure: it failed, but may be there all the same. */
static struct result attempt_put(struct store *s, struct attempt *a, struct record *record, const uint8_t *shared_from,
                                 uint64_t token, bool *ret_unsure) {
    record->sequence = a->summary.sequence;
    record->info.mtime_ms = clock_unix_ms();
    a->summary = (struct name_summary){record->sequence, record->info.size, record->info.mtime_ms, record->info.etag};
    TRY(spot_file(s, &a->spot, &a->summary, a->file, a->tag));
    BUF_AUTO(context, STORE_CONTEXT_MAX_BYTES);
    TRY(record_context(s, a->tag, &context));
    AUTO_FREE char *path = record_path(&a->spot.place, a->file);
    if (shared_from) TRY(may_commit(s, token)); /* no refs for nothing */
    TRY(remote_share_bodies(s, record, shared_from, a->tag));
    TRY(may_commit(s, token));
    struct result r = remote_put_record(s, record, buf_slice(&context), path, ret_unsure);
    if (is_err(r)) return r;
    /* The lease or the consent may have ended on the way; then nobody is to see it. */
    r = may_commit(s, token);
    if (is_ok(r)) return OK;
    struct result gone = remote_delete_path(s, path);
    *ret_unsure = is_err(gone);
    return r;
}

/* With the lock held, after the request was answered. *ret_stale: what the new version replaces. */
static struct result attempt_end(struct store *s, struct attempt *a, const struct record *record,
                                 struct level_stale **ret_stale) {
    struct level *level = a->level;
    remote_bodies_used(s, record);
    bool was_empty = level->count == 0;
    struct level_entry *e = level_add(&s->levels, level, a->spot.last, false);
    *ret_stale = TAKE(e->stale);
    struct result r = OK;
    if (e->summary.sequence != 0) {
        struct level_stale *stale = mem_alloc(sizeof *stale), **at = ret_stale;
        char file[NAME_FILE_BYTES];
        r = spot_file(s, &a->spot, &e->summary, file, stale->tag);
        stale->sequence = e->summary.sequence;
        stale->has_bodies = name_summary_has_bodies(&e->summary);
        stale->file = str_dup(is_ok(r) ? file : "");
        while (*at)
            at = &(*at)->next;
        *at = stale;
    }
    e->summary = a->summary;
    level->exists = true;
    if (was_empty) levels_appeared(s, a->spot.prefix);
    return r;
}

/* It failed, but may be there: out with it, and the next one looks what is there. */
static void withdraw(struct store *s, struct attempt *a, const struct record *record) {
    AUTO_FREE char *path = record_path(&a->spot.place, a->file);
    result_ignore(remote_delete_path(s, path)); /* a level that is loaded again tells what became of it */
    store_lock(s);
    remote_bodies_keep(s, record);
    a->level->unsure = true;
    store_unlock(s);
}

static struct result publish_in_turn(struct store *s, struct attempt *a, struct record *record,
                                     const uint8_t *shared_from, const struct store_condition *condition,
                                     uint64_t token) {
    store_lock(s);
    struct result r = attempt_begin(s, a, condition);
    store_unlock(s);
    TRY(r);
    bool unsure = false;
    r = attempt_put(s, a, record, shared_from, token, &unsure);
    AUTO_FREE char *detail = is_err(r) ? str_dup(err_detail()) : NULL;
    if (unsure) withdraw(s, a, record);
    AUTO(stale_free_auto) struct level_stale *stale = NULL;
    store_lock(s);
    if (is_ok(r))
        r = attempt_end(s, a, record, &stale);
    else if (!unsure)
        remote_bodies_unshare(s, a->tag, record);
    bool failed_after = detail == NULL && is_err(r);
    if (failed_after) a->level->unsure = true;
    level_leave(s, a->level);
    store_unlock(s);
    if (detail) return err_make(r.code, "%s", detail);
    /* It is there whatever happens to the older version; who writes next tries again. */
    if (failed_after || is_err(stale_remove(s, &a->spot, stale, record))) remote_doubt(s, record->info.key);
    return OK;
}

struct result remote_publish(struct store *s, struct record *record, const uint8_t *shared_from,
                             const struct store_condition *condition, uint64_t token, struct store_written *ret) {
    AUTO(attempt_done) struct attempt a = {0};
    TRY(spot_init(s, record->info.key, &a.spot));
    struct remote_turn turn;
    store_lock(s);
    remote_turn_enter(s, &turn, record->info.key, record);
    store_unlock(s);
    struct result r = publish_in_turn(s, &a, record, shared_from, condition, token);
    store_lock(s);
    remote_turn_leave(s, &turn);
    store_unlock(s);
    TRY(r);
    *ret = (struct store_written){record->info.etag, record->info.mtime_ms, record->info.size};
    return OK;
}

/* ---- Delete ---- */

/* The last object of a level is gone: its folder, and those above it that only it stood for, are so, too. */
void remote_levels_disappeared(struct store *s, struct slice prefix) {
    while (prefix.len > 0) {
        struct level *own = level_peek(&s->levels, prefix);
        bool certain = own && !own->is_loading && !own->unsure;
        if (certain && own->count > 0) return;
        if (certain) own->exists = false;
        struct slice parent = key_prefix(slice_make(prefix.data, prefix.len - 1));
        struct slice name = slice_make(prefix.data + parent.len, prefix.len - parent.len);
        struct level *above = level_peek(&s->levels, parent);
        if (above && !certain) above->unsure = true;
        if (above && !certain) return;
        if (above) level_remove(&s->levels, above, name);
        prefix = parent; /* one that is not in memory is uncertain: the next one that is has to look again */
    }
}

struct deletion {
    struct spot spot;
    struct level *level;
    struct version version;
    struct level_stale *stale;
};

static void deletion_done(struct deletion *d) {
    spot_done(&d->spot);
    level_stale_free(d->stale);
}

/* With the lock held. d->level stays NULL if there is nothing to delete. */
static struct result deletion_begin(struct store *s, struct deletion *d, const struct store_condition *condition,
                                    uint64_t token) {
    struct level *level;
    TRY(remote_level_get(s, d->spot.prefix, &level));
    struct level_entry *e = level_find(level, d->spot.last);
    struct result r = store_condition_check(condition, e);
    if (!e && level->damaged)
        r = err_make(ERR_CORRUPT, "a name in the object's folder does not verify: it may be this one");
    if (is_ok(r) && e) r = store_may_commit(s, token);
    if (is_ok(r) && e) r = spot_file(s, &d->spot, &e->summary, d->version.file, d->version.tag);
    if (is_err(r) || !e) {
        level_release(&s->levels, level);
        return r;
    }
    d->version.has_bodies = name_summary_has_bodies(&e->summary);
    d->stale = TAKE(e->stale);
    d->level = level;
    level->writers++;
    return OK;
}

static struct result delete_in_turn(struct store *s, struct deletion *d, const struct store_condition *condition,
                                    uint64_t token) {
    store_lock(s);
    struct result r = deletion_begin(s, d, condition, token);
    store_unlock(s);
    if (is_err(r) || !d->level) return r;
    /* Older versions first: were the newest removed before them, a crash could bring an old one back. */
    r = stale_remove(s, &d->spot, d->stale, NULL);
    if (is_ok(r)) r = version_remove(s, &d->spot, &d->version, NULL);
    store_lock(s);
    if (is_ok(r)) {
        level_remove(&s->levels, d->level, d->spot.last);
        if (d->level->count == 0) remote_levels_disappeared(s, d->spot.prefix);
    } else
        d->level->unsure = true;
    level_leave(s, d->level);
    store_unlock(s);
    return r;
}

struct result remote_delete(struct store *s, const char *key, const struct store_condition *condition, uint64_t token,
                            bool *ret_existed) {
    AUTO(deletion_done) struct deletion d = {0};
    TRY(spot_init(s, key, &d.spot));
    struct remote_turn turn;
    store_lock(s);
    remote_turn_enter(s, &turn, key, NULL);
    store_unlock(s);
    struct result r = delete_in_turn(s, &d, condition, token);
    store_lock(s);
    remote_turn_leave(s, &turn);
    store_unlock(s);
    TRY(r);
    *ret_existed = d.level != NULL;
    return OK;
}
