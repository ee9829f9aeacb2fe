"""The gateway through boto3: what an S3 client may expect."""
import concurrent.futures
import datetime
import hashlib
import os
import random
import threading
import time

import pytest
from botocore.exceptions import ClientError

from gateway_tools import BUCKET, KEY_ARN, Harness, assert_nothing_left, files_below

MIB = 1 << 20


@pytest.fixture(scope="module")
def harness():
    with Harness() as h:
        yield h


@pytest.fixture(scope="module")
def s3(harness):
    return harness.s3()


@pytest.fixture
def put(s3, request):
    """Puts an object under a key of the test's own."""
    def do(name, body, **more):
        key = f"{request.node.name}/{name}"
        s3.put_object(Bucket=BUCKET, Key=key, Body=body, **more)
        return key
    return do


def code_of(call, *arguments, **named):
    with pytest.raises(ClientError) as caught:
        call(*arguments, **named)
    error = caught.value.response
    return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]


def test_buckets(s3):
    assert [b["Name"] for b in s3.list_buckets()["Buckets"]] == [BUCKET]
    assert s3.head_bucket(Bucket=BUCKET)["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert s3.get_bucket_location(Bucket=BUCKET)["LocationConstraint"] == "us-west-2"
    assert code_of(s3.create_bucket, Bucket=BUCKET,
                   CreateBucketConfiguration={"LocationConstraint": "us-west-2"}) == ("BucketAlreadyOwnedByYou", 409)
    assert code_of(s3.create_bucket, Bucket="other",
                   CreateBucketConfiguration={"LocationConstraint": "us-west-2"}) == ("AccessDenied", 403)
    assert code_of(s3.head_bucket, Bucket="other")[1] == 404
    assert code_of(s3.list_objects_v2, Bucket="other") == ("NoSuchBucket", 404)


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 131072, 200_000, 3 * MIB + 5])
def test_put_and_get(s3, put, size):
    body = random.Random(size).randbytes(size)
    key = put("object", body)
    answer = s3.get_object(Bucket=BUCKET, Key=key)
    assert answer["Body"].read() == body
    assert answer["ContentLength"] == size
    head = s3.head_object(Bucket=BUCKET, Key=key)
    assert head["ContentLength"] == size and head["ETag"] == answer["ETag"]
    # boto3 1.26 sends Content-MD5, so the ETag is it.
    assert head["ETag"].strip('"') == hashlib.md5(body).hexdigest()


def test_encryption_is_named_everywhere(s3, put):
    expected = ("aws:kms", KEY_ARN)
    key = put("k", b"x" * 10)

    def named(answer):
        return answer["ServerSideEncryption"], answer["SSEKMSKeyId"]

    assert named(s3.put_object(Bucket=BUCKET, Key=key, Body=b"a", ServerSideEncryption="aws:kms",
                               SSEKMSKeyId=KEY_ARN)) == expected
    assert named(s3.get_object(Bucket=BUCKET, Key=key)) == expected
    assert named(s3.head_object(Bucket=BUCKET, Key=key)) == expected
    assert named(s3.copy_object(Bucket=BUCKET, Key=key + "2", CopySource={"Bucket": BUCKET, "Key": key})) == expected
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key + "3")
    assert named(upload) == expected
    part = s3.upload_part(Bucket=BUCKET, Key=key + "3", UploadId=upload["UploadId"], PartNumber=1, Body=b"p")
    assert named(part) == expected
    done = s3.complete_multipart_upload(Bucket=BUCKET, Key=key + "3", UploadId=upload["UploadId"],
                                        MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]})
    assert named(done) == expected


def test_other_encryption_is_refused(s3):
    def put_with(**more):
        return code_of(s3.put_object, Bucket=BUCKET, Key="refused", Body=b"x", **more)

    assert put_with(ServerSideEncryption="AES256") == ("InvalidArgument", 400)
    other = KEY_ARN[:-1] + "2"
    assert put_with(ServerSideEncryption="aws:kms", SSEKMSKeyId=other) == ("InvalidArgument", 400)
    assert put_with(SSECustomerAlgorithm="AES256", SSECustomerKey="k" * 32) == ("NotImplemented", 501)
    assert put_with(ACL="public-read") == ("NotImplemented", 501)
    assert put_with(Tagging="a=b") == ("NotImplemented", 501)
    assert put_with(StorageClass="GLACIER") == ("NotImplemented", 501)
    assert put_with(ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=datetime.datetime(2030, 1, 1)) == \
        ("NotImplemented", 501)
    assert code_of(s3.head_object, Bucket=BUCKET, Key="refused")[1] == 404


