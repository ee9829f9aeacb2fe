"""Aliases, tags and descriptions of the local KMS, through boto3."""
import os
import subprocess
import time

import pytest

from kms_tools import CUSTOMER, EAST, SERVICE, WEST, Kms, access_key, allow, b64, deny, policy, refused, secret_key
from lockset_dev import wait_for


@pytest.fixture(scope="module")
def regions(tmp_path_factory):
    root = tmp_path_factory.mktemp("kms")
    regions = {name: Kms(root, name, "--day-seconds", "0.1").start() for name in (WEST, EAST)}
    yield regions
    for region in regions.values():
        assert region.stop() == 0


@pytest.fixture
def kms(regions):
    return regions[WEST]


@pytest.fixture
def client(kms):
    return kms.client()


@pytest.fixture
def key(client):
    return client.create_key()["KeyMetadata"]


def arn_of(alias, region=WEST, account=CUSTOMER):
    return f"arn:aws:kms:{region}:{account}:{alias}"


def test_an_alias_names_a_key(kms, client, key):
    status, headers, answer = kms.raw("CreateAlias", {"AliasName": "alias/one", "TargetKeyId": key["KeyId"]})
    assert (status, headers["Content-Length"], answer) == (200, "0", None)
    for name in ("alias/one", arn_of("alias/one")):
        assert client.describe_key(KeyId=name)["KeyMetadata"]["Arn"] == key["Arn"]
        blob = client.encrypt(KeyId=name, Plaintext=b"x")["CiphertextBlob"]
        assert client.decrypt(KeyId=name, CiphertextBlob=blob)["KeyId"] == key["Arn"]
        assert client.generate_data_key(KeyId=name, KeySpec="AES_256")["KeyId"] == key["Arn"]
        assert client.generate_data_key_without_plaintext(KeyId=name, KeySpec="AES_256")["KeyId"] == key["Arn"]
        assert client.re_encrypt(CiphertextBlob=blob, SourceKeyId=name, DestinationKeyId=name)["KeyId"] == key["Arn"]
    # Operations that change a key take no alias.
    for operation, more in (("DisableKey", {}), ("ScheduleKeyDeletion", {}), ("RotateKeyOnDemand", {}), ("GetKeyPolicy", {}),
                            ("GetKeyRotationStatus", {}), ("TagResource", {"Tags": []}), ("ListResourceTags", {}),
                            ("UpdateKeyDescription", {"Description": ""})):
        assert kms.refuses("NotFoundException", operation, KeyId="alias/one", **more) == "Invalid keyId 'alias/one'"
    assert kms.refuses("NotFoundException", "CreateAlias", AliasName="alias/two",
                       TargetKeyId="alias/one") == "Invalid keyId 'alias/one'"
    client.delete_alias(AliasName="alias/one")
    assert refused("NotFoundException", client.describe_key,
                   KeyId="alias/one") == f"Alias {arn_of('alias/one')} is not found."
    assert refused("NotFoundException", client.delete_alias,
                   AliasName="alias/one") == f"Alias {arn_of('alias/one')} is not found."


def test_alias_names(kms, key):
    def create(name):
        return kms.raw("CreateAlias", {"AliasName": name, "TargetKeyId": key["KeyId"]})[2]
    for name in ("one", "alias", "alias/", "Alias/x"):
        answer = create(name)
        assert answer["__type"] == "ValidationException", name
        assert answer["message"].startswith('Alias must start with the prefix "alias/".')
    for name in ("alias/a b", "alias/ü", "alias/a.b", "alias/a\n"):
        assert "Member must satisfy regular expression pattern" in create(name)["message"], name
    assert create("")["message"].endswith("Member must have length greater than or equal to 1")
    assert create("alias/" + "x" * 251)["message"].endswith("Member must have length less than or equal to 256")
    for name in ("alias/aws/s3", "alias/AWS/s3"):
        assert create(name)["__type"] == "InvalidAliasNameException"
    for name in ("alias/" + "x" * 250, "alias/A:b/c_d-9"):
        assert create(name) is None
        assert create(name) == {"__type": "AlreadyExistsException",
                                "message": f"An alias with the name {arn_of(name)} already exists"}
        kms.ok("DeleteAlias", AliasName=name)


