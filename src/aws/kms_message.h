/* What is said to AWS KMS and what it answers: JSON in, typed values out. Pure: no I/O, no clock. Thread-safe.
 * Source: https://docs.aws.amazon.com/kms/latest/APIReference/. On the wire nearly every refusal is HTTP 400, whatever
 * the published model says, so everything here goes by the error's type. */
#ifndef LOCKSET_AWS_KMS_MESSAGE_H
#define LOCKSET_AWS_KMS_MESSAGE_H

#include "aws/arn.h"
#include "base/buf.h"
#include "base/secret.h"

enum kms_operation {
    KMS_DESCRIBE_KEY,
    KMS_ENCRYPT,
    KMS_DECRYPT,
    KMS_GENERATE_DATA_KEY,
    KMS_GENERATE_DATA_KEY_WITHOUT_PLAINTEXT,
    KMS_OPERATION_MAX
};
/* "GenerateDataKey"; and the permission it needs: "kms:GenerateDataKey". */
const char *kms_operation_name(enum kms_operation o);
const char *kms_operation_action(enum kms_operation o);

enum { KMS_MAX_PLAINTEXT_BYTES = 4096, KMS_MAX_CIPHERTEXT_BYTES = 6144, KMS_MAX_DATA_KEY_BYTES = 1024 };

/* One pair of an encryption context; lists end with name NULL. Order does not matter to KMS. */
struct kms_context {
    const char *name, *value;
};

/* One question. All borrowed. */
struct kms_request {
    enum kms_operation operation;
    const char *key_id;                /* the key's ARN in the region that is asked */
    struct slice plaintext;            /* Encrypt: 1..4096 bytes */
    struct slice ciphertext;           /* Decrypt: 1..6144 bytes */
    unsigned data_key_bytes;           /* data keys: 1..1024; 0 means 32 (AES_256) */
    const struct kms_context *context; /* NULL: none; not for DescribeKey */
    bool dry_run;                      /* the answer is then KMS_DRY_RUN_OK or the refusal; not for DescribeKey */
};

/* How a call ended. The closed list that leases are decided by. */
enum kms_error {
    KMS_OK,
    KMS_DRY_RUN_OK,            /* DryRunOperationException: it would have worked */
    KMS_DISABLED,              /* DisabledException */
    KMS_ACCESS_DENIED,         /* AccessDeniedException; for keys of other accounts also when there is no such key */
    KMS_NOT_FOUND,             /* NotFoundException, InvalidArnException */
    KMS_INVALID_STATE,         /* KMSInvalidStateException: pending deletion, pending import, unavailable, ... */
    KMS_INVALID_STATE_PASSING, /* KMSInvalidStateException: "is creating." or "is updating." */
    KMS_INVALID_KEY_USAGE,     /* InvalidKeyUsageException */
    KMS_INCORRECT_KEY,         /* IncorrectKeyException: the ciphertext is of another key */
    KMS_INVALID_CIPHERTEXT,    /* InvalidCiphertextException: corrupt, or another encryption context */
    KMS_THROTTLED,             /* ThrottlingException and its relatives */
    KMS_KEY_UNAVAILABLE,       /* KeyUnavailableException */
    KMS_INTERNAL,              /* KMSInternalException, InternalFailure, ServiceUnavailable..., any bare 5xx */
    KMS_DEPENDENCY_TIMEOUT,    /* DependencyTimeoutException */
    KMS_CREDENTIALS,           /* our own credentials: expired, unknown, token missing, signature not accepted */
    KMS_CLOCK_SKEW,            /* our clock is too far from AWS's */
    KMS_VALIDATION,            /* ValidationException, SerializationException, ...: the question was malformed */
    KMS_UNSUPPORTED,           /* UnsupportedOperationException, UnknownOperationException, ... */
    KMS_UNREACHABLE,           /* no answer: DNS, TCP, TLS, connection broken */
    KMS_TIMEOUT,               /* no answer in time */
    KMS_CANCELLED,             /* given up because the caller said so */
    KMS_UNKNOWN,               /* anything else, also an answer that is not KMS's */
    KMS_ERROR_MAX
};
const char *kms_error_name(enum kms_error e); /* "access_denied" */
/* May the same call succeed when it is simply repeated? (Throttling, 5xx kinds, no answer.) */
bool kms_error_is_retryable(enum kms_error e);

