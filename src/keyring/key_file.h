/* A wrapped key beside the data: STORE/<org>/keys/<id>.json, so that the store alone is enough to recover from. Holds
 * nothing secret: only KMS can unwrap it. Thread-safe.
 *
 *     {"version":1,"kind":"branch"|"name","org","region","kms_key_arn","key_material_id",
 *      "encryption_context":{"lockset:org","lockset:region","lockset:branch"|"lockset:names"},"wrapped":base64,
 *      "created_at","created_at_ms"} */
#ifndef LOCKSET_KEYRING_KEY_FILE_H
#define LOCKSET_KEYRING_KEY_FILE_H

#include "keyring/shelf.h"
#include "registry/registry.h"

/* Writes it durably; the same content again changes nothing. EXISTS when there is another content, and what the shelf
 * fails with. */
struct result key_file_write(struct shelf *shelf, const struct registry_wrapped_key *k);
/* NOT_FOUND; CORRUPT when it is not the file of this key, organization and region. `active` is left false. The caller
 * calls registry_wrapped_key_done. */
struct result key_file_read(struct shelf *shelf, const char *org, const char *region, const char *id,
                            struct registry_wrapped_key *ret);
/* All of an organization's, oldest first; files that are no keys of it are left out and counted. */
struct result key_file_list(struct shelf *shelf, const char *org, const char *region, struct registry_wrapped_keys *ret,
                            size_t *ret_refused);

/* The JSON itself, and back: pure. */
void key_file_print(const struct registry_wrapped_key *k, struct buf *out);
struct result key_file_parse(struct slice text, const char *org, const char *region, const char *id,
                             struct registry_wrapped_key *ret);

#endif
