/* Records of a ledger, its head, and the exports that are compared with it. A line that is taken has the hash that it
 * says; what the reader makes of any folder is checked by the unit tests. */
#include <string.h>

#include "base/crypto.h"
#include "fuzz.h"
#include "ledger/match.h"

static void try_record(struct slice line) {
    AUTO(ledger_record_done) struct ledger_record r = {0};
    err_forget();
    struct result read = ledger_record_read(line, &r);
    PROMISE(is_settled(read));
    if (is_err(read)) {
        PROMISE(read.code == ERR_CORRUPT && !r.json);
        return;
    }
    PROMISE(r.mark.seq > 0 && strlen(r.mark.hash) == 64 && strlen(r.prev) == 64 && r.kind && r.org && r.region);
    uint8_t digest[SHA256_BYTES];
    BUF_AUTO(hex, 65);
    PROMISE(is_ok(sha256(slice_make(line.data, line.len - 75), digest)));
    hex_encode(slice_make(digest, sizeof digest), &hex);
    PROMISE(strcmp(buf_str(&hex), r.mark.hash) == 0);
}

/* The same bytes as a record's members: made into a record, they can be read. */
static void try_members(const json_t *members) {
    struct ledger_mark at = LEDGER_BEGINNING;
    BUF_AUTO(line, 1 << 20);
    if (is_err(ledger_record_write(&at, 1795492364123, "us-west-2", "o1", "kms", members, &line))) return;
    AUTO(ledger_record_done) struct ledger_record r = {0};
    PROMISE(line.data[line.len - 1] == '\n');
    PROMISE(is_ok(ledger_record_read(slice_make(line.data, line.len - 1), &r)));
    PROMISE(r.mark.seq == 1 && strcmp(r.mark.hash, at.hash) == 0);
    struct match *m;
    if (is_err(match_new(members, NULL, NULL, &m))) return;
    struct result visited = match_visit(m, &r);
    JSON_AUTO(report);
    report = match_report(m);
    PROMISE(is_settled(visited) && json_is_object(report));
    match_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice all = slice_make(data, size);
    try_record(all);
    struct ledger_mark head = {0};
    err_forget();
    struct result r = ledger_head_read(all, &head);
    PROMISE(is_settled(r) && (is_err(r) || (head.seq > 0 && strlen(head.hash) == 64)));
    JSON_AUTO(object);
    if (is_ok(json_parse_object(all, &object))) try_members(object);
    return 0;
}
