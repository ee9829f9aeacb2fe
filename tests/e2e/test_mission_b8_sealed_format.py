"""The sealed store through a second implementation (tests/tools/sealed.py, read_sealed.py): what Lockset writes is what
docs/format.md says, and the folder and the customer's key are enough to read it."""
import filecmp
import hashlib
import json
import os
import pathlib
import random
import secrets
import shutil
import subprocess
import sys
import urllib.parse

import pytest
from botocore.exceptions import ClientError

from gateway_tools import BUCKET, KEY_ARN, Harness, files_below
from lockset_dev import WEST, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests/vectors/sealed"
READER = ROOT / "tests/tools/read_sealed.py"
sys.path.insert(0, str(READER.parent))

from read_sealed import Store, unwrap  # noqa: E402
from sealed import Keys, Refused  # noqa: E402

MIB = 1 << 20

# What gateway-harness has in place of a keyring's keys.
HARNESS_KEYS = Keys("o00000000000000000001", "us-west-2", {b"\x22" * 16: b"\x33" * 32}, b"\x11" * 32, BUCKET)


# ---- The vectors ----

def vector_keys(v):
    k = v["keys"]
    return Keys(k["org"], k["region"], {bytes.fromhex(i): bytes.fromhex(b) for i, b in k["branches"].items()},
                bytes.fromhex(k["names"]), k["bucket"])


def test_the_generator_writes_the_vectors_that_are_there(tmp_path):
    subprocess.run(["/usr/bin/python3", str(VECTORS.parent / "generate_sealed.py"), str(tmp_path)], check=True)
    names = sorted(p.name for p in VECTORS.iterdir())
    assert names == sorted(p.name for p in tmp_path.iterdir())
    assert filecmp.cmpfiles(VECTORS, tmp_path, names, shallow=False) == (names, [], [])


def changed(data, change):
    data = bytearray(data)
    if "xor" in change:
        data[change["xor"][0]] ^= change["xor"][1]
    if "cut" in change:
        del data[change["cut"]:]
    if "append" in change:
        data += bytes.fromhex(change["append"])
    if "copy" in change:
        start, to, n = change["copy"]
        data[to:to + n] = data[start:start + n]
    if "exchange" in change:
        a, b, n = change["exchange"]
        data[a:a + n], data[b:b + n] = data[b:b + n], data[a:a + n]
    return bytes(data)


