"""lockset-keyring alone, against the real local KMS, with the test in the roles of supervisor and api."""
import json
import os
import pathlib
import signal
import socket
import sqlite3
import subprocess
import tempfile
import threading
import time

from kms_proxy import KmsProxy, now
from kms_tools import BUILD, CUSTOMER, SERVICE, WEST, Kms, access_key, allow, policy, secret_key

ACTIONS = ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext",
           "kms:DescribeKey"]
SERVICE_ROOT = f"arn:aws:iam::{SERVICE}:root"
# Short, so that tests are; the bounds that the settings promise scale with them.
QUICK = {"customer_keys.enabled": "true", "key.probe_interval": "1s", "key.full_check_interval": "2s",
         "key.kms_timeout": "500ms", "key.ride_through": "3s"}


def built(name):
    for path in (BUILD / name, *BUILD.glob(f"src/*/{name}"), BUILD / "tests/tools" / name, BUILD / "obj/tests/tools" / name):
        if path.exists():
            return str(path)
    raise FileNotFoundError(f"{name} is not in {BUILD}: build it first, or set LOCKSET_BUILD")


def wait_for(condition, timeout=10.0, what="a condition"):
    until = now() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert now() < until, f"{what} did not come true within {timeout} s"
        time.sleep(0.01)


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as f:
            return f.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def freeze(pid):
    """SIGSTOP, and the wait until every thread of it has stopped."""
    os.kill(pid, signal.SIGSTOP)

    def is_stopped():
        states = [p.read_text().rpartition(")")[2].split()[0] for p in pathlib.Path(f"/proc/{pid}/task").glob("*/stat")]
        return states and set(states) <= {"T"}
    wait_for(is_stopped, what="a stop")


def thaw(pid):
    os.kill(pid, signal.SIGCONT)


def spawn(command, channel, **options):
    """Starts a program that finds `channel` as its descriptor 3."""
    def place():
        os.dup2(channel.fileno(), 60)  # by way of another number, in case it is 3 already and closes at exec
        os.dup2(60, 3, inheritable=True)
        os.close(60)
    return subprocess.Popen(command, close_fds=False, preexec_fn=place, **options)


