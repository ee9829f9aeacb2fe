"""Many callers at once change and use the same keys of the local KMS: nothing is lost, nothing is half there."""
import threading

from kms_tools import EAST, SERVICE, WEST, Kms, b64
from lockset_dev import wait_for

THREADS, ROUNDS = 8, 12
ROOT_OF_SERVICE = f"arn:aws:iam::{SERVICE}:root"


def run_all(work):
    """work(n) in THREADS threads; the first failure is raised."""
    failures = []

    def guarded(n):
        try:
            work(n)
        except BaseException as error:  # noqa: B902
            failures.append(error)
    threads = [threading.Thread(target=guarded, args=(n,)) for n in range(THREADS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(120)
        assert not t.is_alive()
    if failures:
        raise failures[0]


def test_changes_and_uses_of_the_same_keys(tmp_path):
    west, east = Kms(tmp_path, WEST).start(), Kms(tmp_path, EAST).start()
    try:
        keys = [west.ok("CreateKey", MultiRegion=m)["KeyMetadata"]["Arn"] for m in (True, False)]
        multi = keys[0]
        west.ok("ReplicateKey", KeyId=multi, ReplicaRegion=EAST)
        wait_for(lambda: east.ok("DescribeKey", KeyId=multi.replace(WEST, EAST))["KeyMetadata"]["Enabled"], 10)
        granted, blobs, lock = set(), [], threading.Lock()

        def work(n):
            for i in range(ROUNDS):
                key = keys[i % 2]
                alias = f"alias/t{n}-{i}"
                grant = west.ok("CreateGrant", KeyId=key, GranteePrincipal=ROOT_OF_SERVICE, Operations=["Encrypt"])
                west.ok("CreateAlias", AliasName=alias, TargetKeyId=key)
                if i % 4 == 0:
                    west.ok("RotateKeyOnDemand", KeyId=key)
                west.ok("TagResource", KeyId=key, Tags=[{"TagKey": f"thread {n}", "TagValue": str(i)}])
                blob = west.ok("Encrypt", who="service", KeyId=key, Plaintext=b64(b"x"))["CiphertextBlob"]
                with lock:
                    blobs.append((key, blob))
                    (granted.add if i % 3 else granted.discard)(grant["GrantId"])
                if i % 3 == 0:
                    west.ok("RevokeGrant", KeyId=key, GrantId=grant["GrantId"])
                west.ok("DescribeKey", KeyId=alias)
                east.ok("DescribeKey", KeyId=multi.replace(WEST, EAST))
                if i % 2:
                    west.ok("DeleteAlias", AliasName=alias)
        # One grant that stays, so that the service may always encrypt.
        for key in keys:
            granted.add(west.ok("CreateGrant", KeyId=key, GranteePrincipal=ROOT_OF_SERVICE, Operations=["Encrypt"],
                                Name="stays")["GrantId"])
        run_all(work)
        client = west.client()
        listed = {g["GrantId"] for key in keys for page in client.get_paginator("list_grants").paginate(KeyId=key)
                  for g in page["Grants"]}
        assert listed == granted
        aliases = {a["AliasName"] for page in client.get_paginator("list_aliases").paginate() for a in page["Aliases"]}
        assert aliases == {f"alias/t{n}-{i}" for n in range(THREADS) for i in range(0, ROUNDS, 2)}
        rotations = [len(west.ok("ListKeyRotations", KeyId=key)["Rotations"]) for key in keys]
        assert sum(rotations) == THREADS * len(range(0, ROUNDS, 4))
        for key in keys:
            tags = {t["TagKey"]: t["TagValue"] for t in west.ok("ListResourceTags", KeyId=key)["Tags"]}
            assert set(tags) == {f"thread {n}" for n in range(THREADS)}
        for key, blob in blobs:
            assert west.ok("Decrypt", CiphertextBlob=blob)["KeyId"] == key
            if key == multi:
                assert east.ok("Decrypt", CiphertextBlob=blob)["KeyId"] == multi.replace(WEST, EAST)
    finally:
        assert west.stop() == 0
        assert east.stop() == 0
