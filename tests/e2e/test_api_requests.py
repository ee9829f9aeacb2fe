"""The api's REST interface: right answers, and a helpful 4xx for every kind of wrong input."""
import json
import socket

import pytest

from api_rig import Rig, TOKEN

ARN = "arn:aws:kms:us-west-2:111122223333:key/mrk-" + "1234abcd" * 4


@pytest.fixture(scope="module")
def rig():
    with Rig() as started:
        yield started


@pytest.fixture(scope="module")
def org(rig):
    made = rig.org()
    made.collection("c")
    return made


def assert_error(answer, status, kind, *words):
    assert answer.status == status, answer
    assert answer.json["type"] == kind, answer
    assert answer.headers["Content-Type"] == "application/json"
    for word in words:
        assert word.lower() in answer.message.lower(), (word, answer.message)


def test_public_pages(rig):
    assert rig.call("GET", "/").json == {"message": "GO ROCKSET!"}
    assert rig.call("GET", "/healthz").status == 200
    assert rig.call("GET", "/readyz").status == 200
    metrics = rig.call("GET", "/metrics").body.decode()
    assert "lockset_requests_total" in metrics and "lockset_keyring_connected 1" in metrics


def test_unknown_paths_and_methods(rig, org):
    assert_error(rig.call("GET", "/v1/nothing"), 404, "NOTFOUND", "/v1/nothing")
    assert_error(org.call("GET", "/nothing"), 404, "NOTFOUND")
    answer = org.call("PUT", "/ws/commons/collections/c/docs")
    assert_error(answer, 405, "METHODNOTALLOWED", "POST, PATCH, DELETE")
    assert_error(org.call("GET", "/ws/%zz"), 400, "INVALIDINPUT")
    assert rig.call("GET", "//v1//orgs/self/", headers={"Authorization": f"apikey {org.api_key}"}).status == 200


@pytest.mark.parametrize("header", [None, "ApiKey wrong", "ApiKey ", "Bearer x", "Operator " + TOKEN, "ApiKey " + "x" * 5000, "Basic eDp5"])
def test_wrong_credentials_of_organizations(rig, header):
    answer = rig.call("GET", "/v1/orgs/self", headers={"Authorization": header} if header else {})
    assert_error(answer, 401, "AUTHEXCEPTION", "api key")


@pytest.mark.parametrize("header", [None, "Operator wrong", "Operator", "Bearer " + TOKEN])
def test_wrong_credentials_of_the_operator(rig, org, header):
    for value in (header, f"ApiKey {org.api_key}"):
        answer = rig.call("GET", "/v1/admin/orgs", headers={"Authorization": value} if value else {})
        assert_error(answer, 401, "AUTHEXCEPTION", "operator")


def test_keys_of_one_organization_show_nothing_of_another(rig, org):
    other = rig.org()
    assert other.call("GET", "/collections").data == []
    assert_error(other.query("SELECT * FROM c"), 400, "QUERY_ERROR")
    assert_error(other.call("GET", "/ws/commons/collections/c"), 404, "NOTFOUND")


# ---- organizations ----

def test_the_operator_creates_shows_and_renames(rig):
    org = rig.org("acme", ARN)
    shown = rig.admin("GET", "/orgs/acme").data
    assert (shown["id"], shown["name"], shown["kms_key_arn"], shown["kind"]) == (org.id, "acme", ARN, "customer")
    assert shown["regions"][0]["state"] == "AVAILABLE" and shown["regions"][0]["lease_expires_in_ms"] > 0
    assert rig.admin("GET", f"/orgs/{org.id}").data["name"] == "acme"
    assert "acme" in [o["name"] for o in rig.admin("GET", "/orgs").data]
    assert not any("api_key" in o for o in rig.admin("GET", "/orgs").data)
    assert rig.admin("PATCH", "/orgs/acme", {"display_name": "Acme Inc."}).data["display_name"] == "Acme Inc."
    assert_error(rig.admin("PATCH", "/orgs/acme", {"kms_key_arn": ARN}), 409, "CONFLICT", "can't be changed")
    assert_error(rig.admin("PATCH", "/orgs/acme", {}), 400, "INVALIDINPUT", "display_name")
    assert_error(rig.admin("POST", "/orgs", {"name": "acme", "region": "us-west-2"}), 409, "ALREADYEXISTS", "acme")
    assert_error(rig.admin("GET", "/orgs/nobody"), 404, "NOTFOUND", "nobody")
    assert rig.admin("GET", "/orgs/acme/regions/us-west-2").data["kms_key_arn"] == ARN
    assert_error(rig.admin("GET", "/orgs/acme/regions/us-east-1"), 404, "NOTFOUND", "us-east-1")
    assert rig.admin("POST", "/orgs/acme/regions/us-west-2/check").data["checks"][0]["ok"]
    key = rig.admin("POST", "/orgs/acme/api-keys", {"name": "second"})
    assert key.status == 201
    assert rig.call("GET", "/v1/orgs/self", headers={"Authorization": f"ApiKey {key.data['api_key']}"}).data["id"] == org.id
    assert_error(rig.admin("POST", "/orgs/acme/api-keys", {"name": "second"}), 409, "ALREADYEXISTS")
    kinds = [e["kind"] for e in rig.admin("GET", "/orgs/acme/events").data]
    assert "api_key.created" in kinds and "org.changed" in kinds
    assert_error(rig.admin("GET", "/orgs/acme/events?limit=x"), 400, "INVALIDINPUT", "limit")


