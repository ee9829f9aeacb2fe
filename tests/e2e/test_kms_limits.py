"""The local KMS where it gets tight: a full disk, two clients after the same name, dates that pass while it doesn't run."""
import json
import resource
import signal
import threading
import time

import pytest

from kms_tools import CUSTOMER, EAST, SERVICE, WEST, Kms, allow, b64, policy
from lockset_dev import wait_for

ALICE = f"arn:aws:iam::{CUSTOMER}:user/alice"


def everything(kms, key):
    """All that can be asked about a key, and of the region."""
    asked = {operation: kms.ok(operation, KeyId=key) for operation in (
        "DescribeKey", "GetKeyPolicy", "ListResourceTags", "ListAliases", "ListGrants", "GetKeyRotationStatus",
        "ListKeyRotations")}
    return {**asked, "ListKeys": kms.ok("ListKeys"), "all aliases": kms.ok("ListAliases")}


def files(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*")
            if p.is_file() and p.suffix != ".log" and p.name != "usage.json"}


def test_a_full_disk(tmp_path):
    """A change that can't be written is refused as AWS's own fault, and nothing of it has happened."""
    kms = Kms(tmp_path).start()
    try:
        keys = [kms.ok("CreateKey", MultiRegion=m)["KeyMetadata"]["KeyId"] for m in (False, True)]
        for n, key in enumerate(keys):
            kms.ok("CreateAlias", AliasName=f"alias/{n}", TargetKeyId=key)
            kms.ok("TagResource", KeyId=key, Tags=[{"TagKey": "a", "TagValue": "b"}])
            kms.ok("EnableKeyRotation", KeyId=key)
        grants = [kms.ok("CreateGrant", KeyId=key, GranteePrincipal=ALICE, Operations=["Encrypt"])["GrantId"]
                  for key in keys]
        blobs = [kms.ok("Encrypt", KeyId=key, Plaintext=b64(b"x"))["CiphertextBlob"] for key in keys]
        known, on_disk = [everything(kms, key) for key in keys], files(tmp_path)
        changes = [("CreateKey", {}), ("CreateKey", {"MultiRegion": True}), ("DeleteAlias", {"AliasName": "alias/0"}),
                   ("UpdateAlias", {"AliasName": "alias/0", "TargetKeyId": keys[1]}),
                   ("ReplicateKey", {"KeyId": keys[1], "ReplicaRegion": EAST})]
        for key, grant in zip(keys, grants):
            changes += [(operation, {"KeyId": key, **members}) for operation, members in {
                "PutKeyPolicy": {"Policy": policy(allow(SERVICE, "kms:Encrypt"))}, "DisableKey": {},
                "ScheduleKeyDeletion": {}, "RotateKeyOnDemand": {}, "DisableKeyRotation": {},
                "EnableKeyRotation": {"RotationPeriodInDays": 100},
                "TagResource": {"Tags": [{"TagKey": "c", "TagValue": "d"}]}, "UntagResource": {"TagKeys": ["a"]},
                "UpdateKeyDescription": {"Description": "new"}, "RevokeGrant": {"GrantId": grant},
                "CreateGrant": {"GranteePrincipal": ALICE, "Operations": ["Decrypt"]}}.items()]
            changes.append(("CreateAlias", {"AliasName": "alias/new", "TargetKeyId": key}))
        unlimited = resource.prlimit(kms.process.pid, resource.RLIMIT_FSIZE)
        for limit in (0, 100):
            resource.prlimit(kms.process.pid, resource.RLIMIT_FSIZE, (limit, unlimited[1]))
            for operation, members in changes:
                status, _, answer = kms.raw(operation, members)
                assert (status, answer["__type"]) == (500, "KMSInternalException"), (operation, answer)
                assert set(answer) == {"__type", "message"} and str(tmp_path) not in answer["message"]
            assert [everything(kms, key) for key in keys] == known  # and reading works all the while
            assert [kms.ok("Decrypt", CiphertextBlob=blob)["Plaintext"] for blob in blobs] == [b64(b"x")] * 2
            resource.prlimit(kms.process.pid, resource.RLIMIT_FSIZE, unlimited)
            assert files(tmp_path) == on_disk
        kms.restart(signal.SIGKILL)
        assert [everything(kms, key) for key in keys] == known
        kms.ok("ReplicateKey", KeyId=keys[1], ReplicaRegion=EAST)  # with room again everything goes on
        kms.ok("RotateKeyOnDemand", KeyId=keys[0])
        kms.ok("DeleteAlias", AliasName="alias/0")
    finally:
        kms.stop()


