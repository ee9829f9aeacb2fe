"""S14: with S3 as the store, every object is encrypted by S3 under the organization's own key, and says nothing besides."""
import http.server
import json
import secrets
import sqlite3
import threading
import time
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest

from lockset_dev import WEST, Dev, http_call, wait_for
from outside import bucket_of

MODES = ["sealed+sse-kms", "sse-kms", "sealed"]
QUICK = {"key.probe_interval": "1s", "key.full_check_interval": "2s", "key.kms_timeout": "1s", "key.denied_bound": "10s"}
BOUND_S = 10


def settings(rgw, bucket, mode, **more):
    none = {"store.kms": "none"} if mode == "sealed" else {}
    return {"store.kind": "s3", "store.endpoint": rgw.endpoint, "store.region": "us-east-1", "store.bucket": bucket,
            "store.prefix": "lab", "store.encryption": mode, **none, **QUICK, **more}


def known_keys(rgw, dev):
    """The operator's own keys: the store's KMS learns of them as of any."""
    own = json.loads((dev.data / "kms" / "service-key.json").read_text())
    rgw.add_keys(*own.values())
    return own


def new_org(rgw, dev, name=None):
    """An organization under a fresh key of its customer, which the store's KMS knows."""
    arn = dev.create_key()
    rgw.add_keys(arn)
    return dev.create_org(name, arn)


@pytest.fixture(name="node", scope="module", params=MODES)
def _node(rgw, request):
    bucket = rgw.new_bucket()
    dev = Dev(settings(rgw, bucket, request.param), environment=rgw.environment())
    with dev:
        known_keys(rgw, dev)
        dev.mode, dev.bucket = request.param, bucket
        yield dev


def objects(rgw, bucket, org):
    return rgw.all_keys(bucket, f"lab/{WEST}/{org.id}/")


def fill(org, markers, rows=3000):
    org.create_collection(markers["collection"])
    for start in range(0, rows, 1500):
        documents = [{"_id": f"{markers['id']}-{i}", markers["field"]: markers["value"], "k": i,
                      "pad": secrets.token_hex(60)} for i in range(start, start + 1500)]
        answer = org.add(markers["collection"], documents)
        assert answer.status == 200, answer


def names_of(*words):
    return {word: f"zq{word}{secrets.token_hex(8)}" for word in words}


def test_every_object_is_encrypted_under_the_organizations_key_and_names_nothing(rgw, node):
    org = new_org(rgw, node)
    other = new_org(rgw, node)
    markers = names_of("collection", "field", "value", "id")
    fill(org, markers)
    fill(other, names_of("collection", "field", "value", "id"), 1500)
    assert org.count(markers["collection"]) == 3000
    rows = org.rows(f'SELECT "{markers["field"]}" AS f FROM {markers["collection"]} WHERE k = 1234')
    assert rows == [{"f": markers["value"]}]
    for o in (org, other):
        keys = objects(rgw, node.bucket, o)
        kinds = {k.split("/")[3] for k in keys}
        assert {"keys", "names"} <= kinds, kinds
        assert sum(k.split("/")[3] == "keys" for k in keys) >= 2  # the names' and a branch's
        want = (None, None) if node.mode == "sealed" else ("aws:kms", o.key_arn)
        for key in keys:
            assert rgw.encryption(node.bucket, key) == want, key
    for key in rgw.all_keys(node.bucket):
        assert not any(m in key for m in markers.values()), key
        if node.mode == "sse-kms":
            continue  # S3 alone encrypts; it decrypts for whoever may read
        content = rgw.raw(node.bucket, key)
        assert not any(m.encode() in content for m in markers.values()), key


def test_what_other_s3_clients_keep_is_in_s3_too(rgw, node):
    org = new_org(rgw, node)
    bucket, name = bucket_of(org), f"zqname{secrets.token_hex(8)}"
    marker = f"zqvalue{secrets.token_hex(8)}".encode()
    bodies = {f"{name}/small": marker * 10, f"{name}/large": marker * 100_000}  # in the record, and a body of its own
    s3 = bucket.s3()
    for key, body in bodies.items():
        s3.put_object(Bucket=bucket.name, Key=key, Body=body)
    node.stop()
    node.start()
    wait_for(lambda: org.is_answering(), 30, what="the organization after a restart")
    s3 = bucket_of(org).s3()
    assert sorted(o["Key"] for o in s3.list_objects_v2(Bucket=bucket.name)["Contents"]) == sorted(bodies)
    for key, body in bodies.items():
        assert s3.get_object(Bucket=bucket.name, Key=key)["Body"].read() == body
    theirs = [k for k in objects(rgw, node.bucket, org) if k.split("/")[3] == "s3"]
    assert {k.split("/")[4] for k in theirs} >= {"names", "bodies"}, theirs
    want = (None, None) if node.mode == "sealed" else ("aws:kms", org.key_arn)
    for key in theirs:
        assert rgw.encryption(node.bucket, key) == want and name not in key, key
        assert node.mode == "sse-kms" or marker not in rgw.raw(node.bucket, key), key
    here = [p for p in (node.data / "store").rglob("*") if p.is_file()]
    assert all(p.name == "lock" and p.stat().st_size == 0 for p in here), here


