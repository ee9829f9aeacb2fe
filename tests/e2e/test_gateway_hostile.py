"""The gateway and clients that don't behave: bytes on a socket, signed by hand."""
import base64
import concurrent.futures
import datetime
import hashlib
import os
import random
import socket
import time
import zlib

import pytest

from gateway_tools import (BUCKET, Harness, Reply, assert_nothing_left, connect, files_below, head_bytes, read_to_end,
                           request, sign)

PATH = f"/{BUCKET}/hostile"


@pytest.fixture(scope="module")
def harness():
    with Harness() as h:
        yield h


@pytest.fixture(autouse=True)
def still_well(harness):
    """After whatever a test did, the gateway lives, answers, and has left nothing half-written."""
    harness.s3().delete_object(Bucket=BUCKET, Key="hostile")
    yield
    assert harness.process.poll() is None
    harness.s3().put_object(Bucket=BUCKET, Key="well", Body=b"alive")
    assert harness.s3().get_object(Bucket=BUCKET, Key="well")["Body"].read() == b"alive"
    assert_nothing_left_soon(harness)


def assert_nothing_left_soon(harness):
    for _ in range(50):
        try:
            return assert_nothing_left(harness)
        except AssertionError:
            time.sleep(0.1)
    assert_nothing_left(harness)


def absent(harness, path=PATH):
    return request(harness, "GET", path).status == 404


def expect(reply, status, code):
    assert (reply.status, reply.code) == (status, code), reply.body
    assert reply.headers["content-type"] == "application/xml"
    assert reply.headers["x-amz-request-id"] in reply.body.decode()


def test_the_tests_own_signature_is_right(harness):
    assert request(harness, "PUT", PATH, body=b"hello").status == 200
    reply = request(harness, "GET", PATH)
    assert (reply.status, reply.body) == (200, b"hello")
    assert request(harness, "GET", PATH, region="us-east-1").status == 200


# --- Who asks ---


def test_no_signature(harness):
    for headers in ({}, {"authorization": "Basic eDp5"}, {"authorization": "AWS x:y"},
                    {"authorization": "AWS4-HMAC-SHA256 "}, {"authorization": "AWS4-HMAC-SHA256 Credential=a/b, x"}):
        with connect(harness) as s:
            s.sendall(head_bytes("GET", PATH, {"host": "x", "connection": "close", **headers}))
            assert Reply(read_to_end(s)).status in (400, 403), headers


def test_forged_signature(harness):
    signed = sign(harness, "GET", PATH)
    good = signed["authorization"]
    for bad in (good[:-1] + ("0" if good[-1] != "0" else "1"), good.replace("Signature=", "Signature=00"),
                good[:-64] + "0" * 64, good[:-64] + good[-64:].upper()):
        with connect(harness) as s:
            s.sendall(head_bytes("GET", PATH, dict(signed, authorization=bad, connection="close")))
            assert Reply(read_to_end(s)).status in (400, 403)
    expect(request(harness, "GET", PATH, secret="another-secret"), 403, "SignatureDoesNotMatch")


def test_unknown_access_key(harness):
    signed = sign(harness, "GET", PATH)
    signed["authorization"] = signed["authorization"].replace(harness.access, "AKIDNOBODY0000000001")
    with connect(harness) as s:
        s.sendall(head_bytes("GET", PATH, dict(signed, connection="close")))
        expect(Reply(read_to_end(s)), 403, "InvalidAccessKeyId")


def test_replay_with_something_changed(harness):
    body = b"hello"
    signed = sign(harness, "PUT", PATH, headers={"x-amz-meta-a": "1", "content-type": "text/plain"}, body=body)
    wire = dict(signed, connection="close", **{"content-length": "5"})

    def send(method="PUT", target=PATH, **changed):
        headers = dict(wire, **{k.replace("_", "-"): v for k, v in changed.items()})
        with connect(harness) as s:
            s.sendall(head_bytes(method, target, headers) + body)
            return Reply(read_to_end(s))

    expect(send(x_amz_meta_a="2"), 403, "SignatureDoesNotMatch")
    expect(send(content_type="text/html"), 403, "SignatureDoesNotMatch")
    expect(send(target=PATH + "2"), 403, "SignatureDoesNotMatch")
    expect(send(target=PATH + "?partNumber=1"), 403, "SignatureDoesNotMatch")
    expect(send(method="DELETE"), 403, "SignatureDoesNotMatch")
    expect(send(x_amz_meta_b="3"), 403, "AccessDenied")
    expect(send(x_amz_acl="public-read"), 403, "AccessDenied")
    expect(send(x_amz_copy_source=f"{BUCKET}/well"), 403, "AccessDenied")
    assert absent(harness)
    assert send().status == 200


