#include "lifecycle/writes.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "lifecycle/collections.h"
#include "lifecycle/mapping.h"
#include "lifecycle/patch.h"
#include "lifecycle/write_priv.h"

enum { ID_BYTES = 16, MAX_PATCHED_BYTES = 20 * 1024 * 1024 };

/* The body breaks a rule: 400, or 413. */
static struct result refuse_body(struct refusal *why, struct result r) {
    if (why->status) return r;
    AUTO_FREE char *detail = str_dup(err_detail());
    bool is_large = r.code == ERR_TOO_LARGE, is_input = r.code == ERR_INVALID;
    return refuse(why, r.code,
                  is_large   ? 413
                  : is_input ? 400
                             : err_http_status(r.code),
                  is_large   ? "CONTENTTOOLARGE"
                  : is_input ? "INVALIDINPUT"
                             : "INTERNALERROR",
                  0, "%s", detail);
}

/* ---- ids made by the server ---- */

/* Time-ordered like UUIDs of version 7 (RFC 9562): parts of the table then don't overlap, and FINAL costs nothing. 48
 * bits of milliseconds, 16 of a counter, 64 random. */
static struct result make_id(char **ret) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static int64_t last_ms;
    static uint16_t counter;
    uint8_t random[8];
    TRY(random_bytes(random, sizeof random));
    pthread_mutex_lock(&lock);
    int64_t now = clock_unix_ms();
    if (now > last_ms) {
        last_ms = now;
        counter = 0;
    } else if (++counter == 0) {
        last_ms++;
    }
    uint64_t head = (uint64_t)last_ms << 16 | counter;
    pthread_mutex_unlock(&lock);
    BUF_AUTO(bytes, ID_BYTES);
    BUF_AUTO(text, ID_BYTES * 2);
    put_u64(&bytes, head);
    buf_append(&bytes, random, sizeof random);
    hex_encode(buf_slice(&bytes), &text);
    *ret = buf_take_str(&text);
    return OK;
}

/* The same for the same key, collection and place in the request. */
static struct result derive_id(const struct write *w, size_t index, char **ret) {
    BUF_AUTO(text, 1024);
    buf_printf(&text, "lockset idempotent id\n%s\n%s\n%s\n%zu", w->collection->org, w->collection->id,
               w->idempotency_key, index);
    uint8_t hash[SHA256_BYTES];
    TRY(buf_check(&text));
    TRY(sha256(buf_slice(&text), hash));
    BUF_AUTO(hex, ID_BYTES * 2);
    hex_encode(slice_make(hash, ID_BYTES), &hex);
    *ret = buf_take_str(&hex);
    return OK;
}

/* ---- add ---- */

/* Fills the rows from the documents; *ret_lookup: some of the ids may be stored already. */
static struct result rows_from_documents(struct write_run *run, struct documents *d, bool *ret_lookup) {
    run->rows = mem_alloc_array(d->count + 1, sizeof *run->rows);
    run->count = d->count;
    int64_t now = clock_unix_us();
    *ret_lookup = false;
    for (size_t i = 0; i < d->count; i++) {
        struct document *doc = &d->items[i];
        if (doc->id || run->write->idempotency_key) *ret_lookup = true;
        if (!doc->id && !doc->flaw)
            TRY(run->write->idempotency_key ? derive_id(run->write, i, &doc->id) : make_id(&doc->id));
        run->rows[i] = (struct write_row){.id = slice_str(doc->id),
                                          .raw = slice_make(d->raw.data + doc->raw_at, doc->raw_len),
                                          .event_time_us = doc->has_event_time ? doc->event_time_us : now,
                                          .status = "ADDED",
                                          .order = i};
        if (!doc->id) run->rows[i].id = (struct slice){0};
        run->rows[i].error = TAKE(doc->flaw);
    }
    return OK;
}