def test_the_second_implementation_refuses_too():
    v = json.loads((VECTORS / "vectors.json").read_text())
    keys = vector_keys(v)
    files = {f["file"]: f for f in v["files"]}
    for f in files.values():
        data = (VECTORS / f["file"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == f["sha256"]
        assert len(keys.open(bytes.fromhex(f["context"]), data, f["length"])) == f["length"]
    for change in v["refused_files"]:
        f = files[change["file"]]
        context = keys.file_context(change.get("label", f["label"]), bytes.fromhex(change.get("id", f["id"])))
        data = changed((VECTORS / f["file"]).read_bytes(), change)
        for size in (None, f["length"]):
            with pytest.raises(Refused):
                keys.open(context, data, size)
                pytest.fail(f"{change} was opened")
    for name in v["refused_names"]:
        with pytest.raises(Refused):
            keys.open_name(bytes.fromhex(name["chain"]), name["file"])
            pytest.fail(f"{name} was opened")


# ---- What a gateway writes ----

def test_the_reader_opens_all_that_a_gateway_wrote():
    rng = random.Random(7)
    with Harness() as h:
        s3 = h.s3()
        expected = {}

        def put(key, body, **more):
            s3.put_object(Bucket=BUCKET, Key=key, Body=body, **more)
            expected[key] = body

        for size in (0, 1, 100, 65535, 65536, 65537, 131072, 300_000, 5 * MIB + 11):
            put(f"sizes/{size}", rng.randbytes(size))
        for key in ("a/", "a//b", ".", "..", "x y+z", "ünï/日本語.parquet", "n" * 112, "n" * 113, "n" * 400 + "/leaf", "é" * 512):
            put(key, key.encode()[:50])
        put("with/metadata", b"m", ContentType="text/x-thing", Metadata={"who": "me"})
        put("replaced", b"old" * 50_000)
        put("replaced", b"new")
        put("removed", b"x" * 100_000)
        s3.delete_object(Bucket=BUCKET, Key="removed")
        del expected["removed"]
        # Multipart, out of order and with one part sent twice.
        parts = [rng.randbytes(5 * MIB), rng.randbytes(5 * MIB + 7), rng.randbytes(99)]
        upload = s3.create_multipart_upload(Bucket=BUCKET, Key="multi", Metadata={"k": "v"})["UploadId"]
        etags = {}
        for n, body in ((3, parts[2]), (1, b"first try" * 1000), (2, parts[1]), (1, parts[0])):
            etags[n] = s3.upload_part(Bucket=BUCKET, Key="multi", UploadId=upload, PartNumber=n, Body=body)["ETag"]
        s3.complete_multipart_upload(Bucket=BUCKET, Key="multi", UploadId=upload, MultipartUpload={
            "Parts": [{"PartNumber": n, "ETag": etags[n]} for n in (1, 2, 3)]})
        expected["multi"] = b"".join(parts)
        # Copies of all kinds; the sources may go.
        for source, target in (("multi", "copy of multi"), ("sizes/100", "copy of small"), ("sizes/300000", "copy of big")):
            s3.copy_object(Bucket=BUCKET, Key=target, CopySource={"Bucket": BUCKET, "Key": source})
            expected[target] = expected[source]
        s3.delete_object(Bucket=BUCKET, Key="sizes/300000")
        del expected["sizes/300000"]
        upload = s3.create_multipart_upload(Bucket=BUCKET, Key="of parts")["UploadId"]
        whole, some = expected["multi"], expected[f"sizes/{5 * MIB + 11}"]
        ranges = [("multi", f"bytes=0-{5 * MIB - 1}", whole[:5 * MIB]),
                  ("multi", f"bytes=1000-{6 * MIB}", whole[1000:6 * MIB + 1]),
                  (f"sizes/{5 * MIB + 11}", None, some)]
        done = []
        for n, (source, span, _) in enumerate(ranges, 1):
            more = {"CopySourceRange": span} if span else {}
            answer = s3.upload_part_copy(Bucket=BUCKET, Key="of parts", UploadId=upload, PartNumber=n,
                                         CopySource={"Bucket": BUCKET, "Key": source}, **more)
            done.append({"PartNumber": n, "ETag": answer["CopyPartResult"]["ETag"]})
        s3.complete_multipart_upload(Bucket=BUCKET, Key="of parts", UploadId=upload, MultipartUpload={"Parts": done})
        expected["of parts"] = b"".join(piece for _, _, piece in ranges)
        # And an upload that is not finished.
        open_upload = s3.create_multipart_upload(Bucket=BUCKET, Key="unfinished", ContentType="x/y")["UploadId"]
        s3.upload_part(Bucket=BUCKET, Key="unfinished", UploadId=open_upload, PartNumber=2, Body=b"second")

        store = Store(h.store, HARNESS_KEYS)
        objects = store.objects()
        assert [k.decode() for k in objects] == sorted(expected, key=str.encode)
        listed = {o["Key"]: o for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
                  for o in page["Contents"]}
        for key, body in expected.items():
            found = objects[key.encode()]
            assert found.content() == body, key
            assert found.summary.size == listed[key]["Size"] == len(body)
            assert f'"{found.summary.etag_text()}"' == listed[key]["ETag"], key
        record = objects[b"multi"].record()
        assert [n for n, _ in record.parts] == [1, 2, 3] and len(record.segments) == 3
        fields = dict(objects[b"with/metadata"].record().fields)
        assert fields[b"content-type"] == b"text/x-thing" and fields[b"x-amz-meta-who"] == b"me"
        [(upload_id, key, fields, parts)] = store.uploads()
        assert key == b"unfinished" and dict(fields)[b"content-type"] == b"x/y" and parts == {2: b"second"}
        # No body and no name that isn't needed is left.
        bodies = {p.name for p in files_below(h.store / "bodies")}
        assert bodies == {f"{o.tag.hex()}.{i}" for o in objects.values() for i in range(len(o.record().segments))}
        # Keys that are not the store's open nothing.
        for other in (Keys("o00000000000000000002", "us-west-2", HARNESS_KEYS.branches, HARNESS_KEYS.names, BUCKET),
                      Keys(HARNESS_KEYS.org, "us-east-1", HARNESS_KEYS.branches, HARNESS_KEYS.names, BUCKET),
                      Keys(HARNESS_KEYS.org, HARNESS_KEYS.region, HARNESS_KEYS.branches, HARNESS_KEYS.names, "other")):
            with pytest.raises(Refused):
                Store(h.store, other).objects()
        with pytest.raises(Refused):
            Store(h.store, Keys(HARNESS_KEYS.org, HARNESS_KEYS.region, {b"\x22" * 16: b"\x34" * 32}, HARNESS_KEYS.names,
                                BUCKET)).objects()[b"multi"].content()
        assert all(KEY_ARN.encode() in p.read_bytes()[:200] for p in files_below(h.store / "names"))


# ---- A deployment's store, with the customer's key alone ----

def run_reader(dev, folder, *options):
    return subprocess.run(
        ["/usr/bin/python3", str(READER), str(folder), "--region", WEST, "--profile", "customer",
         "--endpoint-url", dev.kms_urls[WEST], *options], capture_output=True, text=True, timeout=120, check=False,
        env=dict(os.environ, AWS_SHARED_CREDENTIALS_FILE=str(dev.data / "credentials"), AWS_CONFIG_FILE="/dev/null"))


def test_a_copy_of_the_folder_and_the_key_are_enough(dev_with, tmp_path):
    alphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    markers = ["".join(secrets.choice(alphabet) for _ in range(24)) for _ in range(3)]
    value, field, identity = markers
    dev = dev_with()
    org, other = dev.create_org(), dev.create_org()
    for o in (org, other):
        o.create_collection("c")
    documents = [{"_id": f"{identity}{i}", "f" + field: value if i == 0 else "x", "n": i} for i in range(500)]
    assert org.add("c", documents).status == 200
    assert other.add("c", [{"_id": "1"}]).status == 200
    assert org.count("c") == 500

    # The key's end is the processes' end: nobody writes, and a copy can be made.
    org.disable_key()
    wait_for(lambda: not org.gateway_pid() and not org.engine_pid(), 60, what="the gateway's end")
    folder = tmp_path / "copy" / org.id
    shutil.copytree(dev.store / org.id, folder)
    sealed_files = {p: p.read_bytes() for p in files_below(folder)}
    assert len(sealed_files) > 10
    for path, data in sealed_files.items():
        assert not any(m.encode() in data or m in str(path) for m in markers), path

    # With the key disabled the wrapped keys are only bytes, for the customer as for anyone.
    done = run_reader(dev, folder)
    assert done.returncode != 0 and "DisabledException" in done.stderr, done.stderr
    with pytest.raises(ClientError) as caught:
        unwrap(folder, WEST, dev.kms())
    assert caught.value.response["Error"]["Code"] == "DisabledException"

    org.enable_key()
    done = run_reader(dev, folder, "--to", str(tmp_path / "plain"))
    assert done.returncode == 0, done.stderr
    plain = {urllib.parse.unquote(p.name): p.read_bytes() for p in (tmp_path / "plain").iterdir()}
    assert done.stderr.strip() == f"{len(plain)} objects" and len(plain) >= 5
    for marker in markers:
        assert any(marker.encode() in data for data in plain.values()), marker
    assert {p: p.read_bytes() for p in files_below(folder)} == sealed_files  # only read
    listed = run_reader(dev, folder, "--list")
    assert sorted(line.split("  ")[-1] for line in listed.stdout.splitlines()) == sorted(plain)

    # One customer's key is of no use for another's folder.
    keys, other_keys = unwrap(folder, WEST, dev.kms()), unwrap(dev.store / other.id, WEST, dev.kms())
    assert Store(folder, keys).objects()
    for mixed in (Keys(org.id, WEST, keys.branches, other_keys.names), Keys(other.id, WEST, keys.branches, keys.names)):
        with pytest.raises(Refused):
            Store(folder, mixed).objects()
    first = next(iter(Store(folder, Keys(org.id, WEST, other_keys.branches, keys.names)).objects().values()))
    with pytest.raises(Refused):
        first.content()

    wait_for(lambda: org.is_answering("SELECT count(*) AS n FROM c"), 30, what="the key's return")
    assert org.count("c") == 500
