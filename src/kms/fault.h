/* Faults that tests ask for: a call of KMS is delayed, refused with a given error, hung or dropped, by operation and
 * key, for a number of calls or until cleared. Thread-safe.
 *
 * Commands are JSON objects, so are the answers; they come over a socket of their own (fault_socket.h), never over the
 * port that speaks AWS's protocol:
 *     {"do":"set","fault":"delay","ms":500}                          -> {"ok":true,"id":1}
 *     {"do":"set","fault":"error","error":"KMSInternalException","message":"...","status":500}
 *     {"do":"set","fault":"throttle"}, {"do":"set","fault":"hang"}, {"do":"set","fault":"drop"}
 *         each with "operation":"Decrypt", "key":an id or ARN, "calls":N if it is to be for these only
 *     {"do":"clear"} or {"do":"clear","id":1}                        -> {"ok":true,"cleared":1}
 *     {"do":"list"}                                                  -> {"ok":true,"faults":[{"id","hits",...}]}
 * What is wrong gets {"ok":false,"error":"..."}. The first fault set that fits a call applies to it. */
#ifndef LOCKSET_KMS_FAULT_H
#define LOCKSET_KMS_FAULT_H

#include "base/http_server.h"

enum kmsd_fault_kind { KMSD_FAULT_DELAY, KMSD_FAULT_ERROR, KMSD_FAULT_HANG, KMSD_FAULT_DROP };

struct kmsd_fault {
    int64_t id;
    enum kmsd_fault_kind kind;
    char *operation, *key_id; /* NULL: any */
    char *error, *message;    /* of an error */
    int status;
    int64_t delay_ms;
    int64_t calls_left; /* -1: until cleared */
    uint64_t hits;
};
void kmsd_fault_done(struct kmsd_fault *f); /* accepts zeroed */

struct kmsd_faults; /* opaque */
struct kmsd_faults *kmsd_faults_new(void);
struct kmsd_faults *kmsd_faults_free(struct kmsd_faults *f); /* accepts NULL, returns NULL */

/* One command and its answer, without the line's end. */
void kmsd_faults_command(struct kmsd_faults *f, struct slice line, struct buf *answer);
/* The fault for this call, counted as one of its calls; false: none. key_id: "" if the call names none. The caller
 * calls kmsd_fault_done. */
bool kmsd_faults_take(struct kmsd_faults *f, const char *operation, const char *key_id, struct kmsd_fault *ret);
/* Hasn't it been cleared? */
bool kmsd_faults_has(struct kmsd_faults *f, int64_t id);

/* Applies what was asked for to a request that is otherwise good. true: it has been answered (or dropped). f may be
 * NULL. */
bool kmsd_faults_apply(struct kmsd_faults *f, struct http_request *r, const char *operation);

#endif
