"""What it costs to watch the keys of many organizations: one node, nobody queries. No peer does this work."""
import concurrent.futures
import json
import os
import re
import subprocess
import time

import measure
from lockset_dev import http_call, Dev

ORGANIZATIONS = int(os.environ.get("BENCH_ORGANIZATIONS", "1000"))
SECONDS = int(os.environ.get("BENCH_MONITOR_SECONDS", "60"))


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat", encoding="latin-1").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid):
    text = open(f"/proc/{pid}/status", encoding="ascii", errors="replace").read()
    return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) / 1024


def counters(dev):
    text = http_call(dev.api, "GET", "/metrics").body.decode()
    calls = dict(re.findall(r'lockset_kms_calls_total\{operation="(\w+)",outcome="ok"\} (\d+)', text))
    states = dict(re.findall(r'lockset_organizations\{state="(\w+)"\} (\d+)', text))
    requests = int(re.search(r"^lockset_kms_requests_total (\d+)", text, re.M).group(1))
    return {k: int(v) for k, v in calls.items()}, {k: int(v) for k, v in states.items()}, requests


def ledger_bytes(dev):
    return sum(p.stat().st_size for p in (dev.data / "audit").rglob("*.jsonl"))


def audit(dev, before, took):
    """What the ledger grows by, and whether all of it is good."""
    grown = ledger_bytes(dev) - before
    done = subprocess.run([dev.program, "audit", "verify", str(dev.data / "audit")], stdout=subprocess.DEVNULL, check=False)
    return {"ledger_mib_a_day_and_organization": round(grown / took * 86400 / ORGANIZATIONS / 2**20, 1),
            "ledger_kib_a_second": round(grown / took / 1024, 1),
            "ledgers": "good" if done.returncode == 0 else "BAD"}


def create_all(dev):
    policy = json.dumps(dev.policy())
    kms = dev.kms()

    def create(i):
        arn = kms.create_key(MultiRegion=True, Policy=policy)["KeyMetadata"]["Arn"]
        answer = dev.admin("POST", "/orgs", {"name": f"org-{i}", "region": "us-west-2", "kms_key_arn": arn})
        if answer.status != 201:
            raise RuntimeError(f"org-{i}: {answer}")
    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for done, _ in enumerate(pool.map(create, range(ORGANIZATIONS)), 1):
            if done % 250 == 0:
                measure.say(f"  monitor: {done} of {ORGANIZATIONS} organizations, each with a key of its own "
                            f"({time.monotonic() - begun:.0f} s)")


def run(folder):
    with Dev(data=folder / "d") as dev:
        pid = dev.pid("keyring")
        idle_mib = resident_mib(pid)
        create_all(dev)
        calls, _, requests = counters(dev)
        ledger_before = ledger_bytes(dev)
        cpu, begun = cpu_seconds(pid), time.monotonic()
        lowest = ORGANIZATIONS
        while time.monotonic() - begun < SECONDS:
            time.sleep(2)
            lowest = min(lowest, counters(dev)[1]["AVAILABLE"])
        took = time.monotonic() - begun
        calls_after, states, requests_after = counters(dev)
        result = {
            "organizations": ORGANIZATIONS,
            "seconds": round(took, 1),
            "available_at_least": lowest,
            "keyring_cpu_percent_of_a_core": round(100 * (cpu_seconds(pid) - cpu) / took, 1),
            "keyring_resident_mib": round(resident_mib(pid), 1),
            "keyring_resident_mib_without_organizations": round(idle_mib, 1),
            "kib_an_organization": round((resident_mib(pid) - idle_mib) * 1024 / ORGANIZATIONS, 1),
            "kms_requests_a_second": round((requests_after - requests) / took, 1),
            "calls_a_minute_and_organization": {
                operation: round((n - calls.get(operation, 0)) / took * 60 / ORGANIZATIONS, 2)
                for operation, n in sorted(calls_after.items())},
            "states": states,
            **audit(dev, ledger_before, took),
        }
    print(f"\n{ORGANIZATIONS} organizations watched by one node for {took:.0f} s, default settings:")
    for name, value in result.items():
        print(f"  {name.replace('_', ' '):46} {value}")
    print()
    (measure.BUILD / "bench-monitor.json").write_text(json.dumps(result, indent=1) + "\n")
    return []
