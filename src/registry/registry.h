/* What is durable about organizations, in one SQLite file (WAL, synchronous=FULL): the only folder that knows SQLite.
 * Nothing in it is secret: keys are wrapped by KMS, API keys are SHA-256 hashes, fields that are collection data come
 * sealed by the gateway.
 *
 * S4 is enforced by triggers in the file itself, for every program that opens it: an organization can only be inserted
 * in the transaction that inserted its key link (kind service or customer) just before, a key link can't be changed,
 * nor deleted while its organization exists, nor inserted for one that exists; ids are never used again; a region's key
 * must be the link's key with its region replaced. registry_open refuses a file whose triggers are not exactly these.
 *
 * Each function is one transaction, on disk when it returns. A struct registry is thread-safe (one mutex); the keyring
 * and the api each open the file. Writers wait up to 5 s for one another: BUSY. Other failures of SQLite: IO; a damaged
 * file: CORRUPT; a full disk: NO_SPACE. Strings in results are owned by the result: free each with its _done function,
 * which accepts a zeroed struct. Times are milliseconds since 1970 UTC. */
#ifndef LOCKSET_REGISTRY_REGISTRY_H
#define LOCKSET_REGISTRY_REGISTRY_H

#include "base/buf.h"

struct registry; /* opaque */

enum { REGISTRY_SCHEMA_VERSION = 3, REGISTRY_ID_BYTES = 22, REGISTRY_HASH_HEX = 64 };

/* Opens the file, creating it (mode 0600) when there is none. CONFLICT when a newer Lockset wrote it; CORRUPT when its
 * schema was tampered with. */
struct result registry_open(const char *path, struct registry **ret);
/* Closes; accepts NULL, returns NULL. No other thread may be inside. */
struct registry *registry_close(struct registry *r);
static inline void registry_close_auto(struct registry **r) {
    registry_close(*r);
}

/* A new random id: prefix 'o' (organization) or 'c' (collection) and 20 lower-case hexadecimal digits, terminated. */
struct result registry_new_id(char prefix, char ret[static REGISTRY_ID_BYTES]);

/* ---- Organizations, key links, regions (the keyring writes them) ---- */

enum registry_kind { REGISTRY_SERVICE, REGISTRY_CUSTOMER };
const char *registry_kind_name(enum registry_kind kind); /* "service", "customer" */

struct registry_org {
    char *id, *name, *display_name;
    int64_t created_at_ms;
    char *created_by;
    enum registry_kind kind;
    char *kms_key_arn; /* the link's; NULL for a service-managed organization */
    char *home_region; /* where it was created */
};
void registry_org_done(struct registry_org *o);

struct registry_orgs {
    struct registry_org *items;
    size_t count;
};
void registry_orgs_done(struct registry_orgs *list);

enum registry_key_kind { REGISTRY_BRANCH_KEY, REGISTRY_NAME_KEY };

/* A data key as KMS wrapped it. */
struct registry_wrapped_key {
    char *id; /* 32 lower-case hexadecimal digits */
    char *org, *region;
    enum registry_key_kind kind;
    char *kms_key_arn;
    char *material_id; /* KMS's KeyMaterialId when it was made; "" if KMS didn't say */
    struct buf wrapped;
    int64_t created_at_ms;
    bool active; /* of branch keys, at most one for each organization and region */
};
void registry_wrapped_key_done(struct registry_wrapped_key *k);

struct registry_wrapped_keys {
    struct registry_wrapped_key *items;
    size_t count;
};
void registry_wrapped_keys_done(struct registry_wrapped_keys *list);

/* Everything a new organization begins with; borrowed for the call. */
struct registry_new_org {
    const char *id, *name, *display_name;
    const char *created_by;
    int64_t created_at_ms;
    const char *region;
    enum registry_kind kind;
    const char *kms_key_arn;  /* the root key's ARN in `region`: the customer's, or the operator's own */
    const char *state_reason; /* text beside the first state, AVAILABLE */
    const char *api_key_hash; /* 64 lower-case hexadecimal digits */
    const char *api_key_name;
    const struct registry_wrapped_key *keys; /* the name key and the first branch */
    size_t key_count;
};
/* The organization, its key link, region, wrapped keys, first API key, the workspace `commons`, and an event
 * "org.created", all or nothing. EXISTS when the name (or id) is taken. */
struct result registry_create_org(struct registry *r, const struct registry_new_org *n);

/* NOT_FOUND. */
struct result registry_get_org(struct registry *r, const char *id, struct registry_org *ret);
struct result registry_find_org(struct registry *r, const char *name, struct registry_org *ret);
/* By name. */
struct result registry_list_orgs(struct registry *r, struct registry_orgs *ret);
/* Also writes an event "org.changed". NOT_FOUND. */
struct result registry_set_display_name(struct registry *r, const char *id, const char *display_name,
                                        const char *actor);

/* Everything of an organization but its history, which an event "org.deleted" ends: its id is never used again. All or
 * nothing. NOT_FOUND. */
