"""Every route of the api, from its own table: without credentials, with wrong ones, with another organization's, with a
method, a path or a body that is no good. Always a 4xx that says what is wrong; nothing is made, changed or deleted."""
import json
import pathlib
import re
import socket

import pytest

from api_rig import Rig, TOKEN
from lockset_dev import ROOT, wait_for

TABLE = (pathlib.Path(ROOT) / "src" / "api" / "serve.c").read_text()
ROUTES = re.findall(r'\{"([A-Z]+)", "([^"]+)", ROUTER_([A-Z]+), \w+\}', TABLE)
OWN, ADMIN = [r for r in ROUTES if r[2] in ("ORGANIZATION", "STORE", "ANYWHERE")], [r for r in ROUTES if r[2] == "OPERATOR"]
WITH_BODY = [r for r in OWN + ADMIN if r[0] != "GET"]


def name_of(route):
    return f"{route[0]} {route[1]}"


def each(routes):
    return pytest.mark.parametrize("route", routes, ids=map(name_of, routes))


@pytest.fixture(scope="module")
def rig():
    with Rig() as started:
        yield started


@pytest.fixture(scope="module")
def org(rig):
    made = rig.org("victim")
    assert made.call("POST", "/ws", {"name": "w"}).status == 200
    made.collection("c", "w")
    assert made.docs("POST", [{"_id": "a", "x": 1}], "c", "w").status == 200
    return made


@pytest.fixture(scope="module")
def other(rig):
    return rig.org("other")


def path_of(route, *values):
    path, values = route[1], list(values)
    while "{}" in path:
        path = path.replace("{}", values.pop(0), 1)
    return path


def good_path(route):
    return path_of(route, *(("victim", "us-west-2") if route[2] == "OPERATOR" else ("w", "c", "s")))


def credentials(route, org):
    return {"Authorization": f"Operator {TOKEN}" if route[2] == "OPERATOR" else f"ApiKey {org.api_key}"}


def everything(rig, org):
    """What must be as it was."""
    orgs = [{k: v for k, v in o.items() if k != "regions"} for o in rig.admin("GET", "/orgs").data]
    return (orgs, org.call("GET", "/ws").data, org.call("GET", "/collections").data, org.rows("SELECT _id, x FROM w.c"),
            len(rig.admin("GET", "/orgs/victim/events").data))


def assert_refused(answer, what, *statuses):
    assert answer.status in (statuses or range(400, 500)), (what, answer)
    assert answer.headers["Content-Type"] == "application/json", (what, answer)
    assert answer.json["type"] not in ("", "INTERNALERROR") and len(answer.message) > 8, (what, answer)


def test_the_table_was_read():
    assert len(ROUTES) == TABLE.count(", ROUTER_") - 1 and len(ROUTES) >= 30, "the end of the table is PUBLIC, and no route"
    assert {r[2] for r in ROUTES} == {"PUBLIC", "OPERATOR", "ORGANIZATION", "STORE", "ANYWHERE"}


@each(OWN + ADMIN)
def test_credentials(rig, org, route):
    before = everything(rig, org)
    wrong = {"OPERATOR": [f"ApiKey {org.api_key}", f"Operator {TOKEN}x", f"Bearer {TOKEN}"]}.get(
        route[2], [f"Operator {TOKEN}", f"ApiKey {org.api_key}x", f"Bearer {org.api_key}", "ApiKey", "ApiKey  ", "ApiKey \xff"])
    for header in (None, "", "x" * 10000, *wrong):
        answer = rig.call(route[0], good_path(route), raw=b"{}", headers={} if header is None else {"Authorization": header})
        assert_refused(answer, header, 401)
        assert org.api_key not in answer.message and TOKEN not in answer.message
    assert everything(rig, org) == before


@each(ROUTES)
def test_methods(rig, org, route):
    served = {r[0] for r in ROUTES if r[1] == route[1]}
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"} - served:
        answer = rig.call(method, good_path(route), raw=b"{}", headers=credentials(route, org))
        assert_refused(answer, method, 405)
        assert set(answer.headers["Allow"].split(", ")) == served and all(m in answer.message for m in served), answer


@each([r for r in OWN if "{}" in r[1]])
def test_another_organizations_things(rig, org, other, route):
    before = everything(rig, org)
    for body in (b"{}", b'{"name":"x"}', b'{"data":[{"_id":"a"}]}', b'{"data":[{"_id":"a","patch":[]}]}'):
        assert_refused(rig.call(route[0], good_path(route), raw=body, headers=credentials(route, other)), body, 404, 400)
    assert everything(rig, org) == before


BAD_PARTS = {"nul": "%00", "bytes": "%ff%fe", "escape": "%zz", "half": "%4", "dots": "..", "slash": "a%2fb", "quote": "%27%22%60",
             "long": "x" * 900, "longer": "x" * 5000, "space": "%20", "emoji": "%F0%9F%98%80", "newline": "%0d%0aX:%20y", "sql": "w%27%20OR%20%271"}


@each([r for r in OWN + ADMIN if "{}" in r[1]])
def test_parts_of_paths(rig, org, route):
    before = everything(rig, org)
    good = ["victim", "us-west-2"] if route[2] == "OPERATOR" else ["w", "c", "s"]
    for i in range(route[1].count("{}")):
        for what, part in BAD_PARTS.items():
            values = good[:i] + [part] + good[i + 1:]
            answer = rig.call(route[0], path_of(route, *values), raw=b'{"data":[{"_id":"z"}]}', headers=credentials(route, org))
            assert_refused(answer, (what, i), 400, 404)
    assert everything(rig, org) == before