def test_the_key_gone_stops_everything_within_the_bound_and_back_brings_all_back(rgw, node):
    org = new_org(rgw, node)
    markers = names_of("collection", "field", "value", "id")
    fill(org, markers, 1500)
    sql = f"SELECT count(*) AS n FROM {markers['collection']}"
    assert org.rows(sql) == [{"n": 1500}]
    org.disable_key()
    since = time.monotonic()
    refused = wait_for(lambda: next((a for a in [org.query(sql)] if a.status == 403), None), BOUND_S,
                       what="403 for queries")
    assert time.monotonic() - since <= BOUND_S and "DisabledException" in refused.message, refused
    assert org.add(markers["collection"], [{"_id": "late"}]).status == 503
    org.enable_key()
    wait_for(lambda: org.is_answering(sql), 30, what="queries after the key came back")
    assert org.rows(sql) == [{"n": 1500}]


def test_a_restart_of_everything_finds_it_all(rgw):
    bucket = rgw.new_bucket()
    dev = Dev(settings(rgw, bucket, "sealed+sse-kms"), environment=rgw.environment())
    with dev:
        known_keys(rgw, dev)
        org = new_org(rgw, dev)
        markers = names_of("collection", "field", "value", "id")
        fill(org, markers, 1500)
        dev.stop()
        dev.start()
        wait_for(lambda: org.is_answering(), 30, what="queries after a restart")
        assert org.count(markers["collection"]) == 1500
        dev.kill()  # as a crash of the machine would end it
        dev.start()
        wait_for(lambda: org.is_answering(), 30, what="queries after a crash")
        assert org.count(markers["collection"]) == 1500
        assert org.add(markers["collection"], [{"_id": "one-more"}]).status == 200
        assert org.count(markers["collection"]) == 1501


def test_the_store_alone_brings_the_wrapped_keys_back(rgw):
    """The registry's copies of an organization's wrapped keys are lost: those in the bucket do."""
    bucket = rgw.new_bucket()
    dev = Dev(settings(rgw, bucket, "sealed+sse-kms"), environment=rgw.environment())
    with dev:
        known_keys(rgw, dev)
        org = new_org(rgw, dev)
        org.create_collection("kept")
        assert org.add("kept", [{"_id": str(i)} for i in range(10)]).status == 200
        dev.stop()
        with sqlite3.connect(dev.data / "registry.db") as registry:
            assert registry.execute("DELETE FROM wrapped_keys WHERE org = ?", (org.id,)).rowcount >= 2
        registry.close()
        dev.start()
        wait_for(lambda: org.is_answering(), 30, what="queries")
        assert org.count("kept") == 10


def test_a_key_that_the_store_can_not_use_is_told_and_nothing_is_kept(rgw, node):
    if node.mode == "sealed":  # this store isn't asked to encrypt: it need not know the key
        assert node.create_org(None, node.create_key()).id
        return
    arn = node.create_key()  # good in KMS; the store's own way to KMS doesn't know it
    before = rgw.all_keys(node.bucket)
    name = f"unknown-{node.mode.replace('+', '-')}"
    answer = node.admin("POST", "/orgs", {"name": name, "region": WEST, "kms_key_arn": arn})
    assert answer.status in (400, 403, 422, 502, 503), answer
    assert "store" in answer.message.lower() or "s3" in answer.message.lower(), answer
    assert rgw.all_keys(node.bucket) == before
    assert node.admin("GET", f"/orgs/{name}").status == 404
    rgw.add_keys(arn)
    assert node.create_org(name, arn).id


@pytest.mark.parametrize("versioned", [False, True], ids=["plain bucket", "bucket with versions"])
def test_a_deleted_organization_leaves_no_wrapped_key(rgw, versioned):
    bucket = rgw.new_bucket()
    if versioned:
        rgw.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    dev = Dev(settings(rgw, bucket, "sealed+sse-kms"), environment=rgw.environment())
    with dev:
        known_keys(rgw, dev)
        org = new_org(rgw, dev, "gone")
        stays = new_org(rgw, dev, "stays")
        for o in (org, stays):
            o.create_collection("c")
            assert o.add("c", [{"_id": str(i)} for i in range(100)]).status == 200
        assert objects(rgw, bucket, org)
        answer = dev.admin("DELETE", "/orgs/gone")
        assert answer.status == 200 and answer.data["remains"] == [], answer
        left = rgw.client().list_object_versions(Bucket=bucket, Prefix=f"lab/{WEST}/{org.id}/")
        assert not left.get("Versions") and not left.get("DeleteMarkers"), left
        assert stays.count("c") == 100


