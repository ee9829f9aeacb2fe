"""The local KMS through boto3 and awscli, unchanged: the life of a key, and every refusal on the way."""
import json
import os
import re
import subprocess
import time

import pytest

from kms_tools import CUSTOMER, EAST, WEST, Kms, access_key, b64, refused, secret_key


@pytest.fixture(scope="module")
def kms(tmp_path_factory):
    kms = Kms(tmp_path_factory.mktemp("kms"), WEST, "--day-seconds", "1").start()
    yield kms
    assert kms.stop() == 0


@pytest.fixture
def customer(kms):
    return kms.client()


def new_key(client, **members):
    return client.create_key(**members)["KeyMetadata"]


def test_create_and_describe(customer):
    key = new_key(customer, Description="données", Tags=[{"TagKey": "team", "TagValue": "a"}])
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", key["KeyId"])
    assert key["Arn"] == f"arn:aws:kms:{WEST}:{CUSTOMER}:key/{key['KeyId']}"
    assert abs(key["CreationDate"].timestamp() - time.time()) < 10
    wanted = {"AWSAccountId": CUSTOMER, "Enabled": True, "Description": "données", "KeyUsage": "ENCRYPT_DECRYPT",
              "KeyState": "Enabled", "Origin": "AWS_KMS", "KeyManager": "CUSTOMER", "MultiRegion": False,
              "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT", "KeySpec": "SYMMETRIC_DEFAULT",
              "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"]}
    assert {name: key[name] for name in wanted} == wanted
    assert "MultiRegionConfiguration" not in key and "DeletionDate" not in key
    for name in (key["KeyId"], key["Arn"]):
        assert customer.describe_key(KeyId=name)["KeyMetadata"] == key


def test_multi_region_primary(customer):
    key = new_key(customer, MultiRegion=True)
    assert re.fullmatch(r"mrk-[0-9a-f]{32}", key["KeyId"])
    assert key["MultiRegionConfiguration"] == {"MultiRegionKeyType": "PRIMARY", "ReplicaKeys": [],
                                               "PrimaryKey": {"Arn": key["Arn"], "Region": WEST}}


def test_answers_on_the_wire(kms, customer):
    key = new_key(customer)
    status, headers, answer = kms.raw("DescribeKey", {"KeyId": key["KeyId"]})
    assert status == 200
    assert headers["Content-Type"] == "application/x-amz-json-1.1"
    assert re.fullmatch(r"[0-9a-f-]{36}", headers["x-amzn-RequestId"])
    assert re.fullmatch(r"[0-9a-f]{64}", answer["KeyMetadata"]["CurrentKeyMaterialId"])
    assert isinstance(answer["KeyMetadata"]["CreationDate"], float)
    for operation in ("DisableKey", "EnableKey"):
        status, headers, answer = kms.raw(operation, {"KeyId": key["KeyId"]})
        assert (status, headers["Content-Length"], answer) == (200, "0", None)
    status, _, answer = kms.raw("DescribeKey", {"KeyId": "nonsense"})
    assert (status, answer) == (400, {"__type": "NotFoundException", "message": "Invalid keyId 'nonsense'"})