struct result registry_delete_org(struct registry *r, const char *id, const char *actor);
/* Is this the id of an organization that was deleted? */
struct result registry_is_retired(struct registry *r, const char *id, bool *ret);

/* One (organization, region), with its persisted state. state, cause: as the encryption state of the REST interface;
 * cause, aws_error NULL if none. */
struct registry_region {
    char *org, *region, *kms_key_arn;
    enum registry_kind kind;
    char *state, *cause, *reason, *aws_error;
    int64_t since_ms, last_success_ms; /* 0: never */
    int64_t unavailable_ms;            /* observed unavailability */
    int64_t deletion_ms;               /* the key's deletion date as DescribeKey last told it; 0: none */
    int64_t epoch;                     /* the last one given out; 0: none yet */
};
void registry_region_done(struct registry_region *g);

struct registry_regions {
    struct registry_region *items;
    size_t count;
};
void registry_regions_done(struct registry_regions *list);

/* What a further region of an organization begins with; borrowed for the call. */
struct registry_new_region {
    const char *org, *region;
    const char *kms_key_arn;  /* of the replica there, or the operator's own key there */
    const char *state_reason; /* text beside the first state, AVAILABLE */
    const char *actor;
    int64_t created_at_ms;
    const struct registry_wrapped_key *keys; /* the name key and the first branch */
    size_t key_count;
};
/* The region, its wrapped keys and an event "region.added", all or nothing. NOT_FOUND (organization), EXISTS. */
struct result registry_add_region(struct registry *r, const struct registry_new_region *n);

/* Of one organization, or of all (org NULL); ordered by organization and region. */
struct result registry_list_regions(struct registry *r, const char *org, struct registry_regions *ret);
struct result registry_get_region(struct registry *r, const char *org, const char *region, struct registry_region *ret);

/* A change of state; borrowed for the call. */
struct registry_state_change {
    const char *org, *region;
    const char *state, *cause, *reason, *aws_error; /* cause, aws_error may be NULL */
    int64_t since_ms, last_success_ms, unavailable_ms, deletion_ms;
    const char *actor; /* "keyring", or who asked */
};
/* Persists the state, and an event "state" from the old to the new one, in one transaction. NOT_FOUND. */
struct result registry_set_state(struct registry *r, const struct registry_state_change *c);

/* Only the observed unavailability, without an event. NOT_FOUND. */
struct result registry_note_unavailable(struct registry *r, const char *org, const char *region,
                                        int64_t unavailable_ms);

/* Increments and returns the epoch; durable before it returns, never given twice. NOT_FOUND. */
struct result registry_next_epoch(struct registry *r, const char *org, const char *region, int64_t *ret_epoch);

/* Adds one; if it is active, the branch that was so far no longer is. The same id again with the same content is a
 * success, with another content EXISTS. */
struct result registry_add_wrapped_key(struct registry *r, const struct registry_wrapped_key *k);
/* Oldest first. */
struct result registry_list_wrapped_keys(struct registry *r, const char *org, const char *region,
                                         struct registry_wrapped_keys *ret);

/* ---- API keys ---- */

struct registry_api_key {
    char *hash, *org, *name;
    int64_t created_at_ms;
};
void registry_api_key_done(struct registry_api_key *k);

/* hash: SHA-256 of the key's text in 64 lower-case hexadecimal digits. Also writes an event "api_key.created" (never
 * the hash). EXISTS (hash known, or the organization has a key of that name), NOT_FOUND (organization). */
struct result registry_add_api_key(struct registry *r, const char *org, const char *hash, const char *name,
                                   const char *actor);
/* NOT_FOUND. */
struct result registry_find_api_key(struct registry *r, const char *hash, struct registry_api_key *ret);

/* ---- Access keys for S3 clients: of an organization in one region. The secrets are nowhere (keys/s3_secret.h). ----
 */

enum { REGISTRY_S3_KEY_ID_CHARS = 20, REGISTRY_S3_KEYS_MAX = 1000 };

struct registry_s3_key {
    char *id; /* the access key id */
    char *org, *region, *name;
    int64_t created_at_ms;
    char *created_by;
};
void registry_s3_key_done(struct registry_s3_key *k);

struct registry_s3_keys {
    struct registry_s3_key *items;
    size_t count;
};
void registry_s3_keys_done(struct registry_s3_keys *list);

/* created_at_ms 0 means now. Also writes an event "s3_key.created". EXISTS (the id), NOT_FOUND (the organization has no
 * such region), TOO_LARGE (REGISTRY_S3_KEYS_MAX there already). */
struct result registry_add_s3_key(struct registry *r, const struct registry_s3_key *k);
/* NOT_FOUND. */
struct result registry_get_s3_key(struct registry *r, const char *id, struct registry_s3_key *ret);
/* Oldest first. */
struct result registry_list_s3_keys(struct registry *r, const char *org, const char *region,
                                    struct registry_s3_keys *ret);
