/* Webhooks: each event of each organization's history is posted to webhook.url, in order, again and again until it is
 * answered with 2xx. What was delivered is remembered in the registry, so that a crash repeats at most the last one; a
 * receiver tells repetitions by the event's number. One thread; only the first region's api runs it. */
#ifndef LOCKSET_API_WEBHOOK_H
#define LOCKSET_API_WEBHOOK_H

#include "config/config.h"
#include "registry/registry.h"

/* Starts the thread if webhook.url is set. Events from before the first start are not sent. INVALID when
 * webhook.secret_file can't be used. Both must live as long as the process. */
struct result webhook_start(const struct config *config, struct registry *registry);

/* How many events wait to be delivered; 0 without a webhook. Thread-safe. */
uint64_t webhook_pending(void);

/* The value of the header Lockset-Signature: "t=SECONDS,v1=HEX", HEX being HMAC-SHA256(secret, "SECONDS.BODY"). Pure.
 */
struct result webhook_sign(struct slice secret, int64_t unix_s, struct slice body, struct buf *out);

#endif
