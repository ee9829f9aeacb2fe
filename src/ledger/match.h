/* Compares the KMS calls of ledgers with AWS's own record of them, a CloudTrail export, by request id. Changes nothing.
 * Not thread-safe; one owner. */
#ifndef LOCKSET_LEDGER_MATCH_H
#define LOCKSET_LEDGER_MATCH_H

#include "ledger/walk.h"

struct match;

/* export: {"Records":[...]} as CloudTrail delivers it; borrowed until match_free. from, to: the part of time that the
 * export covers ("2026-11-24T08:00:00", in UTC); NULL: what its events span, without the first and last second.
 * INVALID. */
struct result match_new(const json_t *export, const char *from, const char *to, struct match **ret);
/* A ledger_visit: takes the ledger's calls in. context: the match. */
struct result match_visit(void *context, const struct ledger_record *r);
/* The report, for the caller to drop:
 *   counts: matched; duplicates (the same event delivered again); elsewhere (events of other services, of keys that no
 *     ledger knows, and of other operations); outside_ledger, outside_cloudtrail (calls and events of a time that the
 *     other side doesn't cover); unanswered (events of calls to which Lockset got no answer, so no request id)
 *   lists: only_ledger (records), only_cloudtrail, via_s3 (events: S3's own calls carry S3's request ids), differ
 *     ({"record","event","members"}: both sides have it and say different things of it), withdrawals (of a key, by its
 *     owner, that KMS then refused for: {"event","last_good","first_refusal","lease_ended","aws_ms",
 *     "aws_at_least_ms","ours_ms"}: how long AWS took until it refused, and how long access lasted from then on) */
json_t *match_report(struct match *m);
void match_free(struct match *m); /* accepts NULL */

#endif
