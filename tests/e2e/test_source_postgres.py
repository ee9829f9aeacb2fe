"""PostgreSQL tables as data sources, through the API: the collection is what the table is, whatever happens meanwhile."""
import json
import threading
import time

import pytest

from api_rig import Rig, wait_for
from lockset_dev import Dev, http_call
from postgres_rig import PASSWORD, Postgres, Writer, make
from sources_rig import errors_of, leave, path, sources_of, status_of, wait_watching

COLUMNS = "id, n, name, big"


@pytest.fixture(scope="module")
def server():
    with Postgres() as postgres:
        yield postgres


@pytest.fixture(scope="module")
def rig():
    with Rig() as started:
        yield started


@pytest.fixture
def org(rig, server):
    org = rig.org()
    answer = org.call("POST", "/integrations", {"name": "shop", "postgres": server.integration()})
    assert answer.status == 200, answer
    yield org
    leave(org)


def fill(server, table, count=2000):
    make(server, table, "id bigint PRIMARY KEY, n int, name text, big text", f"ALTER TABLE {table} ALTER big SET STORAGE EXTERNAL")
    server.sql(f"INSERT INTO {table} SELECT i, 0, 'n' || i, repeat('x', 10 + i % 2500) FROM generate_series(1, {count}) i")


def read_from(table, **more):
    return {"integration_name": "shop", "postgres": {"table": f"public.{table}", **more}}


def collected(org, name="c"):
    return {row.pop("_id"): row for row in org.rows(f"SELECT _id, {COLUMNS} FROM {name}")}


def wait_same(server, org, table, name="c", timeout=60):
    """The table is quiet; the collection becomes the same."""
    rows = server.rows(table, COLUMNS)
    wait_for(lambda: org.rows(f"SELECT count(*) AS many, sum(n) AS total, sum(length(name)) AS names FROM {name}") ==
             [{"many": len(rows), "total": sum(r["n"] for r in rows.values()), "names": sum(len(r["name"]) for r in rows.values())}],
             timeout, 0.2, "the collection is what the table is")
    assert collected(org, name) == rows


def slots(server):
    return set(server.sql("SELECT slot_name FROM pg_replication_slots").split())


def test_a_table_becomes_a_collection_and_stays_alike(server, org):
    fill(server, "orders")
    before = slots(server)
    org.collection("c", sources=[read_from("orders")])
    status = wait_watching(org)
    assert status["message"] is None and status["error_count"] == 0
    wait_same(server, org, "orders")
    slot, = slots(server) - before
    assert slot == "lockset_" + sources_of(org)[0]["id"].lower().replace("-", "_")
    server.sql("UPDATE orders SET n = n + 1 WHERE id < 50; DELETE FROM orders WHERE id BETWEEN 100 AND 140;"
               "UPDATE orders SET id = id + 10000 WHERE id BETWEEN 200 AND 220; INSERT INTO orders VALUES (-1, 5, 'ü\"', NULL);"
               "BEGIN; INSERT INTO orders VALUES (-2, 0, '', ''); ROLLBACK; UPDATE orders SET name = 'again' WHERE id = -1")
    wait_same(server, org, "orders")
    server.sql("INSERT INTO orders SELECT i, 1, 'many', 'x' FROM generate_series(20001, 55000) i; DELETE FROM orders WHERE id > 30000")
    wait_same(server, org, "orders")
    assert org.call("DELETE", path("c", sources_of(org)[0]["id"])).status == 200
    wait_for(lambda: slots(server) == before, 20, what="the slot is given back")
    assert server.sql("SELECT count(*) FROM pg_publication") == "0"


def test_nothing_is_lost_or_doubled_while_everything_fails(server, rig, org):
    """The key goes and comes back, the api and the engine are killed, the connections are cut, and the table changes all the time."""
    fill(server, "ledger", 20000)
    writer = Writer(server, "ledger", 11)
    writer.start()
    try:
        org.collection("c", sources=[read_from("ledger")])
        for _ in range(3):
            time.sleep(1)  # it reads and writes for a while
            org.kill_engine()
            time.sleep(0.5)
            org.state("UNAVAILABLE", cause="DENIED")
            rig.kill_gateway(org.id)
            wait_for(lambda: server.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'replicator'") == "0", 5,
                     what="no connection is left while the key is away")
            org.state("AVAILABLE")
            time.sleep(1)
            rig.process.kill()
            rig.process.wait()
            rig.start_api()
            time.sleep(0.5)
            server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'replicator'")
    finally:
        writer.stop.set()
        writer.join()
    assert writer.error is None
    wait_watching(org, timeout=120)
    wait_same(server, org, "ledger", timeout=120)


