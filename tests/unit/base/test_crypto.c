#include <string.h>

#include "base/crypto.h"
#include "testing.h"

/* Hexadecimal text of a vector; the buffer is the caller's. */
static struct slice from_hex(const char *text, struct buf *to) {
    buf_init(to, 4096);
    ASSERT_OK(hex_decode(slice_str(text), to));
    return buf_slice(to);
}

static void assert_hex(const uint8_t *bytes, size_t n, const char *wanted) {
    BUF_AUTO(b, 4096);
    hex_encode(slice_make(bytes, n), &b);
    assert_string_equal(buf_str(&b), wanted);
}

static void test_sha256(void **state) {
    uint8_t h[SHA256_BYTES];
    ASSERT_OK(sha256(slice_str("abc"), h));
    assert_hex(h, sizeof h, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    ASSERT_OK(sha256((struct slice){0}, h));
    assert_hex(h, sizeof h, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

/* RFC 4231, cases 1, 2 and 6. */
static void test_hmac(void **state) {
    uint8_t h[SHA256_BYTES], key[131];
    memset(key, 0x0b, 20);
    ASSERT_OK(hmac_sha256(slice_make(key, 20), slice_str("Hi There"), h));
    assert_hex(h, sizeof h, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    ASSERT_OK(hmac_sha256(slice_str("Jefe"), slice_str("what do ya want for nothing?"), h));
    assert_hex(h, sizeof h, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    ASSERT_OK(hmac_sha256(slice_make(key, sizeof key),
                          slice_str("Test Using Larger Than Block-Size Key - Hash Key First"), h));
    assert_hex(h, sizeof h, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    ASSERT_OK(hmac_sha256((struct slice){0}, (struct slice){0}, h));
    assert_hex(h, sizeof h, "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

/* RFC 5869, cases 1 and 3. */
static void test_hkdf(void **state) {
    uint8_t ikm[22], out[8161];
    memset(ikm, 0x0b, sizeof ikm);
    AUTO(buf_done) struct buf salt, info;
    buf_init(&info, 0);
    struct slice s = from_hex("000102030405060708090a0b0c", &salt);
    struct slice i = from_hex("f0f1f2f3f4f5f6f7f8f9", &info);
    ASSERT_OK(hkdf_sha256(slice_make(ikm, sizeof ikm), s, i, out, 42));
    assert_hex(out, 42, "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
    ASSERT_OK(hkdf_sha256(slice_make(ikm, sizeof ikm), (struct slice){0}, (struct slice){0}, out, 42));
    assert_hex(out, 42, "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
    ASSERT_OK(hkdf_sha256(slice_make(ikm, sizeof ikm), s, i, out, 8160));
    ASSERT_ERR(TOO_LARGE, hkdf_sha256(slice_make(ikm, sizeof ikm), s, i, out, 8161));
}

static void test_streaming_digests(void **state) {
    uint8_t h[SHA256_BYTES];
    AUTO(digest_free_auto) struct digest *d = NULL;
    ASSERT_OK(digest_new(DIGEST_SHA256, &d));
    ASSERT_OK(digest_update(d, slice_str("a")));
    ASSERT_OK(digest_update(d, (struct slice){0}));
    ASSERT_OK(digest_update(d, slice_str("bc")));
    ASSERT_OK(digest_finish(d, h));
    assert_hex(h, sizeof h, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    AUTO(digest_free_auto) struct digest *m = NULL;
    ASSERT_OK(digest_new(DIGEST_MD5, &m));
    ASSERT_OK(digest_update(m, slice_str("abc")));
    ASSERT_OK(digest_finish(m, h));
    assert_hex(h, MD5_BYTES, "900150983cd24fb0d6963f7d28e17f72");
    assert_null(digest_free(NULL));
}

/* McGrew and Viega, "The Galois/Counter Mode of Operation", test cases 14 and 16. */
static void test_gcm_vectors(void **state) {
    uint8_t zero[32] = {0}, out[128];
    AUTO(gcm_free_auto) struct gcm *g = NULL;
    ASSERT_OK(gcm_new(slice_make(zero, 32), &g));
    ASSERT_OK(gcm_seal(g, zero, (struct slice){0}, slice_make(zero, 16), out));
    assert_hex(out, 32, "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
    ASSERT_OK(gcm_seal(g, zero, (struct slice){0}, (struct slice){0}, out));
    assert_hex(out, 16, "530f8afbc74536b9a963b4f1c4cb738b");

    AUTO(buf_done) struct buf key, nonce, aad, text;
    from_hex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", &key);
    from_hex("cafebabefacedbaddecaf888", &nonce);
    from_hex("feedfacedeadbeeffeedfacedeadbeefabaddad2", &aad);
    from_hex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aed"
             "f5aa0de657ba637b39",
             &text);
    AUTO(gcm_free_auto) struct gcm *h = NULL;
    ASSERT_OK(gcm_new(buf_slice(&key), &h));
    ASSERT_OK(gcm_seal(h, nonce.data, buf_slice(&aad), buf_slice(&text), out));
    assert_hex(out, 76,
               "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e"
               "6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b");
    uint8_t back[60];
    ASSERT_OK(gcm_open(h, nonce.data, buf_slice(&aad), slice_make(out, 76), back));
    assert_memory_equal(back, text.data, 60);
}

static void test_gcm_many_chunks_and_tampering(void **state) {
    enum { N = 1000 };
    uint8_t key[32], nonce[GCM_NONCE_BYTES] = {0}, text[N], sealed[N + GCM_TAG_BYTES], back[N], zeros[N] = {0};
    ASSERT_OK(random_bytes(key, sizeof key));
    ASSERT_OK(random_bytes(text, sizeof text));
    AUTO(gcm_free_auto) struct gcm *g = NULL;
    ASSERT_OK(gcm_new(slice_make(key, 32), &g));
    struct slice aad = slice_str("object 7");
    /* Sealing and opening in turns, with one object, and in place. */
    for (int i = 0; i < 300; i++) {
        nonce[11] = (uint8_t)i;
        nonce[10] = (uint8_t)(i >> 8);
        memcpy(sealed, text, N);
        ASSERT_OK(gcm_seal(g, nonce, aad, slice_make(sealed, N), sealed));
        assert_memory_not_equal(sealed, text, N);
        ASSERT_OK(gcm_open(g, nonce, aad, slice_make(sealed, sizeof sealed), sealed));
        assert_memory_equal(sealed, text, N);
    }
    ASSERT_OK(gcm_seal(g, nonce, aad, slice_make(text, N), sealed));
    for (size_t i = 0; i < sizeof sealed; i += 7) {
        sealed[i] ^= 1;
        memset(back, 1, N);
        ASSERT_ERR(CORRUPT, gcm_open(g, nonce, aad, slice_make(sealed, sizeof sealed), back));
        assert_memory_equal(back, zeros, N);
        sealed[i] ^= 1;
    }
    ASSERT_ERR(CORRUPT, gcm_open(g, nonce, slice_str("object 8"), slice_make(sealed, sizeof sealed), back));
    ASSERT_ERR(CORRUPT, gcm_open(g, nonce, aad, slice_make(sealed, sizeof sealed - 1), back));
    ASSERT_ERR(CORRUPT, gcm_open(g, nonce, aad, slice_make(sealed, 15), back));
    nonce[0] = 1;
    ASSERT_ERR(CORRUPT, gcm_open(g, nonce, aad, slice_make(sealed, sizeof sealed), back));
    nonce[0] = 0;
    ASSERT_OK(gcm_open(g, nonce, aad, slice_make(sealed, sizeof sealed), back));
    assert_memory_equal(back, text, N);
    struct gcm *none = NULL;
    ASSERT_ERR(INVALID, gcm_new(slice_make(key, 31), &none));
    assert_null(none);
}

/* Made with an implementation of RFC 5297 from CMAC and counter mode that reproduces appendix A.1 (whose key has 32
 * bytes and so does not fit here), and compared with a second one. */
static void test_siv_vectors(void **state) {
    static const char *const rows[][3] = {
        {"101112131415161718191a1b1c1d1e1f2021222324252627", "112233445566778899aabbccddee",
         "59e71a7723eaa441e91cb355cdeaba2b2ceadefbbc1c950948b8e8ed7c4a"},
        {"", "112233445566778899aabbccddee", "08ababbdeaf540759e0252fee9404cd0b9cfd88fb64b6a98e988e1d526c4"},
        {"6c6f636b736574206e616d6573", "78", "26fd350c8ab70798320e1e2ef28ee29f9c"},
        {"6c6f636b736574206e616d6573", "73616c65732f323032362f31312f32342f706172742d3030303030312e70617271756574",
         "e1b026e795d86241e13f7a6553ad0512680a1aa8e6c1a97ca25430efe63768cc0773b2bfcc1a990caa5c78b5052dd9044069ffa8"},
    };
    uint8_t key[64];
    for (int i = 0; i < 64; i++)
        key[i] = (uint8_t)(255 - i);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO(buf_done) struct buf aad, text, out;
        from_hex(rows[i][0], &aad);
        from_hex(rows[i][1], &text);
        buf_init(&out, 4096);
        ASSERT_OK(siv_seal(slice_make(key, 64), buf_slice(&aad), buf_slice(&text), &out));
        assert_hex(out.data, out.len, rows[i][2]);
        BUF_AUTO(back, 4096);
        ASSERT_OK(siv_open(slice_make(key, 64), buf_slice(&aad), buf_slice(&out), &back));
        assert_true(slice_equal(buf_slice(&back), buf_slice(&text)));
        for (size_t at = 0; at < out.len; at++) {
            out.data[at] ^= 0x80;
            size_t before = back.len;
            ASSERT_ERR(CORRUPT, siv_open(slice_make(key, 64), buf_slice(&aad), buf_slice(&out), &back));
            assert_int_equal(back.len, before);
            out.data[at] ^= 0x80;
        }
        ASSERT_ERR(CORRUPT, siv_open(slice_make(key, 64), slice_str("other"), buf_slice(&out), &back));
        ASSERT_ERR(CORRUPT, siv_open(slice_make(key, 64), buf_slice(&aad), slice_make(out.data, 16), &back));
    }
}

static void test_siv_limits(void **state) {
    uint8_t key[64] = {0};
    BUF_AUTO(out, 100);
    ASSERT_ERR(INVALID, siv_seal(slice_make(key, 64), slice_str("a"), (struct slice){0}, &out));
    ASSERT_ERR(INVALID, siv_seal(slice_make(key, 32), slice_str("a"), slice_str("b"), &out));
    BUF_AUTO(small, 16);
    ASSERT_ERR(TOO_LARGE, siv_seal(slice_make(key, 64), slice_str("a"), slice_str("b"), &small));
}

static void test_crc32(void **state) {
    assert_int_equal(crc32_update(0, slice_str("123456789")), 0xCBF43926);
    assert_int_equal(crc32_update(crc32_update(0, slice_str("1234")), slice_str("56789")), 0xCBF43926);
    assert_int_equal(crc32_update(0, slice_str("The quick brown fox jumps over the lazy dog")), 0x414FA339);
    assert_int_equal(crc32_update(0, (struct slice){0}), 0);
    assert_int_equal(crc32_update(0xCBF43926, (struct slice){0}), 0xCBF43926);
}

/* The check values of the catalogues: CRC-32/ISCSI and CRC-64/NVME of "123456789". */
static void test_crc32c_and_crc64nvme(void **state) {
    assert_int_equal(crc32c_update(0, slice_str("123456789")), 0xE3069283);
    assert_true(crc64nvme_update(0, slice_str("123456789")) == 0xAE8B14860A799888u);
    /* RFC 3720, B.4: 32 bytes of zeros, of ones, ascending. */
    uint8_t bytes[32] = {0};
    assert_int_equal(crc32c_update(0, slice_make(bytes, sizeof bytes)), 0x8A9136AA);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(crc32c_update(0, slice_make(bytes, sizeof bytes)), 0x62A8AB43);
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(crc32c_update(0, slice_make(bytes, sizeof bytes)), 0x46DD794E);
    /* Cut anywhere, it is the same: the eight bytes at a time and the single ones agree. */
    for (size_t cut = 0; cut <= sizeof bytes; cut++) {
        struct slice a = slice_make(bytes, cut), b = slice_make(bytes + cut, sizeof bytes - cut);
        assert_int_equal(crc32c_update(crc32c_update(0, a), b), 0x46DD794E);
        assert_true(crc64nvme_update(crc64nvme_update(0, a), b) ==
                    crc64nvme_update(0, slice_make(bytes, sizeof bytes)));
        assert_int_equal(crc32_update(crc32_update(0, a), b), crc32_update(0, slice_make(bytes, sizeof bytes)));
        assert_true(crc64nvme_join(crc64nvme_update(0, a), crc64nvme_update(0, b), b.len) ==
                    crc64nvme_update(0, slice_make(bytes, sizeof bytes)));
    }
}

/* FIPS 180-4's example. */
static void test_sha1(void **state) {
    static const uint8_t abc[SHA1_BYTES] = {0xa9, 0x99, 0x3e, 0x36, 0x47, 0x06, 0x81, 0x6a, 0xba, 0x3e,
                                            0x25, 0x71, 0x78, 0x50, 0xc2, 0x6c, 0x9c, 0xd0, 0xd8, 0x9d};
    AUTO(digest_free_auto) struct digest *d = NULL;
    uint8_t got[SHA1_BYTES];
    ASSERT_OK(digest_new(DIGEST_SHA1, &d));
    ASSERT_OK(digest_update(d, slice_str("abc")));
    ASSERT_OK(digest_finish(d, got));
    assert_memory_equal(got, abc, sizeof abc);
}

static void test_random(void **state) {
    uint8_t a[64] = {0}, b[64] = {0};
    ASSERT_OK(random_bytes(a, sizeof a));
    ASSERT_OK(random_bytes(b, sizeof b));
    assert_memory_not_equal(a, b, sizeof a);
    ASSERT_OK(random_bytes(NULL, 0));
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(test_sha256),      cmocka_unit_test(test_hmac),
    cmocka_unit_test(test_hkdf),        cmocka_unit_test(test_streaming_digests),
    cmocka_unit_test(test_gcm_vectors), cmocka_unit_test(test_gcm_many_chunks_and_tampering),
    cmocka_unit_test(test_siv_vectors), cmocka_unit_test(test_siv_limits),
    cmocka_unit_test(test_crc32),       cmocka_unit_test(test_random),
    cmocka_unit_test(test_sha1),        cmocka_unit_test(test_crc32c_and_crc64nvme),
};

TEST_MAIN(tests)
