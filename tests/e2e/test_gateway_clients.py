"""rclone, awscli and s3cmd, as they come from Debian, and AWS's SDK for JavaScript against the gateway."""
import hashlib
import json
import os
import subprocess
import urllib.request

import pytest

from gateway_tools import BUCKET, BUILD, KEY_ARN, ROOT, Harness


@pytest.fixture(scope="module")
def harness():
    with Harness() as h:
        yield h


def run(command, environment, timeout=120):
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:])
    return done.stdout


def make_tree(folder):
    sizes = {"empty": 0, "one": 1, "dir/64k": 65536, "dir/deep/more": 200_001, "big file": 20 << 20, "\u00fc/ml": 10}
    for name, size in sizes.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(size))
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in sizes}


def hashes(folder):
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


def test_rclone(harness, tmp_path):
    expected = make_tree(tmp_path / "from")
    config = tmp_path / "rclone.conf"
    config.write_text(f"[gw]\ntype = s3\nprovider = Other\nendpoint = {harness.url}\naccess_key_id = {harness.access}\n"
                      f"secret_access_key = {harness.secret}\nregion = us-west-2\n")
    rclone = ["/usr/bin/rclone", "--config", str(config), "--retries", "1", "--low-level-retries", "1",
              "--s3-upload-cutoff", "8M", "--s3-chunk-size", "6M"]
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}  # nothing of AWS_* is inherited
    remote = f"gw:{BUCKET}/tree"
    run([*rclone, "copy", str(tmp_path / "from"), remote], environment)
    run([*rclone, "check", str(tmp_path / "from"), remote], environment)
    run([*rclone, "check", "--download", str(tmp_path / "from"), remote], environment)
    # Nothing is copied twice: sizes and times in listings are the plain ones.
    again = subprocess.run([*rclone, "copy", "-v", str(tmp_path / "from"), remote], env=environment, capture_output=True,
                           text=True, check=True)
    assert "Copied" not in again.stderr
    run([*rclone, "sync", remote, str(tmp_path / "to")], environment)
    assert hashes(tmp_path / "to") == expected
    middle = subprocess.run([*rclone, "cat", remote + "/big file", "--offset", "5000000", "--count", "100000"],
                            env=environment, capture_output=True, check=True).stdout
    assert middle == (tmp_path / "from/big file").read_bytes()[5_000_000:5_100_000]
    run([*rclone, "moveto", remote + "/one", f"gw:{BUCKET}/moved/one"], environment)
    listed = run([*rclone, "lsf", "-R", "--files-only", f"gw:{BUCKET}"], environment).split("\n")
    assert "moved/one" in listed and "tree/one" not in listed
    run([*rclone, "purge", remote], environment)
    assert "tree/" not in run([*rclone, "lsf", f"gw:{BUCKET}"], environment)


def test_awscli(harness, tmp_path):
    expected = make_tree(tmp_path / "from")
    aws = ["/usr/bin/aws", "--endpoint-url", harness.url, "s3"]
    environment = dict(harness.environment(), HOME=str(tmp_path))
    run([*aws, "cp", "--recursive", str(tmp_path / "from"), f"s3://{BUCKET}/aws"], environment)
    run([*aws, "sync", f"s3://{BUCKET}/aws", str(tmp_path / "to")], environment)
    assert hashes(tmp_path / "to") == expected
    assert run([*aws, "sync", str(tmp_path / "to"), f"s3://{BUCKET}/aws", "--size-only"], environment) == ""
    run([*aws, "cp", f"s3://{BUCKET}/aws/one", f"s3://{BUCKET}/aws2/one"], environment)
    assert "dir/deep/more" in run([*aws, "ls", "--recursive", f"s3://{BUCKET}/aws/"], environment)
    api = [*aws[:-1], "s3api"]
    one = ["--bucket", BUCKET, "--key", "aws/checked"]
    for algorithm in ("CRC32", "CRC32C", "SHA1", "SHA256"):
        put = json.loads(run([*api, "put-object", *one, "--body", str(tmp_path / "from/dir/64k"), "--checksum-algorithm", algorithm],
                             environment))
        got = json.loads(run([*api, "get-object", *one, "--checksum-mode", "ENABLED", str(tmp_path / "got")], environment))
        assert put["Checksum" + algorithm] == got["Checksum" + algorithm]
        assert (tmp_path / "got").read_bytes() == (tmp_path / "from/dir/64k").read_bytes()
    url = run([*aws, "presign", f"s3://{BUCKET}/aws/checked"], environment).strip()
    assert urllib.request.urlopen(url).read() == (tmp_path / "got").read_bytes()
    run([*aws, "rm", "--recursive", f"s3://{BUCKET}/aws"], environment)
    assert run([*aws, "ls"], environment).split()[-1] == BUCKET


