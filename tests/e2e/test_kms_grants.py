"""Grants of the local KMS: given, used, constrained, passed on, ended."""
import json

import pytest

from kms_tools import CUSTOMER, SERVICE, WEST, Kms, allow, b64, deny, policy

ALICE = f"arn:aws:iam::{CUSTOMER}:user/alice"
ROOT = f"arn:aws:iam::{CUSTOMER}:root"
READER = f"arn:aws:iam::{SERVICE}:role/Reader"  # "session" is one of its sessions
SESSION = f"arn:aws:sts::{SERVICE}:assumed-role/Reader/today"
SERVICE_ROOT = f"arn:aws:iam::{SERVICE}:root"


@pytest.fixture(scope="module")
def kms(tmp_path_factory):
    kms = Kms(tmp_path_factory.mktemp("kms"), WEST, "--day-seconds", "1").start()
    yield kms
    assert kms.stop() == 0


@pytest.fixture
def key(kms):
    return kms.client().create_key()["KeyMetadata"]["Arn"]


def grant(kms, key, grantee, operations, who="customer", **more):
    return kms.ok("CreateGrant", who=who, KeyId=key, GranteePrincipal=grantee, Operations=operations, **more)


def encrypt(kms, key, who, **more):
    return kms.raw("Encrypt", {"KeyId": key, "Plaintext": b64(b"x"), **more}, who)


def test_a_grant_crosses_accounts(kms, key):
    denied = kms.refuses("AccessDeniedException", "Encrypt", who="session", KeyId=key, Plaintext=b64(b"x"))
    given = grant(kms, key, READER, ["Encrypt", "DescribeKey"], Name="reader", RetiringPrincipal=ALICE)
    assert sorted(given) == ["GrantId", "GrantToken"] and len(given["GrantId"]) == 64
    blob = kms.ok("Encrypt", who="session", KeyId=key, Plaintext=b64(b"x"), GrantTokens=[given["GrantToken"]])
    assert kms.ok("DescribeKey", who="session", KeyId=key)["KeyMetadata"]["Arn"] == key
    # Only the granted operations, and only for the grantee.
    kms.refuses("AccessDeniedException", "Decrypt", who="session", CiphertextBlob=blob["CiphertextBlob"])
    kms.refuses("AccessDeniedException", "DisableKey", who="session", KeyId=key)
    assert encrypt(kms, key, "service")[2]["__type"] == "AccessDeniedException"
    [listed] = kms.ok("ListGrants", KeyId=key)["Grants"]
    created = listed.pop("CreationDate")
    assert isinstance(created, float)
    assert listed == {"KeyId": key, "GrantId": given["GrantId"], "Name": "reader", "GranteePrincipal": READER,
                      "RetiringPrincipal": ALICE, "IssuingAccount": ROOT, "Operations": ["Encrypt", "DescribeKey"]}
    kms.restart(9)
    assert encrypt(kms, key, "session")[0] == 200
    status, headers, answer = kms.raw("RevokeGrant", {"KeyId": key, "GrantId": given["GrantId"]})
    assert (status, headers["Content-Length"], answer) == (200, "0", None)
    assert kms.refuses("AccessDeniedException", "Encrypt", who="session", KeyId=key, Plaintext=b64(b"x")) == denied
    assert kms.ok("ListGrants", KeyId=key) == {"Grants": [], "Truncated": False}
    kms.refuses("NotFoundException", "RevokeGrant", KeyId=key, GrantId=given["GrantId"])


@pytest.mark.parametrize("grantee, who, fine", [
    (READER, "session", True), (SESSION, "session", True), (SERVICE_ROOT, "session", True), (SERVICE_ROOT, "service", True),
    (READER, "service", False), (SESSION + "x", "session", False), (READER.replace("Reader", "reader"), "session", False),
    (READER.replace(SERVICE, CUSTOMER), "session", False), (ALICE, "session", False)])
def test_whom_a_grant_reaches(kms, key, grantee, who, fine):
    grant(kms, key, grantee, ["Encrypt"])
    assert (encrypt(kms, key, who)[0] == 200) is fine


