"""Hostile SQL through the whole of Lockset: as a tenant sends it, with the engine's gate and with the gate taken out."""
import os
import pathlib
import re
import shutil
import socket
import tempfile
import threading
import uuid

import pytest

from lockset_dev import BUILD, Dev, wait_for

MARK = "row-of-the-neighbour-51e7"
OUTSIDE = f"/tmp/lockset-out-{uuid.uuid4().hex[:8]}"  # must never come to be
PROGRAMS = ("lockset", "lockset-api", "lockset-engine", "lockset-front", "lockset-gateway", "lockset-keyring", "lockset-kms")


@pytest.fixture(scope="module")
def listener():
    """What url(), s3() and remote() are pointed at: nobody may ever call."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


@pytest.fixture(scope="module")
def open_build():
    """The programs, with an engine that has no gate."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="lockset-build-"))
    for name in PROGRAMS:
        shutil.copy2(BUILD / ("lockset-engine-nogate" if name == "lockset-engine" else name), folder / name)
    (folder / "deps").symlink_to((BUILD / "deps").resolve())
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module", params=["gate", "no gate"])
def world(request):
    build = BUILD if request.param == "gate" else request.getfixturevalue("open_build")
    with Dev({"engine.memory": "1GiB"}, build=build) as dev:
        org, neighbour = dev.create_org(), dev.create_org()
        for o, mark in ((org, "own"), (neighbour, MARK)):
            o.create_collection("t")
            assert o.add("t", [{"_id": f"d{i}", "n": i, "s": mark} for i in range(10)]).status == 200
            assert o.count("t") == 10
        # It is the engine that was meant.
        assert org.query("SELECT count(*) FROM system.disks").status == (400 if request.param == "gate" else 200)
        yield request.param, org, neighbour


HOSTILE = [
    "SELECT file('/etc/passwd')",
    "SELECT 1 // '\n, file('/etc/passwd') -- '",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')",
    "SELECT * FROM file('/proc/self/environ', 'RawBLOB')",
    "SELECT file('/proc/self/maps')",
    "SELECT * FROM filesystem('/')",
    "SELECT * FROM url('http://127.0.0.1:PORT/x', 'RawBLOB')",
    "SELECT * FROM s3('http://127.0.0.1:PORT/bucket/key', 'CSV', 'a Int32')",
    "SELECT * FROM remote('127.0.0.1:PORT', 'system', 'one')",
    "SELECT * FROM mysql('127.0.0.1:PORT', 'a', 'b', 'c', 'd')",
    "SELECT * FROM executable('id', 'TSV', 'a String')",
    f"SELECT 1 INTO OUTFILE '{OUTSIDE}'",
    f"INSERT INTO FUNCTION file('{OUTSIDE}', 'CSV', 'a Int32') VALUES (1)",
    f"BACKUP DATABASE commons TO File('{OUTSIDE}')",
    "SELECT 1; DROP DATABASE commons",
    "SELECT 1; SELECT 2",
    "SELECT 1 PARALLEL WITH DROP DATABASE lockset_data",
    "DROP DATABASE lockset_data",
    "INSERT INTO lockset_data.t VALUES (1)",
    "SET readonly = 0",
    "SYSTEM SHUTDOWN",
    "KILL QUERY WHERE 1",
    "CREATE FUNCTION f AS x -> x",
    "SHOW DATABASES",
    "SELECT * FROM system.disks",
    "SELECT create_table_query, engine_full FROM system.tables",
    "SELECT * FROM system.processes",
    "SELECT * FROM system.errors",
    "SELECT * FROM system.server_settings",
    "SELECT * FROM merge('lockset_data', '.*')",
    "SELECT * FROM `system`./**/`disks`",
    "SELECT * FROM information_schema.tables",
    "SELECT name FROM system.databases SETTINGS readonly = 0",
]

CREDENTIAL = re.compile(r"(access_key_id|secret_access_key)[^A-Za-z0-9\[]+(?!\[HIDDEN\])[A-Za-z0-9+/]{8}")


COUNT = "SELECT count(*) AS rows, sum(n) AS total FROM t"


def is_untouched(org):
    return org.rows(COUNT) == [{"rows": 10, "total": 45}]


def wait_for_answers(org):
    """After a bomb the allocator needs some 100 ms to give memory back: until then there is none for others."""
    wait_for(lambda: org.is_answering(COUNT), 20, what="the next answer")


