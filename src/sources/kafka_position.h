/* How far a Kafka source has come: the next offset of every partition it knows. Kept with the documents as
 *
 *     {"partitions": {"0": 17, "1": 4}, "cluster": "lkc-1", "records": 21, "initial": {"0": 40}}
 *
 * A partition that is not listed came later. "cluster": the cluster's id, as offsets mean nothing in another one;
 * absent if the brokers are too old to have ids. "records": how many messages were taken so far. "initial": the ends of
 * the initial load, of the partitions that have not got there; absent once it is complete. One owner. */
#ifndef LOCKSET_SOURCES_KAFKA_POSITION_H
#define LOCKSET_SOURCES_KAFKA_POSITION_H

#include "base/json.h"

enum { KAFKA_UNKNOWN = -1 };

struct kafka_part {
    int32_t id;
    int64_t next;  /* the offset to go on at */
    int64_t until; /* where the initial load of it ends; KAFKA_UNKNOWN: it is done */
    int64_t high;  /* the end of the partition as last heard, KAFKA_UNKNOWN at first; not kept */
};

struct kafka_position {
    struct kafka_part *parts; /* in the order of their ids; owned */
    size_t count;
    char *cluster; /* NULL: not known; owned */
    int64_t records;
};
void kafka_position_done(struct kafka_position *p); /* accepts zeroed */

/* Fills a zeroed *ret. CORRUPT if it isn't one. */
struct result kafka_position_read(const json_t *j, struct kafka_position *ret);
json_t *kafka_position_write(const struct kafka_position *p); /* the caller owns it */

struct kafka_part *kafka_position_find(const struct kafka_position *p, int32_t id); /* NULL: not there */
/* Adds one that is not there yet. Pointers to others become invalid. */
struct kafka_part *kafka_position_add(struct kafka_position *p, int32_t id, int64_t next);
/* Moves a partition on; its initial load may be done by that. */
void kafka_part_advance(struct kafka_part *part, int64_t next);
/* Messages between the position and the ends of the initial load; 0: it is done. */
int64_t kafka_position_initial_left(const struct kafka_position *p);
bool kafka_position_is_initial(const struct kafka_position *p);

#endif