def test_metadata_comes_back(s3, put):
    key = put("k", b"body", ContentType="text/x-test; charset=utf-8", ContentEncoding="gzip", ContentLanguage="de",
              CacheControl="max-age=5", ContentDisposition='attachment; filename="a b"',
              Metadata={"one": "1", "other-name": "two words"})
    for answer in (s3.head_object(Bucket=BUCKET, Key=key), s3.get_object(Bucket=BUCKET, Key=key)):
        assert answer["ContentType"] == "text/x-test; charset=utf-8"
        assert answer["ContentEncoding"] == "gzip" and answer["ContentLanguage"] == "de"
        assert answer["CacheControl"] == "max-age=5"
        assert answer["ContentDisposition"] == 'attachment; filename="a b"'
        assert answer["Metadata"] == {"one": "1", "other-name": "two words"}
        assert abs(time.time() - answer["LastModified"].timestamp()) < 60
    overridden = s3.get_object(Bucket=BUCKET, Key=key, ResponseContentType="application/json",
                               ResponseCacheControl="no-store")
    assert overridden["ContentType"] == "application/json" and overridden["CacheControl"] == "no-store"
    assert overridden["ContentLanguage"] == "de"
    assert code_of(s3.get_object, Bucket=BUCKET, Key=key, ResponseContentType="a\r\nSet-Cookie: x") == \
        ("InvalidArgument", 400)
    assert code_of(s3.put_object, Bucket=BUCKET, Key=key, Body=b"", Metadata={"big": "x" * 2100}) == \
        ("MetadataTooLarge", 400)


def test_ranges(s3, put):
    body = random.Random(7).randbytes(300_000)
    key = put("k", body)
    for text, expected in [("bytes=0-0", body[:1]), ("bytes=0-99", body[:100]), ("bytes=65530-65541", body[65530:65542]),
                           ("bytes=65536-131071", body[65536:131072]), ("bytes=299999-", body[-1:]),
                           ("bytes=100000-", body[100000:]), ("bytes=-1", body[-1:]), ("bytes=-70000", body[-70000:]),
                           ("bytes=-999999", body), ("bytes=5-99999999", body[5:])]:
        answer = s3.get_object(Bucket=BUCKET, Key=key, Range=text)
        assert answer["Body"].read() == expected, text
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 206
        start = len(body) - len(expected) if text.startswith("bytes=-") else int(text[6:].split("-")[0])
        assert answer["ContentRange"] == f"bytes {start}-{start + len(expected) - 1}/{len(body)}"
    assert code_of(s3.get_object, Bucket=BUCKET, Key=key, Range="bytes=300000-") == ("InvalidRange", 416)
    assert code_of(s3.get_object, Bucket=BUCKET, Key=key, Range="bytes=-0") == ("InvalidRange", 416)
    for ignored in ("bytes=5-4", "lines=1-2", "bytes=0-1,5-6", "x"):
        answer = s3.get_object(Bucket=BUCKET, Key=key, Range=ignored)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200 and answer["Body"].read() == body
    empty = put("empty", b"")
    assert code_of(s3.get_object, Bucket=BUCKET, Key=empty, Range="bytes=0-0") == ("InvalidRange", 416)
    head = s3.head_object(Bucket=BUCKET, Key=key, Range="bytes=10-19")
    assert head["ContentLength"] == 10


def test_conditional_reads(s3, put):
    key = put("k", b"body")
    head = s3.head_object(Bucket=BUCKET, Key=key)
    etag, modified = head["ETag"], head["LastModified"]
    hour = datetime.timedelta(hours=1)
    for call in (s3.get_object, s3.head_object):
        assert call(Bucket=BUCKET, Key=key, IfMatch=etag)["ContentLength"] == 4
        assert call(Bucket=BUCKET, Key=key, IfNoneMatch='"other"')["ContentLength"] == 4
        assert call(Bucket=BUCKET, Key=key, IfModifiedSince=modified - hour)["ContentLength"] == 4
        assert call(Bucket=BUCKET, Key=key, IfUnmodifiedSince=modified)["ContentLength"] == 4
        assert code_of(call, Bucket=BUCKET, Key=key, IfMatch='"other"')[1] == 412
        assert code_of(call, Bucket=BUCKET, Key=key, IfNoneMatch=etag)[1] == 304
        assert code_of(call, Bucket=BUCKET, Key=key, IfModifiedSince=modified)[1] == 304
        assert code_of(call, Bucket=BUCKET, Key=key, IfUnmodifiedSince=modified - hour)[1] == 412
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=BUCKET, Key=key, IfNoneMatch=etag)
    assert caught.value.response["ResponseMetadata"]["HTTPHeaders"]["etag"] == etag