def test_s3cmd(harness, tmp_path):
    expected = make_tree(tmp_path / "from")
    config = tmp_path / "s3cfg"
    place = harness.url.removeprefix("http://")
    config.write_text(f"[default]\naccess_key = {harness.access}\nsecret_key = {harness.secret}\nhost_base = {place}\n"
                      f"host_bucket = {place}/%(bucket)\nuse_https = False\nbucket_location = us-west-2\n"
                      "multipart_chunk_size_mb = 6\nmax_retries = 1\n")
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}

    def s3cmd(*words):
        return run(["/usr/bin/s3cmd", "-c", str(config), *words], environment)

    s3cmd("sync", str(tmp_path / "from") + "/", f"s3://{BUCKET}/cmd/")
    # Nothing again. Not by MD5: s3cmd sends none, and as with SSE-KMS anywhere an ETag is then no MD5.
    assert "upload:" not in s3cmd("sync", "--no-check-md5", str(tmp_path / "from") + "/", f"s3://{BUCKET}/cmd/")
    s3cmd("sync", f"s3://{BUCKET}/cmd/", str(tmp_path / "to") + "/")
    assert hashes(tmp_path / "to") == expected
    assert f"s3://{BUCKET}" in s3cmd("ls")
    assert f"s3://{BUCKET}/cmd/dir/deep/more" in s3cmd("ls", "--recursive", f"s3://{BUCKET}/cmd/")
    assert "us-west-2" in s3cmd("info", f"s3://{BUCKET}")
    assert "20971520" in s3cmd("info", f"s3://{BUCKET}/cmd/big file").replace(" ", "")
    s3cmd("cp", f"s3://{BUCKET}/cmd/one", f"s3://{BUCKET}/cmd2/one")
    s3cmd("mv", f"s3://{BUCKET}/cmd2/one", f"s3://{BUCKET}/cmd2/moved")
    assert s3cmd("ls", f"s3://{BUCKET}/cmd2/").split()[-1] == f"s3://{BUCKET}/cmd2/moved"
    s3cmd("del", "--recursive", "--force", f"s3://{BUCKET}/cmd")
    assert s3cmd("ls", f"s3://{BUCKET}/cmd/") == ""


def test_aws_sdk_for_javascript(harness):
    script = (ROOT / "tests/js/s3.js").read_text()
    done = subprocess.run(["node", "-"], input=script, cwd=BUILD / "deps/js", capture_output=True, text=True, timeout=120, check=False,
                          env=dict(harness.environment(), PATH="/usr/local/bin:/usr/bin:/bin", ENDPOINT=harness.url,
                                   BUCKET=BUCKET, KEY_ARN=getattr(harness, "key_arn", KEY_ARN)))
    assert done.returncode == 0, done.stderr
    out = json.loads(done.stdout)
    every = dict.fromkeys(["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"], True)
    assert out == {
        "read": {"0": True, "1": True, "65536": True, "300001": True}, "streamed": every, "checksums": every,
        "listed": [5 << 20, (5 << 20) + 1, 7], "parts": True, "composite": True, "ranged": True,
        "attributes": [(10 << 20) + 8, 3, "STANDARD"], "copied": True, "first": "none", "second": "PreconditionFailed 412",
        "stale": "PreconditionFailed 412", "unchanged": "Unknown 304", "missing": "NoSuchKey 404",
        "tagged": "NotImplemented 501",
        "found": ["js/c", "js/copy", "js/once", "js/parts", "js/plain 0", "js/plain 1", "js/plain 300001",
                  "js/plain 65536", "js/s"],
        "deleted": True, "left": 0}
