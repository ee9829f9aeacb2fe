#include "base/crypto.h"

#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>

/* Looking an algorithm up by name costs more than hashing a short text, so each is fetched once and kept. */
static struct {
    EVP_MD *sha256, *sha1, *md5;
    EVP_CIPHER *gcm, *siv;
    EVP_MAC *hmac;
    EVP_MAC_CTX *hmac_sha256; /* a pattern to copy: knows its digest, has no key */
} algorithms;
static pthread_once_t algorithms_once = PTHREAD_ONCE_INIT;

static void algorithms_fetch(void) {
    algorithms.sha256 = EVP_MD_fetch(NULL, "SHA2-256", NULL);
    algorithms.sha1 = EVP_MD_fetch(NULL, "SHA1", NULL);
    algorithms.md5 = EVP_MD_fetch(NULL, "MD5", NULL);
    algorithms.gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    algorithms.siv = EVP_CIPHER_fetch(NULL, "AES-256-SIV", NULL);
    algorithms.hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    if (!algorithms.hmac) return;
    char digest[] = "SHA2-256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                           OSSL_PARAM_construct_end()};
    algorithms.hmac_sha256 = EVP_MAC_CTX_new(algorithms.hmac);
    if (algorithms.hmac_sha256 && EVP_MAC_CTX_set_params(algorithms.hmac_sha256, params) != 1) {
        EVP_MAC_CTX_free(algorithms.hmac_sha256);
        algorithms.hmac_sha256 = NULL;
    }
}

static struct result algorithms_ready(void) {
    pthread_once(&algorithms_once, algorithms_fetch);
    CHECK(algorithms.sha256 && algorithms.sha1 && algorithms.md5 && algorithms.gcm && algorithms.siv &&
              algorithms.hmac_sha256,
          ERR_INTERNAL,
          "OpenSSL lacks an algorithm that Lockset needs (is the FIPS configuration without MD5 or SIV?)");
    return OK;
}

static void cipher_free_auto(EVP_CIPHER_CTX **c) {
    EVP_CIPHER_CTX_free(*c);
}

static void mac_free_auto(EVP_MAC_CTX **c) {
    EVP_MAC_CTX_free(*c);
}

struct result random_bytes(void *p, size_t n) {
    uint8_t *at = p;
    while (n > 0) {
        int piece = n > INT_MAX ? INT_MAX : (int)n;
        CHECK(RAND_priv_bytes(at, piece) == 1, ERR_INTERNAL, "the random generator failed");
        at += piece;
        n -= (size_t)piece;
    }
    return OK;
}

struct result sha256(struct slice in, uint8_t ret[static SHA256_BYTES]) {
    TRY(algorithms_ready());
    CHECK(EVP_Digest(in.data, in.len, ret, NULL, algorithms.sha256, NULL) == 1, ERR_INTERNAL, "SHA-256 failed");
    return OK;
}

/* HMAC over up to three pieces, as one message. */
static struct result hmac_pieces(struct slice key, const struct slice *pieces, size_t count,
                                 uint8_t ret[static SHA256_BYTES]) {
    TRY(algorithms_ready());
    AUTO(mac_free_auto) EVP_MAC_CTX *mac = EVP_MAC_CTX_dup(algorithms.hmac_sha256);
    CHECK(mac, ERR_INTERNAL, "HMAC-SHA-256 failed");
    /* A NULL key would mean "the key set before". */
    static const uint8_t no_bytes[1];
    int ok = EVP_MAC_init(mac, key.len ? key.data : no_bytes, key.len, NULL);
    for (size_t i = 0; ok == 1 && i < count; i++)
        if (pieces[i].len) ok = EVP_MAC_update(mac, pieces[i].data, pieces[i].len);
    size_t len = 0;
    CHECK(ok == 1 && EVP_MAC_final(mac, ret, &len, SHA256_BYTES) == 1 && len == SHA256_BYTES, ERR_INTERNAL,
          "HMAC-SHA-256 failed");
    return OK;
}

struct result hmac_sha256(struct slice key, struct slice in, uint8_t ret[static SHA256_BYTES]) {
    return hmac_pieces(key, &in, 1, ret);
}

struct block {
    uint8_t bytes[SHA256_BYTES];
};

static void block_wipe(struct block *b) {
    wipe(b, sizeof *b);
}

struct result hkdf_sha256(struct slice key, struct slice salt, struct slice info, uint8_t *ret, size_t len) {
    CHECK(len <= 255 * SHA256_BYTES, ERR_TOO_LARGE, "HKDF can't give %zu bytes", len);
    static const uint8_t zeros[SHA256_BYTES];
    if (salt.len == 0) salt = slice_make(zeros, sizeof zeros);
    AUTO(block_wipe) struct block extracted = {0};
    AUTO(block_wipe) struct block t = {0};
    TRY(hmac_sha256(salt, key, extracted.bytes));
    for (uint8_t counter = 1; len > 0; counter++) {
        struct slice pieces[] = {slice_make(t.bytes, counter == 1 ? 0 : sizeof t.bytes), info, slice_make(&counter, 1)};
        TRY(hmac_pieces(slice_make(extracted.bytes, sizeof extracted.bytes), pieces, ARRAY_LEN(pieces), t.bytes));
        size_t n = len < sizeof t.bytes ? len : sizeof t.bytes;
        mem_copy(ret, t.bytes, n);
        ret += n;
        len -= n;
    }
    return OK;
}

