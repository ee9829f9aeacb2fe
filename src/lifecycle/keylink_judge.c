#include <ctype.h>
#include <string.h>

#include "base/clock.h"
#include "lifecycle/keylink.h"

/* Clients come back after so many seconds; an outage of KMS is probed every few seconds. */
enum { RETRY_STARTING_S = 1, RETRY_KEY_S = 5 };

static const char *text_of(const json_t *state, const char *name, const char *otherwise) {
    const char *s = json_string_value(json_object_get(state, name));
    return s && *s ? s : otherwise;
}

static struct result refuse_for_key(const json_t *state, enum keylink_use use, struct refusal *why) {
    const char *name = text_of(state, "state", "UNAVAILABLE"), *cause = text_of(state, "cause", "");
    const char *aws_error = text_of(state, "aws_error", "no answer");
    bool paused = strcmp(name, "PAUSED") == 0, destroyed = strcmp(cause, "DESTROYED") == 0;
    bool unreachable = strcmp(cause, "UNREACHABLE") == 0 && !paused;
    char since[CLOCK_ISO_BYTES];
    clock_format_iso(json_integer_value(json_object_get(state, "since_ms")), since);
    bool forbidden = use == KEYLINK_READ ? !unreachable : destroyed;
    const char *what = paused        ? "collections are paused"
                       : destroyed   ? "the encryption key is destroyed"
                       : unreachable ? "AWS KMS can't be reached"
                                     : "the encryption key refuses its use";
    /* The keyring's own words: which key, what AWS said, what to do. */
    const char *reason = text_of(state, "reason", "the keyring gives no reason");
    return refuse(why, ERR_NO_LEASE, forbidden ? 403 : 503, forbidden ? "FORBIDDEN" : "NOT_READY",
                  forbidden ? 0 : RETRY_KEY_S,
                  "Data is not accessible since %s: %s (key %s, region %s, AWS error %s). %c%s%s", since, what,
                  text_of(state, "kms_key_arn", "of the service"), text_of(state, "region", "?"), aws_error,
                  toupper((unsigned char)*reason), reason + 1, reason[strlen(reason) - 1] == '.' ? "" : ".");
}

struct result keylink_judge(const json_t *state, enum keylink_use use, struct refusal *why) {
    const char *name = text_of(state, "state", "STARTING");
    if (strcmp(name, "AVAILABLE") == 0) return OK;
    if (use == KEYLINK_RECOVER && strcmp(name, "RECOVERING") == 0) return OK;
    if (strcmp(name, "RECOVERING") == 0)
        return refuse(
            why, ERR_NO_LEASE, 503, "NOT_READY", RETRY_KEY_S,
            "Data is not accessible yet: the collections are being recovered after a pause (key %s, region %s). "
            "Try again in a moment.",
            text_of(state, "kms_key_arn", "of this organization"), text_of(state, "region", "of this port"));
    if (strcmp(name, "STARTING") == 0) {
        const char *arn = text_of(state, "kms_key_arn", "of this organization");
        return refuse(why, ERR_NO_LEASE, 503, "NOT_READY", RETRY_STARTING_S,
                      "Data is not accessible yet: key %s, region %s, is being checked (%s). Try again in a moment.",
                      arn, text_of(state, "region", "of this port"), name);
    }
    return refuse_for_key(state, use, why);
}