def test_missing_keys(s3):
    assert code_of(s3.get_object, Bucket=BUCKET, Key="no/such/key") == ("NoSuchKey", 404)
    assert code_of(s3.head_object, Bucket=BUCKET, Key="no/such/key")[1] == 404
    assert code_of(s3.copy_object, Bucket=BUCKET, Key="x", CopySource=f"{BUCKET}/no/such/key") == ("NoSuchKey", 404)
    assert s3.delete_object(Bucket=BUCKET, Key="no/such/key")["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert code_of(s3.put_object, Bucket=BUCKET, Key="k" * 1025, Body=b"") == ("KeyTooLongError", 400)


def test_overwrite_and_delete(s3, put):
    key = put("k", b"first")
    first = s3.head_object(Bucket=BUCKET, Key=key)["ETag"]
    s3.put_object(Bucket=BUCKET, Key=key, Body=b"second, longer")
    answer = s3.get_object(Bucket=BUCKET, Key=key)
    assert answer["Body"].read() == b"second, longer" and answer["ETag"] != first
    s3.delete_object(Bucket=BUCKET, Key=key)
    assert code_of(s3.get_object, Bucket=BUCKET, Key=key) == ("NoSuchKey", 404)


ODD_KEYS = ["plain", "a b", "a+b", "a%2Fb", "a/b/", "a//b", "/leading", "..", "../../etc/passwd", "./x", "x/../y", ".",
            "a/./b", "\u00e4\u00f6\u00fc", "\u20ac/\U0001f600", "quote\"'<>&", "back\\slash", "tab\there", "new\nline",
            "semi;colon", "a:b@c=d,e?f#g", "%", "%%", "~", "-_.!*'()", "k" * 1024, "d/" * 500 + "x", "CON", "a\u0301",
            "\u00e1", "_", "=", "&", "\x7f", "a b/c d/", "trailing.", "trailing "]


@pytest.mark.parametrize("key", ODD_KEYS, ids=range(len(ODD_KEYS)))
def test_odd_keys(s3, harness, key):
    body = key.encode() * 2
    s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == body
    assert key in [o["Key"] for o in s3.list_objects_v2(Bucket=BUCKET, Prefix=key)["Contents"]]
    copy = ("copy of " + key)[:1024]
    s3.copy_object(Bucket=BUCKET, Key=copy, CopySource={"Bucket": BUCKET, "Key": key})
    assert s3.get_object(Bucket=BUCKET, Key=copy)["Body"].read() == body
    for k in (key, copy):
        s3.delete_object(Bucket=BUCKET, Key=k)
        assert code_of(s3.head_object, Bucket=BUCKET, Key=k)[1] == 404
    assert [p.name for p in harness.store.parent.iterdir()] == ["store"]


def test_listing(s3, put, request):
    base = request.node.name + "/"
    names = sorted(["a", "a-b", "a/1", "a/2", "a/b/3", "b", "c/4", "c/5", "d", "\u00e4/6"], key=lambda n: n.encode())
    for n in names:
        put(n, n.encode())

    def pages(**more):
        """Keys and prefixes, page by page, in the order of the pages."""
        out, token = [], None
        while True:
            page = s3.list_objects_v2(Bucket=BUCKET, **more, **({"ContinuationToken": token} if token else {}))
            mixed = [(o["Key"].encode(), o["Key"][len(base):]) for o in page.get("Contents", [])] + \
                    [(p["Prefix"].encode(), p["Prefix"][len(base):]) for p in page.get("CommonPrefixes", [])]
            assert page["KeyCount"] == len(mixed)
            out += [name for _, name in sorted(mixed)]
            if not page["IsTruncated"]:
                assert "NextContinuationToken" not in page
                return out
            token = page["NextContinuationToken"]

    folded = ["a", "a-b", "a/", "b", "c/", "d", "\u00e4/"]
    for size in (1, 2, 3, 4, 1000):
        assert pages(Prefix=base, MaxKeys=size) == names
        assert pages(Prefix=base, Delimiter="/", MaxKeys=size) == folded
    assert pages(Prefix=base + "a", MaxKeys=2) == ["a", "a-b", "a/1", "a/2", "a/b/3"]
    assert pages(Prefix=base + "a/", Delimiter="/") == ["a/1", "a/2", "a/b/"]
    assert pages(Prefix=base, StartAfter=base + "a/2") == ["a/b/3", "b", "c/4", "c/5", "d", "\u00e4/6"]
    assert pages(Prefix=base, Delimiter="-") == ["a", "a-", "a/1", "a/2", "a/b/3", "b", "c/4", "c/5", "d", "\u00e4/6"]
    none = s3.list_objects_v2(Bucket=BUCKET, Prefix=base, MaxKeys=0)
    assert none["KeyCount"] == 0 and not none["IsTruncated"]
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix=base + "zzz")["KeyCount"] == 0
    entry = s3.list_objects_v2(Bucket=BUCKET, Prefix=base + "a/b/", FetchOwner=True)["Contents"][0]
    assert entry["Size"] == len("a/b/3") and entry["ETag"] == s3.head_object(Bucket=BUCKET, Key=base + "a/b/3")["ETag"]
    assert entry["Owner"]["ID"].startswith("o0000")
    assert code_of(s3.list_objects_v2, Bucket=BUCKET, ContinuationToken="nonsense") == ("InvalidArgument", 400)
    first = s3.list_objects(Bucket=BUCKET, Prefix=base, Delimiter="/", MaxKeys=3)
    assert first["IsTruncated"] and first["NextMarker"] == base + "a/"
    second = s3.list_objects(Bucket=BUCKET, Prefix=base, Delimiter="/", Marker=first["NextMarker"])
    assert [o["Key"] for o in second["Contents"]] == [base + "b", base + "d"]
    assert [p["Prefix"] for p in second["CommonPrefixes"]] == [base + "c/", base + "\u00e4/"]


