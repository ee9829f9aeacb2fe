"""S8, S9: further regions. The replica of the same key must pass the same preflight, against that region's own KMS; what
happens to it there concerns that region alone."""
import json
import time

import pytest

from lockset_dev import CUSTOMER, EAST, WEST, Dev, wait_for


@pytest.fixture(scope="module")
def dev():
    with Dev() as running:
        yield running


def add_region(dev, org, region=EAST, **more):
    return dev.admin("POST", f"/orgs/{org.name}/regions", {"region": region, **more})


def failed(answer):
    return {c["check"]: c for c in answer.json["checks"] if not c["ok"]}


def is_untouched(dev, org):
    """The region was not added, nothing of it was left behind, and the first region goes on."""
    assert [r["region"] for r in org.encryption()["regions"]] == [WEST]
    assert not (dev.stores[EAST] / org.id).exists()
    assert org.rows("SELECT 1 AS one") == [{"one": 1}]
    return True


def test_a_region_of_its_own(dev):
    org = dev.create_org()
    org.create_collection("here")
    assert org.add("here", [{"_id": "1", "where": "west"}]).status == 200
    replica = dev.replicate_key(org.key_arn)

    answer = add_region(dev, org)
    assert answer.status == 201, answer
    assert answer.data["region"] == EAST
    assert answer.data["kms_key_arn"] == replica == org.key_arn.replace(WEST, EAST)
    assert answer.data["state"] == "AVAILABLE"

    east = org.at(EAST)
    east.create_collection("here")  # collections belong to the region whose port created them
    assert east.add("here", [{"_id": "1", "where": "east"}, {"_id": "2", "where": "east"}]).status == 200
    assert east.rows("SELECT _id, where FROM here ORDER BY _id") == [{"_id": "1", "where": "east"},
                                                                      {"_id": "2", "where": "east"}]
    assert org.rows("SELECT _id, where FROM here") == [{"_id": "1", "where": "west"}]

    # Each region wraps its data keys under its own replica.
    for region, arn in ((WEST, org.key_arn), (EAST, replica)):
        files = list((dev.stores[region] / org.id / "keys").glob("*.json"))
        assert len(files) >= 2
        for file in files:
            key = json.loads(file.read_text())
            assert key["kms_key_arn"] == arn
            assert key["region"] == region

    states = {r["region"]: r["state"] for r in org.encryption()["regions"]}
    assert states == {WEST: "AVAILABLE", EAST: "AVAILABLE"}
    listed = dev.admin("GET", f"/orgs/{org.name}/regions").data
    assert [r["region"] for r in listed] == [EAST, WEST]
    events = dev.admin("GET", f"/orgs/{org.name}/events").data
    assert any(e["kind"] == "region.added" and e["region"] == EAST for e in events)

    again = add_region(dev, org)
    assert again.status == 409 and EAST in again.message, again


def test_no_replica(dev):
    org = dev.create_org()
    answer = add_region(dev, org)
    assert answer.status == 422, answer
    assert org.key_arn.replace(WEST, EAST) in answer.message
    assert "replica" in answer.message and "replicate-key" in answer.message
    assert "kms:DescribeKey" in failed(answer)
    assert is_untouched(dev, org)


def test_a_replica_with_the_default_policy(dev):
    """ReplicateKey copies no policy."""
    org = dev.create_org()
    own = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kms:*", "Resource": "*",
                                                    "Principal": {"AWS": f"arn:aws:iam::{CUSTOMER}:root"}}]}
    dev.replicate_key(org.key_arn, own)
    answer = add_region(dev, org)
    assert answer.status == 422, answer
    assert "policy" in answer.message
    assert is_untouched(dev, org)


def test_a_replica_that_lacks_one_action(dev):
    org = dev.create_org()
    policy = dev.policy()
    policy["Statement"][1]["Action"] = ["kms:Decrypt", "kms:GenerateDataKey*", "kms:DescribeKey"]
    dev.replicate_key(org.key_arn, policy)
    answer = add_region(dev, org)
    assert answer.status == 422, answer
    assert set(failed(answer)) == {"kms:Encrypt"}
    assert is_untouched(dev, org)


def test_a_disabled_replica(dev):
    org = dev.create_org()
    replica = dev.replicate_key(org.key_arn)
    dev.kms(EAST).disable_key(KeyId=replica)
    answer = add_region(dev, org)
    assert answer.status == 422, answer
    assert set(failed(answer)) == {"state"}
    assert "enable-key" in failed(answer)["state"]["mend"]
    assert is_untouched(dev, org)
    dev.kms(EAST).enable_key(KeyId=replica)
    assert add_region(dev, org).status == 201


