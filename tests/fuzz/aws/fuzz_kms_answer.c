/* KMS answers: plaintext comes out of a good answer only, and every text is printable and bounded. Input: a byte for
 * the operation, two for the status, then the body. */
#include <string.h>

#include "aws/kms_message.h"
#include "fuzz.h"

#define KEY "arn:aws:kms:us-west-2:111122223333:key/mrk-1234abcd12ab34cd56ef1234567890ab"

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    return fuzz_start();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const int statuses[] = {200, 200, 200, 400, 403, 429, 500, 503};
    if (size < 2) return 0;
    struct kms_request r = {.operation = (enum kms_operation)(data[0] % KMS_OPERATION_MAX),
                            .key_id = data[0] & 0x80 ? "mrk-1" : KEY,
                            .data_key_bytes = data[0] & 0x40 ? 5 : 0,
                            .dry_run = (data[0] & 0x20) != 0};
    int status = statuses[data[1] % ARRAY_LEN(statuses)];
    struct slice body = slice_make(data + 2, size - 2);
    KMS_ANSWER_AUTO(a);
    kms_message_parse(&r, status, body, body, &a);
    PROMISE(a.error < KMS_ERROR_MAX && a.http_status == status);
    PROMISE(is_printable(a.code) && is_printable(a.message) && is_printable(a.request_id));
    PROMISE(is_printable(a.key_arn) && is_printable(a.material_id) && is_printable(a.key.state));
    PROMISE((a.error == KMS_OK) <= (status == 200 && !r.dry_run));
    PROMISE(a.error == KMS_OK || (a.plaintext.len == 0 && a.ciphertext.len == 0));
    PROMISE(a.error != KMS_OK || r.operation != KMS_GENERATE_DATA_KEY ||
            a.plaintext.len == (r.data_key_bytes ? r.data_key_bytes : 32));
    PROMISE(a.error != KMS_OK || r.key_id[0] != 'a' || strcmp(a.key_arn, KEY) == 0);
    return 0;
}
