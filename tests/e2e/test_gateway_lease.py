"""The gateway when its lease ends, its epoch changes, or its process dies."""
import os
import signal
import socket
import threading
import time

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from gateway_tools import (ACCESS, BUCKET, KEY_ARN, SECRET, Harness, Reply, connect, files_below, head_bytes, read_to_end,
                           request, sign)


@pytest.fixture
def harness():
    with Harness() as h:
        yield h


def expect_no_lease(reply):
    assert (reply.status, reply.code) == (403, "AccessDenied"), reply.body
    assert KEY_ARN in reply.message


def every_operation(h):
    one = f"/{BUCKET}/k"
    yield "PUT", one, "", b"new"
    yield "GET", one, "", b""
    yield "GET", f"/{BUCKET}", "list-type=2", b""
    yield "GET", f"/{BUCKET}", "", b""
    yield "DELETE", one, "", b""
    yield "POST", f"/{BUCKET}", "delete", b"<Delete><Object><Key>k</Key></Object></Delete>"
    yield "POST", f"/{BUCKET}/multi", "uploads", b""
    yield "GET", f"/{BUCKET}", "uploads", b""


@pytest.mark.parametrize("how", ["end", "arm 0", "arm -1000"])
def test_without_a_lease_everything_is_403(harness, how):
    assert request(harness, "PUT", f"/{BUCKET}/k", body=b"body").status == 200
    before = sorted(files_below(harness.store))
    assert harness.order(how) in ("ended", "armed")
    for method, path, query, body in every_operation(harness):
        expect_no_lease(request(harness, method, path, query, body=body))
    assert request(harness, "HEAD", f"/{BUCKET}/k").status == 403
    assert sorted(files_below(harness.store)) == before
    # Still a 403 for those who have no business here, and the reason is not told to them.
    assert KEY_ARN not in request(harness, "GET", f"/{BUCKET}/k", secret="wrong").message
    if how != "end":
        assert harness.order("arm 60000") == "armed"
        assert request(harness, "GET", f"/{BUCKET}/k").body == b"body"


def test_expiry_alone_ends_it():
    with Harness(lease_ms=1500) as h:
        assert request(h, "PUT", f"/{BUCKET}/k", body=b"body").status == 200
        time.sleep(1.6)
        expect_no_lease(request(h, "GET", f"/{BUCKET}/k"))


@pytest.mark.parametrize("how", ["end", "arm 0"])
def test_a_running_get_is_broken_off(harness, how):
    size = 64 << 20
    harness.s3().put_object(Bucket=BUCKET, Key="big", Body=b"x" * size)
    with connect(harness) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        s.sendall(head_bytes("GET", f"/{BUCKET}/big", sign(harness, "GET", f"/{BUCKET}/big")))
        got = s.recv(65536)
        assert got.startswith(b"HTTP/1.1 200")
        harness.order(how)
        rest = read_to_end(s)
        assert len(got) + len(rest) < size / 2, "the answer went on after the lease had ended"


