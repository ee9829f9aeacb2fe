"""S12, S13: a key that is away for too long pauses the collections; only the operator leads out of it; and then it is
decided for each collection whether it is recovered."""
import json
import tempfile
import time

import pytest

from lockset_dev import EAST, WEST, Dev, is_running, wait_for

PAUSE_S = 6
QUICK = {"key.probe_interval": "1s", "key.full_check_interval": "2s", "key.kms_timeout": "500ms",
         "key.ride_through": "4s", "key.pause_after": f"{PAUSE_S}s"}


@pytest.fixture(scope="module")
def dev():
    with Dev(QUICK) as running:
        yield running


def loaded_org(dev, count=10, **more):
    org = dev.create_org(**more)
    org.create_collection("c")
    assert org.add("c", [{"_id": str(i), "n": i} for i in range(count)]).status == 200
    return org


def region_of(org, region=WEST):
    return next(r for r in org.encryption()["regions"] if r["region"] == region)


def pause(org):
    org.disable_key()
    org.wait_state("PAUSED", 60)


def recover(dev, org, region=WEST, **body):
    from lockset_dev import http_call
    return http_call(dev.apis[region], "POST", f"/v1/admin/orgs/{org.name}/regions/{region}/recover", body,
                     {"Authorization": f"Operator {dev.info['operator_token']}"})


def history(dev, org, region=WEST):
    """Oldest first: (state, cause)."""
    events = dev.admin("GET", f"/orgs/{org.name}/events?limit=1000").data
    return [(e["to_state"], e["cause"]) for e in reversed(events) if e["region"] == region and e["kind"] == "state"]


def test_a_pause_and_the_way_out(dev):
    org, other = loaded_org(dev), loaded_org(dev)
    started = time.monotonic()
    pause(org)
    took = time.monotonic() - started
    print(f"paused {took:.1f} s after the key was disabled (key.pause_after {PAUSE_S} s)")
    assert took >= PAUSE_S

    # Everything of it is gone but the sealed data.
    wait_for(lambda: org.engine_pid() is None and org.gateway_pid() is None, 5, what="no engine, no gateway")
    state = region_of(org)
    assert state["cause"] == "DENIED" and "paused" in state["reason"] and "lockset region recover" in state["reason"]

    read = org.query("SELECT count(*) FROM c")
    assert read.status == 403 and read.json["type"] == "FORBIDDEN"
    assert "paused" in read.message and org.key_arn in read.message and "region recover" in read.message
    write = org.add("c", [{"_id": "late"}])
    assert write.status == 503 and "Retry-After" in write.headers  # pipelines wait, they don't drop
    shown = org.call("GET", "/ws/commons/collections/c").data
    assert shown["status"] == "PAUSED" and "lockset_recovery" not in shown
    assert [c["status"] for c in org.call("GET", "/collections").data] == ["PAUSED"]
    assert other.count("c") == 10  # nobody else notices

    # While the key is away, recovery is not possible, and says why.
    answer = recover(dev, org)
    assert answer.status == 422, answer
    assert "DisabledException" in json.dumps(answer.json) or "Disabled" in json.dumps(answer.json)
    assert any(c["check"] == "state" and not c["ok"] for c in answer.json["checks"])
    assert org.state() == "PAUSED"

    # The key comes back, and nothing happens but a message.
    org.enable_key()
    wait_for(lambda: "works again" in region_of(org)["reason"], 40, 0.2, "the message that the key works again")
    assert org.state() == "PAUSED"
    time.sleep(3)
    assert org.state() == "PAUSED"
    assert org.query("SELECT 1").status == 403
    assert org.add("c", [{"_id": "late"}]).status == 503
    assert org.engine_pid() is None

    # The operator recovers it.
    answer = recover(dev, org)
    assert answer.status == 200, answer
    assert answer.data["collections"] == [{"collection": "commons.c", "recovered": True, "reason": "nothing is missing",
                                           "readable": True}]
    assert org.state() == "AVAILABLE"
    assert org.count("c") == 10
    assert org.add("c", [{"_id": "after"}]).status == 200
    assert org.count("c") == 11
    shown = org.call("GET", "/ws/commons/collections/c").data
    assert shown["status"] == "READY" and shown["lockset_recovery"]["recovered"] is True

    # Asked again, it says the same and changes nothing.
    assert recover(dev, org).data == answer.data
    assert org.count("c") == 11

    told = history(dev, org)
    wanted = [("UNAVAILABLE", "DENIED"), ("PAUSED", "DENIED"), ("RECOVERING", None), ("AVAILABLE", None)]
    assert [t for t in told if t in wanted and told.count(t)][-1] == ("AVAILABLE", None)
    positions = [told.index(w) for w in wanted[:3]]
    assert positions == sorted(positions), told
    events = dev.admin("GET", f"/orgs/{org.name}/events?limit=1000").data
    asked = next(e for e in events if e["to_state"] == "RECOVERING")
    assert asked["actor"] == "operator" and asked["from_state"] == "PAUSED"


