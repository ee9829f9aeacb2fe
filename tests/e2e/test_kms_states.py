"""Every operation on a key in every state a key can be in here, as one table.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html
"""
import re
import time

import pytest

from kms_tools import CUSTOMER, EAST, ROOT, WEST, Kms, b64, policy
from lockset_dev import wait_for

STATES = ["Enabled", "Disabled", "PendingDeletion", "PendingReplicaDeletion", "Creating", "Updating"]
OK, D, S = "ok", "DisabledException", "KMSInvalidStateException"
# operation: what comes of it in each of the states above
TABLE = {
    "Encrypt":                         (OK, D,  S,  S,  S,  OK),
    "Decrypt":                         (OK, D,  S,  S,  S,  OK),
    "ReEncrypt":                       (OK, D,  S,  S,  S,  OK),
    "GenerateDataKey":                 (OK, D,  S,  S,  S,  OK),
    "GenerateDataKeyWithoutPlaintext": (OK, D,  S,  S,  S,  OK),
    "CreateGrant":                     (OK, D,  S,  S,  S,  OK),
    "RetireGrant":                     (OK, OK, OK, OK, OK, OK),
    "RevokeGrant":                     (OK, OK, OK, OK, OK, OK),
    "ListGrants":                      (OK, OK, OK, OK, OK, OK),
    "DescribeKey":                     (OK, OK, OK, OK, OK, OK),
    "GetKeyPolicy":                    (OK, OK, OK, OK, OK, OK),
    "PutKeyPolicy":                    (OK, OK, OK, OK, OK, OK),
    "ListKeyPolicies":                 (OK, OK, OK, OK, OK, OK),
    "ListResourceTags":                (OK, OK, OK, OK, OK, OK),
    "ListAliases":                     (OK, OK, OK, OK, OK, OK),
    "DeleteAlias":                     (OK, OK, OK, OK, OK, OK),
    "CreateAlias":                     (OK, OK, S,  S,  OK, OK),
    "UpdateAlias":                     (OK, OK, S,  S,  OK, OK),
    "UpdateAlias from":                (OK, OK, OK, OK, OK, OK),
    "TagResource":                     (OK, OK, S,  S,  OK, OK),
    "UntagResource":                   (OK, OK, S,  S,  OK, OK),
    "UpdateKeyDescription":            (OK, OK, S,  S,  OK, OK),
    "EnableKey":                       (OK, OK, S,  S,  S,  S),
    "DisableKey":                      (OK, OK, S,  S,  S,  S),
    "ScheduleKeyDeletion":             (OK, OK, S,  S,  OK, S),
    "CancelKeyDeletion":               (S,  S,  OK, OK, S,  S),
    "EnableKeyRotation":               (OK, D,  S,  S,  S,  OK),
    "DisableKeyRotation":              (OK, D,  S,  S,  S,  OK),
    "RotateKeyOnDemand":               (OK, D,  S,  S,  S,  OK),
    "GetKeyRotationStatus":            (OK, OK, OK, OK, OK, OK),
    "GetKeyLastUsage":                 (OK, OK, OK, OK, OK, OK),
    "ListKeyRotations":                (OK, OK, OK, OK, OK, OK),
    "ReplicateKey":                    (OK, D,  S,  S,  S,  S),
    "UpdatePrimaryRegion":             (OK, D,  S,  S,  S,  OK),
}
WORDS = {"Enabled": "is not pending deletion.", "Disabled": "is not pending deletion.",
         "PendingDeletion": "is pending deletion.", "PendingReplicaDeletion": "is pending replica deletion.",
         "Creating": "is creating.", "Updating": "is updating."}
EMPTY = {"PutKeyPolicy", "DeleteAlias", "CreateAlias", "UpdateAlias", "TagResource", "UntagResource", "EnableKey",
         "UpdateKeyDescription", "DisableKey", "EnableKeyRotation", "DisableKeyRotation", "UpdatePrimaryRegion",
         "RetireGrant", "RevokeGrant"}
DRY_RUN = {"Encrypt", "Decrypt", "ReEncrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "CreateGrant",
           "RetireGrant", "RevokeGrant"}
ALICE = f"arn:aws:iam::{CUSTOMER}:user/alice"
NORTH = "eu-north-1"  # nobody serves it: what is replicated there stays


@pytest.fixture(scope="module")
def regions(tmp_path_factory):
    root = tmp_path_factory.mktemp("kms")
    regions = {name: Kms(root, name).start() for name in (WEST, EAST)}
    yield regions
    for region in regions.values():
        assert region.stop() == 0


def state_of(kms, key):
    return kms.ok("DescribeKey", KeyId=key)["KeyMetadata"]["KeyState"]


