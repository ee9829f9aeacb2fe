/* SQL, as tenants and as Lockset write it. Tokens lie in the text one behind the other; the gate's verdict doesn't
 * depend on blanks and comments, and never allows a second statement; a disk is filled in only where
 * @disk stands. */
#include "fuzz.h"

#include <string.h>

#include "engine/sql_gate.h"
#include "engine/sql_text.h"
#include "engine/writer_sql.h"

static const char functions[] = "file\nurl\ns3\nremote\nexecutable\nnumbers\nvalues\nview\nformat\neval\nmerge\n";
static const char tables[] = "one\nnumbers\ndisks\ntables\nprocesses\n";

/* False: the text is broken somewhere. The tokens with one space between them are appended to `joined`. */
static bool check_tokens(struct slice sql, struct buf *joined) {
    AUTO(sql_tokens_done) struct sql_tokens t = {0};
    PROMISE(is_ok(sql_tokenize(sql, &t)));
    size_t at = 0;
    for (size_t i = 0; i < t.count; i++) {
        const struct sql_token *token = &t.items[i];
        PROMISE(token->kind != SQL_END && token->begin >= at && token->end > token->begin && token->end <= sql.len);
        PROMISE(token->kind != SQL_BROKEN || i + 1 == t.count);
        at = token->end;
        if (joined->len > 0) buf_append_byte(joined, ' ');
        buf_append(joined, sql.data + token->begin, token->end - token->begin);
    }
    PROMISE(t.items[t.count].kind == SQL_END);
    return t.count > 0 && t.items[t.count - 1].kind != SQL_BROKEN;
}

static void check_gate(struct slice sql, struct slice joined, bool is_whole) {
    static struct sql_gate *gate;
    if (!gate) PROMISE(is_ok(sql_gate_new(slice_str(functions), slice_str(tables), &gate)));
    struct sql_shape shape, again;
    struct result r = sql_gate_check(gate, sql, &shape);
    PROMISE(is_ok(r) || r.code == ERR_FORBIDDEN || r.code == ERR_INVALID);
    PROMISE(is_whole || is_err(r));
    if (!is_whole) return;
    struct result same = sql_gate_check(gate, joined, &again);
    PROMISE(same.code == r.code);
    if (is_err(r)) return;
    PROMISE(shape.is_select == again.is_select);
    /* Behind another statement it is never good. */
    BUF_AUTO(two, 2 * joined.len + 64);
    buf_append_str(&two, "SELECT 1; ");
    buf_append_slice(&two, joined);
    PROMISE(sql_gate_check(gate, buf_slice(&two), &again).code == ERR_FORBIDDEN);
}

static void check_writer(struct slice sql) {
    AUTO(writer_sql_done) struct writer_sql w = {0};
    if (is_ok(writer_sql_parse(sql, &w))) {
        PROMISE(w.kind != WRITER_INSERT || (w.insert && w.format && w.table && strlen(w.insert) <= sql.len));
        PROMISE(w.kind != WRITER_TABLE || (w.table && w.table_part));
        PROMISE(w.column_count <= WRITER_MAX_COLUMNS);
    }
    static const struct writer_disk disk = {
        .port = 1, .access_key = {(const uint8_t *)"ACCESS", 6}, .secret_key = {(const uint8_t *)"SECRET", 6}};
    BUF_AUTO(out, 1 << 20);
    struct result r = writer_fill_disks(sql, &disk, &out);
    bool has_at = sql.len > 0 && memchr(sql.data, '@', sql.len);
    PROMISE(has_at || (is_ok(r) && slice_equal(sql, buf_slice(&out))));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 4096) return 0;
    struct slice sql = slice_make(data, size);
    BUF_AUTO(joined, 3 * size + 16);
    bool is_whole = check_tokens(sql, &joined);
    check_gate(sql, buf_slice(&joined), is_whole);
    check_writer(sql);
    return 0;
}
