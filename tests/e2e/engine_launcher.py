"""Starts lockset-engine, and lockset-gateway for it, as Lockset's supervisor does.

An engine finds its keyring on descriptor 3, its gateway on 4 and its listening socket for the api on 5. The test itself
plays keyring and supervisor: it hands out keys made on the spot and arms the dead-man timers. Without a gateway the test
takes the listener that the engine made in its own network namespace, and nothing serves it.
"""
import array
import fcntl
import http.client
import json
import os
import select
import socket
import struct
import subprocess
import tempfile
import time
import urllib.parse

ARM, BRANCH, ACTIVE, NAMES, END, READY = 1, 2, 3, 4, 6, 64
ORG = "o" + "0" * 20
COLLECTION = "c" + "0" * 20
KEY_ARN = "arn:aws:kms:us-west-2:111122223333:key/mrk-00000000000000000000000000000001"
BUILD = os.environ.get("LOCKSET_BUILD", os.path.join(os.path.dirname(__file__), "..", "..", "build"))


def find_program(name):
    for folder in (BUILD, os.path.join(BUILD, "src", "engine"), os.path.join(BUILD, "src", "gateway")):
        path = os.path.join(folder, name)
        if os.access(path, os.X_OK):
            return os.path.abspath(path)
    return None


def find_chdb():
    given = os.environ.get("LOCKSET_CHDB")
    root = os.path.join(os.path.dirname(__file__), "..", "..", "build", "deps", "chdb", "libchdb.so")
    for path in (given, os.path.join(BUILD, "deps", "chdb", "libchdb.so"), root):
        if path and os.path.exists(path):
            return os.path.abspath(path)
    return None


def boottime_ns():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("engine", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Reply:
    def __init__(self, response):
        self.status = response.status
        self.headers = {k.lower(): v for k, v in response.getheaders()}
        self.body = response.read()
        self.text = self.body.decode("utf-8", "replace")
        self.code = int(self.headers.get("x-clickhouse-exception-code", 0))
        self.summary = json.loads(self.headers.get("x-clickhouse-summary", "{}"))


def spawn(command, fds, log_path, stdin=subprocess.DEVNULL):
    """Starts a program that finds `fds` as its descriptors 3, 4, ..."""

    def place():
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 500) for fd in fds]  # numbers that are free: a test may hold many sockets
        for i, fd in enumerate(high):
            os.dup2(fd, 3 + i)

    with open(log_path, "ab") as log:
        return subprocess.Popen(command, stdin=stdin, stdout=subprocess.DEVNULL, stderr=log,
                                close_fds=False, preexec_fn=place)


class Gateway:
    """lockset-gateway over a folder, with keys that only this test knows. Serves one engine after the other."""

    def __init__(self, folder=None, lease_s=200):
        self.folder = folder or tempfile.mkdtemp(prefix="lockset-gateway-test-")
        self.store = os.path.join(self.folder, "store")
        self.log_path = os.path.join(self.folder, "gateway.log")
        key_path = os.path.join(self.folder, "test-keys")
        if not os.path.exists(key_path):
            with open(key_path, "wb") as f:
                f.write(os.urandom(80))
        with open(key_path, "rb") as f:
            keys = f.read()
        self.keyring, keyring_child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.supervisor, supervisor_child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [find_program("lockset-gateway"), "--org", ORG, "--region", "us-west-2", "--store", self.store,
                   "--key-arn", KEY_ARN]
        self.process = spawn(command, [keyring_child.fileno(), supervisor_child.fileno()], self.log_path)
        keyring_child.close()
        supervisor_child.close()
        self.keyring.send(bytes([NAMES]) + keys[:32])
        self.keyring.send(bytes([BRANCH]) + keys[32:])
        self.keyring.send(bytes([ACTIVE]) + keys[32:48])
        self.keyring.send(struct.pack(">Bq", ARM, boottime_ns() + int(lease_s * 1e9)))

    def announce(self, epoch, fd):
        socket.send_fds(self.supervisor, [json.dumps({"op": "engine", "epoch": epoch}).encode()], [fd])

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self.keyring.close()
        self.supervisor.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


