"""Multi-Region keys of the local KMS: two regions, two processes, one key."""
import json
import os
import signal
import time

import pytest

from kms_tools import EAST, SERVICE, WEST, Kms, allow, policy, refused


@pytest.fixture
def regions(tmp_path):
    west, east = Kms(tmp_path, WEST, "--day-seconds", "1").start(), Kms(tmp_path, EAST, "--day-seconds", "1").start()
    yield west, east
    west.stop()
    east.stop()


def wait_enabled(client, key_id, seconds=5):
    deadline = time.monotonic() + seconds
    while client.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] != "Enabled":
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_replica_comes_to_life(regions):
    west, east = (kms.client() for kms in regions)
    primary = west.create_key(MultiRegion=True, Description="first", Policy=policy(allow(SERVICE, "kms:*")))["KeyMetadata"]
    key_id, arn, there = primary["KeyId"], primary["Arn"], primary["Arn"].replace(WEST, EAST)
    blob = west.encrypt(KeyId=key_id, Plaintext=b"hello", EncryptionContext={"a": "b"})["CiphertextBlob"]
    refused("NotFoundException", east.describe_key, KeyId=key_id)
    refused("AccessDeniedException", east.decrypt, CiphertextBlob=blob, EncryptionContext={"a": "b"})

    status, _, made = regions[0].raw("ReplicateKey", {"KeyId": arn, "ReplicaRegion": EAST,
                                                      "Tags": [{"TagKey": "a", "TagValue": "b"}]})
    assert status == 200
    replica = made["ReplicaKeyMetadata"]
    assert (replica["Arn"], replica["KeyState"], replica["Enabled"]) == (there, "Creating", False)
    assert "CurrentKeyMaterialId" not in replica and replica["Description"] == ""
    assert made["ReplicaTags"] == [{"TagKey": "a", "TagValue": "b"}]
    assert len(json.loads(made["ReplicaPolicy"])["Statement"]) == 1  # the default, not the primary's
    together = {"PrimaryKey": {"Arn": arn, "Region": WEST}, "ReplicaKeys": [{"Arn": there, "Region": EAST}]}
    assert replica["MultiRegionConfiguration"] == {"MultiRegionKeyType": "REPLICA", **together}

    assert east.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "Creating"
    creating = f"{there} is creating."
    assert refused("KMSInvalidStateException", east.encrypt, KeyId=key_id, Plaintext=b"x") == creating
    assert refused("KMSInvalidStateException", east.disable_key, KeyId=key_id) == creating
    started = time.monotonic()
    wait_enabled(east, key_id)
    assert time.monotonic() - started < 3

    assert west.describe_key(KeyId=key_id)["KeyMetadata"]["MultiRegionConfiguration"] == {
        "MultiRegionKeyType": "PRIMARY", **together}
    described = east.describe_key(KeyId=key_id)["KeyMetadata"]
    assert described["MultiRegionConfiguration"] == {"MultiRegionKeyType": "REPLICA", **together}
    materials = {kms.raw("DescribeKey", {"KeyId": key_id})[2]["KeyMetadata"]["CurrentKeyMaterialId"] for kms in regions}
    assert len(materials) == 1
    for name in ({}, {"KeyId": key_id}, {"KeyId": there}):
        opened = east.decrypt(CiphertextBlob=blob, EncryptionContext={"a": "b"}, **name)
        assert (opened["Plaintext"], opened["KeyId"]) == (b"hello", there)
    assert refused("NotFoundException", east.decrypt, CiphertextBlob=blob, KeyId=arn) == f"Invalid arn {WEST}"
    back = east.generate_data_key(KeyId=there, KeySpec="AES_256")
    assert west.decrypt(CiphertextBlob=back["CiphertextBlob"])["Plaintext"] == back["Plaintext"]
    assert [key["KeyArn"] for key in east.list_keys()["Keys"]] == [there]
    refused("AccessDeniedException", regions[1].client("service").describe_key, KeyId=there)
    regions[0].client("service").describe_key(KeyId=arn)


def test_a_region_decides_for_itself(regions):
    west, east = (kms.client() for kms in regions)
    key_id = west.create_key(MultiRegion=True)["KeyMetadata"]["KeyId"]
    west.replicate_key(KeyId=key_id, ReplicaRegion=EAST, Description="there", Policy=policy(allow(SERVICE, "kms:Get*")))
    assert east.describe_key(KeyId=key_id)["KeyMetadata"]["Description"] == "there"
    assert len(json.loads(east.get_key_policy(KeyId=key_id, PolicyName="default")["Policy"])["Statement"]) == 2
    wait_enabled(east, key_id)
    blob = west.encrypt(KeyId=key_id, Plaintext=b"x")["CiphertextBlob"]
    west.disable_key(KeyId=key_id)
    refused("DisabledException", west.decrypt, CiphertextBlob=blob)
    assert east.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    west.enable_key(KeyId=key_id)
    east.disable_key(KeyId=key_id)
    refused("DisabledException", east.decrypt, CiphertextBlob=blob)
    assert west.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    for kms in regions:
        kms.restart()
    assert regions[0].client().describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "Enabled"
    assert regions[1].client().describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"] == "Disabled"


