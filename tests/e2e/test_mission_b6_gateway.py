"""B6: any S3 client can use the encrypting gateway on its own; the customer's key is its switch, too."""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import random
import resource
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request

import pytest
from botocore.exceptions import BotoCoreError, ClientError

import test_gateway_clients as clients
from gateway_tools import BUILD, CHDB, ROOT, Reply, head_bytes, read_to_end, request, sign
from lockset_dev import EAST, WEST, Dev, http_call, wait_for
from outside import Bucket, Gateway, bucket_of, gateway_url, make_key

FAST = {"key.probe_interval": "1s", "key.full_check_interval": "2s", "key.ride_through": "10s"}


@pytest.fixture(scope="module")
def dev():
    with Dev(FAST) as started:
        yield started


@pytest.fixture(scope="module")
def bucket(dev):
    """Of an organization called as the bucket of the clients' tests is."""
    return bucket_of(dev.create_org(clients.BUCKET))


def code_of(call):
    """The S3 error code of a call; the call must fail with one."""
    with pytest.raises(ClientError) as failure:
        call()
    return failure.value.response["Error"]["Code"]


def content(n, seed=1):
    return random.Random(seed).randbytes(n)


# --- each client, as it comes ---


@pytest.mark.parametrize("client", [clients.test_rclone, clients.test_awscli, clients.test_s3cmd])
def test_clients(bucket, client, tmp_path):
    client(bucket, tmp_path)


def test_aws_sdk_for_javascript(bucket):
    clients.test_aws_sdk_for_javascript(bucket)


class ClickHouse:
    """chDB in a process of its own, with the bucket as a table function."""

    def __init__(self, bucket, folder):
        self.bucket = bucket
        self.process = subprocess.Popen([str(BUILD / "bench-chdb"), str(CHDB), str(folder / "db")], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)

    def place(self, key, *more):
        words = [f"{self.bucket.url}/{self.bucket.name}/{key}", self.bucket.access, self.bucket.secret, *more]
        return "s3(" + ", ".join(f"'{w}'" for w in words) + ")"

    def ask(self, sql):
        """The answer as CSV. A statement that fails ends the process."""
        self.process.stdin.write(f"query CSV {sql}\n".encode())
        self.process.stdin.flush()
        words = self.process.stdout.readline().split()
        if not words:
            raise RuntimeError(self.process.stderr.read().decode())
        return self.process.stdout.read(int(words[2])).decode()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()
        self.process.stderr.close()


def test_clickhouse(bucket, tmp_path):
    """ClickHouse writes a table to the bucket and reads it again."""
    with ClickHouse(bucket, tmp_path) as ch:
        whole = ch.place("ch/n.parquet", "Parquet")
        ch.ask(f"INSERT INTO FUNCTION {whole} SELECT number AS n, toString(number) AS s FROM numbers(300000)")
        assert ch.ask(f"SELECT count(), sum(n), max(length(s)) FROM {whole}") == "300000,44999850000,6\n"
        for i in range(3):
            ch.ask(f"INSERT INTO FUNCTION {ch.place(f'ch/part{i}.csv', 'CSV', 'n UInt64')} SELECT number FROM numbers({i + 1})")
        assert ch.ask(f"SELECT count() FROM {ch.place('ch/part{0..2}.csv', 'CSV', 'n UInt64')}") == "6\n"


