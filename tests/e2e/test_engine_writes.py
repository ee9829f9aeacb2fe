"""Inserts through engine and gateway: what was acknowledged is there, whoever was killed when."""
import http.client
import os
import random
import signal
import threading
import time

import pytest

from engine_launcher import COLLECTION, COLUMNS, DISK_SETTINGS, Engine, Gateway, INSERT, row


def table(verb, name="t", collection=COLLECTION):
    uuid = "11111111-1111-4111-8111-" + collection[-12:]
    return (f"{verb} TABLE w.{name} UUID '{uuid}' {COLUMNS} ENGINE=ReplacingMergeTree(_version,_deleted) ORDER BY _id"
            f" SETTINGS disk=@disk({collection}), {DISK_SETTINGS}")


def prepare(engine, verb="CREATE"):
    assert engine.call("CREATE DATABASE w ENGINE=Memory").code == 0
    made = engine.call(table(verb))
    assert made.code == 0, made.text


def body(ids, version=1):
    return b"".join(row(i, version, '{"a":1,"s":"%s"}' % i) for i in ids)


def count(engine, name="t"):
    return int(engine.read(f"SELECT uniqExact(_id) FROM w.{name}").text)


@pytest.fixture(scope="module")
def pair():
    with Gateway() as gateway, Engine(gateway=gateway) as engine:
        prepare(engine)
        yield engine


def together(calls):
    results = [None] * len(calls)

    def run(i):
        results[i] = calls[i]()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(calls))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


def test_concurrent_inserts_are_committed_in_groups(pair):
    before = count(pair)
    replies = together([lambda k=k: pair.call(INSERT % "t", body=body(f"g{k}-{i}" for i in range(10)), rows=10)
                        for k in range(100)])
    assert all(r.code == 0 and r.summary["written_rows"] == "10" for r in replies)
    assert count(pair) == before + 1000
    parts = int(pair.call("SELECT max(max_block_number) FROM system.parts WHERE table = 't'").text)
    assert parts < 50, "a part for each insert"


def test_a_bad_body_fails_alone(pair):
    before = count(pair)
    bad = {7: row("bad7", 1, '{"a":'), 13: row("bad13", 1, "no json"), 21: body(["bad21"])[:-1], 34: b"\x05"}

    def one(k):
        return pair.call(INSERT % "t", body=bad.get(k, body([f"b{k}"])), rows=1)

    replies = together([lambda k=k: one(k) for k in range(40)])
    for k, reply in enumerate(replies):
        if k in bad:
            assert reply.status == 400 and reply.code in (33, 117), (k, reply.text)
        else:
            assert reply.code == 0, (k, reply.text)
    assert count(pair) == before + 36


def test_a_body_with_another_number_of_rows_is_refused(pair):
    before = count(pair)
    for rows in (1, 3):
        assert pair.call(INSERT % "t", body=body(["n1", "n2"]), rows=rows).code == 33
    assert count(pair) == before


def test_ids_that_look_like_sql_are_data(pair):
    before = count(pair)
    marks = "'\"`;-/*#\n\0\\ \t"
    rng = random.Random(1)
    ids = ["".join(rng.choice(marks) for _ in range(n)) + str(n) for n in range(130)]
    for i in ids:
        assert pair.call(INSERT % "t", body=body([i]) if '"' not in i and "\\" not in i else row(i, 1, "{}"),
                         rows=1).code in (0, 117), repr(i)
    added = count(pair) - before
    assert added > 30
    for i in ids:  # those whose document is plain must be there
        if not set(i) & set('"\\\n\0\t'):
            assert pair.call("SELECT count() FROM w.t WHERE _id = {i:String}", param_i=i).text == "1\n"


def test_the_credentials_are_nowhere_to_be_read(pair):
    for sql in ("SHOW CREATE TABLE w.t", "SELECT * FROM system.disks", "SELECT * FROM system.tables",
                "SELECT * FROM system.errors", "SELECT * FROM system.processes"):
        text = pair.call(sql, default_format="TSVRaw").text
        assert "access_key_id = '[HIDDEN]'" in text or "access_key" not in text, sql
    broken = pair.call(f"CREATE TABLE w.bad (a Int32) ENGINE=MergeTree ORDER BY a SETTINGS "
                       f"disk=@disk({COLLECTION}) @@@ , table_disk=1")
    assert broken.code == 62 and "access_key_id='**" in broken.text or "access_key_id" not in broken.text


