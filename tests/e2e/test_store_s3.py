"""The gateway over a store in real S3 (Ceph's radosgw), in all three modes of encryption: the operations of S3 clients, what the bucket
holds then, kills in the middle of writes, and the second implementation reading a copy of the bucket."""
import hashlib
import os
import pathlib
import random
import secrets
import subprocess
import sys
import threading

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from gateway_tools import BUCKET, KEY_ARN, Harness, request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/tools"))

from read_sealed import Store  # noqa: E402
from sealed import Keys  # noqa: E402

MIB = 1 << 20
MODES = ["sealed", "sse-kms", "sealed+sse-kms"]
HARNESS_KEYS = Keys("o00000000000000000001", "us-west-2", {b"\x22" * 16: b"\x33" * 32}, b"\x11" * 32, BUCKET)
PREFIX = "some/where/o00000000000000000001/"


class S3Harness(Harness):
    """A gateway whose store is a bucket of its own in the session's radosgw."""

    def __init__(self, rgw, mode, bucket=None, **more):
        super().__init__(**more)
        self.rgw, self.mode = rgw, mode
        rgw.add_keys(KEY_ARN)
        self.bucket = bucket or rgw.new_bucket()
        self.extra_arguments = ["--s3", rgw.endpoint, "--s3-bucket", self.bucket, "--s3-prefix", PREFIX, "--s3-mode", mode]
        self.extra_environment = dict(rgw.environment(), AWS_EC2_METADATA_DISABLED="true")

    def close_store(self):
        assert self.order("stop") == "stopped"
        assert self.process.wait(60) == 0

    def restart(self):
        self.close_store()
        self.start()

    def paths(self, folder=""):
        return [key[len(PREFIX):] for key in self.rgw.all_keys(self.bucket, PREFIX + folder)]

    def download(self, to):
        for path in self.paths():
            target = to / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self.rgw.raw(self.bucket, PREFIX + path))


def read(s3, key):
    return s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()


def fill(s3, rng):
    """Objects of all kinds; what they have to hold."""
    expected = {}

    def put(key, body, **more):
        s3.put_object(Bucket=BUCKET, Key=key, Body=body, **more)
        expected[key] = body

    for size in (0, 1, 65536, 65537, 300_000, 20 * MIB + 11):
        put(f"sizes/{size}", rng.randbytes(size))
    for key in ("a/", "a//b", "x y+z", "ünï/日本語.parquet", "n" * 113):
        put(key, key.encode())
    put("with/metadata", b"m", ContentType="text/x-thing", Metadata={"who": "me"})
    put("replaced", b"old" * 50_000)
    put("replaced", b"new" * 40_000)
    put("removed", b"x" * 100_000)
    s3.delete_object(Bucket=BUCKET, Key="removed")
    del expected["removed"]
    parts = [rng.randbytes(5 * MIB), rng.randbytes(9 * MIB + 7), rng.randbytes(99)]
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="multi", Metadata={"k": "v"})["UploadId"]
    etags = {}
    for n, body in ((3, parts[2]), (1, b"first try" * 1000), (2, parts[1]), (1, parts[0])):
        etags[n] = s3.upload_part(Bucket=BUCKET, Key="multi", UploadId=upload, PartNumber=n, Body=body)["ETag"]
    s3.complete_multipart_upload(Bucket=BUCKET, Key="multi", UploadId=upload, MultipartUpload={
        "Parts": [{"PartNumber": n, "ETag": etags[n]} for n in (1, 2, 3)]})
    expected["multi"] = b"".join(parts)
    # Copies; the sources of some go.
    for source, key in (("sizes/300000", "copy/large"), ("sizes/1", "copy/small"), ("multi", "copy/multi"), ("replaced", "copy/gone")):
        s3.copy_object(Bucket=BUCKET, Key=key, CopySource={"Bucket": BUCKET, "Key": source})
        expected[key] = expected[source]
    s3.delete_object(Bucket=BUCKET, Key="replaced")
    del expected["replaced"]
    # A part from a range, and from a whole object.
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="pieced")["UploadId"]
    whole = {"Bucket": BUCKET, "Key": f"sizes/{20 * MIB + 11}"}
    etags = [s3.upload_part_copy(Bucket=BUCKET, Key="pieced", UploadId=upload, PartNumber=1, CopySource=whole),
             s3.upload_part_copy(Bucket=BUCKET, Key="pieced", UploadId=upload, PartNumber=2, CopySource=whole,
                                 CopySourceRange=f"bytes=77-{6 * MIB}")]
    s3.complete_multipart_upload(Bucket=BUCKET, Key="pieced", UploadId=upload, MultipartUpload={
        "Parts": [{"PartNumber": n + 1, "ETag": e["CopyPartResult"]["ETag"]} for n, e in enumerate(etags)]})
    large = expected[f"sizes/{20 * MIB + 11}"]
    expected["pieced"] = large + large[77:6 * MIB + 1]
    return expected


def listed(s3, **more):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, **more)
    return {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}


