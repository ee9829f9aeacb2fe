#include "ledger/walk.h"

#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/crypto.h"
#include "base/file.h"

enum { DEPTH_MAX = 3, HEAD_MAX = 4096, TORN_MAX = 1 << 20 };

struct walk {
    const char *folder;
    bool is_partial;
    ledger_visit *visit;
    void *context;
    struct ledger_report *report;
    struct ledger_mark head;
    bool has_head, was_head_seen;
    char *region, *org; /* of the first record: they are all of one ledger */
};

static void walk_done(struct walk *w) {
    mem_free(w->region);
    mem_free(w->org);
}

/* The first fault only. */
__attribute__((format(printf, 5, 6))) static void fault(struct walk *w, const char *file, uint64_t line, uint64_t seq,
                                                        const char *format, ...) {
    struct ledger_report *r = w->report;
    if (r->is_bad) return;
    r->is_bad = true;
    r->bad_seq = seq;
    r->bad_line = line;
    snprintf(r->bad_file, sizeof r->bad_file, "%s", file);
    va_list args;
    va_start(args, format);
    vsnprintf(r->bad_text, sizeof r->bad_text, format, args);
    va_end(args);
}

/* Is what a record "torn" tells of beside the files, as it was? */
static void check_torn(struct walk *w, const char *file, uint64_t line, const struct ledger_record *r) {
    const char *name = "", *sha = "";
    int64_t bytes = -1;
    char expected[32];
    snprintf(expected, sizeof expected, "torn-%llu", (unsigned long long)r->mark.seq);
    bool is_whole = is_ok(json_get_str(r->json, "file", &name)) && is_ok(json_get_str(r->json, "sha256", &sha)) &&
                    is_ok(json_get_int(r->json, "bytes", 0, TORN_MAX, &bytes)) && strcmp(name, expected) == 0;
    AUTO_FREE char *path = str_format("%s/%s", w->folder, expected);
    BUF_AUTO(kept, TORN_MAX);
    BUF_AUTO(hex, LEDGER_HASH_BYTES);
    uint8_t digest[SHA256_BYTES];
    if (is_whole && is_ok(file_read(path, TORN_MAX, &kept)) && is_ok(sha256(buf_slice(&kept), digest)))
        hex_encode(slice_make(digest, sizeof digest), &hex);
    if (strcmp(buf_str(&hex), sha) != 0 || (int64_t)kept.len != bytes)
        fault(w, file, line, r->mark.seq, "%s, the half line that was kept, is missing or was changed", expected);
    w->report->torn++;
}

static void check_record(struct walk *w, const char *file, uint64_t line, const struct ledger_record *r) {
    struct ledger_report *report = w->report;
    uint64_t seq = r->mark.seq;
    if (report->records == 0 && (w->is_partial || seq == 1)) {
        report->last.seq = seq - 1;
        snprintf(report->last.hash, sizeof report->last.hash, "%s", seq == 1 ? LEDGER_BEGINNING.hash : r->prev);
    }
    if (strcmp(r->kind, "gap") == 0) {
        const char *reason = "";
        result_ignore(json_opt_str(r->json, "reason", &reason)); /* without one it is a gap all the same */
        fault(w, file, line, seq, "the ledger itself tells of a gap before this record: %.300s", reason);
    } else if (seq != report->last.seq + 1) {
        fault(w, file, line, seq, "record %llu stands where %llu should: records were removed, repeated or moved",
              (unsigned long long)seq, (unsigned long long)report->last.seq + 1);
    } else if (strcmp(r->prev, report->last.hash) != 0) {
        fault(w, file, line, seq, "it does not follow from record %llu: that has the hash %s, and it names %s",
              (unsigned long long)report->last.seq, report->last.hash, r->prev);
    }
    if (!w->region) w->region = str_dup(r->region);
    if (!w->org) w->org = str_dup(r->org);
    if (strcmp(r->region, w->region) != 0 || strcmp(r->org, w->org) != 0)
        fault(w, file, line, seq, "it is of another ledger: %.64s in %.64s", r->org, r->region);
    if (w->has_head && seq == w->head.seq) {
        w->was_head_seen = true;
        if (strcmp(w->head.hash, r->mark.hash) != 0)
            fault(w, "head", 0, seq, "the head names another record %llu", (unsigned long long)seq);
    }
    if (strcmp(r->kind, "torn") == 0) check_torn(w, file, line, r);
}

static struct result walk_line(struct walk *w, const char *file, uint64_t line, struct slice text) {
    AUTO(ledger_record_done) struct ledger_record r = {0};
    bool is_whole = text.len > 0 && text.data[text.len - 1] == '\n';
    if (!is_whole) {
        fault(w, file, line, w->report->last.seq + 1, "the last line is cut off after %zu bytes", text.len);
        return OK;
    }
    if (is_err(ledger_record_read(slice_make(text.data, text.len - 1), &r))) {
        fault(w, file, line, w->report->last.seq + 1, "%s", err_detail());
        return OK;
    }
    check_record(w, file, line, &r);
    if (w->report->is_bad) return OK;
    if (w->report->records++ == 0) w->report->first = r.mark.seq;
    w->report->last = r.mark;
    return w->visit ? w->visit(w->context, &r) : OK;
}