def test_an_object_in_parts_and_a_presigned_url(bucket):
    s3 = bucket.s3()
    body = content(11 << 20)
    upload = s3.create_multipart_upload(Bucket=bucket.name, Key="parts")["UploadId"]
    parts = [s3.upload_part(Bucket=bucket.name, Key="parts", UploadId=upload, PartNumber=i + 1, Body=body[i * (6 << 20):(i + 1) * (6 << 20)])
             for i in range(2)]
    s3.complete_multipart_upload(Bucket=bucket.name, Key="parts", UploadId=upload, MultipartUpload={
        "Parts": [{"PartNumber": i + 1, "ETag": p["ETag"]} for i, p in enumerate(parts)]})
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket.name, "Key": "parts"})
    with urllib.request.urlopen(url) as answer:
        assert answer.headers["x-amz-server-side-encryption-aws-kms-key-id"] == bucket.key_arn
        assert answer.read() == body
    put = s3.generate_presigned_url("put_object", Params={"Bucket": bucket.name, "Key": "by url"})
    urllib.request.urlopen(urllib.request.Request(put, data=b"sent", method="PUT")).read()
    assert s3.get_object(Bucket=bucket.name, Key="by url")["Body"].read() == b"sent"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url.replace("X-Amz-Expires=3600", "X-Amz-Expires=3601"))
    assert refused.value.code == 403


def test_buckets(bucket):
    s3 = bucket.s3()
    assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == [bucket.name]
    assert s3.head_bucket(Bucket=bucket.name)["ResponseMetadata"]["HTTPHeaders"]["x-amz-bucket-region"] == WEST
    assert s3.get_bucket_location(Bucket=bucket.name)["LocationConstraint"] == WEST
    place = {"CreateBucketConfiguration": {"LocationConstraint": WEST}}
    assert code_of(lambda: s3.create_bucket(Bucket=bucket.name, **place)) == "BucketAlreadyOwnedByYou"
    assert code_of(lambda: s3.create_bucket(Bucket="another", **place)) == "AccessDenied"
    assert code_of(lambda: s3.list_objects_v2(Bucket="another")) == "NoSuchBucket"


# --- who may ask ---


def test_access_keys(dev):
    org, other = dev.create_org(), dev.create_org()
    mine, theirs = bucket_of(org), bucket_of(other)
    mine.s3().put_object(Bucket=org.name, Key="k", Body=b"mine")
    theirs.s3().put_object(Bucket=other.name, Key="k", Body=b"theirs")
    assert mine.s3().get_object(Bucket=org.name, Key="k")["Body"].read() == b"mine"
    # Neither sees the other's, nor the name of it.
    assert code_of(lambda: theirs.s3().get_object(Bucket=org.name, Key="k")) == "NoSuchBucket"
    assert [b["Name"] for b in theirs.s3().list_buckets()["Buckets"]] == [other.name]
    assert other.call("DELETE", f"/s3-keys/{mine.access}").status == 404
    # Nor does the engine's data stand there.
    org.create_collection("rows")
    assert org.add("rows", [{"a": 1}]).status == 200
    assert [o["Key"] for o in mine.s3().list_objects_v2(Bucket=org.name)["Contents"]] == ["k"]
    # Another's secret, a made-up key, the key of another region.
    forged = Bucket(mine.url, org.name, {"access_key_id": mine.access, "secret_access_key": theirs.secret})
    assert code_of(lambda: forged.s3().list_objects_v2(Bucket=org.name)) == "SignatureDoesNotMatch"
    unknown = Bucket(mine.url, org.name, {"access_key_id": "LSKA" + "A" * 16, "secret_access_key": mine.secret})
    assert code_of(lambda: unknown.s3().list_objects_v2(Bucket=org.name)) == "InvalidAccessKeyId"
    elsewhere = Bucket(gateway_url(dev, EAST), org.name, {"access_key_id": mine.access, "secret_access_key": mine.secret}, region=EAST)
    assert code_of(lambda: elsewhere.s3().list_objects_v2(Bucket=org.name)) == "InvalidAccessKeyId"
    # All requests of a connection are one organization's.
    with socket.create_connection(("127.0.0.1", mine.port), timeout=30) as s:
        for who, status in ((mine, b"200"), (theirs, b"403")):
            s.sendall(head_bytes("HEAD", f"/{who.name}", sign(who, "HEAD", f"/{who.name}")))
            head = b""
            while b"\r\n\r\n" not in head:
                piece = s.recv(4096)
                assert piece, head
                head += piece
            assert head.split()[1] == status, head


