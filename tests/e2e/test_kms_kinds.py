"""Keys of the local KMS that aren't symmetric: described, managed, and refused where only symmetric keys work."""
import pytest

from kms_tools import CUSTOMER, EAST, WEST, Kms, b64
from lockset_dev import wait_for

RSA_SIGNS = [f"RSASSA_{scheme}_SHA_{bits}" for scheme in ("PKCS1_V1_5", "PSS") for bits in (256, 384, 512)]
OAEP = ["RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"]
KINDS = [
    *((f"RSA_{bits}", "ENCRYPT_DECRYPT", "EncryptionAlgorithms", OAEP) for bits in (2048, 3072, 4096)),
    *((f"RSA_{bits}", "SIGN_VERIFY", "SigningAlgorithms", RSA_SIGNS) for bits in (2048, 3072, 4096)),
    ("ECC_NIST_P256", "SIGN_VERIFY", "SigningAlgorithms", ["ECDSA_SHA_256"]),
    ("ECC_NIST_P384", "SIGN_VERIFY", "SigningAlgorithms", ["ECDSA_SHA_384"]),
    ("ECC_NIST_P521", "SIGN_VERIFY", "SigningAlgorithms", ["ECDSA_SHA_512"]),
    ("ECC_SECG_P256K1", "SIGN_VERIFY", "SigningAlgorithms", ["ECDSA_SHA_256"]),
    ("ECC_NIST_P256", "KEY_AGREEMENT", "KeyAgreementAlgorithms", ["ECDH"]),
    *((f"HMAC_{bits}", "GENERATE_VERIFY_MAC", "MacAlgorithms", [f"HMAC_SHA_{bits}"]) for bits in (224, 256, 384, 512)),
]
ALGORITHM_MEMBERS = {"EncryptionAlgorithms", "SigningAlgorithms", "KeyAgreementAlgorithms", "MacAlgorithms"}


@pytest.fixture(scope="module")
def kms(tmp_path_factory):
    kms = Kms(tmp_path_factory.mktemp("kms"), WEST).start()
    yield kms
    assert kms.stop() == 0


def make(kms, spec, usage, **more):
    return kms.ok("CreateKey", KeySpec=spec, KeyUsage=usage, **more)["KeyMetadata"]


@pytest.mark.parametrize("spec, usage, member, algorithms", KINDS)
def test_described(kms, spec, usage, member, algorithms):
    key = make(kms, spec, usage)
    assert (key["KeySpec"], key["CustomerMasterKeySpec"], key["KeyUsage"]) == (spec, spec, usage)
    assert {m: key[m] for m in ALGORITHM_MEMBERS & set(key)} == {member: algorithms}
    assert "CurrentKeyMaterialId" not in key and key["KeyState"] == "Enabled"
    assert kms.ok("DescribeKey", KeyId=key["Arn"])["KeyMetadata"] == key


def test_they_survive(kms):
    key = make(kms, "HMAC_256", "GENERATE_VERIFY_MAC", MultiRegion=True)
    kms.restart(9)
    assert kms.ok("DescribeKey", KeyId=key["KeyId"])["KeyMetadata"] == key


@pytest.mark.parametrize("spec, usage, message", [
    ("RSA_2048", None, "You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys."),
    ("RSA_1024", "SIGN_VERIFY", "Value 'RSA_1024' at 'keySpec'"), ("", "SIGN_VERIFY", "Member must have length"),
    ("SYMMETRIC_DEFAULT", "SIGN_VERIFY", "is not compatible with KeySpec SYMMETRIC_DEFAULT"),
    (None, "GENERATE_VERIFY_MAC", "is not compatible with KeySpec SYMMETRIC_DEFAULT"),
    ("HMAC_256", "ENCRYPT_DECRYPT", "is not compatible with KeySpec HMAC_256"),
    ("ECC_SECG_P256K1", "KEY_AGREEMENT", "is not compatible with KeySpec ECC_SECG_P256K1"),
    ("RSA_2048", "ENCRYPT", "Value 'ENCRYPT' at 'keyUsage' failed to satisfy constraint")])
def test_kinds_that_do_not_exist(kms, spec, usage, message):
    assert message in kms.refuses("ValidationException", "CreateKey", KeySpec=spec, KeyUsage=usage)


@pytest.mark.parametrize("spec, usage", [k[:2] for k in KINDS if k[1] != "ENCRYPT_DECRYPT"])
def test_the_usage_forbids_encryption(kms, spec, usage):
    arn = make(kms, spec, usage)["Arn"]
    symmetric = kms.ok("CreateKey")["KeyMetadata"]["Arn"]
    blob = kms.ok("Encrypt", KeyId=symmetric, Plaintext=b64(b"x"))["CiphertextBlob"]
    for operation, members in (("Encrypt", {"Plaintext": b64(b"x")}), ("GenerateDataKey", {"KeySpec": "AES_256"}),
                               ("GenerateDataKeyWithoutPlaintext", {"KeySpec": "AES_256"})):
        for more in ({}, {"DryRun": True}):
            message = kms.refuses("InvalidKeyUsageException", operation, KeyId=arn, **members, **more)
            assert message == f"{arn} key usage is {usage} which is not valid for {operation}."
    kms.refuses("InvalidKeyUsageException", "ReEncrypt", CiphertextBlob=blob, DestinationKeyId=arn)
    kms.refuses("InvalidKeyUsageException", "Decrypt", KeyId=arn, DryRun=True, DryRunModifiers=["IGNORE_CIPHERTEXT"])
    kms.refuses("IncorrectKeyException", "Decrypt", KeyId=arn, CiphertextBlob=blob)


