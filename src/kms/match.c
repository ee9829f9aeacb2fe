#include "kms/match.h"

#include <stdint.h>
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

static bool match_short(const char *pattern, const char *text, bool ignore_case) {
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

/* --- Long ones: going back to the last star would take the product of both lengths. Here a bit for each place in the
 * pattern says whether the text so far can have got there, and a byte of the text moves 64 of them at once. --- */

enum { LONG_PRODUCT = 1 << 20, BYTES = 256, WORD_BITS = 64 };

struct places {
    size_t count, words; /* count: what the pattern holds besides stars */
    uint64_t *takes;     /* [byte][word]: from this place a byte leads to the next */
    uint64_t *star;      /* a star stands here: any byte stays */
    uint64_t *inside;    /* the same, or a '?' was just met: the rest of its UTF-8 character stays */
    uint64_t *reached;
};

static void set_bit(uint64_t *bits, size_t at) {
    bits[at / WORD_BITS] |= (uint64_t)1 << (at % WORD_BITS);
}

static bool is_continuation(unsigned byte) {
    return (byte & 0xC0) == 0x80;
}

/* Enters what stands at the pattern, and returns what comes behind it. */
static const char *enter(struct places *p, const char *pattern, bool ignore_case) {
    if (*pattern == '*') {
        set_bit(p->star, p->count);
        set_bit(p->inside, p->count);
        return pattern + 1;
    }
    bool any = *pattern == '?';
    if (*pattern == KMSD_MATCH_LITERAL && (pattern[1] == '*' || pattern[1] == '?')) pattern++;
    char wanted = fold(*pattern, ignore_case);
    for (unsigned byte = 1; byte < BYTES; byte++)
        if (any ? !is_continuation(byte) : fold((char)byte, ignore_case) == wanted)
            set_bit(p->takes + byte * p->words, p->count);
    p->count++;
    if (any) set_bit(p->inside, p->count);
    return pattern + 1;
}

static void step(struct places *p, unsigned char byte) {
    const uint64_t *takes = p->takes + byte * p->words, *stays = is_continuation(byte) ? p->inside : p->star;
    uint64_t carried = 0;
    for (size_t i = 0; i < p->words; i++) {
        uint64_t here = p->reached[i], moved = here & takes[i];
        p->reached[i] = moved << 1 | carried | (here & stays[i]);
        carried = moved >> (WORD_BITS - 1);
    }
}

static bool match_long(const char *pattern, size_t pattern_len, const char *text, bool ignore_case) {
    struct places p = {.words = pattern_len / WORD_BITS + 1};
    AUTO_FREE uint64_t *bits = mem_alloc_array((BYTES + 3) * p.words, sizeof *bits);
    p.takes = bits;
    p.star = bits + BYTES * p.words;
    p.inside = p.star + p.words;
    p.reached = p.inside + p.words;
    while (*pattern != '\0')
        pattern = enter(&p, pattern, ignore_case);
    set_bit(p.reached, 0);
    for (; *text != '\0'; text++)
        step(&p, (unsigned char)*text);
    return (p.reached[p.count / WORD_BITS] >> (p.count % WORD_BITS) & 1) != 0;
}

bool kmsd_match(const char *pattern, const char *text, bool ignore_case) {
    size_t pattern_len = strlen(pattern), text_len = strlen(text);
    if (pattern_len == 0 || text_len <= LONG_PRODUCT / pattern_len) return match_short(pattern, text, ignore_case);
    return match_long(pattern, pattern_len, text, ignore_case);
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
