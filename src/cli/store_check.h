/* What `lockset store check` tries on the place of a region's store: a line each. Leaves nothing behind. One thread. */
#ifndef LOCKSET_CLI_STORE_CHECK_H
#define LOCKSET_CLI_STORE_CHECK_H

#include "base/json.h"
#include "config/config.h"

struct store_check {
    json_t *list; /* of {"check", "ok", "detail", "mend"}, in order */
    size_t failed;
};

/* Takes the outcome of one: `r` of whatever was just called (a failure's err_detail is told), `detail` for a success,
 * `mend` for a failure: what to do about it. True if it was a success. */
bool store_check_note(struct store_check *c, const char *name, struct result r, const char *detail, const char *mend);
/* Something to know that is neither good nor bad. */
void store_check_tell(struct store_check *c, const char *name, const char *detail);

/* A store that is a folder. */
void store_check_folder(struct store_check *c, const char *folder);

/* One in S3. key_arn: what to encrypt under; NULL: nothing is (a store that is only sealed). */
void store_check_s3(struct store_check *c, const struct config_region *r, const char *key_arn);

#endif
