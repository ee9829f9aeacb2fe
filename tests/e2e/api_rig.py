"""lockset-api alone: a real engine, with the test in the roles of keyring, supervisor and S3.

It shows how the api behaves when the others do what they rarely do: an engine killed in the middle of an insert, a key
refused between two bytes of an answer, a keyring that is gone. The S3 here keeps plaintext in memory: it is a toy.
"""
import concurrent.futures
import email.utils
import hashlib
import http.server
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import socketserver
import sqlite3
import subprocess
import tempfile
import threading
import time
import urllib.parse

from engine_launcher import BUILD, Engine, boottime_ns
from lockset_dev import Answer, http_call, wait_for  # noqa: F401

REGION = "us-west-2"
TOKEN = "operator-token-of-the-api-rig"


class ToyStore:
    """Objects in memory, by key."""

    def __init__(self):
        self.objects = {}
        self.lock = threading.Lock()
        self.refusing = False


class ToyS3(http.server.BaseHTTPRequestHandler):
    """As much of S3 as a plain_rewritable disk asks for. No signatures."""

    protocol_version = "HTTP/1.1"
    store = None

    def log_message(self, *_):
        pass

    def key(self):
        parts = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
        return urllib.parse.unquote(parts.path).lstrip("/").partition("/")[2]

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status, code):
        self.reply(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode(),
                   Content_Type="application/xml")

    def handle_one(self, action):
        key = self.key()
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if self.store.refusing:
            self.refuse(403, "AccessDenied")
            return
        with self.store.lock:
            action(key, body)

    def do_PUT(self):
        self.handle_one(self.put)

    def do_POST(self):
        self.handle_one(self.post)

    def do_GET(self):
        self.handle_one(self.get)

    def do_HEAD(self):
        self.handle_one(self.get)

    def do_DELETE(self):
        self.handle_one(lambda key, _: (self.store.objects.pop(key, None), self.reply(204)))

    def put(self, key, body):
        source = self.headers.get("x-amz-copy-source")
        if source:
            body = self.store.objects[urllib.parse.unquote(source).lstrip("/").partition("/")[2]]
        self.store.objects[key] = body
        etag = '"' + hashlib.md5(body).hexdigest() + '"'
        if source:
            self.reply(200, f"<CopyObjectResult><ETag>{etag}</ETag></CopyObjectResult>".encode())
        else:
            self.reply(200, ETag=etag)

    def post(self, key, body):
        if "delete" not in self.query:
            self.refuse(501, "NotImplemented")
            return
        for name in re.findall(rb"<Key>(.*?)</Key>", body):
            self.store.objects.pop(name.decode(), None)
        self.reply(200, b"<DeleteResult></DeleteResult>")

    def get(self, key, _):
        if "list-type" in self.query or (not key and "prefix" in self.query):
            self.list()
            return
        body = self.store.objects.get(key)
        if body is None:
            self.refuse(404, "NoSuchKey")
            return
        headers = {"ETag": '"' + hashlib.md5(body).hexdigest() + '"', "Last_Modified": email.utils.formatdate(usegmt=True)}
        span = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if not span:
            self.reply(200, body, Content_Length=str(len(body)), **headers)
            return
        first, last = int(span[1]), min(int(span[2] or len(body) - 1), len(body) - 1)
        piece = body[first:last + 1]
        self.reply(206, piece, Content_Range=f"bytes {first}-{last}/{len(body)}", **headers)

    def list(self):
        prefix, most = self.query.get("prefix", ""), int(self.query.get("max-keys", 1000))
        after = self.query.get("continuation-token") or self.query.get("start-after", "")
        keys = sorted(k for k in self.store.objects if k.startswith(prefix) and k > after)
        page, more = keys[:most], len(keys) > most
        items = "".join(f"<Contents><Key>{k}</Key><Size>{len(self.store.objects[k])}</Size>"
                        "<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>x</ETag></Contents>" for k in page)
        token = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if more else ""
        self.reply(200, (f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated><KeyCount>{len(page)}</KeyCount>"
                         f"{items}{token}</ListBucketResult>").encode(), Content_Type="application/xml")


