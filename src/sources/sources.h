/* The data sources of one region: a thread for each source, which reads from the outside (driver.h) and stores
 * documents together with the position reached, in one insert. Sources, positions, credentials and lists of errors are
 * the organizations' data: they are kept sealed in tables of the organization, and are in memory only while its key is
 * AVAILABLE. Everything follows from what is stored, so that a process that was killed goes on by itself.
 *
 * While a key is not AVAILABLE (refused, PAUSED, RECOVERING, ...) no source of that organization is attached: within
 * SOURCE_CANCEL_MS of the news each driver is cancelled, and then closed. Nothing has to be called for that, nor for
 * going on afterwards. Thread-safe. */
#ifndef LOCKSET_SOURCES_SOURCES_H
#define LOCKSET_SOURCES_SOURCES_H

#include "lifecycle/tenant.h"

struct sources;

/* `tenants` must outlive it. */
struct result sources_new(struct tenants *tenants, struct sources **ret);
struct sources *sources_free(struct sources *s); /* accepts NULL; ends all threads */

/* Starts what the registry knows, as soon as each organization's key is AVAILABLE. Also takes back every sources_stop.
 * May be called again at any time. Collections whose status in the registry is neither CREATED nor READY are left
 * alone. */
struct result sources_start_all(struct sources *s);
/* Takes back sources_stop for one collection. */
void sources_start(struct sources *s, const char *org, const char *collection_id);
/* Detaches the sources of one collection, and returns when none of them is connected any more. They stay detached until
 * sources_start or sources_start_all, or the end of this process. */
void sources_stop(struct sources *s, const char *org, const char *collection_id);

/* After a pause: does every source of the collection still have everything since the kept position? *ret_why (owned,
 * NULL if recovered) tells what is missing, by source. A collection without sources, or whose sources were all
 * suspended before the pause began and have everything, is recovered: nothing was accepted meanwhile, so nothing is
 * missing. Reads the positions through an engine, with KEYLINK_RECOVER: the key's state must be AVAILABLE or
 * RECOVERING. A failure (*why filled) means that it can't be said now: the engine or a source can't be asked; ask again
 * later. Changes nothing, so it may be repeated. */
struct result sources_recover_check(struct sources *s, const struct registry_collection *c, bool *ret_recovered,
                                    char **ret_why, struct refusal *why);

/* ---- what the REST interface needs; on failure *why is filled, or the error tells everything ---- */

/* Checks the Source objects of a request (an array) and gives them ids: *ret is an array for source_add. INVALID,
 * NOT_FOUND (an integration), UNSUPPORTED. */
struct result source_prepare(struct sources *s, const char *org, const json_t *asked, json_t **ret,
                             struct refusal *why);
/* Adds prepared sources to a collection, and starts them. */
struct result source_add(struct sources *s, const struct registry_collection *c, const json_t *prepared,
                         struct refusal *why);
/* The sources of a collection as an array of answers, with their status. *ret_progress: how much of the initial loads
 * is done, 0 to 1. */
struct result source_list(struct sources *s, const struct registry_collection *c, json_t **ret, double *ret_progress,
                          struct refusal *why);
/* One of them. NOT_FOUND. */
struct result source_get(struct sources *s, const struct registry_collection *c, const char *id, json_t **ret,
                         struct refusal *why);
/* Detaches it, gives back what it holds outside, and forgets it; its documents stay. *ret: what it was. */
struct result source_delete(struct sources *s, const struct registry_collection *c, const char *id, json_t **ret,
                            struct refusal *why);
/* Until resume_at_ms (0: until it is resumed). */
struct result source_suspend(struct sources *s, const struct registry_collection *c, const char *id,
                             int64_t resume_at_ms, json_t **ret, struct refusal *why);
struct result source_resume(struct sources *s, const struct registry_collection *c, const char *id, json_t **ret,
                            struct refusal *why);
/* The newest of the records that were no documents: [{"origin","reason","record","at"}], newest first. */
struct result source_errors(struct sources *s, const struct registry_collection *c, const char *id, size_t limit,
                            json_t **ret, struct refusal *why);
/* Before a collection is deleted: detaches its sources and gives back what they hold outside. */
struct result sources_leave_collection(struct sources *s, const struct registry_collection *c, struct refusal *why);

struct result integration_list(struct sources *s, const char *org, json_t **ret, struct refusal *why);
struct result integration_get(struct sources *s, const char *org, const char *name, json_t **ret, struct refusal *why);
/* EXISTS, INVALID, UNSUPPORTED. */
struct result integration_create(struct sources *s, const char *org, const json_t *asked, const char *created_by,
                                 json_t **ret, struct refusal *why);
/* Replaces description and configuration, of the same kind; sources that use it begin anew with it, where they were.
 * NOT_FOUND, INVALID. */
struct result integration_update(struct sources *s, const char *org, const char *name, const json_t *asked,
                                 json_t **ret, struct refusal *why);
/* CONFLICT while a source uses it. */
struct result integration_delete(struct sources *s, const char *org, const char *name, json_t **ret,
                                 struct refusal *why);

/* Appends the metrics of all attached sources in Prometheus's text format. */
void sources_metrics(struct sources *s, struct buf *out);

#endif