def test_an_alias_moves(kms, client, key):
    other = client.create_key()["KeyMetadata"]
    client.create_alias(AliasName="alias/moves", TargetKeyId=key["Arn"])
    before = client.list_aliases(KeyId=key["KeyId"])["Aliases"][0]
    blob = client.encrypt(KeyId="alias/moves", Plaintext=b"x")["CiphertextBlob"]
    time.sleep(0.01)
    client.update_alias(AliasName="alias/moves", TargetKeyId=other["KeyId"])
    assert client.describe_key(KeyId="alias/moves")["KeyMetadata"]["Arn"] == other["Arn"]
    assert client.decrypt(CiphertextBlob=blob)["KeyId"] == key["Arn"]
    refused("IncorrectKeyException", client.decrypt, KeyId="alias/moves", CiphertextBlob=blob)
    after = client.list_aliases(KeyId=other["Arn"])["Aliases"][0]
    assert after["CreationDate"] == before["CreationDate"] and after["LastUpdatedDate"] > before["LastUpdatedDate"]
    assert client.list_aliases(KeyId=key["KeyId"])["Aliases"] == []
    assert refused("NotFoundException", client.update_alias, AliasName="alias/none",
                   TargetKeyId=key["KeyId"]) == f"Alias {arn_of('alias/none')} is not found."
    kms.restart(9)
    assert kms.client().describe_key(KeyId="alias/moves")["KeyMetadata"]["Arn"] == other["Arn"]


def test_aliases_are_listed_in_pages(client):
    keys = [client.create_key()["KeyMetadata"]["KeyId"] for _ in range(2)]
    names = sorted(f"alias/list-{n:02}" for n in range(12))
    for n, name in enumerate(names):
        client.create_alias(AliasName=name, TargetKeyId=keys[n % 2])
    every = [a for page in client.get_paginator("list_aliases").paginate(PaginationConfig={"PageSize": 5})
             for a in page["Aliases"]]
    assert [a["AliasName"] for a in every if a["AliasName"].startswith("alias/list-")] == names
    for a in every:
        assert a["AliasArn"] == arn_of(a["AliasName"]) and "CreationDate" in a and "LastUpdatedDate" in a
    page = client.list_aliases(KeyId=keys[0], Limit=4)
    assert ([a["AliasName"] for a in page["Aliases"]], page["Truncated"]) == (names[:8:2], True)
    page = client.list_aliases(KeyId=keys[0], Limit=4, Marker=page["NextMarker"])
    assert ([a["AliasName"] for a in page["Aliases"]], page["Truncated"]) == (names[8::2], False)
    assert "NextMarker" not in page
    refused("InvalidMarkerException", client.list_aliases, Marker="nonsense")
    refused("NotFoundException", client.list_aliases, KeyId="1234abcd-12ab-34cd-56ef-1234567890ab")


def test_fifty_aliases_a_key(client, key):
    for n in range(50):
        client.create_alias(AliasName=f"alias/fifty-{n}", TargetKeyId=key["KeyId"])
    refused("LimitExceededException", client.create_alias, AliasName="alias/fifty-first", TargetKeyId=key["KeyId"])