struct digest {
    EVP_MD_CTX *context;
};

struct result digest_new(enum digest_kind kind, struct digest **ret) {
    TRY(algorithms_ready());
    AUTO(digest_free_auto) struct digest *d = mem_alloc(sizeof *d);
    d->context = EVP_MD_CTX_new();
    const EVP_MD *md = kind == DIGEST_MD5 ? algorithms.md5 : kind == DIGEST_SHA1 ? algorithms.sha1 : algorithms.sha256;
    CHECK(d->context && EVP_DigestInit_ex2(d->context, md, NULL) == 1, ERR_INTERNAL, "a digest could not be started");
    *ret = TAKE(d);
    return OK;
}

struct result digest_update(struct digest *d, struct slice in) {
    CHECK(EVP_DigestUpdate(d->context, in.data, in.len) == 1, ERR_INTERNAL, "a digest could not be continued");
    return OK;
}

struct result digest_finish(struct digest *d, uint8_t *ret) {
    CHECK(EVP_DigestFinal_ex(d->context, ret, NULL) == 1, ERR_INTERNAL, "a digest could not be finished");
    return OK;
}

struct digest *digest_free(struct digest *d) {
    if (d) EVP_MD_CTX_free(d->context);
    mem_free(d);
    return NULL;
}

/* EVP_CipherUpdate for any length; out NULL: associated data. */
static bool cipher_update(EVP_CIPHER_CTX *c, struct slice in, uint8_t *out) {
    enum { PIECE = 1 << 30 };
    while (in.len > 0) {
        int piece = in.len > PIECE ? PIECE : (int)in.len, written = 0;
        if (EVP_CipherUpdate(c, out, &written, in.data, piece) != 1) return false;
        if (out && written != piece) return false;
        if (out) out += piece;
        in = slice_make(in.data + piece, in.len - (size_t)piece);
    }
    return true;
}

struct gcm {
    EVP_CIPHER_CTX *context;
};

struct result gcm_new(struct slice key, struct gcm **ret) {
    TRY(algorithms_ready());
    CHECK(key.len == KEY_BYTES, ERR_INVALID, "an AES-256 key must have 32 bytes, not %zu", key.len);
    AUTO(gcm_free_auto) struct gcm *g = mem_alloc(sizeof *g);
    g->context = EVP_CIPHER_CTX_new();
    CHECK(g->context && EVP_EncryptInit_ex2(g->context, algorithms.gcm, key.data, NULL, NULL) == 1, ERR_INTERNAL,
          "AES-256-GCM could not be set up");
    *ret = TAKE(g);
    return OK;
}

struct result gcm_seal(struct gcm *g, const uint8_t nonce[static GCM_NONCE_BYTES], struct slice aad, struct slice in,
                       uint8_t *out) {
    int rest = 0;
    bool ok = EVP_EncryptInit_ex2(g->context, NULL, NULL, nonce, NULL) == 1 && cipher_update(g->context, aad, NULL) &&
              cipher_update(g->context, in, out) && EVP_EncryptFinal_ex(g->context, out + in.len, &rest) == 1 &&
              EVP_CIPHER_CTX_ctrl(g->context, EVP_CTRL_AEAD_GET_TAG, GCM_TAG_BYTES, out + in.len) == 1;
    CHECK(ok, ERR_INTERNAL, "AES-256-GCM could not encrypt");
    return OK;
}

struct result gcm_open(struct gcm *g, const uint8_t nonce[static GCM_NONCE_BYTES], struct slice aad, struct slice in,
                       uint8_t *out) {
    CHECK(in.len >= GCM_TAG_BYTES, ERR_CORRUPT, "encrypted data is shorter than its tag");
    struct slice text = slice_make(in.data, in.len - GCM_TAG_BYTES);
    uint8_t tag[GCM_TAG_BYTES];
    mem_copy(tag, in.data + text.len, sizeof tag);
    uint8_t nothing[GCM_TAG_BYTES];
    int rest = 0;
    bool set_up = EVP_DecryptInit_ex2(g->context, NULL, NULL, nonce, NULL) == 1 &&
                  EVP_CIPHER_CTX_ctrl(g->context, EVP_CTRL_AEAD_SET_TAG, sizeof tag, tag) == 1;
    CHECK(set_up, ERR_INTERNAL, "AES-256-GCM could not decrypt");
    if (!cipher_update(g->context, aad, NULL) || !cipher_update(g->context, text, out) ||
        EVP_DecryptFinal_ex(g->context, nothing, &rest) != 1) {
        wipe(out, text.len);
        FAIL(ERR_CORRUPT, "encrypted data did not verify: it was changed, or belongs to another key or place");
    }
    return OK;
}

