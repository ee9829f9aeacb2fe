#include "sources/kafka_position.h"

#include <stdio.h>

enum { MAX_PARTITIONS = 100000 };

void kafka_position_done(struct kafka_position *p) {
    mem_free(p->parts);
    mem_free(p->cluster);
    *p = (struct kafka_position){0};
}

/* Where the partition is, or would be. */
static size_t place(const struct kafka_position *p, int32_t id) {
    size_t low = 0, high = p->count;
    if (id >= 0 && (size_t)id < p->count && p->parts[id].id == id) return (size_t)id; /* as good as always */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (p->parts[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct kafka_part *kafka_position_find(const struct kafka_position *p, int32_t id) {
    size_t at = place(p, id);
    return at < p->count && p->parts[at].id == id ? &p->parts[at] : NULL;
}

struct kafka_part *kafka_position_add(struct kafka_position *p, int32_t id, int64_t next) {
    size_t at = place(p, id);
    p->parts = mem_resize(p->parts, (p->count + 1) * sizeof *p->parts);
    mem_move(&p->parts[at + 1], &p->parts[at], (p->count - at) * sizeof *p->parts);
    p->parts[at] = (struct kafka_part){.id = id, .next = next, .until = KAFKA_UNKNOWN, .high = KAFKA_UNKNOWN};
    p->count++;
    return &p->parts[at];
}

void kafka_part_advance(struct kafka_part *part, int64_t next) {
    part->next = next;
    if (part->until <= next) part->until = KAFKA_UNKNOWN;
}

bool kafka_position_is_initial(const struct kafka_position *p) {
    for (size_t i = 0; i < p->count; i++)
        if (p->parts[i].until != KAFKA_UNKNOWN) return true;
    return false;
}

int64_t kafka_position_initial_left(const struct kafka_position *p) {
    int64_t left = 0;
    for (size_t i = 0; i < p->count; i++)
        if (p->parts[i].until != KAFKA_UNKNOWN) left += p->parts[i].until - p->parts[i].next;
    return left;
}

/* The members of an object are partitions, and their values offsets. */
static struct result read_offset(const char *name, const json_t *value, int32_t *ret_id, int64_t *ret_offset) {
    uint64_t id = 0;
    CHECK(is_ok(slice_to_u64(slice_str(name), INT32_MAX, &id)) && json_is_integer(value) &&
              json_integer_value(value) >= 0,
          ERR_CORRUPT, "the kept position is damaged");
    *ret_id = (int32_t)id;
    *ret_offset = json_integer_value(value);
    return OK;
}

static struct result read_partitions(json_t *j, struct kafka_position *p) {
    json_t *partitions = json_object_get(j, "partitions");
    CHECK(json_is_object(partitions) && json_object_size(partitions) <= MAX_PARTITIONS, ERR_CORRUPT,
          "the kept position is damaged");
    const char *name;
    json_t *value;
    int32_t id = 0;
    int64_t offset = 0;
    json_object_foreach(partitions, name, value) {
        TRY(read_offset(name, value, &id, &offset));
        kafka_position_add(p, id, offset);
    }
    json_object_foreach(json_object_get(j, "initial"), name, value) {
        TRY(read_offset(name, value, &id, &offset));
        struct kafka_part *part = kafka_position_find(p, id);
        CHECK(part, ERR_CORRUPT, "the kept position is damaged");
        if (part->next < offset) part->until = offset;
    }
    return OK;
}

struct result kafka_position_read(const json_t *j, struct kafka_position *ret) {
    AUTO(kafka_position_done) struct kafka_position p = {0};
    TRY(read_partitions(mem_unconst(j), &p));
    const char *cluster = NULL;
    CHECK(is_ok(json_opt_str(j, "cluster", &cluster)) && is_ok(json_opt_int(j, "records", 0, INT64_MAX, &p.records)),
          ERR_CORRUPT, "the kept position is damaged");
    p.cluster = str_dup(cluster);
    *ret = p;
    p = (struct kafka_position){0};
    return OK;
}

json_t *kafka_position_write(const struct kafka_position *p) {
    json_t *j = json_object();
    json_t *partitions = json_object();
    json_t *initial = json_object();
    for (size_t i = 0; i < p->count; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", p->parts[i].id);
        json_object_set_new(partitions, name, json_integer(p->parts[i].next));
        if (p->parts[i].until != KAFKA_UNKNOWN) json_object_set_new(initial, name, json_integer(p->parts[i].until));
    }
    json_object_set_new(j, "partitions", partitions);
    if (p->cluster) json_object_set_new(j, "cluster", json_string(p->cluster));
    json_object_set_new(j, "records", json_integer(p->records));
    if (json_object_size(initial)) json_object_set(j, "initial", initial);
    json_decref(initial);
    return j;
}
