/* Amazon Resource Names, above all those of KMS keys. Pure; thread-safe.
 * Forms: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html and
 * https://docs.aws.amazon.com/kms/latest/developerguide/concepts.html#key-id-key-ARN */
#ifndef LOCKSET_AWS_ARN_H
#define LOCKSET_AWS_ARN_H

#include "base/buf.h"

/* The six parts of arn:partition:service:region:account:resource, borrowed from the parsed text. The resource may hold
 * colons; region and account may be empty. */
struct arn {
    struct slice partition, service, region, account, resource;
};

/* INVALID unless the text has all six parts, with partition, service and resource not empty, and is made of printable
 * ASCII without spaces, at most 2,048 bytes. */
struct result arn_parse(struct slice text, struct arn *ret);
void arn_print(const struct arn *a, struct buf *out);

enum {
    ARN_PARTITION_BYTES = 16,
    ARN_REGION_BYTES = 33,
    ARN_ACCOUNT_BYTES = 13,
    ARN_KEY_ID_BYTES = 37,
    ARN_KMS_KEY_BYTES = 128, /* any printed KMS key ARN, terminator included */
};

/* A KMS key's ARN as a value of its own: nothing is borrowed, it can be copied and stored. */
struct arn_kms_key {
    char partition[ARN_PARTITION_BYTES]; /* "aws", "aws-cn" or "aws-us-gov" */
    char region[ARN_REGION_BYTES];
    char account[ARN_ACCOUNT_BYTES]; /* 12 digits */
    char id[ARN_KEY_ID_BYTES];       /* "mrk-" and 32 hex digits, or a UUID: 36 characters both */
    bool is_multi_region;
};

/* Which rule a text broke; ARN_RULE_NONE: it is a good key ARN. */
enum arn_rule {
    ARN_RULE_NONE,
    ARN_RULE_EMPTY,            /* nothing given */
    ARN_RULE_CHARACTERS,       /* spaces, control characters, bytes outside of ASCII, too long */
    ARN_RULE_ALIAS_NAME,       /* alias/x */
    ARN_RULE_BARE_KEY_ID,      /* 1234abcd-..., mrk-... */
    ARN_RULE_ALIAS_ARN,        /* arn:...:alias/x */
    ARN_RULE_NOT_AN_ARN,       /* not of the form arn:partition:service:region:account:resource */
    ARN_RULE_SERVICE,          /* an ARN, not of kms */
    ARN_RULE_PARTITION,        /* a partition Lockset does not know */
    ARN_RULE_REGION_FORM,      /* not a region's name */
    ARN_RULE_PARTITION_REGION, /* a region of another partition */
    ARN_RULE_ACCOUNT,          /* not 12 digits */
    ARN_RULE_RESOURCE,         /* neither key/ nor alias/ */
    ARN_RULE_KEY_ID,           /* key/ and something that is no key id */
    ARN_RULE_REGION,           /* another region than the organization's */
    ARN_RULE_SINGLE_REGION,    /* a single-Region key: no mrk- prefix */
    ARN_RULE_MAX
};

/* The full ARN of a KMS key, single-Region or Multi-Region. INVALID otherwise; the detail names the broken rule and
 * how to mend it, and quotes at most 48 bytes of the text. */
struct result arn_parse_kms_key(struct slice text, struct arn_kms_key *ret);

/* The strict check of a customer's key for an organization in org_region: a full key ARN, of that very region, of a
 * Multi-Region key. INVALID otherwise, detail as above. ret_rule, if not NULL, is set in any case; ret may be NULL. */
struct result arn_check_customer_key(struct slice text, const char *org_region, enum arn_rule *ret_rule,
                                     struct arn_kms_key *ret);

/* The name of a rule for machines: "alias_arn". */
const char *arn_rule_name(enum arn_rule rule);

/* The replica of a Multi-Region key in another region (or the same): same partition, account and id. INVALID for a
 * single-Region key, a region of another partition, or what is no region at all. */
struct result arn_replica(const struct arn_kms_key *key, const char *region, struct arn_kms_key *ret);

void arn_print_kms_key(const struct arn_kms_key *key, char ret[static ARN_KMS_KEY_BYTES]);

/* Has the form of a region's name (letters in two or three dash-joined words, then a number: us-west-2)? */
bool arn_is_region(struct slice region);
/* "aws", "aws-cn", "aws-us-gov"; NULL for regions of partitions Lockset does not know. */
const char *arn_partition_of_region(struct slice region);
/* Twelve digits? */
bool arn_is_account(struct slice account);

#endif
