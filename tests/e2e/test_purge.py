"""What a revocation destroys is gone from every process and every folder, and the ledger says what it was, and when."""
import base64
import json
import os
import pathlib
import re
import secrets
import signal

import pytest

from keyring_rig import Rig, freeze
from kms_tools import WEST
from lockset_dev import Dev, is_running, wait_for

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may read other processes' memory")
MARKER = "zq" + secrets.token_hex(12)


def memory(pid):
    """All that a process can read of its own, mapping by mapping."""
    with open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in maps:
            span, rights, *_ = line.split()
            if "r" not in rights or line.rstrip().endswith(("[vvar]", "[vsyscall]")):
                continue
            start, end = (int(n, 16) for n in span.split("-"))
            for at in range(start, end, 64 << 20):  # a mapping may be large: in pieces that overlap
                try:
                    mem.seek(at)
                    yield mem.read(min((64 << 20) + 64, end - at))
                except OSError:
                    break  # a guard page


def held(pid, wanted):
    """Which of these (name: bytes) a process holds."""
    found = set()
    for part in memory(pid):
        found.update(name for name, text in wanted.items() if text in part)
    return found


def data_keys(dev, org):
    """The organization's keys, unwrapped by the customer's key, as the service may while it is enabled."""
    kms, found = dev.kms(profile="service"), {}
    for path in (dev.store / org.id / "keys").glob("*.json"):
        file = json.loads(path.read_text())
        found[f"{file['kind']} key"] = kms.decrypt(KeyId=file["kms_key_arn"], CiphertextBlob=base64.b64decode(file["wrapped"]),
                                                   EncryptionContext=file["encryption_context"])["Plaintext"]
    return found


def purges(folder):
    text = "".join(p.read_text() for p in sorted(pathlib.Path(folder).glob("*.jsonl")))
    return [r for r in map(json.loads, text.splitlines()) if r["kind"] == "purge"]


def files_that_hold(wanted, *folders):
    return [(name, str(p)) for f in folders for p in f.rglob("*") if p.is_file()
            for name, text in wanted.items() if text in p.read_bytes()]


def in_order(*stamps):
    times = [s["boottime_ns"] for s in stamps]
    return times == sorted(times) and all(re.fullmatch(r"\d{4}-.*Z", s["time"]) for s in stamps)


@root_only
def test_nothing_is_left_in_any_process_or_folder():
    with Dev({"cache.epoch": "300s"}) as dev:
        org, other = dev.create_org(), dev.create_org()
        for one in (org, other):
            one.create_collection("c")
        assert org.add("c", [{"_id": str(i), "word": f"{MARKER}-{i}", "n": i} for i in range(3000)]).status == 200
        assert other.add("c", [{"_id": "1", "word": "another"}]).status == 200
        for _ in range(3):
            assert org.rows("SELECT count(*) AS n, max(word) AS w FROM c")[0]["n"] == 3000
        keys = data_keys(dev, org)
        assert set(keys) == {"branch key", "name key"}
        wanted = {**keys, "row": MARKER.encode(), "api key": org.api_key.encode()}
        gateway, engine = org.gateway_pid(), org.engine_pid()
        # While it is AVAILABLE they are where they belong, and a search finds them: this test could fail.
        assert held(gateway, keys) == set(keys) and "row" in held(engine, wanted)
        org.disable_key()
        org.wait_state("UNAVAILABLE")
        wait_for(lambda: not is_running(gateway) and not is_running(engine), 20, what="the processes' end")
        ledger = dev.data / "audit" / WEST / org.id
        told = wait_for(lambda: purges(ledger), 10, what="the record of it")[-1]
        assert told["cause"] == "DENIED" and told["gateway"]["gone"] and told["engine"]["gone"], told
        assert in_order(told["lease_ended"], told["keyring"]["gone"], told["gateway"]["gone"]), told
        assert in_order(told["lease_ended"], told["engine"]["killed"], told["engine"]["gone"]), told
        wiped = told["gateway"]["wiped"]
        if wiped:  # one that was too slow to say so was killed, and its end is the proof
            assert wiped["branch_keys"] >= 1 and wiped["name_keys"] >= 1 and wiped["cache_epoch_keys"] >= 1, told
        else:
            assert told["gateway"]["killed"], told
        wait_for(lambda: not [n for n in dev.pids() if org.id in n], 10, what="the list of processes without them")
        # The local KMS stands for AWS, whose keys these are under: it is not ours to look into.
        left = {**{n: p for n, p in dev.pids().items() if not n.startswith("kms")}, "supervisor": dev.process.pid}
        assert len(left) >= 5, left

        def found():
            return {name: what for name, pid in left.items() if (what := held(pid, wanted))}
        wait_for(lambda: not found(), 20, 0.5, what=f"nothing in memory: {found()}")
        assert not files_that_hold(wanted, dev.data)
        assert not (dev.data / "cache" / WEST / org.id).exists()
        log = dev.log_path.read_bytes()
        assert not [name for name, text in wanted.items() if text in log]
        assert other.count("c") == 1  # nobody else noticed
        org.enable_key()
        org.wait_state("AVAILABLE")
        assert org.count("c") == 3000


@pytest.fixture
def rig():
    with Rig() as made:
        yield made


def purge_of(rig, org, count=1):
    folder = rig.data / "audit" / WEST / org
    return wait_for(lambda: len(purges(folder)) >= count and purges(folder), 15, what="the record")[count - 1]


def test_a_gateway_that_reports_and_one_that_is_killed(rig):
    org, arn = rig.made()
    rig.active(org)
    rig.customer.disable_key(KeyId=arn)
    told = purge_of(rig, org)
    wiped = told["gateway"]["wiped"]
    if wiped:
        assert (wiped["branch_keys"], wiped["name_keys"], wiped["streams_cut"], wiped["cache_epoch_keys"]) == (1, 1, 2, 3)
        assert in_order(told["gateway"]["told"], wiped, told["gateway"]["gone"]) and told["gateway"]["killed"] is None
    rig.wait_state(org, "UNAVAILABLE", "DENIED")
    rig.customer.enable_key(KeyId=arn)
    rig.wait_state(org, "AVAILABLE")
    pair = rig.active(org)
    freeze(pair["gateway"].process.pid)  # it can't do as it is told
    rig.customer.disable_key(KeyId=arn)
    told = purge_of(rig, org, 2)
    assert told["gateway"]["wiped"] is None and told["cause"] == "DENIED"
    assert in_order(told["gateway"]["told"], told["gateway"]["killed"], told["gateway"]["gone"])
    assert in_order(told["lease_ended"], told["engine"]["gone"])


def test_one_that_ran_nothing_and_one_whose_own_timer_ended_it(rig):
    org, arn = rig.made()
    rig.wait_state(org, "AVAILABLE")
    rig.customer.disable_key(KeyId=arn)
    told = purge_of(rig, org)
    assert "gateway" not in told and "engine" not in told and told["lease_ended"] and told["cause"] == "DENIED"
    rig.wait_state(org, "UNAVAILABLE", "DENIED")
    rig.customer.enable_key(KeyId=arn)
    rig.wait_state(org, "AVAILABLE")
    rig.active(org)
    rig.kms.process.send_signal(signal.SIGSTOP)  # silence: all ends with the ride-through
    rig.wait_state(org, "UNAVAILABLE", "UNREACHABLE", timeout=20)
    told = purge_of(rig, org, 2)
    assert told["cause"] == "UNREACHABLE" and told["gateway"]["gone"] and told["engine"]["gone"], told
    rig.kms.process.send_signal(signal.SIGCONT)
