#include "base/mem.h"

#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Noreturn void out_of_memory(void) {
    static const char message[] = "lockset: out of memory\n";
    /* Nothing can be done about a failed write here. */
    if (write(STDERR_FILENO, message, sizeof message - 1) < 0) _exit(70);
    _exit(70);
}

void *mem_alloc(size_t n) {
    void *p = calloc(1, n ? n : 1);
    if (!p) out_of_memory();
    return p;
}

void *mem_alloc_array(size_t count, size_t size) {
    size_t n;
    if (__builtin_mul_overflow(count, size, &n)) out_of_memory();
    return mem_alloc(n);
}

void *mem_resize(void *p, size_t n) {
    void *grown = realloc(p, n ? n : 1);
    if (!grown) out_of_memory();
    return grown;
}

void mem_free(void *p) {
    free(p);
}

void mem_free_wiping(void *p) {
    if (!p) return;
    explicit_bzero(p, malloc_usable_size(p));
    free(p);
}

void *mem_dup(const void *p, size_t n) {
    void *copy = mem_alloc(n);
    mem_copy(copy, p, n);
    return copy;
}

void mem_copy(void *to, const void *from, size_t n) {
    if (n) memcpy(to, from, n);
}

char *str_dup(const char *s) {
    return s ? mem_dup(s, strlen(s) + 1) : NULL;
}

char *str_ndup(const char *s, size_t n) {
    size_t len = strnlen(s, n);
    char *copy = mem_alloc(len + 1);
    mem_copy(copy, s, len);
    return copy;
}

char *str_format(const char *format, ...) {
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int n = vasprintf(&text, format, args);
    va_end(args);
    if (n < 0) out_of_memory();
    return text;
}

void mem_move(void *to, const void *from, size_t n) {
    if (n > 0) memmove(to, from, n);
}

int mem_order(const void *a, const void *b, size_t n) {
    return n > 0 ? memcmp(a, b, n) : 0;
}

void mem_start_frugal(void) {
    enum { LARGE_BYTES = 256 * 1024, ARENAS = 4 };
    /* Set at all, the limit no longer grows with the largest block that was ever freed. A refusal changes no result. */
    (void)mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
    (void)mallopt(M_ARENA_MAX, ARENAS);
}
