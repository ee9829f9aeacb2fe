#include "base/secret.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "base/crypto.h"

/* The smallest piece the heap hands out; smaller ones would only cost bookkeeping. */
enum { SMALLEST_PIECE_BYTES = 32 };

static struct result process_harden(void) {
    struct rlimit no_core = {0, 0};
    if (setrlimit(RLIMIT_CORE, &no_core) != 0) return err_from_errno(errno, "switching core files off");
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return err_from_errno(errno, "making the process undumpable");
    return OK;
}

struct result secret_start(size_t heap_bytes, bool debuggable) {
    CHECK(!CRYPTO_secure_malloc_initialized(), ERR_CONFLICT, "the secure heap is set up already");
    CHECK(heap_bytes >= 4096 && (heap_bytes & (heap_bytes - 1)) == 0, ERR_INVALID,
          "the secure heap's size must be a power of two and at least 4096 bytes");
    umask(077);
    if (!debuggable) TRY(process_harden());
    /* What the soft limit withholds may be taken without asking; the hard limit is the administrator's word. */
    struct rlimit lock;
    if (getrlimit(RLIMIT_MEMLOCK, &lock) == 0 && lock.rlim_cur < lock.rlim_max) {
        lock.rlim_cur = lock.rlim_max;
        if (setrlimit(RLIMIT_MEMLOCK, &lock) != 0) return err_from_errno(errno, "raising RLIMIT_MEMLOCK");
    }
    /* 2 means "usable, but some protection is missing", for instance not locked: not enough. */
    if (CRYPTO_secure_malloc_init(heap_bytes, SMALLEST_PIECE_BYTES) != 1) {
        CRYPTO_secure_malloc_done();
        FAIL(ERR_IO, "%zu bytes of memory for keys can't be locked; raise RLIMIT_MEMLOCK (LimitMEMLOCK=)", heap_bytes);
    }
    return OK;
}

struct result secret_new(size_t len, struct secret *ret) {
    /* Without its heap OpenSSL would fall back to ordinary memory without a word. */
    CHECK(CRYPTO_secure_malloc_initialized(), ERR_INTERNAL, "the secure heap was not set up");
    uint8_t *data = OPENSSL_secure_zalloc(len ? len : 1);
    CHECK(data, ERR_IO, "the memory for keys is used up");
    *ret = (struct secret){data, len};
    return OK;
}

struct result secret_from(const void *data, size_t len, struct secret *ret) {
    struct secret s;
    TRY(secret_new(len, &s));
    mem_copy(s.data, data, len);
    *ret = s;
    return OK;
}

struct result secret_random(size_t len, struct secret *ret) {
    SECRET_AUTO(s);
    TRY(secret_new(len, &s));
    TRY(random_bytes(s.data, len));
    *ret = s;
    s = (struct secret){0};
    return OK;
}

void secret_done(struct secret *s) {
    if (s->data) OPENSSL_secure_clear_free(s->data, s->len ? s->len : 1);
    *s = (struct secret){0};
}

void wipe(void *p, size_t n) {
    if (p && n) explicit_bzero(p, n);
}

bool secret_equal(struct slice a, struct slice b) {
    return a.len == b.len && (a.len == 0 || CRYPTO_memcmp(a.data, b.data, a.len) == 0);
}
