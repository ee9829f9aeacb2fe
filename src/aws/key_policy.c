#include "aws/key_policy.h"

#include <string.h>

#include "aws/arn.h"

const char *const key_policy_actions[] = {"kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey*", "kms:DescribeKey",
                                          NULL};

/* The grant, checked, and what follows from it. */
struct plan {
    const char *partition, *resource, *service, *customer;
};

static struct result check(const struct key_policy_grant *g, struct arn_kms_key *key, struct plan *ret) {
    CHECK(g->service_account_id && arn_is_account(slice_str(g->service_account_id)), ERR_INVALID,
          "the service's account id must have 12 digits");
    CHECK(!g->customer_account_id || arn_is_account(slice_str(g->customer_account_id)), ERR_INVALID,
          "the customer's account id must have 12 digits");
    const char *partition = "aws";
    if (g->key_arn) {
        TRY(arn_parse_kms_key(slice_str(g->key_arn), key));
        CHECK(!g->customer_account_id || strcmp(key->account, g->customer_account_id) == 0, ERR_INVALID,
              "the key belongs to account %s, not to %s", key->account, g->customer_account_id);
        partition = key->partition;
    }
    if (g->partition) partition = g->partition;
    CHECK(strcmp(partition, "aws") == 0 || strcmp(partition, "aws-cn") == 0 || strcmp(partition, "aws-us-gov") == 0,
          ERR_INVALID, "the partition must be aws, aws-cn or aws-us-gov");
    *ret = (struct plan){partition, g->key_arn ? g->key_arn : "*", g->service_account_id, g->customer_account_id};
    if (g->key_arn && !ret->customer) ret->customer = key->account;
    return OK;
}

/* One statement as an object, its lines indented by `pad`. Everything that goes in was checked and needs no escaping.
 */
static void write_statement(const char *pad, const char *sid, const char *partition, const char *account,
                            const char *const *actions, const char *resource, struct buf *out) {
    buf_printf(out, "%s{\n", pad);
    buf_printf(out, "%s  \"Sid\": \"%s\",\n", pad, sid);
    buf_printf(out, "%s  \"Effect\": \"Allow\",\n", pad);
    buf_printf(out, "%s  \"Principal\": {\n%s    \"AWS\": \"arn:%s:iam::%s:root\"\n%s  },\n", pad, pad, partition,
               account, pad);
    if (actions[1] == NULL) {
        buf_printf(out, "%s  \"Action\": \"%s\",\n", pad, actions[0]);
    } else {
        buf_printf(out, "%s  \"Action\": [\n", pad);
        for (size_t i = 0; actions[i]; i++)
            buf_printf(out, "%s    \"%s\"%s\n", pad, actions[i], actions[i + 1] ? "," : "");
        buf_printf(out, "%s  ],\n", pad);
    }
    buf_printf(out, "%s  \"Resource\": \"%s\"\n%s}", pad, resource, pad);
}

static void write_service_statement(const char *pad, const struct plan *p, struct buf *out) {
    write_statement(pad, "Allow use of the key", p->partition, p->service, key_policy_actions, p->resource, out);
}

struct result key_policy_statement(const struct key_policy_grant *g, struct buf *out) {
    struct arn_kms_key key = {0};
    struct plan p = {0};
    TRY(check(g, &key, &p));
    write_service_statement("", &p, out);
    buf_append_byte(out, '\n');
    return buf_check(out);
}

struct result key_policy_document(const struct key_policy_grant *g, struct buf *out) {
    static const char *const everything[] = {"kms:*", NULL};
    struct arn_kms_key key = {0};
    struct plan p = {0};
    TRY(check(g, &key, &p));
    buf_append_str(out, "{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": [\n");
    if (p.customer) {
        write_statement("    ", "Enable IAM User Permissions", p.partition, p.customer, everything, "*", out);
        buf_append_str(out, ",\n");
    }
    write_service_statement("    ", &p, out);
    buf_append_str(out, "\n  ]\n}\n");
    return buf_check(out);
}
