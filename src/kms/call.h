/* One call of an operation: who asks for what, what is answered. And the checks that operations have in common, in the
 * order they apply: syntax -> key -> authorization -> usage -> state -> DryRun -> cryptography. A call is used by one
 * thread. */
#ifndef LOCKSET_KMS_CALL_H
#define LOCKSET_KMS_CALL_H

#include "base/json.h"
#include "kms/accounts.h"
#include "kms/refusal.h"
#include "kms/store.h"

struct kmsd_call {
    struct kmsd_store *store;
    const char *operation; /* "Encrypt"; what policies are asked for, so ReEncrypt sets it to each of its two in turn */
    const struct kmsd_account *caller;
    const char *source_ip, *user_agent; /* NULL: not known */
    const char *request_id;             /* of the answer; NULL: it has none */
    const json_t *input;
    const char *grant_id; /* RetireGrant: which one */
    int64_t now_ms;
    json_t *output; /* NULL: the answer's body is empty */
    struct kmsd_refusal refusal;
};
void kmsd_call_done(struct kmsd_call *c);
#define REFUSE(call, error, ...) return kmsd_refuse(&(call)->refusal, KMSD_##error, __VA_ARGS__)

/* Members of the input by type; null counts as absent, unknown members don't matter. A wrong type is refused with
 * SerializationException, a missing member or a length out of bounds with ValidationException. Strings are borrowed. */
struct result kmsd_get_str(struct kmsd_call *c, const char *name, size_t min, size_t max, const char **ret);
struct result kmsd_opt_str(struct kmsd_call *c, const char *name, size_t min, size_t max, const char **ret);
struct result kmsd_opt_int(struct kmsd_call *c, const char *name, int64_t min, int64_t max, int64_t *ret,
                           bool *ret_given);
struct result kmsd_opt_bool(struct kmsd_call *c, const char *name, bool *ret);
struct result kmsd_opt_enum(struct kmsd_call *c, const char *name, const char *const values[], const char **ret);
/* Base64 appended to out (give a wiping buffer); *ret_given: was it there? */
struct result kmsd_opt_blob(struct kmsd_call *c, const char *name, size_t min, size_t max, struct buf *out,
                            bool *ret_given);
struct result kmsd_opt_array(struct kmsd_call *c, const char *name, json_t **ret);
struct result kmsd_get_array(struct kmsd_call *c, const char *name, json_t **ret);
struct result kmsd_opt_object(struct kmsd_call *c, const char *name, json_t **ret);
/* GrantTokens: checked for their form. */
struct result kmsd_check_grant_tokens(struct kmsd_call *c);

enum {
    KMSD_TAKES_ALIAS = 1,   /* KeyId may be an alias */
    KMSD_CROSS_ACCOUNT = 2, /* callers of other accounts may be permitted */
    KMSD_IAM_ONLY = 4       /* the key's policy isn't asked: the caller's own account decides */
};
/* The key that `key_id` names, without asking whether the caller may do anything with it. */
struct result kmsd_find_key(struct kmsd_call *c, const char *key_id, unsigned flags, struct kmsd_key **ret);
/* Finds the key that `key_id` (an id, an ARN or an alias) names and asks its policy whether the caller may perform the
 * call's operation. context: NULL for operations without one. The caller unrefs *ret. */
struct result kmsd_find_authorized(struct kmsd_call *c, const char *key_id, unsigned flags,
                                   const struct kmsd_context *context, struct kmsd_key **ret);
/* The same for a key found by a ciphertext: every refusal is one and the same. */
struct result kmsd_find_by_ciphertext(struct kmsd_call *c, const struct kmsd_blob *blob,
                                      const struct kmsd_context *context, struct kmsd_key **ret);
/* For what no key policy decides (CreateKey, ListKeys; what ReplicateKey needs beside the primary's leave): asks the
 * caller's identity policies alone. action: "CreateKey"; resource: "*" or an ARN. */
struct result kmsd_check_identity(struct kmsd_call *c, const char *action, const char *resource);
/* Refuses unless the key is Enabled. */
struct result kmsd_check_enabled(struct kmsd_call *c, const struct kmsd_key *k);
/* Refuses a key whose deletion is scheduled. */
struct result kmsd_check_not_pending(struct kmsd_call *c, const struct kmsd_key *k);
/* Refuses a key in Creating, Updating or in one of the pending states. */
struct result kmsd_check_not_transient(struct kmsd_call *c, const struct kmsd_key *k);
struct result kmsd_refuse_state(struct kmsd_call *c, const struct kmsd_key *k);
/* DryRun: the call ends here, with the error that means success. */
struct result kmsd_check_dry_run(struct kmsd_call *c);

/* Changes a key that was found: refused with NotFoundException if it went away meanwhile. Preconditions are checked in
 * the change, on the key as it then is. */
struct result kmsd_change_state(struct kmsd_call *c, const struct kmsd_key *k,
                                struct result (*edit)(const struct kmsd_key *key, struct kmsd_state *draft, void *arg),
                                void *arg, struct kmsd_key **ret);
struct result kmsd_change_family(struct kmsd_call *c, const struct kmsd_key *k,
                                 struct result (*edit)(struct kmsd_store *s, const struct kmsd_key *key,
                                                       struct kmsd_family *draft, void *arg),
                                 void *arg);

/* One page of a list: Limit and Marker in; the list, Truncated and NextMarker out. */
struct kmsd_page {
    size_t limit;       /* set to the default before reading */
    const char *marker; /* "": from the start */
};
struct result kmsd_read_page(struct kmsd_call *c, size_t max, struct kmsd_page *page);
/* Takes the list over. next: the marker of the next page; NULL: this was the last one. */
void kmsd_answer_page(struct kmsd_call *c, const char *name, json_t *list, const char *next);

/* Tags of the input, checked, as JSON text. */
struct result kmsd_read_tags(struct kmsd_call *c, char **ret);

/* A policy given in the input: its characters, size, form, and that the caller could change it again afterwards.
 * key_arn: of the key it is for. */
struct result kmsd_check_policy(struct kmsd_call *c, const char *policy, const char *key_arn, const char *region);

/* KeyMetadata. */
json_t *kmsd_metadata(struct kmsd_call *c, const struct kmsd_key *k);

#endif
