/* The one error convention: every function that can fail returns `struct result`, which can't be ignored and
 * can't be tested as a boolean. The code is in the value; a text of at most 1,023 bytes for people ("detail") is in a
 * slot of the calling thread, written only where a failure begins and valid until the thread's next failure.
 * A detail never holds a body, a header value, a credential or a key.
 *
 *     struct result thing_do(struct thing *t, size_t n) {
 *         CHECK(n <= THING_MAX, ERR_TOO_LARGE, "%zu is over the limit of %d", n, THING_MAX);
 *         TRY(other_do(t));
 *         return OK;
 *     }
 *
 * The macros only ever return, so every local that owns something is declared with a cleanup attribute (mem.h). */
#ifndef LOCKSET_BASE_ERR_H
#define LOCKSET_BASE_ERR_H

#include <stdbool.h>

enum err_code {
    ERR_NONE = 0,
#define ERR_ROW(symbol, status, text) ERR_##symbol,
#include "base/err.def"
#undef ERR_ROW
    ERR_MAX
};

struct [[nodiscard]] result {
    enum err_code code;
};

#define OK ((struct result){ERR_NONE})

/* Is it a success, a failure, this very failure? */
static inline bool is_ok(struct result r) {
    return r.code == ERR_NONE;
}
static inline bool is_err(struct result r) {
    return r.code != ERR_NONE;
}

/* Deliberately drops a result; say why beside the call. */
static inline void result_ignore(struct result r) {
    (void)r;
}

/* err_make(code, format, ...) makes a failure with its detail, in printf's manner. Thread-safe. A macro, so that
 * compilers and analyzers see at the call that what it gives is a failure. */
#define err_make(code_, ...) (err_note(__VA_ARGS__), (struct result){(code_)})
/* Only sets the detail. */
void err_note(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A failure from errno (ENOENT: NOT_FOUND, EEXIST: EXISTS, ENOSPC and EDQUOT: NO_SPACE, ENOMEM and the rest: IO). The
 * detail is "<what>: <strerror>". */
struct result err_from_errno(int error_number, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The detail of this thread's last failure; "" if none. Owned by the thread, overwritten by its next failure. */
const char *err_detail(void);
/* Empties the detail; tests use it to tell a fresh one from an old one. */
void err_forget(void);

/* "INVALID", and the HTTP status of the table. */
const char *err_name(enum err_code code);
int err_http_status(enum err_code code);

#define TRY(expression)                                                                                                \
    do {                                                                                                               \
        struct result try_result_ = (expression);                                                                      \
        if (is_err(try_result_)) return try_result_;                                                                   \
    } while (0)
#define FAIL(code, ...) return err_make((code), __VA_ARGS__)
#define CHECK(condition, code, ...)                                                                                    \
    do {                                                                                                               \
        if (!(condition)) return err_make((code), __VA_ARGS__);                                                        \
    } while (0)

#endif