class Engine:
    """One engine process, with a Gateway or without."""

    def __init__(self, epoch=1, gate=True, gateway=None, memory=None, args=(), lease_s=120, prefix=(), wait=True,
                 folder=None, stdin=subprocess.DEVNULL):
        self.folder = folder or tempfile.mkdtemp(prefix="lockset-engine-test-")
        self.socket_path = os.path.join(self.folder, "engine.sock")
        self.epoch = epoch
        self.log_path = os.path.join(self.folder, "engine.log")
        if os.path.exists(self.socket_path):
            os.unlink(self.socket_path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(self.socket_path)
        os.chmod(self.socket_path, 0o666)
        listener.listen(128)
        self.keyring, keyring_child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        hand_over, hand_over_child = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = find_program("lockset-engine" if gate else "lockset-engine-nogate")
        command = [*prefix, program, "--org", ORG, "--region", "us-west-2", "--epoch", str(epoch),
                   "--chdb", find_chdb(), *args]
        if memory:
            command += ["--memory-bytes", str(memory)]
        self.began = time.monotonic()
        self.process = spawn(command, [keyring_child.fileno(), hand_over_child.fileno(), listener.fileno()],
                             self.log_path, stdin)
        for s in (keyring_child, hand_over_child, listener):
            s.close()
        self.pid = self.process.pid
        self.listen_fd = None
        self.arm(lease_s)
        if gateway:
            gateway.announce(epoch, hand_over.fileno())
        elif wait:
            self.hand_over(hand_over)
        hand_over.close()
        if wait:
            self.wait_ready()
        self.start_s = time.monotonic() - self.began

    def hand_over(self, gateway):
        gateway.settimeout(20)
        data, ancillary, _, _ = gateway.recvmsg(65536, 1024)
        fds = array.array("i")
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(content[: len(content) - len(content) % fds.itemsize])
        if not data:
            raise RuntimeError("the engine ended before it handed over:\n" + self.log())
        message = json.loads(data)
        assert message["op"] == "listener" and len(fds) == 1, message
        self.listen_fd, self.port = fds[0], message["port"]
        self.secret = "SECRETcanary0123456789"
        answer = {"op": "serving", "epoch": self.epoch, "access_key": "AKTEST", "secret_key": self.secret}
        gateway.send(json.dumps(answer).encode())

    def arm(self, seconds):
        self.keyring.send(struct.pack(">Bq", ARM, boottime_ns() + int(seconds * 1e9)))

    def end_lease(self):
        self.keyring.send(struct.pack(">B", END))

    def wait_ready(self):
        readable, _, _ = select.select([self.keyring], [], [], 30)
        data = self.keyring.recv(64) if readable else b""
        if data[:1] != bytes([READY]):
            raise RuntimeError("the engine is not ready:\n" + self.log())

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def request(self, method, target, body=b"", headers=None, timeout=60):
        connection = UnixConnection(self.socket_path, timeout)
        try:
            connection.request(method, target, body=body, headers=headers or {})
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def call(self, sql, user="writer", body=None, rows=None, deadline_ms=None, timeout=60, **fields):
        """A statement; with `body` it goes into the URL and the body is its data."""
        headers = {"X-ClickHouse-User": user}
        if rows is not None:
            headers["X-Lockset-Rows"] = str(rows)
        if deadline_ms is not None:
            headers["X-Lockset-Deadline-Ms"] = str(deadline_ms)
        if body is not None:
            fields["query"] = sql
        target = "/?" + urllib.parse.urlencode(fields)
        return self.request("POST", target, body if body is not None else sql.encode(), headers, timeout)

    def read(self, sql, **more):
        return self.call(sql, user="reader", **more)

    def wait(self, timeout=15):
        return self.process.wait(timeout)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)
        self.keyring.close()
        if self.listen_fd is not None:
            try:
                os.close(self.listen_fd)
            except OSError:
                pass
            self.listen_fd = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()


def leb128(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def row(row_id, version, raw, deleted=0, at_us=0):
    """A row of a collection's table in RowBinary."""
    row_id, raw = row_id.encode(), raw.encode()
    return (leb128(len(row_id)) + row_id + struct.pack("<QBq", version, deleted, at_us) + leb128(len(raw)) + raw)


INSERT = "INSERT INTO w.%s (_id,_version,_deleted,_event_time,_raw) FORMAT RowBinary"
COLUMNS = """(_id String, _version UInt64, _deleted UInt8 DEFAULT 0, _event_time DateTime64(6),
 _raw String CODEC(ZSTD(1)), doc JSON(max_dynamic_paths=128) DEFAULT CAST(_raw, 'JSON(max_dynamic_paths=128)'))"""
DISK_SETTINGS = """table_disk=1, min_bytes_for_wide_part=134217728, enable_block_number_column=1,
 enable_block_offset_column=1, old_parts_lifetime=60"""