def test_nothing_to_recover(dev):
    org = loaded_org(dev)
    answer = recover(dev, org)
    assert answer.status == 409 and "AVAILABLE" in answer.message, answer
    org.disable_key()
    wait_for(lambda: org.query("SELECT 1").status == 403, 20)
    answer = recover(dev, org)
    assert answer.status == 409 and "UNAVAILABLE" in answer.message, answer
    org.enable_key()
    wait_for(org.is_answering, 20)
    assert recover(dev, org).status == 409
    assert dev.admin("POST", "/orgs/nobody/regions/us-west-2/recover", {}).status == 404
    assert dev.admin("POST", f"/orgs/{org.name}/regions/us-east-1/recover", {}).status == 404
    assert dev.admin("POST", f"/orgs/{org.name}/regions/us-west-2/recover", {"keep_readable": "yes"}).status == 400
    assert dev.admin("POST", f"/orgs/{org.name}/regions/us-west-2/recover", {"x": 1}).status == 400


def test_back_before_the_pause(dev):
    """S11: short of the bound, everything resumes by itself, and the clock of the pause begins anew."""
    org = loaded_org(dev)
    for _ in range(2):
        org.disable_key()
        wait_for(lambda: org.query("SELECT 1").status == 403, 20, 0.1)
        time.sleep(1)
        org.enable_key()
        wait_for(org.is_answering, 20, 0.1)
    assert org.count("c") == 10
    assert ("PAUSED", "DENIED") not in history(dev, org)


def test_an_empty_organization_recovers(dev):
    org = dev.create_org()
    pause(org)
    org.enable_key()
    answer = recover(dev, org)
    assert answer.status == 200 and answer.data["collections"] == [], answer
    assert org.state() == "AVAILABLE"
    org.create_collection("first")


def test_two_recoveries_at_once(dev):
    import concurrent.futures
    org = loaded_org(dev)
    pause(org)
    org.enable_key()
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: recover(dev, org), range(6)))
    assert all(a.status == 200 for a in answers), answers
    assert len({a.body for a in answers}) == 1
    assert org.count("c") == 10


def test_the_key_goes_again_while_recovering(dev):
    org = loaded_org(dev)
    pause(org)
    org.enable_key()
    assert recover(dev, org).status == 200
    pause(org)  # a second pause, and out again
    org.enable_key()
    assert recover(dev, org).status == 200
    assert org.count("c") == 10


def test_a_silent_kms_pauses_as_well():
    with Dev(QUICK) as dev:
        org = loaded_org(dev)
        dev.devctl("freeze", "kms.us-west-2")
        org.wait_state("PAUSED", 60)
        assert region_of(org)["cause"] == "UNREACHABLE"
        assert org.query("SELECT 1").status == 403
        dev.devctl("thaw", "kms.us-west-2")
        wait_for(lambda: recover(dev, org).status == 200, 40, 0.5, "the recovery")
        assert org.count("c") == 10


def test_the_services_own_key_never_pauses():
    """An operator's outage fails closed at the hard cap, but pauses nobody."""
    with Dev({**QUICK, "key.pause_after": "5s"}) as dev:
        org = loaded_org(dev, key_arn=None)
        arn = region_of(org)["kms_key_arn"]
        dev.kms(profile="service").disable_key(KeyId=arn)
        wait_for(lambda: org.query("SELECT 1").status == 403, 30, 0.2)
        time.sleep(12)
        assert org.state() == "UNAVAILABLE"
        dev.kms(profile="service").enable_key(KeyId=arn)
        wait_for(org.is_answering, 20, 0.2)
        assert org.count("c") == 10


