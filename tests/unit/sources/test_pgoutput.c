/* pgoutput's messages: what the server sends is read whole, and nothing else is read at all. */
#include "sources/postgres_pgoutput.h"
#include "testing.h"

struct fixture {
    struct pgoutput_message *m;
    struct buf text;
};

static int set_up(void **state) {
    struct fixture *f = mem_alloc(sizeof *f);
    f->m = pgoutput_message_new();
    buf_init(&f->text, 1 << 20);
    *state = f;
    return 0;
}

static int tear_down(void **state) {
    struct fixture *f = *state;
    pgoutput_message_free(f->m);
    buf_done(&f->text);
    mem_free(f);
    return 0;
}

static void put_name(struct buf *b, const char *name) {
    buf_append_str(b, name);
    buf_append_byte(b, 0);
}

static void put_text(struct buf *b, const char *text) {
    buf_append_byte(b, 't');
    put_u32(b, (uint32_t)slice_str(text).len);
    buf_append_str(b, text);
}

static struct buf *begin(struct fixture *f, char letter) {
    buf_clear(&f->text);
    buf_append_byte(&f->text, (uint8_t)letter);
    return &f->text;
}

/* The parser gets a copy of exactly this size, so that a sanitizer sees every byte read beyond it. */
static struct result parse_first(struct fixture *f, size_t len) {
    uint8_t *copy = mem_dup(f->text.data, len);
    struct result r = pgoutput_parse(slice_make(copy, len), f->m);
    mem_free(copy);
    return r;
}

/* Whole it is read; every shorter piece of it, and one byte more, is refused. */
static void check_bounds(struct fixture *f) {
    size_t len = f->text.len;
    for (size_t i = 0; i < len; i++)
        ASSERT_ERR(PEER, parse_first(f, i));
    buf_append_byte(&f->text, 0);
    ASSERT_ERR(PEER, parse_first(f, len + 1));
    f->text.len = len;
    ASSERT_OK(pgoutput_parse(buf_slice(&f->text), f->m));
}

static void transactions_are_read(void **state) {
    struct fixture *f = *state;
    struct buf *b = begin(f, 'B');
    put_u64(b, 0x0000000112345678);
    put_u64(b, 5);
    put_u32(b, 4000000000U);
    check_bounds(f);
    assert_int_equal(f->m->kind, PGOUTPUT_BEGIN);
    assert_true(f->m->final_lsn == 0x0000000112345678 && f->m->xid == 4000000000U);
    b = begin(f, 'C');
    buf_append_byte(b, 0);
    put_u64(b, 16);
    put_u64(b, 32);
    put_u64(b, 5);
    check_bounds(f);
    assert_int_equal(f->m->kind, PGOUTPUT_COMMIT);
    assert_true(f->m->final_lsn == 16 && f->m->end_lsn == 32);
}

static void tables_are_read(void **state) {
    struct fixture *f = *state;
    struct buf *b = begin(f, 'R');
    put_u32(b, 16384);
    put_name(b, "public");
    put_name(b, "t");
    buf_append_byte(b, 'd');
    put_u16(b, 2);
    buf_append_byte(b, 1);
    put_name(b, "id");
    put_u32(b, 23);
    put_u32(b, 0xFFFFFFFF);
    buf_append_byte(b, 0);
    put_name(b, "");
    put_u32(b, 25);
    put_u32(b, 0xFFFFFFFF);
    check_bounds(f);
    assert_int_equal(f->m->kind, PGOUTPUT_RELATION);
    assert_int_equal(f->m->relation, 16384);
    assert_int_equal(f->m->columns_count, 2);
    ASSERT_SLICE(f->m->schema, "public");
    ASSERT_SLICE(f->m->table, "t");
    ASSERT_SLICE(f->m->columns[0].name, "id");
    assert_true(f->m->columns[0].is_key && !f->m->columns[1].is_key);
    assert_int_equal(f->m->columns[0].type, 23);
}

static void rows_are_read(void **state) {
    struct fixture *f = *state;
    struct buf *b = begin(f, 'I');
    put_u32(b, 7);
    buf_append_byte(b, 'N');
    put_u16(b, 3);
    put_text(b, "one");
    buf_append_byte(b, 'n');
    put_text(b, "");
    check_bounds(f);
    assert_int_equal(f->m->kind, PGOUTPUT_INSERT);
    assert_int_equal(f->m->new_row.count, 3);
    assert_int_equal(f->m->old, PGOUTPUT_OLD_NONE);
    ASSERT_SLICE(f->m->new_row.values[0].text, "one");
    assert_int_equal(f->m->new_row.values[1].kind, PGOUTPUT_NULL);
    assert_int_equal(f->m->new_row.values[2].kind, PGOUTPUT_TEXT);
    for (int old = 0; old < 3; old++) {
        b = begin(f, 'U');
        put_u32(b, 7);
        if (old) {
            buf_append_byte(b, old == 1 ? 'K' : 'O');
            put_u16(b, 1);
            put_text(b, "before");
        }
        buf_append_byte(b, 'N');
        put_u16(b, 1);
        buf_append_byte(b, 'u');
        check_bounds(f);
        assert_int_equal(f->m->kind, PGOUTPUT_UPDATE);
        assert_int_equal(f->m->old, old);
        assert_int_equal(f->m->old_row.count, old ? 1 : 0);
        if (old) ASSERT_SLICE(f->m->old_row.values[0].text, "before");
        assert_int_equal(f->m->new_row.values[0].kind, PGOUTPUT_UNCHANGED);
    }
    b = begin(f, 'D');
    put_u32(b, 7);
    buf_append_byte(b, 'K');
    put_u16(b, 1);
    put_text(b, "gone");
    check_bounds(f);
    assert_int_equal(f->m->kind, PGOUTPUT_DELETE);
    ASSERT_SLICE(f->m->old_row.values[0].text, "gone");
}

