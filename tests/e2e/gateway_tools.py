"""The gateway's harness and the clients that talk to it: boto3, raw signed requests, rclone, awscli."""
import hashlib
import hmac
import os
import pathlib
import datetime
import signal
import socket
import subprocess
import tempfile
import shutil
import urllib.parse

import boto3
from botocore.config import Config

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("LOCKSET_BUILD", ROOT / "build"))
CHDB = pathlib.Path(os.environ.get("LOCKSET_CHDB", ROOT / "build/deps/chdb/libchdb.so"))
BUCKET = "lockset"
KEY_ARN = "arn:aws:kms:us-west-2:111122223333:key/mrk-00000000000000000000000000000001"
ACCESS, SECRET = "AKIDHARNESS000000001", "harness-secret-of-the-first-epoch-000001"


def harness_program():
    found = [BUILD / "gateway-harness", BUILD / "tests/tools/gateway-harness", BUILD / "obj/tests/tools/gateway-harness"]
    for path in found:
        if path.exists():
            return path
    raise FileNotFoundError(f"gateway-harness is in none of {found}; set LOCKSET_BUILD")


class Harness:
    """One gateway over a folder. Each new epoch has a port and credentials of its own."""

    def __init__(self, store=None, lease_ms=None, cache=None, cache_bytes=64 << 20, cache_epoch_ms=120000):
        self.own = None if store else tempfile.mkdtemp(prefix="gateway-test-")
        self.store = pathlib.Path(store or self.own + "/store")
        self.lease_ms = lease_ms
        self.cache = ["--cache", str(cache), "--cache-bytes", str(cache_bytes), "--cache-epoch-ms", str(cache_epoch_ms)] if cache else []
        self.process = None
        self.extra_environment, self.extra_arguments = {}, []

    def start(self):
        command = [str(harness_program()), "--store", str(self.store), "--access-key", ACCESS, "--secret-key", SECRET]
        if self.lease_ms is not None:
            command += ["--lease-ms", str(self.lease_ms)]
        command += self.cache + self.extra_arguments
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
                                        env=dict(os.environ, **self.extra_environment))
        self.access, self.secret = ACCESS, SECRET
        self._take_ready(self.process.stdout.readline())
        return self

    def _take_ready(self, line):
        assert line.startswith("ready: http://"), line
        self.url = line.split()[1]
        self.port = int(self.url.rsplit(":", 1)[1])

    def order(self, line):
        self.process.stdin.write(line + "\n")
        return self.process.stdout.readline().strip()

    def cache_counts(self):
        return {name: int(value) for name, _, value in (pair.partition("=") for pair in self.order("cache").split())}

    def new_epoch(self, access, secret):
        self._take_ready(self.order(f"epoch {access} {secret}"))
        self.access, self.secret = access, secret

    def freeze(self):
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.process.send_signal(signal.SIGCONT)

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()

    def close(self):
        self.kill()
        if self.own:
            shutil.rmtree(self.own, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()

    def s3(self, **config):
        options = {"signature_version": "s3v4", "retries": {"max_attempts": 0}, "s3": {"addressing_style": "path"},
                   "max_pool_connections": 64}
        options.update(config)
        return boto3.client("s3", endpoint_url=self.url, region_name="us-west-2", aws_access_key_id=self.access,
                            aws_secret_access_key=self.secret, config=Config(**options))

    def environment(self):
        return dict(PATH="/usr/bin:/bin", AWS_ACCESS_KEY_ID=self.access, AWS_SECRET_ACCESS_KEY=self.secret,
                    AWS_DEFAULT_REGION="us-west-2", AWS_CONFIG_FILE="/dev/null", AWS_SHARED_CREDENTIALS_FILE="/dev/null",
                    AWS_PAGER="", AWS_EC2_METADATA_DISABLED="true")

    def rss_kib(self, field="VmRSS"):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().split("\n"):
            if line.startswith(field + ":"):
                return int(line.split()[1])
        raise AssertionError(field)

    def threads(self):
        return len(os.listdir(f"/proc/{self.process.pid}/task"))


def quote(text):
    return urllib.parse.quote(text, safe="-._~")


def sign(harness, method, path, query="", headers=None, payload_hash=None, body=b"", now=None, region="us-west-2",
         secret=None):
    """A SigV4 signature written from AWS's description, so that a test can sign anything at all. path and query are as
    they go over the wire. Returns all headers to send."""
    now = now or datetime.datetime.now(datetime.timezone.utc)
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    headers = {k.lower(): v for k, v in (headers or {}).items()}
    headers.setdefault("host", f"127.0.0.1:{harness.port}")
    headers.setdefault("x-amz-date", stamp)
    headers.setdefault("x-amz-content-sha256", payload_hash or hashlib.sha256(body).hexdigest())
    canonical_path = urllib.parse.quote(urllib.parse.unquote_to_bytes(path), safe="/-._~")
    pairs = []
    for piece in filter(None, query.split("&")):
        name, _, value = piece.partition("=")
        pairs.append((quote(urllib.parse.unquote(name)), quote(urllib.parse.unquote(value))))
    signed = ";".join(sorted(headers))
    canonical = "\n".join([method, canonical_path, "&".join(f"{n}={v}" for n, v in sorted(pairs)),
                           *(f"{n}:{' '.join(headers[n].split())}" for n in sorted(headers)), "", signed,
                           headers["x-amz-content-sha256"]])
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", headers["x-amz-date"], scope,
                         hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + (secret or harness.secret)).encode()
    for part in (stamp[:8], region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={harness.access}/{scope}, SignedHeaders={signed}, "
                                f"Signature={signature}")
    return headers


