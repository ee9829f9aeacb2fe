/* Rows of CSV (RFC 4180, and the usual liberties) into JSON objects. Pure; one owner. */
#ifndef LOCKSET_SOURCES_RECORDS_CSV_H
#define LOCKSET_SOURCES_RECORDS_CSV_H

#include "sources/records.h"

struct csv_field {
    size_t at, len; /* in csv.fields_text */
    bool is_quoted;
};

struct csv {
    struct csv_format format;
    bool is_used, has_names;
    char **names; /* as JSON strings, quotes included; owned */
    size_t name_count;
    struct csv_field *fields;
    size_t field_count, field_capacity;
    struct buf fields_text, document;
    char flaw[200];
};

/* format NULL: no CSV is read. */
void csv_init(struct csv *c, const struct csv_format *format);
void csv_done(struct csv *c);
static inline void csv_forget(struct csv *c) {
    c->field_count = 0;
}
bool csv_has_names(const struct csv *c);

enum csv_outcome {
    CSV_ROW,     /* csv_document */
    CSV_FLAW,    /* csv_flaw */
    CSV_NOTHING, /* an empty line, or the header */
    CSV_MORE     /* the row isn't all there; or nothing is */
};
/* The row at the front of `text`; *ret_taken: its bytes, its line end too. */
enum csv_outcome csv_row(struct csv *c, struct slice text, bool is_ended, size_t *ret_taken);
struct slice csv_document(const struct csv *c);
const char *csv_flaw(const struct csv *c);

#endif