def test_aliases_of_accounts_and_regions_are_their_own(regions, kms, client, key):
    client.create_alias(AliasName="alias/own", TargetKeyId=key["KeyId"])
    service = kms.client("service")
    theirs = service.create_key()["KeyMetadata"]
    service.create_alias(AliasName="alias/own", TargetKeyId=theirs["KeyId"])
    assert service.describe_key(KeyId="alias/own")["KeyMetadata"]["Arn"] == theirs["Arn"]
    assert client.describe_key(KeyId="alias/own")["KeyMetadata"]["Arn"] == key["Arn"]
    client.put_key_policy(KeyId=key["KeyId"], PolicyName="default",
                          Policy=policy(allow(f"arn:aws:iam::{SERVICE}:root", "kms:DescribeKey")))
    assert service.describe_key(KeyId=arn_of("alias/own"))["KeyMetadata"]["Arn"] == key["Arn"]
    # Missing and forbidden look the same from another account.
    answers = {refused("AccessDeniedException", service.encrypt, KeyId=arn_of(alias), Plaintext=b"x")
               for alias in ("alias/own", "alias/missing")}
    assert len(answers) == 1 and "does not exist in this Region" in answers.pop()
    assert refused("NotFoundException", regions[EAST].client().describe_key,
                   KeyId="alias/own") == f"Alias {arn_of('alias/own', EAST)} is not found."


def test_policies_are_asked_for_aliases(kms, client, key):
    client.put_key_policy(KeyId=key["KeyId"], PolicyName="default", Policy=policy(
        deny(f"arn:aws:iam::{CUSTOMER}:user/alice", ["kms:CreateAlias", "kms:UpdateAlias", "kms:DeleteAlias"])))
    alice = kms.client("alice")
    refused("AccessDeniedException", alice.create_alias, AliasName="alias/denied", TargetKeyId=key["KeyId"])
    client.create_alias(AliasName="alias/denied", TargetKeyId=key["KeyId"])
    refused("AccessDeniedException", alice.delete_alias, AliasName="alias/denied")
    free = client.create_key()["KeyMetadata"]["KeyId"]
    refused("AccessDeniedException", alice.update_alias, AliasName="alias/denied", TargetKeyId=free)
    client.update_alias(AliasName="alias/denied", TargetKeyId=free)
    refused("AccessDeniedException", alice.update_alias, AliasName="alias/denied", TargetKeyId=key["KeyId"])
    alice.delete_alias(AliasName="alias/denied")


def test_aliases_go_with_their_key(client, key):
    client.create_alias(AliasName="alias/gone", TargetKeyId=key["KeyId"])
    client.schedule_key_deletion(KeyId=key["KeyId"], PendingWindowInDays=7)  # 0.7 s here
    wait_for(lambda: "alias/gone" not in [a["AliasName"] for a in client.list_aliases(Limit=100)["Aliases"]], 10,
             what="the alias's end")
    other = client.create_key()["KeyMetadata"]["KeyId"]
    client.create_alias(AliasName="alias/gone", TargetKeyId=other)


def test_tags(kms, client):
    key = client.create_key(Tags=[{"TagKey": "a", "TagValue": "1"}])["KeyMetadata"]["KeyId"]
    assert kms.ok("ListResourceTags", KeyId=key) == {"Tags": [{"TagKey": "a", "TagValue": "1"}], "Truncated": False}
    status, headers, answer = kms.raw("TagResource", {"KeyId": key, "Tags": [
        {"TagKey": "a", "TagValue": "2"}, {"TagKey": "ü" * 128, "TagValue": "ä" * 256}, {"TagKey": "A", "TagValue": ""}]})
    assert (status, headers["Content-Length"], answer) == (200, "0", None)

    def tags():
        return {t["TagKey"]: t["TagValue"] for t in client.list_resource_tags(KeyId=key)["Tags"]}
    assert tags() == {"a": "2", "ü" * 128: "ä" * 256, "A": ""}
    client.untag_resource(KeyId=key, TagKeys=["a", "unknown"])
    assert sorted(tags()) == ["A", "ü" * 128]
    kms.restart(9)
    client = kms.client()
    assert kms.refuses("TagException", "TagResource", KeyId=key, Tags=[{"TagKey": "x", "TagValue": "1"}] * 2) == \
        "Duplicate tag keys"
    for name in ("aws:x", "AWS:x", "aWs:"):
        assert kms.refuses("TagException", "TagResource", KeyId=key, Tags=[{"TagKey": name, "TagValue": ""}]) == \
            "Tags beginning with aws: are reserved"
        kms.refuses("TagException", "UntagResource", KeyId=key, TagKeys=[name])
    for tag in ({"TagKey": "", "TagValue": ""}, {"TagKey": "x" * 129, "TagValue": ""}, {"TagKey": "x"},
                {"TagKey": "x", "TagValue": "y" * 257}, {"Key": "x", "Value": "y"}, "x", 1):
        kms.refuses("ValidationException", "TagResource", KeyId=key, Tags=[tag])
    kms.refuses("ValidationException", "TagResource", KeyId=key)
    kms.refuses("ValidationException", "UntagResource", KeyId=key)
    many = [{"TagKey": f"k{n:02}", "TagValue": "v"} for n in range(48)]
    kms.ok("TagResource", KeyId=key, Tags=many)
    assert kms.refuses("TagException", "TagResource", KeyId=key, Tags=[{"TagKey": "one", "TagValue": "more"}]) == \
        "Too many tags"
    kms.ok("TagResource", KeyId=key, Tags=[{"TagKey": "k00", "TagValue": "again"}])  # replaced: still 50
    seen, more = [], {}
    while True:
        page = kms.ok("ListResourceTags", KeyId=key, Limit=20, **more)
        seen += [t["TagKey"] for t in page["Tags"]]
        if not page["Truncated"]:
            break
        more = {"Marker": page["NextMarker"]}
    assert len(seen) == len(set(seen)) == 50
    kms.refuses("InvalidMarkerException", "ListResourceTags", KeyId=key, Marker="unknown")
    kms.refuses("ValidationException", "ListResourceTags", KeyId=key, Limit=51)