/* DescribeKey's KeyMetadata, as far as Lockset looks at it. Strings are "" when AWS left them out. */
struct kms_key_metadata {
    char arn[ARN_KMS_KEY_BYTES];
    char account[ARN_ACCOUNT_BYTES];
    char state[32];             /* Enabled, Disabled, PendingDeletion, Creating, Updating, ... */
    char spec[32];              /* SYMMETRIC_DEFAULT */
    char usage[32];             /* ENCRYPT_DECRYPT */
    char origin[32];            /* AWS_KMS, EXTERNAL, ... */
    char manager[16];           /* CUSTOMER, AWS */
    char multi_region_type[16]; /* PRIMARY, REPLICA; "" for a single-Region key */
    char primary_region[ARN_REGION_BYTES];
    char material_id[65]; /* CurrentKeyMaterialId: 64 hex digits */
    bool is_enabled, is_multi_region;
    bool has_deletion_date;
    int64_t deletion_unix_ms; /* when AWS will delete (or has deleted) the key */
};

enum { KMS_CODE_BYTES = 64, KMS_MESSAGE_BYTES = 512, KMS_REQUEST_ID_BYTES = 64 };

struct kms_answer {
    enum kms_error error;
    int http_status;                       /* 0: none came */
    char code[KMS_CODE_BYTES];             /* AWS's error code, bare: "DisabledException"; "" on success */
    char message[KMS_MESSAGE_BYTES];       /* AWS's text (or ours), printable, cut; may be "" */
    char request_id[KMS_REQUEST_ID_BYTES]; /* x-amzn-RequestId, as in the customer's CloudTrail */
    /* Of the attempt before, when the call was tried again: "" if that got no answer, or there was none. */
    char earlier_request_id[KMS_REQUEST_ID_BYTES];
    int64_t sent_boottime_ns; /* CLOCK_BOOTTIME just before the attempt that counts was sent */
    unsigned attempts;
    char key_arn[ARN_KMS_KEY_BYTES]; /* KeyId of the answer */
    char material_id[65];            /* KeyMaterialId; "" if not told */
    struct secret plaintext;         /* Decrypt, GenerateDataKey */
    struct buf ciphertext;           /* Encrypt, GenerateDataKey, GenerateDataKeyWithoutPlaintext */
    struct kms_key_metadata key;     /* DescribeKey */
};
void kms_answer_done(struct kms_answer *a); /* wipes; accepts zeroed; leaves it zeroed */
#define KMS_ANSWER_AUTO(name) AUTO(kms_answer_done) struct kms_answer name = {0}

/* The request's JSON, appended to out (give a wiping buffer: Encrypt's plaintext stands in it). INVALID for a question
 * that breaks KMS's limits. */
struct result kms_message_build(const struct kms_request *r, struct buf *out);

/* Reads an HTTP answer to `r` into *ret, which must be zeroed or done. All copies of plaintext made here are wiped (the
 * JSON tree's too, once json_start_wiping was called). Never fails: what can't be understood is KMS_UNKNOWN, with a
 * message of ours. An answer for another key than the one asked for, or a data key of the wrong length, is KMS_UNKNOWN
 * too. request_id: value of the header, empty if none. */
void kms_message_parse(const struct kms_request *r, int http_status, struct slice request_id, struct slice body,
                       struct kms_answer *ret);

/* An error's type and text to the closed list. code: bare; status counts only where the code says nothing. */
enum kms_error kms_message_classify(const char *code, const char *message, int http_status);

#endif