def test_encrypt_decrypt(customer):
    key = new_key(customer)
    context = {"lockset:org": "o1", "käse": "ü"}
    for name in (key["KeyId"], key["Arn"]):
        sealed = customer.encrypt(KeyId=name, Plaintext=b"hello", EncryptionContext=context)
        assert sealed["KeyId"] == key["Arn"] and sealed["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"
        assert b"hello" not in sealed["CiphertextBlob"]
        for more in ({}, {"KeyId": key["KeyId"]}, {"KeyId": key["Arn"]}):
            opened = customer.decrypt(CiphertextBlob=sealed["CiphertextBlob"],
                                      EncryptionContext=dict(reversed(context.items())), **more)
            assert opened["Plaintext"] == b"hello" and opened["KeyId"] == key["Arn"]
            assert opened["EncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"
    biggest = customer.encrypt(KeyId=key["KeyId"], Plaintext=b"x" * 4096)["CiphertextBlob"]
    assert len(biggest) <= 6144
    assert customer.decrypt(CiphertextBlob=biggest)["Plaintext"] == b"x" * 4096
    message = refused("ValidationException", customer.encrypt, KeyId=key["KeyId"], Plaintext=b"x" * 4097)
    assert message == ("1 validation error detected: Value at 'plaintext' failed to satisfy constraint: Member must "
                       "have length less than or equal to 4096")


def test_decrypt_refusals(customer):
    key, other = new_key(customer), new_key(customer)
    blob = customer.encrypt(KeyId=key["KeyId"], Plaintext=b"hello", EncryptionContext={"a": "b"})["CiphertextBlob"]
    for context in ({}, {"a": "c"}, {"A": "b"}, {"ab": ""}, {"a": "b", "c": "d"}):
        assert refused("InvalidCiphertextException", customer.decrypt, CiphertextBlob=blob,
                       EncryptionContext=context) == ""
    for garbage in (b"x", b"garbage" * 50, blob[:-1], blob + b"x", blob[:-1] + bytes([blob[-1] ^ 1])):
        assert refused("InvalidCiphertextException", customer.decrypt, CiphertextBlob=garbage,
                       EncryptionContext={"a": "b"}) == ""
    message = refused("IncorrectKeyException", customer.decrypt, CiphertextBlob=blob, KeyId=other["KeyId"])
    assert message == "The key ID in the request does not identify a CMK that can perform this operation."
    unknown = blob[:1] + b"1234abcd-12ab-34cd-56ef-1234567890ab" + blob[37:]
    assert "the resource does not exist in this Region" in refused("AccessDeniedException", customer.decrypt,
                                                                   CiphertextBlob=unknown)


def test_data_keys(kms, customer):
    key = new_key(customer)
    for wanted, length in (({"KeySpec": "AES_256"}, 32), ({"KeySpec": "AES_128"}, 16), ({"NumberOfBytes": 1024}, 1024)):
        made = customer.generate_data_key(KeyId=key["KeyId"], EncryptionContext={"a": "b"}, **wanted)
        assert len(made["Plaintext"]) == length and made["KeyId"] == key["Arn"]
        assert customer.decrypt(CiphertextBlob=made["CiphertextBlob"],
                                EncryptionContext={"a": "b"})["Plaintext"] == made["Plaintext"]
        hidden = customer.generate_data_key_without_plaintext(KeyId=key["KeyId"], **wanted)
        assert "Plaintext" not in hidden
        assert len(customer.decrypt(CiphertextBlob=hidden["CiphertextBlob"])["Plaintext"]) == length
    material = kms.raw("DescribeKey", {"KeyId": key["KeyId"]})[2]["KeyMetadata"]["CurrentKeyMaterialId"]
    made = kms.raw("GenerateDataKey", {"KeyId": key["KeyId"], "KeySpec": "AES_256"})[2]
    assert sorted(made) == ["CiphertextBlob", "KeyId", "KeyMaterialId", "Plaintext"]
    hidden = kms.raw("GenerateDataKeyWithoutPlaintext", {"KeyId": key["KeyId"], "KeySpec": "AES_256"})[2]
    opened = kms.raw("Decrypt", {"CiphertextBlob": hidden["CiphertextBlob"]})[2]
    assert made["KeyMaterialId"] == hidden["KeyMaterialId"] == opened["KeyMaterialId"] == material
    assert "KeyMaterialId" not in kms.raw("Encrypt", {"KeyId": key["KeyId"], "Plaintext": b64(b"x")})[2]


def test_dry_run(kms, customer):
    key = new_key(customer)
    blob = b64(customer.encrypt(KeyId=key["KeyId"], Plaintext=b"hello")["CiphertextBlob"])
    calls = [("Encrypt", {"KeyId": key["KeyId"], "Plaintext": b64(b"x")}),
             ("Decrypt", {"CiphertextBlob": blob}),
             ("Decrypt", {"KeyId": key["KeyId"], "DryRunModifiers": ["IGNORE_CIPHERTEXT"]}),
             ("GenerateDataKey", {"KeyId": key["KeyId"], "KeySpec": "AES_256"}),
             ("GenerateDataKeyWithoutPlaintext", {"KeyId": key["KeyId"], "KeySpec": "AES_256"})]
    for operation, members in calls:
        status, _, answer = kms.raw(operation, {**members, "DryRun": True})
        assert (status, answer["__type"]) == (400, "DryRunOperationException"), operation
        assert answer["message"] == "The request would have succeeded, but the DryRun option is set."
    customer.disable_key(KeyId=key["KeyId"])
    for operation, members in calls:
        status, _, answer = kms.raw(operation, {**members, "DryRun": True})
        assert (status, answer["__type"]) == (400, "DisabledException"), operation


def test_disable_and_enable(customer):
    key = new_key(customer)
    blob = customer.encrypt(KeyId=key["KeyId"], Plaintext=b"hello")["CiphertextBlob"]
    for _ in range(2):
        customer.disable_key(KeyId=key["KeyId"])
        described = customer.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
        assert (described["KeyState"], described["Enabled"]) == ("Disabled", False)
        disabled = f"{key['Arn']} is disabled."
        assert refused("DisabledException", customer.encrypt, KeyId=key["KeyId"], Plaintext=b"x") == disabled
        assert refused("DisabledException", customer.decrypt, CiphertextBlob=blob) == disabled
        assert refused("DisabledException", customer.generate_data_key, KeyId=key["Arn"], KeySpec="AES_256") == disabled
        assert refused("DisabledException", customer.generate_data_key_without_plaintext, KeyId=key["KeyId"],
                       KeySpec="AES_256") == disabled
    for _ in range(2):
        customer.enable_key(KeyId=key["KeyId"])
        assert customer.decrypt(CiphertextBlob=blob)["Plaintext"] == b"hello"


def test_deletion(customer):
    key = new_key(customer)
    blob = customer.encrypt(KeyId=key["KeyId"], Plaintext=b"hello")["CiphertextBlob"]
    assert refused("KMSInvalidStateException", customer.cancel_key_deletion,
                   KeyId=key["KeyId"]) == f"{key['Arn']} is not pending deletion."
    answer = customer.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=30)
    assert (answer["KeyId"], answer["KeyState"], answer["PendingWindowInDays"]) == (key["Arn"], "PendingDeletion", 30)
    described = customer.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
    assert (described["KeyState"], described["Enabled"]) == ("PendingDeletion", False)
    assert described["DeletionDate"] == answer["DeletionDate"]
    pending = f"{key['Arn']} is pending deletion."
    assert refused("KMSInvalidStateException", customer.decrypt, CiphertextBlob=blob) == pending
    for call in (customer.enable_key, customer.disable_key, customer.schedule_key_deletion):
        assert refused("KMSInvalidStateException", call, KeyId=key["KeyId"]) == pending
    customer.put_key_policy(KeyId=key["KeyId"], PolicyName="default",
                            Policy=customer.get_key_policy(KeyId=key["KeyId"], PolicyName="default")["Policy"])
    assert customer.cancel_key_deletion(KeyId=key["KeyId"])["KeyId"] == key["Arn"]
    assert customer.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] == "Disabled"
    customer.enable_key(KeyId=key["KeyId"])
    assert customer.decrypt(CiphertextBlob=blob)["Plaintext"] == b"hello"


