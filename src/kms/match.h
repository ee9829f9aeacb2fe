/* Wildcards of key policies: '*' stands for any run of characters, '?' for exactly one. Pure; thread-safe.
 * Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html */
#ifndef LOCKSET_KMS_MATCH_H
#define LOCKSET_KMS_MATCH_H

#include <stdbool.h>

/* Stands before a '*' or '?' that means itself. */
enum { KMSD_MATCH_LITERAL = 1 };

/* ignore_case concerns ASCII letters. '*' crosses colons and slashes. */
bool kmsd_match(const char *pattern, const char *text, bool ignore_case);
/* The same for each of an ARN's six parts by itself: a '*' never reaches over into the next part, except within the
 * resource, which may hold colons. False when either has fewer than six parts. */
bool kmsd_match_arn(const char *pattern, const char *text);

#endif
