"""field_mapping_query: a SELECT over _input between documents and collection, for the Write API and for sources."""
import json

import pytest

from api_rig import Rig, wait_for
from sources_rig import Bucket, errors_of, integrate, leave, source, sources_of, wait_watching


@pytest.fixture(scope="module")
def rig():
    with Rig() as started:
        yield started


@pytest.fixture(scope="module")
def org(rig):
    org = rig.org()
    yield org
    leave(org)


numbers = iter(range(1000))


@pytest.fixture
def mapped(org):
    """A collection with this mapping; gives its name."""

    def make(sql, **more):
        name = f"m{next(numbers)}"
        org.collection(name, field_mapping_query={"sql": sql}, **more)
        return name

    return make


def rows(org, name, order="_id"):
    return org.rows(f"SELECT * FROM {name} ORDER BY {order}")


def statuses(answer):
    assert answer.status == 200, answer
    return [d["status"] for d in answer.data]


def test_columns_are_computed_and_renamed(org, mapped):
    c = mapped("SELECT upper(name) AS name, price * 2 AS twice, address.city AS city, absent AS nothing FROM _input")
    answer = org.add([{"_id": "a", "name": "x", "price": 2, "address": {"city": "Ulm"}, "extra": 1},
                      {"_id": "b", "name": "y", "price": 3}], name=c)
    assert statuses(answer) == ["ADDED", "ADDED"] and [d["_id"] for d in answer.data] == ["a", "b"]
    assert [{k: v for k, v in r.items() if k != "_event_time"} for r in rows(org, c)] == [
        {"_id": "a", "name": "X", "twice": 4, "city": "Ulm"}, {"_id": "b", "name": "Y", "twice": 6}]


def test_star_keeps_everything(org, mapped):
    c = mapped("SELECT *, n + 1 AS next, lower(s) AS s FROM _input")
    document = {"_id": "a", "n": 1, "s": "X", "o": {"deep": [1, {"x": None}]}, "list": [], "t": True, "f": 0.5}
    org.add([document, {"_id": "b"}], name=c)
    a, b = rows(org, c)
    b.pop("list")  # of a view's own making: it knows empty arrays by their fields' names
    assert a.pop("_event_time") and a == {**document, "s": "x", "next": 2, "o": a["o"]} and a["o"]["deep"][0] == 1
    assert b.pop("_event_time") and b == {"_id": "b"}


def test_except_and_aliases_of_input(org, mapped):
    c = mapped("SELECT i.* EXCEPT (secret) FROM _input AS i WHERE i.keep = 'yes'")
    answer = org.add([{"_id": "a", "keep": "yes", "secret": 1}, {"_id": "b", "keep": "no", "secret": 2}], name=c)
    assert statuses(answer) == ["ADDED", "ADDED"]
    assert [r["_id"] for r in rows(org, c)] == ["a"] and "secret" not in rows(org, c)[0]


def test_ids_event_times_and_operations(org, mapped):
    c = mapped("SELECT key AS _id, parseDateTime64BestEffort(at, 6, 'UTC') AS _event_time, if(gone, 'DELETE', 'UPSERT') AS _op, "
               "v FROM _input")
    org.add([{"key": 7, "at": "2026-01-02T03:04:05Z", "v": 1, "gone": False},
             {"key": 8, "at": "2026-01-02T03:04:05Z", "v": 2, "gone": False}], name=c)
    assert rows(org, c) == [{"_id": "7", "_event_time": "2026-01-02T03:04:05.000000Z", "v": 1},
                            {"_id": "8", "_event_time": "2026-01-02T03:04:05.000000Z", "v": 2}]
    answer = org.add([{"key": 7, "at": "2026-01-02T03:04:05Z", "gone": True},
                      {"key": 8, "at": "2026-01-03T03:04:05Z", "v": 3, "gone": False}], name=c)
    assert statuses(answer) == ["DELETED", "REPLACED"] and [d["_id"] for d in answer.data] == ["7", "8"]
    assert rows(org, c) == [{"_id": "8", "_event_time": "2026-01-03T03:04:05.000000Z", "v": 3}]


def test_one_document_becomes_several(org, mapped):
    c = mapped("SELECT tag, n FROM _input ARRAY JOIN tags AS tag")
    org.add([{"_id": "a", "n": 1, "tags": ["x", "y", "z"]}, {"_id": "b", "n": 2, "tags": ["w"]}], name=c)
    assert [(r["_id"], r["tag"], r["n"]) for r in rows(org, c)] == [("a", "x", 1), ("a#2", "y", 1), ("a#3", "z", 1), ("b", "w", 2)]


def test_what_the_sql_fails_on_stops_no_other(org, mapped):
    c = mapped("SELECT *, toInt64(assumeNotNull(s)) AS number FROM _input")
    documents = [{"_id": str(i), "s": str(i)} for i in range(50)]
    documents[13]["s"] = "thirteen"
    documents[31] = {"_id": "31", "s": ""}
    answer = org.add(documents, name=c)
    assert [d["_id"] for d in answer.data if d["status"] == "ERROR"] == ["13", "31"]
    assert "thirteen" in answer.data[13]["error"]["message"]
    assert org.rows(f"SELECT count(*) AS n, sum(number) AS total FROM {c}") == [{"n": 48, "total": 1225 - 13 - 31}]