def test_description(kms, client, key):
    status, headers, answer = kms.raw("UpdateKeyDescription", {"KeyId": key["KeyId"], "Description": "données"})
    assert (status, headers["Content-Length"], answer) == (200, "0", None)
    assert client.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["Description"] == "données"
    kms.ok("UpdateKeyDescription", KeyId=key["KeyId"], Description="")
    kms.refuses("ValidationException", "UpdateKeyDescription", KeyId=key["KeyId"], Description="x" * 8193)
    kms.refuses("ValidationException", "UpdateKeyDescription", KeyId=key["KeyId"])


def test_key_policies_and_random(kms, client, key):
    assert kms.ok("ListKeyPolicies", KeyId=key["KeyId"]) == {"PolicyNames": ["default"], "Truncated": False}
    kms.refuses("InvalidMarkerException", "ListKeyPolicies", KeyId=key["KeyId"], Marker="x")
    for n in (1, 1024):
        made = [client.generate_random(NumberOfBytes=n)["Plaintext"] for _ in range(2)]
        assert [len(m) for m in made] == [n, n]
    assert made[0] != made[1]
    assert kms.refuses("ValidationException", "GenerateRandom", NumberOfBytes=1025) == (
        "1 validation error detected: Value '1025' at 'numberOfBytes' failed to satisfy constraint: Member must have "
        "value less than or equal to 1024")
    kms.refuses("ValidationException", "GenerateRandom")
    kms.refuses("UnsupportedOperationException", "GenerateRandom", NumberOfBytes=1, CustomKeyStoreId="cks-1234")


