"""B4: `lockset drill` measures the kill switch on a live organization, judges, records, and leaves everything as it was."""
import hashlib
import json
import os
import signal
import subprocess
import threading
import time
import xml.dom.minidom

import pytest

from lockset_dev import EAST, LOCKSET, WEST, Dev, wait_for

FAST = {"key.probe_interval": "1s", "key.full_check_interval": "2s", "key.kms_timeout": "500ms"}
STOPPING = ["lease_ended", "keys_wiped", "api_refuses", "processes_killed", "engine_gone"]


@pytest.fixture(scope="module")
def dev():
    with Dev(FAST) as started:
        yield started


@pytest.fixture
def org(dev):
    made = dev.create_org()
    made.create_collection("flights")
    assert made.add("flights", [{"_id": str(i)} for i in range(50)]).status == 200
    return made


def start(dev, org, *words, by_profile=True, key=None):
    command = [str(LOCKSET), "drill", org.name, "--data", str(dev.data), *words]
    if by_profile:
        command += ["--profile", "customer", "--endpoint", dev.kms_urls[WEST]]
    environment = dict(os.environ, LOCKSET_API_KEY=key or org.api_key,
                       AWS_SHARED_CREDENTIALS_FILE=str(dev.data / "credentials"))
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process, timeout=240):
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return process.returncode, out, err


def is_enabled(dev, org):
    return dev.kms().describe_key(KeyId=org.key_arn)["KeyMetadata"]["KeyState"] == "Enabled"


def names(org):
    return [c["name"] for c in org.call("GET", "/collections").data]


def assert_as_found(dev, org):
    assert is_enabled(dev, org)
    wait_for(lambda: org.is_answering("SELECT count(*) AS n FROM flights"), 60)
    assert names(org) == ["flights"] and org.count("flights") == 50


def recorded(dev, org):
    lines = dev.cli("audit", "show", "--org", org.id, "--kind", "operator").stdout.splitlines()
    return [r["details"] for r in map(json.loads, lines) if r["action"] == "drill"]


def read_report(file):
    report = json.loads(file.with_suffix(".json").read_text())
    return report, {m["moment"]: m["boottime_ns"] for m in report["moments"]}


def assert_hashes(file, hash_in_ledger):
    text = file.read_bytes()
    assert hashlib.sha256(text).hexdigest() == hash_in_ledger
    for beside in (file.with_suffix(".json"), file.with_suffix(".svg")):
        assert hashlib.sha256(beside.read_bytes()).hexdigest().encode() in text
    picture = xml.dom.minidom.parse(str(file.with_suffix(".svg"))).documentElement
    assert picture.tagName == "svg" and "lease ended" in file.with_suffix(".svg").read_text()


def test_b4_two_at_once_one_passes_one_breaks_its_bound_and_nobody_else_notices(dev, tmp_path, org):
    strict, bystander = dev.create_org(), dev.create_org()
    for other in (strict, bystander):
        other.create_collection("flights")
        assert other.add("flights", [{"_id": str(i)} for i in range(50)]).status == 200
    bystander.count("flights")
    failures, answered, stop = [], [0], threading.Event()

    def watch():
        while not stop.is_set():
            answer = bystander.query("SELECT count(*) AS n FROM flights")
            answered[0] += 1
            if answer.status != 200:
                failures.append(answer)
            time.sleep(0.02)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        good, bad = tmp_path / "good.md", tmp_path / "bad.md"
        # Nothing can stop within 0 s.
        running = [start(dev, org, "--yes", "--report", str(good)),
                   start(dev, strict, "--yes", "--report", str(bad), "--bound", "0")]
        (code, out, err), (bad_code, bad_out, bad_err) = [finish(p) for p in running]
    finally:
        stop.set()
        watcher.join()
    assert not failures and answered[0] > 10, failures[:1]

    assert code == 0, (out, err)
    assert out.startswith("PASSED: ") and "everything has stopped" in err
    report, at = read_report(good)
    assert report["passed"] and all(c["ok"] for c in report["checks"])
    assert report["organization"] == org.name and report["key"] == org.key_arn and report["region"] == WEST
    slack = 2 * report["clock"]["offset_error_ns"]
    taken, back = report["key_end_boottime_ns"], report["key_return_boottime_ns"]
    assert taken <= at["kms_refused"] + slack and at["kms_refused"] <= at["lease_ended"]
    for earlier, later in zip(STOPPING, STOPPING[1:]):
        assert at[earlier] <= at[later], (earlier, later)
    assert at["processes_killed"] <= at["gateway_gone"]
    # Its own report comes in time unless the machine is very slow.
    assert at["gateway_wiped"] is None or at["processes_killed"] <= at["gateway_wiped"] <= at["gateway_gone"]
    assert at["lease_ended"] <= at["first_refusal"] + slack
    for last, first in (("last_row", "first_refusal"), ("last_write", "first_write_refusal"), ("last_byte", "download_cut")):
        assert taken - slack <= at[first] < back
        assert at[last] <= at[first]
    assert back <= at["lease_granted"] + slack and at["lease_granted"] <= at["engine_ready"]
    assert at["lease_granted"] <= at["first_query"] + slack
    assert report["work"]["queries"]["refused_with_status"] == 403
    assert report["work"]["long query"]["refused_with_status"] == 403
    assert report["work"]["writes"]["refused_with_status"] == 503
    assert report["work"]["download"]["refused_with_status"] == 0 and report["download_bytes"] > 0
    assert report["collections"] == [{"workspace": "commons", "name": "flights", "before": 50, "after": 50}]
    records = recorded(dev, org)
    assert len(records) == 1 and records[0]["passed"] is True and records[0]["report_sha256"] in out
    assert_hashes(good, records[0]["report_sha256"])
    assert_as_found(dev, org)

    assert bad_code == 1, (bad_out, bad_err)
    assert bad_out.startswith("FAILED: ") and str(bad) in bad_err
    report, _ = read_report(bad)
    assert not report["passed"]
    broken = {c["check"] for c in report["checks"] if not c["ok"]}
    assert "lease ended" in broken and "lease granted again" not in broken
    assert "**FAILED**" in bad.read_text()
    records = recorded(dev, strict)
    assert len(records) == 1 and records[0]["passed"] is False
    assert_hashes(bad, records[0]["report_sha256"])
    assert_as_found(dev, strict)


