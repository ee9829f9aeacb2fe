#include "engine/name_list.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

struct name_list name_list_make(struct slice lines) {
    struct name_list n = {.text = slice_to_str(lines)};
    size_t most = 1;
    for (char *p = n.text; *p; p++) {
        if (*p >= 'A' && *p <= 'Z') *p = (char)(*p | 32);
        if (*p == '\n') most++;
    }
    n.items = mem_alloc_array(most, sizeof(*n.items));
    for (char *line = n.text; line && *line;) {
        char *end = strchr(line, '\n');
        if (end) *end++ = 0;
        if (*line) n.items[n.count++] = line;
        line = end;
    }
    qsort(n.items, n.count, sizeof(*n.items), compare);
    return n;
}

void name_list_done(struct name_list *n) {
    mem_free(TAKE(n->text));
    mem_free(TAKE(n->items));
    n->count = 0;
}

bool name_list_has(const struct name_list *n, const char *lower) {
    return n->count > 0 && bsearch(&lower, n->items, n->count, sizeof(*n->items), compare) != NULL;
}
