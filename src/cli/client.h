/* The API as the command line sees it: where it is, with which credentials, one call at a time. */
#ifndef LOCKSET_CLI_CLIENT_H
#define LOCKSET_CLI_CLIENT_H

#include "base/http_client.h"
#include "base/json.h"
#include "cli/args.h"

enum client_identity { CLIENT_OPERATOR, CLIENT_ORGANIZATION };

struct client {
    struct http_pool *pool;
    char *url;           /* of the API, no slash at the end */
    char *authorization; /* the header's value */
};

/* From --api / --data / the environment; without any of them ./lockset-data/dev.json when it is there. INVALID says
 * what to give. The caller calls client_done. */
struct result client_init(struct client *c, const struct args *a, enum client_identity identity);
/* The same for one region's API; NULL: the first. Only --data knows more than one address. */
struct result client_init_in(struct client *c, const struct args *a, enum client_identity identity, const char *region);
void client_done(struct client *c); /* accepts zeroed */

struct client_answer {
    int status;
    json_t *body;           /* NULL if it wasn't JSON; owned */
    unsigned retry_after_s; /* 0: not said */
};
void client_answer_done(struct client_answer *a);

/* One call; body may be empty. Any status is a success here. UNREACHABLE names the address. */
struct result client_call(struct client *c, const char *method, const char *path, struct slice body,
                          struct client_answer *ret);
/* The same, and a status of 400 or more becomes a failure with the API's message (failed checks are printed to stderr,
 * a line each). client_failure then has the whole of it. */
struct result client_expect(struct client *c, const char *method, const char *path, struct slice body,
                            struct client_answer *ret);
/* "message" of an error body, or a plain sentence about the status. */
const char *client_error_text(const struct client_answer *a);

/* An API's message is longer than a detail (err.h) may be. Fails with PEER and takes the text over; client_failure
 * gives the whole text of the last such failure, or NULL if there was none. */
struct result client_fail(char *text);
const char *client_failure(void);

/* A line on stderr for each check, and how to mend what failed. */
void client_print_checks(const json_t *checks);
/* An option's value as a whole number of at most max; absent leaves *ret as it was. INVALID names the option. */
struct result client_number(const struct args *a, const char *option, uint64_t max, uint64_t *ret);
/* Sets a member of a request from a word of the command line. INVALID, naming `what`, if it is not valid UTF-8. */
struct result client_set(json_t *body, const char *member, const char *value, const char *what);

/* Prints an answer as indented JSON. */
void client_print_json(const json_t *j);

#endif