def test_long_listing(s3, request):
    base = request.node.name + "/"
    expected = [f"{base}{i:05d}" for i in range(1205)]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda k: s3.put_object(Bucket=BUCKET, Key=k, Body=b""), expected))
    found = [o["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=base)
             for o in page["Contents"]]
    assert found == expected
    answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": k} for k in expected[:1000]]})
    assert len(answer["Deleted"]) == 1000 and "Errors" not in answer
    answer = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": k} for k in expected[1000:]], "Quiet": True})
    assert "Deleted" not in answer and "Errors" not in answer
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix=base)["KeyCount"] == 0


def test_copy(s3, put, request):
    body = random.Random(3).randbytes(200_000)
    key = put("from", body, Metadata={"a": "1"}, ContentType="text/plain")
    to = request.node.name + "/to \u00e4"
    source = {"Bucket": BUCKET, "Key": key}
    s3.copy_object(Bucket=BUCKET, Key=to, CopySource=source)
    answer = s3.get_object(Bucket=BUCKET, Key=to)
    assert answer["Body"].read() == body and answer["Metadata"] == {"a": "1"} and answer["ContentType"] == "text/plain"
    s3.copy_object(Bucket=BUCKET, Key=to, CopySource=source, MetadataDirective="REPLACE", Metadata={"b": "2"})
    assert s3.head_object(Bucket=BUCKET, Key=to)["Metadata"] == {"b": "2"}
    assert code_of(s3.copy_object, Bucket=BUCKET, Key=key, CopySource=source) == ("InvalidRequest", 400)
    s3.copy_object(Bucket=BUCKET, Key=key, CopySource=source, MetadataDirective="REPLACE", Metadata={"c": "3"})
    head = s3.head_object(Bucket=BUCKET, Key=key)
    assert head["Metadata"] == {"c": "3"} and head["ContentLength"] == len(body)
    etag = head["ETag"]
    s3.copy_object(Bucket=BUCKET, Key=to, CopySource=source, CopySourceIfMatch=etag)
    assert code_of(s3.copy_object, Bucket=BUCKET, Key=to, CopySource=source, CopySourceIfMatch='"x"')[1] == 412
    assert code_of(s3.copy_object, Bucket=BUCKET, Key=to, CopySource=source, CopySourceIfNoneMatch=etag)[1] == 412
    s3.delete_object(Bucket=BUCKET, Key=key)
    assert s3.get_object(Bucket=BUCKET, Key=to)["Body"].read() == body


