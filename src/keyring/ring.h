/* The wrapped keys of one organization in one region, and what is done with them through KMS: making, unwrapping,
 * trying. Everything here may block on KMS, the store and the registry: worker threads call it. A struct ring_place is
 * shared and read-only; the rest has one owner.
 *
 * Encryption context of every call: {lockset:org, lockset:region, lockset:branch} for branch keys, with lockset:names
 * in place of lockset:branch for the name key; the value is the key's own id. */
#ifndef LOCKSET_KEYRING_RING_H
#define LOCKSET_KEYRING_RING_H

#include "aws/kms_client.h"
#include "keyring/checks.h"
#include "keyring/cost.h"
#include "keyring/meter.h"
#include "keyring/shelf.h"
#include "ledger/ledger.h"
#include "registry/registry.h"

/* Where a unit's keys live. Borrowed strings that outlive every call. */
struct ring_place {
    const char *org, *region, *kms_key_arn;
    struct shelf *shelf; /* the region's */
    struct kms_client *kms;
    struct meter *meter;   /* the region's; NULL: none */
    struct cost *cost;     /* the unit's; NULL: none */
    struct ledger *ledger; /* the unit's: every call is written there; NULL: none */
    struct registry *registry;
    const char *service_account_id;
    bool needs_multi_region;
    unsigned timeout_ms; /* of one question to KMS, retries included */
};

/* One question to KMS within the place's time-out, and its record in the ledger; purpose: "probe", "unwrap", ... A
 * failure to even ask (our own fault, or a full secure heap) is told as KMS_UNKNOWN, and so is a good answer that could
 * not be recorded: nothing is allowed on its strength. A refusal stays one, recorded or not. The caller calls
 * kms_answer_done. */
void ring_call(const struct ring_place *p, const char *purpose, const struct kms_request *request,
               struct kms_answer *ret);

/* The two keys in use. */
struct ring {
    struct registry_wrapped_key branch; /* the active one */
    struct registry_wrapped_key names;
};
void ring_done(struct ring *r);

/* Reads registry and store folder, makes each hold what the other has, and picks the youngest branch as the active one.
 * CORRUPT when there is no branch or no name key in either; IO. ret_healed: how many copies were written. */
struct result ring_load(const struct ring_place *p, struct ring *ret, size_t *ret_healed);

/* GenerateDataKey; nothing is stored yet. The plaintext is dropped. verdict is set in any case; the failure is NO_LEASE
 * when KMS refused, UNREACHABLE otherwise. */
struct result ring_generate(const struct ring_place *p, enum registry_key_kind kind, struct registry_wrapped_key *ret,
                            struct verdict *verdict);

/* A new branch, stored in both places, active from now on. Errors of ring_generate, and IO, NO_SPACE: then the old
 * branch goes on. */
struct result ring_new_branch(const struct ring_place *p, struct registry_wrapped_key *ret, struct verdict *verdict);

/* Decrypt of one wrapped key. NO_LEASE (refused), UNREACHABLE, CORRUPT. */
struct result ring_unwrap(const struct ring_place *p, const struct registry_wrapped_key *k, struct secret *ret,
                          struct verdict *verdict);
/* Finds a branch by id (store, then registry) and unwraps it. Also NOT_FOUND. */
struct result ring_unwrap_id(const struct ring_place *p, const uint8_t id[static 16], struct secret *ret,
                             struct verdict *verdict);

/* One probe: asks `operation`, with the active branch key for Decrypt. */
struct ring_probe {
    struct verdict verdict;
    int64_t sent_boottime_ns;
    char material_id[65]; /* of the key's current material, if this operation tells; else "" */
};
void ring_probe(const struct ring_place *p, const struct registry_wrapped_key *branch, enum kms_operation operation,
                struct ring_probe *ret);

/* The whole preflight. branch NULL: Decrypt is tried on what the preflight itself made. quick: stop at the first answer
 * that decides (for the watch while there is no lease); otherwise everything is asked, for people, unless KMS is
 * silent.
 */
struct ring_preflight {
    struct checks checks;
    int64_t sent_boottime_ns; /* of the Decrypt */
    char material_id[65];
};
void ring_preflight(const struct ring_place *p, const struct registry_wrapped_key *branch, bool quick,
                    struct ring_preflight *ret);

#endif