def test_a_deleted_key_is_refused_at_once(dev):
    org = dev.create_org()
    kept, gone = bucket_of(org), bucket_of(org)
    s3 = gone.s3()
    s3.put_object(Bucket=org.name, Key="k", Body=b"1")
    listed = org.call("GET", "/s3-keys")
    assert {k["access_key_id"] for k in listed.data} == {kept.access, gone.access}
    assert "secret" not in listed.body.decode()
    assert org.call("DELETE", f"/s3-keys/{gone.access}").status == 200
    assert code_of(lambda: s3.get_object(Bucket=org.name, Key="k")) == "InvalidAccessKeyId"  # on the open connection
    assert code_of(lambda: gone.s3().list_buckets()) == "InvalidAccessKeyId"
    assert kept.s3().get_object(Bucket=org.name, Key="k")["Body"].read() == b"1"
    assert org.call("DELETE", f"/s3-keys/{gone.access}").status == 404
    # By the operator, and from the command line.
    made = json.loads(dev.cli("s3-key", "create", "--org", org.name, "--name", "ours", "--json").stdout)["data"]
    by_operator = Bucket(kept.url, org.name, made)
    assert by_operator.s3().get_object(Bucket=org.name, Key="k")["Body"].read() == b"1"
    assert made["access_key_id"] in dev.cli("s3-key", "list", key=org.api_key).stdout
    assert dev.cli("s3-key", "delete", made["access_key_id"], "--org", org.name).stdout.strip() == f"{made['access_key_id']}: deleted"
    assert code_of(lambda: by_operator.s3().list_buckets()) == "InvalidAccessKeyId"
    # The ledger has them all.
    entries = []
    for path in sorted((dev.data / "audit" / WEST / org.id).glob("*.jsonl")):
        entries += [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    orders = [(e["action"], e["actor"], e["details"]["access_key_id"]) for e in entries if e.get("action", "").endswith("s3_key")]
    assert ("create_s3_key", "first", gone.access) in orders and ("delete_s3_key", "first", gone.access) in orders
    assert ("create_s3_key", "operator", made["access_key_id"]) in orders
    assert ("delete_s3_key", "operator", made["access_key_id"]) in orders
    assert gone.secret not in json.dumps(entries) and gone.secret not in dev.log()
    kinds = [e["kind"] for e in dev.admin("GET", f"/orgs/{org.name}/events").data]
    assert kinds.count("s3_key.created") == 3 and kinds.count("s3_key.deleted") == 2


def test_nothing_of_a_secret_is_stored(dev):
    """Without the customer's key nobody could say what it is."""
    org = dev.create_org()
    mine = bucket_of(org)
    mine.s3().put_object(Bucket=org.name, Key="a name to look for", Body=b"a marker to look for" * 1000)
    for path in dev.data.rglob("*"):
        if not path.is_file() or "kms" in path.relative_to(dev.data).parts:
            continue
        raw = path.read_bytes()
        for word in (mine.secret.encode(), b"a name to look for", b"a marker to look for"):
            assert word not in raw, path


def test_an_independent_reader(dev, tmp_path):
    """What clients keep can be read from the store and KMS alone, by the published format."""
    org = dev.create_org()
    mine = bucket_of(org)
    body = content(3_000_000)
    mine.s3().put_object(Bucket=org.name, Key="dir/big", Body=body)
    mine.s3().put_object(Bucket=org.name, Key="small", Body=b"small")
    environment = dict(os.environ, AWS_SHARED_CREDENTIALS_FILE=str(dev.data / "credentials"), AWS_CONFIG_FILE="/dev/null")
    done = subprocess.run(["/usr/bin/python3", str(ROOT / "tests/tools/read_sealed.py"), str(dev.store / org.id), "--s3", "--region", WEST,
                           "--profile", "service", "--endpoint-url", dev.kms_urls[WEST], "--to", str(tmp_path / "out")],
                          env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(p.read_bytes() for p in (tmp_path / "out").iterdir()) == sorted([body, b"small"])


def test_a_deleted_organization(dev):
    org = dev.create_org()
    mine = bucket_of(org)
    mine.s3().put_object(Bucket=org.name, Key="k", Body=content(200_000))
    folder = dev.store / org.id
    assert (folder / "s3").is_dir()
    assert dev.admin("DELETE", f"/orgs/{org.name}").status == 200
    assert code_of(lambda: mine.s3().get_object(Bucket=org.name, Key="k")) == "InvalidAccessKeyId"
    assert not folder.exists()


# --- the switch ---


def what_clients_are_told(bucket, folder):
    """Each client lists the bucket; what it prints, by its name."""
    environment = dict(bucket.environment(), HOME=str(folder))
    place = bucket.url.removeprefix("http://")
    (folder / "rclone").write_text(f"[gw]\ntype = s3\nprovider = Other\nendpoint = {bucket.url}\naccess_key_id = {bucket.access}\n"
                                   f"secret_access_key = {bucket.secret}\nregion = us-west-2\n")
    (folder / "s3cfg").write_text(f"[default]\naccess_key = {bucket.access}\nsecret_key = {bucket.secret}\nhost_base = {place}\n"
                                  f"host_bucket = {place}/%(bucket)\nuse_https = False\nmax_retries = 1\n")
    script = (f"const s3 = require('@aws-sdk/client-s3'); new s3.S3Client({{endpoint: '{bucket.url}', region: 'us-west-2', "
              "forcePathStyle: true, maxAttempts: 1}).send(new s3.ListObjectsV2Command({Bucket: "
              f"'{bucket.name}'}})).then(() => console.log('listed'), (e) => console.log(e.name, e.$metadata.httpStatusCode))")
    commands = {"awscli": ["/usr/bin/aws", "--endpoint-url", bucket.url, "s3", "ls", f"s3://{bucket.name}"],
                "rclone": ["/usr/bin/rclone", "--config", str(folder / "rclone"), "--retries", "1", "--low-level-retries", "1", "lsf",
                           f"gw:{bucket.name}"],
                "s3cmd": ["/usr/bin/s3cmd", "-c", str(folder / "s3cfg"), "ls", f"s3://{bucket.name}"],
                "javascript": ["node", "-e", script]}
    for name, command in commands.items():
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False, cwd=BUILD / "deps/js")
        yield name, done.stdout + done.stderr
    with ClickHouse(bucket, folder) as ch, pytest.raises(RuntimeError) as refused:
        ch.ask(f"SELECT count() FROM {ch.place('some*.csv', 'CSV', 'n UInt64')}")
    yield "ClickHouse", str(refused.value)


def test_the_switch(dev, tmp_path):
    org = dev.create_org()
    mine, spare = bucket_of(org), make_key(org)
    s3 = mine.s3()
    body = content(48 << 20)
    s3.put_object(Bucket=org.name, Key="big", Body=body)
    s3.put_object(Bucket=org.name, Key="small", Body=b"small")
    # A download that is under way: over 16 MiB are still to come when the gateway goes.
    reading = s3.get_object(Bucket=org.name, Key="big")["Body"]
    got = reading.read(1 << 20)
    org.disable_key()
    org.wait_state("UNAVAILABLE")

    def read_on():
        pieces = [got]
        while True:
            piece = reading.read(1 << 20)
            if not piece:
                return b"".join(pieces)
            pieces.append(piece)

    with pytest.raises((BotoCoreError, OSError)):
        read_on()
    # Each client is told what S3 tells of a disabled key.
    with pytest.raises(ClientError) as refused:
        mine.s3().get_object(Bucket=org.name, Key="small")
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert refused.value.response["Error"]["Code"] == "KMS.DisabledException"
    assert org.key_arn in refused.value.response["Error"]["Message"]
    assert code_of(lambda: mine.s3().put_object(Bucket=org.name, Key="new", Body=body[:9 << 20])) == "KMS.DisabledException"
    with pytest.raises(ClientError) as headed:
        mine.s3().head_object(Bucket=org.name, Key="small")
    assert headed.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    for name, told in what_clients_are_told(mine, tmp_path):
        assert "DisabledException" in told, (name, told)
    # New access keys take the customer's key, to be told their secret; to be rid of one takes nothing.
    assert org.call("POST", "/s3-keys", {}).status == 503
    assert org.call("DELETE", f"/s3-keys/{spare['access_key_id']}").status == 200
    org.enable_key()
    org.wait_state("AVAILABLE")
    assert mine.s3().get_object(Bucket=org.name, Key="big")["Body"].read() == body
    assert {o["Key"] for o in mine.s3().list_objects_v2(Bucket=org.name)["Contents"]} == {"big", "small"}
    # A permission that is gone is AccessDenied.
    policy = dev.policy()
    policy["Statement"][1]["Effect"] = "Deny"
    org.put_policy(policy)
    org.wait_state("UNAVAILABLE")
    with pytest.raises(ClientError) as denied:
        mine.s3().get_object(Bucket=org.name, Key="small")
    assert denied.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert denied.value.response["Error"]["Code"] == "AccessDenied" and org.key_arn in denied.value.response["Error"]["Message"]
    org.put_policy(dev.policy())
    org.wait_state("AVAILABLE")
    assert mine.s3().get_object(Bucket=org.name, Key="small")["Body"].read() == b"small"


def test_an_engine_is_not_waited_for(dev):
    """An engine that hangs, or has just been killed, is nothing to S3 clients."""
    org = dev.create_org()
    mine = bucket_of(org)
    mine.s3().put_object(Bucket=org.name, Key="k", Body=b"1")
    gateway = org.gateway_pid()
    for sent in (signal.SIGSTOP, signal.SIGKILL):
        engine = wait_for(org.engine_pid, 30, what="an engine")
        os.kill(engine, sent)
        for _ in range(5):
            assert mine.s3().get_object(Bucket=org.name, Key="k")["Body"].read() == b"1"
        if sent == signal.SIGSTOP:
            os.kill(engine, signal.SIGCONT)
    assert org.gateway_pid() == gateway


def test_a_keyring_that_dies(dev):
    """A gateway that runs serves on for as long as its lease lasts, also who comes anew."""
    org = dev.create_org()
    mine = bucket_of(org)
    mine.s3().put_object(Bucket=org.name, Key="k", Body=b"1")
    keyring = dev.pid("keyring")
    os.kill(keyring, signal.SIGKILL)
    assert mine.s3(retries={"max_attempts": 8, "mode": "standard"}).get_object(Bucket=org.name, Key="k")["Body"].read() == b"1"
    wait_for(lambda: dev.pid("keyring") not in (None, keyring), 30, what="another keyring")
    org.wait_state("AVAILABLE")
    assert mine.s3(retries={"max_attempts": 8, "mode": "standard"}).get_object(Bucket=org.name, Key="k")["Body"].read() == b"1"


def test_kms_is_silent(dev_with):
    dev = dev_with({**FAST, "key.ride_through": "2s", "key.kms_timeout": "500ms"})
    org = dev.create_org()
    mine = bucket_of(org)
    mine.s3().put_object(Bucket=org.name, Key="k", Body=b"1")
    dev.devctl("freeze", f"kms.{WEST}")
    org.wait_state("UNAVAILABLE")
    reply = request(mine, "GET", f"/{org.name}/k")
    assert (reply.status, reply.code) == (503, "ServiceUnavailable")
    assert int(reply.headers["retry-after"]) > 0 and org.key_arn in reply.message
    dev.devctl("thaw", f"kms.{WEST}")
    org.wait_state("AVAILABLE")
    assert request(mine, "GET", f"/{org.name}/k").body == b"1"


# --- many, slow, hostile; crashes ---


def test_a_hundred_at_once(dev, bucket):
    s3 = bucket.s3()

    def one(i):
        body = content(200_000 + i, seed=i)
        s3.put_object(Bucket=bucket.name, Key=f"many/{i}", Body=body)
        return s3.get_object(Bucket=bucket.name, Key=f"many/{i}")["Body"].read() == body

    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        assert all(pool.map(one, range(200)))
    found = [o["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket.name, Prefix="many/", PaginationConfig={
        "PageSize": 70}) for o in page["Contents"]]
    assert len(found) == 200


