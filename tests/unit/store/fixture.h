/* A store in a new temporary folder or in a double of S3, with fixed keys. */
#ifndef LOCKSET_TESTS_STORE_FIXTURE_H
#define LOCKSET_TESTS_STORE_FIXTURE_H

#include "base/file.h"
#include "store/store.h"
#include "testing.h"

struct fixture {
    char dir[64];
    struct lease *lease;
    struct store *store;
    struct s3_store_client *s3; /* NULL: in the folder */
    bool in_clear;              /* format version 2 */
};

/* "--s3" or "--s3-clear" as the program's argument: every fixture is in S3. */
void fixture_choose(int argc, char **argv);
bool fixture_is_s3(void);
struct store_s3 fixture_s3(const struct fixture *f); /* the options for another store on it */
/* How many files or objects there are, the lock file among them; waits in S3 for what is being removed. */
#define assert_files(f, wanted) assert_int_equal(fixture_files(f, wanted), wanted)
size_t fixture_files(const struct fixture *f, size_t wanted);

/* Keys 0x11..., 0x22...; branch id 0xB0...; armed for an hour. */
struct lease *fixture_lease(void);
void fixture_init(struct fixture *f);
void fixture_reopen(struct fixture *f);
void fixture_close(struct fixture *f); /* the store only */
void fixture_done(struct fixture *f);

/* Deterministic content of any size: byte i depends on seed and i. */
void fill(uint8_t *to, size_t n, unsigned seed, uint64_t offset);
struct result put(struct store *s, const char *key, size_t n, unsigned seed, struct store_written *ret);
/* Reads all of it, and fails the test unless it is what put wrote. */
void assert_content(struct store *s, const char *key, size_t n, unsigned seed);
/* Reads all of it, or the error; counts bytes that came out before. */
struct result read_all(struct store *s, const char *key, uint64_t *ret_bytes);

/* Every regular file under a folder, as paths; the caller frees with paths_done. */
struct paths {
    char **items;
    size_t count;
};
void paths_find(const char *dir, struct paths *ret);
void paths_done(struct paths *p);
size_t paths_count(const char *dir);

/* One page as text: "a b/ c" with a '*' behind a page that is truncated; commas between entries. */
void list_text(struct store *s, const char *prefix, const char *delimiter, const char *after, size_t max,
               struct buf *out);
#define ASSERT_LIST(s, prefix, delimiter, after, max, wanted)                                                          \
    do {                                                                                                               \
        BUF_AUTO(list_, 1 << 20);                                                                                      \
        list_text(s, prefix, delimiter, after, max, &list_);                                                           \
        assert_string_equal(buf_str(&list_), wanted);                                                                  \
    } while (0)

#endif
