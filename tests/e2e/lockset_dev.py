"""A running `lockset dev` for the tests, and the two people around it: the operator and the customer.

Everything goes through public interfaces: the command line, the REST API, AWS's own client against the local KMS.
"""
import copy
import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.parse
import uuid

import boto3
from botocore.config import Config

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("LOCKSET_BUILD", ROOT / "build"))
LOCKSET = BUILD / "lockset"
WEST, EAST = "us-west-2", "us-east-1"
CUSTOMER = "111122223333"


class Answer:
    """What an HTTP call brought: status, headers, and the body as JSON where it is JSON."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body
        try:
            self.json = json.loads(body) if body else None
        except ValueError:
            self.json = None

    @property
    def data(self):
        return self.json["data"]

    @property
    def message(self):
        return self.json["message"]

    def __repr__(self):
        return f"<{self.status} {self.body[:400]!r}>"


def http_call(url, method, path, body=None, headers=None, timeout=60, raw=None):
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)
    try:
        data = raw if raw is not None else (None if body is None else json.dumps(body).encode())
        all_headers = {"Content-Type": "application/json"} if data is not None else {}
        all_headers.update(headers or {})
        connection.request(method, path, body=data, headers=all_headers)
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def wait_for(condition, timeout=20.0, every=0.05, what="a condition"):
    """Polls until the condition gives something true, and returns that."""
    until = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"{what} did not come true within {timeout} s")
        time.sleep(every)


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Dev:
    """`lockset dev` on a folder of its own and free ports."""

    def __init__(self, settings=None, data=None, build=BUILD, environment=None):
        self.environment = environment  # besides the tests' own
        self.program = str(pathlib.Path(build) / "lockset")
        self.owns_data = data is None
        self.data = pathlib.Path(data or tempfile.mkdtemp(prefix="ls-"))
        self.settings = {"dev.port_base": "0", **(settings or {})}
        self.process = None
        self.log_path = self.data.with_name(self.data.name + ".log")
        self.info = None

    def start(self, timeout=60):
        command = [self.program, "dev", "--data", str(self.data)]
        for key, value in self.settings.items():
            command += ["--set", f"{key}={value}"]
        with open(self.log_path, "ab") as log:
            # A session of its own: Ctrl-C reaches whoever runs the tests, who then stops it.
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL,
                                            start_new_session=True, env={**os.environ, **(self.environment or {})})
        os.set_blocking(self.process.stdout.fileno(), False)
        text = b""
        until = time.monotonic() + timeout
        while b"\n" not in text:
            if self.process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"lockset dev did not get ready (exit {self.process.poll()}):\n{self.log()[-4000:]}")
            text += self.process.stdout.read() or b""
            time.sleep(0.02)
        self.ready_line = text.decode()
        assert self.ready_line.startswith("ready: api=http://127.0.0.1:"), self.ready_line
        self.reload()
        return self

    def reload(self):
        self.info = json.loads((self.data / "dev.json").read_text())
        self.api = self.info["regions"][0]["api_url"]
        self.apis = {r["name"]: r["api_url"] for r in self.info["regions"]}
        self.stores = {r["name"]: pathlib.Path(r["store"]) for r in self.info["regions"]}
        self.kms_urls = {r["name"]: r["kms_url"] for r in self.info["regions"]}
        self.store = pathlib.Path(self.info["regions"][0]["store"])
        return self.info

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def pids(self):
        """name -> pid, fresh from dev.json."""
        return self.reload()["processes"]

    def pid(self, prefix):
        """The pid of the process whose name begins so; None if there is none."""
        return next((p for n, p in self.pids().items() if n.startswith(prefix)), None)

    def stop(self, timeout=10):
        """SIGTERM; everything must be gone within the published 10 s."""
        if self.process is None or self.process.poll() is not None:
            return
        pids = list(self.pids().values())
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(timeout=timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("lockset dev took over 10 s to stop") from None
        left = [p for p in pids if is_running(p)]
        assert not left, f"processes left after stop: {left}"

    def kill(self):
        """SIGKILL of the supervisor, as a crash would."""
        self.process.kill()
        self.process.wait()

    def close(self):
        try:
            self.stop()
        finally:
            if self.owns_data:
                shutil.rmtree(self.data, ignore_errors=True)
                if self.log_path.exists() and not os.environ.get("LOCKSET_KEEP_LOGS"):
                    self.log_path.unlink()

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            if self.process:
                self.kill()
            self.close()
            raise

    def __exit__(self, *_):
        self.close()

    def devctl(self, action, process):
        done = subprocess.run([str(LOCKSET), "devctl", action, process, "--data", str(self.data)], capture_output=True,
                              text=True, timeout=30, check=False)
        assert done.returncode == 0, done.stderr
        return done

    def cli(self, *words, key=None, check=True, timeout=120, stdin=None):
        """`lockset WORDS --data DIR`; returns the finished process."""
        command = [str(LOCKSET), *words, "--data", str(self.data)]
        environment = dict(os.environ)
        if key:
            environment["LOCKSET_API_KEY"] = key
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False, env=environment,
                              input=stdin)
        if check:
            assert done.returncode == 0, (command, done.returncode, done.stdout, done.stderr)
        return done

    # --- the operator ---

    def admin(self, method, path, body=None, **more):
        return http_call(self.api, method, "/v1/admin" + path, body,
                         {"Authorization": f"Operator {self.info['operator_token']}"}, **more)

    def policy(self):
        """The key policy that the operator asks customers for, with the customer's own account in it."""
        service = self.admin("GET", "/key-policy?format=statement").json
        statement = service.get("data", service)
        statement = statement.get("statement", statement)
        if isinstance(statement, str):
            statement = json.loads(statement)
        statement = dict(statement, Resource="*")
        own = {"Sid": "Enable IAM User Permissions", "Effect": "Allow",
               "Principal": {"AWS": f"arn:aws:iam::{CUSTOMER}:root"}, "Action": "kms:*", "Resource": "*"}
        return {"Version": "2012-10-17", "Statement": [own, statement]}

    # --- the customer ---

    def kms(self, region=WEST, profile="customer"):
        session = boto3.Session(
            aws_access_key_id=self.credential(profile, "aws_access_key_id"),
            aws_secret_access_key=self.credential(profile, "aws_secret_access_key"), region_name=region)
        return session.client("kms", endpoint_url=self.kms_urls[region],
                              config=Config(retries={"max_attempts": 1}, connect_timeout=5, read_timeout=10))

    def credential(self, profile, name):
        section = None
        for line in (self.data / "credentials").read_text().splitlines():
            line = line.strip()
            if line.startswith("["):
                section = line.strip("[]")
            elif section == profile and line.split("=")[0].strip() == name:
                return line.split("=", 1)[1].strip()
        raise KeyError(name)

    def create_key(self, policy=None, **more):
        """A Multi-Region key of the customer with the asked policy; returns its ARN."""
        options = {"MultiRegion": True, "Policy": json.dumps(policy or self.policy()), **more}
        return self.kms().create_key(**options)["KeyMetadata"]["Arn"]

    def replicate_key(self, arn, policy=None, region=EAST, **more):
        """A replica of the customer's key, ready for use; replicating copies no policy. Returns its ARN."""
        replica = self.kms().replicate_key(KeyId=arn, ReplicaRegion=region, Policy=json.dumps(policy or self.policy()),
                                           **more)["ReplicaKeyMetadata"]["Arn"]
        wait_for(lambda: self.kms(region).describe_key(KeyId=replica)["KeyMetadata"]["KeyState"] == "Enabled", 10,
                 what="the replica's state Enabled")
        return replica

    def create_org(self, name=None, key_arn=True):
        """An organization, with a fresh customer key unless key_arn is an ARN or None (service key)."""
        name = name or "org-" + uuid.uuid4().hex[:8]
        body = {"name": name, "region": WEST}
        if key_arn is True:
            key_arn = self.create_key()
        if key_arn:
            body["kms_key_arn"] = key_arn
        answer = self.admin("POST", "/orgs", body)
        assert answer.status == 201, answer
        return Org(self, name, key_arn, answer.data)


