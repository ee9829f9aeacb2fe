"""ClickHouse's HTTP protocol as the engine speaks it."""
import json

import pytest

from engine_launcher import Engine
from lockset_dev import wait_for


@pytest.fixture(scope="module")
def engine():
    with Engine(epoch=7) as e:
        yield e


def test_ping_and_what_is_not_there(engine):
    assert (engine.request("GET", "/ping").text, engine.request("GET", "/ping").headers["x-lockset-epoch"]) == ("Ok.\n", "7")
    assert engine.request("GET", "/other").status == 404
    assert engine.request("PUT", "/", b"SELECT 1").status == 405


def test_the_statement_may_stand_in_the_url_the_body_or_both(engine):
    assert engine.request("GET", "/?query=SELECT+1").text == "1\n"
    assert engine.request("POST", "/", b"SELECT 2").text == "2\n"
    assert engine.request("POST", "/?query=SELECT", b"3").text == "3\n"


def test_headers_of_an_answer(engine):
    reply = engine.read("SELECT number FROM numbers(5)", default_format="JSONEachRow", query_id="q-1")
    assert reply.headers["x-clickhouse-format"] == "JSONEachRow" and reply.headers["x-clickhouse-query-id"] == "q-1"
    assert reply.headers["x-lockset-epoch"] == "7" and reply.summary["read_rows"] == "5"
    assert [json.loads(line)["number"] for line in reply.text.split()] == ["0", "1", "2", "3", "4"] or "0" in reply.text


@pytest.mark.parametrize("sql, status, code", [
    ("SELECT * FROM nowhere.t", 404, 81), ("SELECT * FROM nothing", 404, 60), ("SELECT nothing", 404, 47),
    ("SELECT 1 +", 400, 62), ("SELECT nofunction(1)", 404, 46), ("SELECT throwIf(1)", 500, 395),
    ("SELECT {x:UInt8}", 400, 456), ("SELECT toUInt8('x')", 400, 6), ("DROP DATABASE w", 403, 497),
])
def test_errors_have_code_text_and_status(engine, sql, status, code):
    reply = engine.read(sql)
    assert (reply.status, reply.code) == (status, code), reply.text
    assert reply.text.startswith(f"Code: {code}. ")


@pytest.mark.parametrize("kind, value, answer", [
    ("String", "a\\tb\\nc\\\\d'e", "a\\tb\\nc\\\\d\\'e\n"), ("UInt64", "18446744073709551615", "18446744073709551615\n"),
    ("Nullable(Int8)", "\\N", "\\N\n"), ("Array(String)", "['a','b']", "['a','b']\n"), ("String", "", "\n"),
    ("String", "' OR 1 = 1 --", "\\' OR 1 = 1 --\n"),
])
def test_parameters_are_typed_and_inject_nothing(engine, kind, value, answer):
    assert engine.read("SELECT {x:%s}" % kind, param_x=value).text == answer


def test_a_parameter_of_the_wrong_type_is_an_error(engine):
    assert engine.read("SELECT {x:UInt8}", param_x="many").code == 457


def test_a_large_answer_streams_whole_and_with_one_header(engine):
    reply = engine.read("SELECT number, toString(number) FROM numbers(2000000)",
                        default_format="JSONCompactEachRowWithNamesAndTypes")
    lines = reply.text.split("\n")
    assert reply.headers["transfer-encoding"] == "chunked" and len(lines) == 2000003
    assert lines[1] == '["UInt64", "String"]' and lines[-2].startswith("[1999999") and lines[2].startswith("[0")


@pytest.mark.parametrize("form", ["JSON", "CSVWithNames", "Parquet", "Pretty"])
def test_formats_that_cannot_be_cut_come_whole_or_not_at_all(engine, form):
    small = engine.read("SELECT number FROM numbers(300000)", default_format=form)
    assert small.status == 200 and "transfer-encoding" not in small.headers
    if form == "JSON":
        assert json.loads(small.text)["rows"] == 300000
    if form == "CSVWithNames":
        assert small.text.count('"number"') == 1


