"""Hostile SQL, against the gate, and against the walls behind it with the gate taken out."""
import http.client
import os
import random
import time

import pytest

from engine_launcher import COLUMNS, Engine, INSERT, Reply, UnixConnection, row

CANARY = "canary-of-the-host-7d1f"
OUTSIDE = "/tmp/lockset-hostile-out"  # must never come to be

# What a tenant could send to get at more than its rows. Each must be refused by the gate.
REFUSED = [
    "SELECT file('/etc/passwd')",
    "SELECT `file`('/etc/passwd')",
    'SELECT "file"(\'/etc/passwd\')',
    "SELECT FILE/* */('/etc/passwd')",
    "SELECT arrayMap(file, ['/etc/passwd'])",
    "SELECT * APPLY(file) FROM (SELECT '/etc/passwd' AS p)",
    "SELECT * APPLY file FROM (SELECT '/etc/passwd' AS p)",
    "SELECT * FROM file('/etc/passwd', 'RawBLOB')",
    "SELECT * FROM file('/proc/self/environ', 'RawBLOB')",
    "SELECT * FROM filesystem('/etc')",
    "SELECT * FROM url('http://127.0.0.1:1/', 'RawBLOB')",
    "SELECT * FROM s3('http://127.0.0.1:1/bucket/key', 'CSV', 'a Int32')",
    "SELECT * FROM remote('127.0.0.1', 'system', 'one')",
    "SELECT * FROM remoteSecure('127.0.0.1', 'system', 'one')",
    "SELECT * FROM executable('id', 'TSV', 'a String')",
    "SELECT * FROM mysql('127.0.0.1:3306', 'a', 'b', 'c', 'd')",
    "SELECT * FROM postgresql('127.0.0.1:5432', 'a', 'b', 'c', 'd')",
    "SELECT * FROM sqlite('/etc/passwd', 'x')",
    "SELECT * FROM azureBlobStorage('x', 'y', 'z')",
    "SELECT * FROM icebergLocal('/etc')",
    "SELECT * FROM merge('system', '.*')",
    "SELECT * FROM loop('system', 'disks')",
    "SELECT * FROM eval('SELECT 1')",
    "SELECT * FROM dictionary('x')",
    "SELECT dictGet('a', 'b', 1)",
    "SELECT joinGet('system.disks', 'name', 1)",
    "SELECT hasColumnInTable('127.0.0.1', 'default', '', 'system', 'one', 'dummy')",
    "SELECT catboostEvaluate('/etc/passwd', 1)",
    "SELECT getServerSetting('path')",
    "SELECT demangle('x')",
    "SELECT 1 INTO OUTFILE '/data/out'",
    f"SELECT 1 INTO OUTFILE '{OUTSIDE}' FORMAT CSV",
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE w.t",
    "DROP TABLE w.t",
    "INSERT INTO w.t VALUES (1)",
    f"INSERT INTO FUNCTION file('{OUTSIDE}', 'CSV', 'a Int32') VALUES (1)",
    "CREATE TABLE w.x (a Int32) ENGINE=Memory",
    "CREATE TABLE x ENGINE=File(CSV)",
    "ATTACH TABLE w.x (a Int32) ENGINE=Memory",
    "CREATE FUNCTION f AS x -> x",
    "CREATE USER u",
    "GRANT ALL ON *.* TO default",
    "CREATE DICTIONARY d (a Int32) PRIMARY KEY a SOURCE(EXECUTABLE(COMMAND 'id' FORMAT TSV)) LAYOUT(FLAT()) LIFETIME(0)",
    "SET readonly = 0",
    "SET max_memory_usage = 0",
    "USE system",
    "KILL QUERY WHERE 1",
    "SYSTEM SHUTDOWN",
    "SYSTEM DROP MARK CACHE",
    f"BACKUP TABLE w.t TO File('{OUTSIDE}')",
    "SHOW CREATE TABLE w.t",
    "SHOW TABLES FROM system",
    "SELECT 1 SETTINGS max_memory_usage = 0",
    "SELECT 1 FORMAT JSON",
    "SELECT * FROM (SELECT 1 SETTINGS max_threads = 64)",
    "SELECT * FROM system.disks",
    "SELECT * FROM `system`.`disks`",
    'SELECT * FROM "system" . "disks"',
    "SELECT * FROM system/* */./* */disks",
    "SELECT * FROM system\u00a0.disks",
    "SELECT * FROM `s\\x79stem`.disks",
    "SELECT create_table_query FROM system.tables",
    "SELECT * FROM system.processes",
    "SELECT * FROM system.query_log",
    "SELECT * FROM system.server_settings",
    "SELECT * FROM system.stack_trace",
    "SELECT * FROM system.named_collections",
    "SELECT 1 IN system.disks",
    "SELECT (SELECT count() FROM system.parts)",
    "EXPLAIN SELECT * FROM system.disks",
    "DESCRIBE TABLE file('/etc/passwd')",
    "WITH system.disks AS x SELECT * FROM system.disks",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM INFORMATION_SCHEMA.TABLES",
    "SELECT * FROM {t:Identifier}",
    "SELECT * FROM `/etc/passwd`",
    "SELECT * FROM '/etc/passwd'",
    # Comments, numbers and literals that end elsewhere than one might think.
    "SELECT 1 // '\n, file('/etc/passwd') -- '",
    "SELECT 1 /* /* */ ' */, file('/etc/passwd') -- '",
    "SELECT x'\\', file('/etc/passwd') -- '",
    "SELECT $$a$ ' $a$, file('/etc/passwd') -- '",
    "SELECT 1e-- '\n, file('/etc/passwd') -- '",
    "SELECT 1 PARALLEL WITH SELECT 2",
    "SELECT 1 PARALLEL WITH DROP TABLE w.t",
    "DROP TABLE w.t PARALLEL WITH DROP TABLE w.t",
    "SELECT * FROM Python(x)",
    "SELECT * FROM cluster('default', system.disks)",
    "SELECT * FROM viewExplain('EXPLAIN', '', (SELECT 1))",
    "SELECT * FROM mergeTreeIndex(w, t)",
    "SELECT * FROM input('a Int8')",
    "SHOW PROCESSLIST",
    "SELECT [(",
    "SELECT 1)",
    "",
    "  -- nothing",
    "SELECT 'unterminated",
    "SELECT 1 /* unterminated",
]