def test_clock_skew(harness):
    now = datetime.datetime.now(datetime.timezone.utc)
    for minutes in (-16, 16):
        expect(request(harness, "GET", PATH, now=now + datetime.timedelta(minutes=minutes)), 403, "RequestTimeTooSkewed")
    for minutes in (-14, 14):
        assert request(harness, "GET", PATH, now=now + datetime.timedelta(minutes=minutes)).status == 404


def test_other_region_or_service(harness):
    expect(request(harness, "GET", PATH, region="eu-central-1"), 400, "AuthorizationHeaderMalformed")


def test_refused_without_reading_the_body(harness):
    """403 comes although the announced gigabyte never does; with Expect no 100 is sent before it."""
    signed = sign(harness, "PUT", PATH, payload_hash="UNSIGNED-PAYLOAD", secret="wrong")
    headers = dict(signed, **{"content-length": str(1 << 30), "expect": "100-continue"})
    with connect(harness) as s:
        s.sendall(head_bytes("PUT", PATH, headers))
        answer = s.recv(65536)
        assert answer.startswith(b"HTTP/1.1 403"), answer
    with connect(harness) as s:
        s.sendall(head_bytes("PUT", PATH, dict(signed, **{"content-length": str(1 << 30)})))
        assert s.recv(65536).startswith(b"HTTP/1.1 403")


def test_expect_continue(harness):
    body = os.urandom(100_000)
    for text in ("100-continue", "100-Continue"):
        signed = sign(harness, "PUT", PATH, body=body)
        with connect(harness) as s:
            s.sendall(head_bytes("PUT", PATH, dict(signed, expect=text, connection="close",
                                                   **{"content-length": str(len(body))})))
            assert s.recv(65536).startswith(b"HTTP/1.1 100")
            s.sendall(body)
            assert Reply(read_to_end(s)).status == 200
        assert request(harness, "GET", PATH).body == body


# --- What is sent ---


def test_body_is_held_to_its_hash(harness):
    expect(request(harness, "PUT", PATH, body=b"hello", sends=b"hellO"), 400, "XAmzContentSHA256Mismatch")
    assert absent(harness)
    big = os.urandom(3 << 20)
    expect(request(harness, "PUT", PATH, body=big, sends=big[:-1] + bytes([big[-1] ^ 1])), 400,
           "XAmzContentSHA256Mismatch")
    assert absent(harness)
    expect(request(harness, "PUT", PATH, body=b"", payload_hash=hashlib.sha256(b"x").hexdigest()), 400,
           "XAmzContentSHA256Mismatch")
    assert absent(harness)


def test_body_is_held_to_its_digests(harness):
    body = b"hello"
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    crc = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    sha = base64.b64encode(hashlib.sha256(body).digest()).decode()
    for name, value in (("content-md5", md5), ("x-amz-checksum-crc32", crc), ("x-amz-checksum-sha256", sha)):
        reply = request(harness, "PUT", PATH, headers={name: value}, body=b"hellO", payload_hash="UNSIGNED-PAYLOAD")
        expect(reply, 400, "BadDigest")
        assert absent(harness)
        assert request(harness, "PUT", PATH, headers={name: value}, body=body).status == 200
        assert request(harness, "DELETE", PATH).status == 204
    expect(request(harness, "PUT", PATH, headers={"content-md5": "eA=="}, body=body), 400, "InvalidDigest")
    expect(request(harness, "PUT", PATH, headers={"x-amz-checksum-crc32c": crc}, body=body), 400, "BadDigest")
    expect(request(harness, "PUT", PATH, headers={"x-amz-checksum-crc32": crc, "x-amz-checksum-sha256": sha}, body=body),
           400, "InvalidRequest")
    expect(request(harness, "PUT", PATH, headers={"x-amz-checksum-md5": md5}, body=body), 501, "NotImplemented")
    assert absent(harness)


def test_other_payload_forms_are_refused(harness):
    expect(request(harness, "PUT", PATH, headers={"x-amz-decoded-content-length": "5"},
                   payload_hash="STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", body=b"5\r\nhello\r\n0\r\n\r\n"), 501,
           "NotImplemented")
    expect(request(harness, "PUT", PATH, payload_hash="nonsense", body=b"x"), 400, "InvalidArgument")
    assert absent(harness)


def test_body_shorter_than_announced(harness):
    signed = sign(harness, "PUT", PATH, payload_hash="UNSIGNED-PAYLOAD")
    for wanted, sent in ((10, 5), (200_000, 199_999), (5 << 20, 3 << 20), (10, 0)):
        with connect(harness) as s:
            s.sendall(head_bytes("PUT", PATH, dict(signed, **{"content-length": str(wanted)})) + b"x" * sent)
            s.shutdown(socket.SHUT_WR)
            assert Reply(read_to_end(s)).status in (0, 400)
        assert absent(harness)


