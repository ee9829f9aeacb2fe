/* What the commands of an organization's engineers share: calls of its own API. */
#ifndef LOCKSET_CLI_DATA_H
#define LOCKSET_CLI_DATA_H

#include "cli/client.h"

enum { DATA_MAX_FILE_BYTES = 1 << 20 };

/* One call; takes the body over (NULL: none). */
struct result data_ask(const struct args *a, const char *method, const char *path, json_t *body,
                       struct client_answer *answer);
/* The same, and prints "data" as a table of these columns, or the answer with --json. */
struct result data_show(const struct args *a, const char *method, const char *path, json_t *body,
                        const char *const *columns);

/* /v1/orgs/self/ws/WORKSPACE/collections/COLLECTION, or without the last word if collection is NULL. A new string. */
char *data_collection_path(const char *workspace, const char *collection);
/* "workspace.collection" or "collection" (of commons): both are new strings. INVALID. */
struct result data_split_name(const char *name, char **workspace, char **collection);
/* A file ("-": standard input) that holds a JSON object. INVALID. */
struct result data_read_object(const char *file, json_t **ret);

#endif
