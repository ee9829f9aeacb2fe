"""S9, S10, S11, B1, B2, B3: the kill switch at default settings, and the way back."""
import json
import threading
import time

import pytest

from lockset_dev import Dev, wait_for

QUERY = "SELECT count(*) AS n FROM c"


@pytest.fixture(scope="module")
def dev():
    """Default settings: what is published."""
    with Dev() as started:
        yield started


def loaded_org(dev, documents=100, **more):
    org = dev.create_org(**more)
    org.create_collection("c")
    answer = org.add("c", [{"_id": f"d{i:05}", "v": i} for i in range(documents)])
    assert answer.status == 200, answer
    assert org.count("c") == documents
    return org


def seconds_until_refused(org, bound):
    begun = time.monotonic()
    while time.monotonic() - begun < bound:
        answer = org.query(QUERY)
        if answer.status != 200:
            return time.monotonic() - begun, answer
        time.sleep(0.1)
    raise AssertionError(f"still answering after {bound} s")


def seconds_until_answered(org, bound):
    begun = time.monotonic()
    wait_for(lambda: org.is_answering(QUERY), bound, 0.1, "the return of answers")
    return time.monotonic() - begun


def without(dev, action):
    policy = dev.policy()
    policy["Statement"][1]["Action"] = [a for a in policy["Statement"][1]["Action"] if not a.startswith(action)]
    assert len(policy["Statement"][1]["Action"]) == 3
    return policy


def denied(dev, action):
    policy = dev.policy()
    policy["Statement"].append({"Sid": "no", "Effect": "Deny", "Principal": {"AWS": "arn:aws:iam::318212636800:root"},
                                "Action": action, "Resource": "*"})
    return policy


def test_s9_disabled_within_15_s_at_default_settings_and_a_running_query_is_cut(dev, capsys):
    org, bystander = loaded_org(dev), loaded_org(dev)
    outcome = {}

    def long_query():
        begun = time.monotonic()
        # 100 documents to the sixth power: longer than 30 s on any machine.
        answer = org.query("SELECT count(*) AS n FROM c AS a, c AS b, c AS d, c AS e, c AS f, c AS g "
                           "WHERE a.v + b.v + d.v + e.v + f.v + g.v = 7", timeout=90)
        outcome.update(answer=answer, seconds=time.monotonic() - begun)

    runner = threading.Thread(target=long_query)
    runner.start()
    time.sleep(1)
    if not runner.is_alive():
        raise AssertionError(f"the long query didn't run: {outcome}")
    errors = []
    stop = threading.Event()

    def watch_bystander():
        while not stop.is_set():
            answer = bystander.query(QUERY)
            if answer.status != 200:
                errors.append(answer)
            time.sleep(0.05)

    watcher = threading.Thread(target=watch_bystander)
    watcher.start()
    try:
        org.disable_key()
        seconds, answer = seconds_until_refused(org, 60)
        with capsys.disabled():
            print(f"\n    DisableKey to first refused query: {seconds:.1f} s", flush=True)
        assert seconds <= 15
        assert answer.status == 403 and answer.json["type"] == "FORBIDDEN"
        for word in (org.key_arn, "us-west-2", "DisabledException"):
            assert word in answer.message, answer.message
        runner.join(timeout=5)
        assert not runner.is_alive(), "the running query was not cut"
        assert outcome["answer"].status == 403, outcome
        assert outcome["seconds"] < 25, "the running query was left to finish"
        # S10: a write is refused, retryably, with the reason.
        write = org.add("c", [{"_id": "late"}])
        assert write.status == 503 and int(write.headers["Retry-After"]) >= 1
        assert org.key_arn in write.message and "DisabledException" in write.message
        assert org.call("GET", "/ws/commons/collections/c").data["status"] == "ENCRYPTION_KEY_ERROR"
        region = org.encryption()["regions"][0]
        assert region["state"] == "UNAVAILABLE" and region["cause"] == "DENIED"
        assert wait_for(lambda: org.engine_pid() is None and org.gateway_pid() is None, 2), "processes left"
        # S11: it comes back by itself, with everything.
        org.enable_key()
        seconds = seconds_until_answered(org, 60)
        with capsys.disabled():
            print(f"    EnableKey to first answered query: {seconds:.1f} s", flush=True)
        assert seconds <= 15
        assert org.count("c") == 100
        assert org.add("c", [{"_id": "late"}]).status == 200
        assert org.count("c") == 101
        kinds = [(e["to_state"], e["cause"]) for e in dev.admin("GET", f"/orgs/{org.name}/events").data if e.get("to_state")]
        assert ("UNAVAILABLE", "DENIED") in kinds and kinds[0][0] == "AVAILABLE"
    finally:
        stop.set()
        watcher.join()
    assert not errors, f"the other organization noticed: {errors[0]}"


CAUSES = {
    "no kms:Encrypt": lambda dev, org: org.put_policy(without(dev, "kms:Encrypt")),
    "no kms:Decrypt": lambda dev, org: org.put_policy(without(dev, "kms:Decrypt")),
    "no kms:GenerateDataKey*": lambda dev, org: org.put_policy(without(dev, "kms:GenerateDataKey")),
    "no kms:DescribeKey": lambda dev, org: org.put_policy(without(dev, "kms:DescribeKey")),
    "no statement": lambda dev, org: org.put_policy({**dev.policy(), "Statement": dev.policy()["Statement"][:1]}),
    "explicit Deny": lambda dev, org: org.put_policy(denied(dev, "kms:Decrypt")),
    "Deny of kms:*": lambda dev, org: org.put_policy(denied(dev, "kms:*")),
    "pending deletion": lambda dev, org: dev.kms().schedule_key_deletion(KeyId=org.key_arn, PendingWindowInDays=7),
}


