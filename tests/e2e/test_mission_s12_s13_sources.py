"""S12, S13 with a bucket: after a pause a collection is recovered if the bucket still has what was listed and not read."""
import time

import pytest

from lockset_dev import Dev, wait_for
from sources_rig import Bucket, integrate, sources_of, source, wait_watching

QUICK = {"key.probe_interval": "1s", "key.full_check_interval": "2s", "key.kms_timeout": "500ms",
         "key.ride_through": "4s", "key.pause_after": "5s"}
OBJECTS, LINES = 60, 6000


@pytest.fixture(scope="module")
def dev():
    with Dev(QUICK) as running:
        yield running


@pytest.fixture
def bucket():
    with Bucket() as started:
        yield started


def rows(org, sql):
    answer = org.query(sql)
    assert answer.status == 200, answer
    return answer.json["results"]


def pause_in_the_middle(dev, bucket):
    """A paused organization, whose source had read some of the objects."""
    for k in range(OBJECTS):
        bucket.lines(f"in/{k:03}.json", [{"n": k * LINES + i, "text": "x" * 200} for i in range(LINES)])
    org = dev.create_org()
    integrate(org, bucket)
    assert org.call("POST", "/ws/commons/collections", {"name": "c", "sources": [source("in/")]}).status == 200
    wait_for(lambda: rows(org, "SELECT count(*) AS n FROM c")[0]["n"] > LINES, 30)
    org.disable_key()
    org.wait_state("PAUSED", 60)
    collection = org.call("GET", "/ws/commons/collections/c").data
    assert collection["status"] == "PAUSED" and collection["sources"] == []
    return org


def recover(dev, org):
    org.enable_key()

    def tried():
        done = dev.cli("region", "recover", org.name, "us-west-2", "--json", check=False)
        return done if done.returncode == 0 else None

    wait_for(tried, 30, every=0.5, what="the recovery")
    org.wait_state("AVAILABLE", 30)
    listed, = dev.admin("POST", f"/orgs/{org.name}/regions/us-west-2/recover").data["collections"]
    return listed


def test_a_bucket_that_still_has_everything(dev, bucket):
    org = pause_in_the_middle(dev, bucket)
    bucket.lines("in/new.json", [{"n": -1}])
    listed = recover(dev, org)
    assert listed["recovered"] and listed["collection"] == "commons.c", listed
    wait_watching(org, timeout=120)
    total = OBJECTS * LINES
    wait_for(lambda: rows(org, "SELECT count(*) AS many, uniqExact(n) AS different FROM c") ==
             [{"many": total + 1, "different": total + 1}], 30)


def test_a_bucket_that_lost_what_was_not_read(dev, bucket):
    org = pause_in_the_middle(dev, bucket)
    bucket.delete(f"in/{OBJECTS - 1:03}.json")
    bucket.lines(f"in/{OBJECTS - 2:03}.json", [{"n": -1}])
    bucket.lines("in/000.json", [{"n": -2}])  # was read: no matter
    listed = recover(dev, org)
    assert not listed["recovered"] and "2 of" in listed["reason"] and "gone or changed" in listed["reason"], listed
    time.sleep(3)
    shown = org.call("GET", "/ws/commons/collections/c").data
    assert shown["status"] == "PAUSED" and shown["lockset_recovery"]["recovered"] is False
    assert "gone or changed" in shown["lockset_recovery"]["reason"]
    refused = org.query("SELECT count(*) FROM c")
    assert refused.status == 403 and "could not be recovered" in refused.message, refused
    assert org.add("c", [{"n": 1}]).status == 403
    # The reason is the customer's: the registry doesn't know it. And a fresh engine doesn't show it either.
    assert b"gone or changed" not in b"".join(f.read_bytes() for f in dev.data.glob("registry.db*"))
    dev.devctl("stop", f"engine.{org.id}.us-west-2")
    assert wait_for(lambda: org.query("SELECT count(*) FROM c").status, 20) == 403
    # Readable, if the operator asks for that; still not to be written.
    before = dev.admin("POST", f"/orgs/{org.name}/regions/us-west-2/recover", {"keep_readable": True}).data["collections"]
    assert before == [{**listed, "readable": True}]
    read_until_the_pause = rows(org, "SELECT count(*) AS n FROM c")[0]["n"]
    assert LINES < read_until_the_pause < OBJECTS * LINES
    assert org.add("c", [{"n": 1}]).status == 403
    # Deleted and made anew it reads what is there now.
    assert org.call("DELETE", "/ws/commons/collections/c").status == 200
    assert org.call("POST", "/ws/commons/collections", {"name": "c", "sources": [source("in/")]}).status == 200
    wait_watching(org, timeout=120)
    assert rows(org, "SELECT count(*) AS n FROM c")[0]["n"] == (OBJECTS - 3) * LINES + 2
    assert sources_of(org)[0]["status"]["error_count"] == 0
