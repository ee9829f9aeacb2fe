/* The audit ledgers, read where they lie or from a copy: nothing here needs a running node. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "cli/commands.h"
#include "ledger/match.h"

enum { EXPORT_MAX = 512 << 20 };

/* ---- verify ---- */

static const char *print_report(const char *folder, const struct ledger_report *r) {
    if (r->is_bad) {
        printf("%s: BAD: %s", folder, r->bad_file);
        if (r->bad_line) printf(", line %llu", (unsigned long long)r->bad_line);
        if (r->bad_seq) printf(", record %llu", (unsigned long long)r->bad_seq);
        printf(": %s\n", r->bad_text);
        return folder;
    }
    printf("%s: good: %llu records, %llu to %llu, in %u file%s", folder, (unsigned long long)r->records,
           (unsigned long long)r->first, (unsigned long long)r->last.seq, r->files, r->files == 1 ? "" : "s");
    if (r->torn) printf("; %u line%s cut off by a crash and kept", r->torn, r->torn == 1 ? "" : "s");
    printf("; head %llu:%s\n", (unsigned long long)r->last.seq, r->last.hash);
    return NULL;
}

/* --head: a head that was written down elsewhere. It must be among the records still. */
struct expected {
    struct ledger_mark mark;
    bool is_set, was_seen;
};

static struct result look_for_head(void *context, const struct ledger_record *r) {
    struct expected *e = context;
    if (e->is_set && r->mark.seq == e->mark.seq && strcmp(r->mark.hash, e->mark.hash) == 0) e->was_seen = true;
    return OK;
}

static struct result read_head(const char *text, struct expected *ret) {
    struct slice seq, hash;
    uint64_t number;
    bool is_mark = slice_cut(slice_str(text), ':', &seq, &hash) && hash.len == LEDGER_HASH_BYTES - 1 &&
                   is_ok(slice_to_u64(seq, INT64_MAX, &number));
    CHECK(is_mark, ERR_INVALID, "--head wants SEQ:HASH, as `lockset audit verify` prints it");
    *ret = (struct expected){.mark.seq = number, .is_set = true};
    snprintf(ret->mark.hash, sizeof ret->mark.hash, "%.*s", (int)hash.len, (const char *)hash.data);
    return OK;
}

static struct result run_verify(const struct args *a) {
    AUTO(ledger_folders_done) struct ledger_folders f = {0};
    struct expected expected = {0};
    TRY(ledger_find(a->positional[0], &f));
    const char *head = args_get(a, "--head");
    if (head) TRY(read_head(head, &expected));
    CHECK(!head || f.count == 1, ERR_INVALID, "--head is of one ledger, and there are %zu in %s", f.count,
          a->positional[0]);
    size_t bad = 0;
    for (size_t i = 0; i < f.count; i++) {
        struct ledger_report r;
        TRY(ledger_walk(f.items[i], args_has(a, "--partial"), look_for_head, &expected, &r));
        if (print_report(f.items[i], &r)) bad++;
    }
    CHECK(bad == 0, ERR_CORRUPT, "%zu of %zu ledger%s: the first bad record of each is named above", bad, f.count,
          f.count == 1 ? "" : "s");
    CHECK(!expected.is_set || expected.was_seen, ERR_CORRUPT, "there is no record %llu with the hash that --head names",
          (unsigned long long)expected.mark.seq);
    return OK;
}

/* ---- show, export ---- */

struct filter {
    const char *org, *region, *kind, *from, *to;
};

static struct result print_record(void *context, const struct ledger_record *r) {
    const struct filter *f = context;
    bool fits = (!f->org || strcmp(f->org, r->org) == 0) && (!f->region || strcmp(f->region, r->region) == 0) &&
                (!f->kind || strcmp(f->kind, r->kind) == 0) && (!f->from || strcmp(r->time, f->from) >= 0) &&
                (!f->to || strncmp(r->time, f->to, strlen(f->to)) <= 0);
    if (!fits) return OK;
    BUF_AUTO(line, LEDGER_LINE_BYTES);
    TRY(json_write(r->json, &line));
    TRY(buf_check(&line));
    printf("%s\n", buf_str(&line));
    return OK;
}

static struct result print_all(const char *path, const struct filter *f, bool is_partial) {
    AUTO(ledger_folders_done) struct ledger_folders found = {0};
    TRY(ledger_find(path, &found));
    size_t bad = 0;
    for (size_t i = 0; i < found.count; i++) {
        struct ledger_report r;
        TRY(ledger_walk(found.items[i], is_partial, print_record, mem_unconst(f), &r));
        if (!r.is_bad) continue;
        bad++;
        fprintf(stderr, "lockset: %s is bad from record %llu on (%s: %s)\n", found.items[i],
                (unsigned long long)r.bad_seq, r.bad_file, r.bad_text);
    }
    CHECK(bad == 0, ERR_CORRUPT, "what was printed ends, in %zu ledger%s, before the first bad record", bad,
          bad == 1 ? "" : "s");
    return OK;
}