# Read as they should be.
SERVED = [
    ("SELECT 1", "1\n"),
    ("SELECT 1;", "1\n"),
    ("select 'file(x); drop table t -- '", "file(x); drop table t -- \n"),
    ("SELECT url FROM (SELECT 'u' AS url)", "u\n"),
    ("SELECT count(file) FROM (SELECT 'f' AS file)", "1\n"),
    ("SELECT x.system FROM (SELECT 1 AS system) AS x", "1\n"),
    ("SELECT format('{} {}', 'a', 'b')", "a b\n"),
    ("SELECT sum(number) FROM numbers(10)", "45\n"),
    ("SELECT count() FROM system.one", "1\n"),
    ("WITH 1 AS x SELECT x /* comment */ -- more", "1\n"),
    ("SELECT 1 // file('x')", "1\n"),
    ("SELECT 1 /* /* file('x') */ ' */", "1\n"),
    ("SELECT x'41', $$file('x')$$, 1e-1", "A\tfile(\\'x\\')\t0.1\n"),
    ("(SELECT 1) UNION ALL (SELECT 1)", "1\n1\n"),
    ("SELECT arrayMap(x -> x + 1, [1])", "[2]\n"),
    ("SELECT count(), sum(doc.a.:Int64) FROM w.t FINAL", "10\t45\n"),
]


def fill(engine):
    assert engine.call("CREATE DATABASE w ENGINE=Memory").code == 0
    made = engine.call(f"CREATE TABLE w.t {COLUMNS} ENGINE=ReplacingMergeTree(_version,_deleted) ORDER BY _id")
    assert made.code == 0, made.text
    body = b"".join(row(f"id{i}", 1, '{"a":%d}' % i) for i in range(10))
    assert engine.call(INSERT % "t", body=body, rows=10).summary["written_rows"] == "10"


@pytest.fixture(scope="module")
def gated():
    with Engine() as e:
        fill(e)
        yield e


@pytest.fixture(scope="module")
def bare():
    """The same engine without the gate: what remains is readonly mode, grants and the sandbox."""
    with Engine(gate=False) as e:
        fill(e)
        yield e


