"""Documents in and out through the api and a real engine."""
import threading

import pytest

from api_rig import Rig


@pytest.fixture(scope="module")
def rig():
    with Rig() as started:
        yield started


@pytest.fixture(scope="module")
def org(rig):
    return rig.org()


@pytest.fixture
def fresh(org, request):
    name = "c_" + request.node.name.replace("[", "_").replace("]", "")[:80]
    org.collection(name)
    return name


def statuses(answer):
    assert answer.status == 200, answer
    return [d["status"] for d in answer.data]


def test_adds_replace_and_the_next_query_sees_them(org, fresh):
    answer = org.add([{"_id": "a", "x": 1}, {"x": 2}, {"_id": "a", "x": 3}], name=fresh)
    assert statuses(answer) == ["ADDED", "ADDED", "REPLACED"]
    assert answer.data[0]["_collection"] == f"commons.{fresh}" and answer.json["last_offset"].startswith("f1:")
    assert len(answer.data[1]["_id"]) == 32
    assert sorted(r["x"] for r in org.rows(f"SELECT x FROM {fresh}")) == [2, 3]
    assert statuses(org.add([{"_id": "a", "y": 1}], name=fresh)) == ["REPLACED"]
    assert org.rows(f"SELECT x, y FROM {fresh} WHERE _id = 'a'") == [{"x": None, "y": 1}]
    commit = org.call("POST", f"/ws/commons/collections/{fresh}/offsets/commit", {"name": [answer.json["last_offset"]]}).json
    assert commit["data"] == {"passed": True, "fence": answer.json["last_offset"]} and commit["offsets"]["commit"]
    assert org.call("POST", f"/ws/commons/collections/{fresh}/offsets/commit", {"name": ["x"]}).status == 400


def test_documents_come_back_as_they_were(org, fresh):
    document = {"_id": "1", "i": -5, "big": 2**63 - 1, "f": 1.5, "s": "täxt \"q\" \\ \n 😀", "b": False, "l": [1, 2, None], "e": [],
                "o": {"a": {"b": [1, "x"]}, "k.d": 1}, "a.b": 1, "we ird`\"'": 2, "select": 3, "😀": 4, "lo": [{"k": 1}, {"k": 2}]}
    assert statuses(org.add([document, {"_id": "2", "n": None, "only": [[1], [2.5]]}], name=fresh)) == ["ADDED", "ADDED"]
    rows = org.rows(f"SELECT * FROM {fresh} ORDER BY _id")
    assert rows[0].pop("_event_time").endswith("Z")
    assert rows[0] == document
    assert list(rows[0])[0] == "_id"
    rows[1].pop("_event_time")
    assert rows[1] == {"_id": "2", "only": [[1], [2.5]], "e": []}
    assert org.rows(f"SELECT o.a.b AS x, o.`k%2Ed` AS y, \"a.b\" AS z, `we ird\\`\"'` AS w FROM {fresh} WHERE _id = '1'") == [
        {"x": [1, "x"], "y": 1, "z": 1, "w": 2}]
    assert org.rows(f"SELECT sum(big) AS s, max(f) AS m, arrayJoin(l) AS l FROM {fresh} WHERE _id = '1' GROUP BY l ORDER BY l NULLS LAST") \
        == [{"s": 2**63 - 1, "m": 1.5, "l": v} for v in (1, 2, None)]


def test_fields_of_several_types(org, fresh):
    org.add([{"_id": "1", "m": 1, "n": 1}, {"_id": "2", "m": "x", "n": 2.5}, {"_id": "3", "m": [1, "a"], "n": 3}, {"_id": "4", "m": {"a": 1}},
             {"_id": "5", "m": True}], name=fresh)
    assert org.rows(f"SELECT m FROM {fresh} ORDER BY _id") == [{"m": v} for v in ("1", "x", '[1,"a"]', '{"a":1}', "true")]
    assert org.rows(f"SELECT _id FROM {fresh} WHERE m = 'x'") == [{"_id": "2"}]
    assert org.rows(f"SELECT sum(n) AS s FROM {fresh}") == [{"s": 6.5}]


