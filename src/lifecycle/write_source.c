#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "lifecycle/write_priv.h"

enum { ID_HASH_BYTES = 12, MAX_SEED_BYTES = 8192 };

struct source_run {
    const struct write_records *w;
    struct write_run run;
    struct documents documents;
    char **ids; /* made ones, by row; owned */
};

static void source_run_done(struct source_run *s) {
    for (size_t i = 0; s->ids && i < s->w->count; i++)
        mem_free(s->ids[i]);
    mem_free(s->ids);
    documents_done(&s->documents);
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

static struct result add_row(struct source_run *s, size_t i, struct write_row row, const char *own_id) {
    struct write_record *r = &s->w->items[i];
    row.order = i;
    if (r->id.len) {
        row.id = r->id;
        const char *flaw = flaw_of_id(r->id);
        if (flaw) r->flaw = str_dup(flaw);
    } else if (own_id) {
        row.id = slice_str(own_id);
    } else {
        TRY(derive_id(s->w->source_id, r->origin, &s->ids[i]));
        row.id = slice_str(s->ids[i]);
    }
    if (!r->flaw) s->run.rows[s->run.count++] = row;
    return OK;
}

static struct result make_rows(struct source_run *s) {
    const struct write_records *w = s->w;
    s->ids = mem_alloc_array(w->count + 1, sizeof *s->ids);
    s->run.rows = mem_alloc_array(w->count + 1, sizeof *s->run.rows);
    AUTO_FREE size_t *places = mem_alloc_array(w->count + 1, sizeof *places);
    for (size_t i = 0; i < w->count; i++) {
        if (w->items[i].flaw || w->items[i].is_deletion) continue;
        places[i] = s->documents.count;
        parse_record(&s->documents, &w->items[i]);
    }
    TRY(buf_check(&s->documents.raw));
    int64_t now = clock_unix_us();
    for (size_t i = 0; i < w->count; i++) {
        if (w->items[i].flaw) continue;
        if (w->items[i].is_deletion) {
            TRY(add_row(s, i, (struct write_row){.is_deletion = true, .event_time_us = now}, NULL));
            continue;
        }
        const struct document *doc = &s->documents.items[places[i]];
        struct write_row row = {.raw = slice_make(s->documents.raw.data + doc->raw_at, doc->raw_len),
                                .event_time_us = doc->has_event_time ? doc->event_time_us : now};
        TRY(add_row(s, i, row, doc->id));
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

struct result write_source_records(const struct write_records *w, struct refusal *why) {
    struct write base = {.tenant = w->tenant, .collection = w->collection};
    AUTO(source_run_done) struct source_run s = {.w = w};
    write_run_init(&s.run, &base, why);
    documents_init(&s.documents);
    TRY(keylink_check(tenants_keylink(tenant_all(w->tenant)), w->collection->org, KEYLINK_WRITE, why));
    struct result r = make_rows(&s);
    if (is_ok(r)) {
        s.run.make_hidden = make_hidden;
        s.run.arg = &s;
        TRY(write_hold(&s.run, false));
        r = write_store(&s.run, &s.documents.schema);
        write_release(&s.run);
    }
    if (is_ok(r) || why->status) return r;
    AUTO_FREE char *detail = str_dup(err_detail());
    return refuse(why, r.code, err_http_status(r.code), "INTERNALERROR", 0, "%s", detail);
}
