#include "gateway/s3_condition.h"

#include <string.h>

#include "base/clock.h"

static struct slice trim(struct slice s) {
    while (s.len > 0 && (s.data[0] == ' ' || s.data[0] == '\t'))
        s = slice_make(s.data + 1, s.len - 1);
    while (s.len > 0 && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t'))
        s.len--;
    return s;
}

static struct slice bare(struct slice tag) {
    tag = trim(tag);
    if (slice_starts_with(tag, "W/")) tag = slice_make(tag.data + 2, tag.len - 2);
    if (tag.len >= 2 && tag.data[0] == '"' && tag.data[tag.len - 1] == '"') tag = slice_make(tag.data + 1, tag.len - 2);
    return tag;
}

bool s3_etag_listed(const char *list, const char *etag) {
    struct slice rest = slice_str(list), one;
    while (rest.len > 0) {
        slice_cut(rest, ',', &one, &rest);
        one = bare(one);
        if (slice_is(one, "*") || slice_is(one, etag)) return true;
    }
    return false;
}

/* Whole seconds, since that is all a header can say. False if the date can't be parsed. */
static bool date_seconds(const char *header, int64_t *ret) {
    int64_t ms = 0;
    if (is_err(clock_parse_http(slice_str(header), &ms))) return false;
    *ret = ms / 1000;
    return true;
}

enum s3_verdict s3_conditions_judge(const struct s3_conditions *c, const char *etag, int64_t modified_unix_ms) {
    int64_t seconds = 0, modified = modified_unix_ms / 1000;
    if (c->if_match != NULL) {
        if (!s3_etag_listed(c->if_match, etag)) return S3_PRECONDITION;
    } else if (c->if_unmodified_since != NULL && date_seconds(c->if_unmodified_since, &seconds) && modified > seconds) {
        return S3_PRECONDITION;
    }
    if (c->if_none_match != NULL) {
        if (s3_etag_listed(c->if_none_match, etag)) return S3_NOT_MODIFIED;
    } else if (c->if_modified_since != NULL && date_seconds(c->if_modified_since, &seconds) && modified <= seconds) {
        return S3_NOT_MODIFIED;
    }
    return S3_GO;
}

bool s3_if_range_holds(const char *header, const char *etag, int64_t modified_unix_ms) {
    if (header == NULL) return true;
    int64_t seconds = 0;
    if (date_seconds(header, &seconds)) return modified_unix_ms / 1000 == seconds;
    return slice_is(bare(slice_str(header)), etag);
}
