"""What the local KMS has answered survives SIGKILL at any moment."""
import random
import signal
import threading
import time

import pytest

from kms_tools import EAST, SERVICE, WEST, Kms, allow, b64, policy

QUICK = 8
LONG = 100
ALIASES = 40  # of one key, at most: KMS allows 50


class Journal:
    """What was acknowledged. A call cut off by the kill may have happened or not."""

    def __init__(self):
        self.created = {}  # id: the set of states it may be in
        self.policies = {}

    def check(self, client):
        listed = {key["KeyId"] for page in client.get_paginator("list_keys").paginate() for key in page["Keys"]}
        assert set(self.created) <= listed
        for key_id, states in self.created.items():
            state = client.describe_key(KeyId=key_id)["KeyMetadata"]["KeyState"]
            assert state in states, (key_id, state, states)
            self.created[key_id] = {state}
        for key_id, texts in self.policies.items():
            text = client.get_key_policy(KeyId=key_id, PolicyName="default")["Policy"]
            assert text in texts
            self.policies[key_id] = {text}


def write_until_killed(client, journal, rng):
    """One call after the other; what is on its way is noted before, what is acknowledged after."""
    n = 0
    try:
        while True:
            n += 1
            choice = rng.random()
            if choice < 0.4 or not journal.created:
                key_id = client.create_key(MultiRegion=rng.random() < 0.5)["KeyMetadata"]["KeyId"]
                journal.created[key_id] = {"Enabled"}
            elif choice < 0.8:
                key_id = rng.choice(list(journal.created))
                after = rng.choice(["Enabled", "Disabled"])
                journal.created[key_id] = journal.created[key_id] | {after}
                (client.enable_key if after == "Enabled" else client.disable_key)(KeyId=key_id)
                journal.created[key_id] = {after}
            else:
                key_id = rng.choice(list(journal.created))
                text = policy(allow(SERVICE, "kms:Decrypt", Sid=f"number {n}"))
                before = journal.policies.get(key_id)
                if before is None:
                    before = {client.get_key_policy(KeyId=key_id, PolicyName="default")["Policy"]}
                journal.policies[key_id] = before | {text}
                client.put_key_policy(KeyId=key_id, PolicyName="default", Policy=text)
                journal.policies[key_id] = {text}
    except Exception as error:  # the kill; anything the service said itself is a failure
        assert "An error occurred" not in str(error), error


def kill_rounds(tmp_path, rounds):
    rng = random.Random(7)
    kms = Kms(tmp_path).start()
    journal = Journal()
    keeper = kms.client().create_key()["KeyMetadata"]["KeyId"]
    blob = kms.client().encrypt(KeyId=keeper, Plaintext=b"kept")["CiphertextBlob"]
    try:
        for _ in range(rounds):
            writer = threading.Thread(target=write_until_killed, args=(kms.client(), journal, rng))
            writer.start()
            time.sleep(rng.uniform(0.02, 0.25))
            kms.stop(signal.SIGKILL)
            writer.join(30)
            assert not writer.is_alive()
            kms.start()
            journal.check(kms.client())
            assert kms.client().decrypt(CiphertextBlob=blob)["Plaintext"] == b"kept"
        assert len(journal.created) > rounds
    finally:
        kms.stop()


def test_killed_while_writing(tmp_path):
    kill_rounds(tmp_path, QUICK)


@pytest.mark.long
def test_killed_while_writing_many_times(tmp_path):
    kill_rounds(tmp_path, LONG)


def test_killed_while_replicating(tmp_path):
    """After each kill, both regions agree about every key: either there is a replica, or there is none."""
    rng = random.Random(11)
    west, east = Kms(tmp_path, WEST).start(), Kms(tmp_path, EAST).start()
    try:
        keys = [west.client().create_key(MultiRegion=True)["KeyMetadata"]["KeyId"] for _ in range(40)]
        acknowledged = []

        def replicate(client):
            try:
                for key_id in keys:
                    if key_id not in acknowledged:
                        client.replicate_key(KeyId=key_id, ReplicaRegion=EAST)
                        acknowledged.append(key_id)
            except Exception as error:
                if "AlreadyExistsException" in str(error):
                    acknowledged.append(key_id)
                else:
                    assert "An error occurred" not in str(error), error

        for _ in range(5):
            writer = threading.Thread(target=replicate, args=(west.client(),))
            writer.start()
            time.sleep(rng.uniform(0.02, 0.1))
            west.stop(signal.SIGKILL)
            writer.join(30)
            west.start()
            there = {key["KeyId"] for key in east.client().list_keys()["Keys"]}
            assert set(acknowledged) <= there
            for key_id in keys:
                related = west.client().describe_key(KeyId=key_id)["KeyMetadata"]["MultiRegionConfiguration"]
                assert bool(related["ReplicaKeys"]) == (key_id in there)
    finally:
        west.stop()
        east.stop()