/* From its return on nobody finds it. Also writes an event "s3_key.deleted". NOT_FOUND, also for another's. */
struct result registry_delete_s3_key(struct registry *r, const char *org, const char *region, const char *id,
                                     const char *actor);

/* ---- Events ---- */

struct registry_event {
    int64_t seq, at_ms;
    char *org, *region, *kind;                                        /* region NULL if it concerns none */
    char *from_state, *to_state, *cause, *reason, *aws_error, *actor; /* NULL if they don't apply */
};
void registry_event_done(struct registry_event *e);

struct registry_events {
    struct registry_event *items;
    size_t count;
};
void registry_events_done(struct registry_events *list);

/* seq is given by the registry and ignored here; at_ms 0 means now. NOT_FOUND (organization). */
struct result registry_add_event(struct registry *r, const struct registry_event *e);
/* Newest first; before_seq 0 means from the newest; limit 1 to 1000. */
struct result registry_list_events(struct registry *r, const char *org, int64_t before_seq, int limit,
                                   struct registry_events *ret);

/* Of all organizations, oldest first: those with a higher number, at most `limit`; *ret_count: how many there are. */
struct result registry_events_after(struct registry *r, int64_t seq, int limit, struct registry_events *ret,
                                    uint64_t *ret_count);
/* The highest number; 0: none yet. */
struct result registry_last_event(struct registry *r, int64_t *ret_seq);

/* A number that is remembered under a name: how far something has come. NOT_FOUND. */
struct result registry_get_mark(struct registry *r, const char *name, int64_t *ret);
struct result registry_set_mark(struct registry *r, const char *name, int64_t value);

/* ---- Workspaces and collections (the api writes them) ---- */

struct registry_workspace {
    char *org, *name, *description;
    int64_t created_at_ms;
    char *created_by;
    int64_t collection_count; /* over all regions; counted when read, ignored when created */
};
void registry_workspace_done(struct registry_workspace *w);

struct registry_workspaces {
    struct registry_workspace *items;
    size_t count;
};
void registry_workspaces_done(struct registry_workspaces *list);

/* EXISTS, NOT_FOUND (organization). created_at_ms 0 means now. */
struct result registry_create_workspace(struct registry *r, const struct registry_workspace *w);
struct result registry_get_workspace(struct registry *r, const char *org, const char *name,
                                     struct registry_workspace *ret);
/* By name. */
struct result registry_list_workspaces(struct registry *r, const char *org, struct registry_workspaces *ret);
/* CONFLICT while it holds collections (of any region), NOT_FOUND. */
struct result registry_delete_workspace(struct registry *r, const char *org, const char *name);

struct registry_collection {
    char *id, *org, *region, *workspace, *name, *description;
    char *status; /* "CREATED", "READY", "DELETED"...: the api's words */
    int64_t created_at_ms;
    char *created_by;
    int64_t retention_secs; /* 0: kept for ever */
    struct buf sealed; /* what is collection data itself (field names, mappings), sealed by the gateway; may be empty */
};
void registry_collection_done(struct registry_collection *c);

struct registry_collections {
    struct registry_collection *items;
    size_t count;
};
void registry_collections_done(struct registry_collections *list);

/* The id comes from registry_new_id('c'). EXISTS (name in this workspace and region, or id), NOT_FOUND (workspace, or
 * the organization has no such region). created_at_ms 0 means now. */
struct result registry_create_collection(struct registry *r, const struct registry_collection *c);
struct result registry_get_collection(struct registry *r, const char *org, const char *region, const char *workspace,
                                      const char *name, struct registry_collection *ret);
/* Of one region; workspace NULL means all of them. Ordered by workspace and name. */
struct result registry_list_collections(struct registry *r, const char *org, const char *region, const char *workspace,
                                        struct registry_collections *ret);
/* NOT_FOUND. */
struct result registry_set_collection_status(struct registry *r, const char *id, const char *status);
struct result registry_set_collection_description(struct registry *r, const char *id, const char *description);
struct result registry_set_collection_sealed(struct registry *r, const char *id, struct slice sealed);
struct result registry_delete_collection(struct registry *r, const char *id);

/* What was decided about a collection after a pause. */
enum registry_verdict {
    REGISTRY_LOST,      /* the source no longer has what was missed: for good */
    REGISTRY_RECOVERED, /* nothing is missing */
    REGISTRY_UNDECIDED, /* the source could not be asked: to be asked again */
};
struct registry_recovery {
    enum registry_verdict verdict;
    bool is_readable; /* its data can still be queried */
    char *reason;     /* names no data */
    int64_t at_ms;
};
void registry_recovery_done(struct registry_recovery *v);
/* Also sets the collection's status: READY or PAUSED. at_ms 0 means now. NOT_FOUND. */
struct result registry_set_recovery(struct registry *r, const char *collection_id, const struct registry_recovery *v);
/* NOT_FOUND: it never went through one. */
struct result registry_get_recovery(struct registry *r, const char *collection_id, struct registry_recovery *ret);

#endif
