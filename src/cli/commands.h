/* The subcommands, in tables ended by name NULL. */
#ifndef LOCKSET_CLI_COMMANDS_H
#define LOCKSET_CLI_COMMANDS_H

#include "cli/args.h"

extern const struct command node_commands[];   /* dev, serve, devctl, kms, config */
extern const struct command admin_commands[];  /* org, region, key: the operator's */
extern const struct command data_commands[];   /* workspace, collection, query, ingest: an organization's */
extern const struct command audit_commands[];  /* audit: offline */
extern const struct command s3_commands[];     /* s3-key: the operator's or an organization's */
extern const struct command drill_commands[];  /* drill */
extern const struct command source_commands[]; /* integration, source: an organization's too */
extern const struct command store_commands[];  /* store: offline */

#endif
