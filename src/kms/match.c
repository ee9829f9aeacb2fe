#include "kms/match.h"

#include <string.h>

#include "base/mem.h"

static char fold(char c, bool ignore_case) {
    return ignore_case && c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static const char *next_character(const char *text) {
    text++;
    while (((unsigned char)*text & 0xC0) == 0x80) // the rest of a UTF-8 character
        text++;
    return text;
}

bool kmsd_match(const char *pattern, const char *text, bool ignore_case) {
    const char *star = NULL, *resume = NULL;
    while (*text != '\0') {
        if (*pattern == KMSD_MATCH_LITERAL && pattern[1] == *text) {
            pattern += 2;
            text++;
        } else if (*pattern == '*') {
            star = pattern++;
            resume = text;
        } else if (*pattern == '?') {
            pattern++;
            text = next_character(text);
        } else if (*pattern != '\0' && fold(*pattern, ignore_case) == fold(*text, ignore_case)) {
            pattern++;
            text++;
        } else if (star != NULL) {
            pattern = star + 1;
            text = resume = next_character(resume);
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

enum { ARN_PARTS = 6 };

static bool split_arn(char *text, char *parts[static ARN_PARTS]) {
    for (int i = 0; i < ARN_PARTS - 1; i++) {
        parts[i] = text;
        char *colon = strchr(text, ':');
        if (colon == NULL) return false;
        *colon = '\0';
        text = colon + 1;
    }
    parts[ARN_PARTS - 1] = text;
    return true;
}

bool kmsd_match_arn(const char *pattern, const char *text) {
    AUTO_FREE char *pattern_copy = str_dup(pattern);
    AUTO_FREE char *text_copy = str_dup(text);
    char *pattern_parts[ARN_PARTS], *text_parts[ARN_PARTS];
    if (!split_arn(pattern_copy, pattern_parts) || !split_arn(text_copy, text_parts)) return false;
    for (int i = 0; i < ARN_PARTS; i++)
        if (!kmsd_match(pattern_parts[i], text_parts[i], false)) return false;
    return true;
}
