"""What S3's protocol has beside objects: subresources, versions, attributes, uploads listed by prefix, presigned URLs to
the letter, parameters and conditions at their edges."""
import datetime
import hashlib
import urllib.error
import urllib.parse
import urllib.request

import pytest
from botocore.exceptions import ClientError

from gateway_tools import BUCKET, KEY_ARN, Harness, presign, request

BUCKET_PATH = f"/{BUCKET}"


@pytest.fixture(scope="module")
def harness():
    with Harness() as h:
        yield h


@pytest.fixture(scope="module")
def s3(harness):
    return harness.s3()


def code_of(call, **named):
    with pytest.raises(ClientError) as caught:
        call(**named)
    error = caught.value.response
    return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"]


# --- Subresources ---


def test_what_every_bucket_is(s3):
    assert "Status" not in s3.get_bucket_versioning(Bucket=BUCKET)
    grants = s3.get_bucket_acl(Bucket=BUCKET)
    assert [g["Permission"] for g in grants["Grants"]] == ["FULL_CONTROL"]
    assert grants["Grants"][0]["Grantee"]["ID"] == grants["Owner"]["ID"]
    assert grants["Grants"][0]["Grantee"]["Type"] == "CanonicalUser"
    rule, = s3.get_bucket_encryption(Bucket=BUCKET)["ServerSideEncryptionConfiguration"]["Rules"]
    assert rule["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY_ARN}
    assert set(s3.get_public_access_block(Bucket=BUCKET)["PublicAccessBlockConfiguration"].values()) == {True}
    assert s3.get_bucket_ownership_controls(Bucket=BUCKET)["OwnershipControls"]["Rules"] == \
        [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert s3.get_bucket_request_payment(Bucket=BUCKET)["Payer"] == "BucketOwner"
    assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=BUCKET)
    assert "Status" not in s3.get_bucket_accelerate_configuration(Bucket=BUCKET)
    assert "TopicConfigurations" not in s3.get_bucket_notification_configuration(Bucket=BUCKET)


def test_what_no_bucket_has(s3):
    for call, code in [(s3.get_bucket_policy, "NoSuchBucketPolicy"), (s3.get_bucket_cors, "NoSuchCORSConfiguration"),
                       (s3.get_bucket_policy_status, "NoSuchBucketPolicy"),
                       (s3.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration"),
                       (s3.get_bucket_website, "NoSuchWebsiteConfiguration"), (s3.get_bucket_tagging, "NoSuchTagSet"),
                       (s3.get_object_lock_configuration, "ObjectLockConfigurationNotFoundError"),
                       (s3.get_bucket_replication, "ReplicationConfigurationNotFoundError")]:
        assert code_of(call, Bucket=BUCKET) == (code, 404)
        assert code_of(call, Bucket="other") == ("NoSuchBucket", 404)


def test_subresources_of_an_object(s3):
    s3.put_object(Bucket=BUCKET, Key="sub", Body=b"x")
    assert s3.get_object_tagging(Bucket=BUCKET, Key="sub")["TagSet"] == []
    assert [g["Permission"] for g in s3.get_object_acl(Bucket=BUCKET, Key="sub")["Grants"]] == ["FULL_CONTROL"]
    for call in (s3.get_object_tagging, s3.get_object_acl):
        assert code_of(call, Bucket=BUCKET, Key="none") == ("NoSuchKey", 404)
    for call in (s3.get_object_retention, s3.get_object_legal_hold):
        assert code_of(call, Bucket=BUCKET, Key="sub") == ("NotImplemented", 501)


def test_attributes(s3):
    s3.put_object(Bucket=BUCKET, Key="attributes", Body=b"hello", ChecksumAlgorithm="SHA1")
    every = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    found = s3.get_object_attributes(Bucket=BUCKET, Key="attributes", ObjectAttributes=every)
    assert found["ObjectSize"] == 5 and found["StorageClass"] == "STANDARD" and "ObjectParts" not in found
    assert found["Checksum"]["ChecksumSHA1"] == "qvTGHdzF6KLavt4PO0gs2a6pQ00="
    head = s3.head_object(Bucket=BUCKET, Key="attributes")
    assert f'"{found["ETag"]}"' == head["ETag"] and found["LastModified"] == head["LastModified"]
    only = s3.get_object_attributes(Bucket=BUCKET, Key="attributes", ObjectAttributes=["ObjectSize"])
    assert only["ObjectSize"] == 5 and not {"ETag", "Checksum", "StorageClass"} & set(only)
    assert code_of(s3.get_object_attributes, Bucket=BUCKET, Key="none", ObjectAttributes=every) == ("NoSuchKey", 404)


# --- Versions: each object has one, "null" ---


def test_versions(s3):
    base = "versions/"
    names = [base + n for n in ("a", "b/1", "b/2", "c", "d")]
    for name in names:
        s3.put_object(Bucket=BUCKET, Key=name, Body=b"12345")
    for size in (1, 2, 1000):
        found = [v for page in s3.get_paginator("list_object_versions").paginate(
            Bucket=BUCKET, Prefix=base, PaginationConfig={"PageSize": size}) for v in page.get("Versions", [])]
        assert [v["Key"] for v in found] == names
        assert all(v["VersionId"] == "null" and v["IsLatest"] and v["Size"] == 5 for v in found)
        folded = [(v.get("Key") or v["Prefix"]) for page in s3.get_paginator("list_object_versions").paginate(
            Bucket=BUCKET, Prefix=base, Delimiter="/", PaginationConfig={"PageSize": size})
            for v in page.get("Versions", []) + page.get("CommonPrefixes", [])]
        assert sorted(folded) == sorted([base + n for n in ("a", "b/", "c", "d")])
    assert s3.get_object(Bucket=BUCKET, Key=names[0], VersionId="null")["Body"].read() == b"12345"
    assert s3.head_object(Bucket=BUCKET, Key=names[0], VersionId="null")["ContentLength"] == 5
    s3.copy_object(Bucket=BUCKET, Key=base + "copy", CopySource={"Bucket": BUCKET, "Key": names[0], "VersionId": "null"})
    assert code_of(s3.get_object, Bucket=BUCKET, Key=names[0], VersionId="1") == ("NotImplemented", 501)
    assert code_of(s3.delete_objects, Bucket=BUCKET, Delete={"Objects": [{"Key": names[0], "VersionId": "1"}]}) == \
        ("NotImplemented", 501)
    s3.delete_object(Bucket=BUCKET, Key=names[0], VersionId="null")
    done = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": n, "VersionId": "null"} for n in names[1:]]})
    assert len(done["Deleted"]) == 4 and "Errors" not in done
    assert [v["Key"] for v in s3.list_object_versions(Bucket=BUCKET, Prefix=base)["Versions"]] == [base + "copy"]


# --- Uploads ---


def test_uploads_are_listed_by_prefix(s3):
    keys = ["u/a", "u/d/1", "u/d/2", "u/d/2", "u/e", "u/f/1"]
    uploads = [s3.create_multipart_upload(Bucket=BUCKET, Key=k)["UploadId"] for k in keys]

    def pages(size, **more):
        out, markers = [], {}
        while True:
            page = s3.list_multipart_uploads(Bucket=BUCKET, Prefix="u/", MaxUploads=size, **more, **markers)
            mixed = [(u["Key"], u["UploadId"]) for u in page.get("Uploads", [])] + \
                    [(p["Prefix"], "") for p in page.get("CommonPrefixes", [])]
            assert len(mixed) <= size
            out += sorted(mixed)
            if not page["IsTruncated"]:
                return out
            markers = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    for size in (1, 2, 3, 1000):
        assert sorted(pages(size)) == sorted(zip(keys, uploads))
        assert [k for k, _ in pages(size, Delimiter="/")] == ["u/a", "u/d/", "u/e", "u/f/"], size
    page = s3.list_multipart_uploads(Bucket=BUCKET, Prefix="u/", Delimiter="/")
    assert page["Delimiter"] == "/" and page["Prefix"] == "u/"
    for key, upload in zip(keys, uploads):
        s3.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=upload)
    assert pages(10, Delimiter="/") == []


def test_parts_are_listed_in_pages(s3):
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="parts")["UploadId"]
    same = {"Bucket": BUCKET, "Key": "parts", "UploadId": upload}
    for n in (9, 2, 10000, 1):
        s3.upload_part(**same, PartNumber=n, Body=b"x" * n)
    first = s3.list_parts(**same, MaxParts=3)
    assert [(p["PartNumber"], p["Size"]) for p in first["Parts"]] == [(1, 1), (2, 2), (9, 9)]
    assert first["IsTruncated"] and first["NextPartNumberMarker"] == 9
    second = s3.list_parts(**same, PartNumberMarker=9)
    assert [p["PartNumber"] for p in second["Parts"]] == [10000] and not second["IsTruncated"]
    s3.abort_multipart_upload(**same)