BAD_ORGS = [
    ({}, "name"),
    ({"name": "x"}, "region"),
    ({"name": "UPPER", "region": "us-west-2"}, "lower-case"),
    ({"name": "a", "region": "us-west-2"}, "2 to 63"),
    ({"name": "a" * 64, "region": "us-west-2"}, "2 to 63"),
    ({"name": "1a", "region": "us-west-2"}, "letter first"),
    ({"name": 5, "region": "us-west-2"}, "string"),
    ({"name": "good", "region": "mars"}, "us-west-2"),
    ({"name": "good", "region": "us-west-2", "kms_key_arn": None}, "leave it out"),
    ({"name": "good", "region": "us-west-2", "kms_key_arn": ""}, "leave it out"),
    ({"name": "good", "region": "us-west-2", "kms_key_arn": 5}, "string"),
    ({"name": "good", "region": "us-west-2", "kms_key_arn": "alias/x"}, "alias"),
    ({"name": "good", "region": "us-west-2", "color": "red"}, "color"),
]


@pytest.mark.parametrize("body,word", BAD_ORGS)
def test_bad_organizations(rig, body, word):
    before = rig.admin("GET", "/orgs").data
    assert_error(rig.admin("POST", "/orgs", body), 400, "INVALIDINPUT", word)
    assert rig.admin("GET", "/orgs").data == before


def test_a_failed_preflight_has_its_checks(rig):
    answer = rig.admin("POST", "/orgs", {"name": "preflight", "region": "us-west-2", "kms_key_arn": ARN[:-32] + "0" * 32})
    assert_error(answer, 422, "INVALIDINPUT")
    assert answer.json["checks"] == [{"check": "kms:Encrypt", "ok": False, "detail": "AccessDenied", "mend": "grant it"}]
    answer = rig.admin("POST", "/keys/check", {"kms_key_arn": ARN, "region": "us-west-2"})
    assert answer.status == 200 and answer.data["passed"] and answer.data["checks"][0]["ok"]


def test_the_key_policy(rig):
    statement = rig.admin("GET", "/key-policy?format=statement").data["statement"]
    assert statement["Principal"] == {"AWS": "arn:aws:iam::318212636800:root"}
    policy = rig.admin("GET", "/key-policy?format=policy&account=111122223333").data["policy"]
    assert len(policy["Statement"]) == 2
    assert_error(rig.admin("GET", "/key-policy?format=xml"), 400, "INVALIDINPUT", "format")
    assert_error(rig.admin("GET", "/key-policy?account=12"), 400, "INVALIDINPUT", "account")


# ---- workspaces and collections ----

def test_workspaces(org):
    assert [w["name"] for w in org.call("GET", "/ws").data] == ["commons"]
    made = org.call("POST", "/ws", {"name": "Work_1", "description": "d"})
    assert made.status == 200 and made.data["collection_count"] == 0
    assert_error(org.call("POST", "/ws", {"name": "Work_1"}), 409, "ALREADYEXISTS")
    for name in ("", "-a", "a b", "a/b", "a" * 129, "é", "system", "Lockset_Data"):
        assert_error(org.call("POST", "/ws", {"name": name}), 400, "INVALIDINPUT")
    org.collection("inside", "Work_1")
    assert org.call("GET", "/ws/Work_1").data["collection_count"] == 1
    assert_error(org.call("DELETE", "/ws/Work_1"), 409, "DEPENDENTRESOURCES", "delete them first")
    assert org.call("DELETE", "/ws/Work_1/collections/inside").data["status"] == "DELETED"
    assert org.call("DELETE", "/ws/Work_1").status == 200
    assert_error(org.call("GET", "/ws/Work_1"), 404, "NOTFOUND")
    assert_error(org.call("DELETE", "/ws/commons"), 400, "INVALIDINPUT", "commons")


