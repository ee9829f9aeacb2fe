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

/* One statement as an object, its lines indented by `pad`. principal: JSON. Everything that goes in was checked and
 * needs no escaping. */
static void write_statement(const char *pad, const char *sid, const char *principal, const char *const *actions,
                            const char *resource, struct buf *out) {
    buf_printf(out, "%s{\n", pad);
    buf_printf(out, "%s  \"Sid\": \"%s\",\n", pad, sid);
    buf_printf(out, "%s  \"Effect\": \"Allow\",\n", pad);
    buf_printf(out, "%s  \"Principal\": {\n%s    \"AWS\": %s\n%s  },\n", pad, pad, principal, pad);
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
    AUTO_FREE char *principal = str_format("\"arn:%s:iam::%s:root\"", p->partition, p->service);
    write_statement(pad, "Allow use of the key", principal, key_policy_actions, p->resource, out);
}

static char *pad_more(const char *pad, const char *by) {
    return str_format("%s%s", pad, by);
}

/* The whole document, from its brace on; `pad` is of the lines behind. owner: JSON, or NULL for no statement of it. */
static void write_document(const char *pad, const struct plan *p, const char *owner, struct buf *out) {
    static const char *const everything[] = {"kms:*", NULL};
    AUTO_FREE char *inner = pad_more(pad, "    ");
    buf_printf(out, "{\n%s  \"Version\": \"2012-10-17\",\n%s  \"Statement\": [\n", pad, pad);
    if (owner) {
        write_statement(inner, "Enable IAM User Permissions", owner, everything, "*", out);
        buf_append_str(out, ",\n");
    }
    write_service_statement(inner, p, out);
    buf_printf(out, "\n%s  ]\n%s}", pad, pad);
}

/* The customer's account as JSON; `otherwise`, if it isn't known, may name it in a language of templates. */
static char *owner_of(const struct plan *p, const char *otherwise) {
    if (p->customer) return str_format("\"arn:%s:iam::%s:root\"", p->partition, p->customer);
    return str_dup(otherwise);
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
    struct arn_kms_key key = {0};
    struct plan p = {0};
    TRY(check(g, &key, &p));
    AUTO_FREE char *owner = owner_of(&p, NULL);
    write_document("", &p, owner, out);
    buf_append_byte(out, '\n');
    return buf_check(out);
}

struct result key_policy_cloudformation(const struct key_policy_grant *g, struct buf *out) {
    struct arn_kms_key key = {0};
    struct plan p = {0};
    TRY(check(g, &key, &p));
    p.resource = "*"; // the key is made with its policy
    AUTO_FREE char *owner = owner_of(&p, "{ \"Fn::Sub\": \"arn:${AWS::Partition}:iam::${AWS::AccountId}:root\" }");
    buf_append_str(out, "{\n"
                        "  \"AWSTemplateFormatVersion\": \"2010-09-09\",\n"
                        "  \"Description\": \"A Multi-Region KMS key whose use is granted to Lockset\",\n"
                        "  \"Resources\": {\n"
                        "    \"LocksetKey\": {\n"
                        "      \"Type\": \"AWS::KMS::Key\",\n"
                        "      \"DeletionPolicy\": \"Retain\",\n"
                        "      \"UpdateReplacePolicy\": \"Retain\",\n"
                        "      \"Properties\": {\n"
                        "        \"Description\": \"Encrypts this account's data in Lockset\",\n"
                        "        \"KeySpec\": \"SYMMETRIC_DEFAULT\",\n"
                        "        \"KeyUsage\": \"ENCRYPT_DECRYPT\",\n"
                        "        \"MultiRegion\": true,\n"
                        "        \"EnableKeyRotation\": true,\n"
                        "        \"KeyPolicy\": ");
    write_document("        ", &p, owner, out);
    buf_append_str(out, "\n      }\n    }\n  },\n"
                        "  \"Outputs\": {\n"
                        "    \"KeyArn\": {\n"
                        "      \"Description\": \"What Lockset is given\",\n"
                        "      \"Value\": { \"Fn::GetAtt\": [\"LocksetKey\", \"Arn\"] }\n"
                        "    }\n  }\n}\n");
    return buf_check(out);
}

struct result key_policy_terraform(const struct key_policy_grant *g, struct buf *out) {
    struct arn_kms_key key = {0};
    struct plan p = {0};
    TRY(check(g, &key, &p));
    p.resource = "*";
    AUTO_FREE char *owner = owner_of(
        &p, "\"arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:root\"");
    if (!p.customer)
        buf_append_str(out, "data \"aws_caller_identity\" \"current\" {}\n\ndata \"aws_partition\" \"current\" {}\n\n");
    buf_append_str(out, "resource \"aws_kms_key\" \"lockset\" {\n"
                        "  description              = \"Encrypts this account's data in Lockset\"\n"
                        "  customer_master_key_spec = \"SYMMETRIC_DEFAULT\"\n"
                        "  key_usage                = \"ENCRYPT_DECRYPT\"\n"
                        "  multi_region             = true\n"
                        "  enable_key_rotation      = true\n\n"
                        "  policy = jsonencode(");
    write_document("  ", &p, owner, out);
    buf_append_str(out, ")\n\n  lifecycle {\n    prevent_destroy = true\n  }\n}\n\n"
                        "output \"lockset_kms_key_arn\" {\n"
                        "  description = \"What Lockset is given\"\n"
                        "  value       = aws_kms_key.lockset.arn\n"
                        "}\n");
    return buf_check(out);
}