def test_completion_with_conditions(s3, harness):
    def upload():
        made = s3.create_multipart_upload(Bucket=BUCKET, Key="completed")["UploadId"]
        etag = s3.upload_part(Bucket=BUCKET, Key="completed", UploadId=made, PartNumber=1, Body=b"part")["ETag"]
        return made, (f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
                      "</CompleteMultipartUpload>").encode()

    def complete(made, body, **headers):
        return request(harness, "POST", f"{BUCKET_PATH}/completed", f"uploadId={made}", body=body,
                       headers={k.replace("_", "-"): v for k, v in headers.items()})

    first, second = upload(), upload()
    assert complete(*first, if_match='"' + "0" * 32 + '"').code == "NoSuchKey"
    assert complete(*first, if_none_match="*").status == 200
    assert complete(*second, if_none_match="*").status == 412
    assert complete(*second, if_match='"' + "0" * 32 + '"').status == 412
    # A checksum over all parts can't be held to: said, and nothing done.
    refused = complete(*second, x_amz_checksum_crc32="AAAAAA==")
    assert (refused.status, refused.code) == (501, "NotImplemented")
    etag = s3.head_object(Bucket=BUCKET, Key="completed")["ETag"]
    assert complete(*second, if_match=etag).status == 200


# --- Lists ---


