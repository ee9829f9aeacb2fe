#include "aws/arn.h"

#include <string.h>

enum { ARN_MAX_BYTES = 2048, ARN_QUOTE_BYTES = 48 };

static bool is_lower_hex(uint8_t c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

static bool is_digit(uint8_t c) {
    return c >= '0' && c <= '9';
}

static bool has_only_arn_characters(struct slice s) {
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] <= ' ' || s.data[i] > '~') return false;
    return true;
}

/* Cuts the five leading parts off; what is left is the resource. */
static bool split(struct slice text, struct arn *ret) {
    struct slice scheme, rest;
    if (!slice_cut(text, ':', &scheme, &rest) || !slice_is(scheme, "arn")) return false;
    return slice_cut(rest, ':', &ret->partition, &rest) && slice_cut(rest, ':', &ret->service, &rest) &&
           slice_cut(rest, ':', &ret->region, &rest) && slice_cut(rest, ':', &ret->account, &ret->resource);
}

struct result arn_parse(struct slice text, struct arn *ret) {
    struct arn a;
    CHECK(text.len <= ARN_MAX_BYTES, ERR_INVALID, "an ARN has at most %d bytes", ARN_MAX_BYTES);
    CHECK(has_only_arn_characters(text), ERR_INVALID, "an ARN holds no spaces, control or non-ASCII characters");
    CHECK(split(text, &a), ERR_INVALID, "not of the form arn:partition:service:region:account:resource");
    CHECK(a.partition.len > 0 && a.service.len > 0 && a.resource.len > 0, ERR_INVALID,
          "partition, service and resource of an ARN can't be empty");
    *ret = a;
    return OK;
}

void arn_print(const struct arn *a, struct buf *out) {
    const struct slice parts[] = {a->partition, a->service, a->region, a->account, a->resource};
    buf_append_str(out, "arn");
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        buf_append_byte(out, ':');
        buf_append_slice(out, parts[i]);
    }
}

/* Two or three dash-joined words of letters, then a number (KMS's own pattern for regions). */
bool arn_is_region(struct slice region) {
    if (region.len == 0 || region.len >= ARN_REGION_BYTES) return false;
    struct slice head, rest = region;
    int words = 0;
    while (slice_cut(rest, '-', &head, &rest)) {
        if (head.len == 0) return false;
        for (size_t i = 0; i < head.len; i++)
            if (head.data[i] < 'a' || head.data[i] > 'z') return false;
        words++;
    }
    if (head.len == 0) return false;
    for (size_t i = 0; i < head.len; i++)
        if (!is_digit(head.data[i])) return false;
    return words == 2 || words == 3;
}

const char *arn_partition_of_region(struct slice region) {
    static const char *const unknown[] = {"us-iso-", "us-isob-", "us-isof-", "eu-isoe-", "eusc-"};
    if (!arn_is_region(region)) return NULL;
    for (size_t i = 0; i < ARRAY_LEN(unknown); i++)
        if (slice_starts_with(region, unknown[i])) return NULL;
    if (slice_starts_with(region, "cn-")) return "aws-cn";
    if (slice_starts_with(region, "us-gov-")) return "aws-us-gov";
    return "aws";
}

bool arn_is_account(struct slice account) {
    if (account.len != ARN_ACCOUNT_BYTES - 1) return false;
    for (size_t i = 0; i < account.len; i++)
        if (!is_digit(account.data[i])) return false;
    return true;
}

static bool is_multi_region_id(struct slice id) {
    if (id.len != ARN_KEY_ID_BYTES - 1 || !slice_starts_with(id, "mrk-")) return false;
    for (size_t i = 4; i < id.len; i++)
        if (!is_lower_hex(id.data[i])) return false;
    return true;
}

static bool is_single_region_id(struct slice id) {
    if (id.len != ARN_KEY_ID_BYTES - 1) return false;
    for (size_t i = 0; i < id.len; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? id.data[i] != '-' : !is_lower_hex(id.data[i])) return false;
    }
    return true;
}

/* A short printable quotation of what was given, for messages. */
struct quote {
    char text[ARN_QUOTE_BYTES + 4];
};

static struct quote quote(struct slice s) {
    struct quote q = {0};
    size_t n = s.len < ARN_QUOTE_BYTES ? s.len : ARN_QUOTE_BYTES;
    for (size_t i = 0; i < n; i++)
        q.text[i] = s.data[i] >= ' ' && s.data[i] <= '~' ? (char)s.data[i] : '?';
    if (s.len > n) mem_copy(q.text + n, "...", 3);
    return q;
}

#define FULL_ARN "arn:aws:kms:REGION:ACCOUNT:key/mrk-..."
#define BREAKS(rule, ...)                                                                                              \
    do {                                                                                                               \
        *ret_rule = (rule);                                                                                            \
        FAIL(ERR_INVALID, __VA_ARGS__);                                                                                \
    } while (0)

