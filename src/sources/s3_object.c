#include "sources/s3_object.h"

#include <string.h>
#include <strings.h>

#include "base/inflate.h"

enum {
    PART_BYTES = 8 << 20,
    PLAIN_BYTES = 1 << 20,
    ROWS_AT_ONCE = 2000,
    MAX_ROWS_BYTES = 64 << 20,
};

struct s3_object_reader {
    struct s3_reading r;
    enum s3_form form;
    bool is_begun, is_over, has_records;
    /* the object's bytes */
    struct buf part;
    size_t part_taken;
    int64_t wire_at, total;
    /* line forms */
    struct inflate *inflate;
    struct buf plain;
    uint64_t skip; /* bytes of the text before the place */
    bool needs_header, is_text_over;
    struct records *records;
    struct records_place place;
    /* Parquet */
    void *table;
    uint64_t rows;
    struct buf lines; /* rows from place.number on */
    size_t lines_taken;
};

/* ---- forms ---- */

static bool ends_with(struct slice s, const char *end) {
    size_t n = strlen(end);
    return s.len >= n && strncasecmp((const char *)s.data + s.len - n, end, n) == 0;
}

/* Takes an ending off. */
static bool cut_end(struct slice *s, const char *end) {
    if (!ends_with(*s, end)) return false;
    s->len -= strlen(end);
    return true;
}

enum s3_form s3_form_of_name(const char *key) {
    struct slice s = slice_str(key);
    if (!cut_end(&s, ".gz") && !cut_end(&s, ".gzip") && !cut_end(&s, ".zst")) cut_end(&s, ".zstd");
    if (ends_with(s, ".csv")) return S3_CSV;
    return ends_with(s, ".parquet") || ends_with(s, ".parq") ? S3_PARQUET : S3_JSON;
}

static bool is_wanted(const json_t *params, const char *name) {
    const json_t *v = json_object_get(params, name);
    return v && !json_is_null(v) && !json_is_false(v);
}

struct result s3_format_read(const json_t *params, struct s3_format *ret) {
    static const char *const members[] = {"json",      "csv",       "parquet",    "xml",          "avro", "bson",
                                          "mssql_dms", "mysql_dms", "oracle_dms", "postgres_dms", NULL};
    *ret = (struct s3_format){.form = S3_BY_NAME};
    if (params) {
        TRY(json_only(params, members));
        for (size_t i = 3; members[i]; i++)
            CHECK(!is_wanted(params, members[i]), ERR_INVALID,
                  "format_params.%s is not read from buckets: there are json, csv and parquet", members[i]);
        bool json = is_wanted(params, "json"), csv = is_wanted(params, "csv"), parquet = is_wanted(params, "parquet");
        CHECK(json + csv + parquet <= 1, ERR_INVALID, "format_params names more than one format");
        if (json || csv || parquet) ret->form = json ? S3_JSON : csv ? S3_CSV : S3_PARQUET;
        if (csv) return csv_format_read(json_object_get(params, "csv"), &ret->csv);
    }
    return csv_format_read(NULL, &ret->csv);
}

/* ---- making ---- */

struct s3_object_reader *s3_object_new(const struct s3_reading *r) {
    struct s3_object_reader *o = mem_alloc(sizeof *o);
    o->r = *r;
    o->place = r->place;
    o->form = r->format->form == S3_BY_NAME ? s3_form_of_name(r->key) : r->format->form;
    o->total = -1;
    buf_init_wiping(&o->part, S3_OBJECT_MAX_PARQUET_BYTES + PART_BYTES);
    buf_init_wiping(&o->plain, PLAIN_BYTES + 1);
    buf_init_wiping(&o->lines, MAX_ROWS_BYTES);
    return o;
}

struct s3_object_reader *s3_object_free(struct s3_object_reader *o) {
    if (!o) return NULL;
    if (o->table) o->r.engine->parquet_close(o->table);
    inflate_free(o->inflate);
    records_free(o->records);
    buf_done(&o->part);
    buf_done(&o->plain);
    buf_done(&o->lines);
    mem_free(o);
    return NULL;
}

