"""The audit ledger: every call, every change, every order of the operator, in a chain that a crash doesn't break; it matches
AWS's own record; and when it can't be written access isn't prolonged, but ends as ever."""
import json
import os
import pathlib
import random
import shutil
import subprocess
import time
import uuid

import pytest

from keyring_rig import Rig, built, gone, now, wait_for
from kms_proxy import error
from kms_tools import CUSTOMER, SERVICE, WEST
from lockset_dev import Dev, http_call


@pytest.fixture
def rig():
    with Rig(proxy=True) as made:
        yield made


def lockset(*words):
    return subprocess.run([built("lockset"), "audit", *map(str, words)], capture_output=True, text=True, timeout=60, check=False)


def ledger(rig):
    return rig.data / "audit" / WEST


def records(rig, org, **wanted):
    """What stands there now; a line that is just being written is left out."""
    found = []
    for path in sorted((ledger(rig) / org).glob("*.jsonl")):
        for line in path.read_bytes().split(b"\n")[:-1]:
            found.append(json.loads(line))
    return [r for r in found if all(r.get(k) == v for k, v in wanted.items())]


def good(path, *options):
    done = lockset("verify", path, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def block(rig):
    """A file stands where the ledgers' folder was."""
    ledger(rig).rename(rig.root / "ledgers-away")
    ledger(rig).write_text("in the way")


def unblock(rig):
    ledger(rig).unlink()
    (rig.root / "ledgers-away").rename(ledger(rig))


def event(seen):
    """A call as CloudTrail tells it."""
    made = {"eventVersion": "1.11", "eventSource": "kms.amazonaws.com", "eventName": seen.operation, "requestID": seen.request_id,
            "eventID": str(uuid.uuid4()), "eventTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seen.wall)),
            "awsRegion": WEST, "sourceIPAddress": "192.0.2.7", "recipientAccountId": CUSTOMER,
            "userIdentity": {"type": "AWSAccount", "accountId": SERVICE},
            "requestParameters": {"keyId": seen.arn, **({"encryptionContext": seen.context} if seen.context else {})},
            "resources": [{"ARN": seen.arn, "type": "AWS::KMS::Key", "accountId": CUSTOMER}]}
    if seen.error:
        made["errorCode"] = {"AccessDeniedException": "AccessDenied"}.get(seen.error, seen.error)
    return made


def export_of(rig, calls):
    path = rig.root / "cloudtrail.json"
    path.write_text(json.dumps({"Records": calls}))
    return path


def test_every_call_matches_what_aws_recorded(rig):
    org, arn = rig.made()
    other, other_arn = rig.made("other")
    rig.active(org)
    disabled_at = int(time.time())
    rig.customer.disable_key(KeyId=arn)
    rig.wait_state(org, "UNAVAILABLE", "DENIED")
    wait_for(lambda: records(rig, org, event="ended"), what="the end is told")
    rig.customer.enable_key(KeyId=arn)
    rig.wait_state(org, "AVAILABLE")
    rig.call("recheck", org=org, region=WEST)
    rig.stop()
    calls = [s for s in rig.proxy.seen if s.request_id]
    assert {s.operation for s in calls} == {"Encrypt", "Decrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "DescribeKey"}
    last = max(s.wall for s in calls)
    calls = [s for s in calls if s.wall < last - 0.5]  # the keyring was stopped in the middle of the last ones
    until = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(int(last - 0.5) - 1))
    calls = [s for s in calls if int(s.wall) <= int(last - 0.5) - 1]
    events = [event(s) for s in calls]
    covers = ("--from", "2020-01-01T00:00:00", "--to", until)
    done = lockset("match", export_of(rig, events), rig.data / "audit", *covers)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.startswith(f"{len(events)} matched, 0 only"), done.stderr
    # The owner's own act, and how long AWS took from there, and we.
    act = {**event(calls[0]), "eventName": "DisableKey", "requestID": str(uuid.uuid4()),
           "eventTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(disabled_at))}
    done = lockset("match", export_of(rig, [*events, act]), rig.data / "audit", *covers)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and [f["finding"] for f in told] == ["withdrawals"], done.stdout
    delays = told[0]["of"]
    assert 0 <= delays["aws_at_least_ms"] <= delays["aws_ms"] < 10000 and 0 <= delays["ours_ms"] < 5000, delays
    # Gaps, foreign events, and lies are found, and no others.
    gap = events.pop(len(events) // 2)
    foreign = {**event(calls[3]), "requestID": str(uuid.uuid4()), "userIdentity": {"type": "IAMUser", "accountId": CUSTOMER}}
    by_s3 = {**event(calls[4]), "requestID": str(uuid.uuid4()), "sourceIPAddress": "s3.amazonaws.com"}
    other_key = {**event(calls[5]), "requestID": str(uuid.uuid4()), "resources": [], "requestParameters": {"keyId": arn + "0"}}
    changed = events[7]
    changed["requestParameters"] = {**changed["requestParameters"], "encryptionContext": {"lockset:org": "another"}}
    done = lockset("match", export_of(rig, [*events, foreign, by_s3, other_key, events[0]]), rig.data / "audit", *covers)
    assert done.returncode == 1
    found = [json.loads(line) for line in done.stdout.splitlines()]
    told = sorted((f["finding"], f["of"].get("requestID") or f["of"].get("request_id") or f["of"]["event"]["requestID"]) for f in found)
    assert told == sorted([("only_ledger", gap["requestID"]), ("only_cloudtrail", foreign["requestID"]),
                           ("via_s3", by_s3["requestID"]), ("differ", changed["requestID"])])
    assert f"{len(events) - 1} matched" in done.stderr and "1 elsewhere, 1 repeated" in done.stderr, done.stderr
    assert other_arn != arn and records(rig, other, kind="kms")


def test_calls_changes_and_orders_are_told_and_nothing_secret(rig):
    org, arn = rig.made()
    rig.active(org)
    rig.customer.disable_key(KeyId=arn)
    rig.wait_state(org, "UNAVAILABLE", "DENIED")
    wait_for(lambda: records(rig, org, event="processes_ended"), what="the end of the processes is told")
    rig.customer.enable_key(KeyId=arn)
    rig.wait_state(org, "AVAILABLE")
    wait_for(lambda: len(records(rig, org, event="granted")) == 2, what="the second lease is told")
    assert rig.call("audit", org=org, region=WEST, action="add_api_key", actor="operator", details={"name": "k"})["ok"]
    assert rig.call("delete_org", org=org, actor="somebody")["ok"]
    wait_for(lambda: records(rig, org, action="delete_org"), what="the deletion is told")
    told = records(rig, org)
    orders = [(r["action"], r["actor"]) for r in told if r["kind"] == "operator"]
    assert orders == [("create_org", "operator"), ("add_api_key", "operator"), ("delete_org", "somebody")]
    assert [r["action"] for r in records(rig, "operator", kind="operator")] == ["create_org"]
    leases = [(r["event"], r.get("cause")) for r in told if r["kind"] == "lease" and r["event"] != "passed"]
    assert leases == [("granted", None), ("ended", "DENIED"), ("processes_ended", "DENIED"), ("granted", None)]
    ended = next(r for r in told if r.get("event") == "ended")
    assert ended["aws_error"] == "DisabledException" and ended["key"] == arn and ended["at"] <= ended["time"]
    # Before a lease comes back there is the intent, and before that the calls it rests on.
    kinds = [(r["kind"], r.get("event")) for r in told]
    again = max(i for i, k in enumerate(kinds) if k == ("lease", "granted"))
    assert ("lease", "passed") in kinds[kinds.index(("lease", "processes_ended")):again]
    # What ended it: a call that was refused, or DescribeKey that told of it; and its confirmation.
    refusals = [r for r in told if r["kind"] == "kms" and (r["outcome"] != "ok" or r.get("key_state") == "Disabled")]
    assert len([r for r in refusals if r["seq"] < ended["seq"]]) >= 2
    assert all((r.get("aws_error") == "DisabledException" or r["operation"] == "DescribeKey") and r["request_id"] for r in refusals)
    for r in told:
        if r["kind"] == "kms":
            assert r["key"] == arn and (r["operation"] == "DescribeKey" or r["context"]["lockset:org"] == org)
    text = "".join(p.read_text() for p in ledger(rig).rglob("*.jsonl"))
    assert "Plaintext\"" not in text.replace("GenerateDataKeyWithoutPlaintext\"", "")
    good(rig.data / "audit")


def test_without_a_ledger_nothing_is_granted_and_nothing_is_prolonged(rig):
    org, _ = rig.made()
    pair = rig.active(org)
    block(rig)
    blocked_at = now()
    state = rig.wait_state(org, "UNAVAILABLE", "UNREACHABLE", timeout=15)
    assert "audit ledger can't be written" in state["reason"], state
    wait_for(lambda: gone(pair), timeout=5, what="the end of the processes")
    assert now() - blocked_at < 8  # the ride-through of this rig is 3 s
    assert not rig.create("another", rig.make_key())["ok"]
    refused = rig.call("audit", org=org, region=WEST, action="add_api_key", actor="operator")
    assert not refused["ok"] and "audit ledger can't be written" in refused["message"]
    unblock(rig)
    rig.wait_state(org, "AVAILABLE", timeout=15)
    assert rig.create("another", rig.make_key())["ok"]
    good(rig.data / "audit")


def test_without_a_ledger_access_ends_as_ever(rig):
    org, arn = rig.made()
    pair = rig.active(org)
    block(rig)
    rig.proxy.rules[arn] = lambda operation, key: error("DisabledException")
    refused_at = now()
    rig.wait_state(org, "UNAVAILABLE", "DENIED", timeout=5)
    wait_for(lambda: gone(pair), timeout=5, what="the end of the processes")
    assert now() - refused_at < 3  # not the ride-through, but the next probe
    assert rig.call("delete_org", org=org, actor="operator")["ok"]
    assert not rig.key_files(org)


@pytest.mark.parametrize("rounds", [12, pytest.param(150, marks=pytest.mark.long)])
def test_killed_at_any_moment_the_chain_holds_and_no_answered_call_is_missing(rig, rounds):
    org, _ = rig.made()
    wait_for(lambda: records(rig, org, event="granted"), what="the first lease")
    chance = random.Random(11)
    for _ in range(rounds):
        before = len(rig.proxy.seen)
        wait_for(lambda b=before: len(rig.proxy.seen) > b, what="a call")
        until = now() + chance.random() * 0.3  # any moment: nothing is waited for
        while now() < until:
            pass
        rig.restart()
        assert rig.keyring.poll() is None
    rig.wait_state(org, "AVAILABLE", timeout=15)
    killed = list(rig.proxy.seen)
    rig.stop()
    good(rig.data / "audit")
    known = {r["request_id"] for r in records(rig, org, kind="kms")}
    missing = [s for s in killed if s.request_id and s.request_id not in known and s.arn == rig_key(rig, org)]
    # At each kill at most the calls that were on their way: five in a preflight, one each as probes.
    assert len(missing) <= (rounds + 1) * 5 and len(known) > len(missing), (len(missing), len(known))
    preflights_of_creation = {r["request_id"] for r in records(rig, "operator", kind="kms")}
    assert [s for s in missing if s.request_id in preflights_of_creation]


def rig_key(rig, org):
    return next(r["key"] for r in records(rig, org, kind="kms"))


def test_a_ledger_that_was_removed_while_nobody_looked_is_told(rig):
    org, _ = rig.made()
    assert rig.call("recheck", org=org, region=WEST)["ok"]
    rig.stop()
    known = records(rig, org, kind="operator")[-1]["seq"]
    shutil.rmtree(ledger(rig) / org)
    rig.start()
    rig.wait_state(org, "AVAILABLE")
    told = records(rig, org)
    assert told[0]["kind"] == "gap" and told[0]["seq"] == known + 1, told[0]
    done = lockset("verify", ledger(rig) / org)
    assert done.returncode == 1 and f"record {known + 1}: the ledger itself tells of a gap" in done.stdout, done.stdout


def test_verify_show_and_export_on_a_copy(rig, tmp_path):
    org, _ = rig.made()
    wait_for(lambda: records(rig, org, event="granted"), what="the lease is told")
    rig.stop()
    copy = tmp_path / "copy"
    shutil.copytree(rig.data / "audit", copy)
    text = good(copy)
    own = copy / WEST / org
    head = next(line for line in text.splitlines() if org in line).rpartition("head ")[2]
    good(own, "--head", head)
    assert lockset("verify", own, "--head", head[:-1] + ("0" if head[-1] != "0" else "1")).returncode == 1
    assert lockset("verify", own, "--head", "x").returncode == 2
    lines = (own / "00000001.jsonl").read_bytes().splitlines(keepends=True)
    shown = lockset("show", copy, "--org", org, "--region", WEST)
    assert shown.returncode == 0 and [json.loads(x) for x in shown.stdout.splitlines()] == [json.loads(x) for x in lines]
    leases = [json.loads(x) for x in lockset("export", copy, "--kind", "lease").stdout.splitlines()]
    assert leases and {r["kind"] for r in leases} == {"lease"}
    assert lockset("show", copy, "--to", "2020-01-01T00:00:00").stdout == ""
    assert lockset("show", copy, "--region", "us-east-1").stdout == ""
    middle = json.loads(lines[1])["time"]
    from_middle = [json.loads(x) for x in lockset("show", own, "--from", middle).stdout.splitlines()]
    assert from_middle == [json.loads(x) for x in lines if json.loads(x)["time"] >= middle]
    (own / "00000001.jsonl").write_bytes(b"".join(lines[:3]) + lines[3].replace(b'"seq"', b'"sek"') + b"".join(lines[4:]))
    done = lockset("verify", copy)
    assert done.returncode == 1 and f"{own}: BAD: 00000001.jsonl, line 4, record 4" in done.stdout, done.stdout
    assert lockset("show", own).returncode == 1
    assert lockset("verify", tmp_path / "nothing").returncode == 1
    assert lockset("verify").returncode == 2


def test_what_the_api_does_itself_is_recorded_before():
    with Dev() as dev:
        made = dev.admin("POST", "/orgs", {"name": "acme", "region": WEST, "kms_key_arn": dev.create_key()})
        assert made.status == 201, made
        folder = dev.data / "audit" / WEST / made.data["id"]
        assert dev.admin("POST", "/orgs/acme/api-keys", {"name": "second"}).status == 201
        assert dev.admin("PATCH", "/orgs/acme", {"display_name": "Acme"}).status == 200
        assert dev.admin("POST", f"/orgs/acme/regions/{WEST}/check", {}).status == 200
        shown = subprocess.run([built("lockset"), "audit", "show", "--data", str(dev.data), "--kind", "operator", "--org",
                                made.data["id"]], capture_output=True, text=True, check=True, timeout=60)
        told = [(r["action"], r.get("details")) for r in map(json.loads, shown.stdout.splitlines())]
        assert told == [("create_org", None), ("add_api_key", {"name": "second"}),
                        ("set_display_name", {"display_name": "Acme"}), ("recheck", None)]
        everything = "".join(p.read_text() for p in (dev.data / "audit").rglob("*.jsonl"))
        assert made.data["api_key"] not in everything
        away = pathlib.Path(f"{folder}-away")
        folder.rename(away)
        folder.write_text("in the way")
        refused = dev.admin("POST", "/orgs/acme/api-keys", {"name": "third"})
        assert refused.status == 503 and "audit ledger" in refused.message, refused
        folder.unlink()
        away.rename(folder)
        assert dev.admin("POST", "/orgs/acme/api-keys", {"name": "third"}).status == 201
        dev.admin("DELETE", "/orgs/acme", {})
        assert folder.is_dir() and os.listdir(folder)  # it outlives the data
        good(dev.data / "audit")
        assert http_call(dev.info["regions"][0]["api_url"], "GET", "/healthz").status == 200
