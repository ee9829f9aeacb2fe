/* The condition operators: how each reads and compares values. All strict: what can't be read matches nothing.
 * Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html */
#include <arpa/inet.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "kms/match.h"
#include "kms/policy_model.h"

/* --- Text. --- */

static bool same(const char *wanted, const char *value) {
    return strcmp(wanted, value) == 0;
}

static bool same_ignoring_case(const char *wanted, const char *value) {
    return strcasecmp(wanted, value) == 0;
}

static bool like(const char *wanted, const char *value) {
    return kmsd_match(wanted, value, false);
}

static bool is_bool(const char *text) {
    return strcasecmp(text, "true") == 0 || strcasecmp(text, "false") == 0;
}

static bool is_base64(const char *text) {
    BUF_AUTO(bytes, strlen(text) + 1);
    return is_ok(base64_decode(slice_str(text), &bytes));
}

static bool same_bytes(const char *wanted, const char *value) {
    BUF_AUTO(a, strlen(wanted) + 1);
    BUF_AUTO(b, strlen(value) + 1);
    return is_ok(base64_decode(slice_str(wanted), &a)) && is_ok(base64_decode(slice_str(value), &b)) &&
           slice_equal(buf_slice(&a), buf_slice(&b));
}

/* --- Numbers: decimal, with a sign and a fraction if need be. --- */

static bool read_number(const char *text, double *ret) {
    const char *p = text + (*text == '-' || *text == '+');
    size_t digits = strspn(p, "0123456789");
    p += digits;
    if (digits > 0 && *p == '.') {
        size_t fraction = strspn(p + 1, "0123456789");
        if (fraction == 0) return false;
        p += 1 + fraction;
    }
    *ret = strtod(text, NULL);
    return digits > 0 && *p == '\0' && isfinite(*ret);
}

static bool is_number(const char *text) {
    double number;
    return read_number(text, &number);
}

/* value - wanted as -1, 0, 1; false: one of them is no number. */
static bool compare_numbers(const char *wanted, const char *value, int *ret) {
    double a, b;
    if (!read_number(wanted, &a) || !read_number(value, &b)) return false;
    *ret = b < a ? -1 : b > a;
    return true;
}

/* --- Dates: ISO 8601 in its day and second forms, or seconds since 1970. --- */

static bool take_number(const char **at, size_t digits, int *ret) {
    int number = 0;
    for (size_t i = 0; i < digits; i++) {
        if ((*at)[i] < '0' || (*at)[i] > '9') return false;
        number = number * 10 + ((*at)[i] - '0');
    }
    *at += digits;
    *ret = number;
    return true;
}

static bool take(const char **at, char c) {
    if (**at != c) return false;
    (*at)++;
    return true;
}

/* "Z", "+hh:mm", "-hhmm" or "+hh" */
static bool take_zone(const char **at, int *ret_seconds) {
    *ret_seconds = 0;
    if (take(at, 'Z')) return true;
    int sign = **at == '-' ? -1 : 1, hours, minutes = 0;
    if (!take(at, '+') && !take(at, '-')) return false;
    if (!take_number(at, 2, &hours)) return false;
    bool colon = take(at, ':');
    if ((colon || **at != '\0') && !take_number(at, 2, &minutes)) return false;
    if (hours > 14 || minutes > 59) return false;
    *ret_seconds = sign * (hours * 3600 + minutes * 60);
    return true;
}

static bool take_time(const char **at, struct tm *t, double *ret_fraction) {
    if (!take_number(at, 2, &t->tm_hour) || !take(at, ':') || !take_number(at, 2, &t->tm_min)) return false;
    if (take(at, ':') && !take_number(at, 2, &t->tm_sec)) return false;
    if (take(at, '.')) {
        size_t digits = strspn(*at, "0123456789");
        double scale = 0.1;
        for (size_t i = 0; i < digits; i++, scale /= 10)
            *ret_fraction += ((*at)[i] - '0') * scale;
        *at += digits;
        if (digits == 0) return false;
    }
    return t->tm_hour <= 23 && t->tm_min <= 59 && t->tm_sec <= 60;
}

static bool read_date(const char *text, double *ret) {
    if (read_number(text, ret)) return true;
    struct tm t = {.tm_mday = 1};
    const char *at = text;
    double fraction = 0;
    int zone = 0;
    if (!take_number(&at, 4, &t.tm_year) || !take(&at, '-') || !take_number(&at, 2, &t.tm_mon) || !take(&at, '-') ||
        !take_number(&at, 2, &t.tm_mday))
        return false;
    if (take(&at, 'T') && (!take_time(&at, &t, &fraction) || !take_zone(&at, &zone))) return false;
    int day = t.tm_mday;
    t.tm_year -= 1900;
    t.tm_mon -= 1;
    if (*at != '\0' || t.tm_mon < 0 || t.tm_mon > 11 || day < 1) return false;
    time_t seconds = timegm(&t);
    *ret = (double)seconds - zone + fraction;
    return t.tm_mday == day || t.tm_sec == 60; // no 30th of February
}

static bool is_date(const char *text) {
    double date;
    return read_date(text, &date);
}

static bool compare_dates(const char *wanted, const char *value, int *ret) {
    double a, b;
    if (!read_date(wanted, &a) || !read_date(value, &b)) return false;
    *ret = b < a ? -1 : b > a;
    return true;
}