def test_a_whole_answer_over_its_bound_is_an_error(engine):
    def ask(**more):
        reply = engine.read("SELECT repeat('x', 1000) FROM numbers(200000)", **more)
        # For a moment the memory of the statement before may still count.
        return None if reply.code == 241 else reply
    for more in ({"default_format": "JSON"}, {"default_format": "TSV", "wait_end_of_query": "1"}):
        reply = wait_for(lambda m=more: ask(**m), 10, 0.2, "an answer that is not about memory")
        assert reply.code == 396 and reply.status == 413


def test_an_error_behind_the_first_rows_is_marked(engine):
    reply = engine.read("SELECT throwIf(number = 2500000) FROM numbers(3000000)", default_format="TSV")
    tag = reply.headers["x-clickhouse-exception-tag"]
    assert reply.status == 200 and reply.text.endswith(f" {tag}\r\n__exception__\r\n")
    assert f"\r\n__exception__\r\n{tag}\r\nCode: 395." in reply.text


def test_the_same_error_is_plain_when_the_end_was_waited_for(engine):
    reply = engine.read("SELECT throwIf(number = 2500000) FROM numbers(3000000)", default_format="TSV",
                        wait_end_of_query="1")
    assert reply.status == 500 and reply.code == 395


def test_explain_and_describe(engine):
    assert "ReadFrom" in engine.read("EXPLAIN SELECT * FROM numbers(3)").text
    assert engine.read("DESCRIBE TABLE (SELECT 1 AS x)").text.startswith("x\tUInt8")


def test_settings_of_the_writer_hold_for_one_statement(engine):
    read = "SELECT getSetting('max_block_size')"
    assert engine.call(read, max_block_size="777").text == "777\n"
    assert engine.call(read).text != "777\n"
    assert engine.call("SELECT 1", no_such_setting="1").code != 0
    assert engine.call("SELECT 1", readonly="0").status == 403


def test_databases(engine):
    engine.call("CREATE DATABASE d1 ENGINE=Memory")
    engine.call("CREATE TABLE d1.x (a UInt8) ENGINE=Memory")
    assert engine.call("INSERT INTO d1.x FORMAT TSV", body=b"5\n").summary["written_rows"] == "1"
    assert engine.read("SELECT a FROM x", database="d1").text == "5\n"
    assert engine.read("SELECT 1", database="none").code == 81


def test_inserts_of_other_formats_and_errors_in_them(engine):
    engine.call("CREATE DATABASE d2 ENGINE=Memory")
    engine.call("CREATE TABLE d2.x (a UInt8, b String) ENGINE=Memory")
    reply = engine.call("INSERT INTO d2.x FORMAT JSONEachRow", body=b'{"a":1,"b":"x"}{"a":2,"b":"y"}')
    assert reply.summary["written_rows"] == "2"
    assert engine.call("INSERT INTO d2.x FORMAT JSONEachRow", body=b'{"a":1,"z":"x"}').code == 117
    assert engine.call("INSERT INTO d2.none FORMAT TSV", body=b"1\n").code == 60
    assert engine.read("SELECT count() FROM d2.x").text == "2\n"


def test_a_broken_request_is_refused(engine):
    assert engine.request("POST", "/?query=SELECT%201%zz").status == 400
    assert engine.request("POST", "/?param_a-b=1", b"SELECT 1").status == 400
    assert engine.request("POST", "/", b"SELECT 1", {"X-Lockset-Deadline-Ms": "soon"}).status == 400
    assert engine.request("POST", "/", b"SELECT " + b"1," * 600000 + b"1").status in (400, 413)


def test_many_readers_at_once(engine):
    import threading
    bad = []

    def run(k):
        if engine.read(f"SELECT {k} + sum(number) FROM numbers(100000)", timeout=60).text != f"{k + 4999950000}\n":
            bad.append(k)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(80)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not bad
