/* Messages of the replication stream: whatever is read lies within the message, and is within the limits. */
#include "fuzz.h"
#include "sources/postgres_pgoutput.h"

static const uint8_t *begin, *end;

static void within(struct slice s) {
    PROMISE(s.len == 0 || (s.data >= begin && s.len <= (size_t)(end - s.data)));
}

static void check_row(const struct pgoutput_tuple *row) {
    PROMISE(row->count <= PGOUTPUT_MAX_COLUMNS);
    for (unsigned i = 0; i < row->count; i++) {
        PROMISE(row->values[i].kind <= PGOUTPUT_TEXT);
        within(row->values[i].text);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct pgoutput_message *m;
    if (!m) m = pgoutput_message_new();
    begin = data;
    end = data + size;
    struct result r = pgoutput_parse(slice_make(data, size), m);
    PROMISE(is_ok(r) || r.code == ERR_PEER);
    if (is_err(r)) return 0;
    PROMISE(m->kind < PGOUTPUT_KIND_MAX);
    bool has_new = m->kind == PGOUTPUT_INSERT || m->kind == PGOUTPUT_UPDATE;
    bool has_old = (m->kind == PGOUTPUT_UPDATE || m->kind == PGOUTPUT_DELETE) && m->old != PGOUTPUT_OLD_NONE;
    PROMISE(m->kind != PGOUTPUT_DELETE || has_old);
    if (has_new) check_row(&m->new_row);
    if (has_old) check_row(&m->old_row);
    if (m->kind == PGOUTPUT_RELATION) {
        within(m->table);
        PROMISE(m->columns_count <= PGOUTPUT_MAX_COLUMNS);
        for (unsigned i = 0; i < m->columns_count; i++)
            within(m->columns[i].name);
    }
    if (m->kind == PGOUTPUT_TRUNCATE) within(m->truncated);
    (void)pgoutput_truncates(m, 1);
    return 0;
}