def test_parameters_of_lists(harness, s3):
    for name in ("p/a b", "p/c&d", "p/\u00e4"):
        s3.put_object(Bucket=BUCKET, Key=name, Body=b"")

    def listed(query):
        return request(harness, "GET", BUCKET_PATH, query)

    url = listed("list-type=2&prefix=p%2F&encoding-type=url&start-after=p%2Fa&delimiter=%20").body.decode()
    for piece in ("<Key>p/c%26d</Key>", "<Key>p/%C3%A4</Key>", "<Prefix>p/a%20</Prefix>", "<Delimiter>%20</Delimiter>",
                  "<StartAfter>p/a</StartAfter>", "<EncodingType>url</EncodingType>", "<KeyCount>3</KeyCount>"):
        assert piece in url, piece
    plain = listed("list-type=2&prefix=p%2Fc").body.decode()
    assert "<Key>p/c&amp;d</Key>" in plain and "<Owner>" not in plain
    assert "<Owner>" in listed("list-type=2&prefix=p%2Fc&fetch-owner=true").body.decode()
    old = listed("prefix=p%2F&max-keys=2&marker=").body.decode()
    assert "<Marker></Marker>" in old or "<Marker/>" in old
    # Without a delimiter version 1 names no next marker: the last key is it.
    assert "<IsTruncated>true</IsTruncated>" in old and "NextMarker" not in old and "<Owner>" in old
    assert "<NextMarker>p/a%20</NextMarker>" in listed("prefix=p%2F&max-keys=1&delimiter=%20&encoding-type=url").body.decode()
    many = listed("list-type=2&max-keys=2147483647").body.decode()
    assert "<MaxKeys>1000</MaxKeys>" in many
    empty = listed("list-type=2&continuation-token=&delimiter=&prefix=p%2Fc").body.decode()
    assert "<KeyCount>1</KeyCount>" in empty
    none = listed("max-keys=0").body.decode()
    assert "<IsTruncated>false</IsTruncated>" in none and "<Key>" not in none
    for bad in ("max-keys=-1", "max-keys=x", "max-keys=99999999999", "encoding-type=base64", "list-type=3",
                "list-type=2&continuation-token=1.x"):
        reply = listed(bad)
        assert (reply.status, reply.code) == (400, "InvalidArgument"), bad