def test_a_running_put_is_refused(harness):
    size = 8 << 20
    path = f"/{BUCKET}/big"
    signed = sign(harness, "PUT", path, payload_hash="UNSIGNED-PAYLOAD")
    with connect(harness) as s:
        s.sendall(head_bytes("PUT", path, dict(signed, connection="close", **{"content-length": str(size)})))
        s.sendall(b"x" * (size // 2))
        time.sleep(0.3)
        assert harness.order("arm 0") == "armed"
        try:
            s.sendall(b"x" * (size // 2))
        except (BrokenPipeError, ConnectionResetError):
            pass
        reply = Reply(read_to_end(s))
        assert reply.status in (0, 403)
    harness.order("arm 60000")
    assert request(harness, "GET", path).status == 404


def test_a_new_epoch_shuts_the_old_one_out(harness):
    old = harness.s3()
    old_port = harness.port
    old.put_object(Bucket=BUCKET, Key="k", Body=b"first")
    slow = connect(harness)
    path = f"/{BUCKET}/late"
    slow.sendall(head_bytes("PUT", path, dict(sign(harness, "PUT", path, payload_hash="UNSIGNED-PAYLOAD"),
                                              **{"content-length": "10"})) + b"12345")
    idle = connect(harness)
    harness.new_epoch("AKIDSECOND0000000001", "the-secret-of-the-second-epoch-000000001")
    assert harness.port != old_port
    try:
        slow.sendall(b"67890")
        assert b" 200 " not in read_to_end(slow)[:20]
    except (BrokenPipeError, ConnectionResetError):
        pass
    try:
        assert idle.recv(10) == b"", "the old epoch's connections are cut"
    except ConnectionResetError:
        pass  # cut before it was accepted
    with pytest.raises((ClientError, BotoCoreError)):
        old.put_object(Bucket=BUCKET, Key="k", Body=b"from the dead")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", old_port), timeout=5)
    new = harness.s3()
    assert new.get_object(Bucket=BUCKET, Key="k")["Body"].read() == b"first"
    assert request(harness, "GET", path).status == 404
    # The old credentials are worth nothing at the new listener.
    harness.access, harness.secret = ACCESS, SECRET
    assert request(harness, "GET", f"/{BUCKET}/k").code == "InvalidAccessKeyId"


def test_epoch_change_under_load(harness):
    """Writers of each epoch go on until they are refused; nothing of an old epoch appears after the change."""
    stop, acked, lock = threading.Event(), {}, threading.Lock()

    def write(client, epoch, worker):
        n = 0
        while not stop.is_set():
            key = f"e{epoch}/w{worker}/{n}"
            try:
                client.put_object(Bucket=BUCKET, Key=key, Body=key.encode() * 100)
            except (ClientError, BotoCoreError):
                return
            with lock:
                acked[key] = key.encode() * 100
            n += 1

    threads = []
    for epoch in range(1, 5):
        client = harness.s3()
        for worker in range(4):
            threads.append(threading.Thread(target=write, args=(client, epoch, worker)))
            threads[-1].start()
        time.sleep(0.4)
        harness.new_epoch(f"AKIDEPOCH{epoch:011d}", f"secret-of-epoch-{epoch:024d}")
        listed = {o["Key"] for page in harness.s3().get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
                  for o in page.get("Contents", [])}
        time.sleep(0.2)
        again = {o["Key"] for page in harness.s3().get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
                 for o in page.get("Contents", [])}
        assert {k for k in again - listed} == set()
    stop.set()
    for t in threads:
        t.join()
    assert len(acked) > 20
    for key, body in acked.items():
        assert harness.s3().get_object(Bucket=BUCKET, Key=key)["Body"].read() == body


def kill_while_writing(rounds, seconds):
    with Harness() as h:
        acked = {}
        for n in range(rounds):
            lock, threads = threading.Lock(), []

            def write(worker):
                client = h.s3()
                for i in range(10_000):
                    key = f"r{n}/w{worker}/{i}"
                    body = os.urandom(100) * (1 + (i * 37) % 3000)
                    try:
                        client.put_object(Bucket=BUCKET, Key=key, Body=body)
                        if i % 3 == 0:
                            client.copy_object(Bucket=BUCKET, Key=key + "c", CopySource=f"{BUCKET}/{key}")
                            with lock:
                                acked[key + "c"] = body
                        if i % 5 == 4:
                            client.delete_object(Bucket=BUCKET, Key=key)
                            body = None
                    except (ClientError, BotoCoreError):
                        if i % 5 == 4:
                            return  # deleted or not: unknown
                        return
                    with lock:
                        acked[key] = body

            for worker in range(4):
                threads.append(threading.Thread(target=write, args=(worker,)))
                threads[-1].start()
            time.sleep(seconds)
            os.kill(h.process.pid, signal.SIGKILL)
            for t in threads:
                t.join()
            h.process.wait()
            h.start()
        assert len(acked) > 50
        client = h.s3()
        listed = {o["Key"] for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
                  for o in page.get("Contents", [])}
        for key, body in acked.items():
            if body is None:
                assert key not in listed
            else:
                assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == body, key
        # Whatever was not acknowledged is whole or not there at all.
        for key in listed - set(acked):
            client.get_object(Bucket=BUCKET, Key=key)["Body"].read()


def test_killed_while_writing():
    kill_while_writing(3, 0.7)


@pytest.mark.long
def test_killed_while_writing_many_times():
    kill_while_writing(20, 1.0)