def test_collections(org):
    answer = org.call("POST", "/ws/commons/collections", {"name": "fresh", "description": "d", "retention_secs": 3600,
                                                          "sources": [], "field_mapping_query": None})
    assert answer.data["status"] == "CREATED" and answer.data["retention_secs"] == 3600
    assert org.call("GET", "/ws/commons/collections/fresh").data["status"] == "READY"
    assert "fresh" in [c["name"] for c in org.call("GET", "/collections").data]
    assert "fresh" in [c["name"] for c in org.call("GET", "/ws/commons/collections").data]
    assert org.rows("SELECT * FROM fresh") == []
    assert_error(org.call("POST", "/ws/commons/collections", {"name": "fresh"}), 409, "ALREADYEXISTS", "commons.fresh")
    assert_error(org.call("POST", "/ws/nowhere/collections", {"name": "x"}), 404, "NOTFOUND", "nowhere")
    assert_error(org.call("POST", "/ws/commons/collections", {"name": "x", "retention_secs": 10}), 400, "INVALIDINPUT", "retention_secs")
    assert_error(org.call("POST", "/ws/commons/collections", {"name": "x", "sources": [{}]}), 400, "INVALIDINPUT", "source")
    assert_error(org.call("POST", "/ws/commons/collections", {"name": "x", "sources": [{"kinesis": {}}]}), 501,
                 "NOTIMPLEMENTEDYET", "kinesis")
    assert_error(org.call("POST", "/ws/commons/collections", {"name": "x", "bogus": 1}), 400, "INVALIDINPUT", "bogus")
    assert_error(org.call("POST", "/ws/commons/collections", {"name": "a.b"}), 400, "INVALIDINPUT", "name")
    assert org.add([{"_id": "old", "_event_time": "2020-01-01"}, {"_id": "new"}], name="fresh").status == 200
    assert [r["_id"] for r in org.rows("SELECT _id FROM fresh")] == ["new"]  # retention hides what is older
    assert org.call("DELETE", "/ws/commons/collections/fresh").status == 200
    assert_error(org.call("GET", "/ws/commons/collections/fresh"), 404, "NOTFOUND", "fresh")
    assert_error(org.query("SELECT * FROM fresh"), 400, "QUERY_ERROR")
    assert org.collection("fresh")["status"] == "CREATED"
    assert org.rows("SELECT * FROM fresh") == []


# ---- bodies that are no good: see test_api_routes.py for every route; here what is large ----

def test_bodies_that_are_too_large(rig, org):
    big = b'{"data":[{"a":"' + b"x" * (10 << 20) + b'"}]}'
    for method in ("POST", "PATCH", "DELETE"):
        answer = rig.call(method, "/v1/orgs/self/ws/commons/collections/c/docs", raw=big, headers={"Authorization": f"ApiKey {org.api_key}"})
        assert_error(answer, 413, "CONTENTTOOLARGE", "10 MiB")
    many = b'{"data":[{}' + b",{}" * 20000 + b"]}"
    answer = rig.call("POST", "/v1/orgs/self/ws/commons/collections/c/docs", raw=many, headers={"Authorization": f"ApiKey {org.api_key}"})
    assert_error(answer, 413, "CONTENTTOOLARGE", "20000")
    long_sql = "SELECT '" + "x" * 300000 + "'"
    assert org.query(long_sql).status in (400, 413)
    assert_error(org.call("POST", "/ws", {"name": "x", "description": "d" * 2_000_000}), 413, "CONTENTTOOLARGE")


def test_a_large_body_without_credentials_is_not_even_read(rig):
    host, port = rig.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as s:
        s.sendall(b"POST /v1/orgs/self/ws/commons/collections/c/docs HTTP/1.1\r\nHost: x\r\nContent-Length: 9000000\r\n"
                  b"Expect: 100-continue\r\n\r\n")
        assert s.recv(65536).startswith(b"HTTP/1.1 401")


def test_queries_that_ask_for_what_is_not_served(org):
    assert_error(org.query("SELECT 1", body={"async": True}), 501, "NOTIMPLEMENTEDYET", "async")
    assert_error(org.query("SELECT 1", body={"timeout_ms": 0}), 400, "INVALIDINPUT", "timeout_ms")
    assert_error(org.query("SELECT 1", body={"timeout_ms": 120001}), 400, "INVALIDINPUT", "timeout_ms")
    assert_error(org.query("SELECT 1", sql_more={"default_row_limit": 0}), 400, "INVALIDINPUT", "default_row_limit")
    assert_error(org.query("SELECT 1", sql_more={"bogus": 0}), 400, "INVALIDINPUT", "bogus")
    assert_error(org.query("SELECT 1", body={"async": "yes"}), 400, "INVALIDINPUT", "async")
    assert_error(org.query("SELECT 1", body={"async_options": 5}), 400, "INVALIDINPUT", "async_options")
    assert_error(org.query("SELECT 1", body={"debug_threshold_ms": "x"}), 400, "INVALIDINPUT", "debug_threshold_ms")
    assert_error(org.query("SELECT 1", sql_more={"paginate": 1}), 400, "INVALIDINPUT", "paginate")
    assert_error(org.query("SELECT 1", sql_more={"initial_paginate_response_doc_count": -1}), 400, "INVALIDINPUT", "initial_paginate")
    assert_error(org.call("POST", "/queries", raw=b'{"sql":{"query":"SELECT \\u0000"}}'), 400, "INVALIDINPUT", "U+0000")
    assert "warnings" in org.query("SELECT 1", body={"max_initial_results": 5}).json


def test_nothing_was_logged_that_came_from_clients(rig, org):
    marker = "zqmarker8812"
    org.add([{"_id": marker, marker: marker}])
    org.query(f"SELECT '{marker}' FROM nowhere")
    rig.call("POST", "/v1/orgs/self/queries", raw=marker.encode(), headers={"Authorization": f"ApiKey {org.api_key}"})
    assert marker not in rig.log() and org.api_key not in rig.log() and TOKEN not in rig.log()
    assert json.loads(rig.call("GET", "/healthz").body)["status"] == "ok"