/* What is no ARN at all, but known by its looks. */
static struct result refuse_other_form(struct slice text, enum arn_rule *ret_rule) {
    if (text.len == 0)
        BREAKS(ARN_RULE_EMPTY,
               "no key given; give the full key ARN, " FULL_ARN " (or, for a service-managed key, leave "
               "it out)");
    if (text.len > ARN_MAX_BYTES || !has_only_arn_characters(text))
        BREAKS(
            ARN_RULE_CHARACTERS,
            "a key ARN is printable ASCII without spaces or line ends, at most %d bytes; copy it again, without what "
            "stands around it: '%s'",
            ARN_MAX_BYTES, quote(text).text);
    if (slice_starts_with(text, "alias/"))
        BREAKS(ARN_RULE_ALIAS_NAME,
               "'%s' is an alias name; aliases are not supported. Give the full key ARN, " FULL_ARN
               "; 'aws kms describe-key' prints it",
               quote(text).text);
    if (is_multi_region_id(text) || is_single_region_id(text))
        BREAKS(ARN_RULE_BARE_KEY_ID,
               "'%s' is a bare key id, without account and region. Give the full key ARN, " FULL_ARN
               "; 'aws kms describe-key' prints it",
               quote(text).text);
    BREAKS(ARN_RULE_NOT_AN_ARN, "'%s' is not an ARN. Give the full key ARN, " FULL_ARN, quote(text).text);
}

static struct result check_place(const struct arn *a, enum arn_rule *ret_rule) {
    if (!slice_is(a->service, "kms"))
        BREAKS(ARN_RULE_SERVICE, "'%s' is not KMS. Give the ARN of a KMS key, " FULL_ARN, quote(a->service).text);
    if (!slice_is(a->partition, "aws") && !slice_is(a->partition, "aws-cn") && !slice_is(a->partition, "aws-us-gov"))
        BREAKS(ARN_RULE_PARTITION, "unknown partition '%s': it must be aws, aws-cn or aws-us-gov",
               quote(a->partition).text);
    if (!arn_is_region(a->region))
        BREAKS(ARN_RULE_REGION_FORM,
               "'%s' is not the name of a region. Give the full key ARN, " FULL_ARN ", with a region such as us-west-2",
               quote(a->region).text);
    const char *partition = arn_partition_of_region(a->region);
    if (partition == NULL || !slice_is(a->partition, partition))
        BREAKS(ARN_RULE_PARTITION_REGION, "region '%s' is not in partition '%s' but in %s; copy the ARN from the key",
               quote(a->region).text, quote(a->partition).text, partition ? partition : "one that is not supported");
    if (!arn_is_account(a->account))
        BREAKS(ARN_RULE_ACCOUNT, "'%s' is not an AWS account id, which has 12 digits", quote(a->account).text);
    return OK;
}

static struct result check_resource(const struct arn *a, struct slice *ret_id, bool *ret_multi,
                                    enum arn_rule *ret_rule) {
    if (slice_starts_with(a->resource, "alias/"))
        BREAKS(ARN_RULE_ALIAS_ARN,
               "this is the ARN of an alias ('%s'); alias ARNs are not supported. Give the ARN of the key it points "
               "to, " FULL_ARN "; 'aws kms describe-key' prints it",
               quote(a->resource).text);
    struct slice kind, id;
    if (!slice_cut(a->resource, '/', &kind, &id) || !slice_is(kind, "key"))
        BREAKS(ARN_RULE_RESOURCE, "'%s' is not a key. The last part of a key ARN is key/ and the key's id: " FULL_ARN,
               quote(a->resource).text);
    *ret_multi = is_multi_region_id(id);
    if (!*ret_multi && slice_starts_with(id, "mrk-"))
        BREAKS(
            ARN_RULE_KEY_ID,
            "'%s' is not a Multi-Region key id, which is mrk- and 32 lower-case hexadecimal digits; copy the ARN from "
            "the key",
            quote(id).text);
    if (!*ret_multi && !is_single_region_id(id))
        BREAKS(ARN_RULE_KEY_ID,
               "'%s' is not a key id. A Multi-Region key's is mrk- and 32 lower-case hexadecimal digits: " FULL_ARN,
               quote(id).text);
    *ret_id = id;
    return OK;
}

static void copy_part(char *to, size_t size, struct slice from) {
    size_t n = from.len < size - 1 ? from.len : size - 1;
    mem_copy(to, from.data, n);
    to[n] = 0;
}

