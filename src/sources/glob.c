#include "sources/glob.h"

#include <string.h>

size_t glob_literal(const char *pattern) {
    return strcspn(pattern, "*?");
}

/* reach[i]: can the first i bytes of the text be what the pattern, as far as it was read, stands for? */
static void step_star(bool *reach, const char *text, size_t n, bool crosses) {
    for (size_t i = 1; i <= n; i++)
        if (reach[i - 1] && (crosses || text[i - 1] != '/')) reach[i] = true;
}

static void step_one(bool *reach, const char *text, size_t n, char wanted, bool any) {
    for (size_t i = n; i > 0; i--)
        reach[i] = reach[i - 1] && (any ? text[i - 1] != '/' : text[i - 1] == wanted);
    reach[0] = false;
}

bool glob_matches(const char *pattern, const char *text) {
    size_t n = strlen(text), literal = glob_literal(pattern);
    if (strncmp(pattern, text, literal) != 0) return false;
    AUTO_FREE bool *reach = mem_alloc_array(n + 1, sizeof *reach);
    reach[literal] = true;
    for (const char *p = pattern + literal; *p; p++) {
        if (p[0] == '*' && p[1] == '*') {
            step_star(reach, text, n, true);
            p++;
        } else if (*p == '*') {
            step_star(reach, text, n, false);
        } else {
            step_one(reach, text, n, *p, *p == '?');
        }
    }
    return reach[n];
}