def front_pid(dev):
    return dev.pid(f"s3.{WEST}")


def rss_kib(pid):
    return next(int(line.split()[1]) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))


def test_slow_clients_shut_nobody_out(dev, bucket):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096) if hard > 0 else 4096, hard))
    begun = rss_kib(front_pid(dev))
    crowd = []
    try:
        for i in range(1500):
            s = socket.create_connection(("127.0.0.1", bucket.port), timeout=30)
            s.setblocking(False)
            s.send(b"GET /lockset/x HTTP/1.1\r\nHost: a\r\nX-Slow: " + b"x" * (i % 2000))
            crowd.append(s)
        s3 = bucket.s3(retries={"max_attempts": 5})
        s3.put_object(Bucket=bucket.name, Key="through", Body=b"it went through")
        assert s3.get_object(Bucket=bucket.name, Key="through")["Body"].read() == b"it went through"
        assert rss_kib(front_pid(dev)) - begun < 100 * 1024
    finally:
        for s in crowd:
            s.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_head_that_never_ends_is_dropped(bucket):
    with socket.create_connection(("127.0.0.1", bucket.port), timeout=60) as s:
        s.sendall(b"GET /lockset/x HTTP/1.1\r\nHost: a\r\n")
        begun = time.monotonic()
        assert s.recv(100) == b""
        assert time.monotonic() - begun > 1
    with socket.create_connection(("127.0.0.1", bucket.port), timeout=60) as s:
        try:
            s.sendall(b"GET /lockset/x HTTP/1.1\r\n" + b"X: y\r\n" * 30000)
        except (BrokenPipeError, ConnectionResetError):
            pass
        reply = Reply(read_to_end(s))
        assert reply.status in (0, 400) and reply.code in ("", "InvalidRequest")


