/* ARNs: what is accepted prints as it was read; what is refused has a printable reason. */
#include <string.h>

#include "aws/arn.h"
#include "fuzz.h"

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    return fuzz_start();
}

static void check_key(struct slice text) {
    struct arn_kms_key key, replica;
    enum arn_rule rule = ARN_RULE_MAX;
    struct result r = arn_check_customer_key(text, "us-west-2", &rule, &key);
    PROMISE(rule < ARN_RULE_MAX);
    PROMISE(is_ok(r) == (rule == ARN_RULE_NONE));
    PROMISE(is_ok(r) || (err_detail()[0] && is_printable(err_detail())));
    if (is_err(arn_parse_kms_key(text, &key))) {
        PROMISE(is_err(r));
        return;
    }
    char printed[ARN_KMS_KEY_BYTES];
    arn_print_kms_key(&key, printed);
    PROMISE(slice_is(text, printed));
    PROMISE(is_err(r) || (key.is_multi_region && strcmp(key.region, "us-west-2") == 0));
    if (is_ok(arn_replica(&key, "us-east-1", &replica))) {
        arn_print_kms_key(&replica, printed);
        PROMISE(is_ok(arn_check_customer_key(slice_str(printed), "us-east-1", NULL, NULL)));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice text = slice_make(data, size);
    struct arn arn;
    if (is_ok(arn_parse(text, &arn))) {
        BUF_AUTO(out, size + 1);
        arn_print(&arn, &out);
        PROMISE(is_ok(buf_check(&out)) && slice_equal(buf_slice(&out), text));
    }
    check_key(text);
    return 0;
}