def test_within_the_account_and_an_explicit_deny(kms):
    key = kms.client().create_key(Policy=policy())["KeyMetadata"]["Arn"]
    bare = json.dumps({"Version": "2012-10-17", "Statement": [
        allow(ROOT, "kms:*", Condition={"ArnNotEquals": {"aws:PrincipalArn": ALICE}})]})
    kms.client().put_key_policy(KeyId=key, PolicyName="default", Policy=bare)
    assert encrypt(kms, key, "alice")[2]["__type"] == "AccessDeniedException"
    grant(kms, key, ALICE, ["Encrypt"])
    assert encrypt(kms, key, "alice")[0] == 200
    kms.client().put_key_policy(KeyId=key, PolicyName="default", Policy=policy(deny(ALICE, "kms:Encrypt")))
    message = kms.refuses("AccessDeniedException", "Encrypt", who="alice", KeyId=key, Plaintext=b64(b"x"))
    assert message.endswith("with an explicit deny in a resource-based policy")


EQUALS, SUBSET = "EncryptionContextEquals", "EncryptionContextSubset"


@pytest.mark.parametrize("kind, wanted, context, fine", [
    (EQUALS, {"a": "1"}, {"a": "1"}, True), (EQUALS, {"a": "1"}, {"a": "1", "b": "2"}, False),
    (EQUALS, {"a": "1"}, {"a": "2"}, False), (EQUALS, {"a": "1"}, {}, False), (EQUALS, {"a": "1"}, None, False),
    (EQUALS, {"a": "1", "b": "2"}, {"a": "1"}, False), (EQUALS, {}, {}, True), (EQUALS, {}, {"a": "1"}, False),
    (SUBSET, {"a": "1"}, {"a": "1"}, True), (SUBSET, {"a": "1"}, {"a": "1", "b": "2"}, True),
    (SUBSET, {"a": "1"}, {"b": "2"}, False), (SUBSET, {"a": "1"}, None, False), (SUBSET, {"a": "1"}, {"a": "2"}, False),
    (SUBSET, {}, {"a": "1"}, True)])
def test_constraints(kms, key, kind, wanted, context, fine):
    grant(kms, key, READER, ["Encrypt", "Decrypt", "GenerateDataKey", "DescribeKey"], Constraints={kind: wanted})
    more = {} if context is None else {"EncryptionContext": context}
    assert (encrypt(kms, key, "session", **more)[0] == 200) is fine
    status, _, _ = kms.raw("GenerateDataKey", {"KeyId": key, "KeySpec": "AES_256", **more}, "session")
    assert (status == 200) is fine
    blob = kms.ok("Encrypt", KeyId=key, Plaintext=b64(b"x"), **more)["CiphertextBlob"]
    assert (kms.raw("Decrypt", {"CiphertextBlob": blob, **more}, "session")[0] == 200) is fine
    kms.ok("DescribeKey", who="session", KeyId=key)  # constraints don't concern it
    assert kms.ok("ListGrants", KeyId=key)["Grants"][0]["Constraints"] == {kind: wanted}


def test_reencrypt_by_grants(kms, key):
    other = kms.client().create_key()["KeyMetadata"]["Arn"]
    blob = kms.ok("Encrypt", KeyId=key, Plaintext=b64(b"x"))["CiphertextBlob"]
    members = {"CiphertextBlob": blob, "DestinationKeyId": other}
    grant(kms, key, READER, ["ReEncryptFrom"])
    assert "kms:ReEncryptTo" in kms.refuses("AccessDeniedException", "ReEncrypt", who="session", **members)
    grant(kms, other, READER, ["ReEncryptTo"])
    assert kms.ok("ReEncrypt", who="session", **members)["KeyId"] == other


def test_names_make_retries_harmless(kms, key):
    wanted = {"Name": "once", "RetiringPrincipal": ALICE, "Constraints": {SUBSET: {"a": "1"}}}
    first = grant(kms, key, READER, ["Encrypt"], **wanted)
    again = grant(kms, key, READER, ["Encrypt"], **wanted)
    assert again["GrantId"] == first["GrantId"] and again["GrantToken"] != first["GrantToken"]
    others = [grant(kms, key, READER, ["Encrypt", "Decrypt"], **wanted)["GrantId"],
              grant(kms, key, SESSION, ["Encrypt"], **wanted)["GrantId"],
              grant(kms, key, READER, ["Encrypt"], **{**wanted, "Name": "twice"})["GrantId"]]
    unnamed = [grant(kms, key, READER, ["Encrypt"])["GrantId"] for _ in range(2)]
    assert len({first["GrantId"], *others, *unnamed}) == 6
    assert len(kms.ok("ListGrants", KeyId=key)["Grants"]) == 6


