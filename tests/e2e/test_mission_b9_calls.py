"""B9: KMS is called by the clock, not by the amount of data or of queries; and every call is counted."""
import re
import threading
import time

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
