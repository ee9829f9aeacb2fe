/* What the files of the store in S3 share. */
#ifndef LOCKSET_STORE_REMOTE_PRIV_H
#define LOCKSET_STORE_REMOTE_PRIV_H

#include "store/remote.h"

/* A key that is being written. */
struct remote_turn {
    const char *key;
    const struct record *record; /* that is being written; NULL: it is removed */
    struct remote_turn *next;
};

/* Who shares a body. */
struct remote_share {
    uint8_t body[RECORD_BODY_ID_BYTES];
    struct remote_sharer {
        uint8_t tag[NAME_TAG_BYTES];
        bool is_old; /* was there, and not young, when the store was opened */
    } * sharers;
    size_t count;
    struct remote_share *next;
};

/* Something to be removed. */
struct remote_trash {
    char *key;       /* below the store's prefix */
    char *upload_id; /* an S3 upload of it; NULL: the object */
    struct remote_trash *next;
};

/* Bodies of one version that a reader still needs; or of anything. */
struct remote_bodies {
    uint8_t tag[NAME_TAG_BYTES];
    uint8_t (*ids)[RECORD_BODY_ID_BYTES];
    size_t count;
};

/* A body that is being written, or was and is not published yet. */
struct remote_body {
    struct store *store;
    uint8_t id[RECORD_BODY_ID_BYTES];
    char *path;
    struct buf waiting;
    char *upload_id; /* NULL: none yet */
    struct s3_upload_part *parts;
    size_t part_count, part_capacity;
    uint64_t sent;
    bool is_there; /* all of it */
    bool keeps;    /* a record that names it may be there */
    struct remote_body *next;
};

/* Bodies that nobody may need; while a sweep runs. Ascending. */
struct remote_candidate {
    uint8_t id[RECORD_BODY_ID_BYTES];
    bool is_used;
};

struct remote {
    struct s3_store_client *client;
    char *prefix, *key_arn;
    _Atomic bool is_verified; /* an object was looked at: it is encrypted with the key */
    unsigned version;
    void (*key_refused)(void *arg, const struct s3_failure *why);
    void *arg;

    pthread_cond_t changed; /* goes with the store's lock, which guards everything below */
    struct remote_turn *turns;
    struct remote_share *shares[1024];
    size_t share_count;
    struct remote_body *living;
    struct remote_trash *trash, **trash_end;
    struct remote_candidate *candidates;
    size_t candidate_count;
    bool is_sweeping, stops, has_thread;
    pthread_t thread;
};

static inline struct s3_store_client *remote_client(const struct store *s) {
    return s->remote->client;
}

/* ---- remote.c ---- */

/* The key in S3 of a path. INVALID if it is too long. */
struct result remote_key(const struct store *s, const char *path, struct buf *ret);
/* What a call's failure means for the store; tells of a refused key. Without the lock. */
struct result remote_result(struct store *s, struct result r, const struct s3_failure *why);
/* Of paths below the store's prefix. remote_put sets *ret_unsure when it failed but may have been done. */
struct result remote_put(struct store *s, const char *path, struct slice content, bool *ret_unsure);
struct result remote_delete_path(struct store *s, const char *path);
/* Calls visit for every object below a path, in order; the path is below the store's prefix. */
typedef struct result remote_visit_fn(void *arg, const char *path, const struct s3_entry *entry);
struct result remote_walk(struct store *s, const char *path, const char *delimiter, remote_visit_fn *visit, void *arg);
/* Seals a record and puts it. */
struct result remote_put_record(struct store *s, const struct record *record, struct slice context, const char *path,
                                bool *ret_unsure);
struct result remote_read_record(struct store *s, const char *path, struct slice context, struct record *ret);
/* With the lock held: what is written under one name takes turns. */
void remote_turn_enter(struct store *s, struct remote_turn *turn, const char *key, const struct record *record);
void remote_turn_leave(struct store *s, struct remote_turn *turn);
void remote_await(struct store *s); /* until something has changed */
void remote_announce(struct store *s);

/* ---- remote_commit.c ---- */

/* With the lock held. */
void remote_levels_disappeared(struct store *s, struct slice prefix);

/* ---- remote_bodies.c ---- */

void remote_body_path(const uint8_t id[static RECORD_BODY_ID_BYTES], char ret[static STORE_PATH_BYTES]);
void remote_share_path(const uint8_t *body, const uint8_t *tag, char ret[static STORE_PATH_BYTES]);
bool remote_parse_hex(struct slice hex, uint8_t ret[static RECORD_BODY_ID_BYTES]);
/* Before a record is put: whatever it shares with others gets its refs. Those added are undone by remote_bodies_drop.
 */
struct result remote_share_bodies(struct store *s, const struct record *record, const uint8_t *shared_from,
                                  const uint8_t *tag);
/* With the lock held. */
void remote_share_add(struct store *s, const uint8_t *body, const uint8_t *tag, bool is_old);
void remote_share_remove(struct store *s, const uint8_t *body, const uint8_t *tag);
bool remote_is_shared(const struct store *s, const uint8_t *body);
/* With the lock held: `tag` has no record any more (or never got one), so its bodies go unless others have them; when
 * the last reader has gone. Those that `except` names stay. */
void remote_bodies_drop(struct store *s, const uint8_t *tag, const struct record *record, const struct record *except);
/* With the lock held: a record was not published after all; the refs that it got go. */
void remote_bodies_unshare(struct store *s, const uint8_t *tag, const struct record *record);
/* With the lock held: a record that may be there names these. */
void remote_bodies_keep(struct store *s, const struct record *record);
/* With the lock held: a record was published. */
void remote_bodies_used(struct store *s, const struct record *record);
struct result remote_shares_load(struct store *s);

/* ---- remote_sweep.c ---- */

/* With the lock held. */
void remote_discard(struct store *s, const char *path, const char *upload_id);
struct result remote_sweep_start(struct store *s);

#endif