def add_header(client, operation, name, value):
    """Headers that this boto3 has no parameter for."""
    def add(params, **_):
        params["headers"][name] = value
    client.meta.events.register(f"before-call.s3.{operation}", add)


def test_conditional_writes(harness, request):
    key = request.node.name
    plain, if_absent, if_match = harness.s3(), harness.s3(), harness.s3()
    add_header(if_absent, "PutObject", "If-None-Match", "*")
    if_absent.put_object(Bucket=BUCKET, Key=key, Body=b"one")
    assert code_of(if_absent.put_object, Bucket=BUCKET, Key=key, Body=b"two") == ("PreconditionFailed", 412)
    etag = plain.head_object(Bucket=BUCKET, Key=key)["ETag"]
    add_header(if_match, "PutObject", "If-Match", etag)
    assert code_of(if_match.put_object, Bucket=BUCKET, Key=key + "absent", Body=b"x") == ("NoSuchKey", 404)
    if_match.put_object(Bucket=BUCKET, Key=key, Body=b"three")
    assert code_of(if_match.put_object, Bucket=BUCKET, Key=key, Body=b"four") == ("PreconditionFailed", 412)
    assert plain.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"three"


def test_only_one_of_many_wins(harness, request):
    key = request.node.name
    client = harness.s3()
    add_header(client, "PutObject", "If-None-Match", "*")
    barrier, wins = threading.Barrier(8), []

    def race(n):
        barrier.wait()
        try:
            client.put_object(Bucket=BUCKET, Key=key, Body=bytes([n]))
            wins.append(n)
        except ClientError as e:
            assert e.response["Error"]["Code"] == "PreconditionFailed"

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(race, range(8)))
    assert len(wins) == 1
    assert harness.s3().get_object(Bucket=BUCKET, Key=key)["Body"].read() == bytes(wins)


def test_multipart(s3, request):
    key = request.node.name + "/k"
    r = random.Random(11)
    bodies = {1: r.randbytes(5 * MIB), 3: r.randbytes(5 * MIB + 7), 10000: r.randbytes(12345)}
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key, Metadata={"m": "p"})["UploadId"]
    same = {"Bucket": BUCKET, "Key": key, "UploadId": upload}
    assert [u["UploadId"] for u in s3.list_multipart_uploads(Bucket=BUCKET, Prefix=key)["Uploads"]] == [upload]
    s3.upload_part(**same, PartNumber=3, Body=b"an attempt that is replaced")
    etags = {n: s3.upload_part(**same, PartNumber=n, Body=bodies[n])["ETag"] for n in (10000, 3, 1)}
    assert code_of(s3.head_object, Bucket=BUCKET, Key=key)[1] == 404
    listed = s3.list_parts(**same)
    assert [(p["PartNumber"], p["Size"], p["ETag"]) for p in listed["Parts"]] == \
        [(n, len(bodies[n]), etags[n]) for n in sorted(bodies)]
    page = s3.list_parts(**same, MaxParts=2)
    assert page["IsTruncated"] and page["NextPartNumberMarker"] == 3
    assert [p["PartNumber"] for p in s3.list_parts(**same, PartNumberMarker=3)["Parts"]] == [10000]
    parts = [{"PartNumber": n, "ETag": etags[n]} for n in sorted(bodies)]
    wrong = [dict(parts[0], ETag='"00000000000000000000000000000000"')] + parts[1:]
    assert code_of(s3.complete_multipart_upload, **same, MultipartUpload={"Parts": wrong}) == ("InvalidPart", 400)
    absent = parts[:1] + [{"PartNumber": 2, "ETag": etags[1]}]
    assert code_of(s3.complete_multipart_upload, **same, MultipartUpload={"Parts": absent}) == ("InvalidPart", 400)
    assert code_of(s3.complete_multipart_upload, **same, MultipartUpload={"Parts": parts[::-1]}) == \
        ("InvalidPartOrder", 400)
    done = s3.complete_multipart_upload(**same, MultipartUpload={"Parts": parts})
    digest = hashlib.md5(b"".join(hashlib.md5(bodies[n]).digest() for n in sorted(bodies))).hexdigest()
    assert done["ETag"] == f'"{digest}-3"'
    again = s3.complete_multipart_upload(**same, MultipartUpload={"Parts": parts})
    assert again["ETag"] == done["ETag"]
    whole = b"".join(bodies[n] for n in sorted(bodies))
    answer = s3.get_object(Bucket=BUCKET, Key=key)
    assert answer["Body"].read() == whole and answer["Metadata"] == {"m": "p"}
    edge = 5 * MIB
    for a, b in [(edge - 1, edge), (edge - 70000, edge + 70000), (2 * edge, 2 * edge + 20), (0, len(whole) - 1)]:
        assert s3.get_object(Bucket=BUCKET, Key=key, Range=f"bytes={a}-{b}")["Body"].read() == whole[a:b + 1]
    part = s3.get_object(Bucket=BUCKET, Key=key, PartNumber=3)
    assert part["PartsCount"] == 3 and part["Body"].read() == bodies[3]
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix=key)["Contents"][0]["Size"] == len(whole)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET, Prefix=key)