def test_a_replica_that_is_being_created(dev):
    org = dev.create_org()
    dev.kms().replicate_key(KeyId=org.key_arn, ReplicaRegion=EAST, Policy=json.dumps(dev.policy()))
    answer = add_region(dev, org)  # at once: AWS says that it takes some seconds
    if answer.status == 201:
        pytest.fail("the replica was no longer Creating: this test must be quicker than that")
    assert answer.status == 422, answer
    assert set(failed(answer)) == {"state"}
    assert "Creating" in failed(answer)["state"]["detail"]
    assert is_untouched(dev, org)
    wait_for(lambda: add_region(dev, org).status == 201, 15, 0.5, "the region added")


def test_regions_that_are_not_there(dev):
    org = dev.create_org()
    answer = add_region(dev, org, "eu-central-1")
    assert answer.status == 400 and "eu-central-1" in answer.message and EAST in answer.message, answer
    for wrong in ("", "us-east", "US-EAST-1", None, 7):
        assert add_region(dev, org, wrong).status == 400
    assert dev.admin("POST", "/orgs/nobody/regions", {"region": EAST}).status == 404
    assert dev.admin("POST", f"/orgs/{org.name}/regions", {"region": EAST, "key": "x"}).status == 400
    assert is_untouched(dev, org)


def test_a_replica_of_another_key(dev):
    org = dev.create_org()
    dev.replicate_key(org.key_arn)
    other = dev.create_key()
    dev.replicate_key(other)
    answer = add_region(dev, org, kms_key_arn=other.replace(WEST, EAST))
    assert answer.status == 400, answer
    assert org.key_arn.replace(WEST, EAST) in answer.message and "can't be changed" in answer.message
    assert is_untouched(dev, org)


def test_calls_in_a_region_that_was_not_added(dev):
    org = dev.create_org()
    east = org.at(EAST)
    for answer in (east.query("SELECT 1"), east.call("GET", "/collections"),
                   east.call("POST", "/ws/commons/collections", {"name": "x"}), east.add("x", [{"a": 1}])):
        assert answer.status == 403, answer
        assert answer.json["type"] == "FORBIDDEN"
        assert EAST in answer.message and "lockset region add" in answer.message
    assert east.call("GET", "").status == 200  # what belongs to no region works anywhere
    assert east.call("GET", "/encryption").status == 200
    assert east.call("GET", "/ws").status == 200


def test_two_at_once(dev):
    """Two operators add the same region: one wins, the keys of the winner stay."""
    import concurrent.futures
    org = dev.create_org()
    dev.replicate_key(org.key_arn)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: add_region(dev, org), range(8)))
    assert sorted(a.status for a in answers)[0] == 201
    assert all(a.status in (201, 409) for a in answers), answers
    assert sum(a.status == 201 for a in answers) == 1
    east = org.at(EAST)
    east.create_collection("c")
    assert east.add("c", [{"a": 1}]).status == 200
    assert east.count("c") == 1


def test_an_organization_under_the_services_key(dev):
    org = dev.create_org(key_arn=None)
    assert add_region(dev, org).status == 201
    east = org.at(EAST)
    east.create_collection("c")
    assert east.add("c", [{"a": 1}]).status == 200
    assert east.count("c") == 1


def test_the_replica_is_disabled_and_only_that_region_stops(dev):
    org, other = dev.create_org(), dev.create_org()
    for o in (org, other):
        dev.replicate_key(o.key_arn)
        assert add_region(dev, o).status == 201
        for region in (WEST, EAST):
            o.at(region).create_collection("c")
            assert o.at(region).add("c", [{"a": 1}]).status == 200
    east = org.at(EAST)
    started = time.monotonic()
    east.disable_key()
    refused = wait_for(lambda: (lambda a: a if a.status != 200 else None)(east.query("SELECT count(*) AS n FROM c")), 20,
                       0.1, "a refused query")
    print(f"the replica disabled: refused there after {time.monotonic() - started:.1f} s")
    assert refused.status == 403, refused
    assert EAST in refused.message and "DisabledException" in refused.message
    assert org.key_arn.replace(WEST, EAST) in refused.message
    assert east.add("c", [{"a": 2}]).status == 503
    until = time.monotonic() + 5
    while time.monotonic() < until:  # nobody else notices
        assert org.count("c") == 1
        assert other.at(EAST).count("c") == 1
        assert other.count("c") == 1
    assert org.add("c", [{"a": 2}]).status == 200
    states = {r["region"]: r["state"] for r in org.encryption()["regions"]}
    assert states == {WEST: "AVAILABLE", EAST: "UNAVAILABLE"}
    # Seen from the other region's port, too.
    states = {r["region"]: r["state"] for r in east.encryption()["regions"]}
    assert states == {WEST: "AVAILABLE", EAST: "UNAVAILABLE"}

    east.enable_key()
    wait_for(lambda: east.is_answering(), 20, 0.1, "an answered query")
    assert east.count("c") == 1

    # And the primary: the replica goes on.
    org.disable_key()
    wait_for(lambda: org.query("SELECT count(*) FROM c").status == 403, 20, 0.1, "a refused query")
    assert east.count("c") == 1
    org.enable_key()
    wait_for(lambda: org.is_answering(), 20, 0.1, "an answered query")


