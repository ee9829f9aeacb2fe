"""GetKeyLastUsage: when a key was last used in a region, and what for.

Source: https://docs.aws.amazon.com/kms/latest/APIReference/API_GetKeyLastUsage.html
"""
import re
import signal
import time

import pytest

from kms_tools import CUSTOMER, EAST, WEST, Kms, allow, b64, deny, policy
from lockset_dev import wait_for

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


@pytest.fixture(scope="module")
def kms(tmp_path_factory):
    server = Kms(tmp_path_factory.mktemp("kms")).start()
    yield server
    assert server.stop() == 0


def last(kms, key):
    return kms.ok("GetKeyLastUsage", KeyId=key).get("KeyLastUsage")


def test_what_counts(kms):
    made = kms.ok("CreateKey")["KeyMetadata"]
    key, other = made["KeyId"], kms.ok("CreateKey")["KeyMetadata"]["KeyId"]
    fresh = kms.ok("GetKeyLastUsage", KeyId=made["Arn"])
    assert fresh == {"KeyId": key, "KeyCreationDate": made["CreationDate"], "TrackingStartDate": made["CreationDate"]}
    blob = None
    for operation, members in {"Encrypt": {"KeyId": key, "Plaintext": b64(b"x")},
                               "GenerateDataKey": {"KeyId": key, "KeySpec": "AES_256"},
                               "GenerateDataKeyWithoutPlaintext": {"KeyId": key, "NumberOfBytes": 16},
                               "Decrypt": {}, "ReEncrypt": {"DestinationKeyId": other}}.items():
        before = last(kms, key)
        if blob is not None and operation in ("Decrypt", "ReEncrypt"):
            members = {**members, "CiphertextBlob": blob}
        assert kms.raw(operation, {**members, "DryRun": True})[2]["__type"] == "DryRunOperationException"
        assert last(kms, key) == before, f"a DryRun of {operation} counted"
        begun = time.time()
        status, headers, answer = kms.raw(operation, members)
        assert status == 200
        blob = blob or answer["CiphertextBlob"]
        use = last(kms, key)
        assert set(use) == {"Operation", "Timestamp", "CloudTrailEventId", "KmsRequestId"}
        assert (use["Operation"], use["KmsRequestId"]) == (operation, headers["x-amzn-RequestId"])
        assert begun - 0.01 <= use["Timestamp"] <= time.time()
        assert re.fullmatch(UUID, use["CloudTrailEventId"])
    assert last(kms, other) == {**last(kms, other), "Operation": "ReEncrypt", "KmsRequestId": use["KmsRequestId"]}
    # What fails and what isn't cryptography leaves it as it is.
    kms.refuses("InvalidCiphertextException", "Decrypt", CiphertextBlob=blob, EncryptionContext={"no": "such"})
    kms.refuses("InvalidCiphertextException", "ReEncrypt", CiphertextBlob=blob, DestinationKeyId=other,
                SourceEncryptionContext={"no": "such"})
    kms.ok("DisableKey", KeyId=key)
    kms.refuses("DisabledException", "Encrypt", KeyId=key, Plaintext=b64(b"x"))
    kms.ok("DescribeKey", KeyId=key)
    assert last(kms, key) == use  # and it is told of a disabled key, too


def test_who_may_ask(kms):
    key = kms.ok("CreateKey", Policy=policy(allow("318212636800", "kms:*")))["KeyMetadata"]
    kms.ok("CreateAlias", AliasName="alias/used", TargetKeyId=key["KeyId"])
    assert kms.refuses("NotFoundException", "GetKeyLastUsage", KeyId="alias/used") == "Invalid keyId 'alias/used'"
    assert "kms:GetKeyLastUsage on this resource because" in \
        kms.refuses("AccessDeniedException", "GetKeyLastUsage", "service", KeyId=key["Arn"])
    kms.ok("DescribeKey", "service", KeyId=key["Arn"])
    kms.ok("PutKeyPolicy", KeyId=key["KeyId"], Policy=policy(deny("*", "kms:GetKeyLastUsage")))
    assert kms.refuses("AccessDeniedException", "GetKeyLastUsage", KeyId=key["KeyId"]) == \
        f"User: arn:aws:iam::{CUSTOMER}:root is not authorized to perform: kms:GetKeyLastUsage on resource: " \
        f"{key['Arn']} with an explicit deny in a resource-based policy"


def test_it_survives(tmp_path):
    kms = Kms(tmp_path).start()
    file = tmp_path / WEST / "usage.json"
    key = kms.ok("CreateKey")["KeyMetadata"]["KeyId"]
    kms.ok("GenerateDataKey", KeyId=key, KeySpec="AES_128")
    use = last(kms, key)
    wait_for(lambda: file.exists() and use["KmsRequestId"] in file.read_text(), 30, what="the use on disk")
    assert file.stat().st_mode & 0o777 == 0o600
    kms.restart(signal.SIGKILL)
    assert last(kms, key) == use
    kms.ok("Encrypt", KeyId=key, Plaintext=b64(b"x"))  # what is used just before a plain end is written down, too
    use = last(kms, key)
    assert kms.stop() == 0
    kms.start()
    assert last(kms, key) == use
    # Without the file nothing is known of the time before, and that is said.
    assert kms.stop() == 0
    file.unlink()
    kms.start()
    unknown = kms.ok("GetKeyLastUsage", KeyId=key)
    assert "KeyLastUsage" not in unknown and unknown["TrackingStartDate"] > unknown["KeyCreationDate"]
    started = kms.restart().ok("GetKeyLastUsage", KeyId=key)["TrackingStartDate"]
    assert started == unknown["TrackingStartDate"]
    assert kms.stop() == 0
    file.write_text(file.read_text()[:-5])
    kms.launch()
    assert kms.process.wait(10) == 1
    kms.process.stdout.close()
    assert f"{file} is damaged" in (tmp_path / f"{WEST}.log").read_text()


def test_each_region_has_its_own(tmp_path):
    west, east = Kms(tmp_path, WEST, "--day-seconds", "0.05").start(), None
    try:
        east = Kms(tmp_path, EAST, "--day-seconds", "0.05").start()
        key = west.ok("CreateKey", MultiRegion=True)["KeyMetadata"]["KeyId"]

        def usable():
            state = east.raw("DescribeKey", {"KeyId": key})[2].get("KeyMetadata", {}).get("KeyState")
            return state == "Enabled"
        west.ok("ReplicateKey", KeyId=key, ReplicaRegion=EAST)
        wait_for(usable, 20, what="the replica")
        east.ok("Encrypt", KeyId=key, Plaintext=b64(b"x"))
        assert last(east, key)["Operation"] == "Encrypt" and last(west, key) is None
        # A replica made anew has not been used.
        east.ok("ScheduleKeyDeletion", KeyId=key, PendingWindowInDays=7)
        wait_for(lambda: west.raw("ReplicateKey", {"KeyId": key, "ReplicaRegion": EAST})[0] == 200, 20,
                 what="the replica to go")
        wait_for(usable, 20, what="the new replica")
        assert last(east, key) is None
    finally:
        west.stop()
        if east is not None:
            east.stop()