struct records_place s3_object_place(const struct s3_object_reader *o) {
    return o->place;
}

int64_t s3_object_bytes_done(const struct s3_object_reader *o) {
    return o->wire_at - (int64_t)(o->part.len - o->part_taken);
}

static bool is_wire_over(const struct s3_object_reader *o) {
    return o->part_taken == o->part.len && o->total >= 0 && o->wire_at >= o->total;
}

bool s3_object_must_wait(const struct s3_object_reader *o) {
    return !o->has_records;
}

/* The object as a whole is no good: its last record says so. */
static void give_flaw(struct s3_object_reader *o, const char *flaw, struct record *ret) {
    o->is_over = true;
    o->place.number++;
    *ret = (struct record){.number = o->place.number, .flaw = flaw};
}

/* ---- bytes ---- */

/* The next part of the object, behind those that are left. */
static struct result fetch_part(struct s3_object_reader *o, struct s3_part *ret) {
    if (o->part_taken == o->part.len) {
        buf_clear(&o->part);
        o->part_taken = 0;
    }
    size_t before = o->part.len;
    TRY(s3_client_get(o->r.client, o->r.key, o->r.etag, o->wire_at, PART_BYTES, &o->part, ret));
    o->wire_at += (int64_t)(o->part.len - before);
    o->total = ret->total;
    return OK;
}

static struct slice left_of_part(const struct s3_object_reader *o) {
    return slice_make(o->part.data + o->part_taken, o->part.len - o->part_taken);
}

/* ---- texts ---- */

static struct result begin_text(struct s3_object_reader *o) {
    struct s3_part part;
    TRY(fetch_part(o, &part));
    struct slice name = slice_str(o->r.key);
    bool gzip = part.is_gzip || ends_with(name, ".gz") || ends_with(name, ".gzip");
    bool zstd = part.is_zstd || ends_with(name, ".zst") || ends_with(name, ".zstd");
    bool csv = o->form == S3_CSV;
    if (o->place.mode == RECORDS_UNKNOWN && csv) o->place.mode = RECORDS_CSV;
    o->records = records_new(csv ? &o->r.format->csv : NULL, &o->place);
    o->skip = o->place.offset;
    o->needs_header = csv && o->skip > 0 && o->r.format->csv.has_header;
    return gzip || zstd ? inflate_new(gzip ? INFLATE_GZIP : INFLATE_ZSTD, &o->inflate) : OK;
}

/* What lies before the place isn't fetched, where that can be. */
static void jump_to_place(struct s3_object_reader *o) {
    if (o->skip == 0 || o->inflate || o->needs_header) return;
    buf_clear(&o->part);
    o->part_taken = 0;
    o->wire_at = (int64_t)o->r.place.offset;
    o->skip = 0;
}

/* Some more of the text into o->plain. CORRUPT. */
static struct result make_plain(struct s3_object_reader *o) {
    buf_clear(&o->plain);
    struct slice in = left_of_part(o);
    if (o->inflate) {
        size_t before = in.len;
        TRY(inflate_some(o->inflate, &in, PLAIN_BYTES, &o->plain));
        o->part_taken += before - in.len;
    } else {
        size_t n = in.len < PLAIN_BYTES ? in.len : PLAIN_BYTES;
        buf_append(&o->plain, in.data, n);
        o->part_taken += n;
    }
    return OK;
}

/* Gives the records more text, or its end. *ret_corrupt: it can't be decompressed. */
static struct result feed_text(struct s3_object_reader *o, bool *ret_corrupt) {
    struct s3_part part;
    jump_to_place(o);
    if (o->part_taken == o->part.len && !is_wire_over(o)) TRY(fetch_part(o, &part));
    if (is_err(make_plain(o))) {
        *ret_corrupt = true;
        return OK;
    }
    bool over = is_wire_over(o) && o->plain.len == 0;
    struct slice text = buf_slice(&o->plain);
    if (o->needs_header) o->needs_header = !records_feed_header(o->records, text, over);
    size_t skipped = o->skip < text.len ? (size_t)o->skip : text.len;
    o->skip -= skipped;
    text = slice_make(text.data + skipped, text.len - skipped);
    if (text.len) records_feed(o->records, text);
    if (!over) return OK;
    *ret_corrupt = o->inflate && !inflate_is_whole(o->inflate);
    o->is_text_over = true;
    records_end(o->records);
    return OK;
}

