/* How the sources of a region are run: a keeper for each organization that has some, a run for each source. */
#ifndef LOCKSET_SOURCES_SOURCES_PRIV_H
#define LOCKSET_SOURCES_SOURCES_PRIV_H

#include <pthread.h>

#include "sources/config.h"
#include "sources/kept.h"
#include "sources/sources.h"

/* ---- a run: the thread of one source while it is attached (run.c) ---- */

enum run_phase { RUN_STARTING, RUN_READING, RUN_FAILING };

struct run_status {
    enum run_phase phase;
    char *message;    /* of the last failure; NULL: none; owned */
    struct kept kept; /* without its position */
    struct source_progress progress;
};
void run_status_done(struct run_status *s); /* accepts zeroed */

struct run;
/* The parts of what is kept that a run needs; borrowed until run_new returns. */
struct run_options {
    struct tenant *tenant;
    const struct registry_collection *collection;
    const json_t *source, *integration; /* kept objects; integration NULL: none */
};
/* Starts the thread. */
struct result run_new(const struct run_options *o, struct run **ret);
/* Tells the driver to stop; returns at once. */
void run_cancel(struct run *r);
/* Cancels, waits for the thread's end, and frees. Accepts NULL, returns NULL. */
struct run *run_free(struct run *r);
const struct registry_collection *run_collection(const struct run *r);
const json_t *run_source(const struct run *r);
/* Is it made from exactly these? */
bool run_is_of(const struct run *r, const json_t *source, const json_t *integration);
/* A copy. */
void run_read_status(struct run *r, struct run_status *ret);

/* What is needed to call a driver outside of a run; borrows from the kept objects. */
void run_fill_spec(struct source_spec *spec, const char *region, const json_t *source, const json_t *integration,
                   const _Atomic bool *cancelled);

/* A copy of a registry's row; to be ended by registry_collection_done. */
void run_copy_collection(const struct registry_collection *from, struct registry_collection *ret);

/* ---- keepers (keeper.c) ---- */

struct keeper;
struct result keeper_new(struct tenants *tenants, const char *org, struct keeper **ret);
struct keeper *keeper_free(struct keeper *k); /* accepts NULL; ends all its threads */
const char *keeper_org(const struct keeper *k);
/* What is stored has changed: looks again soon. */
void keeper_reload(struct keeper *k);
/* Collections that are not to be run; detaching returns when none of the collection's sources is attached. */
void keeper_detach(struct keeper *k, const char *collection_id);
void keeper_attach(struct keeper *k, const char *collection_id); /* NULL: all */
/* Detaches one source, until the next keeper_reload; returns when it isn't attached. */
void keeper_detach_source(struct keeper *k, const char *source_id);
/* False: it isn't attached now. */
bool keeper_status(struct keeper *k, const char *source_id, struct run_status *ret);
/* Calls `each` for every attached source. */
void keeper_each(struct keeper *k, void (*each)(void *arg, struct run *r), void *arg);
/* Held while the lists of sources or integrations of the organization are changed. */
void keeper_lock_catalog(struct keeper *k);
void keeper_unlock_catalog(struct keeper *k);

/* ---- lists (catalog.c) ---- */

enum { CATALOG_MS = 20000 };

/* The kept integrations: name -> object. Empty if the organization has none. */
struct result catalog_integrations(struct tenant *t, enum keylink_use use, json_t **ret, struct refusal *why);
/* The kept sources of one collection, and all rows that belong to them. */
struct catalog {
    json_t *sources; /* array; owned */
    struct hidden_rows rows;
};
void catalog_done(struct catalog *c); /* accepts zeroed */
struct result catalog_read(struct tenant *t, const struct registry_collection *c, enum keylink_use use,
                           struct catalog *ret, struct refusal *why);
/* The integration that a kept source names; NULL: none, or it isn't there any more. */
const json_t *catalog_integration_of(const json_t *source, const json_t *integrations);

/* The one keeper of an organization; made if need be. */
struct keeper *sources_keeper(struct sources *s, const char *org);
struct tenants *sources_tenants(const struct sources *s);

#endif