def test_what_is_not_replicated(regions):
    west, east = (kms.client() for kms in regions)
    single = west.create_key()["KeyMetadata"]["Arn"]
    assert refused("UnsupportedOperationException", west.replicate_key, KeyId=single,
                   ReplicaRegion=EAST) == f"{single} is not a multi-region primary key."
    arn = west.create_key(MultiRegion=True)["KeyMetadata"]["Arn"]
    there = arn.replace(WEST, EAST)
    west.replicate_key(KeyId=arn, ReplicaRegion=EAST)
    refused("AlreadyExistsException", west.replicate_key, KeyId=arn, ReplicaRegion=EAST)
    refused("AlreadyExistsException", west.replicate_key, KeyId=arn, ReplicaRegion=WEST)
    wait_enabled(east, there)
    assert refused("UnsupportedOperationException", east.replicate_key, KeyId=there,
                   ReplicaRegion="eu-west-1") == f"{there} is not a multi-region primary key."
    refused("ValidationException", west.replicate_key, KeyId=arn, ReplicaRegion="cn-north-1")
    refused("MalformedPolicyDocumentException", west.replicate_key, KeyId=arn, ReplicaRegion="eu-west-1",
            Policy=json.dumps({"Statement": allow(SERVICE, "kms:*")}))
    west.disable_key(KeyId=arn)
    refused("DisabledException", west.replicate_key, KeyId=arn, ReplicaRegion="eu-west-1")
    configuration = west.describe_key(KeyId=arn)["KeyMetadata"]["MultiRegionConfiguration"]
    assert [replica["Region"] for replica in configuration["ReplicaKeys"]] == [EAST]


def test_a_region_that_starts_later(tmp_path):
    west = Kms(tmp_path, WEST).start()
    key_id = west.client().create_key(MultiRegion=True)["KeyMetadata"]["KeyId"]
    blob = west.client().encrypt(KeyId=key_id, Plaintext=b"hello")["CiphertextBlob"]
    west.client().replicate_key(KeyId=key_id, ReplicaRegion=EAST)
    west.stop()
    east = Kms(tmp_path, EAST).start()
    try:
        assert [key["KeyId"] for key in east.client().list_keys()["Keys"]] == [key_id]
        wait_enabled(east.client(), key_id)
        assert east.client().decrypt(CiphertextBlob=blob)["Plaintext"] == b"hello"
    finally:
        east.stop()


def test_both_start_at_once(tmp_path):
    """Neither root key nor anything else exists yet."""
    for attempt in range(5):
        root = tmp_path / str(attempt)
        root.mkdir()
        west, east = Kms(root, WEST), Kms(root, EAST)
        for kms in (west, east):
            kms.launch()
        for kms in (west, east):
            kms.wait()
        try:
            key_id = west.client().create_key(MultiRegion=True)["KeyMetadata"]["KeyId"]
            west.client().replicate_key(KeyId=key_id, ReplicaRegion=EAST)
            blob = west.client().encrypt(KeyId=key_id, Plaintext=b"hello")["CiphertextBlob"]
            wait_enabled(east.client(), key_id)
            assert east.client().decrypt(CiphertextBlob=blob)["Plaintext"] == b"hello"
        finally:
            west.stop()
            east.stop()


def test_deleting_a_primary_waits_for_its_replicas(regions):
    """A day lasts a second here."""
    west, east = (kms.client() for kms in regions)
    arn = west.create_key(MultiRegion=True)["KeyMetadata"]["Arn"]
    there = arn.replace(WEST, EAST)
    west.replicate_key(KeyId=arn, ReplicaRegion=EAST)
    answer = west.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)
    assert answer["KeyState"] == "PendingReplicaDeletion" and "DeletionDate" not in answer
    described = west.describe_key(KeyId=arn)["KeyMetadata"]
    assert described["KeyState"] == "PendingReplicaDeletion" and described["PendingDeletionWindowInDays"] == 7
    assert "DeletionDate" not in described and not described["Enabled"]
    refused("KMSInvalidStateException", west.encrypt, KeyId=arn, Plaintext=b"x")
    refused("KMSInvalidStateException", west.replicate_key, KeyId=arn, ReplicaRegion="eu-west-1")
    wait_enabled(east, there)
    east.encrypt(KeyId=there, Plaintext=b"x")
    due = east.schedule_key_deletion(KeyId=there, PendingWindowInDays=7)["DeletionDate"].timestamp()
    time.sleep(max(0, due - time.time()) + 1.6)
    refused("NotFoundException", east.describe_key, KeyId=there)
    described = west.describe_key(KeyId=arn)["KeyMetadata"]
    assert described["KeyState"] == "PendingDeletion" and described["DeletionDate"].timestamp() > due + 6
    west.cancel_key_deletion(KeyId=arn)
    west.enable_key(KeyId=arn)
    west.replicate_key(KeyId=arn, ReplicaRegion=EAST, Description="again")
    assert east.describe_key(KeyId=there)["KeyMetadata"]["Description"] == "again"
    wait_enabled(east, there)
    assert east.decrypt(CiphertextBlob=west.encrypt(KeyId=arn, Plaintext=b"y")["CiphertextBlob"])["Plaintext"] == b"y"


def test_a_frozen_region_does_not_hold_up_the_other(regions):
    west, east = (kms.client() for kms in regions)
    arn = west.create_key(MultiRegion=True)["KeyMetadata"]["Arn"]
    os.kill(regions[1].process.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        west.replicate_key(KeyId=arn, ReplicaRegion=EAST)
        west.disable_key(KeyId=arn)
        west.enable_key(KeyId=arn)
        west.encrypt(KeyId=arn, Plaintext=b"x")
        assert time.monotonic() - started < 2
    finally:
        os.kill(regions[1].process.pid, signal.SIGCONT)
    wait_enabled(east, arn.replace(WEST, EAST))
