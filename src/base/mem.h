/* The only home of malloc and free. Out of memory ends the process with a message: every process of Lockset may be
 * killed at any moment without loss, so that is safe, and no caller needs a path for it. Sizes that come from outside
 * are bounded by the caller first. Not for secrets: see secret.h. Thread-safe. */
#ifndef LOCKSET_BASE_MEM_H
#define LOCKSET_BASE_MEM_H

#include <stddef.h>

/* Zeroed memory; never NULL, also for n = 0. Free with mem_free. */
void *mem_alloc(size_t n);
/* count x size, overflow-checked, zeroed. */
void *mem_alloc_array(size_t count, size_t size);
/* Grows or shrinks as realloc does; new bytes are not zeroed. */
void *mem_resize(void *p, size_t n);
/* Accepts NULL. */
void mem_free(void *p);
/* Overwrites the whole block first; accepts NULL. */
void mem_free_wiping(void *p);
/* A copy of n bytes. */
void *mem_dup(const void *p, size_t n);
/* Copies n bytes between areas that don't overlap; n = 0 allows NULL. */
void mem_copy(void *to, const void *from, size_t n);
/* The same where the areas may overlap. */
void mem_move(void *to, const void *from, size_t n);
/* Byte order of n bytes: negative, 0, positive. Not for secrets: see secret_equal. n = 0 allows NULL. */
int mem_order(const void *a, const void *b, size_t n);
/* Copies of strings; str_dup(NULL) is NULL. str_ndup copies at most n bytes and terminates. */
char *str_dup(const char *s);
char *str_ndup(const char *s, size_t n);
/* printf into a new string. */
char *str_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* For programs that hold large blocks for a short while: these go back to the system when they are freed, and threads
 * share a few arenas. Call it first. */
void mem_start_frugal(void);

/* For foreign interfaces that take a pointer to non-const and change nothing behind it. */
static inline void *mem_unconst(const void *p) {
    void *same;
    __builtin_memcpy(&same, &p, sizeof same);
    return same;
}

/* For `AUTO_FREE char *s = ...;`: freed when the scope ends. */
static inline void mem_free_auto(void *pp) {
    void *p;
    __builtin_memcpy(&p, pp, sizeof p);
    mem_free(p);
}
#define AUTO_FREE __attribute__((cleanup(mem_free_auto)))
/* Any other cleanup: `AUTO(buf_done) struct buf b;`. The function takes a pointer to the variable. */
#define AUTO(function) __attribute__((cleanup(function)))

/* Moves a pointer out of a variable and leaves NULL there, so that its cleanup frees nothing. */
#define TAKE(variable)                                                                                                 \
    ({                                                                                                                 \
        __typeof__(variable) take_value_ = (variable);                                                                 \
        (variable) = NULL;                                                                                             \
        take_value_;                                                                                                   \
    })

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