def test_s9_every_way_to_take_the_key_stops_the_organization_and_s11_all_come_back(dev, capsys):
    """All causes at once, each on an organization of its own; each within the published bound."""
    orgs = {name: loaded_org(dev, 10) for name in CAUSES}
    bystander = loaded_org(dev, 10)
    begun = time.monotonic()
    for name, org in orgs.items():
        CAUSES[name](dev, org)
    left, took = dict(orgs), {}
    while left and time.monotonic() - begun < 60:
        for name, org in list(left.items()):
            answer = org.query(QUERY)
            if answer.status == 200:
                continue
            assert answer.status == 403, (name, answer)
            assert org.key_arn in answer.message, (name, answer.message)
            took[name] = time.monotonic() - begun
            del left[name]
        assert bystander.count("c") == 10
        time.sleep(0.1)
    with capsys.disabled():
        print("".join(f"\n    {n}: {s:.1f} s" for n, s in took.items()), flush=True)
    assert not left, f"still answering: {list(left)}"
    assert max(took.values()) <= 60
    for name, org in orgs.items():
        if name == "pending deletion":
            dev.kms().cancel_key_deletion(KeyId=org.key_arn)
            org.enable_key()
        else:
            org.put_policy(dev.policy())
    begun = time.monotonic()
    for name, org in orgs.items():
        seconds_until_answered(org, 60)
        assert org.count("c") == 10, name
    with capsys.disabled():
        print(f"    all back after {time.monotonic() - begun:.1f} s", flush=True)
    assert time.monotonic() - begun < 60


FAST = {"key.probe_interval": "1s", "key.full_check_interval": "2s", "key.kms_timeout": "500ms"}


@pytest.mark.parametrize("action,undo", [("freeze", "thaw"), ("stop", "start")])
def test_b1_a_silent_kms_is_ridden_through_and_then_fails_closed(dev_with, action, undo):
    dev = dev_with({**FAST, "key.ride_through": "8s"})
    org = loaded_org(dev, 10)
    dev.devctl(action, "kms.us-west-2")
    begun = time.monotonic()
    first_refusal = None
    while time.monotonic() - begun < 20:
        answer = org.query(QUERY)
        if answer.status != 200:
            first_refusal = time.monotonic() - begun
            break
        time.sleep(0.1)
    assert first_refusal is not None, "answered on without KMS"
    # The lease began with a probe sent at most an interval (and its time-out) earlier.
    assert 5 <= first_refusal <= 9.5, f"refused after {first_refusal:.1f} s"
    assert answer.status == 503 and answer.json["type"] == "NOT_READY", answer
    assert org.key_arn in answer.message
    write = org.add("c", [{"_id": "late"}])
    assert write.status == 503 and "Retry-After" in write.headers
    assert org.encryption()["regions"][0]["cause"] == "UNREACHABLE"
    dev.devctl(undo, "kms.us-west-2")
    assert seconds_until_answered(org, 30) <= 15
    assert org.count("c") == 10


def test_b1_a_short_silence_is_not_noticed(dev_with):
    dev = dev_with({**FAST, "key.ride_through": "20s"})
    org = loaded_org(dev, 10)
    dev.devctl("freeze", "kms.us-west-2")
    until = time.monotonic() + 5
    while time.monotonic() < until:
        assert org.count("c") == 10
        time.sleep(0.1)
    dev.devctl("thaw", "kms.us-west-2")
    until = time.monotonic() + 3
    while time.monotonic() < until:
        assert org.count("c") == 10
        time.sleep(0.1)


def test_flapping_never_a_byte_after_a_confirmed_refusal_until_restored_for_good(dev_with):
    dev = dev_with(FAST)
    org = loaded_org(dev, 10)
    org.disable_key()
    seconds_until_refused(org, 10)
    # Now it says yes for a moment, again and again, never long enough for two full checks 2 s apart.
    until = time.monotonic() + 12
    while time.monotonic() < until:
        org.enable_key()
        time.sleep(0.7)
        org.disable_key()
        for _ in range(6):
            answer = org.query(QUERY)
            assert answer.status != 200, "answered while the key was flapping"
            time.sleep(0.1)
    org.enable_key()
    assert seconds_until_answered(org, 20) <= 15
    assert org.count("c") == 10


def test_check_now_notices_at_once(dev):
    """The operator's re-check doesn't wait for the next probe."""
    org = loaded_org(dev, 5)
    org.disable_key()
    answer = dev.admin("POST", f"/orgs/{org.name}/regions/us-west-2/check")
    assert answer.status == 200, answer
    assert any(not c["ok"] for c in answer.data["checks"])
    assert org.query(QUERY).status == 403
    org.enable_key()
    seconds_until_answered(org, 30)


def test_a_disabled_key_survives_restarts(dev_with):
    """A node that starts while the key is away serves nothing, and says why."""
    dev = dev_with(FAST)
    org = loaded_org(dev, 10)
    org.disable_key()
    seconds_until_refused(org, 10)
    dev.stop()
    dev.start()
    org.dev = dev
    answer = org.query(QUERY)
    assert answer.status in (403, 503)
    wait_for(lambda: org.query(QUERY).status == 403, 15)
    org.enable_key()
    seconds_until_answered(org, 20)
    assert org.count("c") == 10