HEADS = [b"\r\n\r\n", b"\x00\x01\x02\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", b"GET\r\n\r\n", b"GET / HTTP/2.0\r\n\r\n",
         b"get / HTTP/1.1\r\n\r\n", b"GET  / HTTP/1.1\r\n\r\n", b"A" * 5000 + b" / HTTP/1.1\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n\r\n"]
AUTHS = [("", "AccessDenied"), ("Authorization: AWS AKID:c2ln\r\n", "InvalidRequest"), ("Authorization: Basic eDp5\r\n", "InvalidRequest"),
         ("Authorization: AWS4-HMAC-SHA256\r\n", "AuthorizationHeaderMalformed"),
         ("Authorization: AWS4-HMAC-SHA256 Credential=\r\n", "AuthorizationHeaderMalformed"),
         ("Authorization: AWS4-HMAC-SHA256 Credential=" + "A" * 500 + "/x\r\n", "AuthorizationHeaderMalformed"),
         ("Authorization: AWS4-HMAC-SHA256 Credential=../../x/x\r\n", "AuthorizationHeaderMalformed"),
         ("Authorization: AWS4-HMAC-SHA256 Credential=AKID'--/x\r\n", "AuthorizationHeaderMalformed"),
         ("authorization:AWS4-HMAC-SHA256 Credential=AKID/20250101/us-west-2/s3/aws4_request\r\n", "InvalidAccessKeyId"),
         ("Authorization: AWS4-HMAC-SHA256 Credential=A/x\r\n" * 2, "AuthorizationHeaderMalformed")]