def test_bad_documents_stop_no_other(org, fresh):
    raw = ('{"data":[{"_id":"good"},{"_id":7},{"a":1,"a":2},{"a":99999999999999999999},{"a":1e999},{"a":"\\ud800"},{"":1},'
           '{"_event_time":"soon"},{"_id":"' + "x" * 513 + '"},{"_id":"last"}]}').encode()
    answer = org.call("POST", f"/ws/commons/collections/{fresh}/docs", raw=raw)
    assert statuses(answer) == ["ADDED"] + ["ERROR"] * 8 + ["ADDED"]
    assert all(len(d["error"]["message"]) > 10 for d in answer.data[1:-1])
    assert [r["_id"] for r in org.rows(f"SELECT _id FROM {fresh} ORDER BY _id")] == ["good", "last"]


def test_event_times(org, fresh):
    org.add([{"_id": "1", "_event_time": 1700000000123456}, {"_id": "2", "_event_time": "2026-01-02T03:04:05+01:00", "_meta": {"x": 1}}], name=fresh)
    assert org.rows(f"SELECT _event_time AS t FROM {fresh} ORDER BY _id") == [{"t": "2023-11-14T22:13:20.123456Z"}, {"t": "2026-01-02T02:04:05.000000Z"}]
    org.docs("PATCH", [{"_id": "1", "patch": [{"op": "add", "path": "/a", "value": 1}]}], name=fresh)
    assert org.rows(f"SELECT _event_time AS t, a FROM {fresh} WHERE _id = '1'") == [{"t": "2023-11-14T22:13:20.123456Z", "a": 1}]
    assert org.rows(f"SELECT max(_event_time) AS t FROM {fresh} WHERE _id = 'none'") == [{"t": None}]


def test_an_idempotency_key_stores_once(org, fresh):
    for _ in range(3):
        answer = org.add([{"x": 1}, {"x": 2}], name=fresh, headers={"Idempotency-Key": "batch-7"})
        assert answer.status == 200
    assert statuses(answer) == ["REPLACED", "REPLACED"]
    assert org.rows(f"SELECT count(*) AS n FROM {fresh}") == [{"n": 2}]
    assert org.add([{}], name=fresh, headers={"Idempotency-Key": "x" * 300}).status == 400