def test_what_is_wrong_shows_in_the_status(server, org):
    server.sql("CREATE TABLE keyless (a int); ALTER TABLE keyless OWNER TO replicator; CREATE TABLE foreign_one (a int PRIMARY KEY)")
    answer = org.call("POST", "/integrations", {"name": "wrong", "postgres": server.integration(password="not-it")})
    assert answer.status == 200, answer
    wrong = {**read_from("keyless"), "integration_name": "wrong"}
    for name, source, words in (("a", read_from("keyless"), "primary key"), ("b", read_from("foreign_one"), "GRANT SELECT"),
                                ("d", read_from("not_there"), "no table"), ("e", wrong, "password authentication failed")):
        org.collection(name, sources=[source])
        status = wait_for(lambda: (lambda s: s if s["state"] == "ERROR" else None)(status_of(org, name)), 30)  # noqa: B023
        assert words in status["message"] and "not-it" not in status["message"] and PASSWORD not in status["message"]
    shown = json.dumps(org.call("GET", "/integrations").json)
    assert PASSWORD not in shown and "not-it" not in shown and "replicator" in shown
    answer = org.call("POST", "/ws/commons/collections", {"name": "f", "sources": [
        {"integration_name": "shop", "postgres": {"tables": ["public.a"]}}]})
    assert answer.status == 400 and "one table" in answer.message
    answer = org.call("POST", "/integrations", {"name": "x", "postgres": {"host": "h", "dbname": "d", "user": "u"}})
    assert answer.status == 400 and "password" in answer.message


def test_rows_that_can_not_be_documents_are_listed(server, org):
    make(server, "poison", "k text PRIMARY KEY, v int")
    server.sql("INSERT INTO poison VALUES ('', 1), ('good', 2)")
    org.collection("c", sources=[read_from("poison")])
    wait_watching(org)
    assert org.rows("SELECT _id, v FROM c") == [{"_id": "good", "v": 2}]
    server.sql("INSERT INTO poison VALUES (repeat('k', 600), 3), ('fine', 4)")
    wait_for(lambda: len(org.rows("SELECT _id FROM c")) == 2, 30)
    reasons = {e["reason"]: e["origin"] for e in errors_of(org, sources_of(org)[0]["id"])}
    assert len(reasons) == 2 and all("_id" in r for r in reasons) and all(o.startswith("public.poison@") for o in reasons.values())


def test_truncate_and_a_dropped_slot_end_a_source_with_the_reason(server, org):
    for table, ruin, words in (("emptied", "TRUNCATE emptied", "truncated"), ("slotless", None, "was dropped")):
        fill(server, table, 10)
        org.collection(table, sources=[read_from(table)])
        wait_watching(org, table)
        source_id = sources_of(org, table)[0]["id"]
        slot = "lockset_" + source_id.lower().replace("-", "_")
        if ruin:
            server.sql(ruin)
        else:
            ends = threading.Event()

            def drop():
                while not ends.is_set():
                    server.sql(f"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{slot}' AND active")
                    server.sql(f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{slot}' AND NOT active")

            dropper = threading.Thread(target=drop)
            dropper.start()
            wait_for(lambda: slot not in slots(server), 30)
            ends.set()
            dropper.join()
        wait_for(lambda: words in (status_of(org, table)["message"] or ""), 40, what=words)  # noqa: B023
        assert status_of(org, table)["state"] == "ERROR"
        assert len(org.rows(f"SELECT _id FROM {table}")) == 10  # what there was stays readable


def test_after_a_pause_the_slot_decides_what_is_recovered(server):
    """S13: the source whose slot is still there goes on with every change of the pause; the other one is unrecoverable."""
    quick = {"key.probe_interval": "1s", "key.full_check_interval": "2s", "key.kms_timeout": "500ms", "key.ride_through": "4s",
             "key.pause_after": "6s"}
    with Dev(quick) as dev:
        org = dev.create_org()
        assert org.call("POST", "/integrations", {"name": "shop", "postgres": server.integration()}).status == 200
        for table in ("kept", "lost"):
            fill(server, table, 500)
            answer = org.call("POST", "/ws/commons/collections", {"name": table, "sources": [read_from(table)]})
            assert answer.status == 200, answer
            wait_watching(org, table)
        lost = "lockset_" + sources_of(org, "lost")[0]["id"].lower().replace("-", "_")
        org.disable_key()
        org.wait_state("PAUSED", 60)
        assert server.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'replicator'") == "0"
        for table in ("kept", "lost"):
            server.sql(f"UPDATE {table} SET n = n + 7 WHERE id < 100; DELETE FROM {table} WHERE id > 400")
        server.sql(f"SELECT pg_drop_replication_slot('{lost}')")
        org.enable_key()

        def recover():
            answer = http_call(dev.api, "POST", f"/v1/admin/orgs/{org.name}/regions/us-west-2/recover", {},
                               {"Authorization": f"Operator {dev.info['operator_token']}"})
            return answer if answer.status == 200 else None

        answer = wait_for(recover, 60, 0.5, "the recovery is done")
        found = {c["collection"]: c for c in answer.data["collections"]}
        assert found["commons.kept"]["recovered"] is True
        assert found["commons.lost"]["recovered"] is False and "replication slot" in found["commons.lost"]["reason"]
        wait_same(server, org, "kept", "kept")