def test_deletion_comes_due(kms, customer):
    """A day lasts a second here."""
    key = new_key(customer)
    blob = customer.encrypt(KeyId=key["KeyId"], Plaintext=b"hello")["CiphertextBlob"]
    due = customer.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)["DeletionDate"].timestamp()
    assert due - time.time() < 8
    time.sleep(max(0, due - time.time()) + 0.1)
    assert refused("NotFoundException", customer.describe_key,
                   KeyId=key["KeyId"]) == f"Key '{key['Arn']}' does not exist"
    refused("AccessDeniedException", customer.decrypt, CiphertextBlob=blob)
    refused("NotFoundException", customer.cancel_key_deletion, KeyId=key["KeyId"])
    time.sleep(1.5)
    assert not list(kms.root.rglob(f"{key['KeyId']}*"))


def test_policies(customer):
    key = new_key(customer)
    default = json.loads(customer.get_key_policy(KeyId=key["KeyId"], PolicyName="default")["Policy"])
    assert default == {"Version": "2012-10-17", "Id": "key-default-1", "Statement": [
        {"Sid": "Enable IAM User Permissions", "Effect": "Allow", "Action": "kms:*", "Resource": "*",
         "Principal": {"AWS": f"arn:aws:iam::{CUSTOMER}:root"}}]}
    text = json.dumps({**default, "Id": "mine"}, indent=3)
    customer.put_key_policy(KeyId=key["KeyId"], PolicyName="default", Policy=text)
    assert customer.get_key_policy(KeyId=key["KeyId"], PolicyName="default")["Policy"] == text
    given = new_key(customer, Policy=text)
    assert customer.get_key_policy(KeyId=given["KeyId"], PolicyName="default")["Policy"] == text
    refused("NotFoundException", customer.get_key_policy, KeyId=key["KeyId"], PolicyName="other")