def test_s3s_word_that_the_key_is_refused_has_kms_asked_at_once(rgw, front):
    """Also when Lockset's own probe is not due for long; a store that is wrong about it ends nothing."""
    bucket = rgw.new_bucket()
    slow = {"key.probe_interval": "60s", "key.full_check_interval": "60s", "key.denied_bound": "120s"}
    dev = Dev(settings(rgw, bucket, "sealed+sse-kms", **{"store.endpoint": front.url, **slow}), environment=rgw.environment())
    with dev:
        known_keys(rgw, dev)
        org = new_org(rgw, dev)
        org.create_collection("c")
        assert org.add("c", [{"_id": "first"}]).status == 200

        front.refuses_key = True  # KMS itself has nothing against the key
        answers = []
        writer = threading.Thread(target=lambda: answers.append(org.add("c", [{"_id": "meanwhile"}]).status))
        writer.start()
        wait_for(lambda: lease_events(dev, org).count("store_refused") >= 1, 10, what="the keyring's note")
        assert org.state() == "AVAILABLE" and "ended" not in lease_events(dev, org)
        front.refuses_key = False
        writer.join(60)
        assert answers and answers[0] in (200, 403, 503), answers
        wait_for(lambda: org.add("c", [{"_id": "second"}]).status == 200, 30, what="writes")
        assert "ended" not in lease_events(dev, org)
        assert {"first", "second"} <= {r["_id"] for r in org.rows("SELECT _id FROM c")}

        org.disable_key()
        front.refuses_key = True
        assert org.add("c", [{"_id": "third"}]).status in (403, 503)
        refused = wait_for(lambda: next((a for a in [org.query("SELECT count(*) AS n FROM c")] if a.status == 403), None),
                           BOUND_S, what="403 for queries")
        assert "DisabledException" in refused.message, refused
        events = wait_for(lambda: next((e for e in [lease_events(dev, org)] if "ended" in e), None), 10, what="the record")
        assert events.index("store_refused") < events.index("ended"), events
        front.refuses_key = False
        org.enable_key()
        wait_for(lambda: org.is_answering("SELECT count(*) AS n FROM c"), 30, what="queries after the key came back")


def lease_events(dev, org):
    """What the audit ledger says of the lease, in order."""
    found = []
    for path in sorted((dev.data / "audit" / WEST / org.id).glob("*.jsonl")):
        found += [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]
    return [r["event"] for r in found if r.get("kind") == "lease"]


def test_a_store_that_ignores_encryption_is_refused_at_the_start(rgw, front):
    """It takes the headers, answers as asked, and keeps the object in clear: seen when a node starts."""
    front.drops_encryption = True
    bucket = rgw.new_bucket()
    dev = Dev(settings(rgw, bucket, "sealed+sse-kms", **{"store.endpoint": front.url}), environment=rgw.environment())
    try:
        with pytest.raises(AssertionError, match="without encrypting under the key"):
            dev.start()
        assert rgw.all_keys(bucket) == []
    finally:
        if dev.process.poll() is None:
            dev.kill()
        dev.close()


class Front:
    """Before the store, with two faults: it takes SSE-KMS's headers off a request but claims in the answer to PUT that all
    was done; or it says that KMS refuses the key."""

    def __init__(self, rgw):
        self.drops_encryption = self.refuses_key = False
        self.credentials = botocore.credentials.Credentials(rgw.access_key_id, rgw.secret_key)
        self.endpoint = rgw.endpoint
        front = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self):
                front.forward(self)

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = forward

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def forward(self, handler):
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        asked = {k: v for k, v in handler.headers.items() if k.lower().startswith("x-amz-server-side-encryption")}
        if self.refuses_key and handler.command in ("PUT", "GET", "POST") and "list-type" not in handler.path:
            text = (b"<Error><Code>KMS.DisabledException</Code><Message>arn:aws:kms:... is disabled.</Message></Error>")
            return self.answer(handler, 400, {"Content-Type": "application/xml"}, text)
        kept = {k: v for k, v in handler.headers.items()
                if k.lower() in ("range", "content-type", "content-md5", "if-match", "if-none-match")}
        if not self.drops_encryption:
            kept.update(asked)
        request = botocore.awsrequest.AWSRequest(handler.command, self.endpoint + handler.path, kept, body)
        botocore.auth.S3SigV4Auth(self.credentials, "s3", "us-east-1").add_auth(request)
        headers = {**dict(request.prepare().headers), "Host": urllib.parse.urlsplit(self.endpoint).netloc}
        got = http_call(self.endpoint, handler.command, handler.path, raw=body, headers=headers)
        told = {k: v for k, v in got.headers.items() if k.lower() not in ("connection", "transfer-encoding")}
        if self.drops_encryption and handler.command == "PUT":
            told.update(asked)
        return self.answer(handler, got.status, told, got.body)

    @staticmethod
    def answer(handler, status, headers, body):
        handler.send_response(status)
        for name, value in headers.items():
            if name.lower() != "content-length":
                handler.send_header(name, value)
        if handler.command == "HEAD":
            handler.send_header("Content-Length", headers.get("Content-Length", "0"))
        elif status != 204:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture(name="front")
def _front(rgw):
    made = Front(rgw)
    yield made
    made.close()
