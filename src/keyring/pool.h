/* Worker threads for what may block (KMS, the registry, the store), so that the event loop never does. A job runs on a
 * worker, then its `done` is called by the loop's thread through jobs_finish. Jobs of one pool with one thread run in
 * their order, urgent ones first. */
#ifndef LOCKSET_KEYRING_POOL_H
#define LOCKSET_KEYRING_POOL_H

#include "keyring/loop.h"

struct job {
    void (*run)(struct job *j);  /* on a worker; may block, in bounds */
    void (*done)(struct job *j); /* on the loop's thread; frees the job */
    struct job *next;
    struct pool *pool;
};

struct pool;
struct finished; /* where finished jobs wait for the loop */

/* Both live as long as the process. */
struct finished *finished_new(struct loop *l);
/* At most max_threads, each started when it is first needed. */
struct pool *pool_new(struct finished *f, unsigned max_threads);

/* Takes the job over. From the loop's thread. */
void pool_submit(struct pool *p, struct job *j, bool is_urgent);

/* Calls `done` of every job that finished. */
void finished_run(struct finished *f);

#endif