class ToyServer(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """An engine that was killed."""

    request_queue_size = 128


def serve_s3(fd, store):
    handler = type("Handler", (ToyS3,), {"store": store})
    server = ToyServer(("127.0.0.1", 0), handler, bind_and_activate=False)
    server.socket.close()
    server.socket = socket.socket(fileno=os.dup(fd))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


class ToyKeyring:
    """Answers the api on its socket, and pushes what the test tells it to."""

    def __init__(self, rig):
        self.rig = rig
        self.path = rig.data / "run" / "keyring.sock"
        self.states, self.acks = {}, []
        self.lock = threading.RLock()
        self.client = self.listener = None
        self.seq = 0
        self.frozen = False
        self.requests = []

    def start(self):
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.path.unlink(missing_ok=True)
        self.listener.bind(str(self.path))
        self.listener.listen(8)
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def stop(self):
        for s in (self.listener, self.client):
            if s:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
                s.close()
        self.listener = self.client = None

    def accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.client = client
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        while True:
            try:
                data = client.recv(65536)
            except OSError:
                return
            if not data:
                return
            message = json.loads(data)
            if "ack" in message:
                self.acks.append(message["ack"])
                continue
            self.requests.append(message["op"])
            threading.Thread(target=self.answer, args=(client, message), daemon=True).start()

    def answer(self, client, message):
        while self.frozen:
            time.sleep(0.05)
        try:
            answer = getattr(self, "op_" + message["op"])(message)
        except Exception as e:  # noqa: BLE001
            answer = {"ok": False, "code": "INTERNAL", "message": repr(e)}
        try:
            client.send(json.dumps({"id": message["id"], **answer}).encode())
        except OSError:
            pass

    def op_hello(self, _):
        return {"ok": True, "states": list(self.states.values()), "service_account_id": "318212636800"}

    def op_check_key(self, m):
        good = "bad" not in m["arn"]
        return {"ok": True, "passed": good, "checks": [{"check": "kms:Encrypt", "ok": good, "detail": "d", "mend": "m"}]}

    def op_create_org(self, m):
        org = "o" + secrets.token_hex(10)
        arn = m.get("arn")
        if arn and arn.endswith("0" * 32):
            return {"ok": False, "code": "PREFLIGHT", "message": "The key failed its checks.",
                    "checks": [{"check": "kms:Encrypt", "ok": False, "detail": "AccessDenied", "mend": "grant it"}]}
        now = int(time.time() * 1000)
        with sqlite3.connect(self.rig.data / "registry.db", timeout=10) as db:
            db.execute("INSERT INTO key_links(org, kind, kms_key_arn, home_region) VALUES (?,?,?,?)",
                       (org, "customer" if arn else "service", arn, m["region"]))
            db.execute("INSERT INTO organizations(id, name, display_name, created_at_ms, created_by) VALUES (?,?,?,?,?)",
                       (org, m["name"], m["display_name"], now, m["created_by"]))
            db.execute("INSERT INTO org_regions(org, region, kms_key_arn, state, reason, since_ms, last_success_ms, "
                       "unavailable_ms) VALUES (?,?,?,'AVAILABLE','',?,?,0)", (org, m["region"], arn or "service", now, now))
            db.execute("INSERT INTO api_keys(hash, org, name, created_at_ms) VALUES (?,?,?,?)",
                       (m["api_key_hash"], org, m["api_key_name"], now))
            db.execute("INSERT INTO workspaces(org, name, description, created_at_ms, created_by) VALUES (?,'commons','',?,'x')",
                       (org, now))
        self.state(org, "AVAILABLE", arn=arn)
        return {"ok": True, "org": org}

    def op_activate(self, m):
        state = self.states.get(m["org"])
        if not state or state["state"] != "AVAILABLE":
            return {"ok": False, "code": "NO_LEASE", "message": "no lease", "state": state}
        engine = self.rig.engine_of(m["org"])
        return {"ok": True, "engine_socket": engine.socket_path, "epoch": engine.epoch}

    def op_recheck(self, m):
        return {"ok": True, "state": self.states[m["org"]], "checks": [{"check": "kms:Decrypt", "ok": True, "detail": "", "mend": ""}]}

    def op_kill_engine(self, m):
        self.rig.kill_engine(m["org"])
        return {"ok": True}

    def push(self, message):
        if self.client:
            self.client.send(json.dumps(message).encode())

    def state(self, org, state, cause=None, aws_error=None, arn=None):
        old = self.states.get(org, {})
        new = {"org": org, "region": REGION, "kms_key_arn": arn or old.get("kms_key_arn"), "kind": "customer",
               "state": state, "cause": cause, "reason": "AWS KMS said no." if cause else "", "aws_error": aws_error,
               "since_ms": int(time.time() * 1000), "last_success_ms": int(time.time() * 1000),
               "lease_expiry_boottime_ns": boottime_ns() + 60 * 10**9}
        self.states[org] = new
        self.seq += 1
        self.push({"push": "state", "seq": self.seq, "state": new})


class Rig:
    """lockset-api, a toy keyring, real engines, a toy S3."""

    def __init__(self):
        self.data = pathlib.Path(tempfile.mkdtemp(prefix="lockset-api-"))
        (self.data / "run").mkdir()
        self.stores, self.engines, self.epochs = {}, {}, {}
        self.lock = threading.Lock()
        self.log_path = self.data / "api.log"
        self.process = None
        # An engine dies with the thread that started it (PR_SET_PDEATHSIG): one thread that stays.
        self.starter = concurrent.futures.ThreadPoolExecutor(1)

    def __enter__(self):
        (self.data / "run" / "operator.sha256").write_text(hashlib.sha256(TOKEN.encode()).hexdigest() + "\n")
        self.config = self.data / "config.yaml"
        self.config.write_text(f"data: {self.data}\ncustomer_keys.enabled: true\nregions:\n  - name: {REGION}\n"
                               f"    api.listen: 127.0.0.1:0\n    store: {{kind: file, path: {self.data}/store}}\n")
        self.keyring = ToyKeyring(self)
        self.keyring.start()
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.start_api()
        return self

    def __exit__(self, *_):
        self.stop_api()
        for engine in self.engines.values():
            engine.kill()
        self.keyring.stop()
        self.listener.close()
        if not os.environ.get("LOCKSET_KEEP_LOGS"):
            shutil.rmtree(self.data, ignore_errors=True)

    def start_api(self):
        program = next(p for p in (pathlib.Path(BUILD) / "lockset-api", pathlib.Path(BUILD) / "src/api/lockset-api") if p.exists())
        fd = self.listener.fileno()

        def place():
            os.dup2(fd, 60)
            os.dup2(60, 3)

        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([str(program), "--config", str(self.config), "--debuggable"], stdin=subprocess.DEVNULL,
                                            stdout=subprocess.DEVNULL, stderr=log, close_fds=False, preexec_fn=place)
        wait_for(lambda: self.call("GET", "/readyz").status == 200, 10)

    def stop_api(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(10)

    def log(self):
        return self.log_path.read_text(errors="replace")

    # --- engines ---

    def engine_of(self, org):
        with self.lock:
            engine = self.engines.get(org)
            if engine and engine.process.poll() is None:
                return engine
            store = self.stores.setdefault(org, ToyStore())
            epoch = self.epochs[org] = self.epochs.get(org, 0) + 1

            def on_listener(fd, _port):
                serve_s3(fd, store)
                return "AKTOY", "SKTOY"

            folder = self.data / "run" / f"{org}-{epoch}"
            folder.mkdir()
            self.engines[org] = self.starter.submit(Engine, epoch=epoch, on_listener=on_listener, folder=str(folder),
                                                    lease_s=280).result()
            return self.engines[org]

    def kill_engine(self, org):
        engine = self.engines.get(org)
        if engine:
            engine.kill()

    # --- clients ---

    def call(self, method, path, body=None, headers=None, **more):
        return http_call(self.url, method, path, body, headers, **more)

    def admin(self, method, path, body=None, **more):
        return self.call(method, "/v1/admin" + path, body, {"Authorization": f"Operator {TOKEN}"}, **more)

    def org(self, name=None, arn=None):
        name = name or "org-" + secrets.token_hex(4)
        body = {"name": name, "region": REGION}
        if arn:
            body["kms_key_arn"] = arn
        answer = self.admin("POST", "/orgs", body)
        assert answer.status == 201, answer
        return RigOrg(self, answer.data)


class RigOrg:
    def __init__(self, rig, data):
        self.rig, self.id, self.name, self.api_key = rig, data["id"], data["name"], data["api_key"]

    def call(self, method, path, body=None, headers=None, **more):
        return self.rig.call(method, "/v1/orgs/self" + path, body, {"Authorization": f"ApiKey {self.api_key}", **(headers or {})},
                             **more)

    def collection(self, name="c", workspace="commons", **more):
        answer = self.call("POST", f"/ws/{workspace}/collections", {"name": name, **more})
        assert answer.status == 200, answer
        return answer.data

    def docs(self, method, documents, name="c", workspace="commons", **more):
        return self.call(method, f"/ws/{workspace}/collections/{name}/docs", {"data": documents}, **more)

    def add(self, documents, **more):
        return self.docs("POST", documents, **more)

    def query(self, sql, parameters=None, **more):
        body = {"sql": {"query": sql, **({"parameters": parameters} if parameters else {}), **more.pop("sql_more", {})}}
        body.update(more.pop("body", {}))
        return self.call("POST", "/queries", body, **more)

    def rows(self, sql, parameters=None, **more):
        answer = self.query(sql, parameters, **more)
        assert answer.status == 200, answer
        return answer.json["results"]

    def kill_engine(self):
        self.rig.kill_engine(self.id)

    def state(self, *args, **more):
        self.rig.keyring.state(self.id, *args, **more)