def presign(harness, method, path, parameters=None, payload_hash="UNSIGNED-PAYLOAD", expires=60):
    """The target of a presigned URL: path and query."""
    now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{now[:8]}/us-west-2/s3/aws4_request"
    pairs = {**(parameters or {}), "X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": f"{harness.access}/{scope}",
             "X-Amz-Date": now, "X-Amz-Expires": str(expires), "X-Amz-SignedHeaders": "host"}
    query = "&".join(f"{n}={v}" for n, v in sorted((quote(n), quote(v)) for n, v in pairs.items()))
    canonical = "\n".join([method, path, query, f"host:127.0.0.1:{harness.port}", "", "host", payload_hash])
    text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + harness.secret).encode()
    for part in (*scope.split("/"), text):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return f"{path}?{query}&X-Amz-Signature={key.hex()}"


def head_bytes(method, target, headers):
    return (f"{method} {target} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n").encode()


class Reply:
    def __init__(self, raw):
        head, _, self.body = raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        self.status = int(lines[0].split()[1]) if lines[0] else 0
        self.headers = {k.strip().lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}

    @property
    def code(self):
        """S3's error code."""
        return self.body.partition(b"<Code>")[2].partition(b"</Code>")[0].decode()

    @property
    def message(self):
        return self.body.partition(b"<Message>")[2].partition(b"</Message>")[0].decode()


def connect(harness, timeout=20):
    s = socket.create_connection(("127.0.0.1", harness.port), timeout=timeout)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def read_to_end(s):
    pieces = []
    while True:
        try:
            piece = s.recv(65536)
        except ConnectionResetError:
            break
        if not piece:
            break
        pieces.append(piece)
    return b"".join(pieces)


def request(harness, method, path, query="", headers=None, body=b"", sends=None, extra=None, **sign_options):
    """One request on a connection of its own. `extra` headers are sent but not signed; `sends` replaces the body that
    goes over the wire. A body brings its Content-Length unless headers or extra do."""
    signed = sign(harness, method, path, query, headers, body=body, **sign_options)
    wire = dict(signed, **{k.lower(): v for k, v in (extra or {}).items()})
    if (body or method in ("PUT", "POST")) and "content-length" not in wire and "transfer-encoding" not in wire:
        wire["content-length"] = str(len(body))
    wire["connection"] = "close"
    target = path + ("?" + query if query else "")
    with connect(harness) as s:
        try:
            s.sendall(head_bytes(method, target, wire) + (body if sends is None else sends))
            s.shutdown(socket.SHUT_WR) if sends is not None else None
        except (BrokenPipeError, ConnectionResetError):
            pass
        return Reply(read_to_end(s))


def files_below(folder):
    return [p for p in pathlib.Path(folder).rglob("*") if p.is_file()]


def assert_nothing_left(harness):
    """No half-written file: what is in tmp/ belongs to requests that are over."""
    left = [p for p in files_below(harness.store / "tmp")] if (harness.store / "tmp").exists() else []
    assert left == [], left