def test_reencrypt(kms, client, key):
    to = client.create_key()["KeyMetadata"]
    blob = client.encrypt(KeyId=key["KeyId"], Plaintext=b"hello", EncryptionContext={"a": "b"})["CiphertextBlob"]
    kms.ok("RotateKeyOnDemand", KeyId=key["KeyId"])
    moved = kms.ok("ReEncrypt", CiphertextBlob=b64(blob), SourceEncryptionContext={"a": "b"}, SourceKeyId=key["KeyId"],
                   DestinationKeyId=to["KeyId"], DestinationEncryptionContext={"c": "d"})
    assert (moved["SourceKeyId"], moved["KeyId"]) == (key["Arn"], to["Arn"])
    assert moved["SourceEncryptionAlgorithm"] == moved["DestinationEncryptionAlgorithm"] == "SYMMETRIC_DEFAULT"
    current = [kms.ok("DescribeKey", KeyId=k["KeyId"])["KeyMetadata"]["CurrentKeyMaterialId"] for k in (key, to)]
    assert moved["SourceKeyMaterialId"] != current[0] and moved["DestinationKeyMaterialId"] == current[1]
    opened = kms.ok("Decrypt", CiphertextBlob=moved["CiphertextBlob"], EncryptionContext={"c": "d"})
    assert (opened["Plaintext"], opened["KeyId"]) == (b64(b"hello"), to["Arn"])
    same = kms.ok("ReEncrypt", CiphertextBlob=b64(blob), SourceEncryptionContext={"a": "b"}, DestinationKeyId=key["KeyId"])
    assert same["DestinationKeyMaterialId"] == current[0]  # from old material to new
    wrong = {"CiphertextBlob": b64(blob), "DestinationKeyId": to["KeyId"]}
    assert kms.refuses("InvalidCiphertextException", "ReEncrypt", **wrong) == ""
    kms.refuses("IncorrectKeyException", "ReEncrypt", SourceKeyId=to["KeyId"], **wrong)
    kms.refuses("ValidationException", "ReEncrypt", DestinationKeyId=to["KeyId"])
    kms.refuses("ValidationException", "ReEncrypt", CiphertextBlob=b64(blob))
    right = {**wrong, "SourceEncryptionContext": {"a": "b"}}
    kms.refuses("DryRunOperationException", "ReEncrypt", DryRun=True, **right)
    kms.refuses("DryRunOperationException", "ReEncrypt", DryRun=True, DryRunModifiers=["IGNORE_CIPHERTEXT"],
                SourceKeyId=key["KeyId"], DestinationKeyId=to["KeyId"])
    client.disable_key(KeyId=to["KeyId"])
    assert kms.refuses("DisabledException", "ReEncrypt", **right) == f"{to['Arn']} is disabled."
    client.enable_key(KeyId=to["KeyId"])
    client.disable_key(KeyId=key["KeyId"])
    assert kms.refuses("DisabledException", "ReEncrypt", **right) == f"{key['Arn']} is disabled."


def test_reencrypt_needs_two_permissions(kms, client):
    service = f"arn:aws:iam::{SERVICE}:root"

    def key_with(actions):
        return client.create_key(Policy=policy(allow(service, actions)))["KeyMetadata"]["Arn"]
    both, only_from, only_to = (key_with(a) for a in ("kms:ReEncrypt*", "kms:ReEncryptFrom", "kms:ReEncryptTo"))
    for source, destination, fine in ((both, both, True), (only_from, only_to, True), (only_to, only_from, False),
                                      (both, only_from, False), (only_to, both, False)):
        blob = b64(client.encrypt(KeyId=source, Plaintext=b"x")["CiphertextBlob"])
        for more in ({}, {"SourceKeyId": source}):
            members = {"CiphertextBlob": blob, "DestinationKeyId": destination, **more}
            if fine:
                assert kms.ok("ReEncrypt", who="service", **members)["KeyId"] == destination
            else:
                message = kms.refuses("AccessDeniedException", "ReEncrypt", who="service", **members)
                assert ("kms:ReEncryptFrom" if source == only_to else "kms:ReEncryptTo") in message


