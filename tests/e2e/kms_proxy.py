"""Between a client and the local KMS: passes requests on, or answers in KMS's place, byte for byte, by key and operation."""
import json
import socket
import ssl
import threading
import time

PASS = None


def now():
    """Seconds on the clock of leases."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def answer(status, body=b"", *headers):
    """A whole HTTP answer."""
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    head = [f"HTTP/1.1 {status} X", "Content-Type: application/x-amz-json-1.1",
            "x-amzn-RequestId: 7a7ba1c8-0000-4000-8000-0123456789ab", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def error(code, message="no", status=400, member="message"):
    return answer(status, {"__type": code, member: message} if message is not None else {"__type": code})


class Raw:
    """Bytes, and then the end of the connection."""

    def __init__(self, data=b"", step=None):
        self.data, self.step = data, step  # step: so many bytes every 50 ms


HANG = object()  # the request is taken, nothing is ever answered


class Slow:
    """What KMS says, a little later."""

    def __init__(self, seconds):
        self.seconds = seconds


class Seen:
    """A request: when it came, for which key, and how it was answered ("good", "refused": a 400 of KMS, or "other")."""

    def __init__(self, at, arn, operation):
        self.at, self.arn, self.operation, self.outcome = at, arn, operation, "other"
        self.wall, self.context, self.request_id, self.error = time.time(), None, None, None

    def note_answer(self, reply):
        head, _, body = reply.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        self.outcome = "good" if status == 200 else "refused" if status == 400 else "other"
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"x-amzn-requestid":
                self.request_id = value.strip().decode()
        if status != 200:
            self.error = json.loads(body).get("__type", "").rpartition("#")[2] if body.startswith(b"{") else "unknown"


class KmsProxy:
    def __init__(self, upstream_port, tls_context=None):
        self.upstream_port, self.tls = upstream_port, tls_context
        self.rules = {}  # a key's ARN: function(operation, arn) -> an answer, HANG, Raw, Slow or PASS
        self.seen = []
        self.connections = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.url = f"http{'s' if tls_context else ''}://127.0.0.1:{self.port}"
        self.closing = threading.Event()
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        self.closing.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def of(self, arn, operation=None, since=0.0):
        return [s for s in list(self.seen) if s.arn == arn and operation in (None, s.operation) and s.at >= since]

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        upstream = None
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            while request := read_message(connection):
                head, body = request
                operation = head.lower().partition(b"trentservice.")[2].partition(b"\r\n")[0].decode()
                members = json.loads(body)
                seen = Seen(now(), members.get("KeyId"), operation)
                seen.context = members.get("EncryptionContext")
                rule = self.rules.get(seen.arn)
                reply = rule(NAMES[operation], seen.arn) if rule else PASS
                seen.operation = NAMES[operation]
                self.seen.append(seen)
                if isinstance(reply, Slow):
                    time.sleep(reply.seconds)
                if reply is HANG:
                    self.closing.wait()
                    return
                if isinstance(reply, Raw):
                    send_raw(connection, reply)
                    return
                if not isinstance(reply, bytes):
                    upstream = upstream or socket.create_connection(("127.0.0.1", self.upstream_port))
                    upstream.sendall(head + body)
                    head, body = read_message(upstream)
                    reply = head + body
                seen.note_answer(reply)
                connection.sendall(reply)
        except (OSError, ssl.SSLError, TypeError):
            pass  # either side has gone
        finally:
            connection.close()
            if upstream:
                upstream.close()


OPERATIONS = ["Encrypt", "Decrypt", "GenerateDataKey", "GenerateDataKeyWithoutPlaintext", "DescribeKey"]
NAMES = {name.lower(): name for name in OPERATIONS}


def read_message(connection):
    """The head (with its empty line) and the body of an HTTP message; None at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return None
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    while len(body) < length:
        chunk = connection.recv(65536)
        if not chunk:
            return None
        body += chunk
    return head + b"\r\n\r\n", body


def send_raw(connection, raw):
    step = raw.step or len(raw.data) or 1
    for i in range(0, len(raw.data), step):
        connection.sendall(raw.data[i:i + step])
        if raw.step:
            time.sleep(0.05)