def test_retiring(kms, key):
    def fresh(**more):
        return grant(kms, key, READER, ["Encrypt", *more.pop("operations", [])], **more)
    mine = fresh(RetiringPrincipal=SERVICE_ROOT)
    kms.refuses("DryRunOperationException", "RetireGrant", who="service", GrantToken=mine["GrantToken"], DryRun=True)
    status, headers, answer = kms.raw("RetireGrant", {"GrantToken": mine["GrantToken"]}, "service")
    assert (status, headers["Content-Length"], answer) == (200, "0", None)
    kms.refuses("NotFoundException", "RetireGrant", KeyId=key, GrantId=mine["GrantId"])
    by_id = fresh(RetiringPrincipal=SERVICE_ROOT)
    kms.ok("RetireGrant", who="service", KeyId=key, GrantId=by_id["GrantId"])
    own, plain = fresh(operations=["RetireGrant"]), fresh()
    kms.refuses("AccessDeniedException", "RetireGrant", who="session", GrantToken=plain["GrantToken"])  # not by the other
    kms.ok("RetireGrant", who="session", GrantToken=own["GrantToken"])
    kms.refuses("AccessDeniedException", "RevokeGrant", who="session", KeyId=key, GrantId=plain["GrantId"])
    kms.ok("RetireGrant", KeyId=key, GrantId=plain["GrantId"])  # the key's account, whom its policy allows
    denied = fresh(RetiringPrincipal=SERVICE_ROOT)
    kms.client().put_key_policy(KeyId=key, PolicyName="default", Policy=policy(deny(SERVICE_ROOT, "kms:RetireGrant")))
    kms.refuses("AccessDeniedException", "RetireGrant", who="service", GrantToken=denied["GrantToken"])
    assert kms.refuses("InvalidGrantTokenException", "RetireGrant", GrantToken="nonsense") == ""
    for members in ({}, {"KeyId": key}, {"GrantId": "0" * 64}, {"GrantToken": mine["GrantToken"], "KeyId": key}):
        kms.refuses("ValidationException", "RetireGrant", **members)
    for id in ("x", "0" * 63, "A" * 64):
        kms.refuses("InvalidGrantIdException", "RetireGrant", KeyId=key, GrantId=id)
        kms.refuses("InvalidGrantIdException", "RevokeGrant", KeyId=key, GrantId=id)


def test_passing_on(kms, key):
    grant(kms, key, READER, ["CreateGrant", "Encrypt", "Decrypt"], Constraints={SUBSET: {"tenant": "1"}})

    def pass_on(operations, **more):
        return kms.raw("CreateGrant", {"KeyId": key, "GranteePrincipal": SERVICE_ROOT, "Operations": operations, **more},
                       "session")[0] == 200
    assert not pass_on(["Encrypt"])  # without the constraint it would be more than was given
    assert not pass_on(["Encrypt"], Constraints={SUBSET: {"other": "1"}})
    assert not pass_on(["Encrypt"], Constraints={EQUALS: {"tenant": "2"}})
    assert not pass_on(["Encrypt", "GenerateDataKey"], Constraints={SUBSET: {"tenant": "1"}})
    assert pass_on(["Encrypt"], Constraints={SUBSET: {"tenant": "1", "user": "2"}})
    assert encrypt(kms, key, "service", EncryptionContext={"tenant": "1", "user": "2", "more": "3"})[0] == 200
    assert encrypt(kms, key, "service", EncryptionContext={"tenant": "1"})[0] == 400
    assert pass_on(["Encrypt"], Constraints={EQUALS: {"tenant": "1"}})
    assert encrypt(kms, key, "service", EncryptionContext={"tenant": "1"})[0] == 200
    issuers = {g["IssuingAccount"] for g in kms.ok("ListGrants", KeyId=key, GranteePrincipal=SERVICE_ROOT)["Grants"]}
    assert issuers == {SERVICE_ROOT}