def test_b4_interrupted_while_the_key_is_away_it_puts_everything_back(dev, tmp_path, org):
    file = tmp_path / "none.md"
    process = start(dev, org, "--yes", "--report", str(file))
    try:
        wait_for(lambda: not is_enabled(dev, org), 120, 0.02, "the key's being disabled")
        process.send_signal(signal.SIGINT)
        code, _, err = finish(process)
    finally:
        process.kill()
    assert code == 1 and "interrupted" in err, err
    assert not file.exists() and not recorded(dev, org)
    assert_as_found(dev, org)


def test_b4_without_a_profile_people_switch_the_key(dev, tmp_path, org):
    file = tmp_path / "by-hand.md"
    process = start(dev, org, "--yes", "--json", "--report", str(file), by_profile=False)
    said = []
    try:
        for line in process.stderr:
            said.append(line)
            if "aws kms disable-key" in line:
                assert org.key_arn in line
                org.disable_key()
            elif "aws kms enable-key" in line:
                org.enable_key()
        code, out, _ = finish(process)
    finally:
        process.kill()
    assert code == 0, said
    report = json.loads(out)
    assert report == json.loads(file.with_suffix(".json").read_text())
    assert report["passed"] and report["key_switched_by"] == "the customer"
    assert recorded(dev, org)[0]["report_sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
    assert_as_found(dev, org)


def test_b4_a_dry_run_changes_nothing_and_what_cannot_be_drilled_is_refused(dev, tmp_path, org):
    file = tmp_path / "none.md"
    code, _, err = finish(start(dev, org, "--dry-run", "--report", str(file)))
    assert code == 0 and "commons.flights: 50 documents" in err and "its engine and its gateway" in err
    # Nobody disables the key.
    code, _, err = finish(start(dev, org, "--yes", "--wait", "1", "--report", str(file), by_profile=False))
    assert code == 1 and "did not refuse the key within 1 s" in err
    # A profile that may look at the key and no more: KMS refuses, and nothing has to be put back.
    may_not = start(dev, org, "--yes", "--profile", "service", "--endpoint", dev.kms_urls[WEST], "--report", str(file),
                    by_profile=False)
    code, _, err = finish(may_not)
    assert code == 1 and "AccessDenied" in err and "STILL DISABLED" not in err, err
    keyless, away = dev.create_org(key_arn=None), dev.create_org()
    away.disable_key()
    wait_for(lambda: away.state() == "UNAVAILABLE", 30)
    cases = [(start(dev, keyless, "--yes"), 1, "no customer's key"),
             (start(dev, away, "--yes"), 1, "is UNAVAILABLE"),
             (start(dev, org, "--yes", "--region", "eu-north-1"), 2, "no region 'eu-north-1'"),
             (start(dev, org, "--yes", "--region", EAST), 1, EAST),
             (start(dev, org, "--yes", key=keyless.api_key), 2, "another organization's"),
             (start(dev, org, "--report", "x.txt"), 2, "ends in .md"),
             (start(dev, org, "--bound", "soon"), 2, "--bound")]
    for process, expected, text in cases:
        code, out, err = finish(process)
        assert code == expected and text in err and not out, (code, err)
    away.enable_key()
    wait_for(lambda: away.state() == "AVAILABLE", 60)
    assert not recorded(dev, org)
    assert_as_found(dev, org)
    hash_of = "0" * 64
    path = f"/orgs/{org.name}/regions/{WEST}/drills"
    assert dev.admin("POST", path, {"report_sha256": hash_of[1:], "passed": True}).status == 400
    assert dev.admin("POST", path, {"report_sha256": hash_of}).status == 400
    assert dev.admin("POST", path.replace(WEST, "eu-north-1"), {"report_sha256": hash_of, "passed": True}).status == 404
    assert dev.admin("GET", f"/orgs/nobody/regions/{WEST}/moments").status == 404
