/* From a Kafka message to a record of a batch. Pure.
 *
 * A message with a key belongs to the document of that _id: a later message with the same key replaces it, and one
 * without a value (a tombstone) deletes it. So the key wins over an "_id" within the document. The _id is the key
 * itself if it is text of 1 to 512 bytes; any other key is "base64:" and the key in base64, or "sha256:" and its digest
 * in hex where that would be too long. Keys that begin with "base64:" or "sha256:" are encoded too, so that no two keys
 * share an _id.
 *
 * Where keys don't name documents (key_is_id false) they are ignored: each message is a document of its own, unless the
 * documents have "_id"s, and a tombstone is a flaw. */
#ifndef LOCKSET_SOURCES_KAFKA_RECORD_H
#define LOCKSET_SOURCES_KAFKA_RECORD_H

#include "sources/driver.h"

struct kafka_message {
    const char *topic;
    int32_t partition;
    int64_t offset;
    bool has_key, has_value;
    struct slice key, value;
};

/* A batch that is being filled. */
struct kafka_filling {
    struct source_batch *batch;
    size_t capacity;
};
/* Makes *batch an empty one. */
void kafka_filling_init(struct kafka_filling *f, struct source_batch *batch);
/* Would the message take the batch over its limits? Never so for the first. */
bool kafka_filling_is_full(const struct kafka_filling *f, const struct kafka_message *m);
void kafka_filling_add(struct kafka_filling *f, const struct kafka_message *m, bool key_is_id);
/* The records' slices are good from here on. */
void kafka_filling_end(struct kafka_filling *f);

/* Appends the _id that a key stands for. */
void kafka_id_of_key(struct slice key, struct buf *out);

#endif
