#include <string.h>

#include "base/xml.h"
#include "testing.h"

static void test_writer(void **state) {
    BUF_AUTO(b, 4096);
    struct xml_writer w;
    xml_start(&w, &b);
    xml_open_ns(&w, "R", "http://s3.amazonaws.com/doc/2006-03-01/");
    xml_element_str(&w, "Key", "a<b>&\"'\r\n\t");
    xml_element(&w, "Bad", slice_make("\x01\0\xFF\xEF\xBF\xBF\xC3\xA9", 8));
    xml_open(&w, "In");
    xml_element_u64(&w, "Size", UINT64_MAX);
    xml_close(&w);
    xml_close(&w);
    ASSERT_OK(buf_check(&b));
    assert_string_equal(
        buf_str(&b), "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<R xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                     "<Key>a&lt;b&gt;&amp;&quot;'&#xd;\n\t</Key><Bad>&#x1;&#x0;\xEF\xBF\xBD&#xffff;\xC3\xA9</Bad>"
                     "<In><Size>18446744073709551615</Size></In></R>");
    xml_close(&w);
    ASSERT_ERR(TOO_LARGE, buf_check(&b));
}

static void test_writer_depth(void **state) {
    BUF_AUTO(b, 4096);
    struct xml_writer w;
    xml_start(&w, &b);
    for (int i = 0; i < 16; i++)
        xml_open(&w, "a");
    ASSERT_OK(buf_check(&b));
    xml_open(&w, "a");
    ASSERT_ERR(TOO_LARGE, buf_check(&b));
}

static void test_reader(void **state) {
    AUTO(xml_free_auto) struct xml_node *root = NULL;
    ASSERT_OK(
        xml_parse(slice_str("<?xml version=\"1.0\"?><s:Complete xmlns:s=\"x\"><Part><Number>1</Number><ETag>&quot;a"
                            "&#x62;&quot;</ETag></Part> <Part><Number>2</Number><Empty/></Part></s:Complete>"),
                  &root));
    assert_string_equal(root->name, "Complete");
    assert_string_equal(root->text, " ");
    const struct xml_node *part = xml_child(root, "Part");
    assert_string_equal(xml_child(part, "ETag")->text, "\"ab\"");
    assert_string_equal(part->next->first_child->text, "2");
    assert_string_equal(xml_child(part->next, "Empty")->text, "");
    assert_null(xml_child(part, "None"));
    assert_null(part->next->next);
}

static void test_reader_refuses(void **state) {
    static const char *const bad[] = {"",
                                      "<a>",
                                      "<a></b>",
                                      "<a/><b/>",
                                      "x",
                                      "<a>&b;</a>",
                                      "<a \xFF=''/>",
                                      "<a b='1' b='2'/>",
                                      "<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
                                      "<!DOCTYPE a SYSTEM \"http://example.com/x\"><a/>",
                                      "<!DOCTYPE a><a/>",
                                      "<a>\x01</a>",
                                      "<a>&#0;</a>"};
    struct xml_node *root = NULL;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        ASSERT_ERR(INVALID, xml_parse(slice_str(bad[i]), &root));
    assert_null(root);
}

static void test_reader_limits(void **state) {
    BUF_AUTO(b, 1 << 20);
    for (int i = 0; i < 16; i++)
        buf_append_str(&b, "<a>");
    for (int i = 0; i < 16; i++)
        buf_append_str(&b, "</a>");
    struct xml_node *root = NULL;
    ASSERT_OK(xml_parse(buf_slice(&b), &root));
    root = xml_free(root);
    buf_clear(&b);
    for (int i = 0; i < 17; i++)
        buf_append_str(&b, "<a>");
    for (int i = 0; i < 17; i++)
        buf_append_str(&b, "</a>");
    ASSERT_ERR(INVALID, xml_parse(buf_slice(&b), &root));
    assert_non_null(strstr(err_detail(), "deeply"));
    buf_clear(&b);
    buf_append_str(&b, "<a>");
    for (int i = 0; i < 63999; i++)
        buf_append_str(&b, "<b/>");
    buf_append_str(&b, "</a>");
    ASSERT_OK(xml_parse(buf_slice(&b), &root));
    root = xml_free(root);
    b.len -= 4;
    buf_append_str(&b, "<b/></a>");
    ASSERT_ERR(INVALID, xml_parse(buf_slice(&b), &root));
    assert_non_null(strstr(err_detail(), "too many"));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_writer),         cmocka_unit_test(test_writer_depth),  cmocka_unit_test(test_reader),
    cmocka_unit_test(test_reader_refuses), cmocka_unit_test(test_reader_limits),
};

TEST_MAIN(tests)
