"""The PostgreSQL driver against a real server: what batches make of an image is what the table holds, whatever happens."""
import contextlib
import json
import os
import random
import re
import socket
import subprocess
import threading
import time

import pytest

from postgres_rig import PASSWORD, Harness, Postgres, SourceError, Writer, apply, make


@pytest.fixture(scope="module")
def server():
    with Postgres() as postgres:
        yield postgres


@pytest.fixture
def table(server, request):
    """A name of its own for each test, and nothing left of it."""
    name = "t_" + re.sub("[^a-z0-9]+", "_", request.node.name.lower())[:40]
    yield name
    server.sql("SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active")
    server.until("NOT EXISTS (SELECT FROM pg_replication_slots WHERE active)", "slots are released")
    server.sql("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
    for publication in server.sql("SELECT quote_ident(pubname) FROM pg_publication").splitlines():
        server.sql(f"DROP PUBLICATION {publication}")
    server.sql(f"DROP TABLE IF EXISTS public.{name} CASCADE")


def reader(server, table, position=None, source_id=None, integration=None, **config):
    return Harness("postgres", {"table": f"public.{table}", **config}, integration or server.integration(),
                   source_id or table, position)


def catch_up(server, harness, image, seconds=60):
    """Reads until everything that is committed now was given out; the server is quiet meanwhile."""
    target = server.sql("SELECT pg_current_wal_lsn()")
    deadline = time.monotonic() + seconds
    while True:
        all_is_sent = server.sql(f"SELECT bool_and(sent_lsn >= '{target}') FROM pg_stat_replication") == "t"
        batch = harness.next(200)
        apply(image, batch)
        harness.order("stored")
        position = harness.position
        loaded = position["phase"] == "changes" and "until" not in position
        if all_is_sent and loaded and not batch["records"] and "in_commit" not in position:
            return image
        assert time.monotonic() < deadline, f"not caught up: {position}"


def load(harness, image=None):
    """The initial load, from wherever it stands."""
    image = {} if image is None else image
    deadline = time.monotonic() + 60
    while True:
        batch = harness.next(500)
        apply(image, batch)
        harness.order("stored")
        if batch["is_snapshot_end"]:
            return image
        assert time.monotonic() < deadline, harness.position


# Types


def test_every_type_reads_alike_from_the_load_and_from_the_stream(server, table):
    server.sql(f"CREATE TYPE {table}_mood AS ENUM ('sad', 'so, so'); CREATE DOMAIN {table}_age AS int;"
               f"CREATE DOMAIN {table}_ages AS int[]; CREATE TYPE {table}_pair AS (a int, b text)")
    make(server, table, f"""id int PRIMARY KEY, b bool, i2 int2, i4 int4, i8 int8, o oid, f4 float4, f8 float8, n numeric,
         n2 numeric(12,2), t text, v varchar(20), c char(5), j json, jb jsonb, ts timestamp, tz timestamptz, d date, tm time,
         u uuid, by bytea, iv interval, ai int[], at text[], aa int[][], an numeric[], ab bytea[], aj jsonb[],
         mood {table}_mood, moods {table}_mood[], age {table}_age, ages {table}_ages, agelist {table}_age[], pair {table}_pair,
         inet inet, bx box[], g int GENERATED ALWAYS AS (i2 * 2) STORED, "_id" text, "_meta" text, "wei""rd: ü" int""")
    insert = f"""INSERT INTO {table} VALUES (%d, true, -32768, 2147483647, -9223372036854775808, 4294967295, 1.1, 0.1, 12.50,
         10, E'ü "q" \\\\ \\n\\t\\x01', 'v', 'c', '{{"a": [1, {{"b":null}}], "big": 12345678901234567890123}}',
         '{{"z":1,"a":[true,1.50]}}', '2026-01-02 03:04:05.123456', '2026-01-02 03:04:05+02', '2026-02-03', '12:13:14.5',
         '00000000-0000-4000-8000-00000000000A', '\\x00ff10', '1 year 2 days', '{{1,NULL,-3}}',
         ARRAY['a', 'NULL', NULL, 'q"\\,{{}}', ''], '{{{{1,2}},{{3,4}}}}', '{{1.5,NaN}}', ARRAY['\\x01'::bytea],
         ARRAY['{{"x":1}}'::jsonb], 'so, so', ARRAY['sad', 'so, so']::{table}_mood[], 7, '[5:6]={{1,2}}', '{{8}}',
         ROW(1, 'x y'), '10.0.0.1/8', '{{(1,1),(0,0)}}', DEFAULT, 'own', 'own', 5)"""
    server.sql(insert % 1)
    with reader(server, table) as harness:
        harness.open()
        image = load(harness)
        server.sql(insert % 2)
        catch_up(server, harness, image)
    expected = {
        "b": True, "i2": -32768, "i4": 2147483647, "i8": -9223372036854775808, "o": 4294967295, "f4": 1.1, "f8": 0.1,
        "n": 12.5, "n2": 10.0, "t": 'ü "q" \\ \n\t\x01', "v": "v", "c": "c    ",
        "j": '{"a": [1, {"b":null}], "big": 12345678901234567890123}', "jb": {"z": 1, "a": [True, 1.5]},
        "ts": "2026-01-02T03:04:05.123456", "tz": "2026-01-02T01:04:05Z", "d": "2026-02-03", "tm": "12:13:14.5",
        "u": "00000000-0000-4000-8000-00000000000a", "by": "AP8Q", "iv": "1 year 2 days", "ai": [1, None, -3],
        "at": ["a", "NULL", None, 'q"\\,{}', ""], "aa": [[1, 2], [3, 4]], "an": [1.5, "NaN"], "ab": ["AQ=="],
        "aj": [{"x": 1}], "mood": "so, so", "moods": ["sad", "so, so"], "age": 7, "ages": [1, 2], "agelist": [8],
        "pair": '(1,"x y")', "inet": "10.0.0.1/8", "bx": "{(1,1),(0,0)}", 'wei"rd: ü': 5}
    assert image["1"] == {"id": 1, **expected}
    assert image["2"] == {"id": 2, **expected}
    assert isinstance(image["1"]["n2"], float)
    server.sql(f"DROP TABLE {table}; DROP DOMAIN {table}_ages; DROP TYPE {table}_mood, {table}_age, {table}_pair CASCADE")


@pytest.mark.parametrize("text, wanted", [
    ("0", 0), ("9223372036854775807", 9223372036854775807), ("9223372036854775808", "9223372036854775808"),
    ("0.000000000000123", 0.000000000000123), ("123456789012345.0", 123456789012345.0),
    ("1234567890123456.5", "1234567890123456.5"), ("NaN", "NaN"), ("-0.1", -0.1), ("1e500", "1" + "0" * 500)])
def test_numeric_is_a_number_only_where_nothing_is_lost(server, table, text, wanted):
    make(server, table, "id int PRIMARY KEY, n numeric, a numeric[]")
    server.sql(f"INSERT INTO {table} VALUES (1, '{text}', ARRAY['{text}'::numeric])")
    with reader(server, table) as harness:
        harness.open()
        image = load(harness)
    assert image["1"] == {"id": 1, "n": wanted, "a": [wanted]}


# Keys


def test_keys_of_several_columns_and_of_types_with_operators_of_their_own(server, table):
    """The pages go by the index's own order: citext compares without case, in a schema that is on no path."""
    server.sql("CREATE EXTENSION IF NOT EXISTS citext")
    make(server, table, "name citext, part int, v int, PRIMARY KEY (name, part)")
    server.sql(f"INSERT INTO {table} SELECT (CASE WHEN i % 2 = 0 THEN 'NAME' ELSE 'name' END) || i % 7000, i / 7000, i "
               f"FROM generate_series(1, 23000) i")
    with reader(server, table) as harness:
        harness.open()
        image = load(harness)
        server.sql(f"UPDATE {table} SET name = 'Other' WHERE v = 5; DELETE FROM {table} WHERE v = 6;"
                   f"UPDATE {table} SET name = upper(name) WHERE v = 7")
        catch_up(server, harness, image)
    rows = json.loads(server.sql(f"SELECT json_agg(t) FROM {table} t"))
    assert len(rows) == 22999
    assert image == {json.dumps([r["name"], str(r["part"])], separators=(",", ":")): r for r in rows}


def test_a_replica_identity_index_is_the_key(server, table):
    make(server, table, "a int, code text NOT NULL UNIQUE, v int",
         f"ALTER TABLE {table} REPLICA IDENTITY USING INDEX {table}_code_key")
    server.sql(f"INSERT INTO {table} VALUES (1, 'x', 1), (2, 'y', 2)")
    with reader(server, table) as harness:
        harness.open()
        image = load(harness)
        server.sql(f"DELETE FROM {table} WHERE a = 1; UPDATE {table} SET code = 'z' WHERE a = 2")
        catch_up(server, harness, image)
    assert image == {"z": {"a": 2, "code": "z", "v": 2}}


def test_keys_that_can_not_be_ids_are_flaws_and_the_rest_flows(server, table):
    make(server, table, "k text PRIMARY KEY, v int")
    server.sql(f"INSERT INTO {table} VALUES ('', 1), (repeat('k', 513), 2), ('good', 3)")
    with reader(server, table) as harness:
        harness.open()
        records = []
        while harness.position is None or harness.position["phase"] == "snapshot":
            records += harness.next(500)["records"]
        server.sql(f"DELETE FROM {table} WHERE v < 3")
        load(harness)
    assert [r.get("flaw", r.get("document")) for r in records] == [
        "the key is an empty text, which can't be an _id", {"k": "good", "v": 3},
        "the key is longer than 512 bytes, which can't be an _id"]


# Large values that an update leaves alone


@pytest.mark.parametrize("identity", ["DEFAULT", "FULL"])
def test_large_values_survive_updates_that_do_not_touch_them(server, table, identity):
    make(server, table, "id int PRIMARY KEY, big text, n int",
         f"ALTER TABLE {table} ALTER big SET STORAGE EXTERNAL; ALTER TABLE {table} REPLICA IDENTITY {identity}")
    server.sql(f"INSERT INTO {table} SELECT i, repeat('x', 5000) || i, 0 FROM generate_series(1, 20) i")
    with reader(server, table) as harness:
        harness.open()
        image = load(harness)
        server.sql(f"UPDATE {table} SET n = n + 1; UPDATE {table} SET id = id + 100 WHERE id <= 3;"
                   f"UPDATE {table} SET n = 7 WHERE id = 4; DELETE FROM {table} WHERE id = 4;"
                   f"BEGIN; UPDATE {table} SET big = repeat('y', 6000) WHERE id = 5; UPDATE {table} SET n = 9 WHERE id = 5; COMMIT")
        catch_up(server, harness, image)
    assert image == server.rows(table)
    assert image["5"]["big"] == "y" * 6000 and len(image) == 19


def test_a_row_is_not_fetched_before_its_change_is_visible(server, table):
    """A commit that waits for a standby is in the log, and streamed, long before queries see it."""
    make(server, table, "id int PRIMARY KEY, big text, n int", f"ALTER TABLE {table} ALTER big SET STORAGE EXTERNAL")
    server.sql(f"INSERT INTO {table} VALUES (1, repeat('x', 5000), 0)")
    with reader(server, table) as harness, server.session() as waiting:
        harness.open()
        image = load(harness)
        with no_standby(server):
            waiting.send(f"UPDATE {table} SET n = 1")
            server.until("EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')", "the commit waits")
            for _ in range(5):
                batch = harness.next(200)
                assert batch["records"] == []
        deadline = time.monotonic() + 30
        while image["1"]["n"] == 0:
            apply(image, harness.next(500))
            assert time.monotonic() < deadline
    assert image == server.rows(table)


@contextlib.contextmanager
def no_standby(server):
    """Commits wait for a standby that isn't there: they are in the log, and queries don't see them."""
    try:
        server.sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        server.sql("SELECT pg_reload_conf()")
        server.until("current_setting('synchronous_standby_names') = 'nobody'", "the setting is on")
        yield
    finally:
        server.sql("SET synchronous_commit = local; ALTER SYSTEM RESET synchronous_standby_names")
        server.sql("SELECT pg_reload_conf()")


def waits_for(server, session):
    """The slot that is being made waits for the transaction of this session."""
    xid = session.run("SELECT txid_current()")[0]
    return lambda: server.until(f"EXISTS (SELECT FROM pg_locks WHERE NOT granted AND transactionid::text = '{xid}')", "it waits")


def test_a_load_does_not_begin_before_commits_in_the_log_are_visible(server, table):
    """A commit before the slot's place in the log that no query sees yet would be in no page, and is not in the stream. It takes
    a transaction that begins when the server, on its way to the slot, waits for others for the last time."""
    make(server, table, "id int PRIMARY KEY, n int")
    server.sql(f"INSERT INTO {table} VALUES (1, 0)")
    with reader(server, table) as harness, server.session() as one, server.session() as two, server.session() as three:
        harness.open()
        one.run("BEGIN")
        one_is_waited_for = waits_for(server, one)
        harness.next(200)
        one_is_waited_for()
        two.run("BEGIN")
        two_is_waited_for = waits_for(server, two)
        one.run("COMMIT")
        two_is_waited_for()
        with no_standby(server):
            three.send(f"INSERT INTO {table} VALUES (2, 0)")
            server.until("EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')", "the commit waits")
            two.run("ROLLBACK")
            server.until("(SELECT count(*) = 1 FROM pg_replication_slots WHERE confirmed_flush_lsn IS NOT NULL)", "the slot is there")
            for _ in range(4):
                batch = harness.next(200)
                assert batch["records"] == [] and "position" not in batch and batch["ms"] < 1000
        assert load(harness) == {"1": {"id": 1, "n": 0}, "2": {"id": 2, "n": 0}}


# Kills


def run_with_kills(server, table, seed, kills, source_id, **config):
    """Reads while a writer changes everything, killing the reader after random batches; a batch counts as stored or not
    by chance, as the position goes with the documents in one insert."""
    chance = random.Random(seed)
    image, position = {}, None
    writer = Writer(server, table, seed)
    writer.start()
    try:
        for _ in range(kills + 1):
            harness = reader(server, table, position, source_id, **config).start()
            try:
                harness.open()
                for _ in range(chance.randint(1, 5)):
                    batch = harness.next(100)
                    if chance.random() < 0.15:
                        break  # it came, and was never stored
                    apply(image, batch)
                    position = harness.position
                    if chance.random() < 0.8:
                        harness.order("stored")
            finally:
                harness.kill()
                harness.folder.cleanup()
    finally:
        writer.stop.set()
        writer.join()
    assert writer.error is None
    with reader(server, table, position, source_id, **config) as harness:
        harness.open()
        catch_up(server, harness, image, 120)
    return image


@pytest.mark.parametrize("identity, seed", [("DEFAULT", 1), ("FULL", 2), ("DEFAULT", 3)])
def test_kills_at_any_batch_while_everything_changes(server, table, identity, seed):
    make(server, table, "id bigint PRIMARY KEY, n int, name text, big text",
         f"ALTER TABLE {table} ALTER big SET STORAGE EXTERNAL; ALTER TABLE {table} REPLICA IDENTITY {identity}")
    server.sql(f"INSERT INTO {table} SELECT i, 0, 'n', repeat('x', 10 + i % 2500) FROM generate_series(1, 30000) i")
    image = run_with_kills(server, table, seed, 25, table)
    rows = server.rows(table)
    assert {k: image.get(k) for k in rows if image.get(k) != rows[k]} == {} and image.keys() == rows.keys()


def test_a_large_transaction_is_split_and_resumed_exactly(server, table):
    """Every record comes once: over kills in the middle, a row's values count up without gap or repetition."""
    make(server, table, "id int PRIMARY KEY, n int")
    server.sql(f"INSERT INTO {table} VALUES (0, 0)")
    with reader(server, table) as harness:
        harness.open()
        load(harness)
        position = harness.position
    server.sql(f"BEGIN; INSERT INTO {table} SELECT i, i FROM generate_series(1, 35000) i; UPDATE {table} SET n = -1 WHERE id = 7; COMMIT;"
               f"INSERT INTO {table} VALUES (40000, 0)")
    origins, middle = [], 0
    for _ in range(20):
        with reader(server, table, position, table) as harness:
            harness.open()
            batch = harness.next(2000)
            origins += [r["origin"] for r in batch["records"]]
            assert len(batch["records"]) <= 10000
            position = harness.position
            middle += "in_commit" in position
            harness.order("stored")
            confirmed = server.sql("SELECT confirmed_flush_lsn FROM pg_replication_slots")
            if "in_commit" in position:
                assert server.sql(f"SELECT '{confirmed}'::pg_lsn <= '{position['lsn']}'::pg_lsn") == "t"
        if batch["records"] and batch["records"][-1]["id"] == "40000":
            break
    assert middle >= 3
    assert len(origins) == 35002 and len(set(origins)) == 35002
    assert [int(o.split("#")[1]) for o in origins[:-1]] == list(range(35001))


def test_batches_hold_their_limits_and_large_rows_pass_alone(server, table):
    make(server, table, "id int PRIMARY KEY, big text")
    server.sql(f"INSERT INTO {table} SELECT i, repeat('x', CASE WHEN i = 3 THEN 20000000 WHEN i = 5 THEN 45000000 ELSE 3000000 END) "
               f"FROM generate_series(1, 16) i")
    with reader(server, table) as harness:
        harness.open()
        sizes, flaws, seen = [], [], []
        def take(batch):
            size = sum(len(r["document"]["big"]) for r in batch["records"] if "document" in r)
            sizes.append((len(batch["records"]), size))
            flaws.extend(r["flaw"] for r in batch["records"] if "flaw" in r)
            seen.extend(int(r["origin"].split("#")[1]) if "snapshot" in r["origin"] else r["id"]
                        for r in batch["records"] if "flaw" not in r)
        while True:
            batch = harness.next(5000)
            take(batch)
            if batch["is_snapshot_end"]:
                break
        assert sorted(seen) == [i for i in range(1, 17) if i != 5]
        server.sql(f"UPDATE {table} SET big = big || 'y'")
        while len(seen) < 30:
            take(harness.next(5000))
    assert all(count == 1 or size <= 16 << 20 for count, size in sizes), sizes
    assert flaws == ["the row is larger than 40 MiB"] * 2


# What the slot may forget


def test_the_slot_is_confirmed_only_up_to_what_is_stored(server, table):
    make(server, table, "id int PRIMARY KEY")
    with reader(server, table) as harness:
        # The server asks all the time how far we are.
        server.sql("ALTER ROLE replicator SET wal_sender_timeout = '1s'")
        harness.open()
        load(harness)
        start = server.sql("SELECT confirmed_flush_lsn FROM pg_replication_slots")
        for i in range(5):
            server.sql(f"INSERT INTO {table} VALUES ({i})")
            while not harness.next(500)["records"]:
                pass
        since = server.sql("SELECT clock_timestamp()")
        while server.sql(f"SELECT reply_time > '{since}'::timestamptz + interval '1 s' FROM pg_stat_replication") != "t":
            harness.next(100)
        assert server.sql("SELECT confirmed_flush_lsn FROM pg_replication_slots") == start
        harness.order("stored")
        server.until(f"(SELECT confirmed_flush_lsn = '{harness.position['lsn']}' FROM pg_replication_slots)", "it moved")
    server.sql("ALTER ROLE replicator RESET wal_sender_timeout")


def test_an_idle_table_lets_the_slot_advance(server, table):
    """Others write much; the source has nothing to read, and must not make the server keep it all."""
    make(server, table, "id int PRIMARY KEY")
    server.sql("CREATE TABLE IF NOT EXISTS busy (v text)")
    with reader(server, table) as harness:
        harness.open()
        load(harness)
        server.sql("INSERT INTO busy SELECT repeat(md5(i::text), 20) FROM generate_series(1, 8000) i")
        target = server.sql("SELECT pg_current_wal_lsn()")
        deadline = time.monotonic() + 40
        while True:
            batch = harness.next(1000)
            assert batch["records"] == []
            if "position" in batch:
                harness.order("stored")
            if server.sql(f"SELECT confirmed_flush_lsn >= '{target}' FROM pg_replication_slots") == "t":
                break
            assert time.monotonic() < deadline, harness.position
    server.sql("DROP TABLE busy")


# When it can't go on


def test_a_dropped_slot(server, table):
    make(server, table, "id int PRIMARY KEY")
    with reader(server, table) as harness:
        harness.open()
        load(harness)
        assert harness.ask("still_has")["has"] is True
        harness.order("close")
        server.until("NOT EXISTS (SELECT FROM pg_replication_slots WHERE active)", "the slot is released")
        server.sql(f"SELECT pg_drop_replication_slot('lockset_{table}')")
        answer = harness.ask("still_has")
        assert answer["has"] is False and "was dropped" in answer["why"]
        with pytest.raises(SourceError, match=r"CORRUPT.*was dropped"):
            harness.open()


def test_a_slot_made_anew_under_the_same_name(server, table):
    make(server, table, "id int PRIMARY KEY")
    with reader(server, table) as harness:
        harness.open()
        load(harness)
        harness.order("close")
        server.until("NOT EXISTS (SELECT FROM pg_replication_slots WHERE active)", "the slot is released")
        server.sql(f"SELECT pg_drop_replication_slot('lockset_{table}'); INSERT INTO {table} VALUES (1)")
        server.sql(f"SELECT pg_create_logical_replication_slot('lockset_{table}', 'pgoutput')")
        assert "moved on by someone else" in harness.ask("still_has")["why"]
        with pytest.raises(SourceError, match="CORRUPT"):
            harness.open()


def test_a_slot_invalidated_by_max_slot_wal_keep_size():
    with Postgres({"max_slot_wal_keep_size": "1MB", "min_wal_size": "32MB", "max_wal_size": "32MB"}) as server:
        make(server, "t", "id int PRIMARY KEY, v text")
        with reader(server, "t") as harness, reader(server, "t", source_id="running") as running:
            running.open()
            load(running)
            harness.open()
            load(harness)
            harness.order("close")
            for _ in range(6):
                server.sql("INSERT INTO t SELECT coalesce(max(id), 0) + 1, 'x' FROM t; SELECT pg_switch_wal(); CHECKPOINT")
            server.until("(SELECT wal_status = 'lost' FROM pg_replication_slots WHERE slot_name = 'lockset_t')", "it is lost")
            answer = harness.ask("still_has")
            assert answer["has"] is False and "max_slot_wal_keep_size" in answer["why"]
            with pytest.raises(SourceError, match=r"CORRUPT.*invalidated"):
                harness.open()
            # The other's connection was ended by the server; reading on tells why.
            with pytest.raises(SourceError, match=r"CORRUPT.*invalidated"):
                for _ in range(20):
                    try:
                        running.next(200)
                    except SourceError as error:
                        if error.code != "UNREACHABLE":
                            raise


def test_truncate_ends_it_after_what_came_before(server, table):
    make(server, table, "id int PRIMARY KEY")
    with reader(server, table) as harness:
        harness.open()
        image = load(harness)
        server.sql(f"INSERT INTO {table} VALUES (1); TRUNCATE {table}; INSERT INTO {table} VALUES (2)")
        with pytest.raises(SourceError, match=r"CORRUPT.*was truncated"):
            for _ in range(10):
                apply(image, harness.next(500))
        assert image == {"1": {"id": 1}}
        with pytest.raises(SourceError, match=r"CORRUPT.*was truncated"):
            for _ in range(10):
                harness.next(500)


@pytest.mark.parametrize("how, why", [
    ("DROP TABLE {t}; CREATE TABLE {t} (id int PRIMARY KEY); ALTER TABLE {t} OWNER TO replicator", "dropped and made anew"),
    ("ALTER TABLE {t} DROP CONSTRAINT {t}_pkey, ADD PRIMARY KEY (other)", "key of .* changed"),
    ("DROP PUBLICATION lockset_{t}", "publication"),
    ("ALTER PUBLICATION lockset_{t} DROP TABLE {t}; ALTER PUBLICATION lockset_{t} ADD TABLE {t}", "publication"),
])
def test_what_changed_behind_the_position_is_found_at_the_next_start(server, table, how, why):
    make(server, table, "id int PRIMARY KEY, other int NOT NULL DEFAULT 0")
    with reader(server, table) as harness:
        harness.open()
        load(harness)
        harness.order("close")
        server.sql(how.format(t=table))
        answer = harness.ask("still_has")
        assert answer["has"] is False
        with pytest.raises(SourceError, match=f"CORRUPT.*{why}"):
            harness.open()


def test_a_table_taken_out_of_the_publication_is_found_while_reading(server, table):
    make(server, table, "id int PRIMARY KEY")
    with reader(server, table) as harness:
        harness.open()
        load(harness)
        server.sql(f"ALTER PUBLICATION lockset_{table} DROP TABLE {table}; INSERT INTO {table} VALUES (1)")
        with pytest.raises(SourceError, match="CORRUPT.*publication"):
            deadline = time.monotonic() + 30
            while time.monotonic() < deadline:
                harness.next(1000)


def test_another_server_in_its_place(server, table):
    make(server, table, "id int PRIMARY KEY")
    with reader(server, table) as harness, Postgres() as other:
        harness.open()
        load(harness)
        make(other, table, "id int PRIMARY KEY")
        with reader(other, table, harness.position, table) as second:
            answer = second.ask("still_has")
            assert answer["has"] is False
            with pytest.raises(SourceError, match="CORRUPT"):
                second.open()


def test_a_server_that_was_set_back(table):
    """Its files are those of yesterday, slot and all: what it will do now is not what was read."""
    with Postgres() as server:
        make(server, table, "id int PRIMARY KEY, v text")
        with reader(server, table) as harness:
            harness.open()
            image = load(harness)
            harness.order("close")
            server.halt()
            subprocess.run(["cp", "-a", server.folder / "data", server.folder / "yesterday"], check=True)
            server.boot()
            server.sql(f"INSERT INTO {table} SELECT i, repeat('x', 100) FROM generate_series(1, 100) i")
            harness.open()
            catch_up(server, harness, image)
            harness.order("close")
            assert len(image) == 100
            server.halt()
            subprocess.run(["rm", "-r", server.folder / "data"], check=True)
            (server.folder / "yesterday").rename(server.folder / "data")
            server.boot()
            answer = harness.ask("still_has")
            assert answer["has"] is False and "set back" in answer["why"]
            with pytest.raises(SourceError, match="CORRUPT.*set back"):
                harness.open()


# Changes of the table's shape


def test_columns_come_and_go_while_reading(server, table):
    make(server, table, "id int PRIMARY KEY, a int, b text")
    server.sql(f"INSERT INTO {table} SELECT i, i, 'b' FROM generate_series(1, 12000) i")
    with reader(server, table) as harness:
        harness.open()
        image = {}
        while len(image) < 10000:
            apply(image, harness.next(500))
        server.sql(f"CREATE TYPE {table}_e AS ENUM ('x'); ALTER TABLE {table} DROP COLUMN b, ADD COLUMN c {table}_e[];"
                   f"UPDATE {table} SET c = '{{x}}'")
        for _ in range(30):
            try:
                batch = harness.next(500)
            except SourceError as error:
                assert error.code == "UNREACHABLE" and "columns" in error.detail
                continue
            apply(image, batch)
            if batch["is_snapshot_end"]:
                break
        server.sql(f"ALTER TABLE {table} RENAME a TO z; UPDATE {table} SET z = 0 WHERE id < 5")
        catch_up(server, harness, image)
    assert image["6"] == {"id": 6, "a": 6, "c": ["x"]} and image["11000"] == {"id": 11000, "a": 11000, "c": ["x"]}
    assert image["2"] == {"id": 2, "z": 0, "c": ["x"]}
    server.sql(f"DROP TABLE {table}; DROP TYPE {table}_e")


# Connections


def halt_while_reading(server, harness, image):
    """A server that shuts down waits until readers have confirmed all that they were sent."""
    halting = threading.Thread(target=server.halt)
    started = time.monotonic()
    halting.start()
    while halting.is_alive():
        try:
            apply(image, harness.next(200))
            harness.order("stored")
        except SourceError as error:
            assert error.code == "UNREACHABLE", error
            halting.join(0.1)
        assert time.monotonic() - started < 15, "the shutdown is held up"


def test_a_server_shuts_down_in_time_and_is_read_on_afterwards(table):
    with Postgres() as server:
        make(server, table, "id int PRIMARY KEY, n int")
        server.sql(f"INSERT INTO {table} SELECT i, 0 FROM generate_series(1, 15000) i")
        with reader(server, table) as harness:
            harness.open()
            image = {}
            while not image:
                apply(image, harness.next(500))
            server.restart()  # in the middle of the load
            retried(harness, image, lambda: "until" not in harness.position and harness.position["phase"] == "changes")
            server.sql(f"UPDATE {table} SET n = 1 WHERE id < 100")
            halt_while_reading(server, harness, image)
            server.boot()
            server.sql(f"UPDATE {table} SET n = 2 WHERE id < 50")
            retried(harness, image, lambda: image["1"]["n"] == 2)
            server.halt("QUIT")  # as in a crash
            server.boot()
            server.sql(f"UPDATE {table} SET n = 3 WHERE id < 20")
            retried(harness, image, lambda: image["1"]["n"] == 3)
            catch_up(server, harness, image)
        assert image == server.rows(table)


def retried(harness, image, done):
    deadline = time.monotonic() + 60
    while not done():
        try:
            apply(image, harness.next(500))
        except SourceError as error:
            assert error.code == "UNREACHABLE", error
            time.sleep(0.1)
        assert time.monotonic() < deadline


def test_a_transaction_that_stays_open_keeps_the_slot_waiting_and_nothing_else(server, table):
    """next() returns in time all the while, a cancel ends it at once, and nothing of it stays in the server."""
    make(server, table, "id int PRIMARY KEY")
    with reader(server, table) as harness, server.session() as open_one:
        open_one.run(f"BEGIN; INSERT INTO {table} VALUES (1)")
        harness.open()
        for _ in range(3):
            batch = harness.next(300)
            assert batch["ms"] < 1300 and batch["records"] == [] and "position" not in batch
        harness.order("cancel 100")
        with pytest.raises(SourceError, match="CANCELLED"):
            harness.next(30000)
        harness.order("uncancel")
        open_one.run("COMMIT")
        image = {}
        deadline = time.monotonic() + 30
        while not image:
            try:
                apply(image, harness.next(500))
            except SourceError as error:  # the slot of the start that was cancelled is still being given up
                assert error.code == "UNREACHABLE"
            assert time.monotonic() < deadline
        assert load(harness, image) == {"1": {"id": 1}}


@pytest.mark.parametrize("when", ["open", "watching", "load"])
def test_a_cancel_ends_every_wait_within_a_second(server, table, when):
    make(server, table, "id int PRIMARY KEY")
    silent = socket.create_server(("127.0.0.1", 0))  # takes connections, and says nothing
    port = silent.getsockname()[1] if when == "open" else server.port
    with reader(server, table, integration=server.integration(port=port)) as harness, server.session() as locking, silent:
        if when != "open":
            harness.open()
            harness.next(5000)
        if when == "watching":
            load(harness)
        if when == "load":
            locking.run(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        harness.order("cancel 300")
        started = time.monotonic()
        with pytest.raises(SourceError) as failure:
            harness.open() if when == "open" else harness.next(30000)
        took = time.monotonic() - started
        assert failure.value.code == "CANCELLED" and took < 1.3


def test_a_slot_in_use_is_waited_for(server, table):
    make(server, table, "id int PRIMARY KEY")
    with reader(server, table) as first:
        first.open()
        load(first)
        with reader(server, table, first.position, table) as second:
            second.open()
            with pytest.raises(SourceError, match="UNREACHABLE.*active"):
                second.next(100)
            first.order("close")
            server.sql(f"INSERT INTO {table} VALUES (1)")
            image = {}
            while not image:
                apply(image, second.next(1000))


# What the customer has to mend


@pytest.mark.parametrize("config, integration, why", [
    ({}, {}, "table"),
    ({"table": "orders"}, {}, "schema and table"),
    ({"table": "a.b.c"}, {}, "double quotes"),
    ({"table": '"a.b'}, {}, "quote"),
    ({"table": "public."}, {}, "schema and table"),
    ({"table": "a." + "x" * 64}, {}, "63 bytes"),
    ({"tables": ["a.b"]}, {}, "one table"),
    ({"table": "a.b", "colour": "red"}, {}, "colour"),
    ({"table": "a.b", "publication": ""}, {}, "publication"),
    ({"table": "a.b"}, {"host": "a,b"}, "host"),
    ({"table": "a.b"}, {"host": "/var/run"}, "host"),
    ({"table": "a.b"}, {"port": 0}, "port"),
    ({"table": "a.b"}, {"port": "5432"}, "port"),
    ({"table": "a.b"}, {"password": ""}, "password"),
    ({"table": "a.b"}, {"sslmode": "prefer"}, "sslmode"),
    ({"table": "a.b"}, {"sslrootcert": "/etc/passwd"}, "PEM"),
    ({"table": "a.b"}, {"options": "-c x=y"}, "options"),
])
def test_shapes_are_checked_without_a_connection(config, integration, why):
    whole = {"host": "db.example.com", "port": 5432, "dbname": "d", "user": "u", "password": "p", **integration}
    with Harness("postgres", config, whole) as harness:
        with pytest.raises(SourceError, match=f"INVALID.*{why}"):
            harness.order("check")
        if integration:
            with pytest.raises(SourceError, match=f"INVALID.*{why}"):
                harness.order("check_integration")
        else:
            harness.order("check_integration")


def test_good_shapes_pass(server):
    whole = {"host": "db.example.com", "dbname": "d", "user": "u", "password": "p"}
    for config in ({"table": "public.orders"}, {"table": '"my.schema"."a""b"', "publication": "p"}):
        with Harness("postgres", config, whole) as harness:
            harness.order("check")
    with Harness("postgres", {"table": "a.b"}, whole, format={"csv": {}}) as harness:
        with pytest.raises(SourceError, match="INVALID.*format_params"):
            harness.order("check")
    with Harness("postgres", {"table": "a.b"}, None) as harness:
        with pytest.raises(SourceError, match="INVALID.*integration"):
            harness.order("check")


@pytest.mark.parametrize("changes, code, why", [
    ({"password": "not-it"}, "FORBIDDEN", "password authentication failed"),
    ({"user": "nobody-there"}, "FORBIDDEN", "password authentication failed"),
    ({"dbname": "nowhere"}, "NOT_FOUND", "does not exist"),
    ({"port": 1}, "UNREACHABLE", "refused"),
    ({"host": "no-such-host.invalid"}, "UNREACHABLE", "no-such-host.invalid"),
    ({"sslmode": "require"}, "UNREACHABLE", "SSL"),
])
def test_a_server_that_refuses(server, table, changes, code, why):
    make(server, table, "id int PRIMARY KEY")
    with reader(server, table, integration=server.integration(**changes)) as harness:
        with pytest.raises(SourceError) as failure:
            harness.open()
    assert failure.value.code == code and why in failure.value.detail
    assert PASSWORD not in failure.value.detail and "not-it" not in failure.value.detail


@pytest.mark.parametrize("setup, code, why", [
    ("", "NOT_FOUND", "no table"),
    ("CREATE TABLE {t} (a int); ALTER TABLE {t} OWNER TO replicator", "INVALID", "no primary key"),
    ("CREATE TABLE {t} (a int PRIMARY KEY); ALTER TABLE {t} REPLICA IDENTITY NOTHING; ALTER TABLE {t} OWNER TO replicator",
     "INVALID", "REPLICA IDENTITY"),
    ("CREATE UNLOGGED TABLE {t} (a int PRIMARY KEY); ALTER TABLE {t} OWNER TO replicator", "INVALID", "SET LOGGED"),
    ("CREATE TABLE {t} (a int PRIMARY KEY) PARTITION BY RANGE (a); ALTER TABLE {t} OWNER TO replicator", "INVALID", "partition"),
    ("CREATE VIEW {t} AS SELECT 1 AS a; ALTER VIEW {t} OWNER TO replicator", "INVALID", "not a table"),
    ("CREATE TABLE {t} (a int PRIMARY KEY)", "FORBIDDEN", "GRANT SELECT"),
])
def test_a_table_that_can_not_be_followed(server, table, setup, code, why):
    if setup:
        server.sql(setup.format(t=table))
    with reader(server, table) as harness:
        with pytest.raises(SourceError) as failure:
            harness.open()
    assert failure.value.code == code and why in failure.value.detail
    if "VIEW" in setup:
        server.sql(f"DROP VIEW {table}")


@pytest.mark.parametrize("publication, code, why", [
    (None, "FORBIDDEN", "CREATE PUBLICATION"),
    ("", "NOT_FOUND", "CREATE PUBLICATION"),
    ("FOR TABLE {t}", None, None),
    ("FOR ALL TABLES", None, None),
    ("FOR TABLE {t} WITH (publish = 'insert')", "INVALID", "kinds of changes"),
    ("FOR TABLE {t} WHERE (id > 5)", "INVALID", "rows or columns"),
    ("FOR TABLE {t} (id)", "INVALID", "rows or columns"),
])
def test_publications_of_the_customer(server, table, publication, code, why):
    server.sql(f"CREATE TABLE {table} (id int PRIMARY KEY, v int); GRANT SELECT ON {table} TO replicator")
    config = {} if publication is None else {"publication": "Of the customer"}
    if publication:
        server.sql(f'CREATE PUBLICATION "Of the customer" {publication.format(t=table)}')
    with reader(server, table, **config) as harness:
        harness.open()
        if code:
            with pytest.raises(SourceError) as failure:
                harness.next(5000)
            assert failure.value.code == code and why in failure.value.detail
            assert server.sql("SELECT count(*) FROM pg_replication_slots") == "0"
            return
        image = load(harness)
        server.sql(f"INSERT INTO {table} VALUES (1, 2)")
        catch_up(server, harness, image)
        assert image == {"1": {"id": 1, "v": 2}}
        harness.order("close")
        harness.ask("forget")
    assert server.sql("SELECT count(*) FROM pg_replication_slots") == "0"
    assert server.sql("SELECT count(*) FROM pg_publication") == "1"  # not ours, so it stays


def test_servers_that_are_not_set_up(table):
    with Postgres({"wal_level": "replica", "max_replication_slots": "1"}) as server:
        make(server, table, "id int PRIMARY KEY")
        with reader(server, table) as harness:
            with pytest.raises(SourceError, match="INVALID.*wal_level is replica: set wal_level = logical"):
                harness.open()
        server.restart({"wal_level": "logical"})
        server.sql("ALTER ROLE replicator NOREPLICATION")
        with reader(server, table) as harness:
            with pytest.raises(SourceError, match="FORBIDDEN.*ALTER ROLE .*replicator.* REPLICATION"):
                harness.open()
        server.sql("ALTER ROLE replicator REPLICATION")
        with reader(server, table) as first, reader(server, table, source_id="second") as second:
            first.open()
            load(first)
            second.open()
            with pytest.raises(SourceError, match="UNREACHABLE.*max_replication_slots"):
                second.next(5000)


def test_forget_gives_everything_back_and_may_be_repeated(server, table):
    make(server, table, "id int PRIMARY KEY")
    with reader(server, table, source_id="7C8E0A3B-1111-4222-8333-444455556666") as harness:
        harness.open()
        load(harness)
        assert server.sql("SELECT slot_name FROM pg_replication_slots") == "lockset_7c8e0a3b_1111_4222_8333_444455556666"
        harness.order("close")
        for _ in range(2):
            harness.ask("forget")
            assert server.sql("SELECT count(*) FROM pg_replication_slots") == "0"
            assert server.sql("SELECT count(*) FROM pg_publication") == "0"


def test_a_start_that_never_came_to_a_position_is_begun_anew(server, table):
    make(server, table, "id int PRIMARY KEY")
    server.sql(f"INSERT INTO {table} VALUES (1)")
    harness = reader(server, table).start()
    harness.open()
    harness.next(5000)
    harness.kill()
    old = server.sql("SELECT confirmed_flush_lsn FROM pg_replication_slots")
    with reader(server, table) as again:
        again.open()
        assert load(again) == {"1": {"id": 1}}
    assert server.sql("SELECT confirmed_flush_lsn FROM pg_replication_slots") > old
    harness.folder.cleanup()


def test_tls_is_verified_against_the_certificates_given(table):
    with Postgres() as server:
        data = server.folder / "data"
        authority = make_certificates(data, server.user)
        server.restart({"ssl": "on"})
        make(server, table, "id int PRIMARY KEY, v text")
        (data / "pg_hba.conf").write_text("host all admin 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n")
        server.sql("SELECT pg_reload_conf()")
        good = {"host": "localhost", "sslmode": "verify-full", "sslrootcert": authority}
        with reader(server, table, integration=server.integration(**good)) as harness:
            harness.open()
            image = load(harness)
            server.sql(f"INSERT INTO {table} SELECT i, repeat('x', 1 + i % 3000) FROM generate_series(1, 9000) i")
            assert catch_up(server, harness, image) == server.rows(table)
            assert server.sql("SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'replicator'") == "t"
        with reader(server, table, integration=server.integration(sslmode="require"), source_id="unverified") as harness:
            harness.open()
            assert load(harness) == server.rows(table)
        for changes, why in [({"host": "127.0.0.1"}, "does not match host name"), ({"sslrootcert": None}, "certificate verify failed"),
                             ({"sslmode": "disable"}, "no encryption")]:
            integration = {k: v for k, v in server.integration(**{**good, **changes}).items() if v is not None}
            with reader(server, table, integration=integration, source_id="other") as harness:
                with pytest.raises(SourceError) as failure:
                    harness.open()
                assert why in failure.value.detail, failure.value.detail


def make_certificates(folder, user):
    run = lambda *arguments: subprocess.run(["openssl", *arguments], check=True, capture_output=True, cwd=folder)  # noqa: E731
    run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=test authority", "-days", "2")
    run("req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost")
    (folder / "san").write_text("subjectAltName=DNS:localhost")
    run("x509", "-req", "-in", "server.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out", "server.crt", "-days", "2",
        "-extfile", "san")
    for name in ("server.key", "server.crt"):
        os.chmod(folder / name, 0o600)
        if user:
            os.chown(folder / name, user["user"], user["group"])
    return (folder / "ca.crt").read_text()
