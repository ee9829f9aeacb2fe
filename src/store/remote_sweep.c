/* The thread of a store in S3: removes what is not needed any more, and, when the store was opened and once a day,
 * looks for what a crash left: bodies and refs that no record stands for, S3 uploads that nobody finishes. Whatever is
 * written meanwhile is young, or known here, or takes its bodies off the list. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "store/remote_priv.h"
#include "store/upload.h"

enum { SWEEP_EVERY_S = 24 * 3600, RETRY_AFTER_S = 10 };

/* ---- What was discarded ---- */

void remote_discard(struct store *s, const char *path, const char *upload_id) {
    struct remote *r = s->remote;
    struct remote_trash *t = mem_alloc(sizeof *t);
    t->key = str_dup(path);
    t->upload_id = str_dup(upload_id);
    *r->trash_end = t;
    r->trash_end = &t->next;
    remote_announce(s);
}

/* Up to a page of what waits. */
static struct remote_trash *trash_take(struct remote *r) {
    struct remote_trash *first = r->trash, **at = &r->trash;
    for (size_t n = 0; *at && n < S3_STORE_PAGE_KEYS; n++)
        at = &(*at)->next;
    r->trash = *at;
    *at = NULL;
    if (!r->trash) r->trash_end = &r->trash;
    return first;
}

static void trash_return(struct remote *r, struct remote_trash *list) {
    struct remote_trash **end = &list;
    while (*end)
        end = &(*end)->next;
    *end = r->trash;
    if (!r->trash) r->trash_end = end;
    r->trash = list;
    if (r->trash_end == &list) r->trash_end = &r->trash;
}

static void trash_free(struct remote_trash *list) {
    while (list) {
        struct remote_trash *next = list->next;
        mem_free(list->key);
        mem_free(list->upload_id);
        mem_free(list);
        list = next;
    }
}

static struct result trash_remove(struct store *s, const struct remote_trash *list) {
    struct s3_name names[S3_STORE_PAGE_KEYS];
    size_t count = 0;
    struct result r = OK;
    struct s3_failure why = {0};
    for (; list && is_ok(r); list = list->next) {
        char *key = str_format("%s%s", s->remote->prefix, list->key);
        if (list->upload_id) {
            r = s3_store_upload_abort(s->remote->client, key, list->upload_id, &why);
            mem_free(key);
        } else
            names[count++] = (struct s3_name){key, NULL};
    }
    if (is_ok(r) && count > 0) r = s3_store_delete_many(s->remote->client, names, count, &why);
    for (size_t i = 0; i < count; i++)
        mem_free(mem_unconst(names[i].key));
    return remote_result(s, r, &why);
}

/* With the lock held. False: it did not work. */
static bool trash_empty(struct store *s) {
    struct remote_trash *list = trash_take(s->remote);
    store_unlock(s);
    struct result r = trash_remove(s, list);
    if (is_ok(r)) trash_free(list);
    store_lock(s);
    if (is_err(r)) trash_return(s->remote, list);
    return is_ok(r);
}

/* ---- The sweep ---- */

struct tag {
    uint8_t bytes[NAME_TAG_BYTES];
};

struct sweep {
    struct store *store;
    int64_t before_ms; /* what is younger stays */
    size_t capacity;   /* of the store's candidates */
    struct tag *tags;  /* of every record; only if there are shares */
    size_t tag_count, tag_capacity;
    bool notes_tags;
    bool unsure; /* something can't be read: whatever its bodies are, they must stay */
};

static struct result go_on(struct sweep *w) {
    store_lock(w->store);
    bool stops = w->store->remote->stops;
    store_unlock(w->store);
    return stops ? err_make(ERR_CANCELLED, "the store is being closed") : OK;
}

static int order(const void *a, const void *b) {
    return mem_order(a, b, RECORD_BODY_ID_BYTES);
}

static struct result note_candidate(void *arg, const char *path, const struct s3_entry *entry) {
    struct sweep *w = arg;
    struct remote *r = w->store->remote;
    const char *hex = strrchr(path, '/') + 1;
    struct remote_candidate c = {0};
    TRY(go_on(w));
    if (entry->modified_ms >= w->before_ms || !remote_parse_hex(slice_str(hex), c.id)) return OK;
    store_lock(w->store);
    if (r->candidate_count == w->capacity) {
        w->capacity = w->capacity ? 2 * w->capacity : 1024;
        r->candidates = mem_resize(r->candidates, w->capacity * sizeof *r->candidates);
    }
    r->candidates[r->candidate_count++] = c; /* in order, as they are listed */
    store_unlock(w->store);
    return OK;
}