def test_list_keys(customer):
    made = {new_key(customer, MultiRegion=bool(i % 2))["KeyId"] for i in range(5)}
    seen, marker = [], {}
    while True:
        page = customer.list_keys(Limit=2, **marker)
        assert len(page["Keys"]) <= 2
        seen += page["Keys"]
        if not page["Truncated"]:
            break
        marker = {"Marker": page["NextMarker"]}
    ids = [key["KeyId"] for key in seen]
    assert made <= set(ids) and len(ids) == len(set(ids))
    assert all(key["KeyArn"] == f"arn:aws:kms:{WEST}:{CUSTOMER}:key/{key['KeyId']}" for key in seen)
    assert len(list(customer.get_paginator("list_keys").paginate())) >= 1
    refused("InvalidMarkerException", customer.list_keys, Marker="nonsense")


def test_key_ids_that_name_nothing(customer):
    unknown = "1234abcd-12ab-34cd-56ef-1234567890ab"
    calls = [customer.describe_key, customer.enable_key, customer.disable_key, customer.schedule_key_deletion,
             lambda KeyId: customer.get_key_policy(KeyId=KeyId, PolicyName="default"),
             lambda KeyId: customer.encrypt(KeyId=KeyId, Plaintext=b"x"),
             lambda KeyId: customer.generate_data_key(KeyId=KeyId, KeySpec="AES_256"),
             lambda KeyId: customer.replicate_key(KeyId=KeyId, ReplicaRegion=EAST)]
    arn = f"arn:aws:kms:{WEST}:{CUSTOMER}:key/{unknown}"
    for call in calls:
        assert refused("NotFoundException", call, KeyId=unknown) == f"Key '{arn}' does not exist"
        assert refused("NotFoundException", call, KeyId=arn) == f"Key '{arn}' does not exist"
        assert refused("NotFoundException", call, KeyId="fake-key-id") == "Invalid keyId 'fake-key-id'"
        assert refused("NotFoundException", call, KeyId=unknown.replace("-", "")).startswith("Invalid keyId")
        assert refused("NotFoundException", call, KeyId=arn.replace(WEST, EAST)) == f"Invalid arn {EAST}"
    assert refused("NotFoundException", customer.describe_key,
                   KeyId="alias/x") == f"Alias arn:aws:kms:{WEST}:{CUSTOMER}:alias/x is not found."


def test_operations_that_are_not_served(kms, customer):
    refused("UnknownOperationException", customer.describe_custom_key_stores)
    status, _, answer = kms.raw("Nonsense", {})
    assert (status, answer["__type"]) == (400, "UnknownOperationException")


def test_awscli(kms, tmp_path):
    environment = dict(os.environ, AWS_ACCESS_KEY_ID=access_key("customer"), HOME=str(tmp_path),
                       AWS_SECRET_ACCESS_KEY=secret_key("customer"), AWS_DEFAULT_REGION=WEST)

    def aws(*arguments):
        done = subprocess.run(["/usr/bin/aws", "--endpoint-url", kms.url, "kms", *arguments], env=environment,
                              capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout) if done.stdout.strip() else None

    arn = aws("create-key", "--multi-region", "--description", "from the command line")["KeyMetadata"]["Arn"]
    blob = aws("encrypt", "--key-id", arn, "--plaintext", b64(b"hello"), "--encryption-context", "a=b")["CiphertextBlob"]
    assert aws("decrypt", "--ciphertext-blob", blob, "--encryption-context", "a=b")["Plaintext"] == b64(b"hello")
    assert aws("disable-key", "--key-id", arn) is None
    assert aws("describe-key", "--key-id", arn)["KeyMetadata"]["KeyState"] == "Disabled"
    assert any(key["KeyArn"] == arn for key in aws("list-keys")["Keys"])