class Additions:
    """Rotations, aliases and grants of a few keys: what was acknowledged, and what may have happened besides."""

    def __init__(self, kms):
        self.keys = [kms.ok("CreateKey", MultiRegion=n % 2 == 0)["KeyMetadata"]["KeyId"] for n in range(4)]
        self.n = 0
        self.blobs = []  # each opened by the material that was current
        self.rotations = {key: [0, 0] for key in self.keys}  # at least, at most
        self.aliases, self.maybe_aliases = {}, {}
        self.grants, self.maybe_grants = {}, {}

    def add_until_killed(self, kms, rng):
        try:
            while True:
                self.n = n = self.n + 1
                key, alias = rng.choice(self.keys), f"alias/number-{n}"
                bounds = self.rotations[key]
                if bounds[1] < 20:
                    bounds[1] += 1
                    kms.ok("RotateKeyOnDemand", KeyId=key)
                    bounds[0] += 1
                    self.blobs.append(kms.ok("Encrypt", KeyId=key, Plaintext=b64(b"kept"))["CiphertextBlob"])
                if [*self.aliases.values(), *self.maybe_aliases.values()].count(key) < ALIASES:
                    self.maybe_aliases[alias] = key
                    kms.ok("CreateAlias", AliasName=alias, TargetKeyId=key)
                    self.aliases[alias] = self.maybe_aliases.pop(alias)
                self.maybe_grants[f"n{n}"] = key
                kms.ok("CreateGrant", KeyId=key, GranteePrincipal=f"arn:aws:iam::{SERVICE}:root", Operations=["Encrypt"],
                       Name=f"n{n}")
                self.grants[f"n{n}"] = self.maybe_grants.pop(f"n{n}")
        except OSError:  # the kill
            pass

    def check(self, kms):
        for key, bounds in self.rotations.items():
            count = len(kms.ok("ListKeyRotations", KeyId=key)["Rotations"])
            assert bounds[0] <= count <= bounds[1]
            self.rotations[key] = [count, count]
        listed = {a["AliasName"]: a["TargetKeyId"]
                  for page in kms.client().get_paginator("list_aliases").paginate() for a in page["Aliases"]}
        assert self.aliases.items() <= listed.items() <= {**self.aliases, **self.maybe_aliases}.items()
        granted = {g["Name"]: key for key in self.keys
                   for page in kms.client().get_paginator("list_grants").paginate(KeyId=key) for g in page["Grants"]}
        assert self.grants.items() <= granted.items() <= {**self.grants, **self.maybe_grants}.items()
        self.aliases, self.grants, self.maybe_aliases, self.maybe_grants = listed, granted, {}, {}
        for blob in self.blobs:
            assert kms.ok("Decrypt", CiphertextBlob=blob)["Plaintext"] == b64(b"kept")


def test_killed_while_rotating_naming_and_granting(tmp_path):
    rng = random.Random(13)
    kms = Kms(tmp_path).start()
    try:
        additions = Additions(kms)
        for _ in range(QUICK):
            writer = threading.Thread(target=additions.add_until_killed, args=(kms, rng))
            writer.start()
            time.sleep(rng.uniform(0.05, 0.3))
            kms.stop(signal.SIGKILL)
            writer.join(30)
            assert not writer.is_alive()
            kms.start()
            additions.check(kms)
        assert sum(low for low, _ in additions.rotations.values()) >= QUICK and len(additions.grants) >= QUICK
    finally:
        kms.stop()


def test_everything_after_a_plain_restart(tmp_path):
    kms = Kms(tmp_path).start()
    try:
        client = kms.client()
        single, multi = (client.create_key(MultiRegion=m, Description="d")["KeyMetadata"] for m in (False, True))
        blobs = [client.encrypt(KeyId=key["KeyId"], Plaintext=b"x", EncryptionContext={"a": "b"})["CiphertextBlob"]
                 for key in (single, multi)]
        client.schedule_key_deletion(KeyId=single["KeyId"], PendingWindowInDays=9)
        before = [client.describe_key(KeyId=key["KeyId"])["KeyMetadata"] for key in (single, multi)]
        client = kms.restart().client()
        assert [client.describe_key(KeyId=key["KeyId"])["KeyMetadata"] for key in (single, multi)] == before
        assert client.decrypt(CiphertextBlob=blobs[1], EncryptionContext={"a": "b"})["Plaintext"] == b"x"
        client.cancel_key_deletion(KeyId=single["KeyId"])
        client.enable_key(KeyId=single["KeyId"])
        assert client.decrypt(CiphertextBlob=blobs[0], EncryptionContext={"a": "b"})["Plaintext"] == b"x"
    finally:
        kms.stop()