struct result gcm_mark(struct gcm *g, const uint8_t nonce[static GCM_NONCE_BYTES], struct slice aad, struct slice text,
                       uint8_t ret_tag[static GCM_TAG_BYTES]) {
    uint8_t nothing[GCM_TAG_BYTES];
    int rest = 0;
    bool ok = EVP_EncryptInit_ex2(g->context, NULL, NULL, nonce, NULL) == 1 && cipher_update(g->context, aad, NULL) &&
              cipher_update(g->context, text, NULL) && EVP_EncryptFinal_ex(g->context, nothing, &rest) == 1 &&
              EVP_CIPHER_CTX_ctrl(g->context, EVP_CTRL_AEAD_GET_TAG, GCM_TAG_BYTES, ret_tag) == 1;
    CHECK(ok, ERR_INTERNAL, "AES-256-GMAC could not be computed");
    return OK;
}

struct result gcm_verify(struct gcm *g, const uint8_t nonce[static GCM_NONCE_BYTES], struct slice aad,
                         struct slice text, const uint8_t tag[static GCM_TAG_BYTES]) {
    uint8_t wanted[GCM_TAG_BYTES], nothing[GCM_TAG_BYTES];
    mem_copy(wanted, tag, sizeof wanted);
    int rest = 0;
    bool set_up = EVP_DecryptInit_ex2(g->context, NULL, NULL, nonce, NULL) == 1 &&
                  EVP_CIPHER_CTX_ctrl(g->context, EVP_CTRL_AEAD_SET_TAG, sizeof wanted, wanted) == 1;
    CHECK(set_up, ERR_INTERNAL, "AES-256-GMAC could not be set up");
    CHECK(cipher_update(g->context, aad, NULL) && cipher_update(g->context, text, NULL) &&
              EVP_DecryptFinal_ex(g->context, nothing, &rest) == 1,
          ERR_CORRUPT, "authenticated data did not verify: it was changed, or belongs to another key or place");
    return OK;
}

struct gcm *gcm_free(struct gcm *g) {
    if (g) EVP_CIPHER_CTX_free(g->context); /* wipes the key schedule */
    mem_free(g);
    return NULL;
}

static struct result siv_start(struct slice key64, EVP_CIPHER_CTX *c, bool seals) {
    TRY(algorithms_ready());
    CHECK(key64.len == 2 * KEY_BYTES, ERR_INVALID, "an AES-256-SIV key must have 64 bytes, not %zu", key64.len);
    CHECK(c && EVP_CipherInit_ex2(c, algorithms.siv, key64.data, NULL, seals, NULL) == 1, ERR_INTERNAL,
          "AES-256-SIV could not be set up");
    return OK;
}

/* Unlike GCM, SIV takes the whole text in one call, and an empty associated string still counts as one. */
static bool siv_update(EVP_CIPHER_CTX *c, struct slice aad, struct slice in, uint8_t *out) {
    static const uint8_t no_bytes[1];
    int written = 0;
    return EVP_CipherUpdate(c, NULL, &written, aad.len ? aad.data : no_bytes, (int)aad.len) == 1 &&
           EVP_CipherUpdate(c, out, &written, in.data, (int)in.len) == 1 && written == (int)in.len;
}

struct result siv_seal(struct slice key64, struct slice aad, struct slice in, struct buf *out) {
    CHECK(in.len > 0 && in.len <= INT_MAX && aad.len <= INT_MAX, ERR_INVALID, "AES-256-SIV can't take %zu bytes",
          in.len);
    AUTO(cipher_free_auto) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    TRY(siv_start(key64, c, true));
    uint8_t *to = buf_reserve(out, SIV_TAG_BYTES + in.len);
    if (!to) return buf_check(out);
    bool ok = siv_update(c, aad, in, to + SIV_TAG_BYTES) &&
              EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, SIV_TAG_BYTES, to) == 1;
    CHECK(ok, ERR_INTERNAL, "AES-256-SIV could not encrypt");
    out->len += SIV_TAG_BYTES + in.len;
    return OK;
}

struct result siv_open(struct slice key64, struct slice aad, struct slice in, struct buf *out) {
    CHECK(in.len > SIV_TAG_BYTES && in.len <= INT_MAX && aad.len <= INT_MAX, ERR_CORRUPT,
          "an encrypted name has an impossible length");
    AUTO(cipher_free_auto) EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    TRY(siv_start(key64, c, false));
    struct slice text = slice_make(in.data + SIV_TAG_BYTES, in.len - SIV_TAG_BYTES);
    uint8_t tag[SIV_TAG_BYTES];
    mem_copy(tag, in.data, sizeof tag);
    CHECK(EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, sizeof tag, tag) == 1, ERR_INTERNAL,
          "AES-256-SIV could not decrypt");
    uint8_t *to = buf_reserve(out, text.len);
    if (!to) return buf_check(out);
    if (!siv_update(c, aad, text, to)) {
        wipe(to, text.len);
        FAIL(ERR_CORRUPT, "an encrypted name did not verify: it was changed, or belongs to another key or place");
    }
    out->len += text.len;
    return OK;
}
