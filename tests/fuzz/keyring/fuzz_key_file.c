/* Wrapped keys beside the data: a file that is taken is this key's, and written again it says the same. */
#include <string.h>

#include "fuzz.h"
#include "keyring/key_file.h"

#define ORG "o0123456789abcdef0123"
#define REGION "us-west-2"
#define ID "0123456789abcdef0123456789abcdef"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    AUTO(registry_wrapped_key_done) struct registry_wrapped_key k = {0};
    AUTO(registry_wrapped_key_done) struct registry_wrapped_key again = {0};
    err_forget();
    struct result r = key_file_parse(slice_make(data, size), ORG, REGION, ID, &k);
    PROMISE(is_settled(r));
    if (is_err(r)) {
        PROMISE(r.code == ERR_CORRUPT && !k.id);
        return 0;
    }
    PROMISE(strcmp(k.id, ID) == 0 && strcmp(k.org, ORG) == 0 && strcmp(k.region, REGION) == 0);
    PROMISE(k.wrapped.len > 0 && !k.active && k.created_at_ms >= 0);
    PROMISE(k.kind == REGISTRY_BRANCH_KEY || k.kind == REGISTRY_NAME_KEY);
    BUF_AUTO(text, 1 << 20);
    key_file_print(&k, &text);
    PROMISE(is_ok(buf_check(&text)));
    PROMISE(is_ok(key_file_parse(buf_slice(&text), ORG, REGION, ID, &again)));
    PROMISE(again.kind == k.kind && again.created_at_ms == k.created_at_ms);
    PROMISE(strcmp(again.kms_key_arn, k.kms_key_arn) == 0 && strcmp(again.material_id, k.material_id) == 0);
    PROMISE(slice_equal(buf_slice(&again.wrapped), buf_slice(&k.wrapped)));
    return 0;
}
