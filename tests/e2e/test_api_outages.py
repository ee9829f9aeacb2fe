"""What the api answers while keys, keyring or engines are away; and that it never answers with half a result."""
import threading
import time

import pytest

from api_rig import Rig, wait_for

ARN = "arn:aws:kms:us-west-2:111122223333:key/mrk-" + "1234abcd" * 4


@pytest.fixture
def rig():
    with Rig() as started:
        yield started


def loaded(rig, **more):
    org = rig.org(arn=ARN, **more)
    org.collection("c")
    assert org.add([{"_id": str(i), "v": i} for i in range(100)]).status == 200
    return org


def cut_off(org, **state):
    """What the keyring does on a refusal: tell the api, then end the engine."""
    org.state("UNAVAILABLE", **state)
    time.sleep(0.05)
    org.kill_engine()


@pytest.mark.parametrize("cause,read,write", [("DENIED", 403, 503), ("UNREACHABLE", 503, 503), ("DESTROYED", 403, 403)])
def test_a_key_that_is_away(rig, cause, read, write):
    org = loaded(rig)
    cut_off(org, cause=cause, aws_error="DisabledException")
    assert wait_for(lambda: rig.keyring.acks, 2)
    answer = org.query("SELECT count(*) FROM c")
    assert answer.status == read and answer.json["type"] == ("FORBIDDEN" if read == 403 else "NOT_READY")
    for word in (ARN, "us-west-2", "DisabledException", "20"):
        assert word in answer.message, answer.message
    assert ("Retry-After" in answer.headers) == (read == 503)
    for method, documents in (("POST", [{"_id": "x"}]), ("PATCH", [{"_id": "1", "patch": []}]), ("DELETE", [{"_id": "1"}])):
        refused = org.docs(method, documents)
        assert refused.status == write and ARN in refused.message
        assert ("Retry-After" in refused.headers) == (write == 503)
    assert org.call("POST", "/ws/commons/collections", {"name": "d"}).status == write
    assert org.call("DELETE", "/ws/commons/collections/c").status == write
    assert org.call("GET", "/ws/commons/collections/c").data["status"] == "ENCRYPTION_KEY_ERROR"
    assert [c["status"] for c in org.call("GET", "/collections").data] == ["ENCRYPTION_KEY_ERROR"]
    assert org.call("GET", "/encryption").data["regions"][0]["cause"] == cause
    org.state("AVAILABLE")
    assert wait_for(lambda: org.query("SELECT count(*) AS n FROM c").json.get("results") == [{"n": 100}], 10)
    assert [c["name"] for c in org.call("GET", "/collections").data] == ["c"]


@pytest.mark.parametrize("state", ["STARTING", "RECOVERING"])
def test_a_key_that_is_being_checked(rig, state):
    org = loaded(rig)
    org.state(state)
    answer = wait_for(lambda: (lambda a: a if a.status != 200 else None)(org.query("SELECT 1")), 2)
    assert answer.status == 503 and answer.json["type"] == "NOT_READY" and "Retry-After" in answer.headers


def test_a_running_query_is_cut_with_the_reason(rig):
    org = loaded(rig)
    outcome = {}

    def run():
        outcome["answer"] = org.query("SELECT count() FROM c a, c b, c d, c e, c f, c g WHERE a.v + b.v + d.v + e.v + f.v + g.v = 7",
                                      timeout=60)

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(1)
    begun = time.monotonic()
    # The engine dies first: the api waits for the reason.
    org.kill_engine()
    time.sleep(0.2)
    org.state("UNAVAILABLE", cause="DENIED", aws_error="DisabledException")
    thread.join(10)
    assert time.monotonic() - begun < 2
    assert outcome["answer"].status == 403 and "DisabledException" in outcome["answer"].message


def test_a_result_that_is_ready_when_the_key_goes_is_not_given(rig):
    org = loaded(rig)
    answers = []

    def run():
        answers.append(org.query("SELECT v, sleepEachRow(0.02) FROM c", timeout=60))

    thread = threading.Thread(target=run)
    thread.start()
    time.sleep(0.8)
    org.state("UNAVAILABLE", cause="DENIED", aws_error="AccessDeniedException")  # the engine is left alone
    thread.join(30)
    assert answers[0].status != 200, answers[0]