def test_multipart_refusals(s3, request):
    key = request.node.name + "/k"
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    same = {"Bucket": BUCKET, "Key": key, "UploadId": upload}
    etag = s3.upload_part(**same, PartNumber=1, Body=b"small")["ETag"]
    etag2 = s3.upload_part(**same, PartNumber=2, Body=b"small")["ETag"]
    both = {"Parts": [{"PartNumber": 1, "ETag": etag}, {"PartNumber": 2, "ETag": etag2}]}
    assert code_of(s3.complete_multipart_upload, **same, MultipartUpload=both) == ("EntityTooSmall", 400)
    assert code_of(s3.upload_part, **same, PartNumber=0, Body=b"")[1] == 400
    assert code_of(s3.upload_part, **same, PartNumber=10001, Body=b"")[1] == 400
    other = dict(same, UploadId="0" * 32)
    assert code_of(s3.upload_part, **other, PartNumber=1, Body=b"x") == ("NoSuchUpload", 404)
    assert code_of(s3.upload_part, **dict(same, Key="elsewhere"), PartNumber=1, Body=b"x") == ("NoSuchUpload", 404)
    for bad in ("x", "../../etc", "0" * 31, "0" * 33, "Z" * 32):
        assert code_of(s3.list_parts, **dict(same, UploadId=bad)) == ("NoSuchUpload", 404), bad
    assert code_of(s3.complete_multipart_upload, **same) == ("MalformedXML", 400)
    s3.abort_multipart_upload(**same)
    assert code_of(s3.abort_multipart_upload, **same) == ("NoSuchUpload", 404)
    assert code_of(s3.complete_multipart_upload, **same, MultipartUpload=both) == ("NoSuchUpload", 404)


def test_part_copy(s3, put, request):
    body = random.Random(5).randbytes(11 * MIB + 3)
    source = {"Bucket": BUCKET, "Key": put("from", body)}
    key = request.node.name + "/to"
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
    same = {"Bucket": BUCKET, "Key": key, "UploadId": upload}
    cut = 6 * MIB + 1
    one = s3.upload_part_copy(**same, PartNumber=1, CopySource=source, CopySourceRange=f"bytes=0-{cut - 1}")
    two = s3.upload_part_copy(**same, PartNumber=2, CopySource=source, CopySourceRange=f"bytes={cut}-{len(body) - 1}")
    three = s3.upload_part_copy(**same, PartNumber=3, CopySource=source)
    assert code_of(s3.upload_part_copy, **same, PartNumber=4, CopySource=source,
                   CopySourceRange=f"bytes=0-{len(body)}") == ("InvalidRange", 416)
    for bad in ("bytes=5-", "0-1", "bytes=-5"):
        assert code_of(s3.upload_part_copy, **same, PartNumber=4, CopySource=source, CopySourceRange=bad) == \
            ("InvalidArgument", 400)
    parts = [{"PartNumber": n + 1, "ETag": p["CopyPartResult"]["ETag"]} for n, p in enumerate((one, two, three))]
    s3.complete_multipart_upload(**same, MultipartUpload={"Parts": parts})
    assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == body + body