class Child:
    """A process of a pair: the real dead-man timer, everything else for show."""

    def __init__(self, role, *options):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control = ours
        self.process = spawn([built("keyring-child"), role, *options], theirs, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
        theirs.close()
        self.lines = []
        self.began, self.ended_at = now(), None
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.append((now(), *line.split()))
        self.process.wait()
        self.ended_at = now()

    def said(self, *words):
        return [line for line in list(self.lines) if line[1:1 + len(words)] == words]

    def say(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def kill(self):
        self.process.kill()


class Rig:
    def __init__(self, settings=None, service_key=True, proxy=False):
        self.folder = tempfile.TemporaryDirectory(prefix="lockset-keyring-")
        self.root = pathlib.Path(self.folder.name)
        self.data = self.root / "data"
        self.settings = {**QUICK, **(settings or {})}
        self.kms = Kms(self.root)
        self.with_service_key = service_key
        self.with_proxy, self.proxy, self.endpoint = proxy, None, None
        self.environment = {}
        self.service_arn = None
        self.keyring = self.api = self.supervisor = None
        self.child_options = {"gateway": [], "engine": []}
        self.pairs = {}  # (org): {"gateway": Child, "engine": Child, "epoch"}
        self.asked = []  # what the keyring asked of the supervisor
        self.refuse_start, self.holds_starts = None, False
        self.pushes, self.answers, self.latest = [], {}, {}
        self.lock = threading.Condition()
        self.next_id = 1
        self.acks = True

    def __enter__(self):
        try:
            return self.set_up()
        except BaseException:
            self.__exit__()
            raise

    def set_up(self):
        self.kms.start()
        self.proxy = KmsProxy(self.kms.port()) if self.with_proxy else None
        self.endpoint = self.proxy.url if self.proxy else self.kms.url
        self.customer, self.service = self.kms.client("customer"), self.kms.client("service")
        self.service_arn = self.service.create_key()["KeyMetadata"]["Arn"] if self.with_service_key else None
        (self.root / "credentials").write_text(
            f"[service]\naws_access_key_id = {access_key('service')}\naws_secret_access_key = {secret_key('service')}\n")
        (self.root / "credentials").chmod(0o600)
        self.start()
        return self

    def __exit__(self, *_):
        self.stop(signal.SIGKILL)
        for pair in self.pairs.values():
            for child in pair.get("all", []):
                child.kill()
        if self.kms.process:
            self.kms.process.send_signal(signal.SIGCONT)
            self.kms.stop(signal.SIGKILL)
        if self.proxy:
            self.proxy.close()
        self.folder.cleanup()

    # ---- the program ----

    def write_config(self):
        sections = {}
        for key, value in self.settings.items():
            section, _, name = key.partition(".")
            sections.setdefault(section, {})[name] = value
        text = [f"data: {self.data}", f"aws:\n  credentials_file: {self.root}/credentials\n  profile: service"]
        for section, values in sections.items():
            text.append(f"{section}:\n" + "\n".join(f"  {k}: {v}" for k, v in values.items()))
        text.append(f"regions:\n  - name: {WEST}\n    api:\n      listen: 127.0.0.1:1\n    kms:\n"
                    f"      endpoint: {self.endpoint}\n    store:\n      kind: file\n      encryption: sealed"
                    + (f"\n    service_key_arn: {self.service_arn}" if self.service_arn else ""))
        (self.root / "config.yaml").write_text("\n".join(text) + "\n")

    def launch(self):
        self.write_config()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with open(self.root / "keyring.log", "ab") as log:
            self.keyring = spawn([built("lockset-keyring"), "--config", str(self.root / "config.yaml")], theirs,
                                 stdin=subprocess.DEVNULL, stderr=log, env={**os.environ, **self.environment})
        theirs.close()
        self.supervisor = ours

    def log_text(self):
        return (self.root / "keyring.log").read_text()

    def start(self):
        self.launch()
        threading.Thread(target=self.supervise, args=(self.supervisor,), daemon=True).start()
        self.connect()

    def connect(self):
        def attempt():
            assert self.keyring.poll() is None, self.log_text()
            s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                s.connect(str(self.data / "run" / "keyring.sock"))
                return s
            except OSError:
                s.close()
                return None
        self.api = wait_for(attempt, what="a connection")
        threading.Thread(target=self.listen, args=(self.api,), daemon=True).start()

    def stop(self, how=signal.SIGTERM):
        if self.keyring and self.keyring.poll() is None:
            self.keyring.send_signal(how)
            self.keyring.send_signal(signal.SIGCONT)
            self.keyring.wait(5)
        for s in (self.api, self.supervisor):
            if s:
                s.close()
        self.api = self.supervisor = None

    def restart(self, how=signal.SIGKILL):
        self.stop(how)
        self.start()

    # ---- as the supervisor ----

    def supervise(self, channel):
        while True:
            try:
                data = channel.recv(65536)
            except OSError:
                return
            if not data:
                return
            message = json.loads(data)
            self.asked.append((now(), message))
            self.obey(channel, message)

    def obey(self, channel, m):
        pair = self.pairs.setdefault(m["org"], {})
        common = {"org": m["org"], "region": m["region"]}
        if m["op"] == "end":
            # As slow as a supervisor that hangs: the keyring must end them by itself.
            self.tell(channel, {"op": "ended", **common})
            return
        if self.holds_starts:
            return
        if self.refuse_start:
            self.tell(channel, {"op": "start_failed", **common, "epoch": m["epoch"], "reason": self.refuse_start})
            return
        roles = ["gateway", "engine"] if m["op"] == "start" else ["engine"]
        for role in roles:
            if pair.get(role):
                pair[role].kill()
            pair[role] = Child(role, *self.child_options[role])
            pair.setdefault("all", []).append(pair[role])
        pair["epoch"] = m["epoch"]
        answer = {"op": "started" if m["op"] == "start" else "engine_started", **common, "epoch": m["epoch"],
                  "engine_pid": pair["engine"].process.pid, "engine_socket": f"/run/engine-{m['epoch']}.sock"}
        if m["op"] == "start":
            answer["gateway_pid"] = pair["gateway"].process.pid
        self.tell(channel, answer, [pair[r].control.fileno() for r in roles])
        for role in roles:
            pair[role].control.close()

    def tell(self, channel, message, fds=()):
        try:
            socket.send_fds(channel, [json.dumps(message).encode()], list(fds))
        except OSError:
            pass

    # ---- as the api ----

    def listen(self, s):
        while True:
            try:
                data = s.recv(65536)
            except OSError:
                return
            if not data:
                return
            message = json.loads(data)
            with self.lock:
                for state in message.get("states", [message["state"]] if message.get("push") == "state" else []):
                    self.latest[state["org"]] = state
                if "push" in message:
                    self.pushes.append((now(), message))
                else:
                    self.answers[message["id"]] = message
                self.lock.notify_all()
            if "seq" in message and self.acks:
                try:
                    s.send(json.dumps({"ack": message["seq"]}).encode())
                except OSError:
                    return

    def ask(self, op, **fields):
        with self.lock:
            number = self.next_id
            self.next_id += 1
        self.api.send(json.dumps({"id": number, "op": op, **fields}).encode())
        return number

    def call(self, op, timeout=20, **fields):
        number = self.ask(op, **fields)
        with self.lock:
            assert self.lock.wait_for(lambda: number in self.answers, timeout), f"no answer to {op}: {self.log_text()}"
            return self.answers.pop(number)

    def states(self):
        """Every organization's state at this moment."""
        self.call("hello")
        self.call("hello")  # the answer has room for some; the others' were pushed behind it, and so before this one
        return dict(self.latest)

    def state(self, org):
        return self.states()[org]

    def wait_state(self, org, state, cause=None, timeout=10):
        return wait_for(lambda: (s := self.state(org))["state"] == state and s["cause"] == cause and s, timeout,
                        f"{state} {cause}")

    def pushed_states(self, org, since=0.0):
        """What the keyring told of it, each with the time."""
        return [(at, m["state"]) for at, m in list(self.pushes)
                if m["push"] == "state" and m["state"]["org"] == org and at >= since]

    def expiry(self, org):
        """The lease's end, as now() counts."""
        return self.state(org)["lease_expiry_boottime_ns"] / 1e9

    # ---- the customer ----

    def make_key(self, actions=ACTIONS, *more, **options):
        statements = [allow(SERVICE_ROOT, list(actions))] if actions else []
        options = {"MultiRegion": True, "Policy": policy(*statements, *more), **options}
        return self.customer.create_key(**options)["KeyMetadata"]["Arn"]

    def set_policy(self, arn, actions=ACTIONS, *more):
        statements = [allow(SERVICE_ROOT, list(actions))] if actions else []
        self.customer.put_key_policy(KeyId=arn, PolicyName="default", Policy=policy(*statements, *more))

    def create(self, name="acme", arn=None, **changes):
        request = {"name": name, "display_name": "An organization", "region": WEST, "api_key_hash": os.urandom(32).hex(),
                   "api_key_name": "first", "created_by": "operator", **changes}
        if arn is not None:
            request["arn"] = arn
        return self.call("create_org", **request)

    def made(self, name="acme", arn=None):
        """A new organization's id and its key's ARN."""
        arn = arn or self.make_key()
        answer = self.create(name, arn)
        assert answer["ok"], answer
        return answer["org"], arn

    def active(self, org):
        answer = self.call("activate", org=org, region=WEST)
        assert answer["ok"], answer
        return self.pairs[org]

    def database(self):
        return sqlite3.connect(self.data / "registry.db")

    def key_files(self, org=None):
        return sorted((self.data / "store" / WEST).glob(f"{org or '*'}/keys/*.json"))


def gone(pair):
    return not any(is_alive(pair[r].process.pid) for r in ("gateway", "engine"))