def test_the_primary_moves(regions):
    west, east = regions[WEST], regions[EAST]
    key = west.client().create_key(MultiRegion=True)["KeyMetadata"]
    id = key["KeyId"]
    message = west.refuses("NotFoundException", "UpdatePrimaryRegion", KeyId=id, PrimaryRegion=EAST)
    assert message == f"Key '{key['Arn'].replace(WEST, EAST)}' does not exist"
    west.client().replicate_key(KeyId=id, ReplicaRegion=EAST)

    def state(kms):
        return kms.client().describe_key(KeyId=id)["KeyMetadata"]["KeyState"]
    wait_for(lambda: state(east) == "Enabled", 10)
    east.refuses("UnsupportedOperationException", "UpdatePrimaryRegion", KeyId=id, PrimaryRegion=EAST)
    west.refuses("UnsupportedOperationException", "UpdatePrimaryRegion", KeyId=id, PrimaryRegion=WEST)
    west.refuses("ValidationException", "UpdatePrimaryRegion", KeyId=id, PrimaryRegion="the moon")
    status, headers, answer = west.raw("UpdatePrimaryRegion", {"KeyId": id, "PrimaryRegion": EAST})
    assert (status, headers["Content-Length"], answer) == (200, "0", None)
    for kms in (west, east):
        assert state(kms) == "Updating"
        arn = kms.client().describe_key(KeyId=id)["KeyMetadata"]["Arn"]
        kms.client().encrypt(KeyId=id, Plaintext=b"x")  # cryptography goes on
        for operation in ("DisableKey", "EnableKey", "ScheduleKeyDeletion"):
            assert kms.refuses("KMSInvalidStateException", operation, KeyId=id) == f"{arn} is updating."
    for kms in (west, east):
        wait_for(lambda kms=kms: state(kms) == "Enabled", 10)
        config = kms.client().describe_key(KeyId=id)["KeyMetadata"]["MultiRegionConfiguration"]
        assert config["PrimaryKey"]["Region"] == EAST and [r["Region"] for r in config["ReplicaKeys"]] == [WEST]
        assert config["MultiRegionKeyType"] == ("PRIMARY" if kms is east else "REPLICA")
    east.ok("RotateKeyOnDemand", KeyId=id)
    west.refuses("UnsupportedOperationException", "RotateKeyOnDemand", KeyId=id)
    # A primary that became a replica goes like one.
    west.client().schedule_key_deletion(KeyId=id, PendingWindowInDays=7)
    wait_for(lambda: east.client().describe_key(KeyId=id)["KeyMetadata"]["MultiRegionConfiguration"]["ReplicaKeys"] == [],
             10, what="the replica's end")
    east.client().encrypt(KeyId=id, Plaintext=b"x")


def test_a_replica_that_is_to_go_can_become_the_primary_but_then_waits_for_the_others(regions):
    west, east = regions[WEST], regions[EAST]
    id = west.client().create_key(MultiRegion=True)["KeyMetadata"]["KeyId"]
    west.client().replicate_key(KeyId=id, ReplicaRegion=EAST)
    east.client().schedule_key_deletion(KeyId=id, PendingWindowInDays=30)  # 3 s here
    west.ok("UpdatePrimaryRegion", KeyId=id, PrimaryRegion=EAST)
    assert east.client().describe_key(KeyId=id)["KeyMetadata"]["KeyState"] == "PendingReplicaDeletion"
    time.sleep(4)  # its date passes
    assert east.client().describe_key(KeyId=id)["KeyMetadata"]["KeyState"] == "PendingReplicaDeletion"
    west.client().encrypt(KeyId=id, Plaintext=b"x")
    west.client().schedule_key_deletion(KeyId=id, PendingWindowInDays=7)

    def is_gone():
        return id not in [k["KeyId"] for k in east.client().list_keys(Limit=1000)["Keys"]]
    wait_for(is_gone, 15, what="the primary's end, behind its replica's")


def test_awscli(kms, key):
    def aws(*words):
        done = subprocess.run(
            ["aws", "--endpoint-url", kms.url, "--region", WEST, "--output", "text", "kms", *words], timeout=60,
            capture_output=True, text=True, check=True,
            env={**os.environ, "AWS_ACCESS_KEY_ID": access_key("customer"),
                 "AWS_SECRET_ACCESS_KEY": secret_key("customer")})
        return done.stdout
    aws("create-alias", "--alias-name", "alias/cli", "--target-key-id", key["KeyId"])
    assert key["KeyId"] in aws("list-aliases", "--key-id", key["Arn"])
    aws("tag-resource", "--key-id", key["KeyId"], "--tags", "TagKey=a,TagValue=b")
    assert aws("list-resource-tags", "--key-id", key["KeyId"], "--query", "Tags[0].TagValue").strip() == "b"
    aws("delete-alias", "--alias-name", "alias/cli")
