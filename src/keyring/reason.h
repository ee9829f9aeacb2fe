/* Texts for people about a lease's state. Pure; thread-safe. */
#ifndef LOCKSET_KEYRING_REASON_H
#define LOCKSET_KEYRING_REASON_H

#include "keyring/lease_state.h"

enum { REASON_BYTES = 1024 };

/* What is the matter, and what to do: names the key, the region, AWS's own error code. v: the verdict that led here;
 * NULL or zeroed when there is none. is_service: the operator's own key. */
void reason_write(enum lease_phase phase, enum lease_cause cause, const char *key_arn, const char *region,
                  bool is_service, const struct verdict *v, char ret[static REASON_BYTES]);

/* The same in PAUSED. org: for the command that leads out of it. unavailable_ms: observed before the pause.
 * is_key_back: the key has passed its checks again, which alone changes nothing. */
void reason_write_paused(const char *org, const char *key_arn, const char *region, const struct verdict *v,
                         int64_t unavailable_ms, bool is_key_back, char ret[static REASON_BYTES]);

#endif
