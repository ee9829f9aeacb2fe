#include "kms/kind.h"

#include <string.h>

#define LIST(name, ...) static const char *const name[] = {__VA_ARGS__, NULL}
LIST(symmetric, "SYMMETRIC_DEFAULT");
LIST(rsa_encrypts, "RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256");
LIST(rsa_signs, "RSASSA_PKCS1_V1_5_SHA_256", "RSASSA_PKCS1_V1_5_SHA_384", "RSASSA_PKCS1_V1_5_SHA_512",
     "RSASSA_PSS_SHA_256", "RSASSA_PSS_SHA_384", "RSASSA_PSS_SHA_512");
LIST(ecdsa_256, "ECDSA_SHA_256");
LIST(ecdsa_384, "ECDSA_SHA_384");
LIST(ecdsa_512, "ECDSA_SHA_512");
LIST(ecdh, "ECDH");
LIST(hmac_224, "HMAC_SHA_224");
LIST(hmac_256, "HMAC_SHA_256");
LIST(hmac_384, "HMAC_SHA_384");
LIST(hmac_512, "HMAC_SHA_512");
#undef LIST

#define ENCRYPTS(spec, algorithms)                                                                                     \
    { spec, "ENCRYPT_DECRYPT", "EncryptionAlgorithms", algorithms }
#define SIGNS(spec, algorithms)                                                                                        \
    { spec, "SIGN_VERIFY", "SigningAlgorithms", algorithms }
#define AGREES(spec)                                                                                                   \
    { spec, "KEY_AGREEMENT", "KeyAgreementAlgorithms", ecdh }
#define HMACS(spec, algorithms)                                                                                        \
    { spec, "GENERATE_VERIFY_MAC", "MacAlgorithms", algorithms }
static const struct kmsd_kind kinds[] = {
    ENCRYPTS("SYMMETRIC_DEFAULT", symmetric),
    ENCRYPTS("RSA_2048", rsa_encrypts),
    ENCRYPTS("RSA_3072", rsa_encrypts),
    ENCRYPTS("RSA_4096", rsa_encrypts),
    SIGNS("RSA_2048", rsa_signs),
    SIGNS("RSA_3072", rsa_signs),
    SIGNS("RSA_4096", rsa_signs),
    SIGNS("ECC_NIST_P256", ecdsa_256),
    SIGNS("ECC_NIST_P384", ecdsa_384),
    SIGNS("ECC_NIST_P521", ecdsa_512),
    SIGNS("ECC_SECG_P256K1", ecdsa_256),
    AGREES("ECC_NIST_P256"),
    AGREES("ECC_NIST_P384"),
    AGREES("ECC_NIST_P521"),
    HMACS("HMAC_224", hmac_224),
    HMACS("HMAC_256", hmac_256),
    HMACS("HMAC_384", hmac_384),
    HMACS("HMAC_512", hmac_512),
};
const struct kmsd_kind *const kmsd_symmetric = &kinds[0];

const struct kmsd_kind *kmsd_kind_find(const char *spec, const char *usage) {
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(kinds[i].spec, spec) == 0 && strcmp(kinds[i].usage, usage) == 0) return &kinds[i];
    return NULL;
}

bool kmsd_is_spec(const char *spec) {
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(kinds[i].spec, spec) == 0) return true;
    return false;
}

bool kmsd_kind_is_symmetric(const struct kmsd_kind *k) {
    return k == kmsd_symmetric;
}
