#include "sources/postgres_pgoutput.h"

#include <string.h>

struct pgoutput_message *pgoutput_message_new(void) {
    return mem_alloc(sizeof(struct pgoutput_message));
}

struct pgoutput_message *pgoutput_message_free(struct pgoutput_message *m) {
    mem_free(m);
    return NULL;
}

#define TAKES(condition) CHECK(condition, ERR_PEER, "the replication stream holds a message that ends too early")

/* A string up to its NUL, which is taken too. */
static bool take_text(struct slice *s, struct slice *ret) {
    const uint8_t *end = s->len ? memchr(s->data, '\0', s->len) : NULL;
    if (!end) return false;
    size_t len = (size_t)(end - s->data);
    uint8_t nul;
    return take_bytes(s, len, ret) && take_u8(s, &nul);
}

static struct result take_value(struct slice *s, struct pgoutput_value *ret) {
    uint8_t kind;
    uint32_t len;
    *ret = (struct pgoutput_value){.kind = PGOUTPUT_NULL};
    TAKES(take_u8(s, &kind));
    if (kind == 'n') return OK;
    if (kind == 'u') {
        ret->kind = PGOUTPUT_UNCHANGED;
        return OK;
    }
    CHECK(kind == 't', ERR_PEER, "the replication stream holds a value of the unknown kind %u", kind);
    ret->kind = PGOUTPUT_TEXT;
    TAKES(take_u32(s, &len) && take_bytes(s, len, &ret->text));
    return OK;
}

static struct result take_count(struct slice *s, unsigned *ret) {
    uint16_t count;
    TAKES(take_u16(s, &count));
    CHECK(count <= PGOUTPUT_MAX_COLUMNS, ERR_PEER, "the replication stream holds a row of %u columns", count);
    *ret = count;
    return OK;
}

static struct result take_tuple(struct slice *s, struct pgoutput_tuple *ret) {
    unsigned count;
    TRY(take_count(s, &count));
    ret->count = 0;
    for (unsigned i = 0; i < count; i++)
        TRY(take_value(s, &ret->values[i]));
    ret->count = count;
    return OK;
}

static struct result take_relation(struct slice *s, struct pgoutput_message *m) {
    unsigned count;
    TAKES(take_u32(s, &m->relation) && take_text(s, &m->schema) && take_text(s, &m->table) && take_u8(s, &m->identity));
    CHECK(m->identity && strchr("dnfi", m->identity), ERR_PEER,
          "the replication stream holds a table of the unknown identity %u", m->identity);
    if (m->schema.len == 0) m->schema = slice_str("pg_catalog"); /* the protocol's short form */
    TRY(take_count(s, &count));
    m->columns_count = 0;
    for (unsigned i = 0; i < count; i++) {
        struct pgoutput_column *c = &m->columns[i];
        uint8_t flags;
        uint32_t modifier;
        TAKES(take_u8(s, &flags) && take_text(s, &c->name) && take_u32(s, &c->type) && take_u32(s, &modifier));
        c->is_key = (flags & 1) != 0;
    }
    m->columns_count = count;
    return OK;
}

/* 'K' or 'O' with an old tuple; without either, nothing is taken. */
static struct result take_old(struct slice *s, struct pgoutput_message *m) {
    m->old = PGOUTPUT_OLD_NONE;
    m->old_row.count = 0;
    if (s->len == 0 || (s->data[0] != 'K' && s->data[0] != 'O')) return OK;
    m->old = s->data[0] == 'K' ? PGOUTPUT_OLD_KEY : PGOUTPUT_OLD_ROW;
    *s = slice_make(s->data + 1, s->len - 1);
    return take_tuple(s, &m->old_row);
}

static struct result take_new(struct slice *s, struct pgoutput_message *m) {
    uint8_t mark;
    TAKES(take_u8(s, &mark));
    CHECK(mark == 'N', ERR_PEER, "the replication stream holds a row of the unknown mark %u", mark);
    return take_tuple(s, &m->new_row);
}

static struct result take_truncate(struct slice *s, struct pgoutput_message *m) {
    uint32_t count;
    uint8_t options;
    TAKES(take_u32(s, &count) && take_u8(s, &options));
    TAKES(count <= s->len / 4 && take_bytes(s, (size_t)count * 4, &m->truncated));
    return OK;
}

bool pgoutput_truncates(const struct pgoutput_message *m, uint32_t relation) {
    struct slice rest = m->truncated;
    uint32_t one;
    while (m->kind == PGOUTPUT_TRUNCATE && take_u32(&rest, &one))
        if (one == relation) return true;
    return false;
}

static struct result take_body(struct slice *s, struct pgoutput_message *m) {
    uint8_t flags;
    uint32_t type;
    uint64_t time;
    struct slice name;
    switch (m->kind) {
    case PGOUTPUT_BEGIN:
        TAKES(take_u64(s, &m->final_lsn) && take_u64(s, &time) && take_u32(s, &m->xid));
        return OK;
    case PGOUTPUT_COMMIT:
        TAKES(take_u8(s, &flags) && take_u64(s, &m->final_lsn) && take_u64(s, &m->end_lsn) && take_u64(s, &time));
        return OK;
    case PGOUTPUT_ORIGIN:
        TAKES(take_u64(s, &m->final_lsn) && take_text(s, &name));
        return OK;
    case PGOUTPUT_RELATION:
        return take_relation(s, m);
    case PGOUTPUT_TYPE:
        TAKES(take_u32(s, &type) && take_text(s, &name) && take_text(s, &name));
        return OK;
    case PGOUTPUT_INSERT:
        m->old = PGOUTPUT_OLD_NONE;
        TAKES(take_u32(s, &m->relation));
        return take_new(s, m);
    case PGOUTPUT_UPDATE:
        TAKES(take_u32(s, &m->relation));
        TRY(take_old(s, m));
        return take_new(s, m);
    case PGOUTPUT_DELETE:
        TAKES(take_u32(s, &m->relation));
        TRY(take_old(s, m));
        CHECK(m->old != PGOUTPUT_OLD_NONE, ERR_PEER, "the replication stream deletes a row that it does not name");
        return OK;
    case PGOUTPUT_TRUNCATE:
        return take_truncate(s, m);
    case PGOUTPUT_KIND_MAX:
        break;
    }
    FAIL(ERR_INTERNAL, "no such kind of message");
}

struct result pgoutput_parse(struct slice text, struct pgoutput_message *ret) {
    static const char kinds[PGOUTPUT_KIND_MAX + 1] = "BCORYIUDT"; /* in the enum's order */
    uint8_t letter;
    TAKES(take_u8(&text, &letter));
    const char *found = letter ? strchr(kinds, letter) : NULL;
    CHECK(found, ERR_PEER, "the replication stream holds a message of the unknown kind %u", letter);
    ret->kind = (enum pgoutput_kind)(found - kinds);
    TRY(take_body(&text, ret));
    CHECK(text.len == 0, ERR_PEER, "the replication stream holds a message with %zu bytes too many", text.len);
    return OK;
}