def test_a_pause_survives_crashes_and_restarts():
    data = tempfile.mkdtemp(prefix="ls-")
    dev = Dev(QUICK, data=data).start()
    try:
        org = loaded_org(dev)
        pause(org)
        org.enable_key()
        dev.devctl("stop", "keyring")
        dev.devctl("start", "keyring")
        wait_for(lambda: "works again" in (region_of(org)["reason"] or ""), 40, 0.2, "the message")
        assert org.state() == "PAUSED"
        dev.kill()
        dev.start()
        assert org.state() == "PAUSED"
        assert org.query("SELECT 1").status == 403
        time.sleep(4)
        assert org.state() == "PAUSED"
        assert recover(dev, org).status == 200
        assert org.count("c") == 10
    finally:
        dev.close()


def test_downtime_is_no_unavailability():
    """A node that was off doesn't wake up paused: only what was observed counts. And what was observed isn't forgotten."""
    data = tempfile.mkdtemp(prefix="ls-")
    settings = {**QUICK, "key.pause_after": "15s"}
    dev = Dev(settings, data=data).start()
    try:
        org = loaded_org(dev)
        org.disable_key()
        wait_for(lambda: org.state() == "UNAVAILABLE", 20, 0.1)
        time.sleep(6)
        dev.stop()
        time.sleep(12)  # together more than pause_after
        dev.start()
        wait_for(lambda: org.state() == "UNAVAILABLE", 20, 0.1)
        started = time.monotonic()
        org.wait_state("PAUSED", 40)
        took = time.monotonic() - started
        print(f"paused {took:.1f} s after the restart; 6 s of 15 had been observed before")
        assert 4 <= took <= 13
    finally:
        dev.close()


@pytest.mark.parametrize("victim", ["api", "keyring", pytest.param("engine", marks=pytest.mark.long),
                                    pytest.param("supervisor", marks=pytest.mark.long)])
def test_a_crash_in_the_middle_of_a_recovery(victim):
    import threading
    data = tempfile.mkdtemp(prefix="ls-")
    dev = Dev(QUICK, data=data).start()
    try:
        org = loaded_org(dev)
        for i in range(5):
            org.create_collection(f"more{i}")
        pause(org)
        org.enable_key()
        answers = []

        def ask():
            try:
                answers.append(recover(dev, org))
            except OSError as e:
                answers.append(e)
        thread = threading.Thread(target=ask)
        thread.start()
        wait_for(lambda: org.state() == "RECOVERING", 20, 0.01, "RECOVERING")
        if victim == "supervisor":
            pids = list(dev.pids().values())
            dev.kill()
            wait_for(lambda: not any(is_running(p) for p in pids), 10, 0.05, "no process left")
            dev.start()
        elif victim == "engine":
            if org.engine_pid():
                dev.devctl("stop", f"engine.{org.id}.{WEST}")
        else:
            dev.devctl("stop", victim)
            time.sleep(0.3)
            dev.devctl("start", victim)
        thread.join(90)
        # By itself or asked again: it comes to its end, and decides the same.
        wait_for(lambda: state_or_none(org) == "AVAILABLE" or retry(dev, org), 60, 0.5, "the recovery's end")
        wait_for(org.is_answering, 30, 0.2)
        assert org.count("c") == 10
        answer = recover(dev, org)
        assert answer.status == 200 and len(answer.data["collections"]) == 6
        assert all(c["recovered"] for c in answer.data["collections"])
    finally:
        dev.close()


def state_or_none(org):
    try:
        return org.state()
    except (OSError, KeyError, TypeError):
        return None


def retry(dev, org):
    try:
        return recover(dev, org).status == 200
    except OSError:
        return False


def test_regions_pause_by_themselves(dev):
    org = loaded_org(dev)
    dev.replicate_key(org.key_arn)
    assert dev.admin("POST", f"/orgs/{org.name}/regions", {"region": EAST}).status == 201
    east = org.at(EAST)
    east.create_collection("c")
    assert east.add("c", [{"a": 1}]).status == 200
    east.disable_key()
    east.wait_state("PAUSED", 60)
    assert org.state() == "AVAILABLE" and org.count("c") == 10
    east.enable_key()
    wrong = dev.admin("POST", f"/orgs/{org.name}/regions/{EAST}/recover", {})  # asked at the other region's port
    assert wrong.status == 400 and EAST in wrong.message
    done = dev.cli("region", "recover", org.name, EAST)
    assert "commons.c" in done.stdout and "nothing is missing" in done.stdout
    assert east.count("c") == 1