class Key:
    """A Multi-Region key, what it takes to call each operation with it, and the region where it gets into a state.

    The state is reached in two steps, so that the slow one is done for all keys together."""

    def __init__(self, regions, state):
        west, east = regions[WEST], regions[EAST]
        self.state, self.west = state, west
        self.kms = east if state in ("Creating", "Updating") else west
        self.id = west.ok("CreateKey", MultiRegion=True)["KeyMetadata"]["KeyId"]
        self.other = self.kms.ok("CreateKey")["KeyMetadata"]["KeyId"]
        self.blob = west.ok("Encrypt", KeyId=self.id, Plaintext=b64(b"x"))["CiphertextBlob"]
        self.alias = f"alias/{self.id}"
        if self.kms is west:
            self.grant = self.give_grant()
            west.ok("CreateAlias", AliasName=self.alias, TargetKeyId=self.id)
        if state in ("PendingReplicaDeletion", "Enabled", "Disabled", "Updating"):
            west.ok("ReplicateKey", KeyId=self.id, ReplicaRegion=EAST)

    def give_grant(self):
        return self.kms.ok("CreateGrant", KeyId=self.id, GranteePrincipal=ALICE, Operations=["Encrypt"])["GrantId"]

    def prepare(self):
        """What must wait until the replica is usable."""
        if self.state == "Updating":
            wait_for(lambda: state_of(self.kms, self.id) == "Enabled", 10, what="the replica")
            self.grant = self.give_grant()
            self.kms.ok("CreateAlias", AliasName=self.alias, TargetKeyId=self.id)

    def enter(self):
        if self.state == "Disabled":
            self.west.ok("DisableKey", KeyId=self.id)
        elif self.state in ("PendingDeletion", "PendingReplicaDeletion"):
            self.west.ok("ScheduleKeyDeletion", KeyId=self.id)
        elif self.state == "Updating":
            self.west.ok("UpdatePrimaryRegion", KeyId=self.id, PrimaryRegion=EAST)
        elif self.state == "Creating":
            self.west.ok("ReplicateKey", KeyId=self.id, ReplicaRegion=EAST)
            self.kms.ok("CreateAlias", AliasName=self.alias, TargetKeyId=self.id)
        assert state_of(self.kms, self.id) == self.state

    def members(self, operation):
        id = {"KeyId": self.id}
        if operation in ("RetireGrant", "RevokeGrant"):
            # No grant can be given to a replica that is being created: one that isn't there is told apart by its answer.
            return {**id, "GrantId": getattr(self, "grant", "0" * 64)}
        return {
            "Encrypt": {**id, "Plaintext": b64(b"x")}, "Decrypt": {"CiphertextBlob": self.blob},
            "ReEncrypt": {"CiphertextBlob": self.blob, "DestinationKeyId": self.other},
            "GenerateDataKey": {**id, "KeySpec": "AES_256"},
            "GenerateDataKeyWithoutPlaintext": {**id, "KeySpec": "AES_256"},
            "CreateGrant": {**id, "GranteePrincipal": ALICE, "Operations": ["Encrypt"]},
            "PutKeyPolicy": {**id, "Policy": policy()}, "DeleteAlias": {"AliasName": self.alias},
            "CreateAlias": {"AliasName": self.alias + "/new", "TargetKeyId": self.id},
            "UpdateAlias": {"AliasName": self.alias + "/other", "TargetKeyId": self.id},
            "UpdateAlias from": {"AliasName": self.alias, "TargetKeyId": self.other},
            "TagResource": {**id, "Tags": [{"TagKey": "a", "TagValue": "b"}]},
            "UntagResource": {**id, "TagKeys": ["a"]}, "UpdateKeyDescription": {**id, "Description": "d"},
            "ReplicateKey": {**id, "ReplicaRegion": NORTH},
            "UpdatePrimaryRegion": {**id, "PrimaryRegion": WEST if self.kms.region == EAST else EAST},
        }.get(operation, id)

    def call(self, operation):
        if operation == "UpdateAlias":
            self.kms.ok("CreateAlias", AliasName=self.alias + "/other", TargetKeyId=self.other)
        members, name = self.members(operation), operation.split()[0]
        if name in DRY_RUN:
            self.dry = self.kms.raw(name, {**members, "DryRun": True})[2]
        return self.kms.raw(name, members)


def check(key, operation, wanted, answer):
    status, headers, body = answer
    name = operation.split()[0]
    if key.state == "Creating" and name in ("RetireGrant", "RevokeGrant"):
        assert (status, body["__type"]) == (400, "NotFoundException")  # of the grant: the state is no hindrance
        assert body["message"].startswith("Grant ")
        return
    if wanted == OK:
        assert status == 200, body
        assert (headers["Content-Length"] == "0") == (name in EMPTY), name
        if name in DRY_RUN:
            assert key.dry["__type"] == "DryRunOperationException"
        return
    assert (status, body["__type"]) == (400, wanted), body
    arn = key.kms.ok("DescribeKey", KeyId=key.id)["KeyMetadata"]["Arn"]
    words = "is disabled." if wanted == D else \
        "is not pending deletion." if name == "CancelKeyDeletion" else WORDS[key.state]
    assert body == {"__type": wanted, "message": f"{arn} {words}"}
    if name in DRY_RUN:
        assert key.dry == body


@pytest.mark.parametrize("state", STATES)
def test_state(regions, state):
    column = STATES.index(state)
    keys = {operation: Key(regions, state) for operation in TABLE}
    for key in keys.values():
        key.prepare()
    for operation, row in TABLE.items():
        key = keys[operation]
        while True:
            begun = time.monotonic()
            key.enter()
            answer = key.call(operation)
            # Creating and Updating pass by themselves: a call that a busy machine made too late says nothing.
            if state not in ("Creating", "Updating") or time.monotonic() - begun < 1.8:
                break
            key = Key(regions, state)
            key.prepare()
        try:
            check(key, operation, row[column], answer)
        except AssertionError as error:
            raise AssertionError(f"{operation} on a key that is {state}: {error}") from error


def test_the_table_is_whole(regions):
    """Each operation with a key that is served stands in the table."""
    without_key = {"CreateKey", "ListKeys", "GenerateRandom", "ListRetirableGrants"}
    for operation in sorted({o.split()[0] for o in TABLE} | without_key):
        assert regions[WEST].raw(operation, {})[2].get("__type", "") != "UnknownOperationException", operation
    served = (ROOT / "src/kms/operations.c").read_text()
    names = set(re.findall(r'\{"(\w+)", kmsd_', served))
    assert names == {o.split()[0] for o in TABLE} | without_key