def test_disk_stands_only_where_it_is_meant(pair):
    assert pair.call("SELECT '@disk(c00000000000000000000)'").text == "@disk(c00000000000000000000)\n"
    for bad in ("@disk(x)", "@disk('../x')", "@disk()", "@disk(c0000000000000000000G)"):
        assert pair.call(f"CREATE TABLE w.y (a Int32) ENGINE=MergeTree ORDER BY a SETTINGS disk={bad}").status == 400


def test_no_insert_runs_while_its_table_is_swapped(pair):
    stop, acknowledged = threading.Event(), []

    def write(k):
        n = 0
        while not stop.is_set():
            i = f"swap{k}-{n}"
            n += 1
            if pair.call(INSERT % "t", body=body([i]), rows=1).code == 0:
                acknowledged.append(i)

    writers = [threading.Thread(target=write, args=(k,)) for k in range(4)]
    for w in writers:
        w.start()
    for _ in range(8):
        assert pair.call("DETACH TABLE w.t").code == 0
        assert pair.call(table("ATTACH")).code == 0
        time.sleep(0.15)
    stop.set()
    for w in writers:
        w.join()
    assert len(acknowledged) > 10
    found = int(pair.read("SELECT uniqExact(_id) FROM w.t WHERE startsWith(_id, 'swap')").text)
    assert found >= len(acknowledged)


def test_what_was_acknowledged_survives_kill_9():
    rng = random.Random(2)
    acknowledged, lock = set(), threading.Lock()
    with Gateway() as gateway:
        for epoch in range(1, 8):
            with Engine(epoch=epoch, gateway=gateway) as engine:
                prepare(engine, "CREATE" if epoch == 1 else "ATTACH")
                found = set(engine.read("SELECT DISTINCT _id FROM w.t").text.split())
                assert acknowledged <= found, f"{len(acknowledged - found)} acknowledged rows are lost"

                def write(k):
                    for n in range(10000):
                        ids = [f"e{epoch}-{k}-{n}-{i}" for i in range(20)]
                        try:
                            reply = engine.call(INSERT % "t", body=body(ids), rows=20, timeout=10)
                        except OSError:
                            return
                        except Exception:  # a torn answer
                            return
                        if reply.code:
                            return
                        with lock:
                            acknowledged.update(ids)

                writers = [threading.Thread(target=write, args=(k,)) for k in range(4)]
                for w in writers:
                    w.start()
                time.sleep(rng.uniform(0.1, 0.8))
                engine.process.kill()
                for w in writers:
                    w.join()
        with Engine(epoch=100, gateway=gateway) as engine:
            prepare(engine, "ATTACH")
            found = set(engine.read("SELECT DISTINCT _id FROM w.t").text.split())
            assert acknowledged <= found and len(acknowledged) > 100
            checked = engine.call("CHECK TABLE w.t").text.splitlines()
            assert checked and all(line.split("\t")[1] == "1" for line in checked)


def test_an_old_epoch_writes_no_more():
    with Gateway() as gateway, Engine(epoch=1, gateway=gateway) as old:
        prepare(old)
        assert old.call(INSERT % "t", body=body(["a"]), rows=1).code == 0
        with Engine(epoch=2, gateway=gateway) as new:
            prepare(new, "ATTACH")
            began = time.monotonic()
            reply = old.call(INSERT % "t", body=body(["b"]), rows=1, deadline_ms=20000)
            assert reply.code != 0
            assert time.monotonic() - began < 20
            assert new.call(INSERT % "t", body=body(["c"]), rows=1).code == 0
            assert new.read("SELECT groupArray(_id) FROM (SELECT _id FROM w.t ORDER BY _id)").text == "['a','c']\n"


