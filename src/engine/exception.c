#include "engine/exception.h"

#include <string.h>

enum { CODE_STD_EXCEPTION = 1001 };

int exception_code(struct slice text) {
    static const char lead[] = "Code: ";
    if (!slice_starts_with(text, lead)) return CODE_STD_EXCEPTION;
    int code = 0;
    for (size_t i = sizeof(lead) - 1; i < text.len && text.data[i] >= '0' && text.data[i] <= '9' && code < 100000;
         i++) {
        code = code * 10 + (text.data[i] - '0');
    }
    return code ? code : CODE_STD_EXCEPTION;
}

int exception_status(int code) {
    switch (code) {
    case 6:   /* CANNOT_PARSE_TEXT */
    case 26:  /* CANNOT_PARSE_QUOTED_STRING */
    case 27:  /* CANNOT_PARSE_INPUT_ASSERTION_FAILED */
    case 33:  /* CANNOT_READ_ALL_DATA */
    case 36:  /* BAD_ARGUMENTS */
    case 38:  /* CANNOT_PARSE_DATE */
    case 41:  /* CANNOT_PARSE_DATETIME */
    case 43:  /* ILLEGAL_TYPE_OF_ARGUMENT */
    case 53:  /* TYPE_MISMATCH */
    case 62:  /* SYNTAX_ERROR */
    case 72:  /* CANNOT_PARSE_NUMBER */
    case 117: /* INCORRECT_DATA */
    case 386: /* NO_COMMON_TYPE */
    case 456: /* UNKNOWN_QUERY_PARAMETER */
    case 457: /* BAD_QUERY_PARAMETER */
        return 400;
    case 164: /* READONLY */
    case 497: /* ACCESS_DENIED */
        return 403;
    case 16: /* NO_SUCH_COLUMN_IN_TABLE */
    case 46: /* UNKNOWN_FUNCTION */
    case 47: /* UNKNOWN_IDENTIFIER */
    case 50: /* UNKNOWN_TYPE */
    case 60: /* UNKNOWN_TABLE */
    case 81: /* UNKNOWN_DATABASE */
        return 404;
    case 159: /* TIMEOUT_EXCEEDED */
        return 408;
    case 396: /* TOO_MANY_ROWS_OR_BYTES */
        return 413;
    case 48: /* NOT_IMPLEMENTED */
        return 501;
    default:
        return 500;
    }
}

void exception_write(int code, const char *text, struct buf *out) {
    buf_printf(out, "Code: %d. DB::Exception: %s.", code, text);
}