def test_patches_are_atomic_and_lose_nothing(org, fresh):
    org.add([{"_id": "a", "n": 0, "l": []}], name=fresh)
    answer = org.docs("PATCH", [{"_id": "a", "patch": [{"op": "INCREMENT", "path": "/n", "value": 1}, {"op": "remove", "path": "/nope"}]},
                                {"_id": "none", "patch": []}, {"_id": "a", "patch": [{"op": "Replace", "path": "/n", "value": 10}]},
                                {"_id": "a", "patch": [{"op": "add", "path": "/_id", "value": "b"}]},
                                {"_id": "a", "patch": [{"op": "add", "path": "/l/-", "value": "x", "from": None}]}, {"patch": []}], name=fresh)
    assert statuses(answer) == ["ERROR", "ERROR", "PATCHED", "ERROR", "PATCHED", "ERROR"]
    assert org.rows(f"SELECT n, l FROM {fresh}") == [{"n": 10, "l": ["x"]}]

    def increment():
        for _ in range(5):
            org.docs("PATCH", [{"_id": "a", "patch": [{"op": "increment", "path": "/n", "value": 1}]}], name=fresh)

    threads = [threading.Thread(target=increment) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert org.rows(f"SELECT n FROM {fresh}") == [{"n": 30}]


def test_deletions(org, fresh):
    org.add([{"_id": str(i)} for i in range(5)], name=fresh)
    assert statuses(org.docs("DELETE", [{"_id": "1"}, {"_id": "9"}, {"_id": 5}], name=fresh)) == ["DELETED", "DELETED", "ERROR"]
    assert [r["_id"] for r in org.rows(f"SELECT _id FROM {fresh} ORDER BY _id")] == ["0", "2", "3", "4"]
    assert statuses(org.add([{"_id": "1", "again": True}], name=fresh)) == ["ADDED"]
    assert org.rows(f"SELECT again FROM {fresh} WHERE _id = '1'") == [{"again": True}]


def test_many_fields(org, fresh):
    org.add([{"_id": "1", **{f"f{i:04}": i for i in range(1200)}}], name=fresh)
    assert org.rows(f"SELECT f0001, f0999, _doc.f1150 AS x FROM {fresh}") == [{"f0001": 1, "f0999": 999, "x": 1150}]


def test_a_new_engine_knows_everything(org, fresh):
    org.add([{"_id": "a", "x": 1, "o": {"y": "z"}}], name=fresh)
    org.docs("DELETE", [{"_id": "b"}], name=fresh)
    org.kill_engine()
    assert org.rows(f"SELECT x, o.y AS y FROM {fresh}") == [{"x": 1, "y": "z"}]
    assert statuses(org.add([{"_id": "a", "x": 2, "new": 1}], name=fresh)) == ["REPLACED"]
    assert org.rows(f"SELECT x, new FROM {fresh}") == [{"x": 2, "new": 1}]


# ---- queries ----

def test_parameters(org, fresh):
    org.add([{"_id": str(i), "n": i, "s": f"it's {i}"} for i in range(10)], name=fresh)
    rows = org.rows(f"SELECT n FROM {fresh} WHERE n >= :low AND s != :\"odd one\" AND has(:list, n) ORDER BY n; -- done",
                    [{"name": "low", "type": "int", "value": "3"}, {"name": "odd one", "type": "string", "value": "it's 4"},
                     {"name": "list", "value": "[3, 4, 5]"}])
    assert rows == [{"n": 3}, {"n": 5}]
    injection = [{"name": "s", "type": "string", "value": "' OR 1=1 -- \t\\ {x:Int64}"}]
    assert org.rows(f"SELECT n FROM {fresh} WHERE s = :s", injection) == []
    assert org.rows("SELECT :s AS s", injection)[0]["s"] == injection[0]["value"]
    types = [{"name": "d", "type": "date", "value": "2026-01-02"}, {"name": "t", "type": "timestamp", "value": "2026-01-02T03:04:05.5Z"},
             {"name": "b", "type": "bool", "value": "true"}, {"name": "f", "type": "float", "value": "2.5"}, {"name": "z", "type": "null", "value": ""}]
    assert org.rows("SELECT :d AS d, :t AS t, :b AS b, :f AS f, :z AS z", types) == [
        {"d": {"__rockset_type": "DATE", "value": "2026-01-02"}, "t": "2026-01-02T03:04:05.500000Z", "b": True, "f": 2.5, "z": None}]
    answer = org.query("SELECT :missing")
    assert answer.status == 400 and ":missing" in answer.message
    assert org.query("SELECT :n", [{"name": "n", "type": "int", "value": "x"}]).status == 400


def test_errors_say_where(org, fresh):
    answer = org.query(f"SELECT :a, n\n  FROM {fresh} WHERE )", [{"name": "a", "type": "int", "value": "1"}], sql_more={"default_row_limit": 2})
    assert answer.status == 400 and (answer.json["line"], answer.json["column"]) == (2, len(f"  FROM {fresh} WHERE )"))
    assert f"line 2, column {answer.json['column']}" in answer.message
    answer = org.query("SELECT 'x")
    assert (answer.json["line"], answer.json["column"]) == (1, 8) and "quote" in answer.message


def test_what_is_no_text_comes_as_replacement_characters(org, fresh):
    assert org.rows("SELECT unhex('ff41c3') AS x, [unhex('80'), 'é'] AS y, unhex('00') AS z") == [{"x": "\ufffdA\ufffd", "y": ["\ufffd", "é"], "z": "\0"}]


def test_row_limits_of_statements_in_parentheses(org, fresh):
    org.add([{"_id": str(i), "n": i, "limit": i} for i in range(9)], name=fresh)
    for sql, rows in [(f"(SELECT n FROM {fresh})", 2), (f"(SELECT n FROM {fresh}) UNION ALL (SELECT n FROM {fresh})", 2),
                      (f"(SELECT n FROM {fresh} LIMIT 5)", 5), (f"SELECT limit FROM {fresh}", 2), (f"SELECT n AS limit FROM {fresh} ORDER BY limit", 2),
                      (f"SELECT n FROM {fresh} LIMIT 1 BY n", 2), (f"SELECT n FROM {fresh} LIMIT 1 BY n LIMIT 5", 5)]:
        assert len(org.rows(sql, sql_more={"default_row_limit": 2})) == rows, sql


def test_answers(org, fresh):
    org.add([{"_id": str(i), "n": i} for i in range(10)], name=fresh)
    answer = org.query(f"SELECT n, count(*), n + 1 FROM {fresh} GROUP BY n ORDER BY n", sql_more={"default_row_limit": 2})
    assert answer.json["results"] == [{"n": 0, "?count": 1, "?plus": 1}, {"n": 1, "?count": 1, "?plus": 2}]
    assert [f["name"] for f in answer.json["column_fields"]] == ["n", "?count", "?plus"]
    assert answer.json["collections"] == [f"commons.{fresh}"] and answer.json["status"] == "COMPLETED"
    assert isinstance(answer.json["stats"]["elapsed_time_ms"], int) and None not in answer.json.values()
    assert "column_fields" not in org.query(f"SELECT * FROM {fresh}").json
    assert len(org.rows(f"SELECT n FROM {fresh} LIMIT 3", sql_more={"default_row_limit": 2})) == 3
    assert len(org.rows(f"SELECT n FROM {fresh} UNION ALL SELECT n FROM {fresh}", sql_more={"default_row_limit": 2})) == 2
    assert len(org.rows(f"WITH x AS (SELECT n FROM \"{fresh}\") SELECT x.n FROM x HINT(access_path=column_scan)")) == 10


@pytest.mark.parametrize("sql", ["SELECT file('/etc/passwd')", "SELECT * FROM url('http://127.0.0.1/', 'CSV')", "SELECT 1; SELECT 2",
                                 "SELECT 1 INTO OUTFILE '/tmp/x'", "INSERT INTO c VALUES (1)", "DROP TABLE commons.c", "SET readonly = 0",
                                 "SELECT * FROM lockset_data.x", "SELECT * FROM s3('x')", "SELEC 1", "SELECT", "SELECT nope", "SELECT * FROM system.processes"])
def test_statements_that_are_refused(org, sql):
    answer = org.query(sql)
    assert answer.status == 400, answer
    assert answer.json["type"] in ("QUERY_ERROR", "INVALIDINPUT") and answer.message and "lockset_data.c" not in answer.message


def test_a_query_that_takes_too_long_is_stopped(org):
    answer = org.query("SELECT count() FROM numbers(100000000000) WHERE sipHash64(number) = 7", body={"timeout_ms": 800}, timeout=30)
    assert answer.status == 408 and answer.json["type"] == "QUERY_TIMEOUT", answer
    assert org.rows("SELECT 1 AS one") == [{"one": 1}]


def test_a_result_that_is_too_large_is_refused_whole(org):
    answer = org.query("SELECT repeat('x', 1000) AS x FROM numbers(200000)", timeout=60)
    assert answer.status == 400 and answer.json["type"] == "RESOURCEEXCEEDED" and "LIMIT" in answer.message, answer
