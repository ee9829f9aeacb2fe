"""Buckets as data sources: every form, every object once, and what is told about it."""
import json
import time

import pytest

from api_rig import Rig, wait_for
from sources_rig import (BUCKET, Bucket, count, errors_of, integrate, leave, path, source, sources_of, status_of, wait_count,
                         wait_watching)


@pytest.fixture(scope="module")
def rig():
    with Rig() as started:
        yield started


@pytest.fixture
def bucket():
    with Bucket() as started:
        yield started


@pytest.fixture
def org(rig, bucket):
    org = rig.org()
    integrate(org, bucket)
    yield org
    leave(org)


def test_all_forms_are_read(org, bucket):
    bucket.lines("in/a.json", [{"_id": f"a{i}", "n": i} for i in range(500)])
    bucket.lines("in/b.jsonl.gz", [{"_id": f"b{i}", "n": i} for i in range(500)])
    bucket.lines("in/c.ndjson.zst", [{"_id": f"c{i}", "n": i} for i in range(500)])
    bucket.put("in/d.json", json.dumps([{"_id": f"d{i}", "n": i, "deep": {"x": [1, {"y": "}]"}]}} for i in range(500)], indent=1))
    bucket.put("in/e.json", "\n".join(json.dumps({"_id": f"e{i}", "n": i}, indent=2) for i in range(50)))
    bucket.put("in/f.csv", "\ufeff_id,n,name,flag\r\n" + "".join(f'f{i},{i},"a ""b"", {i}\nline",true\r\n' for i in range(50)))
    bucket.put("elsewhere/g.json", '{"_id":"no"}')
    org.collection("c", sources=[source("in/")])
    status = wait_watching(org)
    assert status["total_processed_items"] == 2100 and status["message"] is None and status["error_count"] == 0
    assert status["detected_size_bytes"] > 0 and status["last_processed_item"] == "in/f.csv" and status["last_processed_at"]
    assert count(org) == 2100
    assert org.rows("SELECT substring(_id, 1, 1) AS k, count(*) AS many, sum(n) AS total FROM c GROUP BY k ORDER BY k") == [
        {"k": k, "many": n, "total": n * (n - 1) // 2} for k, n in (("a", 500), ("b", 500), ("c", 500), ("d", 500), ("e", 50), ("f", 50))]
    assert org.rows("SELECT name, flag FROM c WHERE _id = 'f7'") == [{"name": 'a "b", 7\nline', "flag": True}]
    collection = org.call("GET", "/ws/commons/collections/c").data
    assert collection["stats"]["fill_progress"] == 1 and collection["sources"][0]["s3"]["bucket"] == BUCKET
    bucket.lines("in/later.json", [{"_id": "later", "n": 1}])
    bucket.lines("in/0-before-all.json", [{"_id": "before", "n": 1}])
    wait_count(org, 2102)
    bucket.lines("in/later.json", [{"_id": "later", "n": 2}, {"_id": "later2", "n": 3}])
    wait_count(org, 2103)
    assert org.rows("SELECT n FROM c WHERE _id = 'later'") == [{"n": 2}]


def test_parquet_is_read_by_the_engine(rig, org, bucket):
    engine = rig.engine_of(org.id)
    file = engine.call("SELECT toString(number) AS _id, number AS n, number / 4 AS f, ['a', toString(number)] AS tags, "
                       "if(number % 2, NULL, 'x') AS maybe, map('k', number) AS m, toDateTime64('2026-01-02 03:04:05', 6, 'UTC') "
                       "AS _event_time FROM numbers(30000)", default_format="Parquet")
    assert file.code == 0 and file.body[:4] == b"PAR1"
    bucket.put("p/a.parquet", file.body)
    bucket.put("p/b.parquet", b"PAR1 this is none PAR1")
    org.collection("c", sources=[source("p/")])
    status = wait_watching(org)
    assert status["total_processed_items"] == 30000 and status["error_count"] == 1
    assert org.rows("SELECT count(*) AS many, sum(n) AS total FROM c") == [{"many": 30000, "total": 30000 * 29999 // 2}]
    assert org.rows("SELECT _id, f, tags, m.k AS k, maybe, _event_time FROM c WHERE _id IN ('7', '8') ORDER BY _id") == [
        {"_id": "7", "f": 1.75, "tags": ["a", "7"], "k": 7, "maybe": None, "_event_time": "2026-01-02T03:04:05.000000Z"},
        {"_id": "8", "f": 2, "tags": ["a", "8"], "k": 8, "maybe": "x", "_event_time": "2026-01-02T03:04:05.000000Z"}]
    error, = errors_of(org, sources_of(org)[0]["id"])
    assert "p/b.parquet" in error["origin"] and "Parquet" in error["reason"]
    left = engine.call("SELECT count() FROM system.databases WHERE name LIKE 'lockset_input%'")
    assert left.text == "0\n"


def test_poison_is_listed_and_the_rest_flows(org, bucket):
    lines = [json.dumps({"_id": f"g{i}", "n": i}) for i in range(100)]
    lines[10] = '{"_id": "broken'
    lines[20] = "[1,2]"
    lines[30] = '{"_id": 5}'
    lines[40] = '{"a": 1, "a": 2}'
    lines[50] = "\x00\x01 binary"
    lines[60] = '{"n": 99999999999999999999}'
    bucket.put("bad/a.json", "\n".join(lines))
    bucket.put("bad/b.json", '[{"_id":"arr1"}, 7, {"_id":"arr2"}, {"_id":"arr3"')
    bucket.put("bad/c.csv", 'a,b\n1,2\n1\n1,2,3\n"open,1\n')
    bucket.put("bad/d.json.gz", b"this is not gzip")
    org.collection("c", sources=[source("bad/")])
    status = wait_watching(org)
    assert count(org) == 94 + 2 + 1
    found = errors_of(org, sources_of(org)[0]["id"])
    assert status["error_count"] == len(found) == 6 + 2 + 3 + 1, found
    by_origin = {e["origin"].removeprefix(f"s3://{BUCKET}/bad/"): e["reason"] for e in found}
    assert {o for o in by_origin if o.startswith("a.json")} == {f"a.json#{n}" for n in (11, 21, 31, 41, 51, 61)}
    assert "same field twice" in by_origin["a.json#41"] and "64 bits" in by_origin["a.json#61"]
    assert "object" in by_origin["b.json#2"] or "'{'" in by_origin["b.json#2"]
    assert "2 columns" in by_origin["c.csv#2"] and "3 values" in by_origin["c.csv#3"]
    assert "decompress" in by_origin["d.json.gz#1"]
    assert all(e["at"].startswith("20") for e in found)
    assert [e["record"] for e in found if e["origin"].endswith("a.json#21")] == ["[1,2]"]


def test_the_newest_thousand_errors_are_kept(org, bucket):
    bucket.put("bad/a.json", "\n".join(f"poison {i}" for i in range(2500)) + '\n{"_id":"good"}')
    org.collection("c", sources=[source("bad/")])
    status = wait_watching(org)
    assert status["error_count"] == 2500 and status["total_processed_items"] == 1 and count(org) == 1
    found = errors_of(org, sources_of(org)[0]["id"])
    assert [e["record"] for e in found] == [f"poison {i}" for i in range(2499, 1499, -1)]
    source_id = sources_of(org)[0]["id"]
    assert len(org.call("GET", path("c", source_id, "/errors")).data) == 100


def test_documents_without_an_id_are_stored_once(org, bucket):
    bucket.lines("in/a.json", [{"n": i} for i in range(3000)])
    org.collection("c", sources=[source("in/")])
    wait_watching(org)
    ids = [r["_id"] for r in org.rows("SELECT _id FROM c ORDER BY n")]
    assert len(set(ids)) == 3000 and ids == sorted(ids)
    bucket.lines("in/a.json", [{"n": i + 1} for i in range(3000)])
    wait_for(lambda: org.rows("SELECT min(n) AS m FROM c")[0]["m"] == 1, 30)
    assert [r["_id"] for r in org.rows("SELECT _id FROM c ORDER BY n")] == ids


def test_pattern_prefix_and_forced_format(org, bucket):
    for key in ("logs/2025/a.txt", "logs/2026/a.txt", "logs/2026/deep/b.txt", "logs/2026/c.json", "other/2026/a.txt"):
        bucket.put(key, f"{key};1\n")
    csv = {"csv": {"separator": ";", "columnNames": ["_id", "n"], "columnTypes": ["STRING", "STRING"]}}
    org.collection("c", sources=[source(pattern="logs/2026/**.txt", format_params=csv)])
    wait_watching(org)
    assert org.rows("SELECT _id, n FROM c ORDER BY _id") == [{"_id": "logs/2026/a.txt", "n": "1"},
                                                             {"_id": "logs/2026/deep/b.txt", "n": "1"}]


def test_suspend_resume_delete(org, bucket):
    bucket.lines("in/a.json", [{"_id": "a"}])
    org.collection("c", sources=[source("in/")])
    wait_watching(org)
    source_id = sources_of(org)[0]["id"]
    suspended = org.call("POST", path("c", source_id, "/suspend"), {"resume_after_duration": "P1D"})
    assert suspended.status == 200 and suspended.data["status"]["state"] == "SUSPENDED", suspended
    assert suspended.data["suspended_at"] < suspended.data["resume_at"]
    bucket.lines("in/b.json", [{"_id": "b"}])
    time.sleep(2.5)
    assert count(org) == 1
    assert org.call("POST", path("c", source_id, "/resume")).data["status"]["state"] != "SUSPENDED"
    wait_count(org, 2)
    assert org.call("POST", path("c", source_id, "/suspend"), {"resume_after_duration": "PT2S"}).status == 200
    bucket.lines("in/c.json", [{"_id": "c"}])
    wait_count(org, 3, timeout=15)
    deleted = org.call("DELETE", path("c", source_id))
    assert deleted.status == 200 and deleted.data["id"] == source_id
    assert sources_of(org) == [] and org.call("GET", path("c", source_id)).status == 404
    bucket.lines("in/d.json", [{"_id": "d"}])
    added = org.call("POST", path("c"), source("in/d"))
    assert added.status == 200 and added.data["id"] != source_id, added
    wait_count(org, 4)


def test_integrations_hide_their_secrets(rig, org, bucket):
    listed, = org.call("GET", "/integrations").data
    assert listed["name"] == "lake" and listed["collections"] == []
    text = json.dumps(org.call("GET", "/integrations/lake").json)
    assert bucket.harness.secret not in text and bucket.harness.access in text and "****" in text
    org.collection("c", sources=[source("in/")])
    assert org.call("GET", "/integrations/lake").data["collections"] == [{"path": "commons.c"}]
    refused = org.call("DELETE", "/integrations/lake")
    assert refused.status == 409 and "commons.c" in refused.message
    assert org.call("POST", "/integrations", {"name": "lake", "s3": {}}).status == 409
    # Nobody gets at it by other ways, and it stands nowhere in clear.
    assert org.call("GET", "/ws/_lockset/collections/integrations").status == 404
    assert org.call("GET", "/ws/_lockset").status == 404
    assert [w["name"] for w in org.call("GET", "/ws").data] == ["commons"]
    assert [c["name"] for c in org.call("GET", "/collections").data] == ["c"]
    assert org.query("SELECT * FROM _lockset.integrations").json.get("results", []) == []
    for sql in ("SELECT * FROM lockset_data.c", "SELECT __lockset_raw FROM _lockset.integrations"):
        assert org.query(sql).status == 400
    secret = bucket.harness.secret.encode()
    for file in rig.data.rglob("*"):
        if file.is_file():
            assert secret not in file.read_bytes(), file
    assert org.call("DELETE", "/ws/commons/collections/c").status == 200
    assert org.call("DELETE", "/integrations/lake").status == 200
    assert org.call("GET", "/integrations").data == [] and org.call("GET", "/integrations/lake").status == 404


@pytest.mark.parametrize("body,words", [
    ({}, "needs one of"),
    ({"s3": {}}, "bucket"),
    ({"s3": {"bucket": "Not_A_Bucket"}}, "bucket"),
    ({"s3": {"bucket": "good-name", "colour": "red"}}, "colour"),
    ({"s3": {"bucket": "good-name"}, "format_params": {"avro": {}}}, "avro"),
    ({"s3": {"bucket": "good-name"}, "format_params": {"csv": {"separator": "::"}}}, "separator"),
    ({"s3": {"bucket": "good-name", "poll_interval_secs": 0}}, "poll_interval_secs"),
    ({"integration_name": "nobody", "s3": {"bucket": "good-name"}}, "nobody"),
    ({"kinesis": {"stream": "x"}}, "kinesis"),
])
def test_what_is_no_source_is_refused(org, body, words):
    answer = org.call("POST", "/ws/commons/collections", {"name": "never", "sources": [body]})
    assert answer.status in (400, 404, 501) and words in answer.message, answer
    assert org.call("GET", "/ws/commons/collections/never").status == 404


def test_a_wrong_secret_and_a_missing_bucket_show_in_the_status(org, bucket):
    integrate(org, bucket, name="wrong", secret="not-the-secret")
    org.collection("c", sources=[source("in/", integration="wrong")])
    org.collection("d", sources=[{"integration_name": "lake", "s3": {"bucket": "no-such-bucket"}}])
    for name, words in (("c", "refused"), ("d", "no-such-bucket")):
        status = wait_for(lambda: (lambda s: s if s["state"] == "ERROR" else None)(status_of(org, name)), 20)
        assert words in status["message"] and bucket.harness.secret not in status["message"]


def test_new_credentials_for_an_integration(org, bucket):
    bucket.lines("in/a.json", [{"_id": "a"}])
    integrate(org, bucket, name="turning", secret="not-yet-the-secret")
    org.collection("c", sources=[source("in/", integration="turning")])
    wait_for(lambda: status_of(org)["state"] == "ERROR", 20)
    shown = org.call("GET", "/integrations/turning").data
    refused = org.call("PUT", "/integrations/turning", {"s3": shown["s3"]})
    assert refused.status == 400 and "asterisks" in refused.message
    assert org.call("PUT", "/integrations/turning", {"kafka": {"bootstrap_servers": "h:1"}}).status == 400
    assert org.call("PUT", "/integrations/nobody", {"s3": bucket.integration()}).status == 404
    changed = org.call("PUT", "/integrations/turning", {"description": "new", "s3": bucket.integration()})
    assert changed.status == 200 and changed.data["description"] == "new", changed
    assert changed.data["collections"] == [{"path": "commons.c"}] and bucket.harness.secret not in json.dumps(changed.json)
    wait_count(org, 1, timeout=15)  # at once, not with the next slow try
    assert wait_watching(org)["message"] is None


def test_metrics(rig, org, bucket):
    bucket.lines("in/a.json", [{"_id": str(i)} for i in range(10)] + ["no object"])
    org.collection("c", sources=[source("in/")])
    wait_watching(org)
    text = rig.call("GET", "/metrics").body.decode()
    own = {line.split("{")[0]: line.rpartition(" ")[2] for line in text.split("\n") if f'org="{org.id}"' in line}
    assert own["lockset_source_records_total"] == "10" and own["lockset_source_errors_total"] == "1"
    assert own["lockset_source_lag"] == "0" and int(own["lockset_source_bytes_total"]) > 50
    assert abs(float(own["lockset_source_last_stored_timestamp"]) - time.time()) < 60