@pytest.mark.parametrize("sql", REFUSED)
def test_the_gate_refuses(gated, sql):
    reply = gated.read(sql)
    assert reply.status in (400, 403, 404), reply.text
    assert reply.code != 0 and "root:" not in reply.text
    assert gated.read("SELECT count() FROM w.t").text == "10\n"


@pytest.mark.parametrize("sql, answer", SERVED)
def test_the_gate_lets_pass(gated, sql, answer):
    reply = gated.read(sql)
    assert (reply.code, reply.text) == (0, answer)


@pytest.mark.parametrize("sql", REFUSED)
def test_behind_the_gate_it_does_no_harm(bare, sql):
    reply = bare.read(sql, deadline_ms=20000)
    assert "root:" not in reply.text and "PATH=" not in reply.text and bare.secret not in reply.text
    assert not os.path.exists(OUTSIDE)
    still = bare.read("SELECT count() FROM w.t")
    assert still.text == "10\n", "a reading session changed something"


def test_behind_the_gate_there_are_no_files(bare):
    with open("/tmp/lockset-canary", "w") as f:
        f.write(CANARY)
    try:
        for path in ("/tmp/lockset-canary", "/etc/passwd", "/proc/self/maps", "/proc/1/environ", "/sys/kernel/vmcoreinfo",
                     "/dev/mem", "../../tmp/lockset-canary", "/data/../../tmp/lockset-canary"):
            reply = bare.read(f"SELECT file('{path}')")
            assert reply.code != 0 and CANARY not in reply.text, path
    finally:
        os.unlink("/tmp/lockset-canary")


def test_settings_of_a_reader_are_refused_in_the_url(gated):
    for name in ("max_memory_usage", "readonly", "max_execution_time", "log_comment", "allow_introspection_functions"):
        assert gated.read("SELECT 1", **{name: "0"}).status == 403
    assert gated.read("SELECT 1", database="system").status == 403
    assert gated.call("SELECT 1", user="admin").status == 403


def test_get_reads_only(gated):
    reply = gated.request("GET", "/?query=CREATE+DATABASE+evil+ENGINE%3DMemory", headers={"X-ClickHouse-User": "writer"})
    assert reply.code == 164, reply.text


@pytest.mark.parametrize("sql", [
    "SELECT count() FROM numbers(1000000000000000)",
    "SELECT count() FROM system.numbers",
    "SELECT sum(sleep(1)) FROM numbers(1000) GROUP BY number % 2",
    "SELECT count() FROM (SELECT arrayJoin(range(100)) FROM numbers(1000000000000))",
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + sleep(1) FROM r) SELECT count() FROM r",
])
def test_an_endless_statement_is_ended_at_its_deadline(gated, sql):
    began = time.monotonic()
    reply = gated.read(sql, deadline_ms=1000)
    assert reply.code in (159, 160), reply.text
    assert time.monotonic() - began < 3.5
    assert gated.read("SELECT 1").text == "1\n"


def test_a_statement_that_cannot_be_stopped_ends_the_engine():
    with Engine() as engine:
        began = time.monotonic()
        try:
            # One call of one function on one block: ClickHouse looks at no clock in there.
            reply = engine.read("SELECT length(arraySort(x -> cityHash64(x), range(60000000)))", deadline_ms=500)
            assert reply.code != 0, reply.text
        except (ConnectionError, http.client.HTTPException):
            assert engine.wait(5) == 70
            assert "engine.statement_stuck" in engine.log()
        assert time.monotonic() - began < 6


