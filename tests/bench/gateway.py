"""Objects of 16 MiB into the gateway and out of it, beside the same bytes through nginx. One client, one connection kept
alive, the same client code for both."""
import contextlib
import hashlib
import os
import random
import socket
import time

import gateway_load
import gateway_tools
from measure import Figures, rounds
from nginx_files import nginx

OBJECT_BYTES = 16 << 20
OBJECTS = 12


class Client:
    """Just enough HTTP/1.1 not to be what is measured."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray(OBJECT_BYTES + 65536)

    def close(self):
        self.socket.close()

    def call(self, method, target, headers, body=b""):
        """Returns (status, the answer's body as a view that the next call overwrites)."""
        self.socket.sendall(gateway_tools.head_bytes(method, target, headers))
        if body:
            self.socket.sendall(body)
        have, head = 0, -1
        view = memoryview(self.buffer)
        while head < 0:
            have += self._more(view[have:])
            head = self.buffer.find(b"\r\n\r\n", 0, have)
        lines = bytes(view[:head]).decode("latin-1").split("\r\n")
        fields = dict(line.lower().split(": ", 1) for line in lines[1:])
        end = head + 4 + int(fields.get("content-length", 0))
        while have < end:
            have += self._more(view[have:end])
        return int(lines[0].split()[1]), view[head + 4:end]

    def _more(self, view):
        n = self.socket.recv_into(view)
        if n == 0:
            raise ConnectionError("the server hung up")
        return n


class Pair:
    """The two servers, a client of each, and what is sent to both."""

    def __init__(self, harness, nginx_port, files):
        self.harness, self.nginx_port, self.files = harness, nginx_port, files
        self.ours, self.theirs = Client(harness.port), Client(nginx_port)
        self.body = random.Random(16).randbytes(OBJECT_BYTES)
        self.sha256 = hashlib.sha256(self.body).hexdigest()

    def to_gateway(self, method, name, body=b"", payload="UNSIGNED-PAYLOAD"):
        path = f"/{gateway_tools.BUCKET}/{name}"
        headers = gateway_tools.sign(self.harness, method, path, payload_hash=payload)
        if body:
            headers["content-length"] = str(len(body))
        return self._timed(self.ours, method, path, headers, body)

    def to_nginx(self, method, name, body=b""):
        headers = {"host": "127.0.0.1"}
        if body:
            headers["content-length"] = str(len(body))
        return self._timed(self.theirs, method, f"/{name}", headers, body)

    def _timed(self, client, method, path, headers, body):
        begun = time.perf_counter()
        status, answer = client.call(method, path, headers, body)
        took = time.perf_counter() - begun
        assert status in (200, 201, 204), (method, path, status, bytes(answer[:300]))
        assert method != "GET" or answer == self.body, "the bytes that came are not those that were sent"
        return took

    def sync(self, name):
        """What nginx leaves to the kernel: the file and its name on the disk."""
        begun = time.perf_counter()
        for path in (self.files / name, self.files):
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
        return time.perf_counter() - begun

    def one_round(self, figures, _):
        put = put_hashed = get = peer_put = peer_sync = peer_get = 0.0
        for i in range(OBJECTS):
            name = f"object-{i}"
            put += self.to_gateway("PUT", name, self.body)
            peer_put += self.to_nginx("PUT", name, self.body)
            peer_sync += self.sync(name)
            put_hashed += self.to_gateway("PUT", name, self.body, self.sha256)
            get += self.to_gateway("GET", name)
            peer_get += self.to_nginx("GET", name)
        rate = [OBJECTS * OBJECT_BYTES / 1e6 / t for t in (put, put_hashed, get, peer_put, peer_put + peer_sync, peer_get)]
        figures.add("put 16 MiB", "MB/s", "nginx, then fsync", rate[0], rate[4])
        figures.add("put 16 MiB", "MB/s", "nginx", rate[0], rate[3])
        figures.add("put 16 MiB, SHA-256", "MB/s", "nginx, then fsync", rate[1], rate[4])
        figures.add("get 16 MiB", "MB/s", "nginx", rate[2], rate[5])

    def close(self):
        self.ours.close()
        self.theirs.close()


def run(folder):
    with contextlib.ExitStack() as stack:
        harness = stack.enter_context(gateway_tools.Harness(folder / "store"))
        port, _ = stack.enter_context(nginx(folder / "nginx"))
        pair = stack.enter_context(contextlib.closing(Pair(harness, port, folder / "nginx/files")))
        pair.one_round(Figures(), 0)  # files, pages and threads that are there from then on
        figures = rounds("gateway", pair.one_round)
    return figures + gateway_load.run(folder)
