#include "store/cache_space.h"

#include "base/mem.h"

/* Rows stand in lists by the longest run they still have: order 0 to 4, or FULL. */
enum { ORDERS = 5, FULL = ORDERS, LISTS };
#define NONE UINT32_MAX

struct row {
    uint16_t used; /* a bit for each page */
    uint8_t order;
    uint32_t next, previous;
};

struct space {
    uint32_t heads[LISTS];
    uint32_t used_pages;
    struct row *rows;
};

static unsigned order_of(uint32_t bytes) {
    unsigned order = 0;
    while (order < ORDERS - 1 && (uint32_t)SPACE_PAGE_BYTES << order < bytes)
        order++;
    return order;
}

static uint16_t run_mask(unsigned order, unsigned at) {
    return (uint16_t)(((1U << (1U << order)) - 1) << at);
}

/* The first free run of that order in a row; SPACE_ROW_PAGES if there is none. */
static unsigned find_run(uint16_t used, unsigned order) {
    for (unsigned at = 0; at < SPACE_ROW_PAGES; at += 1U << order)
        if (!(used & run_mask(order, at))) return at;
    return SPACE_ROW_PAGES;
}

static void list_add(struct space *s, uint32_t i) {
    struct row *row = &s->rows[i];
    row->previous = NONE;
    row->next = s->heads[row->order];
    if (row->next != NONE) s->rows[row->next].previous = i;
    s->heads[row->order] = i;
}

static void list_remove(struct space *s, uint32_t i) {
    const struct row *row = &s->rows[i];
    if (row->previous != NONE)
        s->rows[row->previous].next = row->next;
    else
        s->heads[row->order] = row->next;
    if (row->next != NONE) s->rows[row->next].previous = row->previous;
}

static void row_set(struct space *s, uint32_t i, uint16_t used) {
    list_remove(s, i);
    s->rows[i].used = used;
    unsigned order = FULL;
    for (unsigned o = 0; o < ORDERS && find_run(used, o) < SPACE_ROW_PAGES; o++)
        order = o;
    s->rows[i].order = (uint8_t)order;
    list_add(s, i);
}

struct space *space_new(uint32_t rows) {
    struct space *s = mem_alloc(sizeof *s);
    s->rows = mem_alloc_array(rows, sizeof *s->rows);
    for (unsigned i = 0; i < LISTS; i++)
        s->heads[i] = NONE;
    for (uint32_t i = rows; i-- > 0;) {
        s->rows[i].order = ORDERS - 1;
        list_add(s, i);
    }
    return s;
}

struct space *space_free(struct space *s) {
    if (s) mem_free(s->rows);
    mem_free(s);
    return NULL;
}

uint32_t space_pages(uint32_t bytes) {
    return 1U << order_of(bytes);
}

bool space_take(struct space *s, uint32_t bytes, uint32_t *ret_page) {
    unsigned order = order_of(bytes);
    for (unsigned list = order; list < ORDERS; list++) { /* the tightest row first */
        uint32_t i = s->heads[list];
        if (i == NONE) continue;
        unsigned at = find_run(s->rows[i].used, order);
        row_set(s, i, s->rows[i].used | run_mask(order, at));
        s->used_pages += 1U << order;
        *ret_page = i * SPACE_ROW_PAGES + at;
        return true;
    }
    return false;
}

void space_give(struct space *s, uint32_t page, uint32_t bytes) {
    unsigned order = order_of(bytes);
    uint32_t i = page / SPACE_ROW_PAGES;
    row_set(s, i, s->rows[i].used & (uint16_t)~run_mask(order, page % SPACE_ROW_PAGES));
    s->used_pages -= 1U << order;
}

uint32_t space_used_pages(const struct space *s) {
    return s->used_pages;
}
