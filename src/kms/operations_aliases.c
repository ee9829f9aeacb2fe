/* Aliases: other names of keys, each region's and account's own.
 * Source: https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html */
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "kms/operations.h"

enum { KEY_ID_MAX = 2048, PER_KEY_MAX = 50 };

static char *alias_arn(const struct kmsd_call *c, const char *name) {
    const char *region = kmsd_store_region(c->store);
    return str_format("arn:%s:kms:%s:%s:%s", arn_partition_of_region(slice_str(region)), region, c->caller->account,
                      name);
}

static bool has_alias_characters(const char *name) {
    for (const char *p = name; *p != '\0'; p++)
        if (!isalnum((unsigned char)*p) && strchr(":/_-", *p) == NULL) return false;
    return true;
}

static struct result read_name(struct kmsd_call *c, struct kmsd_alias *ret) {
    const char *name = NULL;
    TRY(kmsd_get_str(c, "AliasName", 1, KMSD_ALIAS_BYTES - 1, &name));
    if (!has_alias_characters(name))
        REFUSE(c, VALIDATION,
               "1 validation error detected: Value '%s' at 'aliasName' failed to satisfy constraint: Member must "
               "satisfy regular expression pattern: ^[a-zA-Z0-9:/_-]+$",
               name);
    if (strncmp(name, "alias/", 6) != 0 || name[6] == '\0')
        REFUSE(c, VALIDATION,
               "Alias must start with the prefix \"alias/\". Please see "
               "https://docs.aws.amazon.com/kms/latest/developerguide/kms-alias.html");
    if (strncasecmp(name, "alias/aws/", 10) == 0)
        REFUSE(c, INVALID_ALIAS_NAME, "Aliases beginning with alias/aws/ are reserved.");
    *ret = (struct kmsd_alias){.created_ms = c->now_ms, .updated_ms = c->now_ms};
    snprintf(ret->account, sizeof ret->account, "%s", c->caller->account);
    snprintf(ret->name, sizeof ret->name, "%s", name);
    return OK;
}

static struct result refuse_missing(struct kmsd_call *c, const char *name) {
    AUTO_FREE char *arn = alias_arn(c, name);
    REFUSE(c, NOT_FOUND, "Alias %s is not found.", arn);
}

/* Beside the key's leave it takes that of the caller's identity policies for the alias. */
static struct result check_alias(struct kmsd_call *c, const char *name) {
    AUTO_FREE char *arn = alias_arn(c, name);
    return kmsd_check_identity(c, c->operation, arn);
}

/* The key that TargetKeyId names, ready to get an alias. */
static struct result find_target(struct kmsd_call *c, struct kmsd_alias *alias, struct kmsd_key **ret) {
    const char *target = NULL;
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(kmsd_get_str(c, "TargetKeyId", 1, KEY_ID_MAX, &target));
    TRY(kmsd_find_authorized(c, target, 0, NULL, &k));
    TRY(kmsd_check_not_pending(c, k));
    snprintf(alias->key_id, sizeof alias->key_id, "%s", k->family.id);
    *ret = TAKE(k);
    return OK;
}

struct result kmsd_create_alias(struct kmsd_call *c) {
    struct kmsd_alias alias = {0};
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(read_name(c, &alias));
    TRY(check_alias(c, alias.name));
    TRY(find_target(c, &alias, &k));
    struct result r = kmsd_aliases_create(kmsd_store_aliases(c->store), &alias, PER_KEY_MAX);
    AUTO_FREE char *arn = alias_arn(c, alias.name);
    if (r.code == ERR_EXISTS) REFUSE(c, ALREADY_EXISTS, "An alias with the name %s already exists", arn);
    if (r.code == ERR_TOO_LARGE) REFUSE(c, LIMIT_EXCEEDED, "A KMS key can have %d aliases: %s", PER_KEY_MAX, k->arn);
    return r;
}

/* The key that the alias names now: its policy is asked, too. */
static struct result find_current(struct kmsd_call *c, const struct kmsd_alias *alias, struct kmsd_key **ret) {
    struct kmsd_alias current;
    struct result r = kmsd_aliases_find(kmsd_store_aliases(c->store), alias->account, alias->name, &current);
    if (is_err(r)) {
        result_ignore(refuse_missing(c, alias->name));
        return r;
    }
    return kmsd_find_authorized(c, current.key_id, 0, NULL, ret);
}

/* Same type (symmetric, asymmetric, HMAC) and same usage. */
static bool is_alike(const struct kmsd_kind *a, const struct kmsd_kind *b) {
    return kmsd_kind_is_symmetric(a) == kmsd_kind_is_symmetric(b) && strcmp(a->usage, b->usage) == 0;
}

struct result kmsd_update_alias(struct kmsd_call *c) {
    struct kmsd_alias alias = {0};
    AUTO(kmsd_key_unref_auto) struct kmsd_key *from = NULL, *to = NULL;
    TRY(read_name(c, &alias));
    TRY(check_alias(c, alias.name));
    TRY(find_current(c, &alias, &from));
    TRY(find_target(c, &alias, &to));
    if (!is_alike(from->family.kind, to->family.kind))
        REFUSE(c, VALIDATION, "The alias %s can only be moved to a key of the same type and usage.", alias.name);
    struct result r = kmsd_aliases_point(kmsd_store_aliases(c->store), &alias);
    return r.code == ERR_NOT_FOUND ? refuse_missing(c, alias.name) : r;
}

struct result kmsd_delete_alias(struct kmsd_call *c) {
    struct kmsd_alias alias = {0};
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(read_name(c, &alias));
    TRY(check_alias(c, alias.name));
    TRY(find_current(c, &alias, &k));
    struct result r = kmsd_aliases_delete(kmsd_store_aliases(c->store), alias.account, alias.name);
    return r.code == ERR_NOT_FOUND ? refuse_missing(c, alias.name) : r;
}

struct result kmsd_list_aliases(struct kmsd_call *c) {
    const char *key_id = NULL;
    struct kmsd_page page = {.limit = 50};
    AUTO(kmsd_key_unref_auto) struct kmsd_key *k = NULL;
    TRY(kmsd_opt_str(c, "KeyId", 1, KEY_ID_MAX, &key_id));
    TRY(kmsd_read_page(c, 100, &page));
    if (strncmp(page.marker, "alias/", page.marker[0] == '\0' ? 0 : 6) != 0) REFUSE(c, INVALID_MARKER, NULL);
    if (key_id != NULL) TRY(kmsd_find_authorized(c, key_id, KMSD_IAM_ONLY, NULL, &k));
    AUTO_FREE struct kmsd_alias *list = NULL;
    size_t count = 0;
    bool more = false;
    kmsd_aliases_list(kmsd_store_aliases(c->store), c->caller->account, k != NULL ? k->family.id : NULL, page.marker,
                      page.limit, &list, &count, &more);
    json_t *aliases = json_array();
    for (size_t i = 0; i < count; i++) {
        AUTO_FREE char *arn = alias_arn(c, list[i].name);
        json_array_append_new(aliases, json_pack("{s:s, s:s, s:s, s:f, s:f}", "AliasName", list[i].name, "AliasArn",
                                                 arn, "TargetKeyId", list[i].key_id, "CreationDate",
                                                 (double)list[i].created_ms / 1000.0, "LastUpdatedDate",
                                                 (double)list[i].updated_ms / 1000.0));
    }
    kmsd_answer_page(c, "Aliases", aliases, more ? list[count - 1].name : NULL);
    return OK;
}