@pytest.mark.parametrize("mode", MODES)
def test_everything_in_every_mode(rgw, mode, tmp_path):
    with S3Harness(rgw, mode) as h:
        s3 = h.s3()
        expected = fill(s3, random.Random(3))
        for _ in range(2):  # the second time by a new process, which knows nothing
            assert listed(s3) == {key: len(body) for key, body in expected.items()}
            for key, body in expected.items():
                assert read(s3, key) == body, key
            large = f"sizes/{20 * MIB + 11}"
            for start, end in ((0, 0), (65535, 65536), (9 * MIB, 9 * MIB + 500), (20 * MIB, 20 * MIB + 10)):
                got = s3.get_object(Bucket=BUCKET, Key=large, Range=f"bytes={start}-{end}")["Body"].read()
                assert got == expected[large][start:end + 1]
            assert s3.head_object(Bucket=BUCKET, Key="with/metadata")["Metadata"] == {"who": "me"}
            folders = s3.list_objects_v2(Bucket=BUCKET, Delimiter="/")["CommonPrefixes"]
            assert [f["Prefix"] for f in folders] == ["a/", "copy/", "sizes/", "with/", "ünï/"]
            h.restart()
            s3 = h.s3()
        assert request(h, "PUT", f"/{BUCKET}/multi", headers={"If-None-Match": "*"}, body=b"no").status == 412
        # What S3 holds: encrypted as it was to be, and nothing of it readable unless S3 alone encrypts.
        for path in h.paths():
            algorithm, key = rgw.encryption(h.bucket, PREFIX + path)
            assert (algorithm, key) == (("aws:kms", KEY_ARN) if mode != "sealed" else (None, None)), path
        h.close_store()
        h.download(tmp_path)
        found = Store(tmp_path, HARNESS_KEYS).objects()
        assert {key.decode(): o.content() for key, o in found.items()} == expected
        versions = {(tmp_path / path).read_bytes()[8:10] for path in h.paths() if not path.startswith("refs/")}
        assert versions == {b"\x00\x02" if mode == "sse-kms" else b"\x00\x01"}
    # Removed, nothing stays.
    with S3Harness(rgw, mode, bucket=h.bucket) as h:
        s3 = h.s3()
        for key in expected:
            s3.delete_object(Bucket=BUCKET, Key=key)
        assert listed(s3) == {}
        h.close_store()
        assert h.paths("bodies/") == [] and h.paths("names/") == [] and h.paths("refs/") == []


def test_killed_while_writing(rgw):
    """kill -9 again and again: what was acknowledged is there, whole; everything else is there whole, or not at all."""
    bucket = rgw.new_bucket()
    rng = random.Random(11)
    acknowledged, pending = {}, {}
    for _ in range(6):
        with S3Harness(rgw, "sealed", bucket=bucket) as h:
            s3 = boto3.client("s3", endpoint_url=h.url, region_name="us-west-2", aws_access_key_id=h.access,
                              aws_secret_access_key=h.secret,
                              config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1}))
            for key in set(acknowledged) | set(pending):
                try:
                    got = hashlib.sha256(read(s3, key)).digest()
                except ClientError as error:
                    assert error.response["Error"]["Code"] == "NoSuchKey", error
                    got = None
                assert got in (acknowledged.get(key), pending.get(key, acknowledged.get(key))), key
                acknowledged[key] = got
            pending.clear()
            enough = threading.Event()

            def write(number, s3=s3, enough=enough):
                for i in range(10_000):
                    key = f"t{number}/k{i % 5}"
                    body = rng.randbytes((10, 70_000, 9 * MIB)[i % 3])
                    pending[key] = hashlib.sha256(body).digest()
                    try:
                        s3.put_object(Bucket=BUCKET, Key=key, Body=body)
                    except Exception:
                        return  # the process is gone
                    acknowledged[key] = pending.pop(key)
                    if i >= 3 + number:
                        enough.set()

            threads = [threading.Thread(target=write, args=(n,)) for n in range(3)]
            for t in threads:
                t.start()
            assert enough.wait(120)
            h.kill()
            for t in threads:
                t.join()
    assert any(acknowledged.values())


def test_the_key_is_taken_away_and_given_back(rgw):
    """S3's refusal of the key is told as such, and nothing comes back that S3 does not give."""
    arn_gone = KEY_ARN
    with S3Harness(rgw, "sealed+sse-kms") as h:
        s3 = h.s3()
        body = secrets.token_bytes(300_000)
        s3.put_object(Bucket=BUCKET, Key="k", Body=body)
        rgw.remove_keys(arn_gone)
        try:
            with pytest.raises(ClientError) as refused:
                s3.put_object(Bucket=BUCKET, Key="new", Body=body)
            assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] in (403, 500, 503)
            assert "new" not in listed(s3)
        finally:
            rgw.add_keys(arn_gone)
        assert read(s3, "k") == body
        s3.put_object(Bucket=BUCKET, Key="new", Body=body)
        assert read(s3, "new") == body
