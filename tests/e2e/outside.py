"""The gateway's door for other S3 clients than the engine: an organization's bucket, and a client that holds an access key."""
import os
import pathlib
import signal
import subprocess
import time

import boto3
from botocore.config import Config

from lockset_dev import BUILD, LOCKSET, WEST, http_call, wait_for


class Bucket:
    """An organization's bucket with one access key: it looks to clients' tests like the harness of gateway_tools."""

    def __init__(self, url, name, key, key_arn=None, region=WEST):
        self.url, self.name, self.key_arn, self.region = url, name, key_arn, region
        self.port = int(url.rsplit(":", 1)[1])
        self.access, self.secret = key["access_key_id"], key["secret_access_key"]

    def s3(self, **config):
        # A certificate of one's own that stands in verify; no retries unless asked for.
        verify = config.pop("verify", None)
        options = {"signature_version": "s3v4", "retries": {"max_attempts": 0}, "s3": {"addressing_style": "path"},
                   "max_pool_connections": 128, "connect_timeout": 20, "read_timeout": 60}
        options.update(config)
        return boto3.client("s3", endpoint_url=self.url, region_name=self.region, aws_access_key_id=self.access, verify=verify,
                            aws_secret_access_key=self.secret, config=Config(**options))

    def environment(self):
        return dict(PATH="/usr/local/bin:/usr/bin:/bin", AWS_ACCESS_KEY_ID=self.access, AWS_SECRET_ACCESS_KEY=self.secret,
                    AWS_DEFAULT_REGION=self.region, AWS_CONFIG_FILE="/dev/null", AWS_SHARED_CREDENTIALS_FILE="/dev/null",
                    AWS_PAGER="", AWS_EC2_METADATA_DISABLED="true", AWS_MAX_ATTEMPTS="1")


def gateway_url(dev, region=WEST):
    return next(r["gateway_url"] for r in dev.info["regions"] if r["name"] == region)


def make_key(org, name="a test's"):
    answer = org.call("POST", "/s3-keys", {"name": name})
    assert answer.status == 201, answer
    return answer.data


def bucket_of(org):
    return Bucket(gateway_url(org.dev, org.region), org.name, make_key(org), org.key_arn, org.region)


class Gateway:
    """`lockset gateway` on a folder and settings of its own, with the local KMS of a running `lockset dev`."""

    def __init__(self, dev, folder, ports, tls=None):
        self.data, self.log_path = folder / "data", folder / "log"
        self.api, self.url = f"http://127.0.0.1:{ports[0]}", f"{'https' if tls else 'http'}://127.0.0.1:{ports[1]}"
        self.token = "an-operators-token-for-tests"
        (folder / "token").write_text(self.token)
        (folder / "token").chmod(0o600)
        self.config = folder / "gateway.yaml"
        self.config.write_text(
            f"data: {self.data}\ncustomer_keys.enabled: true\noperator.token_file: {folder}/token\n"
            f"aws.credentials_file: {dev.data}/credentials\naws.profile: service\n"
            f"engine.max_age: 10s\nkey.probe_interval: 1s\nkey.full_check_interval: 2s\n"
            + (f"gateway.tls.cert: {tls[0]}\ngateway.tls.key: {tls[1]}\n" if tls else "")
            + f"regions:\n  - name: {WEST}\n    api.listen: 127.0.0.1:{ports[0]}\n    gateway.listen: 127.0.0.1:{ports[1]}\n"
            f"    kms.endpoint: {dev.kms_urls[WEST]}\n")
        self.process = None

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([str(LOCKSET), "gateway", "--config", str(self.config)], stdout=subprocess.PIPE,
                                            stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        os.set_blocking(self.process.stdout.fileno(), False)
        text, until = b"", time.monotonic() + 60
        while b"\n" not in text:
            assert self.process.poll() is None and time.monotonic() < until, self.log_path.read_text()[-3000:]
            text += self.process.stdout.read() or b""
            time.sleep(0.02)
        self.ready_line = text.decode()
        return self

    def children(self):
        """name of the program -> pids"""
        found = {}
        for pid in pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            name = pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
            found.setdefault(name, []).append(int(pid))
        return found

    def admin(self, method, path, body=None):
        return http_call(self.api, method, "/v1/admin" + path, body, {"Authorization": f"Operator {self.token}"})

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(timeout=20)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()
        if self.process:
            self.process.stdout.close()
