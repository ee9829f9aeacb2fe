#include "config/flatten.h"

#include <yaml.h>

enum { DEPTH_MAX = 8, PAIRS_MAX = 4096 };

static void pairs_add(struct yaml_pairs *p, char *key, const char *value, size_t len, unsigned line) {
    p->items = mem_resize(p->items, (p->count + 1) * sizeof(*p->items));
    p->items[p->count++] = (struct yaml_pair){key, str_ndup(value, len), line};
}

void yaml_pairs_done(struct yaml_pairs *p) {
    for (size_t i = 0; i < p->count; i++) {
        mem_free(p->items[i].key);
        mem_free(p->items[i].value);
    }
    mem_free(p->items);
    *p = (struct yaml_pairs){0};
}

static char *join(const char *prefix, const char *name) {
    return prefix[0] ? str_format("%s.%s", prefix, name) : str_dup(name);
}

static struct result flatten(const char *file, yaml_document_t *doc, yaml_node_t *node, const char *prefix,
                             unsigned depth, struct yaml_pairs *out) {
    unsigned line = (unsigned)node->start_mark.line + 1;
    CHECK(depth <= DEPTH_MAX, ERR_INVALID, "%s:%u: nested too deeply", file, line);
    CHECK(out->count < PAIRS_MAX, ERR_INVALID, "%s:%u: too many settings", file, line);
    switch (node->type) {
    case YAML_SCALAR_NODE:
        CHECK(prefix[0], ERR_INVALID, "%s:%u: settings must be written as KEY: VALUE", file, line);
        pairs_add(out, str_dup(prefix), (const char *)node->data.scalar.value, node->data.scalar.length, line);
        return OK;
    case YAML_SEQUENCE_NODE: {
        unsigned index = 0;
        for (yaml_node_item_t *i = node->data.sequence.items.start; i < node->data.sequence.items.top; i++, index++) {
            AUTO_FREE char *number = str_format("%u", index);
            AUTO_FREE char *key = join(prefix, number);
            TRY(flatten(file, doc, yaml_document_get_node(doc, *i), key, depth + 1, out));
        }
        return OK;
    }
    case YAML_MAPPING_NODE:
        for (yaml_node_pair_t *i = node->data.mapping.pairs.start; i < node->data.mapping.pairs.top; i++) {
            yaml_node_t *name = yaml_document_get_node(doc, i->key);
            CHECK(name->type == YAML_SCALAR_NODE, ERR_INVALID, "%s:%zu: a key must be a plain word", file,
                  name->start_mark.line + 1);
            AUTO_FREE char *key = join(prefix, (const char *)name->data.scalar.value);
            TRY(flatten(file, doc, yaml_document_get_node(doc, i->value), key, depth + 1, out));
        }
        return OK;
    case YAML_NO_NODE:
        break;
    }
    return OK;
}

static void parser_done(yaml_parser_t *p) {
    yaml_parser_delete(p);
}
static void document_done(yaml_document_t *d) {
    yaml_document_delete(d);
}

struct result yaml_flatten(const char *file, struct slice text, struct yaml_pairs *ret) {
    AUTO(parser_done) yaml_parser_t parser;
    CHECK(yaml_parser_initialize(&parser), ERR_INTERNAL, "libyaml can't be started");
    yaml_parser_set_input_string(&parser, text.data, text.len);
    yaml_document_t loaded;
    if (!yaml_parser_load(&parser, &loaded)) {
        FAIL(ERR_INVALID, "%s:%zu: not valid YAML: %s", file, parser.problem_mark.line + 1,
             parser.problem ? parser.problem : "unknown problem");
    }
    AUTO(document_done) yaml_document_t document = loaded;
    yaml_node_t *root = yaml_document_get_root_node(&document);
    struct yaml_pairs pairs = {0};
    if (root && !(root->type == YAML_SCALAR_NODE && root->data.scalar.length == 0)) {
        struct result r = flatten(file, &document, root, "", 0, &pairs);
        if (is_err(r)) {
            yaml_pairs_done(&pairs);
            return r;
        }
    }
    *ret = pairs;
    return OK;
}