# --- Deleting ---


def test_deleting_many(harness, s3):
    keys = ["many/a", "many/<&>\"'", "many/\u20ac"]
    for key in keys:
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"")
    done = s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": k} for k in [*keys, "many/none"]]})
    assert [d["Key"] for d in done["Deleted"]] == [*keys, "many/none"]
    assert s3.list_objects_v2(Bucket=BUCKET, Prefix="many/")["KeyCount"] == 0
    body = b"<Delete><Object><Key>a</Key></Object></Delete>"
    wrong = request(harness, "POST", BUCKET_PATH, "delete", body=body, headers={"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="})
    assert (wrong.status, wrong.code) == (400, "BadDigest")
    wrong = request(harness, "POST", BUCKET_PATH, "delete", body=body, headers={"x-amz-checksum-crc32": "AAAAAA=="})
    assert (wrong.status, wrong.code) == (400, "BadDigest")


def test_deleting_with_conditions(harness, s3):
    etag = s3.put_object(Bucket=BUCKET, Key="conditional", Body=b"x")["ETag"]
    path = f"{BUCKET_PATH}/conditional"
    assert request(harness, "DELETE", path, headers={"if-match": '"' + "0" * 32 + '"'}).status == 412
    assert request(harness, "DELETE", path, headers={"if-match": etag}).status == 204
    assert request(harness, "DELETE", path, headers={"if-match": etag}).status == 404


# --- Conditions of reads, together ---


def test_which_condition_counts(harness, s3):
    etag = s3.put_object(Bucket=BUCKET, Key="when", Body=b"body")["ETag"]
    now = s3.head_object(Bucket=BUCKET, Key="when")["LastModified"]

    def date(hours):
        return (now + datetime.timedelta(hours=hours)).strftime("%a, %d %b %Y %H:%M:%S GMT")

    past, future = date(-1), date(1)
    for headers, status in [({"if-match": etag, "if-unmodified-since": past}, 200),
                            ({"if-match": '"x"', "if-unmodified-since": future}, 412),
                            ({"if-none-match": '"x"', "if-modified-since": future}, 200),
                            ({"if-none-match": etag, "if-modified-since": past}, 304),
                            ({"if-match": etag, "if-none-match": etag}, 304), ({"if-match": "*"}, 200),
                            ({"if-none-match": "*"}, 304), ({"if-match": f'"x", {etag}'}, 200),
                            ({"if-match": etag.strip('"')}, 200), ({"if-modified-since": "yesterday"}, 200),
                            ({"if-modified-since": future}, 304), ({"if-unmodified-since": past}, 412)]:
        for method in ("GET", "HEAD"):
            reply = request(harness, method, f"{BUCKET_PATH}/when", headers=headers)
            assert reply.status == status, (method, headers)
            if status == 304:
                assert reply.headers["etag"] == etag and reply.body == b""
    for header, status in ((etag, 206), ('"x"', 200), (future, 200), (date(0), 206)):
        assert request(harness, "GET", f"{BUCKET_PATH}/when", headers={"range": "bytes=1-2", "if-range": header}).status == status