def test_rsa_keys_encrypt_with_their_algorithms_only(kms):
    arn = make(kms, "RSA_2048", "ENCRYPT_DECRYPT")["Arn"]
    assert kms.refuses("InvalidKeyUsageException", "Encrypt", KeyId=arn, Plaintext=b64(b"x")) == \
        "Algorithm SYMMETRIC_DEFAULT is incompatible with key spec RSA_2048."
    kms.refuses("UnsupportedOperationException", "Encrypt", KeyId=arn, Plaintext=b64(b"x"),
                EncryptionAlgorithm="RSAES_OAEP_SHA_256")
    assert "RSA_2048" in kms.refuses("InvalidKeyUsageException", "GenerateDataKey", KeyId=arn, KeySpec="AES_256")
    symmetric = kms.ok("CreateKey")["KeyMetadata"]["KeyId"]
    blob = kms.ok("Encrypt", KeyId=symmetric, Plaintext=b64(b"x"))["CiphertextBlob"]
    for operation, members in (("Encrypt", {"KeyId": arn, "Plaintext": b64(b"x"), "EncryptionContext": {"a": "b"},
                                            "EncryptionAlgorithm": "RSAES_OAEP_SHA_256"}),
                               ("ReEncrypt", {"CiphertextBlob": blob, "DestinationKeyId": arn,
                                              "DestinationEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
                                              "DestinationEncryptionContext": {"a": "b"}})):
        assert kms.refuses("ValidationException", operation, **members) == \
            "EncryptionContext is supported only for symmetric encryption keys."


def test_rotation_is_for_symmetric_keys(kms):
    arn = make(kms, "ECC_NIST_P256", "SIGN_VERIFY")["Arn"]
    for operation in ("RotateKeyOnDemand", "EnableKeyRotation", "DisableKeyRotation", "ListKeyRotations"):
        assert kms.refuses("UnsupportedOperationException", operation, KeyId=arn) == ""
    assert kms.ok("GetKeyRotationStatus", KeyId=arn)["KeyRotationEnabled"] is False


def test_aliases_stay_with_their_kind(kms):
    hmac, other = (make(kms, "HMAC_256", "GENERATE_VERIFY_MAC")["KeyId"] for _ in range(2))
    symmetric = kms.ok("CreateKey")["KeyMetadata"]["KeyId"]
    kms.ok("CreateAlias", AliasName="alias/mac", TargetKeyId=hmac)
    kms.refuses("ValidationException", "UpdateAlias", AliasName="alias/mac", TargetKeyId=symmetric)
    kms.ok("UpdateAlias", AliasName="alias/mac", TargetKeyId=other)


def test_grants_fit_the_key(kms):
    mac, sign = make(kms, "HMAC_256", "GENERATE_VERIFY_MAC")["Arn"], make(kms, "RSA_2048", "SIGN_VERIFY")["Arn"]
    alice = f"arn:aws:iam::{CUSTOMER}:user/alice"
    for key, operations, fits in ((mac, ["GenerateMac", "VerifyMac", "DescribeKey"], True), (mac, ["Encrypt"], False),
                                  (sign, ["Sign", "Verify", "GetPublicKey"], True), (sign, ["GenerateMac"], False),
                                  (sign, ["Decrypt"], False)):
        members = {"KeyId": key, "GranteePrincipal": alice, "Operations": operations}
        if fits:
            kms.ok("CreateGrant", **members)
        else:
            kms.refuses("ValidationException", "CreateGrant", **members)
    assert "EncryptionContext" in kms.refuses(
        "ValidationException", "CreateGrant", KeyId=sign, GranteePrincipal=alice, Operations=["Sign"],
        Constraints={"EncryptionContextSubset": {"a": "b"}})


def test_they_replicate(kms):
    east = Kms(kms.root, EAST).start()
    key = make(kms, "RSA_2048", "SIGN_VERIFY", MultiRegion=True)
    kms.ok("ReplicateKey", KeyId=key["KeyId"], ReplicaRegion=EAST)
    there = east.ok("DescribeKey", KeyId=key["KeyId"])["KeyMetadata"]
    assert (there["KeySpec"], there["KeyUsage"]) == ("RSA_2048", "SIGN_VERIFY")
    wait_for(lambda: east.ok("DescribeKey", KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] == "Enabled", 10)
    assert east.stop() == 0
