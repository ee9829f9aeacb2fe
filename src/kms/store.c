#include "kms/store.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "kms/store_files.h"

struct kmsd_store {
    struct kmsd_files files;
    struct kmsd_aliases *aliases;
    struct kmsd_usage *usage;
    int64_t day_ms;
    pthread_mutex_t changing;    /* held while a key of this region is changed or read from its files */
    pthread_rwlock_t table_lock; /* guards the table; never held during I/O */
    struct kmsd_key **keys;      /* sorted by id */
    size_t count, capacity;
};

static pthread_mutex_t *hold(pthread_mutex_t *m) {
    pthread_mutex_lock(m);
    return m;
}
static void let_go(pthread_mutex_t **m) {
    pthread_mutex_unlock(*m);
}
#define HOLD(mutex) AUTO(let_go) pthread_mutex_t *held_ __attribute__((unused)) = hold(mutex)

/* --- The table. --- */

/* Where the id stands, or would. */
static size_t table_place(const struct kmsd_store *s, const char *id, bool *ret_found) {
    size_t low = 0, high = s->count;
    *ret_found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(s->keys[middle]->family.id, id);
        if (order == 0) *ret_found = true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct kmsd_key *table_get(struct kmsd_store *s, const char *id) {
    bool found;
    pthread_rwlock_rdlock(&s->table_lock);
    size_t at = table_place(s, id, &found);
    struct kmsd_key *k = found ? kmsd_key_ref(s->keys[at]) : NULL;
    pthread_rwlock_unlock(&s->table_lock);
    return k;
}

/* Takes a reference of its own. */
static void table_put(struct kmsd_store *s, struct kmsd_key *key) {
    bool found;
    struct kmsd_key *old = NULL;
    pthread_rwlock_wrlock(&s->table_lock);
    size_t at = table_place(s, key->family.id, &found);
    if (found) {
        old = s->keys[at];
    } else {
        if (s->count == s->capacity) {
            s->capacity = s->capacity == 0 ? 64 : s->capacity * 2;
            s->keys = mem_resize(s->keys, s->capacity * sizeof(struct kmsd_key *));
        }
        for (size_t i = s->count++; i > at; i--)
            s->keys[i] = s->keys[i - 1];
    }
    s->keys[at] = kmsd_key_ref(key);
    pthread_rwlock_unlock(&s->table_lock);
    kmsd_key_unref(old);
}

static void table_remove(struct kmsd_store *s, const char *id) {
    bool found;
    struct kmsd_key *old = NULL;
    pthread_rwlock_wrlock(&s->table_lock);
    size_t at = table_place(s, id, &found);
    if (found) {
        old = s->keys[at];
        s->count--;
        for (size_t i = at; i < s->count; i++)
            s->keys[i] = s->keys[i + 1];
    }
    pthread_rwlock_unlock(&s->table_lock);
    kmsd_key_unref(old);
}

/* --- Finding. --- */

/* The state of a Multi-Region key here: what this region last decided, or how the key began. A file left by an earlier
 * existence of the same key in this region doesn't count. */
static struct result own_state(struct kmsd_store *s, const struct kmsd_related *here, struct kmsd_key *known,
                               const char *id, struct kmsd_state *ret) {
    if (known != NULL && strcmp(known->state.generation, here->initial.generation) == 0) {
        kmsd_state_copy(&known->state, ret);
        return OK;
    }
    AUTO(kmsd_family_done) struct kmsd_family none = {0};
    AUTO(kmsd_state_done) struct kmsd_state state = {0};
    struct result r = kmsd_files_read_own(&s->files, id, &none, &state);
    if (is_err(r) && r.code != ERR_NOT_FOUND) return r;
    if (is_ok(r) && strcmp(state.generation, here->initial.generation) == 0) {
        *ret = state;
        state = (struct kmsd_state){0};
    } else {
        kmsd_state_copy(&here->initial, ret);
    }
    return OK;
}

/* Reads a family's file and puts the key into the table. The mutex is held. NOT_FOUND if this region isn't in it. */
static struct result read_multi_region(struct kmsd_store *s, const char *id, struct kmsd_key **ret) {
    struct kmsd_file_mark mark;
    TRY(kmsd_files_mark(&s->files, id, &mark)); // before reading: a newer content is then read once more, never missed
    AUTO(kmsd_family_done) struct kmsd_family family = {0};
    AUTO(kmsd_state_done) struct kmsd_state state = {0};
    AUTO(kmsd_key_unref_auto) struct kmsd_key *known = table_get(s, id), *key = NULL;
    TRY(kmsd_files_read_family(&s->files, id, &family));
    const struct kmsd_related *here = kmsd_family_region(&family, s->files.region);
    if (here == NULL) {
        table_remove(s, id);
        FAIL(ERR_NOT_FOUND, "%s has no key in %s", id, s->files.region);
    }
    TRY(own_state(s, here, known, id, &state));
    TRY(kmsd_key_new(s->files.region, &family, &state, &key));
    key->shared_mark = mark;
    table_put(s, key);
    *ret = TAKE(key);
    return OK;
}

static bool same_mark(const struct kmsd_file_mark *a, const struct kmsd_file_mark *b) {
    return a->inode == b->inode && a->size == b->size && a->modified_ns == b->modified_ns &&
           a->changed_ns == b->changed_ns;
}

/* The key, up to date, with the mutex held. */
static struct result find_held(struct kmsd_store *s, const char *id, struct kmsd_key **ret) {
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = table_get(s, id);
    if (kmsd_is_multi_region_id(id)) {
        struct kmsd_file_mark mark;
        TRY(kmsd_files_mark(&s->files, id, &mark));
        if (k == NULL || !same_mark(&mark, &k->shared_mark)) return read_multi_region(s, id, ret);
    }
    CHECK(k != NULL, ERR_NOT_FOUND, "no key %s", id);
    *ret = TAKE(k);
    return OK;
}

static bool is_gone(const struct kmsd_store *s, const struct kmsd_key *k, int64_t now_ms) {
    int64_t deletion_ms = kmsd_key_deletion_ms(k, s->day_ms);
    return deletion_ms > 0 && deletion_ms <= now_ms;
}

struct result kmsd_store_find(struct kmsd_store *s, const char *key_id, int64_t now_ms, struct kmsd_key **ret) {
    CHECK(kmsd_is_key_id(key_id), ERR_NOT_FOUND, "not a key id");
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = table_get(s, key_id);
    if (kmsd_is_multi_region_id(key_id)) {
        struct kmsd_file_mark mark;
        TRY(kmsd_files_mark(&s->files, key_id, &mark));
        if (k == NULL || !same_mark(&mark, &k->shared_mark)) {
            k = kmsd_key_unref(k);
            HOLD(&s->changing);
            TRY(find_held(s, key_id, &k));
        }
    }
    CHECK(k != NULL && !is_gone(s, k, now_ms), ERR_NOT_FOUND, "no key %s", key_id);
    *ret = TAKE(k);
    return OK;
}

/* --- Changing. --- */

static struct result begin_state(struct kmsd_state *state, int64_t now_ms) {
    TRY(kmsd_random_hex(16, state->generation));
    state->created_ms = now_ms;
    state->enabled = true;
    return OK;
}

struct result kmsd_store_add_material(struct kmsd_store *s, struct kmsd_family *draft, enum kmsd_rotation rotation,
                                      int64_t now_ms) {
    struct kmsd_material m = {.created_ms = now_ms, .rotation = rotation};
    TRY(kmsd_random_hex(KMSD_MATERIAL_ID_BYTES, m.id));
    BUF_AUTO(bound_to, 256);
    kmsd_family_bound_to(draft, &m, &bound_to);
    TRY(buf_check(&bound_to));
    SECRET_AUTO(material);
    TRY(secret_random(KEY_BYTES, &material));
    TRY(kmsd_wrap(secret_view(&s->files.root_key), buf_slice(&bound_to), secret_view(&material), m.wrapped));
    draft->materials = mem_resize(draft->materials, (draft->material_count + 1) * sizeof m);
    draft->materials[draft->material_count++] = m;
    return OK;
}

static void add_region(struct kmsd_family *family, const char *region, const struct kmsd_state *state) {
    family->related = mem_resize(family->related, (family->related_count + 1) * sizeof *family->related);
    struct kmsd_related *r = &family->related[family->related_count++];
    *r = (struct kmsd_related){0};
    snprintf(r->region, sizeof r->region, "%s", region);
    kmsd_state_copy(state, &r->initial);
}

struct result kmsd_store_create(struct kmsd_store *s, const char *account, const struct kmsd_kind *kind,
                                bool multi_region, int64_t now_ms, struct kmsd_state *state, struct kmsd_key **ret) {
    AUTO(kmsd_state_done) struct kmsd_state own = *state;
    *state = (struct kmsd_state){0};
    AUTO(kmsd_family_done) struct kmsd_family family = {.kind = kind, .multi_region = multi_region};
    AUTO(kmsd_key_unref_auto) struct kmsd_key *key = NULL;
    snprintf(family.account, sizeof family.account, "%s", account);
    snprintf(family.primary_region, sizeof family.primary_region, "%s", s->files.region);
    TRY(kmsd_key_id_new(multi_region, family.id));
    TRY(begin_state(&own, now_ms));
    TRY(kmsd_store_add_material(s, &family, KMSD_ROTATION_NONE, now_ms));
    if (multi_region) add_region(&family, s->files.region, &own);
    TRY(kmsd_key_new(s->files.region, &family, &own, &key));
    HOLD(&s->changing);
    if (multi_region) {
        TRY(kmsd_files_write_family(&s->files, &key->family));
        TRY(kmsd_files_mark(&s->files, key->family.id, &key->shared_mark));
    } else {
        TRY(kmsd_files_write_own(&s->files, &key->family, &key->state));
    }
    table_put(s, key);
    *ret = TAKE(key);
    return OK;
}

struct result kmsd_store_change(struct kmsd_store *s, const char *key_id, int64_t now_ms,
                                struct result (*change)(const struct kmsd_key *key, struct kmsd_state *draft,
                                                        void *arg),
                                void *arg, struct kmsd_key **ret) {
    HOLD(&s->changing);
    AUTO(kmsd_key_unref_auto) struct kmsd_key *old = NULL, *key = NULL;
    TRY(find_held(s, key_id, &old));
    CHECK(!is_gone(s, old, now_ms), ERR_NOT_FOUND, "no key %s", key_id);
    AUTO(kmsd_state_done) struct kmsd_state draft = {0};
    kmsd_state_copy(&old->state, &draft);
    TRY(change(old, &draft, arg));
    AUTO(kmsd_family_done) struct kmsd_family family = {0};
    kmsd_family_copy(&old->family, &family);
    TRY(kmsd_key_new(s->files.region, &family, &draft, &key));
    key->shared_mark = old->shared_mark;
    TRY(kmsd_files_write_own(&s->files, &key->family, &key->state));
    table_put(s, key);
    if (ret != NULL) *ret = TAKE(key);
    return OK;
}

struct result kmsd_store_change_family(struct kmsd_store *s, const char *key_id, int64_t now_ms,
                                       struct result (*change)(struct kmsd_store *s, const struct kmsd_key *key,
                                                               struct kmsd_family *draft, void *arg),
                                       void *arg, struct kmsd_key **ret) {
    AUTO(kmsd_files_unlock) int shared_lock = -1;
    bool multi_region = kmsd_is_multi_region_id(key_id);
    if (multi_region) TRY(kmsd_files_lock(&s->files, &shared_lock));
    HOLD(&s->changing);
    AUTO(kmsd_key_unref_auto) struct kmsd_key *old = NULL, *key = NULL;
    TRY(find_held(s, key_id, &old));
    CHECK(!is_gone(s, old, now_ms), ERR_NOT_FOUND, "no key %s", key_id);
    AUTO(kmsd_family_done) struct kmsd_family family = {0};
    kmsd_family_copy(&old->family, &family);
    TRY(change(s, old, &family, arg));
    if (multi_region) {
        TRY(kmsd_files_write_family(&s->files, &family));
        TRY(read_multi_region(s, key_id, &key));
    } else {
        AUTO(kmsd_state_done) struct kmsd_state state = {0};
        kmsd_state_copy(&old->state, &state);
        TRY(kmsd_key_new(s->files.region, &family, &state, &key));
        TRY(kmsd_files_write_own(&s->files, &key->family, &key->state));
        table_put(s, key);
    }
    if (ret != NULL) *ret = TAKE(key);
    return OK;
}

struct result kmsd_store_replicate(struct kmsd_store *s, const char *key_id, const char *region, int64_t now_ms,
                                   struct kmsd_state *state, struct kmsd_key **ret) {
    AUTO(kmsd_state_done) struct kmsd_state initial = *state;
    *state = (struct kmsd_state){0};
    TRY(begin_state(&initial, now_ms));
    AUTO(kmsd_files_unlock) int shared_lock = -1;
    TRY(kmsd_files_lock(&s->files, &shared_lock));
    HOLD(&s->changing);
    AUTO(kmsd_key_unref_auto) struct kmsd_key *primary = NULL, *replica = NULL;
    TRY(find_held(s, key_id, &primary));
    CHECK(kmsd_key_is_primary(primary), ERR_INVALID, "only a primary key is replicated");
    CHECK(primary->state.pending_days == 0, ERR_CONFLICT, "the primary key's deletion is scheduled");
    CHECK(kmsd_family_region(&primary->family, region) == NULL, ERR_EXISTS, "the key is in %s already", region);
    AUTO(kmsd_family_done) struct kmsd_family family = {0}, theirs = {0};
    kmsd_family_copy(&primary->family, &family);
    add_region(&family, region, &initial);
    kmsd_family_copy(&family, &theirs);
    TRY(kmsd_key_new(region, &theirs, &initial, &replica)); // checks the policy before anything is written
    TRY(kmsd_files_write_family(&s->files, &family));
    AUTO(kmsd_key_unref_auto) struct kmsd_key *again = NULL;
    TRY(read_multi_region(s, key_id, &again));
    *ret = TAKE(replica);
    return OK;
}

/* --- Listing. --- */

static struct result meet_shared(void *arg, const char *id) {
    struct kmsd_store *s = arg;
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    HOLD(&s->changing);
    struct result r = kmsd_is_multi_region_id(id) ? find_held(s, id, &k) : OK;
    return r.code == ERR_NOT_FOUND ? OK : r; // of other regions only, or just removed
}

struct result kmsd_store_list(struct kmsd_store *s, const char *account, const char *after, size_t max, int64_t now_ms,
                              struct kmsd_key_id **ret_ids, size_t *ret_count, bool *ret_more) {
    TRY(kmsd_files_each(&s->files, true, meet_shared, s)); // replicas that arrived since
    size_t count = 0;
    bool more = false;
    pthread_rwlock_rdlock(&s->table_lock);
    struct kmsd_key_id *ids = mem_alloc_array(max < s->count ? max : s->count, sizeof *ids);
    for (size_t i = 0; i < s->count && !more; i++) {
        const struct kmsd_key *k = s->keys[i];
        if ((account != NULL && strcmp(k->family.account, account) != 0) || strcmp(k->family.id, after) <= 0 ||
            is_gone(s, k, now_ms))
            continue;
        if (count == max)
            more = true;
        else
            snprintf(ids[count++].text, sizeof ids[0].text, "%s", k->family.id);
    }
    pthread_rwlock_unlock(&s->table_lock);
    *ret_ids = ids;
    *ret_count = count;
    *ret_more = more;
    return OK;
}

/* --- Deleting. --- */

/* Takes this region out of the family; the last one takes the material with it. */
static struct result leave_family(struct kmsd_store *s, const char *id, int64_t now_ms) {
    AUTO(kmsd_family_done) struct kmsd_family family = {0};
    TRY(kmsd_files_read_family(&s->files, id, &family));
    size_t kept = 0;
    for (size_t i = 0; i < family.related_count; i++) {
        if (strcmp(family.related[i].region, s->files.region) == 0)
            kmsd_state_done(&family.related[i].initial);
        else
            family.related[kept++] = family.related[i];
    }
    family.related_count = kept;
    if (kept == 0) return kmsd_files_remove_family(&s->files, id);
    if (kept == 1) family.replicas_gone_ms = now_ms;
    return kmsd_files_write_family(&s->files, &family);
}

static struct result delete_key(struct kmsd_store *s, const char *id, int64_t now_ms) {
    AUTO(kmsd_files_unlock) int shared_lock = -1;
    bool multi_region = kmsd_is_multi_region_id(id);
    if (multi_region) TRY(kmsd_files_lock(&s->files, &shared_lock));
    HOLD(&s->changing);
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(find_held(s, id, &k));
    if (!is_gone(s, k, now_ms)) return OK; // cancelled meanwhile
    if (multi_region) TRY(leave_family(s, id, now_ms));
    TRY(kmsd_aliases_forget_key(s->aliases, id));
    TRY(kmsd_files_remove_own(&s->files, id));
    table_remove(s, id);
    kmsd_usage_forget(s->usage, id);
    log_info("key.deleted", KV("key", k->arn));
    return OK;
}

/* The ids of the keys that `is_due` picks; *ret_count of them. */
static struct kmsd_key_id *collect(struct kmsd_store *s,
                                   bool (*is_due)(const struct kmsd_store *, const struct kmsd_key *, int64_t),
                                   int64_t now_ms, size_t *ret_count) {
    *ret_count = 0;
    pthread_rwlock_rdlock(&s->table_lock);
    struct kmsd_key_id *due = mem_alloc_array(s->count, sizeof *due);
    for (size_t i = 0; i < s->count; i++)
        if (is_due(s, s->keys[i], now_ms))
            snprintf(due[(*ret_count)++].text, sizeof due[0].text, "%s", s->keys[i]->family.id);
    pthread_rwlock_unlock(&s->table_lock);
    return due;
}

static bool awaits_deletion(const struct kmsd_store *s, const struct kmsd_key *k, int64_t now_ms) {
    return k->state.pending_days > 0;
}

static void sweep_deletions(struct kmsd_store *s, int64_t now_ms) {
    size_t count = 0;
    AUTO_FREE struct kmsd_key_id *due = collect(s, awaits_deletion, now_ms, &count);
    for (size_t i = 0; i < count; i++) {
        AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
        struct result r = kmsd_store_find(s, due[i].text, now_ms, &k); // also reads that replicas are gone
        if (is_ok(r)) continue;
        r = delete_key(s, due[i].text, now_ms);
        if (is_err(r) && r.code != ERR_NOT_FOUND)
            log_error("key.delete_failed", KV("key_id", due[i].text), KV("why", err_detail()));
    }
}

/* --- Automatic rotation: by the region that decides, and only while the key is enabled there. A region that became
 * the primary without a call of its own learns it when the key is next used. --- */

static bool awaits_rotation(const struct kmsd_store *s, const struct kmsd_key *k, int64_t now_ms) {
    int64_t next_ms = kmsd_key_next_rotation_ms(k, s->day_ms);
    return next_ms > 0 && next_ms <= now_ms && k->state.enabled && kmsd_key_decides(k);
}

static struct result rotate_if_due(struct kmsd_store *s, const struct kmsd_key *key, struct kmsd_family *draft,
                                   void *arg) {
    int64_t now_ms = *(const int64_t *)arg;
    CHECK(awaits_rotation(s, key, now_ms), ERR_NOT_FOUND, "not due any more");
    draft->rotation_since_ms = now_ms;
    return kmsd_store_add_material(s, draft, KMSD_ROTATION_AUTOMATIC, now_ms);
}

static void sweep_rotations(struct kmsd_store *s, int64_t now_ms) {
    size_t count = 0;
    AUTO_FREE struct kmsd_key_id *due = collect(s, awaits_rotation, now_ms, &count);
    for (size_t i = 0; i < count; i++) {
        struct result r = kmsd_store_change_family(s, due[i].text, now_ms, rotate_if_due, &now_ms, NULL);
        if (is_ok(r))
            log_info("key.rotated", KV("key_id", due[i].text));
        else if (r.code != ERR_NOT_FOUND)
            log_error("key.rotate_failed", KV("key_id", due[i].text), KV("why", err_detail()));
    }
}

static void save_usage(struct kmsd_store *s) {
    if (is_err(kmsd_usage_save(s->usage))) log_error("usage.save_failed", KV("why", err_detail()));
}

void kmsd_store_sweep(struct kmsd_store *s, int64_t now_ms) {
    sweep_deletions(s, now_ms);
    sweep_rotations(s, now_ms);
    save_usage(s);
}

/* --- Material, opening, closing. --- */

struct result kmsd_store_material(struct kmsd_store *s, const struct kmsd_key *key, const struct kmsd_material *m,
                                  struct secret *ret) {
    BUF_AUTO(bound_to, 256);
    kmsd_family_bound_to(&key->family, m, &bound_to);
    TRY(buf_check(&bound_to));
    return kmsd_unwrap(secret_view(&s->files.root_key), buf_slice(&bound_to), m->wrapped, ret);
}

static struct result check_material(struct kmsd_store *s, const struct kmsd_key *k) {
    for (size_t i = 0; i < k->family.material_count; i++) {
        SECRET_AUTO(material);
        struct result r = kmsd_store_material(s, k, &k->family.materials[i], &material);
        CHECK(is_ok(r), ERR_CORRUPT, "the material of %s does not open: damaged, or of another root key", k->arn);
    }
    return OK;
}

static struct result load_own(void *arg, const char *id) {
    struct kmsd_store *s = arg;
    if (kmsd_is_multi_region_id(id)) return OK;
    AUTO(kmsd_family_done) struct kmsd_family family = {0};
    AUTO(kmsd_state_done) struct kmsd_state state = {0};
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(kmsd_files_read_own(&s->files, id, &family, &state));
    TRY(kmsd_key_new(s->files.region, &family, &state, &k));
    TRY(check_material(s, k));
    table_put(s, k);
    return OK;
}

static struct result load_shared(void *arg, const char *id) {
    struct kmsd_store *s = arg;
    TRY(meet_shared(s, id));
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = table_get(s, id);
    return k == NULL ? OK : check_material(s, k);
}

struct result kmsd_store_open(const struct kmsd_store_options *options, struct kmsd_store **ret) {
    struct kmsd_files files = {.lock_fd = -1};
    TRY(kmsd_files_open(options, &files));
    struct kmsd_store *s = mem_alloc(sizeof *s);
    s->files = files;
    s->day_ms = options->day_ms > 0 ? options->day_ms : 24LL * 3600 * 1000;
    pthread_mutex_init(&s->changing, NULL);
    pthread_rwlock_init(&s->table_lock, NULL);
    struct result r = kmsd_aliases_open(s->files.data_dir, &s->aliases);
    if (is_ok(r)) r = kmsd_usage_open(s->files.data_dir, clock_unix_ms(), &s->usage);
    if (is_ok(r)) r = kmsd_files_each(&s->files, false, load_own, s);
    if (is_ok(r)) r = kmsd_files_each(&s->files, true, load_shared, s);
    if (is_err(r)) {
        s->usage = kmsd_usage_close(s->usage); // unsaved: what is refused leaves no trace
        kmsd_store_close(s);
        return r;
    }
    *ret = s;
    return OK;
}

struct kmsd_store *kmsd_store_close(struct kmsd_store *s) {
    if (s == NULL) return NULL;
    for (size_t i = 0; i < s->count; i++)
        kmsd_key_unref(s->keys[i]);
    mem_free(s->keys);
    if (s->usage != NULL) save_usage(s);
    kmsd_usage_close(s->usage);
    kmsd_aliases_close(s->aliases);
    kmsd_files_done(&s->files);
    pthread_mutex_destroy(&s->changing);
    pthread_rwlock_destroy(&s->table_lock);
    mem_free(s);
    return NULL;
}

int64_t kmsd_store_day_ms(const struct kmsd_store *s) {
    return s->day_ms;
}

const char *kmsd_store_region(const struct kmsd_store *s) {
    return s->files.region;
}

struct kmsd_aliases *kmsd_store_aliases(struct kmsd_store *s) {
    return s->aliases;
}

struct kmsd_usage *kmsd_store_usage(struct kmsd_store *s) {
    return s->usage;
}