static void close_stream(FILE **f) {
    if (*f) fclose(*f);
}

static struct result walk_file(struct walk *w, const char *name) {
    AUTO_FREE char *path = str_format("%s/%s", w->folder, name);
    AUTO(close_stream) FILE *f = fopen(path, "re");
    if (!f) return err_from_errno(errno, "%s", path);
    AUTO_FREE char *line = mem_alloc(LEDGER_LINE_BYTES + 1);
    uint64_t number = 0;
    w->report->files++;
    while (!w->report->is_bad) {
        size_t len = 0;
        int c = 0;
        while (len < LEDGER_LINE_BYTES && c != '\n' && (c = getc(f)) != EOF)
            line[len++] = (char)c;
        if (ferror(f)) return err_from_errno(EIO, "%s", path);
        if (len == 0) break;
        TRY(walk_line(w, name, ++number, slice_make(line, len)));
    }
    return OK;
}

static int is_records(const struct dirent *e) {
    return strspn(e->d_name, "0123456789") == 8 && strcmp(e->d_name + 8, ".jsonl") == 0;
}

struct names {
    struct dirent **items;
    int count;
};

static void names_done(struct names *n) {
    for (int i = 0; i < n->count; i++)
        mem_free(n->items[i]); /* scandir's: from the same heap */
    mem_free(n->items);
}

static struct result read_head(struct walk *w) {
    AUTO_FREE char *path = str_format("%s/head", w->folder);
    BUF_AUTO(text, HEAD_MAX);
    struct result r = file_read(path, HEAD_MAX, &text);
    if (is_err(r) && r.code != ERR_NOT_FOUND && r.code != ERR_TOO_LARGE) return r;
    w->has_head = is_ok(r) && is_ok(ledger_head_read(buf_slice(&text), &w->head));
    return OK;
}

struct result ledger_walk(const char *folder, bool is_partial, ledger_visit *visit, void *context,
                          struct ledger_report *ret) {
    *ret = (struct ledger_report){.last = LEDGER_BEGINNING};
    AUTO(walk_done)
    struct walk w = {.folder = folder, .is_partial = is_partial, .visit = visit, .context = context, .report = ret};
    TRY(read_head(&w));
    AUTO(names_done) struct names names = {0};
    names.count = scandir(folder, &names.items, is_records, alphasort);
    if (names.count < 0) {
        int error = errno;
        names.count = 0;
        return err_from_errno(error, "%s", folder);
    }
    for (int i = 0; i < names.count && !ret->is_bad; i++)
        TRY(walk_file(&w, names.items[i]->d_name));
    CHECK(names.count > 0 || w.has_head, ERR_NOT_FOUND, "there is no ledger in %s", folder);
    if (ret->is_bad) return OK;
    if (!w.has_head)
        fault(&w, "head", 0, ret->last.seq,
              "the head is missing or can't be read: whether records are missing at "
              "the end can't be told");
    else if (!w.was_head_seen && w.head.seq > ret->last.seq)
        fault(&w, "head", 0, ret->last.seq + 1,
              "the head names record %llu, and the ledger ends with %llu: records "
              "were removed at the end",
              (unsigned long long)w.head.seq, (unsigned long long)ret->last.seq);
    else if (!w.was_head_seen)
        fault(&w, "head", 0, w.head.seq, "the record %llu that the head names is not there",
              (unsigned long long)w.head.seq);
    return OK;
}

/* ---- Finding ---- */

static int is_entry(const struct dirent *e) {
    return e->d_name[0] != '.';
}

static void add_folder(struct ledger_folders *f, const char *path) {
    f->items = mem_resize(f->items, (f->count + 1) * sizeof *f->items);
    f->items[f->count++] = str_dup(path);
}

static struct result find_in(const char *path, int depth, struct ledger_folders *ret) {
    AUTO(names_done) struct names names = {0};
    names.count = scandir(path, &names.items, is_entry, alphasort);
    if (names.count < 0) {
        int error = errno;
        names.count = 0;
        return err_from_errno(error, "%s", path);
    }
    bool is_ledger = false;
    for (int i = 0; i < names.count; i++)
        is_ledger = is_ledger || is_records(names.items[i]) || strcmp(names.items[i]->d_name, "head") == 0;
    if (is_ledger) {
        add_folder(ret, path);
        return OK;
    }
    for (int i = 0; i < names.count && depth < DEPTH_MAX; i++) {
        AUTO_FREE char *inner = str_format("%s/%s", path, names.items[i]->d_name);
        struct stat s;
        if (lstat(inner, &s) == 0 && S_ISDIR(s.st_mode)) TRY(find_in(inner, depth + 1, ret));
    }
    return OK;
}

struct result ledger_find(const char *path, struct ledger_folders *ret) {
    AUTO(ledger_folders_done) struct ledger_folders f = {0};
    TRY(find_in(path, 0, &f));
    CHECK(f.count > 0, ERR_NOT_FOUND, "there is no audit ledger in %s", path);
    *ret = f;
    f = (struct ledger_folders){0};
    return OK;
}

void ledger_folders_done(struct ledger_folders *f) {
    for (size_t i = 0; i < f->count; i++)
        mem_free(f->items[i]);
    mem_free(f->items);
    *f = (struct ledger_folders){0};
}
