#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "lifecycle/collections.h"
#include "lifecycle/mapping.h"
#include "lifecycle/write_priv.h"

enum { ID_HASH_BYTES = 12, MAX_SEED_BYTES = 8192 };

struct source_run {
    const struct write_records *w;
    struct write_run run;
    struct documents documents;
    struct mapped mapped;
    char **ids; /* by record; owned */
    int64_t now_us;
};

static void source_run_done(struct source_run *s) {
    for (size_t i = 0; s->ids && i < s->w->count; i++)
        mem_free(s->ids[i]);
    mem_free(s->ids);
    documents_done(&s->documents);
    mapped_done(&s->mapped);
    write_run_done(&s->run);
}

/* The decimal number at the end of an origin: "s3://bucket/key#17" -> 17, and what stands before it. */
static uint64_t split_origin(struct slice origin, struct slice *ret_place) {
    size_t digits = 0;
    while (digits < origin.len && digits < 18) {
        uint8_t c = origin.data[origin.len - 1 - digits];
        if (c < '0' || c > '9') break;
        digits++;
    }
    uint64_t number = 0;
    for (size_t i = origin.len - digits; i < origin.len; i++)
        number = number * 10 + (uint64_t)(origin.data[i] - '0');
    *ret_place = slice_make(origin.data, origin.len - digits);
    return number;
}

/* The same for the same source and origin. Records that follow each other get ids that follow each other: parts of the
 * table then seldom overlap, and FINAL costs little. */
static struct result derive_id(const char *source_id, struct slice origin, char **ret) {
    struct slice place;
    uint64_t number = split_origin(origin, &place);
    BUF_AUTO(seed, MAX_SEED_BYTES);
    buf_printf(&seed, "lockset source id\n%s\n", source_id);
    buf_append_slice(&seed, place);
    TRY(buf_check(&seed));
    uint8_t hash[SHA256_BYTES];
    TRY(sha256(buf_slice(&seed), hash));
    BUF_AUTO(text, 64);
    hex_encode(slice_make(hash, ID_HASH_BYTES), &text);
    buf_printf(&text, "%016llx", (unsigned long long)number);
    *ret = buf_take_str(&text);
    return OK;
}

static const char *flaw_of_id(struct slice id) {
    if (id.len > DOCUMENT_MAX_ID_BYTES) return "its key, the _id, is longer than 512 bytes";
    if (slice_has_nul(id)) return "its key, the _id, holds the character U+0000";
    return slice_is_utf8(id) ? NULL : "its key, the _id, is not valid UTF-8";
}

/* A document; what is wrong with it is the record's flaw. */
static void parse_record(struct documents *d, struct write_record *r) {
    if (r->document.len > DOCUMENT_MAX_BODY_BYTES) {
        r->flaw = str_format("it has %zu bytes; a document may have at most 10 MiB", r->document.len);
        return;
    }
    struct result parsed = documents_add(d, r->document);
    struct document *doc = &d->items[d->count - 1];
    if (is_err(parsed))
        r->flaw = str_dup(err_detail());
    else if (doc->flaw)
        r->flaw = str_format("it %s", doc->flaw);
}

/* The document's id: the source's, its own, or one made for it. */
static struct result find_id(struct source_run *s, size_t i, const char *own_id) {
    struct write_record *r = &s->w->items[i];
    const char *flaw = r->id.len ? flaw_of_id(r->id) : NULL;
    if (flaw) {
        r->flaw = str_dup(flaw);
        return OK;
    }
    if (r->id.len || own_id) {
        s->ids[i] = r->id.len ? slice_to_str(r->id) : str_dup(own_id);
        return OK;
    }
    return derive_id(s->w->source_id, r->origin, &s->ids[i]);
}

/* Reads all records that are documents; places[i] is the document of record i. */
static struct result parse_records(struct source_run *s, size_t *places) {
    const struct write_records *w = s->w;
    s->ids = mem_alloc_array(w->count + 1, sizeof *s->ids);
    for (size_t i = 0; i < w->count; i++) {
        struct write_record *r = &w->items[i];
        if (r->flaw) continue;
        places[i] = s->documents.count;
        if (!r->is_deletion) parse_record(&s->documents, r);
        if (!r->flaw) TRY(find_id(s, i, r->is_deletion ? NULL : s->documents.items[places[i]].id));
    }
    return buf_check(&s->documents.raw);
}

static void add_row(struct source_run *s, size_t order, struct write_row row) {
    if ((s->run.count & (s->run.count - 1)) == 0)
        s->run.rows = mem_resize(s->run.rows, (s->run.count ? s->run.count * 2 : 1) * sizeof *s->run.rows);
    row.order = order;
    s->run.rows[s->run.count++] = row;
}

static void add_document(struct source_run *s, size_t order, const struct documents *all, size_t i, const char *id,
                         int64_t event_time_us) {
    const struct document *doc = &all->items[i];
    struct write_row row = {.id = slice_str(id),
                            .raw = slice_make(all->raw.data + doc->raw_at, doc->raw_len),
                            .event_time_us = event_time_us};
    add_row(s, order, row);
}

