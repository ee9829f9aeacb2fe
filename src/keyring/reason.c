#include "keyring/reason.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

/* What the key's owner does about a refusal. */
static const char *remedy(const struct verdict *v, bool is_service) {
    if (strcmp(v->aws_error, "DisabledException") == 0)
        return "Enable the key in the account that owns it (aws kms enable-key)";
    if (strcmp(v->aws_error, "KMSInvalidStateException") == 0)
        return "Cancel its deletion and enable it in the account that owns it (aws kms cancel-key-deletion, "
               "aws kms enable-key)";
    if (strcmp(v->aws_error, "NotFoundException") == 0)
        return "Restore the key, or replicate the Multi-Region key to this region again";
    if (is_service) return "Let the service use its key again";
    return "Let the service use the key again: the key policy must allow all four actions and deny none "
           "(lockset key policy prints the statement)";
}

void reason_write(enum lease_phase phase, enum lease_cause cause, const char *key_arn, const char *region,
                  bool is_service, const struct verdict *v, char ret[static REASON_BYTES]) {
    static const struct verdict none = {0};
    if (!v) v = &none;
    const char *code = v->aws_error[0] ? v->aws_error : "no error code";
    const char *text = v->text[0] ? v->text : "no answer";
    if (phase == LEASE_STARTING) {
        snprintf(ret, REASON_BYTES, "the key %s in %s is being checked", key_arn, region);
    } else if (phase == LEASE_RECOVERING) {
        snprintf(ret, REASON_BYTES, "the operator asked for recovery under the key %s in %s; it is under way", key_arn,
                 region);
    } else if (phase == LEASE_AVAILABLE) {
        snprintf(ret, REASON_BYTES, "the key %s in %s can be used", key_arn, region);
    } else if (cause == LEASE_DESTROYED) {
        char when[CLOCK_ISO_BYTES];
        clock_format_iso(v->deletion_unix_ms, when);
        snprintf(ret, REASON_BYTES,
                 "the key %s in %s was deleted (its deletion date was %s): what was encrypted under it can't be read "
                 "any more",
                 key_arn, region, when);
    } else if (cause == LEASE_UNREACHABLE) {
        bool is_corrupt = v->kind == VERDICT_CORRUPT;
        snprintf(ret, REASON_BYTES,
                 is_corrupt ? "AWS KMS in %s does not recognise data keys wrapped by the key %s (%s: %.500s). The "
                              "operator must look at the wrapped keys"
                            : "AWS KMS in %s gives no usable answer for the key %s (%s: %.500s). Access returns by "
                              "itself when it does",
                 region, key_arn, code, text);
    } else {
        snprintf(ret, REASON_BYTES,
                 "AWS KMS in %s refuses the use of the key %s (%s: %.500s). %s; access then returns "
                 "by itself",
                 region, key_arn, code, text, remedy(v, is_service));
    }
}

/* "4 h 2 min", "12 s" */
static void write_span(int64_t ms, char *ret, size_t size) {
    long long s = (long long)(ms / 1000);
    if (s >= 3600)
        snprintf(ret, size, "%lld h %lld min", s / 3600, s % 3600 / 60);
    else if (s >= 60)
        snprintf(ret, size, "%lld min %lld s", s / 60, s % 60);
    else
        snprintf(ret, size, "%lld s", s);
}

void reason_write_paused(const char *org, const char *key_arn, const char *region, const struct verdict *v,
                         int64_t unavailable_ms, bool is_key_back, char ret[static REASON_BYTES]) {
    char span[48];
    write_span(unavailable_ms, span, sizeof span);
    const char *code = v && v->aws_error[0] ? v->aws_error : "no error code";
    if (is_key_back)
        snprintf(
            ret, REASON_BYTES,
            "the collections in %s are paused, because the key %s could not be used for %s. The key works again, and "
            "recovery can be asked for: the operator runs lockset region recover %s %s",
            region, key_arn, span, org, region);
    else
        snprintf(
            ret, REASON_BYTES,
            "the collections in %s are paused, because the key %s could not be used for %s (%s). They don't resume by "
            "themselves: restore the key, then ask the operator for recovery (lockset region recover %s %s)",
            region, key_arn, span, code, org, region);
}
