"""Data sources by hand: the commands that an engineer types."""
import json

import pytest

from lockset_dev import wait_for
from sources_rig import BUCKET, Bucket


@pytest.fixture(scope="module")
def bucket():
    with Bucket() as started:
        yield started


def test_from_the_bucket_to_the_query(shared_dev, bucket, tmp_path):
    org = shared_dev.create_org()

    def lockset(*words, **more):
        return shared_dev.cli(*words, key=org.api_key, **more)

    bucket.lines("in/a.json", [{"_id": "1", "n": 1, "old": False}, {"_id": "2", "n": 2, "old": True}])
    bucket.put("in/b.json", "poison")
    made = lockset("integration", "create", "lake", "-", stdin=json.dumps({"s3": bucket.integration()}))
    assert "lake" in made.stdout and bucket.harness.secret not in made.stdout
    assert "lake" in lockset("integration", "list").stdout
    file = tmp_path / "source.json"
    file.write_text(json.dumps({"integration_name": "lake", "s3": {"bucket": BUCKET, "prefix": "in/", "poll_interval_secs": 1}}))
    lockset("collection", "create", "c", "--source", str(file), "--mapping", "SELECT * FROM _input WHERE NOT old",
            "--retention", "86400")

    def listed():
        return json.loads(lockset("source", "list", "c", "--json").stdout)["data"]

    wait_for(lambda: listed()[0]["status"]["state"] == "WATCHING", 30)
    source_id = listed()[0]["id"]
    shown = lockset("source", "list", "c").stdout
    assert "WATCHING" in shown and "s3" in shown and source_id in shown
    assert "in/b.json#1" in lockset("source", "errors", "c", source_id).stdout
    assert json.loads(lockset("query", "SELECT n FROM c", "--json").stdout)["results"] == [{"n": 1}]
    assert "SUSPENDED" in lockset("source", "suspend", "c", source_id, "--for", "PT10M").stdout
    assert "SUSPENDED" not in lockset("source", "resume", "c", source_id).stdout
    second = json.loads(lockset("source", "create", "c", str(file), "--json").stdout)["data"]["id"]
    assert len(listed()) == 2
    lockset("source", "delete", "c", second)
    assert [s["id"] for s in listed()] == [source_id]
    refused = lockset("integration", "delete", "lake", check=False)
    assert refused.returncode == 1 and "commons.c" in refused.stderr
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    refused = lockset("source", "create", "c", str(broken), check=False)
    assert refused.returncode == 2 and "JSON object" in refused.stderr
    lockset("collection", "delete", "c")
    lockset("integration", "delete", "lake")
