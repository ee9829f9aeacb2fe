/* A YAML file flattened to dotted keys: `key: {probe_interval: 10s}` and `key.probe_interval: 10s` are the same, items
 * of a sequence get their index ("regions.0.name"). */
#ifndef LOCKSET_CONFIG_FLATTEN_H
#define LOCKSET_CONFIG_FLATTEN_H

#include "base/buf.h"

struct yaml_pair {
    char *key, *value;
    unsigned line;
};

struct yaml_pairs {
    struct yaml_pair *items;
    size_t count;
};

/* INVALID with file and line when it is not YAML, has anchors or tags, or nests deeper than 8. */
struct result yaml_flatten(const char *file, struct slice text, struct yaml_pairs *ret);
void yaml_pairs_done(struct yaml_pairs *p);

#endif