def test_body_longer_than_announced(harness):
    """What comes behind the body is the next request, and not a valid one."""
    signed = sign(harness, "PUT", PATH, payload_hash="UNSIGNED-PAYLOAD")
    with connect(harness) as s:
        s.sendall(head_bytes("PUT", PATH, dict(signed, **{"content-length": "5"})) + b"hello, and more\r\n\r\n")
        s.shutdown(socket.SHUT_WR)
        assert Reply(read_to_end(s)).status == 200
    assert request(harness, "GET", PATH).body == b"hello"


def test_connection_lost_in_the_middle(harness):
    signed = sign(harness, "PUT", PATH, payload_hash="UNSIGNED-PAYLOAD")
    for _ in range(10):
        s = connect(harness)
        s.sendall(head_bytes("PUT", PATH, dict(signed, **{"content-length": str(10 << 20)})) + os.urandom(1 << 20))
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        s.close()
    assert absent(harness)


def test_half_a_request(harness):
    whole = head_bytes("GET", PATH, sign(harness, "GET", PATH))
    cuts = [1, 5, 20, len(whole) // 2, len(whole) - 1]
    sockets = [connect(harness) for _ in cuts]
    for s, cut in zip(sockets, cuts):
        s.sendall(whole[:cut])
    for s in sockets:
        s.shutdown(socket.SHUT_WR)
        assert b" 200 " not in read_to_end(s)[:20]
        s.close()


def test_garbage(harness):
    r = random.Random(1)
    for n in range(60):
        with connect(harness) as s:
            s.settimeout(5)
            try:
                s.sendall(r.randbytes(r.randrange(1, 2000)) + b"\r\n\r\n")
                s.shutdown(socket.SHUT_WR)
                assert b" 200 " not in read_to_end(s)[:20]
            except (BrokenPipeError, ConnectionResetError):
                pass


def test_framing(harness):
    signed = sign(harness, "PUT", PATH, payload_hash="UNSIGNED-PAYLOAD")
    chunked = b"5\r\nhello\r\n0\r\n\r\n"
    for extra, body in ((b"Content-Length: 5\r\nContent-Length: 6\r\n", b"hello!"),
                        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", chunked),
                        (b"Transfer-Encoding: gzip\r\n", chunked), (b"Transfer-Encoding: chunked\r\n", chunked),
                        (b"Content-Length: -5\r\n", b"hello"), (b"Content-Length: 5x\r\n", b"hello"),
                        (b"Content-Length: 99999999999999999999\r\n", b"hello"),
                        (b"Host: other\r\nContent-Length: 5\r\n", b"hello"), (b"", b"")):
        head = head_bytes("PUT", PATH, signed)[:-2] + extra + b"\r\n"
        with connect(harness) as s:
            s.settimeout(10)
            s.sendall(head + body)
            s.shutdown(socket.SHUT_WR)
            reply = Reply(read_to_end(s))
            assert reply.status in (0, 400, 411, 413), (extra, reply.status)
        assert absent(harness), extra


def test_a_get_with_a_body(harness):
    expect(request(harness, "GET", PATH, body=b"x", extra={"content-length": "1"}), 400, "InvalidRequest")


def test_xml_bodies(harness):
    path, query = f"/{BUCKET}", "delete="
    for body in (b"", b"<", b"<Delete>", b"<Delete></Delete>", b"<Delete><Object></Object></Delete>", b"\xff\xfe\x00",
                 b"<Delete>" + b"<a>" * 50 + b"</a>" * 50 + b"</Delete>", b"<?xml version='1.0'?>" + b" " * 100_000,
                 b"<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><Delete><Object><Key>&b;</Key></Object></Delete>",
                 b"<Delete>" + b"<Object><Key>k</Key></Object>" * 1001 + b"</Delete>"):
        expect(request(harness, "POST", path, query, body=body), 400, "MalformedXML")
    reply = request(harness, "POST", path, query, body=b"", extra={"content-length": str(64 << 20)},
                    payload_hash="UNSIGNED-PAYLOAD")
    assert reply.status in (400, 413)


def test_bad_targets(harness):
    for path in (f"/{BUCKET}/%", f"/{BUCKET}/%zz", f"/{BUCKET}/%00", f"/{BUCKET}/a%00b", f"/{BUCKET}/%ff",
                 f"/{BUCKET}/%c0%af", f"/{BUCKET}/%ed%a0%80", "//x", f"//{BUCKET}/x"):
        reply = request(harness, "PUT", path, body=b"x")
        assert reply.status in (400, 403), (path, reply.status)
    for query in ("prefix=%", "prefix=%ff", "max-keys=x", "max-keys=-1", "max-keys=99999999999999999999",
                  "encoding-type=base64", "continuation-token=1.%21&list-type=2", "list-type=3", "prefix=a&prefix=b"):
        reply = request(harness, "GET", f"/{BUCKET}", query)
        assert reply.status in (400, 403), (query, reply.status)
    for query in ("acl", "tagging", "versions", "uploadId=x", "something=1"):
        assert request(harness, "PUT", PATH, query, body=b"x").status == 501, query
    assert absent(harness)


def test_keys_on_the_wire(harness):
    """What a client may leave unescaped, and what must stay apart."""
    cases = {"a%2Fb": b"1", "dots/../b": b"2", "dots/./b": b"3", "double//slash": b"4", "%2e%2e": b"5", "plus+": b"6",
             "%C3%A4": b"7", "(!*')": b"8", "a/b/": b"9", "dots/b": b"10"}
    for path, body in cases.items():
        assert request(harness, "PUT", f"/{BUCKET}/{path}", body=body).status == 200, path
    for path, body in cases.items():
        assert request(harness, "GET", f"/{BUCKET}/{path}").body == body, path
    assert request(harness, "GET", f"/{BUCKET}/a/b").body == b"1"
    assert request(harness, "GET", f"/{BUCKET}/..").body == b"5"
    assert harness.s3().get_object(Bucket=BUCKET, Key="\u00e4")["Body"].read() == b"7"


# --- Many, and slow ---


def test_a_thousand_parallel_gets(harness):
    """Each wants 1 MiB and reads nothing at first: memory and threads stay bounded, all are answered."""
    body = os.urandom(1 << 20)
    harness.s3().put_object(Bucket=BUCKET, Key="hostile", Body=body)
    before = harness.rss_kib()
    signed = dict(sign(harness, "GET", PATH), connection="close")
    sockets = [connect(harness, timeout=60) for _ in range(1000)]
    for s in sockets:
        s.sendall(head_bytes("GET", PATH, signed))
    time.sleep(2)
    held = harness.rss_kib()
    assert held - before < 700 * 1024, f"{before} -> {held} KiB"

    def finish(s):
        with s:
            return Reply(read_to_end(s)).body == body

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        assert all(pool.map(finish, sockets))
    assert request(harness, "GET", PATH, headers={"range": "bytes=0-9"}).body == body[:10]


def test_more_connections_than_allowed(harness):
    sockets = []
    for _ in range(1200):
        try:
            sockets.append(connect(harness, timeout=2))
        except OSError:
            break
    assert harness.threads() < 1100
    for s in sockets:
        s.close()
    time.sleep(0.5)


def test_abandoned_ranges(harness):
    """As ClickHouse reads: a large open range asked for, a little taken, the connection dropped."""
    body = os.urandom(20 << 20)
    harness.s3().put_object(Bucket=BUCKET, Key="hostile", Body=body)
    before = harness.rss_kib()
    for n in range(200):
        start = n * 100_000
        with connect(harness) as s:
            s.sendall(head_bytes("GET", PATH, sign(harness, "GET", PATH, headers={"range": f"bytes={start}-"})))
            got = b""
            while len(got) < 5000:
                got += s.recv(4096)
            reply = Reply(got)
            assert reply.status == 206 and body[start:start + len(reply.body)] == reply.body
    time.sleep(0.5)
    assert harness.threads() < 60
    assert harness.rss_kib() - before < 100 * 1024


# --- A store that somebody tampered with ---


def test_tampered_objects_are_never_returned():
    with Harness() as h:
        body = os.urandom(300_000)
        h.s3().put_object(Bucket=BUCKET, Key="big", Body=body)
        files = [p for p in files_below(h.store) if p.stat().st_size > 200_000]
        assert len(files) == 1
        good = files[0].read_bytes()
        r = random.Random(4)
        cases = [good[:n] + bytes([good[n] ^ 1]) + good[n + 1:] for n in [r.randrange(len(good)) for _ in range(25)]]
        cases += [good[:-1], good[:len(good) // 2], good + b"x", good[:65552] + good[131104:]]
        for bad in cases:
            files[0].write_bytes(bad)
            for key_range in (None, "bytes=0-299999", "bytes=299000-"):
                headers = {"range": key_range} if key_range else {}
                reply = request(h, "GET", f"/{BUCKET}/big", headers=headers)
                start = 299_000 if key_range == "bytes=299000-" else 0
                if reply.status == 200 or reply.status == 206:
                    # Cut off before the chunk that does not verify, or that chunk was not asked for.
                    assert body[start:start + len(reply.body)] == reply.body
                    if len(reply.body) == int(reply.headers["content-length"]):
                        assert key_range == "bytes=299000-"
                else:
                    assert reply.status == 500 and body[:16] not in reply.body
        files[0].write_bytes(good)
        assert request(h, "GET", f"/{BUCKET}/big").body == body
