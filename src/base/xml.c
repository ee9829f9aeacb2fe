#include "base/xml.h"

#include <expat.h>
#include <string.h>

enum { DEPTH_MAX = 16, ELEMENTS_MAX = 64000, TEXT_MAX_BYTES = 64 * 1024 * 1024 };

/* Writer. */

void xml_start(struct xml_writer *w, struct buf *out) {
    *w = (struct xml_writer){.out = out};
    buf_append_str(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
}

/* The code point of the well-formed sequence of n bytes at p. */
static uint32_t code_point(const uint8_t *p, size_t n) {
    if (n == 1) return p[0];
    uint32_t c = p[0] & (0xFFu >> (n + 1));
    for (size_t i = 1; i < n; i++)
        c = c << 6 | (p[i] & 0x3Fu);
    return c;
}

static void append_escaped(struct buf *out, struct slice text) {
    while (text.len > 0) {
        size_t n = slice_utf8_step(text);
        uint32_t c = n ? code_point(text.data, n) : 0xFFFD;
        if (n == 0) {
            buf_append_str(out, "\xEF\xBF\xBD");
            n = 1;
        } else if (c == '&') {
            buf_append_str(out, "&amp;");
        } else if (c == '<') {
            buf_append_str(out, "&lt;");
        } else if (c == '>') {
            buf_append_str(out, "&gt;");
        } else if (c == '"') {
            buf_append_str(out, "&quot;");
        } else if ((c < 0x20 && c != '\t' && c != '\n') || c == 0x7F || c == 0xFFFE || c == 0xFFFF) {
            buf_printf(out, "&#x%x;", c); /* a reader would turn a bare CR into LF */
        } else {
            buf_append(out, text.data, n);
        }
        text = slice_make(text.data + n, text.len - n);
    }
}

static void push(struct xml_writer *w, const char *name) {
    /* Deeper nesting is a mistake of the program; the document then fails at buf_check. */
    if (w->depth < ARRAY_LEN(w->open))
        w->open[w->depth] = name;
    else
        w->out->overflowed = true;
    w->depth++;
}

void xml_open(struct xml_writer *w, const char *name) {
    buf_printf(w->out, "<%s>", name);
    push(w, name);
}

void xml_open_ns(struct xml_writer *w, const char *name, const char *ns) {
    buf_printf(w->out, "<%s xmlns=\"", name);
    append_escaped(w->out, slice_str(ns));
    buf_append_str(w->out, "\">");
    push(w, name);
}

void xml_close(struct xml_writer *w) {
    if (w->depth == 0) {
        w->out->overflowed = true;
        return;
    }
    w->depth--;
    if (w->depth < ARRAY_LEN(w->open)) buf_printf(w->out, "</%s>", w->open[w->depth]);
}

void xml_element(struct xml_writer *w, const char *name, struct slice text) {
    buf_printf(w->out, "<%s>", name);
    append_escaped(w->out, text);
    buf_printf(w->out, "</%s>", name);
}

void xml_element_str(struct xml_writer *w, const char *name, const char *text) {
    xml_element(w, name, slice_str(text));
}

void xml_element_u64(struct xml_writer *w, const char *name, uint64_t value) {
    buf_printf(w->out, "<%s>%llu</%s>", name, (unsigned long long)value, name);
}

/* Reader. */

struct level {
    struct xml_node *node, *last_child;
    struct buf text;
};

struct reader {
    XML_Parser parser;
    struct level levels[DEPTH_MAX];
    unsigned depth;
    unsigned elements;
    struct xml_node *root;
    size_t text_max;
    const char *why; /* a limit that was broken */
};

static void refuse(struct reader *r, const char *why) {
    if (!r->why) r->why = why;
    XML_StopParser(r->parser, XML_FALSE);
}

static void on_open(void *arg, const char *name, const char **attributes) {
    struct reader *r = arg;
    if (r->why) return;
    if (r->depth == DEPTH_MAX) {
        refuse(r, "elements are nested too deeply");
        return;
    }
    if (++r->elements > ELEMENTS_MAX) {
        refuse(r, "there are too many elements");
        return;
    }
    const char *colon = strchr(name, ':');
    struct xml_node *n = mem_alloc(sizeof *n);
    n->name = str_dup(colon ? colon + 1 : name);
    struct level *level = &r->levels[r->depth++];
    level->node = n;
    level->last_child = NULL;
    buf_init(&level->text, r->text_max);
    if (r->depth == 1) {
        r->root = n;
        return;
    }
    struct level *parent = level - 1;
    if (parent->last_child)
        parent->last_child->next = n;
    else
        parent->node->first_child = n;
    parent->last_child = n;
}

static void on_close(void *arg, const char *name) {
    struct reader *r = arg;
    if (r->why) return;
    struct level *level = &r->levels[--r->depth];
    if (level->text.overflowed) refuse(r, "the text is too long");
    level->node->text = buf_take_str(&level->text);
    buf_done(&level->text);
}

static void on_text(void *arg, const char *text, int len) {
    struct reader *r = arg;
    if (!r->why && r->depth > 0) buf_append(&r->levels[r->depth - 1].text, text, (size_t)len);
}

/* Entities are defined in a DOCTYPE; without it there is nothing to expand and nothing to fetch. */
static void on_doctype(void *arg, const char *name, const char *system_id, const char *public_id, int has_internal) {
    refuse(arg, "a DOCTYPE is not allowed");
}

static void reader_done(struct reader *r) {
    while (r->depth > 0)
        buf_done(&r->levels[--r->depth].text);
    XML_ParserFree(r->parser);
    xml_free(r->root);
}

static struct result explain(struct reader *r) {
    CHECK(!r->why, ERR_INVALID, "the XML can't be taken: %s", r->why);
    FAIL(ERR_INVALID, "not valid XML (line %lu): %s", (unsigned long)XML_GetCurrentLineNumber(r->parser),
         XML_ErrorString(XML_GetErrorCode(r->parser)));
}

struct result xml_parse(struct slice text, struct xml_node **ret) {
    CHECK(text.len <= TEXT_MAX_BYTES, ERR_TOO_LARGE, "the XML is over %d bytes", TEXT_MAX_BYTES);
    AUTO(reader_done) struct reader r = {.parser = XML_ParserCreate(NULL), .text_max = 4 * text.len + 64};
    CHECK(r.parser, ERR_INTERNAL, "the XML reader could not be set up");
    XML_SetUserData(r.parser, &r);
    XML_SetElementHandler(r.parser, on_open, on_close);
    XML_SetCharacterDataHandler(r.parser, on_text);
    XML_SetStartDoctypeDeclHandler(r.parser, on_doctype);
    const char *data = text.len ? (const char *)text.data : "";
    if (XML_Parse(r.parser, data, (int)text.len, XML_TRUE) != XML_STATUS_OK || r.why) return explain(&r);
    *ret = TAKE(r.root);
    return OK;
}

struct xml_node *xml_free(struct xml_node *node) {
    while (node) {
        struct xml_node *next = node->next;
        xml_free(node->first_child); /* as deep as DEPTH_MAX at most */
        mem_free(node->name);
        mem_free(node->text);
        mem_free(node);
        node = next;
    }
    return NULL;
}

const struct xml_node *xml_child(const struct xml_node *node, const char *name) {
    for (const struct xml_node *c = node->first_child; c; c = c->next)
        if (strcmp(c->name, name) == 0) return c;
    return NULL;
}
