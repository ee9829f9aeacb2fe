#include "config/config.h"

#include <string.h>

/* The number before a unit; the unit is what follows. */
static struct result split_number(struct slice text, const char *what, uint64_t *ret, struct slice *unit) {
    size_t digits = 0;
    while (digits < text.len && text.data[digits] >= '0' && text.data[digits] <= '9')
        digits++;
    CHECK(digits > 0, ERR_INVALID, "%s begins with a number, such as %s", what,
          what[0] == 'a' && what[2] == 'd' ? "10s" : "512MiB");
    TRY(slice_to_u64(slice_make(text.data, digits), UINT64_C(1) << 60, ret));
    *unit = slice_make(text.data + digits, text.len - digits);
    return OK;
}

struct unit {
    const char *name;
    int64_t factor;
};

static struct result scale(uint64_t number, struct slice unit, const struct unit *units, const char *help,
                           int64_t *ret) {
    for (; units->name; units++) {
        if (!slice_is(unit, units->name)) continue;
        int64_t product;
        CHECK(!__builtin_mul_overflow((int64_t)number, units->factor, &product), ERR_INVALID, "the value is too large");
        *ret = product;
        return OK;
    }
    FAIL(ERR_INVALID, "%s", help);
}

struct result config_parse_duration(struct slice text, int64_t *ret_ms) {
    static const struct unit units[] = {{"ms", 1},      {"s", 1000},     {"m", 60000},
                                        {"h", 3600000}, {"d", 86400000}, {NULL, 0}};
    uint64_t number;
    struct slice unit;
    TRY(split_number(text, "a duration", &number, &unit));
    return scale(number, unit, units, "a duration is a number with a unit: ms, s, m, h or d, such as 10s", ret_ms);
}

struct result config_parse_bytes(struct slice text, int64_t *ret_bytes) {
    static const struct unit units[] = {
        {"", 1}, {"B", 1}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", INT64_C(1) << 40}, {NULL, 0}};
    uint64_t number;
    struct slice unit;
    TRY(split_number(text, "a size", &number, &unit));
    return scale(number, unit, units, "a size is a number with a unit: KiB, MiB, GiB or TiB, such as 512MiB",
                 ret_bytes);
}