BODIES = {"not json": b"hello", "half": b'{"data":[{"a":', "array": b"[]", "number": b"5", "string": b'"x"', "null": b"null",
          "trailing": b"{} {}", "twice": b'{"name":1,"name":2}', "utf8": b'{"name":"\xff"}', "nul": b'{"name":"a\\u0000b"}',
          "raw nul": b'{"name":"a\x00b"}', "surrogate": b'{"name":"\\ud800"}', "deep": b'{"data":' + b"[" * 50000,
          "deep objects": b'{"data":' * 30000, "unknown": b'{"bogus":true}', "bom": b"\xef\xbb\xbf{}", "control": b'{"name":"a\x01"}',
          "types": b'{"name":[1],"sql":5,"data":"x","kms_key_arn":{},"display_name":[],"region":7}', "nan": b'{"name":NaN}',
          "comment": b"{/* */}", "single": b"{'name':'x'}", "utf16": '{"name":"x"}'.encode("utf-16"), "gzip": b"\x1f\x8b\x08\x00" + b"\x00" * 20,
          "big number": b'{"name":' + b"9" * 400 + b"}", "long name": b'{"name":"' + b"n" * 70000 + b'"}', "form": b"name=x&region=y",
          "empty name": b'{"name":""}', "long member": b'{"' + b"m" * 100000 + b'":1}'}


@each(WITH_BODY)
def test_bodies(rig, org, route):
    before = everything(rig, org)
    for what, body in BODIES.items():
        assert_refused(rig.call(route[0], good_path(route), raw=body, headers=credentials(route, org)), what)
    assert everything(rig, org) == before


@each(WITH_BODY)
def test_bodies_that_do_not_come_whole(rig, org, route):
    before = everything(rig, org)
    host, port = rig.url.removeprefix("http://").split(":")
    header = credentials(route, org)["Authorization"]
    for framing in ("Content-Length: 100\r\n\r\n{}", "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
                    "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}"):
        with socket.create_connection((host, int(port)), timeout=10) as s:
            s.sendall(f"{route[0]} {good_path(route)} HTTP/1.1\r\nHost: x\r\nAuthorization: {header}\r\n{framing}".encode())
            s.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda c=s: c.recv(65536), b""))
            assert answer == b"" or answer.startswith(b"HTTP/1.1 4"), (framing, answer)
    wait_for(lambda: rig.call("GET", "/healthz").status == 200)
    assert everything(rig, org) == before


def test_a_collection_is_not_deleted_for_its_documents(rig, org):
    answer = org.call("DELETE", "/ws/w/collections/c", {"data": [{"_id": "a"}]})
    assert_refused(answer, "documents", 400)
    assert "Nothing was deleted" in answer.message and "c/docs" in answer.message
    assert org.rows("SELECT _id FROM w.c") == [{"_id": "a"}]


# ---- many, and slow ones ----

def test_large_bodies_are_read_so_many_at_once(rig, org, other):
    """An organization that sends 20 bodies of 9.9 MB side by side is told to wait; others have their room."""
    host, port = rig.url.removeprefix("http://").split(":")
    document = [{"_id": "b", "x": "y" * 200000}]
    held, refused = [], []
    try:
        for _ in range(20):
            s = socket.create_connection((host, int(port)), timeout=10)
            held.append(s)
            s.sendall(f"POST /v1/orgs/self/ws/w/collections/c/docs HTTP/1.1\r\nHost: x\r\nAuthorization: ApiKey {org.api_key}\r\n"
                      "Content-Length: 9900000\r\nExpect: 100-continue\r\n\r\n".encode())
            answer = s.recv(65536)
            assert answer.startswith((b"HTTP/1.1 100", b"HTTP/1.1 429")), answer
            if answer.startswith(b"HTTP/1.1 429"):
                refused.append(answer)
        assert 20 - len(refused) == (128 << 20) // 9900000
        assert all(b"Retry-After: 1" in a and b"RATELIMITEXCEEDED" in a for a in refused)
        other.collection("mine")
        assert other.docs("POST", document, "mine").status == 200
        assert rig.org().call("POST", "/ws", {"name": "x", "description": "d" * 70000}).status == 400  # read, and judged
    finally:
        for s in held:
            s.close()
    wait_for(lambda: org.docs("POST", document, "c", "w").status == 200)
    assert org.docs("DELETE", [{"_id": "b"}], "c", "w").status == 200


def test_clients_that_only_wait_shut_nobody_out(rig, org):
    """700 connections, open and silent or sending a byte now and then, where 512 are served."""
    host, port = rig.url.removeprefix("http://").split(":")
    slow = []
    try:
        for i in range(700):
            s = socket.create_connection((host, int(port)), timeout=10)
            if i % 2:
                s.sendall(b"POST /v1/orgs/self/queries HTTP/1.1\r\nHost: x\r\nX-A: ")
            slow.append(s)

        def served():
            try:
                return org.rows("SELECT _id FROM w.c") == [{"_id": "a"}] and rig.call("GET", "/healthz").status == 200
            except OSError:
                return False

        wait_for(served, 10)
        for s in slow[-300:]:
            s.sendall(b"a")
        assert served()
    finally:
        for s in slow:
            s.close()
    descriptors = f"/proc/{rig.process.pid}/fd"
    wait_for(lambda: len(list(pathlib.Path(descriptors).iterdir())) < 260, what="their descriptors are gone")
    assert json.loads(rig.call("GET", "/healthz").body)["status"] == "ok"