@pytest.mark.parametrize("sql", HOSTILE)
def test_it_gets_nobody_anything(world, listener, sql):
    gate, org, neighbour = world
    engine = org.engine_pid()
    answer = org.query(sql.replace("PORT", str(listener.getsockname()[1])), timeout=30)
    text = answer.body.decode(errors="replace")
    assert answer.json is not None, answer
    if gate == "gate":
        assert answer.status == 400 and answer.json["type"] and answer.message, answer
    for secret in ("root:", "PATH=", "libchdb.so", MARK, neighbour.id):
        assert secret not in text, answer
    assert not CREDENTIAL.search(text), answer
    assert not os.path.exists(OUTSIDE)
    with pytest.raises(BlockingIOError):
        listener.accept()
    assert is_untouched(org) and is_untouched(neighbour)
    assert org.engine_pid() == engine, "the engine did not survive"


def with_timeout(org, sql, timeout_ms):
    return org.call("POST", "/queries", {"sql": {"query": sql}, "timeout_ms": timeout_ms}, timeout=60)


@pytest.mark.parametrize("sql", [
    "SELECT count(*) FROM numbers(1000000000000000)",
    "SELECT count(*) FROM system.numbers",
    "SELECT sum(sleep(1)) FROM numbers(1000) GROUP BY number % 2",
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + sleep(1) FROM r) SELECT count(*) FROM r",
    "SELECT length(arraySort(x -> cityHash64(x), range(60000000)))",
    pytest.param("SELECT " + "[(" * 50000, id="brackets that close nowhere"),
])
def test_an_endless_one_ends(world, sql):
    _, org, neighbour = world
    before = neighbour.engine_pid()
    answer = with_timeout(org, sql, 1000)
    assert answer.status in (400, 408, 503), answer
    wait_for_answers(org)
    assert is_untouched(org) and is_untouched(neighbour) and neighbour.engine_pid() == before


@pytest.mark.parametrize("sql", [
    "SELECT groupArray(repeat('x', 1000000)) FROM numbers(1000000)",
    "SELECT uniqExact(number) FROM numbers(1000000000)",
    "SELECT number, repeat('x', 1000) FROM numbers(100000000) ORDER BY rand() LIMIT 100000000",
    "SELECT arrayMap(x -> range(100000), range(1000000))",
    "SELECT repeat(repeat(repeat('x', 10000), 10000), 100)",
])
def test_a_memory_bomb_bursts_alone(world, sql):
    _, org, neighbour = world
    before = neighbour.engine_pid()
    most, stop = [0], threading.Event()

    def watch():
        while not stop.wait(0.05):
            try:
                with open(f"/proc/{org.engine_pid()}/status", encoding="ascii") as f:
                    fields = dict(line.split(":", 1) for line in f)
                most[0] = max(most[0], int(fields["RssAnon"].split()[0]))
            except (OSError, KeyError):
                pass

    thread = threading.Thread(target=watch)
    thread.start()
    answer = with_timeout(org, sql, 20000)
    stop.set()
    thread.join()
    assert answer.status in (400, 408, 503), answer
    assert most[0] < 1.5 * (1 << 20), f"{most[0]} KiB"
    wait_for_answers(org)
    assert is_untouched(org) and is_untouched(neighbour) and neighbour.engine_pid() == before


def test_a_fresh_engine_has_every_collection(world):
    _, org, _ = world
    assert org.call("POST", "/ws", {"name": "second"}).status == 200
    for workspace, name in (("commons", "u"), ("second", "u"), ("second", "v")):
        org.create_collection(name, workspace)
        answer = org.add(name, [{"_id": "x", "in": f"{workspace}.{name}"}], workspace)
        assert answer.status == 200, answer
    sql = ('SELECT a."in" AS a, b."in" AS b, c."in" AS c, (SELECT count(*) FROM t) AS n FROM commons.u a '
           'JOIN second.u b ON a._id = b._id JOIN second.v c ON a._id = c._id')
    expected = [{"a": "commons.u", "b": "second.u", "c": "second.v", "n": 10}]
    assert org.rows(sql) == expected
    for _ in range(3):
        pid = org.engine_pid()
        os.kill(pid, 9)
        wait_for(lambda: org.is_answering(sql), 20, what="the next answer")
        assert org.rows(sql) == expected and org.engine_pid() != pid
