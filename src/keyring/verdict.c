#include "keyring/verdict.h"

#include <stdio.h>
#include <string.h>

static const enum verdict_kind table[KMS_ERROR_MAX] = {
    [KMS_OK] = VERDICT_GOOD,
    [KMS_DRY_RUN_OK] = VERDICT_SILENT,
    [KMS_DISABLED] = VERDICT_REFUSED,
    [KMS_ACCESS_DENIED] = VERDICT_REFUSED,
    [KMS_NOT_FOUND] = VERDICT_REFUSED,
    [KMS_INVALID_STATE] = VERDICT_REFUSED,
    [KMS_INVALID_STATE_PASSING] = VERDICT_SILENT,
    [KMS_INVALID_KEY_USAGE] = VERDICT_REFUSED,
    [KMS_INCORRECT_KEY] = VERDICT_CORRUPT,
    [KMS_INVALID_CIPHERTEXT] = VERDICT_CORRUPT,
    [KMS_THROTTLED] = VERDICT_SILENT,
    [KMS_KEY_UNAVAILABLE] = VERDICT_SILENT,
    [KMS_INTERNAL] = VERDICT_SILENT,
    [KMS_DEPENDENCY_TIMEOUT] = VERDICT_SILENT,
    [KMS_CREDENTIALS] = VERDICT_SILENT,
    [KMS_CLOCK_SKEW] = VERDICT_SILENT,
    [KMS_VALIDATION] = VERDICT_SILENT,
    [KMS_UNSUPPORTED] = VERDICT_SILENT,
    [KMS_UNREACHABLE] = VERDICT_SILENT,
    [KMS_TIMEOUT] = VERDICT_SILENT,
    [KMS_CANCELLED] = VERDICT_SILENT,
    [KMS_UNKNOWN] = VERDICT_SILENT,
};

const char *verdict_name(enum verdict_kind kind) {
    static const char *const names[VERDICT_MAX] = {"good", "refused", "silent", "corrupt"};
    return kind < VERDICT_MAX ? names[kind] : "unknown";
}

enum verdict_kind verdict_of_error(enum kms_error e) {
    return e < KMS_ERROR_MAX ? table[e] : VERDICT_SILENT;
}

static void say(struct verdict *v, enum verdict_kind kind, const char *code, const char *text) {
    v->kind = kind;
    snprintf(v->aws_error, sizeof v->aws_error, "%s", code);
    snprintf(v->text, sizeof v->text, "%s", text);
}

static void of_metadata(const struct kms_key_metadata *k, struct verdict *v) {
    char text[KMS_MESSAGE_BYTES];
    v->knows_deletion = true;
    v->has_deletion = k->has_deletion_date;
    v->deletion_unix_ms = k->has_deletion_date ? k->deletion_unix_ms : 0;
    if (strcmp(k->spec, "SYMMETRIC_DEFAULT") != 0) {
        snprintf(text, sizeof text, "the key is of spec %s, not SYMMETRIC_DEFAULT", k->spec);
        say(v, VERDICT_REFUSED, "InvalidKeyUsageException", text);
    } else if (strcmp(k->usage, "ENCRYPT_DECRYPT") != 0) {
        snprintf(text, sizeof text, "the key's usage is %s, not ENCRYPT_DECRYPT", k->usage);
        say(v, VERDICT_REFUSED, "InvalidKeyUsageException", text);
    } else if (strcmp(k->state, "Enabled") == 0 || strcmp(k->state, "Updating") == 0) {
        say(v, VERDICT_GOOD, "", "");
    } else if (strcmp(k->state, "Creating") == 0) {
        say(v, VERDICT_SILENT, "KMSInvalidStateException", "the key is still being created");
    } else {
        bool is_disabled = strcmp(k->state, "Disabled") == 0;
        snprintf(text, sizeof text, "DescribeKey shows the key in state %s", k->state);
        say(v, VERDICT_REFUSED, is_disabled ? "DisabledException" : "KMSInvalidStateException", text);
    }
}

void verdict_of(const struct kms_answer *a, enum kms_operation operation, struct verdict *ret) {
    struct verdict v = {0};
    if (a->error == KMS_OK && operation == KMS_DESCRIBE_KEY) {
        of_metadata(&a->key, &v);
    } else {
        char text[KMS_MESSAGE_BYTES];
        snprintf(text, sizeof text, "%s", a->message[0] ? a->message : kms_error_name(a->error));
        say(&v, verdict_of_error(a->error), a->code, a->error == KMS_OK ? "" : text);
    }
    *ret = v;
}