# --- Presigned ---


def fetch(url, method="GET", body=None, headers=None):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data=body, method=method, headers=headers or {})) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def test_presigned_urls(harness, s3):
    s3.put_object(Bucket=BUCKET, Key="signed", Body=b"presigned")
    what = {"Bucket": BUCKET, "Key": "signed"}

    def url(operation="get_object", seconds=60, **more):
        return s3.generate_presigned_url(operation, Params={**what, **more}, ExpiresIn=seconds)

    def altered(address, **changes):
        head, _, query = address.partition("?")
        pairs = [(k, changes.get(k.replace("-", "_"), v)) for k, v in urllib.parse.parse_qsl(query)]
        return head + "?" + urllib.parse.urlencode([p for p in pairs if p[1] is not None])

    assert fetch(url()) == (200, b"presigned")
    assert fetch(url(ResponseContentType="text/x")) == (200, b"presigned")
    assert fetch(url("head_object"), "HEAD") == (200, b"")
    assert fetch(url(), "HEAD")[0] == 403 and fetch(url(), "DELETE")[0] == 403
    for changes in ({"X_Amz_Expires": "61"}, {"X_Amz_Date": "20200101T000000Z"}, {"X_Amz_Signature": "0" * 64},
                    {"X_Amz_SignedHeaders": "host;x-amz-date"}, {"X_Amz_Credential": None}, {"X_Amz_Algorithm": "AWS4-X"},
                    {"X_Amz_Expires": "604801"}, {"X_Amz_Expires": "0"}, {"X_Amz_Expires": "-1"}):
        status, body = fetch(altered(url(), **changes))
        assert status in (400, 403) and b"presigned" not in body, changes
    assert fetch(url(seconds=604800)) == (200, b"presigned")
    # Headers that were signed must come, and as they were signed; what must be signed can't come unsigned.
    put = url("put_object", ServerSideEncryption="aws:kms", ContentType="text/plain")
    right = {"x-amz-server-side-encryption": "aws:kms", "Content-Type": "text/plain"}
    assert fetch(put, "PUT", b"new", {"Content-Type": "text/plain"})[0] in (400, 403)
    assert fetch(put, "PUT", b"new", {**right, "Content-Type": "text/html"})[0] == 403
    assert fetch(put, "PUT", b"new", {**right, "x-amz-meta-a": "b"})[0] == 403
    assert fetch(url()) == (200, b"presigned")
    assert fetch(put, "PUT", b"new", right)[0] == 200
    assert fetch(url()) == (200, b"new")


def test_a_presigned_url_expires(s3):
    """Signed for one second, and asked until it is over."""
    s3.put_object(Bucket=BUCKET, Key="signed", Body=b"presigned")
    url = s3.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": "signed"}, ExpiresIn=1)
    begun = datetime.datetime.now()
    while (answer := fetch(url))[0] == 200:
        assert datetime.datetime.now() - begun < datetime.timedelta(seconds=10)
    assert answer[0] == 403 and b"<Code>AccessDenied</Code>" in answer[1] and b"expire" in answer[1].lower()


