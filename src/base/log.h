/* One event, one line on stderr: time, level, program, event name, then key=value pairs; values are quoted and escaped
 * where needed and cut at 512 bytes. Secrets have no way in: nothing here takes a struct secret. Only programs and
 * their main loops log at warn and above; libraries return errors. Thread-safe: a line is one write(2).
 *
 *     log_info("lease.ended", KV("org", org), KV("cause", "DENIED"), KVI("age_ms", age)); */
#ifndef LOCKSET_BASE_LOG_H
#define LOCKSET_BASE_LOG_H

#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

struct kv {
    const char *key;  /* NULL ends the list */
    const char *text; /* NULL: the number counts */
    int64_t number;
};
static inline const char *kv_text(const char *text) {
    return text ? text : "";
}
#define KV(key_, text_) ((struct kv){(key_), kv_text(text_), 0})
#define KVI(key_, number_) ((struct kv){(key_), NULL, (int64_t)(number_)})

/* The program's name in each line, and the lowest level shown. Call once at start. */
void log_start(const char *program, enum log_level lowest);
void log_write(enum log_level level, const char *event, const struct kv *pairs);
/* The pair in front, which is skipped, lets a list be empty. */
#define LOG_PAIRS(...) ((const struct kv[]){{"", "", 0}, ##__VA_ARGS__, {0}} + 1)
#define log_debug(event, ...) log_write(LOG_DEBUG, event, LOG_PAIRS(__VA_ARGS__))
#define log_info(event, ...) log_write(LOG_INFO, event, LOG_PAIRS(__VA_ARGS__))
#define log_warn(event, ...) log_write(LOG_WARN, event, LOG_PAIRS(__VA_ARGS__))
#define log_error(event, ...) log_write(LOG_ERROR, event, LOG_PAIRS(__VA_ARGS__))

#endif
