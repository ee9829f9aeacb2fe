/* XML: the reader keeps its limits, and what the writer makes of any text reads back as that text. */
#include <string.h>

#include "base/xml.h"
#include "fuzz.h"

static void check_tree(const struct xml_node *node, unsigned depth, unsigned *count) {
    PROMISE(depth <= 16);
    for (; node; node = node->next) {
        PROMISE(node->name && node->text);
        PROMISE(++*count <= 64000);
        check_tree(node->first_child, depth + 1, count);
    }
}

/* Characters that XML 1.0 holds and a reader leaves alone. */
static bool is_ordinary(struct slice text) {
    if (!slice_is_utf8(text)) return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < 0x20 && text.data[i] != '\t' && text.data[i] != '\n' && text.data[i] != '\r') return false;
        /* U+FFFE and U+FFFF */
        if (text.data[i] == 0xEF && text.len - i > 2 && text.data[i + 1] == 0xBF && text.data[i + 2] >= 0xBE)
            return false;
    }
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct slice text = slice_make(data, size);
    AUTO(xml_free_auto) struct xml_node *root = NULL;
    err_forget();
    struct result r = xml_parse(text, &root);
    PROMISE(is_settled(r));
    PROMISE(is_ok(r) == (root != NULL));
    unsigned count = 0;
    check_tree(root, 1, &count);

    BUF_AUTO(written, 8 * size + 256);
    struct xml_writer w;
    xml_start(&w, &written);
    xml_open_ns(&w, "a", "urn:x");
    xml_element(&w, "b", text);
    xml_close(&w);
    PROMISE(is_ok(buf_check(&written)));
    AUTO(xml_free_auto) struct xml_node *back = NULL;
    if (!is_ordinary(text)) return 0;
    PROMISE(is_ok(xml_parse(buf_slice(&written), &back)));
    PROMISE(slice_equal(slice_str(xml_child(back, "b")->text), text));
    return 0;
}