def test_two_clients_after_one_alias(tmp_path):
    """Of those who create a name at once one wins, of those who delete it, too; the rest are told as AWS tells them."""
    kms = Kms(tmp_path).start()
    try:
        keys = [kms.ok("CreateKey")["KeyMetadata"]["KeyId"] for _ in range(2)]
        for n in range(10):
            for operation, loser in (("CreateAlias", "AlreadyExistsException"), ("DeleteAlias", "NotFoundException")):
                start, answers = threading.Barrier(4), []

                def go(i, operation=operation, start=start, answers=answers):
                    more = {"TargetKeyId": keys[i % 2]} if operation == "CreateAlias" else {}
                    start.wait(20)
                    status, _, answer = kms.raw(operation, {"AliasName": f"alias/race-{n}", **more})
                    answers.append((status, i % 2, (answer or {}).get("__type")))
                threads = [threading.Thread(target=go, args=(i,)) for i in range(4)]
                for t in threads:
                    t.start()
                for t in threads:
                    t.join(60)
                won = [a for a in answers if a[0] == 200]
                assert len(answers) == 4 and len(won) == 1, answers
                assert [a[2] for a in answers if a[0] != 200] == [loser] * 3
                named = kms.raw("DescribeKey", {"KeyId": f"alias/race-{n}"})[2]
                if operation == "CreateAlias":
                    assert named["KeyMetadata"]["KeyId"] == keys[won[0][1]]
                else:
                    assert named["__type"] == "NotFoundException"
        assert kms.ok("ListAliases")["Aliases"] == []
    finally:
        assert kms.stop() == 0


def test_dates_that_passed_while_it_was_down(tmp_path):
    """Whose deletion came due meanwhile is gone from the first answer on; whose rotation did has rotated soon."""
    kms = Kms(tmp_path, WEST, "--day-seconds", "0.02").start()
    try:
        gone, kept, turned = (kms.ok("CreateKey")["KeyMetadata"]["KeyId"] for _ in range(3))
        kms.ok("CreateAlias", AliasName="alias/gone", TargetKeyId=gone)
        blob = kms.ok("Encrypt", KeyId=gone, Plaintext=b64(b"x"))["CiphertextBlob"]
        old = kms.ok("Encrypt", KeyId=turned, Plaintext=b64(b"x"))["CiphertextBlob"]
        kms.ok("EnableKeyRotation", KeyId=turned, RotationPeriodInDays=90)
        rotation = kms.ok("GetKeyRotationStatus", KeyId=turned)["NextRotationDate"]
        kms.ok("ScheduleKeyDeletion", KeyId=kept, PendingWindowInDays=30)
        kms.ok("CancelKeyDeletion", KeyId=kept)
        date = kms.ok("ScheduleKeyDeletion", KeyId=gone, PendingWindowInDays=7)["DeletionDate"]
        kms.stop(signal.SIGKILL)
        wait_for(lambda: time.time() > max(date, rotation), 30, what="the dates to pass")
        kms.start()
        assert "does not exist" in kms.refuses("NotFoundException", "DescribeKey", KeyId=gone)
        assert gone not in str(kms.ok("ListKeys")["Keys"])
        assert "does not exist in this Region" in kms.refuses("AccessDeniedException", "Decrypt", CiphertextBlob=blob)
        kms.refuses("NotFoundException", "CancelKeyDeletion", KeyId=gone)
        assert kms.ok("DescribeKey", KeyId=kept)["KeyMetadata"]["KeyState"] == "Disabled"
        file = tmp_path / WEST / "keys" / f"{gone}.json"
        wait_for(lambda: not file.exists(), 30, what="the key's file to go")
        wait_for(lambda: kms.ok("ListAliases")["Aliases"] == [], 30, what="its alias to go")
        wait_for(lambda: kms.ok("ListKeyRotations", KeyId=turned)["Rotations"], 30, what="the rotation")
        assert kms.ok("Decrypt", CiphertextBlob=old)["Plaintext"] == b64(b"x")
    finally:
        assert kms.stop() == 0


@pytest.mark.parametrize("text, mode, why", [
    (None, None, "is missing"), ("aa" * 32, 0o640, "chmod 600"), ("aa" * 32, 0o604, "chmod 600"),
    ("aa" * 31, 0o600, "64 hex digits"), ("aa" * 33, 0o600, "64 hex digits"), ("", 0o600, "64 hex digits"),
    ("zz" * 32, 0o600, "64 hex digits"), ("aa" * 32, 0o600, "belongs to another root key")])