@pytest.mark.parametrize("begin, piece", [("SELECT 1", ";"), ("SELECT ", "[("), ("SELECT ", "$x "), ("SELECT 1", "/**/")])
def test_a_long_text_is_looked_at_in_no_time(gated, begin, piece):
    began = time.monotonic()
    assert gated.read(begin + piece * (1000000 // len(piece)), deadline_ms=5000).code in (0, 62)
    assert time.monotonic() - began < 4


def test_what_cannot_be_parsed_in_time_ends_the_engine():
    """Behind the gate, which lets no such text pass: ClickHouse's parser looks at no clock."""
    with Engine(gate=False) as engine:
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            engine.read("SELECT " + "[(" * 250000, deadline_ms=500)
        assert engine.wait(5) == 70


def test_what_the_gate_reads_is_what_clickhouse_reads(gated):
    """Scraps of SQL, put together at random: a call of serverUUID() must never hide in what the gate takes for a
    comment or a string."""
    openers = ["'", '"', "`", "/*", "//", "--", "# ", "$$a$", "$a$", "x'", "b'", "1e--", "\\"]
    scraps = ["'"] * 4 + ['"', "`", "\\", "/*", "*/", " ", "$a$", "//", "--", "a", "\u00a0"]
    rng = random.Random(1)
    connection = UnixConnection(gated.socket_path, 30)
    served = 0
    for _ in range(4000):
        opener, noise = rng.choice(openers), "".join(rng.choice(scraps) for _ in range(rng.randrange(3)))
        closer, tail = rng.choice(["\n", "'", opener, "*/", "$a$", " "]), rng.choice(["", "'", opener, "*/"])
        sql = f"SELECT 1 {opener}{noise}{closer}, serverUUID() {rng.choice(['', '-- ', '//'])}{tail}"
        connection.request("POST", "/", sql.encode(), {"X-ClickHouse-User": "reader"})
        reply = Reply(connection.getresponse())
        served += reply.code == 0
        assert "00000000-0000-0000" not in reply.text, sql
    connection.close()
    assert served > 100


def test_a_client_that_reads_too_slowly_is_cut_off_and_nobody_else(gated):
    connection = UnixConnection(gated.socket_path, 20)
    began = time.monotonic()
    connection.request("POST", "/?default_format=TSV", b"SELECT number, toString(number) FROM numbers(50000000)",
                       {"X-ClickHouse-User": "reader", "X-Lockset-Deadline-Ms": "1000"})
    response = connection.getresponse()
    assert response.status == 200 and response.read(10)
    running = "SELECT count() FROM system.processes WHERE query LIKE '%numbers(50000000)' AND query NOT LIKE '%processes%'"
    while gated.call(running).text != "0\n":
        assert time.monotonic() - began < 10, "it still runs"
        time.sleep(0.05)
    assert time.monotonic() - began > 0.5 and gated.process.poll() is None
    connection.close()


def test_a_client_that_goes_away_takes_its_statement_with_it(gated):
    connection = UnixConnection(gated.socket_path, 10)
    connection.request("POST", "/", body=b"SELECT count() FROM numbers(1000000000000000)")
    running = "SELECT count() FROM system.processes WHERE query LIKE '%1000000000000000)' AND query NOT LIKE '%processes%'"
    for _ in range(400):
        if gated.call(running).text == "1\n":
            break
        time.sleep(0.05)
    else:
        raise AssertionError("it does not run")
    connection.close()
    for _ in range(200):
        if gated.call(running).text == "0\n":
            return
        time.sleep(0.05)
    raise AssertionError("an abandoned statement runs on")


@pytest.mark.parametrize("sql", [
    "SELECT groupArray(repeat('x', 1000000)) FROM numbers(1000000)",
    "SELECT number, repeat('x', 1000) FROM numbers(100000000) ORDER BY rand() LIMIT 100000000",
    "SELECT uniqExact(number) FROM numbers(1000000000)",
    "SELECT a.number FROM numbers(100000000) AS a JOIN numbers(100000000) AS b ON a.number = b.number + 1 "
    "ORDER BY a.number",
    "SELECT arrayMap(x -> range(100000), range(1000000))",
    "SELECT length(repeat(repeat(repeat('x', 10000), 10000), 100))",
])
def test_a_memory_bomb_fails_alone_or_ends_the_engine(sql):
    with Engine(memory=768 << 20, lease_s=200) as engine:
        fill(engine)
        try:
            reply = engine.read(sql, deadline_ms=30000, default_format="Null")
            assert reply.code in (241, 131, 128, 173, 307, 396, 159, 190), reply.text[:500]
            began = time.monotonic()
            while engine.read("SELECT count() FROM w.t").text != "10\n":  # the memory is given back soon
                assert time.monotonic() - began < 5
                time.sleep(0.05)
        except (ConnectionError, http.client.HTTPException):
            assert engine.wait(5) in (71, 70)


def test_rows_never_spill_to_a_file(gated):
    sql = "SELECT number FROM numbers(3000000) ORDER BY cityHash64(number)"
    assert gated.read(sql, default_format="Null").code == 0
    for folder, _, files in os.walk(f"/proc/{gated.pid}/root/data/db"):
        for name in files:
            assert os.path.getsize(os.path.join(folder, name)) < 1 << 20, (folder, name)