static struct result parse_key(struct slice text, enum arn_rule *ret_rule, struct arn_kms_key *ret) {
    struct arn a = {0};
    if (text.len == 0 || text.len > ARN_MAX_BYTES || !has_only_arn_characters(text) || !split(text, &a))
        return refuse_other_form(text, ret_rule);
    TRY(check_place(&a, ret_rule));
    struct slice id = {0};
    bool multi = false;
    TRY(check_resource(&a, &id, &multi, ret_rule));
    struct arn_kms_key key = {.is_multi_region = multi};
    copy_part(key.partition, sizeof key.partition, a.partition);
    copy_part(key.region, sizeof key.region, a.region);
    copy_part(key.account, sizeof key.account, a.account);
    copy_part(key.id, sizeof key.id, id);
    *ret = key;
    *ret_rule = ARN_RULE_NONE;
    return OK;
}

struct result arn_parse_kms_key(struct slice text, struct arn_kms_key *ret) {
    enum arn_rule rule;
    return parse_key(text, &rule, ret);
}

static struct result check_for_organization(const struct arn_kms_key *key, const char *org_region,
                                            enum arn_rule *ret_rule) {
    if (strcmp(key->region, org_region) != 0)
        BREAKS(ARN_RULE_REGION,
               "the key is in region %s, but the organization is in %s. Give the key's ARN in %s; where a Multi-Region "
               "key has no replica there yet, replicate it first",
               key->region, org_region, org_region);
    if (!key->is_multi_region)
        BREAKS(ARN_RULE_SINGLE_REGION,
               "'%s' is a single-Region key: its id lacks the prefix mrk-. A key can't be converted; create one with "
               "'Multi-Region key' under Regionality (aws kms create-key --multi-region)",
               key->id);
    return OK;
}

struct result arn_check_customer_key(struct slice text, const char *org_region, enum arn_rule *ret_rule,
                                     struct arn_kms_key *ret) {
    enum arn_rule unwanted;
    if (ret_rule == NULL) ret_rule = &unwanted;
    struct arn_kms_key key = {0};
    TRY(parse_key(text, ret_rule, &key));
    TRY(check_for_organization(&key, org_region, ret_rule));
    if (ret) *ret = key;
    return OK;
}

const char *arn_rule_name(enum arn_rule rule) {
    static const char *const names[ARN_RULE_MAX] = {
        [ARN_RULE_NONE] = "none",
        [ARN_RULE_EMPTY] = "empty",
        [ARN_RULE_CHARACTERS] = "characters",
        [ARN_RULE_ALIAS_NAME] = "alias_name",
        [ARN_RULE_BARE_KEY_ID] = "bare_key_id",
        [ARN_RULE_ALIAS_ARN] = "alias_arn",
        [ARN_RULE_NOT_AN_ARN] = "not_an_arn",
        [ARN_RULE_SERVICE] = "service",
        [ARN_RULE_PARTITION] = "partition",
        [ARN_RULE_REGION_FORM] = "region_form",
        [ARN_RULE_PARTITION_REGION] = "partition_region",
        [ARN_RULE_ACCOUNT] = "account",
        [ARN_RULE_RESOURCE] = "resource",
        [ARN_RULE_KEY_ID] = "key_id",
        [ARN_RULE_REGION] = "region",
        [ARN_RULE_SINGLE_REGION] = "single_region",
    };
    return (unsigned)rule < ARN_RULE_MAX ? names[rule] : "unknown";
}

struct result arn_replica(const struct arn_kms_key *key, const char *region, struct arn_kms_key *ret) {
    struct slice r = slice_str(region);
    CHECK(key->is_multi_region, ERR_INVALID, "key %s is a single-Region key and has no replicas", key->id);
    CHECK(arn_is_region(r), ERR_INVALID, "'%s' is not the name of a region", quote(r).text);
    const char *partition = arn_partition_of_region(r);
    CHECK(partition && strcmp(partition, key->partition) == 0, ERR_INVALID,
          "replicas of a key stay in its partition (%s), and region %s is not in it", key->partition, quote(r).text);
    struct arn_kms_key replica = *key;
    copy_part(replica.region, sizeof replica.region, r);
    *ret = replica;
    return OK;
}

static size_t put(char *to, size_t at, const char *text) {
    size_t n = strlen(text);
    mem_copy(to + at, text, n);
    return at + n;
}

void arn_print_kms_key(const struct arn_kms_key *key, char ret[static ARN_KMS_KEY_BYTES]) {
    _Static_assert(ARN_PARTITION_BYTES + ARN_REGION_BYTES + ARN_ACCOUNT_BYTES + ARN_KEY_ID_BYTES + 14 <=
                       ARN_KMS_KEY_BYTES,
                   "every key ARN fits");
    const char *const parts[] = {"arn:", key->partition, ":kms:", key->region, ":", key->account, ":key/", key->id};
    size_t at = 0;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        at = put(ret, at, parts[i]);
    ret[at] = 0;
}