def test_two_engines_over_one_store_lose_nothing():
    """An engine is replaced while it writes, three times: what it acknowledged the next one has, what was not
    acknowledged may be there, and the one before writes nothing any more."""
    acknowledged, lock = set(), threading.Lock()

    def write(engine, k):
        for n in range(100000):
            i = f"e{engine.epoch}-{k}-{n}"
            try:
                reply = engine.call(INSERT % "t", body=body([i]), rows=1, deadline_ms=2000)
            except (OSError, http.client.HTTPException):
                return
            if reply.code:
                return
            with lock:
                acknowledged.add(i)

    def is_refused(engine):
        try:
            return engine.call(INSERT % "t", body=body(["late"]), rows=1, deadline_ms=2000).code != 0
        except (OSError, http.client.HTTPException):
            return engine.wait(5) == 70  # it could not be told in time

    engines, writers = [], []
    with Gateway() as gateway:
        try:
            for epoch in range(1, 5):
                engine = Engine(epoch=epoch, gateway=gateway)
                engines.append(engine)
                prepare(engine, "CREATE" if epoch == 1 else "ATTACH")
                for w in writers:  # of the one before
                    w.join(20)
                    assert not w.is_alive(), "an old engine goes on writing"
                found = set(engine.read("SELECT DISTINCT _id FROM w.t").text.split())
                assert acknowledged <= found, f"{len(acknowledged - found)} acknowledged rows are lost"
                writers = [threading.Thread(target=write, args=(engine, k)) for k in range(3)]
                before = len(acknowledged)
                for w in writers:
                    w.start()
                while len(acknowledged) < before + 10:
                    assert any(w.is_alive() for w in writers), "nothing can be written"
                    time.sleep(0.02)
            assert all(is_refused(old) for old in engines[:-1])
            engines[-1].kill()
            for w in writers:
                w.join()
        finally:
            for engine in engines:
                engine.kill()
        with Engine(epoch=9, gateway=gateway) as engine:
            prepare(engine, "ATTACH")
            found = set(engine.read("SELECT DISTINCT _id FROM w.t").text.split())
            assert acknowledged <= found and "late" not in found
            checked = engine.call("CHECK TABLE w.t").text.splitlines()
            assert checked and all(line.split("\t")[1] == "1" for line in checked)


def test_a_frozen_gateway_hangs_nobody_beyond_the_deadline():
    with Gateway() as gateway, Engine(gateway=gateway) as engine:
        prepare(engine)
        gateway.process.send_signal(signal.SIGSTOP)
        try:
            began = time.monotonic()
            try:
                assert engine.call(INSERT % "t", body=body(["a"]), rows=1, deadline_ms=2000).code != 0
            except (OSError, http.client.HTTPException):
                assert engine.wait(5) == 70
            assert time.monotonic() - began < 7
        finally:
            gateway.process.send_signal(signal.SIGCONT)


def test_what_stands_on_stdin_is_no_data():
    reader, writer = os.pipe()
    os.write(writer, row("from-stdin", 1, "{}"))
    os.close(writer)
    with Gateway() as gateway, Engine(gateway=gateway, stdin=reader) as engine:
        os.close(reader)
        assert os.readlink(f"/proc/{engine.pid}/fd/0") == "/dev/null"
        prepare(engine)
        assert engine.call(INSERT % "t", body=body(["sent"]), rows=1).code == 0
        assert engine.call("/* c */ INSERT INTO w.t (_id, _raw) SELECT 'selected', '{}'").code == 0
        assert engine.read("SELECT arraySort(groupArray(_id)) FROM w.t").text == "['selected','sent']\n"


def test_a_table_is_dropped_at_once_and_leaves_nothing(pair):
    gone = "c" + "2" * 20
    assert pair.call(table("CREATE", "gone", gone)).code == 0
    assert pair.call(INSERT % "gone", body=body(["x"]), rows=1).code == 0
    began = time.monotonic()
    assert pair.call("DROP TABLE w.gone SYNC", deadline_ms=10000).code == 0
    assert time.monotonic() - began < 5
    assert pair.call(table("ATTACH", "gone2", gone).replace("11111111-1111", "22222222-2222")).code == 0
    assert count(pair, "gone2") == 0


def test_a_gateway_that_is_gone_fails_soon():
    with Gateway() as gateway, Engine(gateway=gateway) as engine:
        prepare(engine)
        gateway.kill()
        began = time.monotonic()
        try:
            assert engine.call(INSERT % "t", body=body(["a"]), rows=1, deadline_ms=15000).code != 0
        except (ConnectionError, OSError):
            assert engine.wait(5) == 70
        assert time.monotonic() - began < 18


def test_two_collections_are_two_disks(pair):
    other = "c" + "1" * 20
    assert pair.call(table("CREATE", "u", other)).code == 0
    assert pair.call(INSERT % "u", body=body(["only-here"]), rows=1).code == 0
    assert count(pair, "u") == 1
    assert pair.read("SELECT count() FROM w.t WHERE _id = 'only-here'").text == "0\n"