class Org:
    """An organization as its engineers use it."""

    def __init__(self, dev, name, key_arn, data):
        self.dev = dev
        self.name = name
        self.key_arn = key_arn
        self.id = data["id"]
        self.api_key = data["api_key"]
        self.region = WEST

    def at(self, region):
        """The same organization, through another region's API."""
        other = copy.copy(self)
        other.region = region
        return other

    def call(self, method, path, body=None, headers=None, **more):
        return http_call(self.dev.apis[self.region], method, "/v1/orgs/self" + path, body,
                         {"Authorization": f"ApiKey {self.api_key}", **(headers or {})}, **more)

    def create_collection(self, name, workspace="commons"):
        answer = self.call("POST", f"/ws/{workspace}/collections", {"name": name})
        assert answer.status == 200, answer
        return answer.data

    def add(self, collection, documents, workspace="commons", **more):
        return self.call("POST", f"/ws/{workspace}/collections/{collection}/docs", {"data": documents}, **more)

    def query(self, sql, **more):
        return self.call("POST", "/queries", {"sql": {"query": sql}}, **more)

    def rows(self, sql, **more):
        answer = self.query(sql, **more)
        assert answer.status == 200, answer
        return answer.json["results"]

    def count(self, collection):
        return self.rows(f"SELECT count(*) AS n FROM {collection}")[0]["n"]

    def encryption(self):
        return self.call("GET", "/encryption").data

    def state(self):
        return next(r["state"] for r in self.encryption()["regions"] if r["region"] == self.region)

    def wait_state(self, state, timeout=30):
        return wait_for(lambda: self.state() == state, timeout, 0.1, f"state {state}")

    def disable_key(self):
        self.dev.kms(self.region).disable_key(KeyId=self.key_arn.replace(WEST, self.region))

    def enable_key(self):
        self.dev.kms(self.region).enable_key(KeyId=self.key_arn.replace(WEST, self.region))

    def put_policy(self, policy):
        self.dev.kms().put_key_policy(KeyId=self.key_arn, PolicyName="default", Policy=json.dumps(policy))

    def is_answering(self, sql="SELECT 1 AS one"):
        try:
            return self.query(sql).status == 200
        except OSError:
            return False

    def engine_pid(self):
        return self.dev.pid(f"engine.{self.id}.{self.region}")

    def gateway_pid(self):
        return self.dev.pid(f"gateway.{self.id}.{self.region}")
