"""The store's S3 client against radosgw: what it writes, reads, lists and deletes, under which key, and what it says when
the store refuses; and credentials as boto3 finds them."""
import json
import os
import pathlib
import subprocess

import boto3
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
HARNESS = str(ROOT / "build" / "s3-harness")
KEY = "arn:aws:kms:us-west-2:111122223333:key/mrk-5c0ffee05c0ffee05c0ffee05c0ffee0"
OTHER = "arn:aws:kms:us-west-2:111122223333:key/mrk-0000000000000000000000000000abcd"


@pytest.fixture(scope="module")
def store(rgw):
    rgw.add_keys(KEY)
    return rgw


@pytest.fixture
def ask(store, tmp_path):
    """Runs one operation of the client in a bucket of the test's own."""
    bucket = store.new_bucket()

    def run(*words, **settings):
        env = {"PATH": os.environ["PATH"], "S3_ENDPOINT": store.endpoint, "S3_REGION": "us-east-1", "S3_BUCKET": bucket,
               "S3_KEY_ARN": KEY, "HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true", **store.environment(), **settings}
        done = subprocess.run([HARNESS, *map(str, words)], env={k: v for k, v in env.items() if v is not None},
                              capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    run.bucket = bucket
    return run


def test_objects(store, ask, tmp_path):
    body, out = tmp_path / "body", tmp_path / "out"
    body.write_bytes(os.urandom(300_000))
    key = "a/b c+d%e~ü"
    put = ask("put", key, body)
    assert put["result"] == "OK"
    assert store.raw(ask.bucket, key) == body.read_bytes()
    assert store.encryption(ask.bucket, key) == ("aws:kms", KEY)
    head = ask("head", key)
    assert (head["size"], head["etag"], head["is_kms"], head["key_id"]) == (300_000, put["etag"], True, KEY)
    assert ask("get", key, 1000, 5000, out, put["etag"])["size"] == 300_000
    assert out.read_bytes() == body.read_bytes()[1000:6000]
    assert ask("get", key, 299_990, 5000, out)["result"] == "OK"
    assert out.read_bytes() == body.read_bytes()[-10:]
    assert ask("whole", key, 300_000, out)["result"] == "OK" and out.read_bytes() == body.read_bytes()
    assert ask("whole", key, 299_999, out)["result"] == "TOO_LARGE"
    assert ask("get", key, 300_000, 1, out)["trouble"] == "range"
    assert ask("get", key, 0, 1, out, "0" * 32)["trouble"] == "precondition"
    assert ask("put", key, body, "new")["trouble"] == "precondition"
    assert ask("delete", key)["result"] == "OK" and ask("delete", key)["result"] == "OK"
    assert ask("head", key)["trouble"] == "not_found"


def test_an_empty_object(ask, tmp_path):
    empty, out = tmp_path / "empty", tmp_path / "out"
    empty.write_bytes(b"")
    assert ask("put", "empty", empty)["result"] == "OK"
    assert ask("whole", "empty", 10, out)["size"] == 0 and out.read_bytes() == b""


def test_without_encryption_nothing_is_asked_for(store, ask, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(b"sealed by somebody else")
    assert ask("put", "plain", body, S3_KEY_ARN=None)["result"] == "OK"
    assert store.encryption(ask.bucket, "plain") == (None, None)


def test_uploads(store, ask, tmp_path):
    body, out = tmp_path / "body", tmp_path / "out"
    body.write_bytes(os.urandom(11_000_000))
    assert ask("upload", "large", body, 5 << 20)["result"] == "OK"
    assert ask("whole", "large", 11_000_000, out)["result"] == "OK" and out.read_bytes() == body.read_bytes()
    assert store.encryption(ask.bucket, "large") == ("aws:kms", KEY)
    left = ask("upload", "left", body, 5 << 20, "leave")["upload_id"]
    assert [(e["key"], e["upload_id"]) for e in ask("list", "uploads", "", "", "", 0)["items"]] == [("left", left)]
    assert ask("abort", "left", left)["result"] == "OK" and ask("abort", "left", left)["result"] == "OK"
    assert ask("list", "uploads", "", "", "", 0)["items"] == []


def test_listings_come_whole_in_the_order_of_bytes(store, ask):
    keys = sorted(["a", "a-b", "a/b", "a/c", "b c+%41", "z/ü/1", "z/ü/2"], key=lambda k: k.encode())
    for key in keys:
        store.client().put_object(Bucket=ask.bucket, Key=key, Body=b"x")
    listed = ask("list", "objects", "", "", "", 2)
    assert [e["key"] for e in listed["items"]] == keys and listed["pages"] == 4
    top = ask("list", "objects", "", "/", "", 0)["items"]
    assert [(e["key"], e["is_prefix"]) for e in top] == [("a", False), ("a-b", False), ("a/", True), ("b c+%41", False), ("z/", True)]
    assert [e["key"] for e in ask("list", "objects", "a/", "", "a/b", 0)["items"]] == ["a/c"]
    assert [e["key"] for e in ask("list", "versions", "", "", "", 2)["items"]] == keys
    assert ask("delete-many", *keys, "never-there")["result"] == "OK"
    assert store.all_keys(ask.bucket) == []


def test_old_versions_are_found_and_go(store, ask, tmp_path):
    body = tmp_path / "body"
    body.write_bytes(b"x")
    assert ask("bucket")["has_versions"] is False
    store.client().put_bucket_versioning(Bucket=ask.bucket, VersioningConfiguration={"Status": "Enabled"})
    assert ask("bucket")["has_versions"] is True
    for _ in range(2):
        assert ask("put", "twice", body)["result"] == "OK"
    assert ask("delete", "twice")["result"] == "OK"
    versions = ask("list", "versions", "", "", "", 0)["items"]
    assert [e["is_delete_marker"] for e in versions] == [True, False, False]
    for e in versions:
        assert ask("delete", "twice", e["version_id"])["result"] == "OK"
    assert ask("list", "versions", "", "", "", 0)["items"] == []


def test_a_refused_key_is_told_from_refused_credentials(store, ask, tmp_path):
    body, out = tmp_path / "body", tmp_path / "out"
    body.write_bytes(b"x" * 1000)
    assert ask("put", "held", body)["result"] == "OK"
    unknown = ask("put", "other", body, S3_KEY_ARN=OTHER)
    assert (unknown["result"], unknown["trouble"], unknown["attempts"]) == ("NO_LEASE", "key_refused", 1)
    store.remove_keys(KEY)
    try:
        assert ask("get", "held", 0, 10, out)["trouble"] == "key_refused"
    finally:
        store.add_keys(KEY)
    assert ask("get", "held", 0, 10, out)["result"] == "OK"
    wrong = ask("get", "held", 0, 10, out, AWS_SECRET_ACCESS_KEY="wrong")
    assert (wrong["result"], wrong["trouble"]) == ("FORBIDDEN", "access")
    assert "wrong" not in wrong["detail"]
    assert ask("put", "x", body, S3_BUCKET="no-such-bucket")["trouble"] == "no_bucket"
    nobody = ask("head", "held", S3_ENDPOINT="http://127.0.0.1:1", S3_ATTEMPTS="2")
    assert (nobody["result"], nobody["trouble"], nobody["attempts"]) == ("UNREACHABLE", "unreachable", 2)


def test_shared_files_are_read_as_boto3_reads_them(ask, tmp_path, monkeypatch):
    keys, config = tmp_path / "credentials", tmp_path / "config"
    keys.write_text("[default]\naws_access_key_id = AKIDDEFAULT\naws_secret_access_key = one\n"
                    "[two]\naws_access_key_id = AKIDTWO\naws_secret_access_key = two\naws_session_token = token\n")
    config.write_text("[profile three]\nregion = eu-west-1\naws_access_key_id = AKIDTHREE\naws_secret_access_key = three\n"
                      "[profile role]\nrole_arn = arn:aws:iam::111122223333:role/r\nsource_profile = default\n")
    files = {"AWS_SHARED_CREDENTIALS_FILE": str(keys), "AWS_CONFIG_FILE": str(config)}
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in files.items():
        monkeypatch.setenv(name, value)
    none = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    for profile in (None, "two", "three"):
        found = ask("credentials", AWS_PROFILE=profile, **files, **none)
        theirs = boto3.Session(profile_name=profile).get_credentials()
        assert (found["access_key_id"], found["secret_key"], found["token"]) == \
            (theirs.access_key, theirs.secret_key, theirs.token or "")
        assert found["source"] == "shared files"
    role = ask("credentials", AWS_PROFILE="role", **files, **none)
    assert role["result"] == "UNSUPPORTED" and "role_arn" in role["detail"]
    assert ask("credentials", AWS_PROFILE="four", **files, **none)["result"] == "INVALID"
