"""S5: the customer rotates the key, on demand or automatically; new data goes under a new branch key, old data stays
readable, and nothing is restarted."""
import json
import os
import signal
import sqlite3
import time

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lockset_dev import EAST, WEST, Dev, http_call, wait_for

# A day of the local KMS lasts 0.2 s: the shortest rotation period, 90 days, lasts 18 s.
FAST = {"key.probe_interval": "1s", "key.full_check_interval": "2s", "dev.kms_day": "200ms"}
MINUTE = 60


@pytest.fixture(scope="module")
def dev():
    with Dev(FAST) as started:
        yield started


def aws(dev, operation, **members):
    """A call of the customer's that Debian's boto3 doesn't know yet, with its own signing."""
    url = dev.kms_urls[WEST]
    request = AWSRequest("POST", url + "/", data=json.dumps(members).encode(), headers={
        "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"TrentService.{operation}"})
    credentials = Credentials(dev.credential("customer", "aws_access_key_id"),
                              dev.credential("customer", "aws_secret_access_key"))
    SigV4Auth(credentials, "kms", WEST).add_auth(request)
    answer = http_call(url, "POST", "/", raw=request.body, headers=dict(request.headers))
    assert answer.status == 200, answer
    return answer.json


def materials(dev, org):
    """What the customer's key was ever made of, oldest first."""
    listed = aws(dev, "ListKeyRotations", KeyId=org.key_arn, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
    return [r["KeyMaterialId"] for r in listed]


def branches(dev, org, region=WEST):
    """The material each branch key of an organization in a region is wrapped under, oldest first."""
    db = sqlite3.connect(f"file:{dev.data}/registry.db?mode=ro", uri=True, timeout=10)
    try:
        return [row[0] for row in db.execute("SELECT material_id FROM wrapped_keys WHERE org = ? AND region = ? AND "
                                             "kind = 'branch' ORDER BY created_at_ms", (org.id, region))]
    finally:
        db.close()


def loaded_org(dev):
    org = dev.create_org()
    org.create_collection("c")
    assert org.add("c", [{"_id": f"old{i}", "v": i} for i in range(1000)]).status == 200
    return org


def check_picked_up(dev, org, processes):
    """The newest branch key comes to stand under the newest material; everything goes on meanwhile."""
    begun = time.monotonic()
    wait_for(lambda: branches(dev, org)[-1] == materials(dev, org)[-1], MINUTE, 0.1, "a branch key under new material")
    print(f"a new branch key {time.monotonic() - begun:.1f} s after the rotation")
    before = org.count("c")
    assert org.add("c", [{"v": -1} for _ in range(500)]).status == 200
    assert org.rows("SELECT count(*) AS n FROM c WHERE v >= 0") == [{"n": 1000}]
    assert org.count("c") == before + 500
    assert (org.engine_pid(), org.gateway_pid()) == processes


def test_s5_on_demand(dev):
    org, bystander = loaded_org(dev), loaded_org(dev)
    assert branches(dev, org) == materials(dev, org)
    processes = org.engine_pid(), org.gateway_pid()
    for _ in range(2):
        aws(dev, "RotateKeyOnDemand", KeyId=org.key_arn)
        check_picked_up(dev, org, processes)
    assert branches(dev, org) == materials(dev, org) and len(set(materials(dev, org))) == 3
    time.sleep(8)  # several full checks: answers that name old material are no change
    assert len(branches(dev, org)) == 3 and len(branches(dev, bystander)) == 1
    # Everything anew from the store: what lies under the old branches opens, too.
    os.kill(org.gateway_pid(), signal.SIGKILL)
    wait_for(lambda: org.gateway_pid() not in (None, processes[1]) and org.is_answering("SELECT count(*) FROM c"), 30,
             0.1, "answers from a new gateway")
    assert org.count("c") == 2000
    assert org.rows("SELECT sum(v) AS s FROM c") == [{"s": sum(range(1000)) - 1000}]


def test_s5_automatic(dev):
    org = loaded_org(dev)
    processes = org.engine_pid(), org.gateway_pid()
    aws(dev, "EnableKeyRotation", KeyId=org.key_arn, RotationPeriodInDays=90)
    wait_for(lambda: len(materials(dev, org)) > 1, 40, 0.1, "the automatic rotation")
    dev.kms().disable_key_rotation(KeyId=org.key_arn)
    check_picked_up(dev, org, processes)
    assert branches(dev, org)[0] == materials(dev, org)[0] and len(branches(dev, org)) >= 2
    assert org.state() == "AVAILABLE"


def test_s5_in_both_regions(dev):
    """The primary is rotated; its replicas have the new material at once, and both regions pick it up."""
    org = loaded_org(dev)
    dev.replicate_key(org.key_arn)
    answer = dev.admin("POST", f"/orgs/{org.name}/regions", {"region": EAST})
    assert answer.status == 201, answer
    east = org.at(EAST)
    east.create_collection("c")
    assert east.add("c", [{"_id": f"old{i}"} for i in range(100)]).status == 200
    aws(dev, "RotateKeyOnDemand", KeyId=org.key_arn)
    newest = materials(dev, org)[-1]
    for region in (WEST, EAST):
        wait_for(lambda region=region: branches(dev, org, region)[-1] == newest, MINUTE, 0.1, f"a new branch in {region}")
    for where, old in ((org, 1000), (east, 100)):
        assert where.add("c", [{"v": -1} for _ in range(10)]).status == 200
        assert where.count("c") == old + 10
