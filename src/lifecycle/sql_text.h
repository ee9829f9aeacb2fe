/* A tenant's SQL before it goes to the engine: parameters `:name` become ClickHouse's typed {p0:Type}, a row limit is
 * added where the text has none, HINT(...) and a final `;` are dropped, and it is noted which collections the text
 * names. Works on tokens, so that strings, quoted identifiers, comments, `::` and `.:` are left alone. It is no gate:
 * what may run is decided in the engine. Pure. */
#ifndef LOCKSET_LIFECYCLE_SQL_TEXT_H
#define LOCKSET_LIFECYCLE_SQL_TEXT_H

#include "base/json.h"

enum {
    SQL_MAX_BYTES = 256 * 1024,
    SQL_MAX_PARAMS = 256,
    SQL_MAX_PARAM_BYTES = 64 * 1024, /* of one value */
    SQL_MAX_TABLES = 64,
};

enum sql_token_kind {
    SQL_SPACE, /* white space and comments */
    SQL_WORD,
    SQL_NUMBER,
    SQL_STRING,      /* '...', $tag$...$tag$ */
    SQL_QUOTED_NAME, /* "..." or `...` */
    SQL_PARAM,       /* :name or :"name" */
    SQL_PUNCTUATION, /* one byte, or :: or .: */
};

struct sql_token {
    enum sql_token_kind kind;
    struct slice text; /* borrowed */
};

/* The token that begins text[*at]; advances. False at the end. Unterminated strings and comments end with the text. */
bool sql_next_token(struct slice text, size_t *at, struct sql_token *ret);
/* Appends the name that a word, quoted name or parameter token stands for. */
void sql_token_name(struct slice text, struct buf *out);

struct sql_param {
    char name[8];     /* p0, p1, ... */
    struct buf value; /* plain text */
};

struct sql_table {
    char *workspace, *name; /* owned */
};

/* From here to the next one, text[out + n] came from sql[in + n]. */
struct sql_origin {
    size_t out, in;
};

struct sql_text {
    struct buf text;
    struct sql_origin *origins;
    size_t origin_count, origin_capacity;
    struct sql_param *params;
    size_t param_count;
    struct sql_table tables[SQL_MAX_TABLES]; /* behind FROM and JOIN; may name things that don't exist */
    size_t table_count;
    bool is_star; /* the outermost SELECT list holds a star */
};

void sql_text_done(struct sql_text *s); /* accepts zeroed */

/* sql: the tenant's text. parameters: NULL or the request's array of {name, type, value}. row_limit: 0, or the limit to
 * add when the text has none. INVALID: the detail says what is wrong and how to mend it. On success the caller calls
 * sql_text_done. */
struct result sql_text_prepare(struct slice sql, const json_t *parameters, int64_t row_limit, struct sql_text *ret);

/* Where in the tenant's text that stands, which is at this offset of the prepared one. */
size_t sql_text_origin(const struct sql_text *s, size_t offset);

#endif