static int compare_ids(const void *a, const void *b) {
    const struct write_row *x = *(struct write_row *const *)a, *y = *(struct write_row *const *)b;
    size_t n = x->id.len < y->id.len ? x->id.len : y->id.len;
    for (size_t i = 0; i < n; i++)
        if (x->id.data[i] != y->id.data[i]) return x->id.data[i] < y->id.data[i] ? -1 : 1;
    if (x->id.len != y->id.len) return x->id.len < y->id.len ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

/* REPLACED: stored already, or earlier in the same request. */
static void mark_replaced(struct write_run *run, const struct write_found_list *found) {
    AUTO_FREE struct write_row **sorted = mem_alloc_array(run->count + 1, sizeof(struct write_row *));
    size_t n = 0;
    for (size_t i = 0; i < run->count; i++)
        if (!run->rows[i].error) sorted[n++] = &run->rows[i];
    qsort(sorted, n, sizeof(struct write_row *), compare_ids);
    for (size_t i = 0; i < n; i++) {
        bool again = i > 0 && slice_equal(sorted[i]->id, sorted[i - 1]->id);
        if (sorted[i]->is_deletion) continue;
        if (again || write_find(found, sorted[i]->id)) sorted[i]->status = "REPLACED";
    }
}

static struct result add_held(struct write_run *run, const struct documents *d, bool lookup) {
    if (lookup) {
        AUTO(write_found_done) struct write_found_list found = {0};
        TRY(write_lookup(run, false, &found));
        mark_replaced(run, &found);
    }
    return write_store(run, &d->schema);
}

/* ---- add, through a field mapping ---- */

static void inputs_from_rows(const struct write_run *run, struct mapping_input *inputs, size_t *rows,
                             size_t *ret_count) {
    for (size_t i = 0; i < run->count; i++) {
        const struct write_row *r = &run->rows[i];
        if (r->error) continue;
        rows[*ret_count] = i;
        inputs[(*ret_count)++] =
            (struct mapping_input){.raw = r->raw, .id = (const char *)r->id.data, .event_time_us = r->event_time_us};
    }
}

/* What is to be stored: the mapped documents. `order` of each is the row of the request that it came from. */
static void rows_from_mapped(struct write_run *run, struct mapped *m, const size_t *rows, struct write_run *store) {
    AUTO_FREE size_t *order = mapped_order(m);
    store->rows = mem_alloc_array(m->documents.count + 1, sizeof *store->rows);
    store->count = 0;
    for (size_t k = 0; k < m->documents.count; k++) {
        size_t i = order[k], from = m->from[i];
        const struct document *doc = &m->documents.items[i];
        if (m->flaws[from]) continue;
        store->rows[store->count++] =
            (struct write_row){.id = slice_str(doc->id),
                               .raw = slice_make(m->documents.raw.data + doc->raw_at, doc->raw_len),
                               .event_time_us = doc->event_time_us,
                               .is_deletion = m->is_deletion[i],
                               .status = m->is_deletion[i] ? "DELETED" : "ADDED",
                               .order = rows[from]};
    }
    for (size_t from = 0; from < m->input_count; from++)
        run->rows[rows[from]].error = TAKE(m->flaws[from]);
}

/* Each document is answered for by the first of what became of it. */
static void answers_from_stored(struct write_run *run, struct write_run *store) {
    run->last_version = store->last_version;
    for (size_t i = store->count; i-- > 0;) {
        struct write_row *row = &run->rows[store->rows[i].order];
        row->id = store->rows[i].id;
        row->status = store->rows[i].status;
        if (store->rows[i].error && !row->error) row->error = TAKE(store->rows[i].error);
    }
}

static struct result add_mapped(struct write_run *run, const char *sql, struct buf *out) {
    AUTO_FREE struct mapping_input *inputs = mem_alloc_array(run->count + 1, sizeof *inputs);
    AUTO_FREE size_t *rows = mem_alloc_array(run->count + 1, sizeof *rows);
    size_t count = 0;
    inputs_from_rows(run, inputs, rows, &count);
    AUTO(mapped_done) struct mapped mapped = {0};
    TRY(mapping_run(run->write->tenant, sql, inputs, count, run->deadline_ns, &mapped, run->why));
    AUTO(write_run_done) struct write_run store = *run;
    rows_from_mapped(run, &mapped, rows, &store);
    TRY(write_hold(run, false));
    struct result r = add_held(&store, &mapped.documents, true);
    write_release(run);
    TRY(r);
    answers_from_stored(run, &store);
    write_answer(run, out);
    return OK;
}

struct result write_add(const struct write *w, struct buf *out, struct refusal *why) {
    AUTO(documents_done) struct documents d;
    documents_init(&d);
    struct result r = documents_parse(w->body, &d);
    if (is_err(r)) return refuse_body(why, r);
    AUTO(write_run_done) struct write_run run;
    write_run_init(&run, w, why);
    TRY(keylink_check(tenants_keylink(tenant_all(w->tenant)), w->collection->org, KEYLINK_WRITE, why));
    bool lookup;
    r = rows_from_documents(&run, &d, &lookup);
    if (is_err(r)) return refuse_body(why, r);
    AUTO_FREE char *mapping = NULL;
    TRY(collection_mapping(w->tenant, w->collection, KEYLINK_WRITE, run.deadline_ns, &mapping, why));
    if (mapping) {
        r = add_mapped(&run, mapping, out);
        return is_err(r) ? refuse_body(why, r) : OK;
    }
    TRY(write_hold(&run, false));
    r = add_held(&run, &d, lookup);
    write_release(&run);
    if (is_err(r)) return refuse_body(why, r);
    write_answer(&run, out);
    return OK;
}

/* ---- delete ---- */

static struct result rows_from_list(struct write_run *run, const json_t *data, const char *status) {
    run->count = json_array_size(data);
    run->rows = mem_alloc_array(run->count + 1, sizeof *run->rows);
    int64_t now = clock_unix_us();
    for (size_t i = 0; i < run->count; i++) {
        const char *error;
        const char *id = write_take_id(json_array_get(data, i), &error);
        struct write_row *r = &run->rows[i];
        *r = (struct write_row){.event_time_us = now, .status = status, .order = i};
        if (id) r->id = slice_str(id);
        if (error) r->error = str_dup(error);
    }
    return OK;
}

struct result write_delete(const struct write *w, struct buf *out, struct refusal *why) {
    static const char *const members[] = {"_id", NULL};
    JSON_AUTO(root);
    json_t *data;
    struct result r = write_parse_list(w->body, members, &root, &data);
    if (is_err(r)) return refuse_body(why, r);
    AUTO(write_run_done) struct write_run run;
    write_run_init(&run, w, why);
    TRY(keylink_check(tenants_keylink(tenant_all(w->tenant)), w->collection->org, KEYLINK_WRITE, why));
    TRY(rows_from_list(&run, data, "DELETED"));
    for (size_t i = 0; i < run.count; i++)
        run.rows[i].is_deletion = true;
    TRY(write_hold(&run, false));
    r = write_store(&run, NULL);
    write_release(&run);
    if (is_err(r)) return refuse_body(why, r);
    write_answer(&run, out);
    return OK;
}

/* ---- patch ---- */

/* A document as patches see it: its fields, and what is fixed about it. */
static struct result open_document(const struct write_found *found, json_t **ret) {
    TRY(json_parse_object(slice_str(found->raw), ret));
    json_object_set_new(*ret, "_id", json_string(found->id));
    json_object_set_new(*ret, "_event_time", json_integer(found->event_time_us));
    return OK;
}

/* Applies one patch to what the request made of the document so far (kept in found->raw). */
static struct result patch_one(struct write_found *found, const json_t *operations) {
    JSON_AUTO(before);
    JSON_AUTO(after);
    TRY(open_document(found, &before));
    TRY(patch_apply(before, operations, &after));
    static const char *const fixed[] = {"_id", "_event_time", "_meta"};
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++)
        json_object_del(after, fixed[i]);
    BUF_AUTO(text, MAX_PATCHED_BYTES);
    text.wipes = true;
    TRY(json_write(after, &text));
    TRY(buf_check(&text));
    AUTO(documents_done) struct documents check;
    documents_init(&check);
    TRY(documents_add(&check, buf_slice(&text)));
    if (check.items[0].flaw) FAIL(ERR_INVALID, "the patched document %s", check.items[0].flaw);
    wipe(found->raw, strlen(found->raw));
    mem_free(found->raw);
    found->raw = slice_to_str(buf_slice(&text));
    return OK;
}

