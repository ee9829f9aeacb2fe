/* Keys and credentials in memory: OpenSSL's secure heap (locked, not dumped, guarded by pages), wiped when freed. A
 * process calls secret_start once, before its first thread. There is no way to format a secret. Thread-safe, but one
 * secret has one owner. */
#ifndef LOCKSET_BASE_SECRET_H
#define LOCKSET_BASE_SECRET_H

#include "base/buf.h"

struct secret {
    uint8_t *data;
    size_t len;
};

/* Sets the secure heap up (size: a power of two, in bytes) and hardens the process: no core files, not dumpable (so
 * that other processes of the user can't read its memory), umask 077. `debuggable` leaves out what debuggers and leak
 * checkers need; only tests set it. IO if the heap can't be locked: raise RLIMIT_MEMLOCK. */
struct result secret_start(size_t heap_bytes, bool debuggable);

/* len zero bytes in the secure heap; IO when it is exhausted. */
struct result secret_new(size_t len, struct secret *ret);
/* A copy of len bytes; the source is the caller's to wipe. */
struct result secret_from(const void *data, size_t len, struct secret *ret);
struct result secret_random(size_t len, struct secret *ret);
/* Wipes and frees; accepts zeroed; leaves it zeroed. */
void secret_done(struct secret *s);
static inline struct slice secret_view(const struct secret *s) {
    return (struct slice){s->data, s->len};
}
#define SECRET_AUTO(name) AUTO(secret_done) struct secret name = {0}

/* Overwrites; the compiler can't remove it. */
void wipe(void *p, size_t n);
/* Equal lengths and equal bytes, in time that does not depend on the bytes. */
bool secret_equal(struct slice a, struct slice b);

#endif