def test_what_is_not_served_says_so(s3, put):
    key = put("k", b"x")
    calls = [
        lambda: s3.put_object_acl(Bucket=BUCKET, Key=key, ACL="private"),
        lambda: s3.put_object_tagging(Bucket=BUCKET, Key=key, Tagging={"TagSet": []}),
        lambda: s3.put_bucket_policy(Bucket=BUCKET, Policy="{}"),
        lambda: s3.put_bucket_acl(Bucket=BUCKET, ACL="public-read"),
        lambda: s3.put_bucket_tagging(Bucket=BUCKET, Tagging={"TagSet": []}),
        lambda: s3.delete_object_tagging(Bucket=BUCKET, Key=key),
        lambda: s3.put_object_lock_configuration(Bucket=BUCKET),
        lambda: s3.get_object(Bucket=BUCKET, Key=key, VersionId="1"),
        lambda: s3.delete_object(Bucket=BUCKET, Key=key, VersionId="1"),
        lambda: s3.delete_bucket(Bucket=BUCKET),
        lambda: s3.put_bucket_encryption(Bucket=BUCKET, ServerSideEncryptionConfiguration={"Rules": []}),
        lambda: s3.delete_bucket_encryption(Bucket=BUCKET),
        lambda: s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"}),
        lambda: s3.get_object_torrent(Bucket=BUCKET, Key=key),
        lambda: s3.restore_object(Bucket=BUCKET, Key=key),
    ]
    for n, call in enumerate(calls):
        assert code_of(call) == ("NotImplemented", 501), n
    assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"x"


def test_presigned(harness, s3, put):
    import urllib.error
    import urllib.request
    key = put("a b", b"presigned body")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=60)
    with urllib.request.urlopen(url) as answer:
        assert answer.read() == b"presigned body"
    upload = s3.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=60)
    with urllib.request.urlopen(urllib.request.Request(upload, data=b"new", method="PUT",
                                                       headers={"Content-Type": ""})) as answer:
        assert answer.status == 200
    assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"new"
    for broken in (url.replace("a%20b", "a%20c"), url[:-1] + ("0" if url[-1] != "0" else "1"),
                   url.replace("X-Amz-Expires=60", "X-Amz-Expires=61")):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(broken)
        assert caught.value.code == 403
    old = harness.s3(signature_version="s3")
    url = old.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=60)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url)
    assert caught.value.code in (400, 403) and b"s3v4" in caught.value.read()


def test_transfer_manager_and_bounded_memory(harness, s3, tmp_path, request):
    """100 MB up in parts and in one piece, and down again in parallel ranges."""
    big = tmp_path / "big"
    piece = os.urandom(MIB)
    with open(big, "wb") as f:
        for n in range(100):
            f.write(n.to_bytes(8, "big") + piece[8:])
    expected = hashlib.sha256(big.read_bytes()).hexdigest()
    before = harness.rss_kib()
    key = request.node.name
    s3.upload_file(str(big), BUCKET, key + "-parts")
    with open(big, "rb") as f:
        s3.put_object(Bucket=BUCKET, Key=key + "-whole", Body=f)
    for suffix in ("-parts", "-whole"):
        s3.download_file(BUCKET, key + suffix, str(tmp_path / suffix))
        assert hashlib.sha256((tmp_path / suffix).read_bytes()).hexdigest() == expected
    peak = harness.rss_kib("VmHWM")
    assert peak - before < 64 * 1024, f"{before} -> {peak} KiB"
    assert_nothing_left(harness)


def test_nothing_readable_on_disk(harness, s3):
    """Markers in contents, in names, in metadata: none may be found in any file or file name, in any usual encoding."""
    marker = "MARKER" + os.urandom(12).hex()
    body = (marker + "\n").encode() * 40_000
    s3.put_object(Bucket=BUCKET, Key=f"dir-{marker}/sub-{marker}/{marker}", Body=body, Metadata={"m": marker},
                  ContentType=f"text/{marker}")
    s3.put_object(Bucket=BUCKET, Key=f"small-{marker}", Body=marker.encode())
    s3.copy_object(Bucket=BUCKET, Key=f"copy-{marker}", CopySource={"Bucket": BUCKET, "Key": f"small-{marker}"})
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key=f"multi-{marker}", Metadata={"m": marker})["UploadId"]
    s3.upload_part(Bucket=BUCKET, Key=f"multi-{marker}", UploadId=upload, PartNumber=1, Body=body)
    raw = marker.encode()
    forms = [raw, raw.lower(), raw.hex().encode(), raw[::-1], marker.encode("utf-16-le")]
    files = files_below(harness.store)
    assert len(files) >= 4
    for path in files:
        content = path.read_bytes()
        for form in forms:
            assert form not in content, path
            assert form not in os.fsencode(path.relative_to(harness.store)), path