static struct result run_show(const struct args *a) {
    const char *data = args_get(a, "--data");
    AUTO_FREE char *own = str_format("%s/audit", data ? data : "lockset-data");
    CHECK(a->positional_count == 0 || !data, ERR_INVALID, "give a PATH or --data, not both");
    struct filter f = {args_get(a, "--org"), args_get(a, "--region"), args_get(a, "--kind"), args_get(a, "--from"),
                       args_get(a, "--to")};
    return print_all(a->positional_count ? a->positional[0] : own, &f, args_has(a, "--partial"));
}

/* ---- match ---- */

static size_t print_list(const json_t *report, const char *name) {
    const json_t *list = json_object_get(report, name);
    for (size_t i = 0; i < json_array_size(list); i++) {
        JSON_AUTO(line);
        line = json_pack("{s:s, s:O}", "finding", name, "of", json_array_get(list, i));
        BUF_AUTO(text, 1 << 20);
        if (is_ok(json_write(line, &text)) && is_ok(buf_check(&text))) printf("%s\n", buf_str(&text));
    }
    return json_array_size(list);
}

static int number(const json_t *report, const char *name) {
    return (int)json_integer_value(json_object_get(report, name));
}

static struct result run_match(const struct args *a) {
    AUTO(ledger_folders_done) struct ledger_folders f = {0};
    JSON_AUTO(export);
    JSON_AUTO(report);
    BUF_AUTO(text, EXPORT_MAX);
    TRY(file_read(a->positional[0], EXPORT_MAX, &text));
    TRY(json_parse_object(buf_slice(&text), &export));
    buf_done(&text);
    TRY(ledger_find(a->positional[1], &f));
    struct match *m;
    TRY(match_new(export, args_get(a, "--from"), args_get(a, "--to"), &m));
    struct result r = OK;
    struct ledger_report walked = {0};
    for (size_t i = 0; i < f.count && is_ok(r) && !walked.is_bad; i++) {
        r = ledger_walk(f.items[i], args_has(a, "--partial"), match_visit, m, &walked);
        if (is_ok(r) && walked.is_bad) print_report(f.items[i], &walked);
    }
    if (is_ok(r)) report = match_report(m);
    match_free(m);
    TRY(r);
    CHECK(!walked.is_bad, ERR_CORRUPT, "a ledger is bad: there is nothing to compare with");
    size_t wrong = print_list(report, "only_ledger") + print_list(report, "only_cloudtrail");
    wrong += print_list(report, "differ");
    size_t via_s3 = print_list(report, "via_s3");
    print_list(report, "withdrawals");
    fprintf(stderr,
            "%d matched, %zu only in the ledger, %zu only in CloudTrail, %zu different; not judged: %d without an "
            "answer here, %zu by S3, %d and %d of a time the other side doesn't cover, %d elsewhere, %d repeated\n",
            number(report, "matched"), json_array_size(json_object_get(report, "only_ledger")),
            json_array_size(json_object_get(report, "only_cloudtrail")),
            json_array_size(json_object_get(report, "differ")), number(report, "unanswered"), via_s3,
            number(report, "outside_ledger"), number(report, "outside_cloudtrail"), number(report, "elsewhere"),
            number(report, "duplicates"));
    CHECK(wrong == 0, ERR_CONFLICT, "%zu call%s not the same on both sides", wrong, wrong == 1 ? " is" : "s are");
    return OK;
}

#define PARTIAL                                                                                                        \
    { "--partial", NULL, "files at the beginning may have been taken away", NULL }
#define END                                                                                                            \
    { NULL, NULL, NULL, NULL }

static const struct args_option show_options[] = {
    {"--data", "DIR", "data folder of a node (instead of PATH)", "./lockset-data"},
    {"--org", "ID", "only this organization's records; 'operator': what belongs to none", NULL},
    {"--region", "REGION", "only this region's", NULL},
    {"--kind", "KIND", "only kms, lease, purge, cost, operator, torn or gap", NULL},
    {"--from", "TIME", "from this time on (2026-11-24T08:00:00, UTC)", NULL},
    {"--to", "TIME", "up to this time", NULL},
    PARTIAL,
    END};

const struct command audit_commands[] = {
    {"audit verify", "PATH", "Checks audit ledgers, also copies: every record, their chain, the head.",
     (const struct args_option[]){
         {"--head", "SEQ:HASH", "a head noted earlier: it must still be part of the ledger", NULL}, PARTIAL, END},
     true, run_verify},
    {"audit show", "[PATH]", "Prints audit records as JSON lines.", show_options, true, run_show},
    {"audit export", "[PATH]", "The same as `audit show`.", show_options, true, run_show},
    {"audit match", "FILE PATH",
     "Compares with a CloudTrail export, by request id. What only one side has is printed as JSON lines; then the exit "
     "code is 1.",
     (const struct args_option[]){
         {"--from", "TIME", "the export covers all events from here (2026-11-24T08:00:00, UTC)", "its first event"},
         {"--to", "TIME", "up to here", "its last event"},
         PARTIAL,
         END},
     true, run_match},
    {NULL, NULL, NULL, NULL, false, NULL},
};
