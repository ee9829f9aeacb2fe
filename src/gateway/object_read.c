/* GetObject and HeadObject. What leaves was verified, and the lease asked, chunk by chunk; once the status is sent, the
 * only way to say "no" is to break the connection off. */
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/log.h"
#include "gateway/exchange.h"
#include "gateway/s3_condition.h"
#include "gateway/s3_range.h"

static void add_object_fields(struct exchange *x, const struct store_info *info, struct fields *f) {
    char date[CLOCK_ISO_BYTES];
    clock_format_http(info->mtime_ms, date);
    fields_add_copy(f, "Last-Modified", date);
    exchange_add_etag(f, &info->etag);
    fields_add(f, "Accept-Ranges", "bytes");
    exchange_add_encryption(x, f);
}

static bool is_plain_value(const char *value) {
    for (const char *p = value; *p != '\0'; p++)
        if ((unsigned char)*p < 0x20 || (unsigned char)*p == 0x7f) return false;
    return true;
}

/* A checksum of the whole object is told with the whole object, when asked for. */
static bool tells_checksums(const struct exchange *x, bool partial) {
    const char *mode = exchange_header(x, "x-amz-checksum-mode");
    return !partial && mode != NULL && strcasecmp(mode, "ENABLED") == 0;
}

/* Stored content headers, unless response-... overrides them, and user metadata. False: answered. */
static bool add_metadata(struct exchange *x, const struct store_info *info, bool partial, struct fields *f) {
    static const char prefix[] = "response-";
    bool has_type = false;
    for (size_t i = 0; i < x->request.param_count; i++) {
        const struct s3_param *p = &x->request.params[i];
        if (strncmp(p->name, prefix, sizeof prefix - 1) != 0) continue;
        if (!is_plain_value(p->value)) {
            exchange_fail(x, S3_ERR_INVALID_ARGUMENT, "%.64s holds a control character", p->name);
            return false;
        }
        fields_add(f, p->name + sizeof prefix - 1, p->value);
        has_type = has_type || strcmp(p->name, "response-content-type") == 0;
    }
    for (size_t i = 0; i < info->field_count; i++) {
        const struct store_field *field = &info->fields[i];
        bool overridden = false;
        for (size_t j = 0; j < f->count; j++)
            overridden = overridden || (strcasecmp(f->list[j].name, field->name) == 0 &&
                                        strncasecmp(field->name, "x-amz-meta-", 11) != 0);
        if (overridden) continue;
        enum s3_checksum_kind kind;
        if (s3_checksum_of_header(field->name, &kind)) {
            if (!tells_checksums(x, partial)) continue;
            fields_add(f, "x-amz-checksum-type", s3_checksum_type(field->value));
        }
        has_type = has_type || strcmp(field->name, "content-type") == 0;
        fields_add_copy(f, field->name, field->value);
    }
    if (!has_type) fields_add(f, "Content-Type", "binary/octet-stream");
    return true;
}

static ssize_t stream(void *arg, uint64_t offset, uint8_t *to, size_t max) {
    struct exchange *x = arg;
    if (offset < x->ahead.len) {
        struct result lease = lease_check(x->settings->lease);
        if (is_err(lease)) return -1;
        size_t n = x->ahead.len - (size_t)offset < max ? x->ahead.len - (size_t)offset : max;
        mem_copy(to, x->ahead.data + offset, n);
        return (ssize_t)n;
    }
    size_t n = 0;
    struct result r = store_reader_read(x->reader, x->range_offset + offset, to, max, &n);
    if (is_ok(r) && n > 0) return (ssize_t)n;
    log_warn("object.broken_off", KV("request", x->id), KV("error", is_ok(r) ? "END" : err_name(r.code)),
             KV("detail", is_ok(r) ? "" : err_detail()));
    return -1;
}

static void stream_closed(void *arg) {
    struct exchange *x = arg;
    x->reader = store_reader_free(x->reader);
    buf_clear(&x->ahead);
}

/* Reads up to the end of the chunk in which the range begins, so that a bad object is an error and no broken answer. */
static struct result read_ahead(struct exchange *x, uint64_t length) {
    size_t n = (size_t)(LEASE_CHUNK_BYTES - x->range_offset % LEASE_CHUNK_BYTES);
    if (length <= LEASE_CHUNK_BYTES || length < n) n = (size_t)length;
    while (x->ahead.len < n) {
        size_t got = 0;
        uint8_t *to = buf_reserve(&x->ahead, n - x->ahead.len);
        CHECK(to != NULL, ERR_INTERNAL, "no room to read ahead");
        TRY(store_reader_read(x->reader, x->range_offset + x->ahead.len, to, n - x->ahead.len, &got));
        CHECK(got > 0, ERR_CORRUPT, "the object ends before its size says");
        x->ahead.len += got;
    }
    return OK;
}

