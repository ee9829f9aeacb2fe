/* XML for S3: a writer that appends to a buffer, and a reader into a small tree through expat (whose header only xml.c
 * includes). The reader refuses DOCTYPE, depth over 16 and more than 64,000 elements (S3: 10,000 parts of up to five
 * each). Not thread-safe; one owner. */
#ifndef LOCKSET_BASE_XML_H
#define LOCKSET_BASE_XML_H

#include "base/buf.h"

struct xml_writer {
    struct buf *out;
    const char *open[16]; /* names of the elements that are open; names must outlive the writer */
    unsigned depth;
};

/* Starts a document with its declaration. */
void xml_start(struct xml_writer *w, struct buf *out);
void xml_open(struct xml_writer *w, const char *name);
/* With a namespace: <name xmlns="ns">. */
void xml_open_ns(struct xml_writer *w, const char *name, const char *ns);
void xml_close(struct xml_writer *w);
/* <name>escaped text</name>; characters that XML 1.0 can't hold are written as numeric references, as S3 does. */
void xml_element(struct xml_writer *w, const char *name, struct slice text);
void xml_element_str(struct xml_writer *w, const char *name, const char *text);
void xml_element_u64(struct xml_writer *w, const char *name, uint64_t value);

struct xml_node {
    char *name; /* without namespace prefix */
    char *text; /* character data directly inside; "" if none */
    struct xml_node *first_child, *next;
};

/* INVALID if it is not well-formed or breaks a limit. Free with xml_free. */
struct result xml_parse(struct slice text, struct xml_node **ret);
struct xml_node *xml_free(struct xml_node *node); /* accepts NULL, returns NULL */
static inline void xml_free_auto(struct xml_node **n) {
    xml_free(*n);
}
/* The first child of that name; NULL if none. */
const struct xml_node *xml_child(const struct xml_node *node, const char *name);

#endif
