/* A reader of one PostgreSQL table. postgres.c is the driver, postgres_snapshot.c the initial load, postgres_changes.c
 * what follows. Only these include it. */
#ifndef LOCKSET_SOURCES_POSTGRES_READER_H
#define LOCKSET_SOURCES_POSTGRES_READER_H

#include "sources/postgres_slot.h"

enum postgres_stage {
    POSTGRES_CONNECTING, /* position, if there is one, still has to be checked */
    POSTGRES_PREPARING,  /* first start: publication and slot have to be made */
    POSTGRES_SLOT,       /* the slot is being made: the server waits for transactions */
    POSTGRES_SETTLING,   /* waits for transactions that were running when the slot was made */
    POSTGRES_READING,    /* position says which phase */
};

/* The page that is being read. */
struct postgres_snapshot {
    bool is_open;
    int64_t page_rows;
    PGresult *held;                /* a row that had no room in the batch before */
    char *last[POSTGRES_MAX_KEYS]; /* the key of the last row in this batch */
};

/* The stream. What is behind the delivered position is in here only. */
struct postgres_stream {
    struct postgres_link *link;
    struct pgoutput_message *message;
    char *held; /* a message of the stream that had no room, from libpq */
    size_t held_len;
    bool has_relation;
    struct postgres_columns relation; /* how rows come */
    uint64_t lsn, until;              /* as in the position */
    bool in_transaction;
    bool is_asked; /* the server wants to know how far we are: a shutdown waits for that */
    uint32_t xid;
    uint64_t commit;                     /* of this transaction */
    uint64_t seen;                       /* its changes up to now */
    uint64_t skip;                       /* how many of them were done before */
    uint64_t resume_commit, resume_done; /* a transaction that was done in part and is yet to be sent again; or 0 */
    uint64_t full_xid;                   /* xid with its epoch, or 0: not asked for yet */
    int64_t told_ns, heard_ns, moved_ns; /* last status told, last message, last position that only moved */
    struct pgoutput_value *values;       /* a row put together; PGOUTPUT_MAX_COLUMNS */
};

struct source_reader {
    const struct source_spec *spec;
    struct postgres_config config;
    enum postgres_stage stage;
    bool has_position;
    struct postgres_position position; /* behind the last batch that was given out */
    uint64_t stored;                   /* position.lsn that is known to be stored */
    struct postgres_link *sql;
    struct postgres_types types;
    struct postgres_table table;
    char settle[24]; /* SETTLING: transactions below must have ended */
    struct postgres_snapshot snapshot;
    struct postgres_stream stream;
    uint64_t server_lsn; /* where the server's log ended when it was last asked; 0: not known */
    int64_t checked_ns;
};

/* Each appends to the batch and moves the position along; an empty batch is a success. On failure the position is as it
 * was, and what was appended is worthless. */
struct result postgres_snapshot_next(struct source_reader *r, int64_t until_ns, struct postgres_batch *b, bool *moved);
void postgres_snapshot_reset(struct source_reader *r);
struct result postgres_changes_next(struct source_reader *r, int64_t until_ns, struct postgres_batch *b, bool *moved,
                                    bool *is_snapshot_end);
void postgres_changes_reset(struct source_reader *r);
/* Confirms what is stored, if the stream is on. */
struct result postgres_changes_confirm(struct source_reader *r, bool wants_answer);

/* Connects for queries if need be, and checks that position and server still fit together. */
struct result postgres_reader_connect(struct source_reader *r);
/* Drops the connection for queries; the next use makes a new one. */
void postgres_reader_disconnect(struct source_reader *r);

#endif