def test_headers_in_a_presigned_query(harness, s3):
    """SDKs move headers into the query when they presign. They count there, or are refused; nothing is lost silently."""
    path = f"{BUCKET_PATH}/hoisted"

    def put(query, **more):
        return request(harness, "PUT", path, query, body=b"hoisted", **more)

    assert put("x-amz-meta-a=b%20c&x-amz-server-side-encryption=aws%3Akms&x-amz-acl=private").status == 200
    assert s3.head_object(Bucket=BUCKET, Key="hoisted")["Metadata"] == {"a": "b c"}
    s3.delete_object(Bucket=BUCKET, Key="hoisted")
    for query, status in (("x-amz-acl=public-read", 501), ("x-amz-tagging=a%3Db", 501), ("x-amz-storage-class=GLACIER", 501),
                          ("x-amz-server-side-encryption=AES256", 400), ("x-amz-object-lock-mode=GOVERNANCE", 501),
                          ("x-amz-server-side-encryption-customer-algorithm=AES256", 501),
                          ("x-amz-server-side-encryption-aws-kms-key-id=" + urllib.parse.quote(KEY_ARN[:-1] + "2"), 400),
                          ("x-amz-copy-source=%2Flockset%2Fa", 501), ("x-amz-meta-a=b%0D%0AX:y", 400),
                          ("x-amz-meta-a%0Ab=c", 400), ("x-amz-whatever=1", 501)):
        assert put(query).status == status, query
        assert code_of(s3.head_object, Bucket=BUCKET, Key="hoisted")[1] == 404, query
    # As S3 has it: a checksum there is the presigner's, of no body, and means nothing.
    assert put("x-amz-checksum-crc32=AAAAAA%3D%3D&x-amz-sdk-checksum-algorithm=CRC32").status == 200
    # The body's hash in the query is what was signed, and the body is held to it.
    right = hashlib.sha256(b"hoisted").hexdigest()
    url = harness.url + presign(harness, "PUT", path, {"X-Amz-Content-Sha256": right}, payload_hash=right)
    assert fetch(url, "PUT", b"hoisted")[0] == 200
    status, body = fetch(url, "PUT", b"Hoisted")
    assert status == 400 and b"<Code>XAmzContentSHA256Mismatch</Code>" in body
    unsigned = harness.url + presign(harness, "PUT", path, {"X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD"})
    assert fetch(unsigned, "PUT", b"anything")[0] == 200
    assert fetch(url.replace(right, "0" * 64), "PUT", b"hoisted")[0] == 403


def test_list_buckets(harness):
    def listed(query):
        return request(harness, "GET", "/", query)

    name = f"<Name>{BUCKET}</Name>".encode()
    for query, there in (("", True), ("prefix=lock", True), ("prefix=x", False), ("bucket-region=us-west-2", True),
                         ("bucket-region=eu-west-1", False), ("max-buckets=1", True)):
        reply = listed(query)
        assert reply.status == 200 and (name in reply.body) == there, query
    assert b"<BucketRegion>us-west-2<" in listed("").body
    for bad in ("max-buckets=0", "max-buckets=10001", "max-buckets=x"):
        assert listed(bad).code == "InvalidArgument"


def test_encryption_headers(harness, s3):
    put = {"Bucket": BUCKET, "Key": "sse", "Body": b"x"}
    for more in ({"ServerSideEncryption": "aws:kms"}, {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KEY_ARN},
                 {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KEY_ARN.split("/")[1]}):
        assert s3.put_object(**put, **more)["SSEKMSKeyId"] == KEY_ARN
    refused = [{"ServerSideEncryption": "AES256"}, {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": KEY_ARN[:-1] + "2"},
               {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32},
               {"ServerSideEncryption": "aws:kms", "SSEKMSEncryptionContext": "e30="}]
    for more in refused:
        assert code_of(s3.put_object, **{**put, "Key": "sse-no"}, **more)[1] in (400, 501), more
        if "SSEKMSEncryptionContext" not in more:
            assert code_of(s3.create_multipart_upload, Bucket=BUCKET, Key="sse-no", **more)[1] in (400, 501), more
            assert code_of(s3.copy_object, Bucket=BUCKET, Key="sse-no", CopySource=f"{BUCKET}/sse", **more)[1] in (400, 501)
    assert code_of(s3.head_object, Bucket=BUCKET, Key="sse-no")[1] == 404
    read = request(harness, "GET", f"{BUCKET_PATH}/sse", headers={"x-amz-server-side-encryption": "aws:kms"})
    assert (read.status, read.code) == (400, "InvalidRequest")
    customer = request(harness, "GET", f"{BUCKET_PATH}/sse",
                       headers={"x-amz-server-side-encryption-customer-algorithm": "AES256"})
    assert customer.status in (400, 501)
