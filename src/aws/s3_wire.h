/* What every client of S3 here needs: addresses, signed requests, and the small texts of answers. Private to src/aws.
 */
#ifndef LOCKSET_AWS_S3_WIRE_H
#define LOCKSET_AWS_S3_WIRE_H

#include "aws/sigv4.h"
#include "base/http_client.h"
#include "base/xml.h"

/* Where a bucket is: path style below an endpoint that is named, unless it is to stand in the host's name; AWS's own
 * host otherwise. */
struct s3_address {
    char *base; /* scheme://host, without a slash */
    char *host; /* for the Host header */
    char *path; /* "" or "/bucket" */
};
/* INVALID for what is no bucket's, region's or endpoint's name. */
struct result s3_address_make(const char *endpoint, const char *region, const char *bucket, bool path_style,
                              struct s3_address *ret);
void s3_address_done(struct s3_address *a); /* accepts zeroed */

enum { S3_WIRE_MAX_URL_BYTES = 16384, S3_WIRE_MAX_FIELDS = 24, S3_WIRE_MAX_KEY_BYTES = 1024 };

/* One request; texts given to it are borrowed until it was sent. */
struct s3_wire {
    const struct s3_address *address;
    const char *method;
    struct buf path, query, token;
    struct http_field fields[S3_WIRE_MAX_FIELDS + 1];
    size_t field_count;
    struct sigv4_signed made;
    char *url;
};
/* key NULL: the bucket itself. */
void s3_wire_init(struct s3_wire *w, const struct s3_address *address, const char *method, const char *key);
void s3_wire_done(struct s3_wire *w);
void s3_wire_param(struct s3_wire *w, const char *name, const char *value);
void s3_wire_field(struct s3_wire *w, const char *name, const char *value);
/* Adds the Host, signs (key_id NULL: not at all), makes the URL. payload_hash: hex SHA-256 of the body. */
struct s3_wire_signer {
    const char *region, *key_id;
    struct slice secret_key, token;
    int64_t unix_ms;
};
struct result s3_wire_finish(struct s3_wire *w, const struct s3_wire_signer *signer, const char *payload_hash);
extern const char s3_wire_empty_hash[]; /* of a request without a body */

/* A short text from the other side, made printable, for a message. */
void s3_wire_clean(char *ret, size_t size, const char *text);
/* encoding-type=url writes a space as '+' or as %20, and a plus always as %2B. */
struct result s3_wire_decode_key(const char *text, char **ret);
bool s3_wire_parse_time(const char *text, int64_t *ret_ms);
/* "" if there is no such child. */
const char *s3_wire_child(const struct xml_node *node, const char *name);
/* Without its quotes, if it has both. */
struct slice s3_wire_unquoted(struct slice etag);
/* "bytes 0-99/1234" that begins where it should. */
struct result s3_wire_range(struct slice text, int64_t from, int64_t *ret_last, int64_t *ret_total);

#endif
