"""Rotation in the local KMS: new material, old ciphertexts, the schedule, and what Multi-Region keys share."""
import time

import pytest

from kms_tools import EAST, WEST, Kms, b64
from lockset_dev import wait_for

DAY = 0.02  # seconds: the shortest period, 90 days, lasts 1.8 s


@pytest.fixture(scope="module")
def kms(tmp_path_factory):
    kms = Kms(tmp_path_factory.mktemp("kms"), WEST, "--day-seconds", str(DAY)).start()
    yield kms
    assert kms.stop() == 0


@pytest.fixture(scope="module")
def slow(tmp_path_factory):
    """Both regions, with days as long as AWS's."""
    root = tmp_path_factory.mktemp("slow")
    regions = {name: Kms(root, name).start() for name in (WEST, EAST)}
    yield regions
    for region in regions.values():
        assert region.stop() == 0


def material(kms, key_id):
    return kms.raw("DescribeKey", {"KeyId": key_id})[2]["KeyMetadata"]["CurrentKeyMaterialId"]


def rotations(kms, key_id, **more):
    status, _, answer = kms.raw("ListKeyRotations", {"KeyId": key_id, **more})
    assert status == 200, answer
    return answer


def encrypt(kms, key_id, text=b"hello"):
    return kms.client().encrypt(KeyId=key_id, Plaintext=text)["CiphertextBlob"]


def opened_by(kms, blob):
    """The material that opened it."""
    answer = kms.raw("Decrypt", {"CiphertextBlob": b64(blob)})[2]
    assert answer["Plaintext"] == b64(b"hello")
    return answer["KeyMaterialId"]


def test_on_demand(slow):
    kms = slow[WEST]
    key = kms.client().create_key()["KeyMetadata"]
    first, blob = material(kms, key["KeyId"]), encrypt(kms, key["KeyId"])
    status, _, answer = kms.raw("RotateKeyOnDemand", {"KeyId": key["KeyId"]})
    assert (status, answer) == (200, {"KeyId": key["Arn"]})
    second = material(kms, key["Arn"])
    assert second != first
    assert opened_by(kms, blob) == first
    assert opened_by(kms, encrypt(kms, key["KeyId"])) == second
    made = kms.raw("GenerateDataKey", {"KeyId": key["KeyId"], "KeySpec": "AES_256"})[2]
    assert made["KeyMaterialId"] == second
    kms.restart(9)
    assert material(kms, key["KeyId"]) == second and opened_by(kms, blob) == first