#define ORDERINGS(kind)                                                                                                \
    static bool kind##_equals(const char *wanted, const char *value) {                                                 \
        int order;                                                                                                     \
        return compare_##kind##s(wanted, value, &order) && order == 0;                                                 \
    }                                                                                                                  \
    static bool kind##_less(const char *wanted, const char *value) {                                                   \
        int order;                                                                                                     \
        return compare_##kind##s(wanted, value, &order) && order < 0;                                                  \
    }                                                                                                                  \
    static bool kind##_at_most(const char *wanted, const char *value) {                                                \
        int order;                                                                                                     \
        return compare_##kind##s(wanted, value, &order) && order <= 0;                                                 \
    }                                                                                                                  \
    static bool kind##_greater(const char *wanted, const char *value) {                                                \
        int order;                                                                                                     \
        return compare_##kind##s(wanted, value, &order) && order > 0;                                                  \
    }                                                                                                                  \
    static bool kind##_at_least(const char *wanted, const char *value) {                                               \
        int order;                                                                                                     \
        return compare_##kind##s(wanted, value, &order) && order >= 0;                                                 \
    }
ORDERINGS(number)
ORDERINGS(date)

/* --- Addresses: IPv4 or IPv6, alone or as a CIDR block. IPv4 within IPv6 counts as IPv4. --- */

struct block {
    uint8_t bytes[16];
    size_t len;    /* 4 or 16 */
    unsigned bits; /* of the prefix */
};

static bool read_block(const char *text, struct block *ret) {
    struct slice address, prefix;
    bool has_prefix = slice_cut(slice_str(text), '/', &address, &prefix);
    AUTO_FREE char *copy = slice_to_str(address);
    *ret = (struct block){0};
    static const uint8_t mapped[12] = {[10] = 0xFF, [11] = 0xFF};
    if (inet_pton(AF_INET, copy, ret->bytes) == 1) {
        ret->len = 4;
    } else if (inet_pton(AF_INET6, copy, ret->bytes) == 1) {
        ret->len = 16;
        if (!has_prefix && mem_order(ret->bytes, mapped, sizeof mapped) == 0) {
            mem_move(ret->bytes, ret->bytes + 12, 4);
            ret->len = 4;
        }
    } else {
        return false;
    }
    uint64_t bits = ret->len * 8;
    if (has_prefix && is_err(slice_to_u64(prefix, ret->len * 8, &bits))) return false;
    ret->bits = (unsigned)bits;
    return true;
}

static bool is_address(const char *text) {
    struct block block;
    return read_block(text, &block);
}

static bool in_block(const char *wanted, const char *value) {
    struct block block, address;
    if (!read_block(wanted, &block) || !read_block(value, &address) || block.len != address.len) return false;
    for (unsigned i = 0; i < block.bits; i++) {
        uint8_t mask = (uint8_t)(0x80u >> (i % 8));
        if ((block.bytes[i / 8] & mask) != (address.bytes[i / 8] & mask)) return false;
    }
    return true;
}

/* --- The table. --- */

static const struct kmsd_condition_operator operators[] = {
    {"StringEquals", false, false, false, NULL, same},
    {"StringNotEquals", true, false, false, NULL, same},
    {"StringEqualsIgnoreCase", false, false, false, NULL, same_ignoring_case},
    {"StringNotEqualsIgnoreCase", true, false, false, NULL, same_ignoring_case},
    {"StringLike", false, false, true, NULL, like},
    {"StringNotLike", true, false, true, NULL, like},
    {"NumericEquals", false, false, false, is_number, number_equals},
    {"NumericNotEquals", true, false, false, is_number, number_equals},
    {"NumericLessThan", false, false, false, is_number, number_less},
    {"NumericLessThanEquals", false, false, false, is_number, number_at_most},
    {"NumericGreaterThan", false, false, false, is_number, number_greater},
    {"NumericGreaterThanEquals", false, false, false, is_number, number_at_least},
    {"DateEquals", false, false, false, is_date, date_equals},
    {"DateNotEquals", true, false, false, is_date, date_equals},
    {"DateLessThan", false, false, false, is_date, date_less},
    {"DateLessThanEquals", false, false, false, is_date, date_at_most},
    {"DateGreaterThan", false, false, false, is_date, date_greater},
    {"DateGreaterThanEquals", false, false, false, is_date, date_at_least},
    {"Bool", false, false, false, is_bool, same_ignoring_case},
    {"BinaryEquals", false, false, false, is_base64, same_bytes},
    {"IpAddress", false, false, false, is_address, in_block},
    {"NotIpAddress", true, false, false, is_address, in_block},
    {"ArnEquals", false, false, true, NULL, kmsd_match_arn},
    {"ArnNotEquals", true, false, true, NULL, kmsd_match_arn},
    {"ArnLike", false, false, true, NULL, kmsd_match_arn},
    {"ArnNotLike", true, false, true, NULL, kmsd_match_arn},
    {"Null", false, true, false, is_bool, NULL},
};

const struct kmsd_condition_operator *kmsd_condition_operator_find(struct slice name) {
    for (size_t i = 0; i < ARRAY_LEN(operators); i++)
        if (slice_is(name, operators[i].name)) return &operators[i];
    return NULL;
}
