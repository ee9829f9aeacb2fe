/* Ciphertext blobs, encryption contexts, wrapped material. */
#include <string.h>

#include "kms/blob.h"
#include "testing.h"

static const char key_id[] = "mrk-0123456789abcdef0123456789abcdef";
static uint8_t material[KEY_BYTES] = {1, 2, 3};
static uint8_t material_id[KMSD_MATERIAL_ID_BYTES] = {9, 8, 7};

static json_t *parse(const char *text, struct kmsd_context *ret) {
    json_t *j = NULL;
    ASSERT_OK(json_parse_object(slice_str(text), &j));
    ASSERT_OK(kmsd_context_from_json(j, ret));
    return j;
}

static struct result open_with(struct slice bytes, const char *pairs, struct buf *out) {
    struct kmsd_blob blob;
    TRY(kmsd_blob_parse(bytes, &blob));
    AUTO(kmsd_context_done) struct kmsd_context context = {0};
    AUTO(json_unref) json_t *j = parse(pairs, &context);
    return kmsd_blob_open(slice_make(material, sizeof material), &blob, &context, out);
}

static void seal_with(const char *plaintext, const char *pairs, struct buf *out) {
    AUTO(kmsd_context_done) struct kmsd_context context = {0};
    AUTO(json_unref) json_t *j = parse(pairs, &context);
    ASSERT_OK(kmsd_blob_seal(slice_make(material, sizeof material), key_id, material_id, &context, slice_str(plaintext),
                             out));
}

static void there_and_back(void **state) {
    BUF_AUTO(blob, 8192);
    BUF_AUTO(plain, 8192);
    seal_with("attack at dawn", "{\"b\":\"2\",\"a\":\"1\"}", &blob);
    assert_int_equal(blob.len, KMSD_BLOB_OVERHEAD + strlen("attack at dawn"));
    ASSERT_OK(open_with(buf_slice(&blob), "{\"a\":\"1\",\"b\":\"2\"}", &plain));
    ASSERT_SLICE(buf_slice(&plain), "attack at dawn");
    BUF_AUTO(again, 8192);
    seal_with("attack at dawn", "{\"b\":\"2\",\"a\":\"1\"}", &again);
    assert_false(slice_equal(buf_slice(&blob), buf_slice(&again)));
}

static void every_flipped_byte(void **state) {
    BUF_AUTO(blob, 8192);
    seal_with("secret", "{\"a\":\"1\"}", &blob);
    for (size_t i = 0; i < blob.len; i++) {
        BUF_AUTO(plain, 8192);
        blob.data[i] ^= 0x20;
        struct result r = open_with(buf_slice(&blob), "{\"a\":\"1\"}", &plain);
        if (r.code != ERR_CORRUPT || plain.len != 0) fail_msg("byte %zu flipped: %s", i, err_name(r.code));
        blob.data[i] ^= 0x20;
    }
}

static void every_length(void **state) {
    BUF_AUTO(blob, 8192);
    seal_with("secret", "{}", &blob);
    for (size_t len = 0; len < blob.len; len++) {
        BUF_AUTO(plain, 8192);
        ASSERT_ERR(CORRUPT, open_with(slice_make(blob.data, len), "{}", &plain));
    }
    BUF_AUTO(plain, 8192);
    buf_append_byte(&blob, 0);
    ASSERT_ERR(CORRUPT, open_with(buf_slice(&blob), "{}", &plain));
}

static void other_contexts(void **state) {
    static const char *const others[] = {"{}",
                                         "{\"a\":\"c\"}",
                                         "{\"A\":\"b\"}",
                                         "{\"ab\":\"\"}",
                                         "{\"\":\"ab\"}",
                                         "{\"a\":\"b\",\"c\":\"d\"}",
                                         "{\"a\":\"b\",\"\":\"\"}",
                                         "{\"b\":\"a\"}"};
    BUF_AUTO(blob, 8192);
    seal_with("secret", "{\"a\":\"b\"}", &blob);
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        BUF_AUTO(plain, 8192);
        ASSERT_ERR(CORRUPT, open_with(buf_slice(&blob), others[i], &plain));
    }
}

static void context_of_other_types(void **state) {
    static const char *const wrong[] = {"{\"a\":1}", "{\"a\":null}", "{\"a\":[]}", "{\"a\":true}", "{\"a\":{}}"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        JSON_AUTO(j);
        struct kmsd_context context = {0};
        ASSERT_OK(json_parse_object(slice_str(wrong[i]), &j));
        ASSERT_ERR(INVALID, kmsd_context_from_json(j, &context));
        assert_null(context.pairs);
    }
}

static void wrapping(void **state) {
    uint8_t wrapped[KMSD_WRAPPED_BYTES], root[KEY_BYTES] = {5}, other_root[KEY_BYTES] = {6};
    struct slice root_key = slice_make(root, sizeof root);
    ASSERT_OK(kmsd_wrap(root_key, slice_str("a/k/1"), slice_make(material, sizeof material), wrapped));
    SECRET_AUTO(back);
    ASSERT_OK(kmsd_unwrap(root_key, slice_str("a/k/1"), wrapped, &back));
    assert_true(secret_equal(secret_view(&back), slice_make(material, sizeof material)));
    struct secret none = {0};
    ASSERT_ERR(CORRUPT, kmsd_unwrap(root_key, slice_str("a/k/2"), wrapped, &none));
    ASSERT_ERR(CORRUPT, kmsd_unwrap(slice_make(other_root, sizeof other_root), slice_str("a/k/1"), wrapped, &none));
    for (size_t i = 0; i < sizeof wrapped; i++) {
        wrapped[i] ^= 1;
        ASSERT_ERR(CORRUPT, kmsd_unwrap(root_key, slice_str("a/k/1"), wrapped, &none));
        wrapped[i] ^= 1;
    }
    assert_null(none.data);
    ASSERT_ERR(INTERNAL, kmsd_wrap(root_key, slice_str("a/k/1"), slice_str("short"), wrapped));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(there_and_back), cmocka_unit_test(every_flipped_byte),     cmocka_unit_test(every_length),
    cmocka_unit_test(other_contexts), cmocka_unit_test(context_of_other_types), cmocka_unit_test(wrapping),
};
TEST_MAIN(tests)
