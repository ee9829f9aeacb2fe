/* Time. Leases run on CLOCK_BOOTTIME, which counts suspension and never steps; what people read is CLOCK_REALTIME.
 * Thread-safe. */
#ifndef LOCKSET_BASE_CLOCK_H
#define LOCKSET_BASE_CLOCK_H

#include <stdint.h>

#include "base/buf.h"

#define NS_PER_MS 1000000LL
#define NS_PER_S 1000000000LL

/* Nanoseconds since boot, including suspension. */
int64_t clock_boottime_ns(void);
/* Milliseconds, and microseconds, since 1970 UTC. */
int64_t clock_unix_ms(void);
int64_t clock_unix_us(void);
/* Sleeps; returns early only on a signal. */
void clock_sleep_ms(int64_t ms);

enum { CLOCK_ISO_BYTES = 32, CLOCK_AMZ_BYTES = 20 };
/* "2026-11-24T03:52:44.123Z" */
void clock_format_iso(int64_t unix_ms, char ret[static CLOCK_ISO_BYTES]);
/* AWS's basic format "20261124T035244Z", and its parser (INVALID unless of exactly that form and a real date). */
void clock_format_amz(int64_t unix_ms, char ret[static CLOCK_AMZ_BYTES]);
struct result clock_parse_amz(struct slice text, int64_t *ret_unix_ms);
/* "Tue, 24 Nov 2026 03:52:44 GMT" (IMF-fixdate, RFC 9110), and its parser. */
void clock_format_http(int64_t unix_ms, char ret[static CLOCK_ISO_BYTES]);
struct result clock_parse_http(struct slice text, int64_t *ret_unix_ms);

#endif
