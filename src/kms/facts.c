#include "kms/facts.h"

#include <string.h>
#include <strings.h>

static void add(struct kmsd_facts *f, struct kmsd_fact fact) {
    f->items = mem_resize(f->items, (f->count + 1) * sizeof *f->items);
    f->items[f->count++] = fact;
}

void kmsd_facts_done(struct kmsd_facts *f) {
    for (size_t i = 0; i < f->count; i++) {
        mem_free(f->items[i].key);
        mem_free(f->items[i].value);
    }
    mem_free(f->items);
    *f = (struct kmsd_facts){0};
}

void kmsd_facts_add(struct kmsd_facts *f, const char *key, const char *value) {
    if (value != NULL) add(f, (struct kmsd_fact){str_dup(key), str_dup(value), KMSD_KNOWN});
}

void kmsd_facts_add_bool(struct kmsd_facts *f, const char *key, bool value) {
    kmsd_facts_add(f, key, value ? "true" : "false");
}

void kmsd_facts_add_uncertain(struct kmsd_facts *f, const char *key, enum kmsd_certainty certainty) {
    add(f, (struct kmsd_fact){str_dup(key), NULL, certainty});
}

void kmsd_facts_add_context(struct kmsd_facts *f, const struct kmsd_context *context) {
    for (size_t i = 0; i < context->count; i++) {
        AUTO_FREE char *key = str_format("kms:EncryptionContext:%s", context->pairs[i].name);
        kmsd_facts_add(f, key, context->pairs[i].value);
        kmsd_facts_add(f, "kms:EncryptionContextKeys", context->pairs[i].name);
    }
}

static const char *after(const char *text, const char *marker) {
    const char *at = strstr(text, marker);
    return at == NULL ? NULL : at + strlen(marker);
}

void kmsd_facts_add_principal(struct kmsd_facts *f, const char *principal, const char *account) {
    bool is_service = strncmp(principal, "arn:", 4) != 0;
    kmsd_facts_add_bool(f, "aws:PrincipalIsAWSService", is_service);
    if (is_service) {
        kmsd_facts_add(f, "aws:PrincipalServiceName", principal);
        kmsd_facts_add(f, "aws:PrincipalServiceNamesList", principal);
        return;
    }
    kmsd_facts_add(f, "kms:CallerAccount", account);
    kmsd_facts_add(f, "aws:PrincipalAccount", account);
    const char *role = after(principal, ":assumed-role/"), *user = after(principal, ":user/");
    if (role == NULL) {
        kmsd_facts_add(f, "aws:PrincipalArn", principal);
    } else {
        int partition_len = (int)strcspn(principal + 4, ":"), role_len = (int)strcspn(role, "/");
        AUTO_FREE char *arn =
            str_format("arn:%.*s:iam::%s:role/%.*s", partition_len, principal + 4, account, role_len, role);
        kmsd_facts_add(f, "aws:PrincipalArn", arn);
    }
    if (user != NULL) kmsd_facts_add(f, "aws:username", strrchr(principal, '/') + 1);
    const char *federated = after(principal, ":federated-user/");
    // users and roles have ids that IAM alone knows
    if (role == NULL && user == NULL && federated == NULL) kmsd_facts_add(f, "aws:userid", account);
    if (federated != NULL) {
        AUTO_FREE char *id = str_format("%s:%s", account, federated);
        kmsd_facts_add(f, "aws:userid", id);
    }
    kmsd_facts_add(f, "aws:PrincipalType",
                   role != NULL        ? "AssumedRole"
                   : user != NULL      ? "User"
                   : federated != NULL ? "FederatedUser"
                                       : "Account");
}

const struct kmsd_fact *kmsd_facts_find(const struct kmsd_facts *f, const char *key) {
    for (size_t i = 0; i < f->count; i++)
        if (strcasecmp(f->items[i].key, key) == 0) return &f->items[i];
    return NULL;
}