static int64_t event_time(const struct source_run *s, size_t place) {
    const struct document *doc = &s->documents.items[place];
    return doc->has_event_time ? doc->event_time_us : s->now_us;
}

static struct write_row deletion(const struct source_run *s, size_t i) {
    return (struct write_row){.id = slice_str(s->ids[i]), .event_time_us = s->now_us, .is_deletion = true};
}

static void make_rows(struct source_run *s, const size_t *places) {
    for (size_t i = 0; i < s->w->count; i++) {
        if (s->w->items[i].flaw) continue;
        if (s->w->items[i].is_deletion)
            add_row(s, i, deletion(s, i));
        else
            add_document(s, i, &s->documents, places[i], s->ids[i], event_time(s, places[i]));
    }
}

/* ---- through a field mapping ---- */

/* What became of record i, at *k of the order. */
static void add_mapped(struct source_run *s, size_t i, size_t input, const size_t *order, size_t *k) {
    struct mapped *m = &s->mapped;
    if (m->flaws[input]) s->w->items[i].flaw = str_dup(m->flaws[input]);
    for (; *k < m->documents.count && m->from[order[*k]] == input; ++*k) {
        size_t place = order[*k];
        const struct document *doc = &m->documents.items[place];
        if (m->flaws[input]) continue;
        if (m->is_deletion[place])
            add_row(s, i,
                    (struct write_row){.id = slice_str(doc->id), .event_time_us = s->now_us, .is_deletion = true});
        else
            add_document(s, i, &m->documents, place, doc->id, doc->event_time_us);
    }
}

static struct result make_mapped_rows(struct source_run *s, const size_t *places, const char *sql,
                                      struct refusal *why) {
    const struct write_records *w = s->w;
    AUTO_FREE struct mapping_input *inputs = mem_alloc_array(w->count + 1, sizeof *inputs);
    size_t count = 0, input = 0, k = 0;
    for (size_t i = 0; i < w->count; i++) {
        if (w->items[i].flaw || w->items[i].is_deletion) continue;
        const struct document *doc = &s->documents.items[places[i]];
        inputs[count++] = (struct mapping_input){.raw = slice_make(s->documents.raw.data + doc->raw_at, doc->raw_len),
                                                 .id = s->ids[i],
                                                 .event_time_us = event_time(s, places[i])};
    }
    TRY(mapping_run(w->tenant, sql, inputs, count, s->run.deadline_ns, &s->mapped, why));
    AUTO_FREE size_t *order = mapped_order(&s->mapped);
    for (size_t i = 0; i < w->count; i++) {
        if (w->items[i].flaw) continue;
        if (w->items[i].is_deletion)
            add_row(s, i, deletion(s, i));
        else
            add_mapped(s, i, input++, order, &k);
    }
    return OK;
}

/* The engine may have refused rows by now. */
static struct result make_hidden(void *arg, struct write_hidden **ret, size_t *ret_count) {
    struct source_run *s = arg;
    for (size_t i = 0; i < s->run.count; i++) {
        struct write_row *row = &s->run.rows[i];
        struct write_record *record = &s->w->items[row->order];
        if (row->error && !record->flaw) record->flaw = str_dup(row->error);
    }
    return s->w->make_hidden(s->w->arg, ret, ret_count);
}

static struct result prepare(struct source_run *s, const char *mapping, struct refusal *why) {
    AUTO_FREE size_t *places = mem_alloc_array(s->w->count + 1, sizeof *places);
    s->now_us = clock_unix_us();
    TRY(parse_records(s, places));
    if (mapping) return make_mapped_rows(s, places, mapping, why);
    make_rows(s, places);
    return OK;
}

static struct result store(struct source_run *s, const char *mapping) {
    s->run.make_hidden = make_hidden;
    s->run.arg = s;
    TRY(write_hold(&s->run, false));
    struct result r = write_store(&s->run, mapping ? &s->mapped.documents.schema : &s->documents.schema);
    write_release(&s->run);
    return r;
}

struct result write_source_records(const struct write_records *w, struct refusal *why) {
    struct write base = {.tenant = w->tenant, .collection = w->collection};
    AUTO(source_run_done) struct source_run s = {.w = w};
    write_run_init(&s.run, &base, why);
    documents_init(&s.documents);
    AUTO_FREE char *mapping = NULL;
    TRY(keylink_check(tenants_keylink(tenant_all(w->tenant)), w->collection->org, KEYLINK_WRITE, why));
    TRY(collection_mapping(w->tenant, w->collection, KEYLINK_WRITE, s.run.deadline_ns, &mapping, why));
    struct result r = prepare(&s, mapping, why);
    if (is_ok(r)) r = store(&s, mapping);
    if (is_ok(r) || why->status) return r;
    AUTO_FREE char *detail = str_dup(err_detail());
    return refuse(why, r.code, err_http_status(r.code), "INTERNALERROR", 0, "%s", detail);
}
