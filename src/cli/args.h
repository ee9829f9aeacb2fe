/* Command-line arguments: options of a command in one table, positional words, and where the API is. Messages about
 * wrong usage go to stderr; the exit code is then 2. Single-threaded. */
#ifndef LOCKSET_CLI_ARGS_H
#define LOCKSET_CLI_ARGS_H

#include "base/buf.h"

enum { ARGS_POSITIONAL_MAX = 8, ARGS_REPEAT_MAX = 64, EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct args_option {
    const char *name;  /* "--region" */
    const char *value; /* its metavariable; NULL: a switch */
    const char *help;
    const char *preset; /* shown in the help */
};

struct args;

struct command {
    const char *name;       /* "org create" */
    const char *positional; /* "NAME"; "" if none; a word in brackets is optional */
    const char *summary;
    const struct args_option *options; /* ended by name NULL; the common ones are added unless is_local */
    bool is_local;                     /* doesn't talk to the API */
    struct result (*run)(const struct args *a);
};

struct args {
    const char *positional[ARGS_POSITIONAL_MAX];
    size_t positional_count;
    struct {
        const char *name, *value;
    } given[ARGS_REPEAT_MAX]; /* in order; a switch has value "" */
    size_t given_count;
};

enum args_outcome { ARGS_OK, ARGS_HELP, ARGS_USAGE };

/* Parses what stands behind the command's words. Help and complaints are printed here. */
enum args_outcome args_parse(const struct command *c, int argc, char **argv, struct args *ret);
/* The last value of an option; NULL if it was not given. */
const char *args_get(const struct args *a, const char *name);
bool args_has(const struct args *a, const char *name);
/* Overwrites the values of an option where they stand, in argv. */
void args_wipe(const struct args *a, const char *name);

#endif