def test_root_keys_that_are_none(tmp_path, text, mode, why):
    """No start without the very root key, and nothing is changed in the attempt."""
    kms = Kms(tmp_path).start()
    key = kms.ok("CreateKey")["KeyMetadata"]["KeyId"]
    assert kms.stop() == 0
    file = tmp_path / "root.key"
    real = file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    file.unlink()
    if text is not None:
        file.write_text(text)
        file.chmod(mode)
    before = files(tmp_path)
    kms.launch()
    assert kms.process.wait(20) == 1
    kms.process.stdout.close()
    assert why in (tmp_path / f"{WEST}.log").read_text()
    assert files(tmp_path) == before
    file.write_text(real)
    file.chmod(0o600)
    kms.start()
    assert kms.ok("DescribeKey", KeyId=key)["KeyMetadata"]["Enabled"]
    assert kms.stop() == 0


def test_contexts_of_other_types(tmp_path):
    """AWS takes numbers and booleans in an encryption context for their text."""
    kms = Kms(tmp_path).start()
    try:
        key = kms.ok("CreateKey")["KeyMetadata"]["KeyId"]
        blob = kms.ok("Encrypt", KeyId=key, Plaintext=b64(b"x"), EncryptionContext={"n": 7, "yes": True})["CiphertextBlob"]
        for context in ({"n": "7", "yes": "true"}, {"yes": True, "n": 7}):
            assert kms.ok("Decrypt", CiphertextBlob=blob, EncryptionContext=context)["Plaintext"] == b64(b"x")
        kms.refuses("InvalidCiphertextException", "Decrypt", CiphertextBlob=blob, EncryptionContext={"n": "7", "yes": "True"})
        for value in (1.5, None, [], {}):
            kms.refuses("SerializationException", "Encrypt", KeyId=key, Plaintext=b64(b"x"), EncryptionContext={"n": value})
        kms.ok("PutKeyPolicy", KeyId=key, Policy=policy({**allow("*", "kms:*"), "Effect": "Deny", "Action": "kms:Encrypt", "Condition": {
            "StringEquals": {"kms:EncryptionContext:n": "7"}}}))
        kms.refuses("AccessDeniedException", "Encrypt", KeyId=key, Plaintext=b64(b"x"), EncryptionContext={"n": 7})
    finally:
        assert kms.stop() == 0


def test_as_many_grants_as_there_can_be(tmp_path):
    """5,000 a key: listed in pages, found when asked, and no more until one is gone."""
    kms = Kms(tmp_path).start()
    key = kms.ok("CreateKey")["KeyMetadata"]["KeyId"]
    first = kms.ok("CreateGrant", KeyId=key, GranteePrincipal=ALICE, Operations=["Encrypt"])["GrantId"]
    assert kms.stop() == 0
    file = tmp_path / WEST / "keys" / f"{key}.json"
    stored = json.loads(file.read_text())
    one, = json.loads(stored["state"]["grants"])
    ids = [first, *(f"{n:064x}" for n in range(1, 4999))]
    stored["state"]["grants"] = json.dumps([{**one, "id": i} for i in ids])
    file.write_text(json.dumps(stored))
    kms.start()
    try:
        give = {"KeyId": key, "GranteePrincipal": f"arn:aws:iam::{SERVICE}:root", "Operations": ["GenerateDataKey"]}
        last = kms.ok("CreateGrant", **give)["GrantId"]
        assert "as many grants" in kms.refuses("LimitExceededException", "CreateGrant", **give)
        listed = [g["GrantId"] for page in kms.client().get_paginator("list_grants").paginate(
            KeyId=key, PaginationConfig={"PageSize": 100}) for g in page["Grants"]]
        assert len(listed) == 5000 and set(listed) == {*ids, last}
        arn = kms.ok("DescribeKey", KeyId=key)["KeyMetadata"]["Arn"]
        kms.ok("GenerateDataKey", "service", KeyId=arn, KeySpec="AES_256")  # by the last of them
        kms.ok("RevokeGrant", KeyId=key, GrantId=ids[2500])
        assert kms.ok("ListGrants", KeyId=key, GrantId=ids[2501])["Grants"][0]["GrantId"] == ids[2501]
        kms.ok("CreateGrant", **give)
        kms.refuses("LimitExceededException", "CreateGrant", **give)
    finally:
        assert kms.stop() == 0
