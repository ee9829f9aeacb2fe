"""Buckets for data sources: the gateway's harness as an S3 server, boto3 to fill it."""
import gzip
import json
import subprocess

from gateway_tools import BUCKET, Harness
from lockset_dev import wait_for


class Bucket:
    def __init__(self):
        self.harness = Harness()

    def __enter__(self):
        self.harness.start()
        self.s3 = self.harness.s3()
        return self

    def __exit__(self, *_):
        self.harness.close()

    def put(self, key, body, **more):
        if isinstance(body, str):
            body = body.encode()
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body, **more)

    def delete(self, key):
        self.s3.delete_object(Bucket=BUCKET, Key=key)

    def lines(self, key, documents, compress=None):
        """JSON lines, compressed by what the key's ending says."""
        text = "".join(json.dumps(d) + "\n" for d in documents).encode()
        if key.endswith(".gz"):
            text = gzip.compress(text)
        if key.endswith(".zst"):
            text = subprocess.run(["zstd", "-q", "-c"], input=text, capture_output=True, check=True).stdout
        self.put(key, text)

    def integration(self, secret=None):
        return {"endpoint": self.harness.url, "region": "us-west-2",
                "aws_access_key": {"aws_access_key_id": self.harness.access,
                                   "aws_secret_access_key": secret or self.harness.secret}}


def integrate(org, bucket, name="lake", **more):
    answer = org.call("POST", "/integrations", {"name": name, "s3": bucket.integration(**more)})
    assert answer.status == 200, answer
    return answer.data


def source(prefix="", integration="lake", poll=1, format_params=None, **more):
    s3 = {"bucket": BUCKET, "poll_interval_secs": poll, **more}
    if prefix:
        s3["prefix"] = prefix
    body = {"integration_name": integration, "s3": s3}
    if format_params:
        body["format_params"] = format_params
    return body


def path(name="c", source_id=None, more=""):
    return f"/ws/commons/collections/{name}/sources" + (f"/{source_id}" if source_id else "") + more


def sources_of(org, name="c"):
    answer = org.call("GET", path(name))
    assert answer.status == 200, answer
    return answer.data


def status_of(org, name="c", index=0):
    return sources_of(org, name)[index]["status"]


def wait_watching(org, name="c", timeout=60, index=0):
    """Until the initial load is done."""
    return wait_for(lambda: (lambda s: s if s["state"] == "WATCHING" else None)(status_of(org, name, index)), timeout,
                    what="WATCHING")


def count(org, name="c"):
    return org.rows(f"SELECT count(*) AS n FROM {name}")[0]["n"]


def wait_count(org, wanted, name="c", timeout=60):
    return wait_for(lambda: count(org, name) == wanted, timeout, what=f"{wanted} documents")


def errors_of(org, source_id, name="c"):
    answer = org.call("GET", path(name, source_id, "/errors?limit=1000"))
    assert answer.status == 200, answer
    return answer.data


def leave(org):
    """Ends what an organization runs, so that many of them don't run side by side."""
    org.state("UNAVAILABLE", cause="DENIED")
    org.rig.kill_gateway(org.id)
