/* Answers of the REST interface: JSON, and errors in the shape of Rockset's ErrorModel. */
#ifndef LOCKSET_API_ANSWER_H
#define LOCKSET_API_ANSWER_H

#include "base/http_server.h"
#include "base/json.h"
#include "lifecycle/refusal.h"

/* Takes the body over. */
void answer_json(struct http_request *r, int status, json_t *body);
/* The same from text that is JSON already. */
void answer_text(struct http_request *r, int status, struct slice body);

/* The refusal if it is filled, else the error and its detail. */
struct answer_error {
    const char *query_id;  /* NULL: none */
    unsigned line, column; /* 0: not known */
    const char *allowed;   /* methods, for the header Allow; NULL: none */
};
void answer_error(struct http_request *r, struct result error, const struct refusal *why,
                  const struct answer_error *more);

/* Rockset's type for an error: "INVALIDINPUT". Pure. */
const char *answer_error_type(enum err_code code);
/* The ErrorModel. Pure; the caller drops it. */
json_t *answer_error_model(const char *message, const char *type, const struct answer_error *more);

#endif