static void send_range(struct exchange *x, int status, struct fields *f, uint64_t length) {
    exchange_add_id(x, f);
    if (x->request.operation == S3_HEAD_OBJECT) {
        http_answer_stream(x->http, status, f->list, (int64_t)length, stream, stream_closed, x);
        return;
    }
    struct result r = read_ahead(x, length);
    if (is_err(r)) {
        exchange_fail_result(x, r, S3_ERR_NO_SUCH_KEY);
    } else if (x->ahead.len == length) {
        http_answer(x->http, status, f->list, buf_slice(&x->ahead));
    } else {
        http_answer_stream(x->http, status, f->list, (int64_t)length, stream, stream_closed, x);
    }
}

static void not_modified(struct exchange *x, const struct store_info *info) {
    FIELDS_AUTO(f);
    add_object_fields(x, info, &f);
    exchange_answer_empty(x, 304, &f);
}

/* What is asked for: all, a range, or a part. False: answered. */
static bool choose_range(struct exchange *x, const struct store_info *info, struct fields *f, uint64_t *ret_offset,
                         uint64_t *ret_length, bool *ret_partial) {
    struct s3_refusal refusal;
    uint64_t part = 0;
    char etag[STORE_ETAG_TEXT_BYTES];
    store_etag_format(&info->etag, etag);
    if (!s3_param_number(&x->request, "partNumber", 0, STORE_PART_MAX, false, &part, &refusal)) {
        exchange_refuse(x, &refusal);
        return false;
    }
    const char *range_header = exchange_header(x, "range");
    if (s3_param(&x->request, "partNumber") != NULL) {
        unsigned count = 0;
        struct result r = store_reader_part(x->reader, (unsigned)part, ret_offset, ret_length, &count);
        if (is_err(r) || range_header != NULL) {
            exchange_fail(x, is_err(r) ? S3_ERR_INVALID_RANGE : S3_ERR_INVALID_REQUEST, "%s",
                          is_err(r) ? "the object has no such part" : "a range and a part can't be asked for at once");
            return false;
        }
        if (info->etag.parts > 0) fields_add_format(f, "x-amz-mp-parts-count", "%u", count);
        *ret_partial = true;
        return true;
    }
    struct s3_range range = s3_range_parse(range_header);
    if (!s3_if_range_holds(exchange_header(x, "if-range"), etag, info->mtime_ms)) range = s3_range_parse(NULL);
    *ret_partial = range.kind != S3_RANGE_ALL;
    struct result r = s3_range_resolve(range, info->size, ret_offset, ret_length);
    if (is_ok(r)) return true;
    exchange_fail_result(x, r, S3_ERR_NO_SUCH_KEY);
    return false;
}

void object_get(struct exchange *x) {
    struct result r = store_reader_new(x->settings->store, x->request.key, &x->reader);
    if (is_err(r)) {
        exchange_fail_result(x, r, S3_ERR_NO_SUCH_KEY);
        return;
    }
    const struct store_info *info = store_reader_info(x->reader);
    const struct s3_conditions conditions = {
        .if_match = exchange_header(x, "if-match"),
        .if_none_match = exchange_header(x, "if-none-match"),
        .if_modified_since = exchange_header(x, "if-modified-since"),
        .if_unmodified_since = exchange_header(x, "if-unmodified-since"),
    };
    char etag[STORE_ETAG_TEXT_BYTES];
    store_etag_format(&info->etag, etag);
    enum s3_verdict verdict = s3_conditions_judge(&conditions, etag, info->mtime_ms);
    if (verdict == S3_NOT_MODIFIED) return not_modified(x, info);
    if (verdict == S3_PRECONDITION) {
        exchange_fail(x, S3_ERR_PRECONDITION_FAILED, "%s", s3_error_text(S3_ERR_PRECONDITION_FAILED));
        return;
    }
    FIELDS_AUTO(f);
    uint64_t offset = 0, length = 0;
    bool partial = false;
    if (!choose_range(x, info, &f, &offset, &length, &partial)) return;
    if (!add_metadata(x, info, partial, &f)) return;
    add_object_fields(x, info, &f);
    if (partial && length > 0)
        fields_add_format(&f, "Content-Range", "bytes %llu-%llu/%llu", (unsigned long long)offset,
                          (unsigned long long)(offset + length - 1), (unsigned long long)info->size);
    x->range_offset = offset;
    send_range(x, partial && length > 0 ? 206 : 200, &f, length);
}