def test_fields_of_another_type_in_one_document(org, mapped):
    c = mapped("SELECT a + 1 AS a FROM _input")
    answer = org.add([{"_id": "1", "a": 1}, {"_id": "2", "a": "text"}, {"_id": "3", "a": 3}, {"_id": "4"}], name=c)
    assert statuses(answer) == ["ADDED", "ERROR", "ADDED", "ADDED"]
    assert [(r["_id"], r.get("a")) for r in rows(org, c)] == [("1", 2), ("3", 4), ("4", None)]


@pytest.mark.parametrize("sql,words", [
    ("SELECT", "FROM"), ("SELECT nosuchfunction(a) FROM _input", "nosuchfunction"), ("SELECT a FROM", "_input"),
    ("SELECT a FROM commons.other", "_input"), ("SELECT a, count(*) FROM _input GROUP BY a", "GROUP BY"),
    ("SELECT count(*) FROM _input", "aggregate"), ("SELECT DISTINCT a FROM _input", "DISTINCT"),
    ("SELECT a FROM _input LIMIT 5", "LIMIT"), ("SELECT a FROM _input UNION ALL SELECT b FROM _input", "UNION"),
    ("DROP TABLE x", "SELECT"), ("SELECT file('/etc/passwd') FROM _input", "file"),
    ("SELECT a FROM _input; SELECT b FROM _input", "one statement"), ("SELECT a FROM _input WHERE x = :x", "x"),
    ("SELECT * FROM _input WHERE a IN lockset_data.x", "lockset_data"), ("SELECT a FROM _input INTO OUTFILE 'x'", "OUTFILE"),
    ("SELECT sleepEachRow(3) FROM _input", "sleepEachRow"), ("(SELECT a FROM _input)", "SELECT"),
])
def test_what_is_no_mapping_is_refused_at_creation(org, sql, words):
    answer = org.call("POST", "/ws/commons/collections", {"name": "never", "field_mapping_query": {"sql": sql}})
    assert answer.status == 400 and words.lower() in answer.message.lower(), answer
    assert "lockset_input" not in answer.message and "__lockset" not in answer.message
    assert org.call("GET", "/ws/commons/collections/never").status == 404


def test_it_is_shown_changed_and_taken_away(rig, org):
    org.collection("changing")
    assert "field_mapping_query" not in org.call("GET", "/ws/commons/collections/changing").data
    org.add([{"_id": "1", "a": 1}], name="changing")
    changed = org.call("PUT", "/ws/commons/collections/changing",
                       {"description": "new words", "field_mapping_query": {"sql": "SELECT a * 10 AS a FROM _input CLUSTER BY a"}})
    assert changed.status == 200 and changed.data["description"] == "new words", changed
    org.add([{"_id": "2", "a": 2}], name="changing")
    rig.process.kill()
    rig.process.wait()
    rig.start_api()
    shown = org.call("GET", "/ws/commons/collections/changing").data
    assert shown["field_mapping_query"] == {"sql": "SELECT a * 10 AS a FROM _input CLUSTER BY a"}
    org.add([{"_id": "3", "a": 3}], name="changing")
    refused = org.call("PUT", "/ws/commons/collections/changing", {"field_mapping_query": {"sql": "SELECT nope("}})
    assert refused.status == 400
    assert org.call("PUT", "/ws/commons/collections/changing", {"retention_secs": 5}).status == 400
    org.add([{"_id": "4", "a": 4}], name="changing")
    assert org.call("PUT", "/ws/commons/collections/changing", {"field_mapping_query": None}).status == 200
    org.add([{"_id": "5", "a": 5}], name="changing")
    assert [r["a"] for r in rows(org, "changing")] == [1, 20, 30, 40, 5]
    assert org.call("PUT", "/ws/commons/collections/nobody", {"description": ""}).status == 404


def test_nothing_stays_behind_in_the_engine(rig, org, mapped):
    c = mapped("SELECT a FROM _input")
    org.add([{"a": 1}], name=c)
    engine = rig.engine_of(org.id)
    left = "SELECT count() FROM system.databases WHERE name LIKE 'lockset_input%'"
    assert engine.call(left).text == "0\n"
    # An api that was killed in the middle of it leaves something, and the next one clears it away.
    assert engine.call("CREATE DATABASE `lockset_input.left` ENGINE=Memory").code == 0
    rig.process.kill()
    rig.process.wait()
    rig.start_api()
    org.rows(f"SELECT a FROM {c}")
    assert engine.call(left).text == "0\n"


def test_sources_are_mapped_too(org, mapped):
    with Bucket() as bucket:
        integrate(org, bucket)
        lines = [json.dumps({"key": i, "v": str(i)}) for i in range(3000)]
        lines[77] = json.dumps({"key": 77, "v": "seventy-seven"})
        bucket.put("in/a.json", "\n".join(lines))
        c = mapped("SELECT toString(key) AS _id, toInt64(assumeNotNull(v)) AS v FROM _input WHERE key % 2 = 1",
                   sources=[source("in/")])
        wait_watching(org, c)
        assert org.rows(f"SELECT count(*) AS n, sum(v) AS total FROM {c}") == [{"n": 1499, "total": 1500 * 1500 - 77}]
        error, = errors_of(org, sources_of(org, c)[0]["id"], c)
        assert error["origin"].endswith("a.json#78") and "seventy-seven" in error["reason"]
        assert org.call("DELETE", f"/ws/commons/collections/{c}").status == 200
