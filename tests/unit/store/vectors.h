/* The vectors of tests/vectors/sealed/, and their members without the care that untrusted JSON needs: whatever is
 * missing fails the test. */
#ifndef LOCKSET_TESTS_STORE_VECTORS_H
#define LOCKSET_TESTS_STORE_VECTORS_H

#include "base/file.h"
#include "base/json.h"
#include "keys/lease.h"
#include "testing.h"

/* argv[1] is the folder. */
void vectors_load(const char *folder);
void vectors_done(void);
const json_t *vectors_get(const char *name);
/* A file of the folder; the caller calls buf_done. */
void vectors_file(const char *name, struct buf *ret);

/* A working lease with the vectors' keys. */
struct lease *vectors_lease(const char *arn, const char *active);
/* What the next files are sealed with: 32 bytes in hex. */
void vectors_set_salt(const char *hex);

const char *get_str(const json_t *j, const char *name);
int64_t get_int(const json_t *j, const char *name);
const json_t *get_any(const json_t *j, const char *name);
/* Exactly n bytes. */
void get_bytes(const json_t *j, const char *name, void *to, size_t n);
/* As many as there are; the caller calls buf_done. */
void get_hex(const json_t *j, const char *name, struct buf *ret);
void from_hex(const char *hex, struct buf *ret);

/* "length" bytes as generate_sealed.py defines them. */
uint8_t *vectors_content(size_t length, int64_t seed);

#endif