static void note_tag(struct sweep *w, const uint8_t *tag) {
    if (!w->notes_tags) return;
    if (w->tag_count == w->tag_capacity) {
        w->tag_capacity = w->tag_capacity ? 2 * w->tag_capacity : 1024;
        w->tags = mem_resize(w->tags, w->tag_capacity * sizeof *w->tags);
    }
    mem_copy(w->tags[w->tag_count++].bytes, tag, NAME_TAG_BYTES);
}

static void keep_body(struct sweep *w, const uint8_t *id) {
    struct record_segment segment = {.size = 1};
    mem_copy(segment.body_id, id, sizeof segment.body_id);
    const struct record one = {.segments = &segment, .segment_count = 1};
    remote_bodies_used(w->store, &one);
}

/* With the lock held: what this process knows. */
static void keep_known(struct sweep *w) {
    for (const struct upload *u = w->store->uploads; u; u = u->next)
        for (size_t i = 0; i < u->part_count; i++) {
            const struct record part = {.segments = u->parts[i].segments, .segment_count = u->parts[i].segment_count};
            remote_bodies_used(w->store, &part);
            note_tag(w, u->parts[i].attempt);
        }
    for (const struct remote_body *b = w->store->remote->living; b; b = b->next)
        keep_body(w, b->id);
    for (const struct remote_turn *t = w->store->remote->turns; t; t = t->next)
        if (t->record) remote_bodies_used(w->store, t->record);
    /* What was deleted, and somebody still reads. */
    for (const struct store_pin *p = w->store->pins; p; p = p->next)
        for (size_t i = 0; p->bodies && i < p->bodies->count; i++)
            keep_body(w, p->bodies->ids[i]);
}

static struct result use_record(struct sweep *w, const char *path, const uint8_t *tag) {
    struct store *s = w->store;
    BUF_AUTO(context, STORE_CONTEXT_MAX_BYTES);
    TRY(store_context(s, "object", slice_make(tag, NAME_TAG_BYTES), &context));
    RECORD_AUTO(record);
    struct result r = remote_read_record(s, path, buf_slice(&context), &record);
    if (r.code == ERR_NOT_FOUND) return OK; /* deleted meanwhile, and its bodies with it */
    if (r.code == ERR_CORRUPT) w->unsure = true;
    if (r.code == ERR_CORRUPT) return OK;
    TRY(r);
    store_lock(s);
    remote_bodies_used(s, &record);
    store_unlock(s);
    return OK;
}

/* An object in names/, with all names on the way to it. */
static struct result visit_name(void *arg, const char *path, const struct s3_entry *entry) {
    struct sweep *w = arg;
    TRY(go_on(w));
    uint8_t chain[NAME_CHAIN_BYTES] = {0};
    struct slice step, rest = slice_str(path);
    slice_cut(rest, '/', &step, &rest); /* "names" */
    for (bool more = true; more;) {
        more = slice_cut(rest, '/', &step, &rest);
        if (step.len == 0 && !more) return OK; /* a folder as some tools make it */
        AUTO_FREE char *name = slice_to_str(step);
        struct name_opened o = {0};
        buf_init_wiping(&o.component, STORE_KEY_MAX_BYTES);
        struct result r = names_open(&w->store->names, chain, name, &o);
        buf_done(&o.component);
        if (r.code == ERR_CORRUPT || (is_ok(r) && (o.kind == NAME_OBJECT) == more)) {
            w->unsure = true;
            return OK;
        }
        TRY(r);
        mem_copy(chain, o.chain, sizeof chain);
        if (more) continue;
        note_tag(w, o.tag);
        if (name_summary_has_bodies(&o.summary)) TRY(use_record(w, path, o.tag));
    }
    return OK;
}

/* With the lock held. */
static void discard_unused(struct sweep *w) {
    struct remote *r = w->store->remote;
    size_t count = 0;
    for (size_t i = 0; i < r->candidate_count; i++) {
        if (r->candidates[i].is_used) continue;
        char path[STORE_PATH_BYTES];
        remote_body_path(r->candidates[i].id, path);
        remote_discard(w->store, path, NULL);
        count++;
    }
    if (count > 0) log_info("store.swept", KVI("bodies", (int64_t)count));
}

