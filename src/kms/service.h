/* The KMS service on HTTP: authentication (Signature Version 4), the JSON 1.1 protocol, dispatch, answers.
 * Thread-safe: requests run side by side.
 * Source: https://docs.aws.amazon.com/kms/latest/APIReference/Welcome.html; the protocol:
 * https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html */
#ifndef LOCKSET_KMS_SERVICE_H
#define LOCKSET_KMS_SERVICE_H

#include "base/http_server.h"
#include "kms/accounts.h"
#include "kms/fault.h"
#include "kms/store.h"

enum { KMSD_MAX_BODY_BYTES = 512 * 1024, KMSD_MAX_SKEW_MS = 300 * 1000 };

struct kmsd_service {
    struct kmsd_store *store;
    const struct kmsd_accounts *accounts;
    struct kmsd_faults *faults; /* NULL: none are ever asked for */
};

/* The handler and the callbacks for a server whose context is a struct kmsd_service. */
void kmsd_service_options(struct kmsd_service *s, struct http_server_options *options);

/* Where a call comes from, and which request it is; NULL: not known. */
struct kmsd_origin {
    const char *source_ip, *user_agent, *request_id;
};

/* One call without HTTP: who calls, the operation's name, the body; status and answer. The core that the server and
 * the fuzzer share. out: a wiping buffer. */
int kmsd_service_call_from(struct kmsd_service *s, const struct kmsd_origin *origin, const struct kmsd_account *caller,
                           const char *operation, struct slice body, int64_t now_ms, struct buf *out);
/* The same from nowhere. */
int kmsd_service_call(struct kmsd_service *s, const struct kmsd_account *caller, const char *operation,
                      struct slice body, int64_t now_ms, struct buf *out);

#endif
