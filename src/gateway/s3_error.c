#include "gateway/s3_error.h"

#include <assert.h>

#include "base/xml.h"

static const struct {
    const char *code, *text;
    int status;
} rows[S3_ERROR_MAX] = {
#define S3_ERROR(symbol, code_, status_, text_) [S3_ERR_##symbol] = {(code_), (text_), (status_)},
#include "gateway/s3_error.def"
#undef S3_ERROR
};

const char *s3_error_code(enum s3_error e) {
    assert(e > S3_ERROR_NONE && e < S3_ERROR_MAX);
    return rows[e].code;
}

int s3_error_status(enum s3_error e) {
    assert(e > S3_ERROR_NONE && e < S3_ERROR_MAX);
    return rows[e].status;
}

const char *s3_error_text(enum s3_error e) {
    assert(e > S3_ERROR_NONE && e < S3_ERROR_MAX);
    return rows[e].text;
}

enum s3_error s3_error_of(enum err_code code, enum s3_error absent) {
    switch (code) {
    case ERR_INVALID:
        return S3_ERR_INVALID_ARGUMENT;
    case ERR_UNAUTHENTICATED:
    case ERR_FORBIDDEN:
    case ERR_NO_LEASE:
    case ERR_CONFLICT: /* the commit guard: another epoch writes now */
        return S3_ERR_ACCESS_DENIED;
    case ERR_NOT_FOUND:
        return absent;
    case ERR_METHOD:
        return S3_ERR_METHOD_NOT_ALLOWED;
    case ERR_EXISTS:
    case ERR_PRECONDITION:
        return S3_ERR_PRECONDITION_FAILED;
    case ERR_TOO_LARGE:
        return S3_ERR_ENTITY_TOO_LARGE;
    case ERR_RANGE:
        return S3_ERR_INVALID_RANGE;
    case ERR_BUSY:
        return S3_ERR_SLOW_DOWN;
    case ERR_UNSUPPORTED:
        return S3_ERR_NOT_IMPLEMENTED;
    case ERR_NO_SPACE:
        return S3_ERR_NO_SPACE;
    case ERR_NONE:
    case ERR_INTERNAL:
    case ERR_CORRUPT:
    case ERR_IO:
    case ERR_PEER:
    case ERR_UNREACHABLE:
    case ERR_TIMEOUT:
    case ERR_CANCELLED:
    case ERR_MAX:
        break;
    }
    return S3_ERR_INTERNAL;
}

void s3_error_xml(enum s3_error e, const char *message, struct slice resource, const char *request_id,
                  struct buf *out) {
    struct xml_writer w;
    xml_start(&w, out);
    xml_open(&w, "Error");
    xml_element_str(&w, "Code", s3_error_code(e));
    xml_element_str(&w, "Message", message != NULL && message[0] != '\0' ? message : s3_error_text(e));
    xml_element(&w, "Resource", resource);
    xml_element_str(&w, "RequestId", request_id);
    xml_close(&w);
}