static void apply_patches(struct write_run *run, const json_t *data, const struct write_found_list *found) {
    for (size_t i = 0; i < run->count; i++) {
        struct write_row *row = &run->rows[i];
        if (row->error) continue;
        struct write_found *doc = write_find(found, row->id);
        if (!doc) {
            row->error = str_dup("there is no document with this _id");
            continue;
        }
        if (is_err(patch_one(doc, json_object_get(json_array_get(data, i), "patch"))))
            row->error = str_dup(err_detail());
    }
}

/* What is stored: each patched document once, as the last of its patches left it. */
static struct result store_patched(struct write_run *run, const struct write_found_list *found) {
    AUTO(documents_done) struct documents d;
    documents_init(&d);
    AUTO(write_run_done) struct write_run store = *run;
    store.rows = mem_alloc_array(run->count + 1, sizeof *store.rows);
    store.count = 0;
    for (size_t i = run->count; i-- > 0;) {
        struct write_row *row = &run->rows[i];
        struct write_found *doc = row->error ? NULL : write_find(found, row->id);
        if (!doc || doc->event_time_us == INT64_MIN) continue;
        TRY(documents_add(&d, slice_str(doc->raw)));
        store.rows[store.count++] = (struct write_row){
            .id = row->id, .raw = slice_str(doc->raw), .event_time_us = doc->event_time_us, .order = i};
        doc->event_time_us = INT64_MIN; /* taken */
    }
    struct result r = write_store(&store, &d.schema);
    run->last_version = store.last_version;
    for (size_t i = 0; is_ok(r) && i < store.count; i++)
        if (store.rows[i].error) run->rows[store.rows[i].order].error = TAKE(store.rows[i].error);
    return r;
}

static struct result patch_held(struct write_run *run, const json_t *data) {
    AUTO(write_found_done) struct write_found_list found = {0};
    TRY(write_lookup(run, true, &found));
    apply_patches(run, data, &found);
    return store_patched(run, &found);
}

struct result write_patch(const struct write *w, struct buf *out, struct refusal *why) {
    static const char *const members[] = {"_id", "patch", NULL};
    JSON_AUTO(root);
    json_t *data;
    struct result r = write_parse_list(w->body, members, &root, &data);
    if (is_err(r)) return refuse_body(why, r);
    AUTO(write_run_done) struct write_run run;
    write_run_init(&run, w, why);
    TRY(keylink_check(tenants_keylink(tenant_all(w->tenant)), w->collection->org, KEYLINK_WRITE, why));
    TRY(rows_from_list(&run, data, "PATCHED"));
    /* Alone: an add between reading and writing would be lost. */
    TRY(write_hold(&run, true));
    r = patch_held(&run, data);
    write_release(&run);
    if (is_err(r)) return refuse_body(why, r);
    write_answer(&run, out);
    return OK;
}