static void discard_shares(struct sweep *w) {
    struct remote *r = w->store->remote;
    if (w->tag_count > 1) qsort(w->tags, w->tag_count, sizeof *w->tags, order);
    for (size_t i = 0; i < ARRAY_LEN(r->shares); i++)
        for (struct remote_share *share = r->shares[i], *next; share; share = next) {
            next = share->next;
            for (size_t k = share->count; k-- > 0;) {
                struct tag tag = {0};
                mem_copy(tag.bytes, share->sharers[k].tag, sizeof tag.bytes);
                bool known = w->tag_count && bsearch(&tag, w->tags, w->tag_count, sizeof tag, order);
                if (known || !share->sharers[k].is_old) continue;
                bool last = share->count == 1;
                remote_share_remove(w->store, share->body, tag.bytes);
                if (last) break; /* the share itself is gone */
            }
        }
}

static struct result abort_old(struct sweep *w) {
    struct store *s = w->store;
    AUTO_FREE char *prefix = str_format("%sbodies/", s->remote->prefix);
    AUTO(s3_entries_done) struct s3_entries page = {0};
    for (bool first = true; first || page.next; first = false) {
        struct s3_entries next = {0};
        struct s3_failure why = {0};
        const struct s3_list list = {.prefix = prefix, .after = first ? NULL : &page};
        TRY(remote_result(s, s3_store_list_uploads(s->remote->client, &list, &next, &why), &why));
        s3_entries_done(&page);
        page = next;
        store_lock(s);
        for (size_t i = 0; i < page.count; i++) {
            const char *path = page.items[i].key + strlen(s->remote->prefix);
            bool living = page.items[i].modified_ms >= w->before_ms;
            for (const struct remote_body *b = s->remote->living; b && !living; b = b->next)
                living = strcmp(b->path, path) == 0;
            if (!living) remote_discard(s, path, page.items[i].upload_id);
        }
        store_unlock(s);
    }
    return OK;
}

static struct result sweep_all(struct sweep *w) {
    struct store *s = w->store;
    TRY(remote_walk(s, "bodies/", NULL, note_candidate, w));
    store_lock(s);
    w->notes_tags = s->remote->share_count > 0;
    bool idle = s->remote->candidate_count == 0 && !w->notes_tags;
    keep_known(w);
    store_unlock(s);
    if (!idle) TRY(remote_walk(s, "names/", NULL, visit_name, w));
    store_lock(s);
    keep_known(w);
    if (!w->unsure) {
        discard_unused(w);
        discard_shares(w);
    }
    store_unlock(s);
    return abort_old(w);
}

static void sweep(struct store *s) {
    struct sweep w = {.store = s, .before_ms = clock_unix_ms() - REMOTE_SWEEP_AGE_S * 1000LL};
    /* What could not be swept now is swept another time. */
    result_ignore(sweep_all(&w));
    mem_free(w.tags);
    store_lock(s);
    mem_free(TAKE(s->remote->candidates));
    s->remote->candidate_count = 0;
    store_unlock(s);
}

/* ---- The thread ---- */

static void await_until(struct store *s, int64_t boottime_ns) {
    int64_t left = boottime_ns - clock_boottime_ns();
    if (left <= 0) return;
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    int64_t ns = at.tv_nsec + left;
    at.tv_sec += ns / NS_PER_S;
    at.tv_nsec = ns % NS_PER_S;
    pthread_cond_timedwait(&s->remote->changed, &s->lock, &at);
}

static void *broom(void *arg) {
    struct store *s = arg;
    struct remote *r = s->remote;
    int64_t next_sweep = clock_boottime_ns(), next_try = next_sweep;
    store_lock(s);
    for (;;) {
        int64_t now = clock_boottime_ns();
        if (r->trash && (now >= next_try || r->stops)) {
            bool done = trash_empty(s);
            if (!done && r->stops) break; /* the next opening sweeps it */
            if (!done) next_try = now + RETRY_AFTER_S * NS_PER_S;
            continue;
        }
        if (r->stops) break;
        if (now >= next_sweep) {
            store_unlock(s);
            sweep(s);
            store_lock(s);
            next_sweep = clock_boottime_ns() + (int64_t)SWEEP_EVERY_S * NS_PER_S;
            continue;
        }
        await_until(s, r->trash && next_try < next_sweep ? next_try : next_sweep);
    }
    store_unlock(s);
    return NULL;
}

struct result remote_sweep_start(struct store *s) {
    CHECK(pthread_create(&s->remote->thread, NULL, broom, s) == 0, ERR_INTERNAL, "a thread could not be started");
    s->remote->has_thread = true;
    return OK;
}
