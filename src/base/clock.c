#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
static const char weekdays[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};

static int64_t now_ns(clockid_t id) {
    struct timespec t = {0};
    clock_gettime(id, &t);
    return t.tv_sec * NS_PER_S + t.tv_nsec;
}

int64_t clock_boottime_ns(void) {
    return now_ns(CLOCK_BOOTTIME);
}

int64_t clock_unix_ms(void) {
    return now_ns(CLOCK_REALTIME) / NS_PER_MS;
}

int64_t clock_unix_us(void) {
    return now_ns(CLOCK_REALTIME) / 1000;
}

void clock_sleep_ms(int64_t ms) {
    if (ms <= 0) return;
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * NS_PER_MS};
    nanosleep(&t, NULL);
}

/* The parts of a time, each within the bounds that the formats below have room for. */
struct parts {
    unsigned year, month, day, hour, minute, second, ms, weekday;
};

static struct parts parts_of(int64_t unix_ms) {
    /* Years 0000 to 9999. */
    static const int64_t first = -62167219200000, last = 253402300799999;
    if (unix_ms < first) unix_ms = first;
    if (unix_ms > last) unix_ms = last;
    int64_t ms = (unix_ms % 1000 + 1000) % 1000;
    time_t seconds = (unix_ms - ms) / 1000;
    struct tm tm = {0};
    gmtime_r(&seconds, &tm);
    return (struct parts){.year = (unsigned)(tm.tm_year + 1900) % 10000,
                          .month = (unsigned)(tm.tm_mon + 1) % 100,
                          .day = (unsigned)tm.tm_mday % 100,
                          .hour = (unsigned)tm.tm_hour % 100,
                          .minute = (unsigned)tm.tm_min % 100,
                          .second = (unsigned)tm.tm_sec % 100,
                          .ms = (unsigned)ms,
                          .weekday = (unsigned)tm.tm_wday % 7};
}

void clock_format_iso(int64_t unix_ms, char ret[static CLOCK_ISO_BYTES]) {
    struct parts p = parts_of(unix_ms);
    snprintf(ret, CLOCK_ISO_BYTES, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", p.year, p.month, p.day, p.hour, p.minute,
             p.second, p.ms);
}

void clock_format_amz(int64_t unix_ms, char ret[static CLOCK_AMZ_BYTES]) {
    struct parts p = parts_of(unix_ms);
    snprintf(ret, CLOCK_AMZ_BYTES, "%04u%02u%02uT%02u%02u%02uZ", p.year, p.month, p.day, p.hour, p.minute, p.second);
}

void clock_format_http(int64_t unix_ms, char ret[static CLOCK_ISO_BYTES]) {
    struct parts p = parts_of(unix_ms);
    snprintf(ret, CLOCK_ISO_BYTES, "%s, %02u %s %04u %02u:%02u:%02u GMT", weekdays[p.weekday], p.day,
             months[(p.month + 11) % 12], p.year, p.hour, p.minute, p.second);
}

/* Whether text has the form of the pattern, in which '0' stands for a digit, '?' for anything. */
static bool has_form(struct slice text, const char *pattern) {
    if (text.len != slice_str(pattern).len) return false;
    for (size_t i = 0; i < text.len; i++) {
        bool digit = text.data[i] >= '0' && text.data[i] <= '9';
        if (pattern[i] == '0' ? !digit : pattern[i] != '?' && text.data[i] != (uint8_t)pattern[i]) return false;
    }
    return true;
}

static int number_at(struct slice text, size_t at, size_t digits) {
    int value = 0;
    for (size_t i = 0; i < digits; i++)
        value = value * 10 + (text.data[at + i] - '0');
    return value;
}

static struct result unix_ms_of(struct tm tm, int64_t *ret_unix_ms, int *ret_weekday) {
    struct tm given = tm;
    time_t seconds = timegm(&tm);
    /* timegm turns February 30 into March 1 or 2: what comes back must be what was given. */
    bool real = tm.tm_mday == given.tm_mday && tm.tm_mon == given.tm_mon && tm.tm_year == given.tm_year &&
                tm.tm_hour == given.tm_hour && tm.tm_min == given.tm_min && tm.tm_sec == given.tm_sec;
    CHECK(real, ERR_INVALID, "a date or time does not exist");
    *ret_unix_ms = (int64_t)seconds * 1000;
    if (ret_weekday) *ret_weekday = tm.tm_wday;
    return OK;
}

struct result clock_parse_amz(struct slice text, int64_t *ret_unix_ms) {
    CHECK(has_form(text, "00000000T000000Z"), ERR_INVALID, "a time must look like 20261124T035244Z");
    struct tm tm = {.tm_year = number_at(text, 0, 4) - 1900,
                    .tm_mon = number_at(text, 4, 2) - 1,
                    .tm_mday = number_at(text, 6, 2),
                    .tm_hour = number_at(text, 9, 2),
                    .tm_min = number_at(text, 11, 2),
                    .tm_sec = number_at(text, 13, 2)};
    return unix_ms_of(tm, ret_unix_ms, NULL);
}

struct result clock_parse_http(struct slice text, int64_t *ret_unix_ms) {
    static const char wanted[] = "a time must look like Tue, 24 Nov 2026 03:52:44 GMT";
    CHECK(has_form(text, "???, 00 ??? 0000 00:00:00 GMT"), ERR_INVALID, "%s", wanted);
    int month = 0, weekday = 0;
    while (month < 12 && !slice_is(slice_make(text.data + 8, 3), months[month]))
        month++;
    CHECK(month < 12, ERR_INVALID, "%s", wanted);
    struct tm tm = {.tm_year = number_at(text, 12, 4) - 1900,
                    .tm_mon = month,
                    .tm_mday = number_at(text, 5, 2),
                    .tm_hour = number_at(text, 17, 2),
                    .tm_min = number_at(text, 20, 2),
                    .tm_sec = number_at(text, 23, 2)};
    int64_t unix_ms;
    TRY(unix_ms_of(tm, &unix_ms, &weekday));
    CHECK(slice_is(slice_make(text.data, 3), weekdays[weekday]), ERR_INVALID, "the weekday is not that of the date");
    *ret_unix_ms = unix_ms;
    return OK;
}
