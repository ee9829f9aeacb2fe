#include "front/refusal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void front_refuse(struct front_refusal *ret, enum s3_error error, const char *format, ...) {
    ret->error = error;
    va_list args;
    va_start(args, format);
    vsnprintf(ret->message, sizeof ret->message, format, args);
    va_end(args);
}

static const char *text_of(const json_t *state, const char *name) {
    const char *text = json_string_value(json_object_get(state, name));
    return text != NULL ? text : "";
}

/* What S3 passes on of KMS's refusals under their own names. */
static enum s3_error error_of(const char *aws_error) {
    if (strcmp(aws_error, "DisabledException") == 0) return S3_ERR_KMS_DISABLED;
    if (strcmp(aws_error, "KMSInvalidStateException") == 0) return S3_ERR_KMS_INVALID_STATE;
    if (strcmp(aws_error, "NotFoundException") == 0) return S3_ERR_KMS_NOT_FOUND;
    return S3_ERR_ACCESS_DENIED;
}

bool front_judge(const json_t *state, struct front_refusal *ret) {
    const char *name = text_of(state, "state"), *cause = text_of(state, "cause"), *key = text_of(state, "kms_key_arn");
    const char *reason = text_of(state, "reason");
    if (strcmp(name, "AVAILABLE") == 0) return false;
    bool is_paused = strcmp(name, "PAUSED") == 0;
    bool is_decided = strcmp(name, "UNAVAILABLE") == 0 && strcmp(cause, "UNREACHABLE") != 0;
    enum s3_error error = is_paused || is_decided ? error_of(text_of(state, "aws_error")) : S3_ERR_SERVICE_UNAVAILABLE;
    front_refuse(ret, error, "The key %s of this bucket can't be used now (%s%s%s): %s.",
                 *key != '\0' ? key : "of this organization", *name != '\0' ? name : "STARTING", *cause ? ", " : "",
                 cause, *reason != '\0' ? reason : "it is being checked");
    return true;
}