static struct result next_of_text(struct s3_object_reader *o, struct record *ret, bool *ret_end) {
    while (!records_next(o->records, ret)) {
        o->has_records = false;
        if (o->is_text_over) {
            o->is_over = *ret_end = true;
            return OK;
        }
        bool corrupt = false;
        TRY(feed_text(o, &corrupt));
        if (corrupt) {
            give_flaw(o, "the object can't be decompressed (any further)", ret);
            return OK;
        }
    }
    o->has_records = true;
    o->place = records_place(o->records);
    return OK;
}

/* ---- Parquet ---- */

/* *ret_flaw: NULL, or why it can't be read. */
static struct result begin_parquet(struct s3_object_reader *o, const char **ret_flaw) {
    *ret_flaw = NULL;
    struct s3_part part = {0};
    do {
        TRY(fetch_part(o, &part));
        if (part.total > S3_OBJECT_MAX_PARQUET_BYTES) {
            *ret_flaw = "a Parquet object may have at most 60 MiB: write smaller ones";
            return OK;
        }
    } while (!is_wire_over(o) && o->wire_at < o->total);
    o->part_taken = o->part.len;
    struct result r = o->r.engine->parquet_open(o->r.engine->arg, buf_slice(&o->part), &o->table, &o->rows);
    buf_clear(&o->part);
    o->part_taken = 0;
    if (r.code != ERR_INVALID) return r;
    *ret_flaw = err_detail();
    return OK;
}

/* The rows from place.number on: fewer if they are large. */
static struct result fetch_rows(struct s3_object_reader *o) {
    uint64_t left = o->rows - o->place.number, count = left < ROWS_AT_ONCE ? left : ROWS_AT_ONCE;
    o->lines_taken = 0;
    while (true) {
        buf_clear(&o->lines);
        struct result r = o->r.engine->parquet_read(o->table, o->place.number, count, &o->lines);
        if (r.code != ERR_TOO_LARGE || count == 1) return r;
        count = count > 16 ? count / 16 : 1;
    }
}

static struct result next_of_parquet(struct s3_object_reader *o, struct record *ret, bool *ret_end) {
    if (o->lines_taken == o->lines.len) {
        o->has_records = false;
        if (o->place.number >= o->rows) {
            o->is_over = *ret_end = true;
            return OK;
        }
        struct result r = fetch_rows(o);
        if (r.code == ERR_TOO_LARGE) {
            o->place.number++;
            *ret = (struct record){.number = o->place.number, .flaw = "the row is too large"};
            buf_clear(&o->lines);
            return OK;
        }
        TRY(r);
    }
    struct slice line, tail;
    slice_cut(slice_make(o->lines.data + o->lines_taken, o->lines.len - o->lines_taken), '\n', &line, &tail);
    o->lines_taken = o->lines.len - tail.len;
    o->place.number++;
    o->has_records = o->lines_taken < o->lines.len;
    *ret = (struct record){.document = line, .number = o->place.number};
    return OK;
}

/* ---- both ---- */

struct result s3_object_next(struct s3_object_reader *o, struct record *ret, bool *ret_end) {
    *ret_end = o->is_over;
    if (o->is_over) return OK;
    if (!o->is_begun) {
        const char *flaw = NULL;
        TRY(o->form == S3_PARQUET ? begin_parquet(o, &flaw) : begin_text(o));
        o->is_begun = true;
        if (flaw) {
            give_flaw(o, flaw, ret);
            return OK;
        }
    }
    return o->form == S3_PARQUET ? next_of_parquet(o, ret, ret_end) : next_of_text(o, ret, ret_end);
}
