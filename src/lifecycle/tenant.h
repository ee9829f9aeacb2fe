/* An organization at work in this region: its engine, found or started through the keyring, and its collections as they
 * stand in that engine. Engines are stateless and come and go (each has an epoch); when a new one is first used, every
 * collection is attached to it before anything else runs. Thread-safe.
 *
 * In the engine, the documents of a collection are the table `lockset_data`.`<collection id>`; a database named like
 * the workspace holds a view named like the collection. */
#ifndef LOCKSET_LIFECYCLE_TENANT_H
#define LOCKSET_LIFECYCLE_TENANT_H

#include <pthread.h>

#include "engine/client.h"
#include "lifecycle/keylink.h"
#include "lifecycle/schema.h"
#include "registry/registry.h"

struct tenants_options {
    struct registry *registry;
    struct keylink *keylink;
    struct engine_client *engine;
    const char *region;
};

struct tenants;
struct tenant;

/* What options points to must outlive the tenants. */
struct result tenants_new(const struct tenants_options *options, struct tenants **ret);
struct tenants *tenants_free(struct tenants *t); /* accepts NULL; no request may be running */
const char *tenants_region(const struct tenants *t);
struct registry *tenants_registry(const struct tenants *t);
struct keylink *tenants_keylink(const struct tenants *t);
/* The one object of an organization; lives as long as the tenants. */
struct tenant *tenants_get(struct tenants *t, const char *org);
/* Calls `each` for every organization whose engine is at work now, attached, and whose key is AVAILABLE. */
void tenants_each_attached(struct tenants *t,
                           void (*each)(void *arg, struct tenant *t, const struct keylink_engine *engine), void *arg);
const char *tenant_org(const struct tenant *t);
struct tenants *tenant_all(const struct tenant *t);
/* A place for the api's own count, under a lock of its own: bytes of this organization's bodies in memory. */
size_t *tenant_body_bytes(struct tenant *t);

/* A collection as it stands in the engine. Lives as long as the tenant. */
struct collection {
    char id[REGISTRY_ID_BYTES];
    char *workspace, *name;
    int64_t retention_secs;  /* older documents (by _event_time) are not shown; 0: all are */
    pthread_rwlock_t writes; /* adds and deletes of documents share it; a patch (which reads, then writes) and the
                                collection's end hold it alone */
    pthread_mutex_t lock;    /* everything below */
    struct schema schema;    /* what is stored with the documents */
    char *mapping;           /* the field mapping's SQL; NULL: none. Known once it is attached */
    uint64_t last_version;   /* the highest ever given out */
    uint64_t epoch;          /* of the engine it is attached to; 0: none */
    bool is_view_stale;
    bool is_hidden; /* lost in a pause: there is no view, so that no query sees it */
};

/* The collection's object; `c` is its row of the registry. */
struct collection *tenant_collection(struct tenant *t, const struct registry_collection *c);

/* An engine to use now, with all collections attached. Starts one if need be, until the deadline (CLOCK_BOOTTIME).
 * Fails with *why filled: the key's state, or 503 when no engine came up. */
struct result tenant_engine(struct tenant *t, enum keylink_use use, int64_t deadline_ns, struct keylink_engine *ret,
                            struct refusal *why);

/* One call of that engine; socket_path is filled in. UNREACHABLE also when the answer came from another epoch, or when
 * the engine could not reach its store: then tenant_broken tells what to do. */
struct result tenant_call(struct tenant *t, const struct keylink_engine *engine, struct engine_call *call,
                          struct engine_reply *ret);
/* After UNREACHABLE or TIMEOUT: forgets the engine (and has it killed if it is frozen), waits up to a second for the
 * keyring's reason. OK: try again; else *why is filled. */
struct result tenant_broken(struct tenant *t, const struct keylink_engine *engine, bool timed_out, enum keylink_use use,
                            struct refusal *why);

/* ---- attaching (attach.c) ---- */

/* A statement of Lockset's own, of which only success counts. UNREACHABLE, TIMEOUT, PEER (ClickHouse refused it; the
 * detail has its code only). */
struct result tenant_run(struct tenant *t, const struct keylink_engine *engine, const char *sql);
/* Attaches one collection: table, highest version, schema, view. */
struct result collection_attach(struct tenant *t, const struct keylink_engine *engine, struct collection *c);
/* Makes the view anew from c->schema. c->lock is held. */
struct result collection_make_view(struct tenant *t, const struct keylink_engine *engine, struct collection *c);
/* Attaches it without a view: no query sees it any more. */
struct result collection_hide(struct tenant *t, const struct keylink_engine *engine, struct collection *c);
/* Attaches it with its view. */
struct result collection_show(struct tenant *t, const struct keylink_engine *engine, struct collection *c);
/* Drops view and table, and with them every object of the collection in the store. */
struct result collection_drop(struct tenant *t, const struct keylink_engine *engine, struct collection *c);
/* Everything the registry knows; what was being deleted is deleted. */
struct result tenant_attach(struct tenant *t, const struct keylink_engine *engine);

/* The id of the row that holds the schema: no document can have it, JSON texts with NUL are refused. */
#define COLLECTION_SCHEMA_ID "\0schema"
enum { COLLECTION_SCHEMA_ID_BYTES = 7 };

#endif
