"""`lockset store check` on folders: each thing a store needs is tried and told, and nothing is left behind."""
import json
import os
import subprocess

import pytest

from lockset_dev import LOCKSET


def check(*args):
    done = subprocess.run([str(LOCKSET), "store", "check", *map(str, args)], capture_output=True, text=True, timeout=60,
                          stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout, done.stderr


def settings(folder, regions):
    file = folder / "lockset.yaml"
    file.write_text(json.dumps({"data": str(folder / "data"), "regions": regions}))
    return file


def everything_in(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_a_sound_folder_passes_and_stays_as_it_was(tmp_path):
    store = tmp_path / "west"
    store.mkdir(mode=0o700)
    (store / "o0123").mkdir()
    file = settings(tmp_path, [{"name": "us-west-2", "store": {"path": str(store)}}, {"name": "us-east-1"}])
    before = everything_in(tmp_path)
    code, out, err = check("--config", file)
    assert code == 0 and err == "", err
    assert "FAIL" not in out and out.count("  ok ") == 20, out
    assert everything_in(tmp_path) == before  # not even the folders of the second, which are not there yet
    code, out, err = check("--config", file, "--region", "us-east-1", "--json")
    [region] = json.loads(out)
    assert code == 0 and region["ok"] is True and region["region"] == "us-east-1" and region["kind"] == "file"
    assert [c["check"] for c in region["checks"]] == [
        "folder", "only its owner writes", "write and sync", "read back", "hard links", "rename", "long names", "locks",
        "free space", "remove"]


def test_what_is_wrong_is_told_with_what_to_do(tmp_path):
    in_the_way, open_to_all = tmp_path / "file", tmp_path / "open"
    in_the_way.write_text("x")
    open_to_all.mkdir()
    os.chmod(open_to_all, 0o777)
    file = settings(tmp_path, [{"name": "a", "store": {"path": str(in_the_way / "store")}},
                               {"name": "b", "store": {"path": str(open_to_all)}}])
    before = everything_in(tmp_path)
    code, out, err = check("--config", file, "--json")
    assert code == 1 and "2 of 11 checks failed" in err, err
    a, b = json.loads(out)
    assert a["ok"] is False and b["ok"] is False
    [folder] = a["checks"]
    assert folder["ok"] is False and str(in_the_way) in folder["detail"] and "mkdir" in folder["mend"]
    [wide] = [c for c in b["checks"] if not c["ok"]]
    assert wide["check"] == "only its owner writes" and "chmod go-w" in wide["mend"]
    assert everything_in(tmp_path) == before


@pytest.mark.skipif(not os.path.ismount("/proc"), reason="needs /proc")
def test_a_folder_that_can_not_be_written_fails(tmp_path):
    code, out, _ = check("--config", settings(tmp_path, [{"name": "a", "store": {"path": "/proc/self"}}]))
    assert code == 1 and "FAIL  write and sync" in out, out


@pytest.mark.parametrize("args,message", [
    (["--region", "x"], "no node was started"),
    (["--config", "{file}", "--region", "eu-west-1"], "no region eu-west-1"),
    (["--config", "{file}", "--data", "d"], "not both"),
    (["--config", "/nowhere.yaml"], "/nowhere.yaml"),
    (["--cfg", "x"], "--cfg"),
])
def test_wrong_usage(tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    file = settings(tmp_path, [{"name": "a"}])
    code, out, err = check(*[a.replace("{file}", str(file)) for a in args])
    assert code == (1 if "nowhere" in message else 2) and message in err and out == "", (code, err)


# --- stores in S3 ---

KEY = "arn:aws:kms:us-west-2:111122223333:key/mrk-" + "5" * 32
OTHER = "arn:aws:kms:us-west-2:111122223333:key/mrk-" + "6" * 32


def s3_settings(folder, rgw, bucket, encryption, **more):
    none = {"kms": "none"} if encryption == "sealed" else {}
    store = {"kind": "s3", "endpoint": rgw.endpoint, "region": "us-east-1", "bucket": bucket, "prefix": "lab",
             "encryption": encryption, **none, **more}
    return settings(folder, [{"name": "us-west-2", "store": store}])


def check_s3(rgw, *args, **environment):
    done = subprocess.run([str(LOCKSET), "store", "check", "--json", *map(str, args)], capture_output=True, text=True,
                          timeout=120, env={**os.environ, **rgw.environment(), **environment})
    lines = {c["check"]: c for r in json.loads(done.stdout or "[]") for c in r["checks"]}
    return done.returncode, lines, done.stderr


@pytest.mark.parametrize("versioned", [False, True], ids=["plain", "versions"])
@pytest.mark.parametrize("encryption", ["sealed+sse-kms", "sse-kms", "sealed"])
def test_a_sound_bucket_passes_and_stays_as_it_was(tmp_path, rgw, encryption, versioned):
    rgw.add_keys(KEY)
    bucket = rgw.new_bucket()
    s3 = rgw.client()
    if versioned:
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="lab/us-west-2/mine", Body=b"x")
    code, lines, err = check_s3(rgw, "--config", s3_settings(tmp_path, rgw, bucket, encryption), "--key-arn", KEY)
    assert code == 0 and err == "", (err, lines)
    assert list(lines) == ["credentials", "bucket", "old versions", "write", "encryption", "clock", "read", "read a range",
                           "list", "write over", "conditional write", "multipart upload", "abort an upload", "delete",
                           "remove"]
    assert lines["credentials"]["detail"] == "environment"
    assert lines["old versions"]["detail"].startswith("kept" if versioned else "not kept")
    assert (KEY in lines["encryption"]["detail"]) == (encryption != "sealed")
    assert [v["Key"] for v in s3.list_object_versions(Bucket=bucket)["Versions"]] == ["lab/us-west-2/mine"]
    assert "DeleteMarkers" not in s3.list_object_versions(Bucket=bucket)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_what_is_wrong_with_s3_is_told_with_what_to_do(tmp_path, rgw):
    rgw.add_keys(KEY)
    bucket = rgw.new_bucket()
    good = s3_settings(tmp_path, rgw, bucket, "sse-kms")
    code, lines, err = check_s3(rgw, "--config", good, "--key-arn", OTHER)
    assert code == 1 and "1 of 5 checks failed" in err, err
    assert OTHER in lines["write"]["detail"] and "enabled" in lines["write"]["mend"], lines["write"]
    assert "Versions" not in rgw.client().list_object_versions(Bucket=bucket)
    code, lines, _ = check_s3(rgw, "--config", good, "--key-arn", KEY, AWS_SECRET_ACCESS_KEY="wrong")
    assert code == 1 and not lines["bucket"]["ok"] and "403" in lines["bucket"]["detail"], lines
    code, lines, _ = check_s3(rgw, "--config", good, "--key-arn", KEY, AWS_ACCESS_KEY_ID="")
    assert code == 1 and list(lines) == ["credentials"] and "AWS_ACCESS_KEY_ID" in lines["credentials"]["mend"]
    code, lines, _ = check_s3(rgw, "--config", s3_settings(tmp_path, rgw, "no-such-bucket", "sse-kms"), "--key-arn", KEY)
    assert code == 1 and "no-such-bucket" in lines["bucket"]["detail"] and "make the bucket" in lines["bucket"]["mend"]
    away = s3_settings(tmp_path, rgw, bucket, "sealed", endpoint="http://127.0.0.1:9")
    code, lines, _ = check_s3(rgw, "--config", away)
    assert code == 1 and "store.endpoint" in lines["bucket"]["mend"], lines


def test_a_store_that_s3_encrypts_needs_a_key_to_try(tmp_path, rgw):
    file = s3_settings(tmp_path, rgw, "some-bucket", "sealed+sse-kms")
    code, lines, err = check_s3(rgw, "--config", file)
    assert code == 2 and lines == {} and "--key-arn" in err, err
    code, lines, err = check_s3(rgw, "--config", file, "--key-arn", KEY.replace("us-west-2", "eu-west-1"))
    assert code == 2 and lines == {} and "us-west-2" in err, err
