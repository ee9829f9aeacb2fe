/* How fast sealing is, in CPU time of one core: what a gateway does to the bytes of an object, without the gateway.
 *
 *     bench-seal seal|open|write|read MS
 *
 * seal, open   one chunk of 64 KiB after the other, in memory
 * write, read  objects of 16 MiB: key derivation, header and copying included; written to /dev/null, read from a file
 *              in memory
 *
 * Prints bytes a second, after at least MS milliseconds of work. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/sealed.h"

enum { OBJECT_BYTES = 16 << 20, PIECE_BYTES = 128 << 10, CHUNKS_AT_ONCE = 256 };

static struct lease *lease;
static uint8_t *object;
static uint8_t chunk[LEASE_CHUNK_BYTES + GCM_TAG_BYTES];

static void must(struct result r) {
    if (is_ok(r)) return;
    fprintf(stderr, "bench-seal: %s\n", err_detail());
    exit(1);
}

static int64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

static void make_lease(void) {
    uint8_t id[LEASE_BRANCH_ID_BYTES], key[KEY_BYTES];
    must(random_bytes(id, sizeof id));
    must(random_bytes(key, sizeof key));
    must(lease_new("o00000000000000000001", "us-west-2",
                   "arn:aws:kms:us-west-2:111122223333:key/mrk-00000000000000000000000000000001", &lease));
    must(lease_set_branch(lease, id, slice_make(key, sizeof key)));
    must(lease_set_active(lease, id));
    lease_arm(lease, clock_boottime_ns() + 3600 * NS_PER_S);
}

static void seal_chunks(void) {
    uint8_t branch[LEASE_BRANCH_ID_BYTES], salt[LEASE_SALT_BYTES], aad[41] = {0};
    AUTO(lease_cipher_free_auto) struct lease_cipher *cipher = NULL;
    must(lease_cipher_new_seal(lease, slice_str("bench"), branch, salt, &cipher));
    for (uint64_t i = 0; i < CHUNKS_AT_ONCE; i++)
        must(lease_cipher_seal(cipher, i, false, slice_make(aad, sizeof aad), slice_make(chunk, LEASE_CHUNK_BYTES),
                               chunk));
}

static void open_chunks(void) {
    static uint8_t plain[LEASE_CHUNK_BYTES];
    uint8_t branch[LEASE_BRANCH_ID_BYTES], salt[LEASE_SALT_BYTES], aad[41] = {0};
    AUTO(lease_cipher_free_auto) struct lease_cipher *sealing = NULL;
    AUTO(lease_cipher_free_auto) struct lease_cipher *opening = NULL;
    must(lease_cipher_new_seal(lease, slice_str("bench"), branch, salt, &sealing));
    must(
        lease_cipher_seal(sealing, 0, false, slice_make(aad, sizeof aad), slice_make(chunk, LEASE_CHUNK_BYTES), chunk));
    must(lease_cipher_new_open(lease, branch, salt, slice_str("bench"), &opening));
    for (int i = 0; i < CHUNKS_AT_ONCE; i++)
        must(lease_cipher_open(opening, 0, false, slice_make(aad, sizeof aad), slice_make(chunk, sizeof chunk), plain));
}

static void write_to(int fd) {
    struct sealed_writer *w;
    must(sealed_writer_new_file(lease, slice_str("bench"), fd, &w));
    for (size_t at = 0; at < OBJECT_BYTES; at += PIECE_BYTES)
        must(sealed_writer_append(w, slice_make(object + at, PIECE_BYTES)));
    must(sealed_writer_finish(w));
    sealed_writer_free(w);
}

static void write_object(void) {
    static int fd = -1;
    if (fd < 0) fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    write_to(fd);
}

static void read_object(void) {
    static int kept = -1;
    if (kept < 0) {
        kept = memfd_create("bench", MFD_CLOEXEC);
        write_to(kept);
    }
    struct sealed_reader *r;
    must(sealed_reader_new_file(lease, slice_str("bench"), dup(kept), OBJECT_BYTES, &r));
    for (uint64_t i = 0; i < OBJECT_BYTES / LEASE_CHUNK_BYTES; i++) {
        size_t len;
        must(sealed_reader_chunk(r, i, chunk, &len));
    }
    sealed_reader_free(r);
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*run)(void);
        double bytes;
    } works[] = {
        {"seal", seal_chunks, (double)CHUNKS_AT_ONCE * LEASE_CHUNK_BYTES},
        {"open", open_chunks, (double)CHUNKS_AT_ONCE * LEASE_CHUNK_BYTES},
        {"write", write_object, OBJECT_BYTES},
        {"read", read_object, OBJECT_BYTES},
    };
    must(secret_start(1 << 16, true));
    make_lease();
    object = mem_alloc(OBJECT_BYTES);
    memset(object, 0x5a, OBJECT_BYTES);
    for (size_t i = 0; argc == 3 && i < ARRAY_LEN(works); i++) {
        if (strcmp(argv[1], works[i].name) != 0) continue;
        works[i].run(); /* pages, and what is made once */
        int64_t least = strtoll(argv[2], NULL, 10) * NS_PER_MS, begun = cpu_ns(), took = 0;
        double bytes = 0;
        for (; took < least; took = cpu_ns() - begun) {
            works[i].run();
            bytes += works[i].bytes;
        }
        printf("%.0f\n", bytes * NS_PER_S / (double)took);
        return 0;
    }
    fprintf(stderr, "usage: bench-seal seal|open|write|read MS\n");
    return 2;
}
