"""The local KMS as a process, and clients of it: boto3, awscli, and requests signed by hand."""
import base64
import datetime
import json
import os
import pathlib
import signal
import socket
import subprocess
import urllib.error
import urllib.request

import boto3
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("LOCKSET_BUILD", ROOT / "build"))
WEST, EAST = "us-west-2", "us-east-1"
CUSTOMER, SERVICE = "111122223333", "318212636800"
# name: (account, principal)
PEOPLE = {
    "customer": (CUSTOMER, f"arn:aws:iam::{CUSTOMER}:root"),
    "service": (SERVICE, f"arn:aws:iam::{SERVICE}:root"),
    "alice": (CUSTOMER, f"arn:aws:iam::{CUSTOMER}:user/alice"),
    "session": (SERVICE, f"arn:aws:sts::{SERVICE}:assumed-role/Reader/today"),
    "nobody": (CUSTOMER, f"arn:aws:iam::{CUSTOMER}:user/nobody"),
    "decrypter": (CUSTOMER, f"arn:aws:iam::{CUSTOMER}:user/decrypter"),
    "aliased": (CUSTOMER, f"arn:aws:iam::{CUSTOMER}:user/aliased"),
    "maker": (CUSTOMER, f"arn:aws:iam::{CUSTOMER}:user/maker"),
    "stranger": (SERVICE, f"arn:aws:iam::{SERVICE}:user/stranger"),
}
# Identity policies of those who have some; the others may do everything that their account may.
POLICIES = {
    "nobody": [],
    "decrypter": [{"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["kms:Decrypt", "kms:Describe*"], "Resource": f"arn:aws:kms:*:{CUSTOMER}:key/*"},
        {"Effect": "Allow", "Action": "kms:ListKeys", "Resource": "*"},
        {"Effect": "Deny", "Action": "kms:ScheduleKeyDeletion", "Resource": "*"}]}],
    "aliased": [{"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "kms:*", "Resource": "*",
         "Condition": {"ForAnyValue:StringLike": {"kms:ResourceAliases": "alias/payroll-*"}}}]}],
    "maker": [{"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["kms:CreateKey", "kms:PutKeyPolicy", "kms:ReplicateKey"], "Resource": "*"},
        {"Effect": "Allow", "Action": ["kms:CreateAlias", "kms:UpdateAlias", "kms:DeleteAlias"],
         "Resource": [f"arn:aws:kms:*:{CUSTOMER}:key/*", f"arn:aws:kms:*:{CUSTOMER}:alias/maker-*"]}]}],
    "stranger": [],
}


def program():
    for path in (BUILD / "lockset-kms", BUILD / "src/kms/lockset-kms"):
        if path.exists():
            return str(path)
    raise FileNotFoundError(f"lockset-kms is not in {BUILD}: build it first, or set LOCKSET_BUILD")


def access_key(who):
    return f"AKIA{who.upper():X<16}"


def secret_key(who):
    return f"{who}-secret-key-0123456789"


def write_accounts(path):
    accounts = [{"account": account, "access_key_id": access_key(who), "secret_access_key": secret_key(who),
                 "principal": principal, **({"identity_policies": POLICIES[who]} if who in POLICIES else {})}
                for who, (account, principal) in PEOPLE.items()]
    path.write_text(json.dumps({"accounts": accounts}))
    path.chmod(0o600)
    return path


class Kms:
    """One region's process."""

    def __init__(self, root, region=WEST, *options, accounts=None):
        self.root, self.region, self.options = pathlib.Path(root), region, options
        self.accounts = accounts or self.root / "accounts.json"
        if accounts is None and not self.accounts.exists():
            write_accounts(self.accounts)
        self.process = None
        self.url = None

    def start(self):
        return self.launch().wait()

    def launch(self):
        """Starts it from the calling thread, which must outlive it (--die-with-parent goes by threads)."""
        self.log = open(self.root / f"{self.region}.log", "ab")
        self.process = subprocess.Popen(
            [program(), "--data", str(self.root / self.region), "--region", self.region, "--listen", "127.0.0.1:0",
             "--accounts", str(self.accounts), "--die-with-parent", *self.options],
            stdout=subprocess.PIPE, stderr=self.log, text=True)
        return self

    def wait(self):
        line = self.process.stdout.readline()
        assert line.startswith("ready: http://127.0.0.1:"), f"{line!r} {(self.root / f'{self.region}.log').read_text()}"
        assert line.rstrip().endswith(f"region={self.region}")
        self.url = line.split()[1]
        return self

    def stop(self, how=signal.SIGTERM):
        if self.process is None:
            return None
        self.process.send_signal(how)
        status = self.process.wait(10)
        self.process.stdout.close()
        self.log.close()
        self.process = None
        return status

    def restart(self, how=signal.SIGTERM):
        self.stop(how)
        return self.start()

    def client(self, who="customer", region=None):
        return boto3.client("kms", endpoint_url=self.url, region_name=region or self.region,
                            aws_access_key_id=access_key(who), aws_secret_access_key=secret_key(who),
                            config=Config(retries={"max_attempts": 0}, connect_timeout=5, read_timeout=20))

    def raw(self, operation, members, who="customer", **changes):
        """A request signed by hand, for what boto3's model doesn't know. Returns status, headers and JSON (or None)."""
        body = changes.pop("body", None)
        body = json.dumps(members).encode() if body is None else body
        status, headers, answer = self.send(sign(self, operation, body, who, **changes))
        return status, headers, json.loads(answer) if answer else None

    def ok(self, operation, who="customer", **members):
        """The answer to a call that works; an empty body is None."""
        status, _, answer = self.raw(operation, members, who)
        assert status == 200, answer
        return answer

    def refuses(self, code, operation, who="customer", **members):
        """The call is refused with this error type and status 400; returns the message, "" if there is none."""
        status, _, answer = self.raw(operation, members, who)
        assert (status, answer.get("__type")) == (400, code), (operation, members, answer)
        return answer.get("message", answer.get("Message", ""))

    def send(self, request):
        prepared = request.prepare()
        plain = urllib.request.Request(prepared.url, data=prepared.body, headers=dict(prepared.headers),
                                       method=prepared.method)
        try:
            with urllib.request.urlopen(plain, timeout=20) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.headers, answer.read()

    def port(self):
        return int(self.url.rsplit(":", 1)[1])


class Faults:
    """What a local KMS is asked to do wrong, over its fault socket."""

    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(10)
        self.socket.connect(self.path)
        self.lines = self.socket.makefile("r")

    def tell(self, text):
        self.socket.sendall(text.encode() + b"\n")
        return json.loads(self.lines.readline())

    def ask(self, do, **members):
        answer = self.tell(json.dumps({"do": do, **members}))
        assert answer.pop("ok"), answer
        return answer

    def set(self, fault, **members):
        return self.ask("set", fault=fault, **members)["id"]

    def clear(self, number=None):
        return self.ask("clear", **({"id": number} if number else {}))["cleared"]

    def hits(self, number):
        return next(f["hits"] for f in self.ask("list")["faults"] if f["id"] == number)

    def close(self):
        self.lines.close()
        self.socket.close()


def sign(kms, operation, body, who="customer", region=None, service="kms", secret=None, skew_s=0, access=None,
         headers=None):
    import botocore.auth as auth
    request = AWSRequest("POST", kms.url + "/", data=body, headers={
        "Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"TrentService.{operation}", **(headers or {})})
    credentials = Credentials(access or access_key(who), secret or secret_key(who))
    real = auth.datetime

    class Shifted:
        class datetime(datetime.datetime):
            @classmethod
            def utcnow(cls):
                return datetime.datetime.utcnow() + datetime.timedelta(seconds=skew_s)
    auth.datetime = Shifted
    try:
        SigV4Auth(credentials, service, region or kms.region).add_auth(request)
    finally:
        auth.datetime = real
    return request


def refused(code, call, *args, **kwargs):
    """The call is refused with this error type and status 400; returns the message."""
    try:
        answer = call(*args, **kwargs)
    except ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 400, error
        return error.response["Error"]["Message"]
    raise AssertionError(f"not refused with {code}: {answer}")


def allow(principal, actions, **more):
    return {"Effect": "Allow", "Principal": principal if principal == "*" else {"AWS": principal}, "Action": actions,
            "Resource": "*", **more}


def deny(principal, actions, **more):
    return {**allow(principal, actions, **more), "Effect": "Deny"}


def policy(*statements):
    """A policy whose first statement keeps the key with its account."""
    return json.dumps({"Version": "2012-10-17", "Statement": [allow(f"arn:aws:iam::{CUSTOMER}:root", "kms:*"),
                                                              *statements]})


def b64(data):
    return base64.b64encode(data).decode()


def raw_http(port, data, timeout=5):
    """Bytes to the port, all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        received = b""
        try:
            while chunk := connection.recv(65536):
                received += chunk
        except ConnectionResetError:
            pass
        return received
