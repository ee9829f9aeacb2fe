/* Answers: headers, errors, documents. */
#include <stdarg.h>
#include <stdio.h>

#include "base/log.h"
#include "gateway/exchange.h"

void fields_add(struct fields *f, const char *name, const char *value) {
    if (f->count + 2 > f->capacity) {
        f->capacity = f->capacity == 0 ? 16 : f->capacity * 2;
        f->list = mem_resize(f->list, f->capacity * sizeof *f->list);
    }
    f->list[f->count++] = (struct http_field){name, value};
    f->list[f->count] = (struct http_field){NULL, NULL};
}

/* Takes a text over, to be freed with the fields. */
static const char *own(struct fields *f, char *text) {
    if (f->owned_count == f->owned_capacity) {
        f->owned_capacity = f->owned_capacity == 0 ? 8 : f->owned_capacity * 2;
        f->owned = mem_resize(f->owned, f->owned_capacity * sizeof *f->owned);
    }
    f->owned[f->owned_count++] = text;
    return text;
}

void fields_add_format(struct fields *f, const char *name, const char *format, ...) {
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fields_add(f, name, own(f, str_dup(text)));
}

void fields_add_copy(struct fields *f, const char *name, const char *value) {
    fields_add(f, own(f, str_dup(name)), own(f, str_dup(value)));
}

void fields_done(struct fields *f) {
    for (size_t i = 0; i < f->owned_count; i++)
        mem_free(f->owned[i]);
    mem_free(f->owned);
    mem_free(f->list);
    *f = (struct fields){0};
}

void exchange_add_id(const struct exchange *x, struct fields *f) {
    fields_add(f, "x-amz-request-id", x->id);
}

void exchange_add_encryption(const struct exchange *x, struct fields *f) {
    fields_add(f, "x-amz-server-side-encryption", "aws:kms");
    fields_add(f, "x-amz-server-side-encryption-aws-kms-key-id", x->settings->key_arn);
}

void exchange_add_etag(struct fields *f, const struct store_etag *etag) {
    char text[STORE_ETAG_TEXT_BYTES];
    store_etag_format(etag, text);
    fields_add_format(f, "ETag", "\"%s\"", text);
}

void exchange_add_checksum(const struct exchange *x, struct fields *f) {
    char text[S3_CHECKSUM_TEXT_BYTES];
    s3_digest_checksum_text(&x->digest, text);
    if (text[0] != '\0') fields_add_copy(f, s3_checksum_header(x->digest.checksum.kind), text);
}

static void fail(struct exchange *x, enum s3_error error, const char *message) {
    BUF_AUTO(document, EXCHANGE_ANSWER_MAX_BYTES);
    s3_error_xml(error, message, http_path(x->http), x->id, &document);
    FIELDS_AUTO(f);
    fields_add(&f, "Content-Type", "application/xml");
    exchange_add_id(x, &f);
    http_answer(x->http, s3_error_status(error), f.list, buf_slice(&document));
}

void exchange_fail(struct exchange *x, enum s3_error error, const char *format, ...) {
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    fail(x, error, message);
}

void exchange_refuse(struct exchange *x, const struct s3_refusal *refusal) {
    fail(x, refusal->error, refusal->message);
}

void exchange_fail_result(struct exchange *x, struct result r, enum s3_error absent) {
    enum s3_error error = s3_error_of(r.code, absent);
    if (r.code == ERR_NO_LEASE) {
        exchange_fail(x, error, "The key %s of this organization is not usable now: %s.", x->settings->key_arn,
                      err_detail());
        return;
    }
    if (s3_error_status(error) >= 500 && error != S3_ERR_NOT_IMPLEMENTED) {
        log_error("request.failed", KV("request", x->id), KV("operation", s3_operation_name(x->request.operation)),
                  KV("error", err_name(r.code)), KV("detail", err_detail()));
        /* What the machine said is for the log. */
        fail(x, error, r.code == ERR_CORRUPT ? "The stored object did not verify and is not returned." : NULL);
        return;
    }
    fail(x, error, r.code == ERR_NOT_FOUND || r.code == ERR_PRECONDITION ? NULL : err_detail());
}

void exchange_answer_xml(struct exchange *x, struct fields *f, const struct buf *document) {
    FIELDS_AUTO(none);
    if (f == NULL) f = &none;
    struct result r = buf_check(document);
    if (is_err(r)) {
        exchange_fail_result(x, r, S3_ERR_INTERNAL);
        return;
    }
    fields_add(f, "Content-Type", "application/xml");
    exchange_add_id(x, f);
    http_answer(x->http, 200, f->list, buf_slice(document));
}

void exchange_answer_empty(struct exchange *x, int status, struct fields *f) {
    FIELDS_AUTO(none);
    if (f == NULL) f = &none;
    exchange_add_id(x, f);
    http_answer(x->http, status, f->list, (struct slice){0});
}