def test_hostile_heads(dev, bucket):
    def send(raw):
        with socket.create_connection(("127.0.0.1", bucket.port), timeout=60) as s:
            s.sendall(raw)
            s.shutdown(socket.SHUT_WR)
            return Reply(read_to_end(s))

    before = front_pid(dev)
    for head in HEADS:
        reply = send(head)
        assert (reply.status, reply.code) == (400, "InvalidRequest"), head
    for header, code in AUTHS:
        reply = send(f"GET /lockset/x HTTP/1.1\r\nHost: a\r\n{header}\r\n".encode())
        assert reply.code == code, header
        assert send(f"HEAD /lockset/x HTTP/1.1\r\nHost: a\r\n{header}\r\n".encode()).body == b""
    for query, code in (("X-Amz-Credential=AKID%2Fx", "InvalidAccessKeyId"), ("AWSAccessKeyId=AKID&Signature=x", "InvalidRequest"),
                        ("X-Amz-Credential=AKID%2Fx&X-Amz-Credential=AKID%2Fx", "AuthorizationHeaderMalformed")):
        assert send(f"GET /lockset/x?{query} HTTP/1.1\r\nHost: a\r\n\r\n".encode()).code == code
    # In single bytes, as a whole it is well; and one that is refused by the gateway itself: its framing is not HTTP's.
    whole = head_bytes("GET", f"/{bucket.name}", dict(sign(bucket, "GET", f"/{bucket.name}"), connection="close"))
    with socket.create_connection(("127.0.0.1", bucket.port), timeout=60) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in whole:
            s.send(bytes([byte]))
        assert Reply(read_to_end(s)).status == 200
    assert send(whole[:-2] + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n").status == 400
    rng = random.Random(5)
    for _ in range(150):
        broken = bytearray(whole)
        for _ in range(rng.randrange(1, 8)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        status = send(bytes(broken)).status
        assert status in (0, 200, 501, 505) or 400 <= status < 500, broken
    assert front_pid(dev) == before


def test_kills(dev, bucket):
    """Front and gateway die in the middle of everything: what was acknowledged is there, and all goes on."""
    s3 = bucket.s3(retries={"max_attempts": 8, "mode": "standard"})
    org_id = next(o["id"] for o in dev.admin("GET", "/orgs").data if o["name"] == bucket.name)
    acknowledged, stop = [], threading.Event()

    def write(lane):
        i = 0
        while not stop.is_set():
            i += 1
            body = content(50_000, seed=i)
            try:
                s3.put_object(Bucket=bucket.name, Key=f"kills/{lane}/{i}", Body=body)
            except (ClientError, BotoCoreError):
                continue
            acknowledged.append((f"kills/{lane}/{i}", hashlib.sha256(body).hexdigest()))

    threads = [threading.Thread(target=write, args=(lane,)) for lane in range(4)]
    for t in threads:
        t.start()
    try:
        for prefix in (f"s3.{WEST}", f"gateway.{org_id}", f"s3.{WEST}", f"gateway.{org_id}"):
            count = len(acknowledged)
            wait_for(lambda: len(acknowledged) > count + 5, 60, what="writes")
            pid = wait_for(lambda: dev.pid(prefix), 30, what=f"a process {prefix}")
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: dev.pid(prefix) not in (None, pid), 60, what=f"another process {prefix}")
        count = len(acknowledged)
        wait_for(lambda: len(acknowledged) > count + 5, 60, what="writes after all")
    finally:
        stop.set()
        for t in threads:
            t.join()
    for key, digest in acknowledged:
        assert hashlib.sha256(s3.get_object(Bucket=bucket.name, Key=key)["Body"].read()).hexdigest() == digest


# --- the gateway alone ---


def free_ports(n):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
    ports = [s.getsockname()[1] for s in held]
    for s in held:
        s.close()
    return ports


def test_the_gateway_alone(dev, tmp_path):
    """Over TLS, under the customer's key, with no engine anywhere."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                    "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)],
                   check=True, capture_output=True, timeout=60)
    arn = dev.create_key()
    with Gateway(dev, tmp_path, free_ports(2), (cert, key)) as gateway:
        assert f"s3.{WEST}={gateway.url}" in gateway.ready_line
        made = gateway.admin("POST", "/orgs", {"name": "alone", "region": WEST, "kms_key_arn": arn})
        assert made.status == 201, made
        mine = Bucket(gateway.url, "alone", gateway.admin("POST", "/orgs/alone/s3-keys", {}).data, arn)
        s3 = mine.s3(verify=str(cert))
        body = content(20 << 20)
        s3.put_object(Bucket="alone", Key="k", Body=body)
        assert s3.get_object(Bucket="alone", Key="k")["Body"].read() == body
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            sums = pool.map(lambda _: hashlib.sha256(s3.get_object(Bucket="alone", Key="k")["Body"].read()).digest(), range(20))
            assert set(sums) == {hashlib.sha256(body).digest()}
        names = gateway.children()
        assert "lockset-engine" not in names and len(names["lockset-gateway"]) == 1
        refused = gateway_call(gateway, made.data["api_key"], "POST", "/queries", {"sql": {"query": "SELECT 1"}})
        assert refused.status == 403 and "gateway" in refused.message
        # Plain HTTP at a port of TLS, and TLS that nobody finishes, are dropped.
        with socket.create_connection(("127.0.0.1", mine.port), timeout=60) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert b"HTTP/1.1 200" not in read_to_end(s)
        # The switch.
        dev.kms().disable_key(KeyId=arn)
        wait_for(lambda: "UNAVAILABLE" in str(gateway.admin("GET", "/orgs/alone").json), 30, what="UNAVAILABLE")
        assert code_of(lambda: mine.s3(verify=str(cert)).get_object(Bucket="alone", Key="k")) == "KMS.DisabledException"
        wait_for(lambda: "lockset-gateway" not in gateway.children(), 20, what="the end of the gateway")
        dev.kms().enable_key(KeyId=arn)
        wait_for(lambda: "UNAVAILABLE" not in str(gateway.admin("GET", "/orgs/alone").json), 30, what="AVAILABLE")
        assert mine.s3(verify=str(cert)).get_object(Bucket="alone", Key="k", Range="bytes=5-9")["Body"].read() == body[5:10]
    # Stopped and started again, nothing is lost and the keys are the same.
    with gateway:
        assert mine.s3(verify=str(cert)).get_object(Bucket="alone", Key="k")["Body"].read() == body
    assert not gateway.process.poll()


def gateway_call(gateway, api_key, method, path, body):
    return http_call(gateway.api, method, "/v1/orgs/self" + path, body, {"Authorization": f"ApiKey {api_key}"})


def test_the_ports_of_dev(dev_with):
    """Where scripts look for it: ten behind the first."""
    for _ in range(5):
        base = random.SystemRandom().randrange(20000, 30000)
        try:
            held = [socket.create_server(("127.0.0.1", base + i)) for i in (0, 1, 2, 3, 10, 11)]
        except OSError:
            continue
        for s in held:
            s.close()
        dev = dev_with({"dev.port_base": str(base)})
        assert [gateway_url(dev, r) for r in (WEST, EAST)] == [f"http://127.0.0.1:{base + 10}", f"http://127.0.0.1:{base + 11}"]
        assert f" s3.{EAST}=http://127.0.0.1:{base + 11} " in dev.ready_line
        return
    pytest.fail("no free ports were found")


def test_a_door_to_other_hosts_needs_tls(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(f"data: {tmp_path}/d\nregions:\n  - name: {WEST}\n    api.listen: 127.0.0.1:1\n    gateway.listen: 0.0.0.0:2\n")
    done = subprocess.run([str(BUILD / "lockset"), "config", "check", str(config)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0 and "gateway.tls.cert" in done.stderr