static void the_rest_is_read(void **state) {
    struct fixture *f = *state;
    struct buf *b = begin(f, 'T');
    put_u32(b, 2);
    buf_append_byte(b, 3);
    put_u32(b, 10);
    put_u32(b, 11);
    check_bounds(f);
    assert_true(pgoutput_truncates(f->m, 10) && pgoutput_truncates(f->m, 11) && !pgoutput_truncates(f->m, 12));
    b = begin(f, 'O');
    put_u64(b, 1);
    put_name(b, "elsewhere");
    check_bounds(f);
    assert_false(pgoutput_truncates(f->m, 10));
    b = begin(f, 'Y');
    put_u32(b, 1);
    put_name(b, "public");
    put_name(b, "mood");
    check_bounds(f);
}

static void refused(struct fixture *f) {
    ASSERT_ERR(PEER, parse_first(f, f->text.len));
}

static void hostile_messages_are_refused(void **state) {
    struct fixture *f = *state;
    buf_clear(&f->text);
    buf_append_str(&f->text, "x");
    ASSERT_ERR(PEER, parse_first(f, 0));
    for (unsigned letter = 0; letter < 256; letter++) {
        begin(f, (char)letter);
        refused(f); /* no kind is empty, and most don't exist */
    }
    struct buf *b = begin(f, 'I'); /* a value that claims more than is there */
    put_u32(b, 7);
    buf_append_byte(b, 'N');
    put_u16(b, 1);
    buf_append_byte(b, 't');
    put_u32(b, 0xFFFFFFFF);
    buf_append_str(b, "abc");
    refused(f);
    b = begin(f, 'I'); /* more columns than a table can have, all of them there */
    put_u32(b, 7);
    buf_append_byte(b, 'N');
    put_u16(b, PGOUTPUT_MAX_COLUMNS + 1);
    for (int i = 0; i <= PGOUTPUT_MAX_COLUMNS; i++)
        buf_append_byte(b, 'n');
    refused(f);
    b = begin(f, 'I'); /* the most that it can have */
    put_u32(b, 7);
    buf_append_byte(b, 'N');
    put_u16(b, PGOUTPUT_MAX_COLUMNS);
    for (int i = 0; i < PGOUTPUT_MAX_COLUMNS; i++)
        buf_append_byte(b, 'n');
    ASSERT_OK(parse_first(f, b->len));
    b = begin(f, 'R'); /* the same for a table */
    put_u32(b, 7);
    put_name(b, "s");
    put_name(b, "t");
    buf_append_byte(b, 'd');
    put_u16(b, 0xFFFF);
    for (int i = 0; i < 0xFFFF; i++) {
        buf_append_byte(b, 0);
        put_name(b, "c");
        put_u64(b, 0);
    }
    refused(f);
    b = begin(f, 'R'); /* an identity that there isn't */
    put_u32(b, 7);
    put_name(b, "s");
    put_name(b, "t");
    buf_append_byte(b, 0);
    put_u16(b, 0);
    refused(f);
    b = begin(f, 'D'); /* a deletion of nothing */
    put_u32(b, 7);
    buf_append_byte(b, 'N');
    put_u16(b, 0);
    refused(f);
    b = begin(f, 'U'); /* an old row twice */
    put_u32(b, 7);
    for (int i = 0; i < 2; i++) {
        buf_append_byte(b, 'O');
        put_u16(b, 0);
    }
    buf_append_byte(b, 'N');
    put_u16(b, 0);
    refused(f);
    b = begin(f, 'T'); /* a count whose bytes would overflow */
    put_u32(b, 0x40000001);
    buf_append_byte(b, 0);
    put_u32(b, 1);
    refused(f);
    b = begin(f, 'I'); /* binary values were not asked for */
    put_u32(b, 7);
    buf_append_byte(b, 'N');
    put_u16(b, 1);
    buf_append_byte(b, 'b');
    put_u32(b, 0);
    refused(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(transactions_are_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tables_are_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_are_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_rest_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hostile_messages_are_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
