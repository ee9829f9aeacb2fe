/* A list of names as ClickHouse gives it, one a line, for look-ups without regard to (ASCII) case. Immutable. */
#ifndef LOCKSET_ENGINE_NAME_LIST_H
#define LOCKSET_ENGINE_NAME_LIST_H

#include "base/buf.h"

struct name_list {
    char *text; /* lower case, lines turned into strings */
    const char **items;
    size_t count;
};

/* name_list_done afterwards; it accepts a zeroed one. */
struct name_list name_list_make(struct slice lines);
void name_list_done(struct name_list *n);
/* `lower` is in lower case. */
bool name_list_has(const struct name_list *n, const char *lower);

#endif