def test_an_engine_that_crashes_is_replaced_under_a_query(rig):
    org = loaded(rig)
    org.kill_engine()
    assert org.rows("SELECT count(*) AS n FROM c") == [{"n": 100}]
    assert rig.epochs[org.id] == 2


def test_a_frozen_engine_is_found_and_killed(rig):
    import os
    import signal
    org = loaded(rig)
    os.kill(rig.engines[org.id].pid, signal.SIGSTOP)
    begun = time.monotonic()
    answer = org.add([{"_id": "after", "v": 1}], timeout=60)
    assert answer.status == 200, answer
    assert time.monotonic() - begun < 20
    assert "kill_engine" in rig.keyring.requests
    assert org.rows("SELECT count(*) AS n FROM c") == [{"n": 101}]


def test_acknowledged_writes_survive_engines_that_are_killed_all_the_time(rig):
    org = loaded(rig)
    acknowledged, refused, stop = [], [], threading.Event()

    def write(who):
        n = 0
        while not stop.is_set():
            batch = [{"_id": f"{who}-{n}-{k}", "v": 0} for k in range(5)]
            answer = org.add(batch, timeout=60)
            (acknowledged.extend(d["_id"] for d in batch) if answer.status == 200 else refused.append(answer))
            n += 1

    writers = [threading.Thread(target=write, args=(i,)) for i in range(3)]
    for w in writers:
        w.start()
    for _ in range(6):
        before = len(acknowledged)
        wait_for(lambda: len(acknowledged) >= before + 15, 60, what="more was written")
        org.kill_engine()
    stop.set()
    for w in writers:
        w.join()
    stored = [r["_id"] for r in org.rows("SELECT _id FROM c WHERE v = 0 AND _id LIKE '%-%'")]
    assert len(stored) == len(set(stored))
    assert set(acknowledged) <= set(stored) and len(acknowledged) > 50
    assert all(a.status == 503 and "Retry-After" in a.headers for a in refused), refused[:1]


def test_the_keyring_may_be_gone_for_a_while(rig):
    org = loaded(rig)
    rig.keyring.stop()
    assert wait_for(lambda: rig.call("GET", "/readyz").status == 503, 5)
    assert org.rows("SELECT count(*) AS n FROM c") == [{"n": 100}]  # the engine's own timer ends access, not this
    answer = rig.admin("POST", "/orgs", {"name": "later", "region": "us-west-2"})
    assert answer.status == 503 and "Retry-After" in answer.headers
    rig.keyring.start()
    assert wait_for(lambda: rig.call("GET", "/readyz").status == 200, 5)
    assert rig.admin("POST", "/orgs", {"name": "later", "region": "us-west-2"}).status == 201


def test_a_frozen_keyring_gives_503_not_a_hang(rig):
    org = loaded(rig)
    rig.keyring.frozen = True
    org.kill_engine()
    begun = time.monotonic()
    answer = org.query("SELECT 1", body={"timeout_ms": 3000}, timeout=30)
    assert answer.status in (408, 503) and time.monotonic() - begun < 10
    rig.keyring.frozen = False
    assert wait_for(lambda: org.query("SELECT count(*) AS n FROM c").status == 200, 10)


def test_an_api_that_is_killed_forgets_nothing(rig):
    org = loaded(rig)
    rig.process.kill()
    rig.process.wait()
    rig.start_api()
    assert org.rows("SELECT count(*) AS n, max(v) AS m FROM c") == [{"n": 100, "m": 99}]
    assert org.add([{"_id": "1", "v": 1000}]).data[0]["status"] == "REPLACED"
    assert org.rows("SELECT v FROM c WHERE _id = '1'") == [{"v": 1000}]


def test_a_gateway_that_dies_takes_nothing_with_it(rig):
    org = loaded(rig)
    rig.kill_gateway(org.id)
    assert org.add([{"_id": "later"}], timeout=60).status == 200
    assert org.rows("SELECT count(*) AS n FROM c") == [{"n": 101}]
