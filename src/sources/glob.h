/* Patterns for keys: '*' stands for any text without '/', '**' for any text, '?' for one character but '/'. Everything
 * else stands for itself. Pure. */
#ifndef LOCKSET_SOURCES_GLOB_H
#define LOCKSET_SOURCES_GLOB_H

#include "base/buf.h"

enum { GLOB_MAX_BYTES = 1024 };

bool glob_matches(const char *pattern, const char *text);
/* How many bytes of the pattern stand before its first special character. */
size_t glob_literal(const char *pattern);

#endif
