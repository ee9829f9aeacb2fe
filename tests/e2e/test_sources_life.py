"""Data sources while processes die and keys go: nothing is lost, nothing is stored twice, nothing stays attached."""
import json
import os
import pathlib
import random
import time

import pytest

from api_rig import Rig, wait_for
from sources_rig import (Bucket, count, errors_of, integrate, leave, path, source, sources_of, status_of, wait_count,
                         wait_watching)

OBJECTS, LINES = 40, 4000


@pytest.fixture
def rig():
    with Rig() as started:
        yield started


@pytest.fixture
def bucket():
    with Bucket() as started:
        yield started


def fill(bucket, objects=OBJECTS, lines=LINES):
    """Documents without an _id: each n once. Compressed ones and arrays are among them."""
    for k in range(objects):
        documents = [{"n": k * lines + i, "text": "x" * 200} for i in range(lines)]
        if k % 4 == 3:
            bucket.put(f"in/{k:03}.json", json.dumps(documents))
        else:
            bucket.lines(f"in/{k:03}.json" + (".gz" if k % 4 == 1 else ".zst" if k % 4 == 2 else ""), documents)
    return objects * lines


def assert_each_once(org, total):
    assert org.rows("SELECT count(*) AS many, uniqExact(n) AS different, max(n) AS top FROM c") == [
        {"many": total, "different": total, "top": total - 1}]


def connections(pid, port):
    """Connections of a process to a port of this machine."""
    inodes = set()
    for fd in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(fd)
        except OSError:
            continue
        if target.startswith("socket:"):
            inodes.add(target[8:-1])
    found = 0
    for line in pathlib.Path(f"/proc/{pid}/net/tcp").read_text().split("\n")[1:]:
        words = line.split()
        if words and words[9] in inodes and int(words[2].split(":")[1], 16) == port:
            found += 1
    return found


def wait_grown(org, before, total):
    """Until more is stored than before, or everything. How much that is."""
    return wait_for(lambda: (lambda n: n if n > before or n == total else None)(count(org)), 60, 0.01,
                    f"more than {before} documents")


def test_kill_9_of_the_api_in_the_middle_of_a_scan(rig, bucket):
    total = fill(bucket)
    org = rig.org()
    integrate(org, bucket)
    org.collection("c", sources=[source("in/")])
    stored, middle = 0, 0
    for round_number in range(6):
        if wait_grown(org, stored, total) == total:
            break
        time.sleep(random.uniform(0, 0.1) * round_number)  # at another moment each time, the first one at once
        rig.process.kill()
        rig.process.wait()
        bucket.harness.freeze()  # so that what is counted now is what was stored before the kill
        rig.start_api()
        stored = count(org)
        bucket.harness.thaw()
        middle += stored < total
    assert middle >= 1, "it was over before the first kill"
    wait_watching(org, timeout=120)
    assert_each_once(org, total)
    status = status_of(org)
    assert status["total_processed_items"] == total and status["error_count"] == 0
    time.sleep(2.5)
    assert count(org) == total and status_of(org)["total_processed_items"] == total


def test_kill_9_of_engines_in_the_middle_of_a_scan(rig, bucket):
    total = fill(bucket, 20)
    org = rig.org()
    integrate(org, bucket)
    org.collection("c", sources=[source("in/")])
    stored, middle = 0, 0
    for round_number in range(4):
        stored = wait_grown(org, stored, total)
        if stored == total:
            break
        time.sleep(random.uniform(0, 0.1) * round_number)
        org.kill_engine()
        middle += 1
    assert middle >= 1, "it was over before the first kill"
    wait_watching(org, timeout=120)
    assert_each_once(org, total)


def test_a_key_that_goes_in_the_middle_of_a_scan(rig, bucket):
    total = fill(bucket)
    bucket.s3.close()
    org = rig.org()
    integrate(org, bucket)
    org.collection("c", sources=[source("in/")])
    stored = 0
    for cause in ("DENIED", "UNREACHABLE"):
        stored = wait_grown(org, stored, total)
        assert stored < total or cause == "UNREACHABLE", "it was over before the key went"
        org.state("UNAVAILABLE", cause=cause)
        gone_at = time.monotonic()
        org.kill_engine()
        wait_for(lambda: connections(rig.process.pid, bucket.harness.port) == 0, 3)
        print(f"detached within {time.monotonic() - gone_at:.2f} s")
        collection = org.call("GET", "/ws/commons/collections/c").data
        assert collection["status"] == "ENCRYPTION_KEY_ERROR" and collection["sources"] == []
        assert org.call("GET", path()).status in (403, 503)
        assert org.call("GET", "/integrations").status in (403, 503)
        time.sleep(1.5)
        assert connections(rig.process.pid, bucket.harness.port) == 0
        org.state("AVAILABLE")
        wait_for(lambda: org.query("SELECT count(*) FROM c").status == 200, 20)
    wait_watching(org, timeout=120)
    assert_each_once(org, total)
    assert status_of(org)["total_processed_items"] == total


@pytest.mark.parametrize("state", ["PAUSED", "RECOVERING", "STARTING"])
def test_nothing_is_attached_in_any_other_state(rig, bucket, state):
    bucket.lines("in/a.json", [{"_id": "a"}])
    bucket.s3.close()
    org = rig.org()
    integrate(org, bucket)
    org.collection("c", sources=[source("in/")])
    wait_watching(org)
    org.state(state)
    wait_for(lambda: connections(rig.process.pid, bucket.harness.port) == 0, 3)
    rig.process.kill()
    rig.process.wait()
    rig.start_api()
    bucket.lines("in/b.json", [{"_id": "b"}])
    time.sleep(1.5)
    assert connections(rig.process.pid, bucket.harness.port) == 0
    org.state("AVAILABLE")
    wait_count(org, 2)


def test_a_bucket_that_is_away_is_waited_for(rig, bucket):
    bucket.lines("in/a.json", [{"_id": "a"}])
    org = rig.org()
    integrate(org, bucket)
    org.collection("c", sources=[source("in/")])
    wait_watching(org)
    port = bucket.harness.port
    bucket.harness.kill()
    status = wait_for(lambda: (lambda s: s if s["state"] == "ERROR" else None)(status_of(org)), 30)
    assert str(port) in status["message"] or "connect" in status["message"].lower()
    assert count(org) == 1


def test_objects_that_go_while_they_are_read(rig, bucket):
    fill(bucket, 12)
    org = rig.org()
    integrate(org, bucket)
    org.collection("c", sources=[source("in/")])
    wait_for(lambda: count(org) > 0, 20)
    for k in (9, 10, 11):
        for end in ("", ".gz", ".zst"):
            bucket.delete(f"in/{k:03}.json{end}")
    wait_watching(org, timeout=60)
    found = errors_of(org, sources_of(org)[0]["id"])
    assert len(found) <= 3 and all("deleted" in e["reason"] for e in found)
    assert count(org) >= 9 * LINES
