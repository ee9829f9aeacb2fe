/* One KMS key as one region sees it. A published key never changes: whoever changes it makes a copy, stores that and
 * puts it in the old one's place, so readers need no lock while they use one. Reference counts are atomic.
 *
 * A Multi-Region key has two parts. What all of its regions share (material, account, who is primary, which regions
 * there are) is the *family*; what each region decides by itself (policy, description, enabled, deletion) is the
 * *state*. A single-Region key has the same two parts, in one file.
 * Source: https://docs.aws.amazon.com/kms/latest/developerguide/multi-region-keys-overview.html */
#ifndef LOCKSET_KMS_KEY_H
#define LOCKSET_KMS_KEY_H

#include <stdatomic.h>

#include "aws/arn.h"
#include "kms/blob.h"
#include "kms/kind.h"
#include "kms/policy.h"

enum {
    KMSD_GENERATION_BYTES = 33, /* 32 hex digits: one existence of a key in a region */
    KMSD_MATERIAL_ID_CHARS = 64,
    KMSD_MIN_ROTATION_DAYS = 90,
    KMSD_MAX_ROTATION_DAYS = 2560,
    KMSD_UPDATING_MS = 2000, /* how long both primaries are Updating after a change */
    KMSD_CREATING_MS = 2000, /* how long a new replica is Creating */
    KMSD_MAX_FILE_BYTES = 4 << 20
};

struct kmsd_state {
    char generation[KMSD_GENERATION_BYTES];
    int64_t created_ms;
    char *description, *policy, *tags; /* policy and tags: JSON text */
    char *grants;                      /* JSON text, see grants.h; NULL: none */
    bool enabled;
    unsigned pending_days; /* 0: deletion isn't scheduled */
    int64_t deletion_ms;   /* 0 while pending_days > 0: the clock starts when the last replica is gone */
};
void kmsd_state_done(struct kmsd_state *s); /* accepts zeroed */
void kmsd_state_copy(const struct kmsd_state *from, struct kmsd_state *to);
json_t *kmsd_state_to_json(const struct kmsd_state *s);
struct result kmsd_state_from_json(const json_t *j, struct kmsd_state *ret);

enum kmsd_rotation {
    KMSD_ROTATION_NONE, /* the material the key was made with */
    KMSD_ROTATION_AUTOMATIC,
    KMSD_ROTATION_ON_DEMAND
};

struct kmsd_material {
    char id[KMSD_MATERIAL_ID_CHARS + 1]; /* lower-case hex */
    enum kmsd_rotation rotation;         /* what brought it */
    int64_t created_ms;
    uint8_t wrapped[KMSD_WRAPPED_BYTES];
};

/* A region of a Multi-Region key, and the state the key began with there. */
struct kmsd_related {
    char region[ARN_REGION_BYTES];
    struct kmsd_state initial;
};

struct kmsd_family {
    char id[KMSD_KEY_ID_CHARS + 1];
    char account[ARN_ACCOUNT_BYTES];
    const struct kmsd_kind *kind;
    bool multi_region;
    char primary_region[ARN_REGION_BYTES]; /* of a single-Region key: its region */
    char former_primary[ARN_REGION_BYTES]; /* "": it never changed */
    int64_t primary_since_ms;              /* when it last changed */
    struct kmsd_related *related;          /* Multi-Region: the primary first, then replicas by age */
    size_t related_count;
    int64_t replicas_gone_ms; /* when the last replica was deleted; 0: never */
    bool rotates;             /* automatically, rotation_days after rotation_since_ms */
    unsigned rotation_days;
    int64_t rotation_since_ms; /* when it was switched on, or last happened */
    struct kmsd_material *materials;
    size_t material_count; /* the last one is current; none is ever removed */
};
void kmsd_family_done(struct kmsd_family *f); /* accepts zeroed */
void kmsd_family_copy(const struct kmsd_family *from, struct kmsd_family *to);
json_t *kmsd_family_to_json(const struct kmsd_family *f);
struct result kmsd_family_from_json(const json_t *j, struct kmsd_family *ret);
struct kmsd_related *kmsd_family_region(const struct kmsd_family *f, const char *region); /* NULL: not there */
/* What wrapped material is bound to. */
void kmsd_family_bound_to(const struct kmsd_family *f, const struct kmsd_material *m, struct buf *out);

/* Tells one content of a file from the next. */
struct kmsd_file_mark {
    uint64_t inode;
    int64_t size, modified_ns, changed_ns;
};

struct kmsd_key {
    atomic_int references;
    char region[ARN_REGION_BYTES];
    char arn[ARN_KMS_KEY_BYTES];
    struct kmsd_family family;
    struct kmsd_state state;
    struct kmsd_policy *policy;        /* of state.policy */
    json_t *grants;                    /* of state.grants; only ever read, copied but not referred to; NULL: none */
    struct kmsd_file_mark shared_mark; /* Multi-Region: of the file the family was read from */
};
/* Takes both parts over (they are zeroed) and parses the policy; one reference is the caller's. INVALID if the policy
 * doesn't parse; the parts are then freed. */
struct result kmsd_key_new(const char *region, struct kmsd_family *family, struct kmsd_state *state,
                           struct kmsd_key **ret);
struct kmsd_key *kmsd_key_ref(struct kmsd_key *k);
struct kmsd_key *kmsd_key_unref(struct kmsd_key *k); /* accepts NULL, returns NULL */
static inline void kmsd_key_unref_auto(struct kmsd_key **k) {
    kmsd_key_unref(*k);
}
/* The ARN that this key has in another region. */
void kmsd_key_arn_in(const struct kmsd_family *f, const char *region, char ret[static ARN_KMS_KEY_BYTES]);
bool kmsd_key_is_primary(const struct kmsd_key *k);
/* Does this region decide about the family: a single-Region key, or the primary? */
bool kmsd_key_decides(const struct kmsd_key *k);
const struct kmsd_material *kmsd_key_current(const struct kmsd_key *k);
const struct kmsd_material *kmsd_key_material(const struct kmsd_key *k,
                                              const uint8_t id[static KMSD_MATERIAL_ID_BYTES]); /* NULL: not there */

enum kmsd_key_state {
    KMSD_STATE_ENABLED,
    KMSD_STATE_DISABLED,
    KMSD_STATE_CREATING,
    KMSD_STATE_UPDATING, /* as enabled as before; another region is becoming the primary, or was it */
    KMSD_STATE_PENDING_DELETION,
    KMSD_STATE_PENDING_REPLICA_DELETION
};
const char *kmsd_key_state_name(enum kmsd_key_state s); /* "PendingDeletion" */
enum kmsd_key_state kmsd_key_state_at(const struct kmsd_key *k, int64_t now_ms);
/* When the key will be deleted; 0: no date is set (yet). day_ms: the length of a day of the waiting period. */
int64_t kmsd_key_deletion_ms(const struct kmsd_key *k, int64_t day_ms);
/* When automatic rotation comes next; 0: it is off, or the key's deletion is scheduled. */
int64_t kmsd_key_next_rotation_ms(const struct kmsd_key *k, int64_t day_ms);

/* "mrk-" and 32 hex digits, or a UUID? */
bool kmsd_is_key_id(const char *text);
bool kmsd_is_multi_region_id(const char *text);
/* Fresh random ids. */
struct result kmsd_random_hex(size_t bytes, char *ret); /* writes 2 * bytes digits and the terminator */
struct result kmsd_key_id_new(bool multi_region, char ret[static KMSD_KEY_ID_CHARS + 1]);

#endif