def test_one_regions_kms_is_gone(dev):
    """No region ever calls another region's KMS."""
    org = dev.create_org()
    dev.replicate_key(org.key_arn)
    assert add_region(dev, org).status == 201
    org.at(EAST).create_collection("c")
    dev.devctl("stop", "kms.us-west-2")
    try:
        until = time.monotonic() + 8
        while time.monotonic() < until:
            assert org.at(EAST).rows("SELECT count(*) AS n FROM c") == [{"n": 0}]
            time.sleep(0.2)
    finally:
        dev.devctl("start", "kms.us-west-2")


def test_the_command_line(dev):
    org = dev.create_org()
    done = dev.cli("region", "add", org.name, EAST, check=False)
    assert done.returncode == 1 and "replica" in done.stderr, done
    dev.replicate_key(org.key_arn)
    assert "AVAILABLE" in dev.cli("region", "add", org.name, EAST).stdout
    assert EAST in dev.cli("region", "list", org.name).stdout
    dev.cli("collection", "create", "c", "--region", EAST, key=org.api_key)
    assert org.at(EAST).count("c") == 0
    assert org.call("GET", "/ws/commons/collections/c").status == 404
    assert dev.cli("region", "show", org.name, EAST).stdout.count(EAST) >= 1
    assert dev.cli("region", "check", org.name, EAST).stdout.count("kms:Decrypt") >= 1
    wrong = dev.cli("collection", "list", "--region", "eu-west-3", key=org.api_key, check=False)
    assert wrong.returncode == 2 and "us-east-1" in wrong.stderr


def test_the_first_use_adds_the_region_where_the_operator_allows_it():
    with Dev({"org.auto_add_regions": "true"}) as dev:
        org = dev.create_org()
        east = org.at(EAST)
        answer = east.query("SELECT 1 AS one")
        assert answer.status == 422 and "replica" in answer.message, answer
        dev.replicate_key(org.key_arn)
        assert east.rows("SELECT 1 AS one") == [{"one": 1}]
        assert [r["region"] for r in org.encryption()["regions"]] == [EAST, WEST]


def test_regions_survive_a_restart(tmp_path):
    import tempfile
    data = tempfile.mkdtemp(prefix="ls-")
    dev = Dev(data=data).start()
    try:
        org = dev.create_org()
        dev.replicate_key(org.key_arn)
        assert add_region(dev, org).status == 201
        east = org.at(EAST)
        east.create_collection("c")
        assert east.add("c", [{"a": 1}]).status == 200
        dev.kill()
        dev.start()
        wait_for(east.is_answering, 20, 0.1, "an answered query")
        assert east.count("c") == 1
        assert org.is_answering()
    finally:
        dev.stop()


def test_killed_while_a_region_is_added(dev):
    """Whole or not at all, and in either case it can be used, or added, afterwards."""
    import threading
    org = dev.create_org()
    dev.replicate_key(org.key_arn)
    for delay in (0, 0.01, 0.02, 0.03, 0.05):
        threading.Thread(target=lambda: quietly(lambda: add_region(dev, org))).start()
        time.sleep(delay)
        dev.devctl("stop", "keyring")
        dev.devctl("start", "keyring")
        wait_for(lambda: quietly(org.is_answering), 30, 0.2, "the first region answering again")
    wait_for(lambda: quietly(lambda: add_region(dev, org).status in (201, 409)), 20, 0.2, "the region added")
    east = org.at(EAST)
    wait_for(lambda: quietly(east.is_answering), 30, 0.2, "the second region answering")
    east.create_collection("c")
    assert east.add("c", [{"a": 1}]).status == 200
    assert east.count("c") == 1
    names = [f for f in (dev.stores[EAST] / org.id / "keys").glob("*.json") if json.loads(f.read_text())["kind"] == "name"]
    assert len(names) == 1


def quietly(call):
    try:
        return call()
    except OSError:
        return None