def test_lists(kms, key):
    other = kms.client().create_key()["KeyMetadata"]["Arn"]
    retiring = f"arn:aws:iam::{CUSTOMER}:role/Retirer-{key[-6:]}"
    ids = [grant(kms, key, READER if n % 2 else ALICE, ["Encrypt"], RetiringPrincipal=retiring)["GrantId"]
           for n in range(7)]
    more = [grant(kms, other, READER, ["Encrypt"], RetiringPrincipal=retiring)["GrantId"] for _ in range(2)]
    grant(kms, other, READER, ["Encrypt"], RetiringPrincipal=ALICE)

    def every(operation, **members):
        found, marker = [], {}
        while True:
            page = kms.ok(operation, **members, **marker)
            assert len(page["Grants"]) <= members.get("Limit", 50)
            found += page["Grants"]
            if not page["Truncated"]:
                assert "NextMarker" not in page
                return [g["GrantId"] for g in found]
            marker = {"Marker": page["NextMarker"]}
    for limit in ({}, {"Limit": 1}, {"Limit": 3}, {"Limit": 7}):
        assert every("ListGrants", KeyId=key, **limit) == ids
        assert sorted(every("ListRetirableGrants", RetiringPrincipal=retiring, **limit)) == sorted(ids + more)
    assert every("ListGrants", KeyId=key, GranteePrincipal=READER, Limit=2) == ids[1::2]
    assert every("ListGrants", KeyId=key, GrantId=ids[3]) == [ids[3]]
    assert every("ListGrants", KeyId=key, GrantId="0" * 64) == []
    for operation, members in (("ListGrants", {"KeyId": key}), ("ListRetirableGrants", {"RetiringPrincipal": retiring})):
        kms.refuses("InvalidMarkerException", operation, Marker="x", **members)
        kms.refuses("ValidationException", operation, Limit=101, **members)
        kms.refuses("ValidationException", operation, Limit=0, **members)
    kms.refuses("AccessDeniedException", "ListRetirableGrants", who="service", RetiringPrincipal=retiring)
    kms.refuses("AccessDeniedException", "ListGrants", who="service", KeyId=key)


def test_what_is_refused(kms, key):
    good = {"KeyId": key, "GranteePrincipal": READER, "Operations": ["Encrypt"]}
    for code, change in [
            ("ValidationException", {"Operations": None}), ("ValidationException", {"Operations": []}),
            ("ValidationException", {"Operations": ["Nonsense"]}), ("ValidationException", {"Operations": ["DisableKey"]}),
            ("ValidationException", {"Operations": ["Sign"]}), ("SerializationException", {"Operations": "Encrypt"}),
            ("SerializationException", {"Operations": [1]}), ("ValidationException", {"GranteePrincipal": None}),
            ("InvalidArnException", {"GranteePrincipal": "*"}), ("InvalidArnException", {"GranteePrincipal": CUSTOMER}),
            ("InvalidArnException", {"GranteePrincipal": f"arn:aws:iam::{CUSTOMER}:group/g"}),
            ("InvalidArnException", {"GranteePrincipal": f"arn:aws:iam::{CUSTOMER}:user/*"}),
            ("InvalidArnException", {"RetiringPrincipal": "nobody"}), ("ValidationException", {"Name": "a b"}),
            ("ValidationException", {"Name": ""}), ("ValidationException", {"Name": "x" * 257}),
            ("ValidationException", {"Constraints": {SUBSET: {f"k{n}": "v" for n in range(9)}}}),
            ("ValidationException", {"Constraints": {EQUALS: {"k": "v" * 385}}}),
            ("SerializationException", {"Constraints": {EQUALS: {"k": 1}}}), ("SerializationException", {"Constraints": 1}),
            ("UnsupportedOperationException", {"GranteeServicePrincipal": "s3.amazonaws.com"}),
            ("InvalidGrantTokenException", {"GrantTokens": ["x"]}), ("NotFoundException", {"KeyId": "alias/x"}),
            ("DryRunOperationException", {"DryRun": True})]:
        kms.refuses(code, "CreateGrant", **{**good, **change})
    assert kms.ok("ListGrants", KeyId=key)["Grants"] == []
    kms.client().disable_key(KeyId=key)
    assert kms.refuses("DisabledException", "CreateGrant", **good) == f"{key} is disabled."


def test_boto3(kms, key):
    client = kms.client()
    made = client.create_grant(KeyId=key, GranteePrincipal=READER, Operations=["Decrypt"])
    pages = client.get_paginator("list_grants").paginate(KeyId=key)
    assert [g["GrantId"] for page in pages for g in page["Grants"]] == [made["GrantId"]]
    assert client.list_retirable_grants(RetiringPrincipal=ALICE)["Grants"] is not None
    client.retire_grant(GrantToken=made["GrantToken"])
    assert client.list_grants(KeyId=key)["Grants"] == []
