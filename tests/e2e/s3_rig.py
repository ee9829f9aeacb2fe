"""An S3 store of another make for the tests: one radosgw for the whole session (scripts/rgw), its buckets, its keys."""
import json
import pathlib
import shutil
import subprocess
import tempfile
import threading
import uuid

import boto3
import botocore.config
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
RGW = str(ROOT / "scripts" / "rgw")


class Rgw:
    """A radosgw at work. `keys` are the ARNs that its KMS knows."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.keys = []
        self.lock = threading.Lock()
        done = subprocess.run([RGW, "start", str(self.folder)], capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, done.stderr
        told = json.loads((self.folder / "rgw.json").read_text())
        self.endpoint, self.access_key_id, self.secret_key = told["endpoint"], told["access_key_id"], told["secret_key"]
        self.pids = told["pids"]

    def stop(self):
        subprocess.run([RGW, "stop", str(self.folder)], timeout=120, check=True)

    # ---- keys ----

    def _set_keys(self):
        subprocess.run([RGW, "keys", str(self.folder), *self.keys], timeout=120, check=True)

    def add_keys(self, *arns):
        """From now on SSE-KMS works with these, too."""
        with self.lock:
            self.keys += [arn for arn in arns if arn not in self.keys]
            self._set_keys()

    def remove_keys(self, *arns):
        """What is encrypted under these can't be read any more, until they are added again."""
        with self.lock:
            self.keys = [arn for arn in self.keys if arn not in arns]
            self._set_keys()

    # ---- buckets and what is in them ----

    def client(self):
        config = botocore.config.Config(s3={"addressing_style": "path"}, retries={"max_attempts": 3}, read_timeout=60)
        return boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1", config=config,
                            aws_access_key_id=self.access_key_id, aws_secret_access_key=self.secret_key)

    def environment(self):
        """What a process needs to find the store's credentials."""
        return {"AWS_ACCESS_KEY_ID": self.access_key_id, "AWS_SECRET_ACCESS_KEY": self.secret_key}

    def new_bucket(self):
        name = f"lockset-{uuid.uuid4().hex[:16]}"
        self.client().create_bucket(Bucket=name)
        return name

    def all_keys(self, bucket, prefix=""):
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [item["Key"] for page in pages for item in page.get("Contents", [])]

    def raw(self, bucket, key):
        """The bytes as S3 gives them (SSE-KMS is undone by then)."""
        return self.client().get_object(Bucket=bucket, Key=key)["Body"].read()

    def encryption(self, bucket, key):
        """(algorithm, key's ARN) of one object; (None, None): neither."""
        head = self.client().head_object(Bucket=bucket, Key=key)
        return head.get("ServerSideEncryption"), head.get("SSEKMSKeyId")


@pytest.fixture(scope="session")
def rgw():
    """The session's one radosgw; starting it takes some 20 seconds. Give each test a bucket of its own."""
    if not shutil.which("radosgw"):
        pytest.fail("radosgw is not installed: scripts/rgw install")
    with tempfile.TemporaryDirectory(prefix="lockset-rgw-") as folder:
        server = Rgw(pathlib.Path(folder) / "ceph")
        try:
            yield server
        finally:
            server.stop()
