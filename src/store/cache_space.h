/* Where blocks lie in the cache's file: pages of 4 KiB, runs of 1, 2, 4, 8 or 16 of them inside of rows of 16. Only
 * the arithmetic; no file. One thread at a time. */
#ifndef LOCKSET_STORE_CACHE_SPACE_H
#define LOCKSET_STORE_CACHE_SPACE_H

#include <stdbool.h>
#include <stdint.h>

enum { SPACE_PAGE_BYTES = 4096, SPACE_ROW_PAGES = 16, SPACE_ROW_BYTES = SPACE_PAGE_BYTES * SPACE_ROW_PAGES };

struct space; /* opaque */

struct space *space_new(uint32_t rows);
struct space *space_free(struct space *s); /* accepts NULL, returns NULL */
/* How many pages a block of so many bytes (1 to SPACE_ROW_BYTES) takes. */
uint32_t space_pages(uint32_t bytes);
/* A run for so many bytes; false: there is none. */
bool space_take(struct space *s, uint32_t bytes, uint32_t *ret_page);
void space_give(struct space *s, uint32_t page, uint32_t bytes);
uint32_t space_used_pages(const struct space *s);

#endif
