"""lockset-api with real gateways and engines, and the test in the roles of keyring and supervisor.

It shows how the api behaves when the others do what they rarely do: an engine killed in the middle of an insert, a key
refused between two bytes of an answer, a keyring that is gone.
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time

from engine_launcher import BUILD, Engine, Gateway, boottime_ns
from lockset_dev import Answer, http_call, wait_for  # noqa: F401

REGION = "us-west-2"
TOKEN = "operator-token-of-the-api-rig"


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

    def op_audit(self, m):
        return {"ok": True}

    def op_create_s3_key(self, m):
        return {"ok": True, "secret": "s" * 40}

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
    """lockset-api, a toy keyring, real gateways and engines."""

    def __init__(self):
        self.data = pathlib.Path(tempfile.mkdtemp(prefix="lockset-api-"))
        (self.data / "run").mkdir()
        self.gateways, self.engines, self.epochs = {}, {}, {}
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
        for process in (*self.engines.values(), *self.gateways.values()):
            process.kill()
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
            epoch = self.epochs[org] = self.epochs.get(org, 0) + 1
            self.engines[org] = self.starter.submit(self.start_pair, org, epoch).result()
            return self.engines[org]

    def start_pair(self, org, epoch):
        gateway = self.gateways.get(org)
        if not gateway or gateway.process.poll() is not None:
            store = self.data / "store" / org
            store.mkdir(parents=True, exist_ok=True)
            gateway = self.gateways[org] = Gateway(folder=str(store), lease_s=280)
        folder = self.data / "run" / f"{org}-{epoch}"
        folder.mkdir()
        return Engine(epoch=epoch, gateway=gateway, folder=str(folder), lease_s=280)

    def kill_gateway(self, org):
        """A gateway that ends takes its engine with it: the supervisor sees to that."""
        self.gateways[org].kill()
        self.kill_engine(org)

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
