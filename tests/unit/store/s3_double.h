/* Stands in for src/aws/s3_store_client.c in the unit tests of the store: a bucket in memory, that fails when it is
 * told to. What real S3 does is shown against one, elsewhere. Thread-safe. */
#ifndef LOCKSET_TESTS_STORE_S3_DOUBLE_H
#define LOCKSET_TESTS_STORE_S3_DOUBLE_H

#include "aws/s3_store_client.h"

struct s3_store_client *s3_double_new(void);
/* Requests are counted from 1; which of them go wrong, and how. */
struct s3_double_plan {
    unsigned from, count; /* from 0: none */
    enum s3_trouble trouble;
    bool done_first; /* a write is done before its answer gets lost: unsure */
};
void s3_double_plan(struct s3_store_client *c, const struct s3_double_plan *plan);
/* What heads tell of the key; NULL: nothing is encrypted. Borrowed. */
void s3_double_key(struct s3_store_client *c, const char *arn);
unsigned s3_double_requests(struct s3_store_client *c); /* so far */
unsigned s3_double_sweeps(struct s3_store_client *c);   /* how often uploads were listed, the end of each sweep */
/* The bucket: how many objects begin with that; how many uploads are under way. */
size_t s3_double_count(struct s3_store_client *c, const char *prefix);
size_t s3_double_uploads(struct s3_store_client *c);
/* Everything that is there looks so many seconds older. */
void s3_double_age(struct s3_store_client *c, int64_t seconds);
/* The content of the n-th object that begins with that; owned by the double, changed at will, with its length. */
uint8_t *s3_double_content(struct s3_store_client *c, const char *prefix, size_t n, size_t **ret_len);
const char *s3_double_name(struct s3_store_client *c, const char *prefix, size_t n);
void s3_double_copy(struct s3_store_client *c, const char *from, const char *to);

#endif
