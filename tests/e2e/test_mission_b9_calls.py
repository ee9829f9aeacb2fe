"""B9: KMS is called by the clock, not by the amount of data or of queries; and every call is counted."""
import json
import re
import threading
import time

from keyring_rig import WEST, Rig, wait_for
from kms_proxy import error, now
from lockset_dev import Dev, http_call

FAST = {"key.probe_interval": "1s", "key.full_check_interval": "2s", "key.kms_timeout": "500ms"}


def calls(dev, outcome="ok"):
    text = http_call(dev.api, "GET", "/metrics").body.decode()
    found = re.findall(r'lockset_kms_calls_total\{operation="(\w+)",outcome="(\w+)"\} (\d+)', text)
    return {operation: int(n) for operation, result, n in found if result == outcome}


def calls_during(dev, seconds):
    before, begun = calls(dev), time.monotonic()
    time.sleep(seconds)
    after, took = calls(dev), time.monotonic() - begun
    return {o: (n - before.get(o, 0)) / took for o, n in after.items()}


def test_calls_follow_the_clock_and_not_the_load():
    with Dev(FAST) as dev:
        orgs = [dev.create_org() for _ in range(3)]
        idle = calls_during(dev, 8)
        for org in orgs:
            org.create_collection("c")
        stop = threading.Event()
        done = [0]

        def work(org):
            while not stop.is_set():
                assert org.add("c", [{"x": i} for i in range(100)]).status == 200
                assert org.query("SELECT count(*), max(x) FROM c").status == 200
                done[0] += 1
        threads = [threading.Thread(target=work, args=(org,)) for org in orgs]
        for t in threads:
            t.start()
        try:
            time.sleep(1)  # the engines' start unwraps keys once
            busy = calls_during(dev, 8)
        finally:
            stop.set()
            for t in threads:
                t.join()
        print(f"calls a second, idle: {idle}\n  with {done[0]} writes and queries: {busy}")
        assert done[0] > 20
        # A probe a second, jitter shortens by up to a fifth: 1 to 1.25 a second and organization; the others half of it.
        for rates in (idle, busy):
            assert 2.5 <= rates["Decrypt"] <= 4.5, rates
            for operation in ("Encrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "DescribeKey"):
                assert 1.2 <= rates[operation] <= 3, rates


def test_refusals_are_counted_too():
    with Dev(FAST) as dev:
        org = dev.create_org()
        policy = dev.policy()
        del policy["Statement"][1]
        org.put_policy(policy)
        org.wait_state("UNAVAILABLE", 20)
        assert sum(calls(dev, "access_denied").values()) >= 2  # it was confirmed
        text = http_call(dev.api, "GET", "/metrics").body.decode()
        assert 'lockset_organizations{state="UNAVAILABLE"} 1' in text
        assert org.key_arn not in text and org.name not in text


def causes(dev, org):
    """Requests to KMS with this organization's key: cause -> number."""
    text = http_call(dev.api, "GET", "/metrics").body.decode()
    found = {}
    for operation, cause, n in re.findall(r'lockset_key_calls_total\{org="%s",operation="(\w+)",cause="(\w+)"\} (\d+)' % org.id, text):
        found[cause] = found.get(cause, 0) + int(n)
    return found


def test_causes_costs_and_engines_that_restart_in_a_loop():
    with Dev(FAST) as dev:
        org, other = dev.create_org(), dev.create_org()
        for name in ("a", "b", "c"):
            org.create_collection(name)
        wait_for(lambda: {"probe", "full_check", "unwrap"} <= set(causes(dev, org)), what="calls of each cause")
        unwraps = causes(dev, org)["unwrap"]
        for _ in range(4):
            pid = org.engine_pid()
            dev.devctl("stop", f"engine.{org.id}.{org.region}")
            wait_for(lambda p=pid: org.is_answering() and org.engine_pid() != p, 60, what="another engine")
        for name in ("d", "e"):
            org.create_collection(name)
        assert causes(dev, org)["unwrap"] == unwraps  # neither engines nor collections unwrap a key
        assert "check" not in causes(dev, org)
        assert dev.admin("POST", f"/orgs/{org.name}/regions/{WEST}/check", {}).status == 200
        assert causes(dev, org)["check"] == 5 and "check" not in causes(dev, other)

        one = dev.admin("GET", f"/orgs/{org.name}/cost").data
        every = dev.admin("GET", "/cost").data
        assert [r["org"] for r in one["regions"]] == [org.id]
        assert {r["org"] for r in every["regions"]} == {org.id, other.id}
        planned = 730 * 3600 / 0.9 * (1 + 4 / 2)  # a probe a second, four others each two; a tenth sooner on the average
        assert abs(one["regions"][0]["calls_a_month"] - planned) <= 1
        assert abs(one["regions"][0]["usd_a_month"] - planned / 10000 * 0.03) <= 0.01
        assert abs(every["total"]["usd_a_month"] - (2 * planned - 20000) / 10000 * 0.03) <= 0.01
        assert one["regions"][0]["calls"]["check"]["Decrypt"] == 1 and one["regions"][0]["calls_counted"] > unwraps
        shown = dev.cli("key", "cost", org.name).stdout
        assert org.id in shown and other.id not in shown and "usd_a_month" in shown
        assert other.id in dev.cli("key", "cost").stdout
        assert json.loads(dev.cli("key", "cost", "--json").stdout)["data"]["total"]["free_requests"] == 20000
        assert dev.admin("GET", "/orgs/nobody/cost").status == 404


def seen(rig, arn):
    return [s for s in list(rig.proxy.seen) if s.arn == arn]


def test_a_keyring_that_restarts_in_a_loop_asks_once_each_time():
    with Rig(proxy=True) as rig:
        org, arn = rig.made()
        rig.wait_state(org, "AVAILABLE")
        before, begun, rounds = len(seen(rig, arn)), now(), 6
        for _ in range(rounds):
            rig.restart()
            rig.wait_state(org, "AVAILABLE", timeout=20)
        took, asked = now() - begun, len(seen(rig, arn)) - before
        # A preflight each time; and what the clock would have asked for anyway: 1.25 probes a second, four others half of it.
        assert asked <= rounds * 5 + took * 3.75 + 10, (asked, took)


# The least that these intervals allow; tests begin with 20 calls in hand, and 0.9 of the cap comes in by and by.
CAP = 15006
CAPPED = {"key.max_calls_per_hour": str(CAP)}


def cost_records(rig, org):
    files = sorted((rig.data / "audit" / WEST / org).glob("*.jsonl"))
    return [r for p in files for line in p.read_bytes().split(b"\n")[:-1] if (r := json.loads(line))["kind"] == "cost"]


def test_over_the_cap_the_monitor_slows_down_and_no_lease_is_prolonged():
    with Rig(CAPPED, proxy=True) as rig:
        org, _ = rig.made()
        other, _ = rig.made("other")
        rig.active(org)
        stop = threading.Event()

        def checks():  # a bug somewhere: somebody asks without end
            while not stop.is_set():
                rig.call("recheck", org=org, region=WEST)
        worker = threading.Thread(target=checks)
        worker.start()
        try:
            wait_for(lambda: cost_records(rig, org), 60, what="the cap is told the ledger")
            state = rig.wait_state(org, "UNAVAILABLE", "UNREACHABLE", timeout=60)  # by expiry: nothing was prolonged
        finally:
            stop.set()
            worker.join()
        assert "key.max_calls_per_hour is reached" in state["reason"], state
        assert cost_records(rig, org)[0]["event"] == "capped" and cost_records(rig, org)[0]["max_calls_per_hour"] == CAP
        assert "key.calls" in rig.log_text() and "calls=capped" in rig.log_text()
        costs = {c["org"]: c for c in rig.call("cost", **{"from": 0})["costs"]}
        assert costs[org]["capped"] >= 1 and costs[other]["capped"] == 0
        assert rig.state(other)["state"] == "AVAILABLE"


def test_a_flapping_key_stays_below_the_cap():
    with Rig(CAPPED, proxy=True) as rig:
        org, arn = rig.made()
        begun, before = now(), len(seen(rig, arn))
        turn = [0]

        def flap(operation, key):
            turn[0] += 1
            return error("DisabledException") if turn[0] % 23 == 0 else None
        rig.proxy.rules[arn] = flap
        wait_for(lambda: turn[0] > 150, 120, what="many calls")
        took, asked = now() - begun, len(seen(rig, arn)) - before
        # In hand, by and by, and what was on its way: a preflight, and confirmations, which only end access.
        assert asked <= 20 + took * CAP * 0.9 / 3600 + 5 + turn[0] // 23 + 5, (asked, took)


def test_a_cap_below_what_the_settings_need_is_refused():
    with Rig() as rig:
        rig.stop()
        rig.settings["key.max_calls_per_hour"] = str(CAP - 1)
        rig.launch()
        assert rig.keyring.wait(10) != 0
        assert f"key.max_calls_per_hour ({CAP - 1}) is less than" in rig.log_text(), rig.log_text()