def test_25_on_demand_and_their_list(slow):
    kms = slow[WEST]
    key = kms.client().create_key()["KeyMetadata"]
    ids = [material(kms, key["KeyId"])]
    blobs = [encrypt(kms, key["KeyId"])]
    assert rotations(kms, key["KeyId"]) == {"Rotations": [], "Truncated": False}
    for _ in range(25):
        kms.ok("RotateKeyOnDemand", KeyId=key["Arn"])
        ids.append(material(kms, key["KeyId"]))
        blobs.append(encrypt(kms, key["KeyId"]))
    assert len(set(ids)) == 26
    assert [opened_by(kms, blob) for blob in blobs] == ids
    message = kms.refuses("LimitExceededException", "RotateKeyOnDemand", KeyId=key["KeyId"])
    assert message == ("The on-demand rotations limit has been reached for the given keyId. No more on-demand rotations "
                       f"can be performed for this key: {key['Arn']}")
    listed = rotations(kms, key["KeyId"])
    assert [r["KeyMaterialId"] for r in listed["Rotations"]] == ids[1:] and listed["Truncated"] is False
    assert {r["RotationType"] for r in listed["Rotations"]} == {"ON_DEMAND"}
    assert [r["KeyMaterialState"] for r in listed["Rotations"]] == ["NON_CURRENT"] * 24 + ["CURRENT"]
    assert all(abs(r["RotationDate"] - time.time()) < 60 for r in listed["Rotations"])
    every = rotations(kms, key["KeyId"], IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
    assert [r["KeyMaterialId"] for r in every] == ids
    assert "RotationDate" not in every[0] and "RotationType" not in every[0]
    paged, marker, pages = [], {}, 0
    while True:
        page = rotations(kms, key["KeyId"], Limit=5, **marker)
        paged += [r["KeyMaterialId"] for r in page["Rotations"]]
        pages += 1
        if not page["Truncated"]:
            break
        marker = {"Marker": page["NextMarker"]}
    assert (pages, paged) == (5, ids[1:])
    status, _, answer = kms.raw("ListKeyRotations", {"KeyId": key["KeyId"], "Marker": "f" * 64})
    assert (status, answer) == (400, {"__type": "InvalidMarkerException"})


def test_schedule(slow):
    kms, client = slow[WEST], slow[WEST].client()
    key = client.create_key()["KeyMetadata"]["KeyId"]
    assert kms.raw("GetKeyRotationStatus", {"KeyId": key})[2] == {"KeyId": key, "KeyRotationEnabled": False}
    status, headers, answer = kms.raw("EnableKeyRotation", {"KeyId": key})
    assert (status, headers["Content-Length"], answer) == (200, "0", None)

    def days_until_next():
        answer = kms.raw("GetKeyRotationStatus", {"KeyId": key})[2]
        assert answer["KeyRotationEnabled"] is True
        return answer["RotationPeriodInDays"], round((answer["NextRotationDate"] - time.time()) / 86400, 2)
    assert days_until_next() == (365, 365)
    client.enable_key_rotation(KeyId=key)  # again: nothing moves
    assert kms.raw("EnableKeyRotation", {"KeyId": key, "RotationPeriodInDays": 90})[0] == 200
    assert days_until_next() == (90, 90)
    kms.ok("RotateKeyOnDemand", KeyId=key)
    assert days_until_next() == (90, 90)
    for days, bound in ((89, "greater than or equal to 90"), (2561, "less than or equal to 2560")):
        status, _, answer = kms.raw("EnableKeyRotation", {"KeyId": key, "RotationPeriodInDays": days})
        assert (status, answer["__type"]) == (400, "ValidationException") and answer["message"].endswith(bound)
    client.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    assert client.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False
    client.cancel_key_deletion(KeyId=key)
    assert days_until_next() == (90, 90)
    client.enable_key(KeyId=key)
    client.disable_key_rotation(KeyId=key)
    assert client.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False


def test_automatic(kms):
    client = kms.client()
    key = client.create_key()["KeyMetadata"]["KeyId"]
    first, blob = material(kms, key), encrypt(kms, key)
    assert kms.raw("EnableKeyRotation", {"KeyId": key, "RotationPeriodInDays": 90})[0] == 200
    begun = time.monotonic()
    wait_for(lambda: material(kms, key) != first, 20, what="a rotation")
    assert time.monotonic() - begun >= 90 * DAY - 0.1
    wait_for(lambda: len(rotations(kms, key)["Rotations"]) >= 2, 20, what="another rotation")
    assert {r["RotationType"] for r in rotations(kms, key)["Rotations"]} == {"AUTOMATIC"}
    client.disable_key_rotation(KeyId=key)
    count = len(rotations(kms, key)["Rotations"])
    time.sleep(90 * DAY + 1.5)  # nothing to wait for: nothing must happen
    assert len(rotations(kms, key)["Rotations"]) == count
    assert opened_by(kms, blob) == first


def test_disabled_keys_rotate_when_they_are_back(kms):
    client = kms.client()
    key = client.create_key()["KeyMetadata"]["KeyId"]
    first = material(kms, key)
    assert kms.raw("EnableKeyRotation", {"KeyId": key, "RotationPeriodInDays": 90})[0] == 200
    client.disable_key(KeyId=key)
    for operation in ("EnableKeyRotation", "DisableKeyRotation", "RotateKeyOnDemand"):
        assert kms.refuses("DisabledException", operation, KeyId=key).endswith("is disabled.")
    time.sleep(90 * DAY + 1.5)  # the period passes without a rotation
    assert material(kms, key) == first
    assert client.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is True
    client.enable_key(KeyId=key)
    wait_for(lambda: material(kms, key) != first, 10, what="the overdue rotation")


def test_close_to_an_automatic_rotation(tmp_path):
    """When an automatic rotation is due (with AWS's days: from 20 minutes before), on-demand rotation conflicts."""
    kms = Kms(tmp_path, WEST, "--day-seconds", "0.02").start()
    client = kms.client()
    key = client.create_key()["KeyMetadata"]["KeyId"]
    assert kms.raw("EnableKeyRotation", {"KeyId": key, "RotationPeriodInDays": 90})[0] == 200
    due = kms.raw("GetKeyRotationStatus", {"KeyId": key})[2]["NextRotationDate"]
    conflicts = []

    def try_it():
        status, _, answer = kms.raw("RotateKeyOnDemand", {"KeyId": key})
        if status == 400:
            conflicts.append((answer["__type"], time.time()))
        return status == 400
    # Overdue until the store's next sweep, within a second: a try then conflicts.
    wait_for(lambda: time.time() >= due, 10, 0.001, "the due date")
    for _ in range(3):
        if try_it():
            break
        due = kms.raw("GetKeyRotationStatus", {"KeyId": key})[2]["NextRotationDate"]
        wait_for(lambda: time.time() >= due, 10, 0.001, "the due date")
    assert conflicts and conflicts[0][0] == "ConflictException"
    assert kms.stop() == 0


def test_multi_region_keys_rotate_together(slow):
    west, east = slow[WEST], slow[EAST]
    key = west.client().create_key(MultiRegion=True)["KeyMetadata"]
    id = key["KeyId"]
    west.ok("RotateKeyOnDemand", KeyId=id)  # the replica gets every version
    old = encrypt(west, id)
    west.client().replicate_key(KeyId=id, ReplicaRegion=EAST)
    wait_for(lambda: east.client().describe_key(KeyId=id)["KeyMetadata"]["KeyState"] == "Enabled", 10)
    before = material(west, id)
    assert material(east, id) == before
    west.ok("RotateKeyOnDemand", KeyId=id)
    after = material(west, id)
    assert after != before and material(east, id) == after
    assert opened_by(east, old) == before
    assert opened_by(west, encrypt(east, id)) == after
    assert len(rotations(west, id)["Rotations"]) == len(rotations(east, id)["Rotations"]) == 2
    arn = key["Arn"].replace(WEST, EAST)
    for operation in ("EnableKeyRotation", "DisableKeyRotation", "RotateKeyOnDemand"):
        message = east.refuses("UnsupportedOperationException", operation, KeyId=id)
        assert message == f"{arn} is not a multi-region primary key."
    west.client().enable_key_rotation(KeyId=id)
    assert east.client().get_key_rotation_status(KeyId=id)["KeyRotationEnabled"] is True
