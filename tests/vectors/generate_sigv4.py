#!/usr/bin/python3
"""Writes sigv4_botocore.json beside this file: requests signed by botocore, with every intermediate stage.

Needs Debian's python3-botocore. Run it again only to add cases; the tests read its output.
"""

import datetime
import json
import pathlib
from urllib.parse import urlsplit

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

ACCESS_KEY = "AKIALOCKSETEXAMPLE00"
SECRET_KEY = "lockset/example+secret/key0123456789ABCD"
TOKEN = "FwoGZXIvYXdzEXAMPLE//token+with/odd=characters=="
NOW = datetime.datetime(2026, 11, 24, 4, 5, 6)


class Frozen(datetime.datetime):
    @classmethod
    def utcnow(cls):
        return NOW


class FrozenModule:
    datetime = Frozen


botocore.auth.datetime = FrozenModule

KMS = "https://kms.us-west-2.amazonaws.com"
LOCAL = "http://127.0.0.1:8602"
S3 = "http://127.0.0.1:8610"

# name, service, region, method, url, headers, body, token?, presign seconds (0: header)
CASES = [
    ("kms-describe", "kms", "us-west-2", "POST", KMS + "/",
     [("Content-Type", "application/x-amz-json-1.1"), ("X-Amz-Target", "TrentService.DescribeKey")],
     '{"KeyId":"mrk-1"}', False, 0),
    ("kms-token-and-port", "kms", "us-east-1", "POST", LOCAL + "/",
     [("Content-Type", "application/x-amz-json-1.1"), ("X-Amz-Target", "TrentService.Decrypt")],
     "{}", True, 0),
    ("default-path-encoded-twice", "execute-api", "eu-west-1", "GET", KMS + "/a%20b/%7Ec//d/./e/../f/", [], "", False, 0),
    ("default-path-dots", "execute-api", "eu-west-1", "GET", KMS + "/../a/./b/../../c", [], "", False, 0),
    ("header-white-space", "kms", "us-west-2", "GET", KMS + "/",
     [("X-Many", "  a   b\t\tc  "), ("X-Twice", "one"), ("X-Twice", "  two   words "), ("X-Empty", "")], "", False, 0),
    ("date-header", "kms", "us-west-2", "GET", KMS + "/", [("Date", "to be replaced")], "", False, 0),
    ("s3-list", "s3", "us-west-2", "GET", S3 + "/bucket?list-type=2&prefix=a%2Fb%20c&delimiter=%2F&start-after=",
     [], "", False, 0),
    ("s3-valueless", "s3", "us-west-2", "POST", S3 + "/bucket/key?uploads=", [], "", False, 0),
    ("s3-query-order", "s3", "us-west-2", "PUT", S3 + "/bucket/key?uploadId=Zz&partNumber=10&a=2&a=10&A=1",
     [("Content-Type", "binary/octet-stream")], "part", False, 0),
    ("s3-path-kept", "s3", "us-west-2", "GET", S3 + "/bucket//a/./b/../c//", [], "", False, 0),
    ("s3-path-escapes", "s3", "us-west-2", "GET",
     S3 + "/bucket/%21%2A%28%29%27%20%2B%25%C3%A9%E1%88%B4~-._", [], "", True, 0),
    ("s3-range", "s3", "us-west-2", "GET", S3 + "/lockset/c0/data.bin",
     [("Range", "bytes=0-65535"), ("If-Match", '"abc"'), ("amz-sdk-request", "attempt=1; max=3"),
      ("Content-Type", "application/xml")], "", False, 0),
    ("s3-metadata", "s3", "us-west-2", "PUT", S3 + "/bucket/key",
     [("x-amz-meta-note", "caf\u00e9   \u1234"), ("x-amz-server-side-encryption", "aws:kms")], "body", False, 0),
    ("presign-get", "s3", "us-west-2", "GET", S3 + "/bucket/a%20key?response-content-type=text%2Fplain", [], "", False,
     900),
    ("presign-put-token", "s3", "us-west-2", "PUT", S3 + "/bucket/key",
     [("x-amz-server-side-encryption", "aws:kms")], "", True, 604800),
    ("presign-default", "kms", "us-west-2", "GET", KMS + "/x/../y?b=2&a=1", [], "", False, 60),
]


def sign(name, service, region, method, url, headers, body, with_token, expires):
    credentials = Credentials(ACCESS_KEY, SECRET_KEY, TOKEN if with_token else None)
    request = AWSRequest(method=method, url=url, data=body.encode() or None)
    request.headers.add_header("Host", urlsplit(url).netloc)
    for header, value in headers:
        request.headers.add_header(header, value)
    if service == "s3":
        signer = (botocore.auth.S3SigV4QueryAuth(credentials, service, region, expires) if expires
                  else botocore.auth.S3SigV4Auth(credentials, service, region))
    else:
        signer = (botocore.auth.SigV4QueryAuth(credentials, service, region, expires) if expires
                  else botocore.auth.SigV4Auth(credentials, service, region))
    seen = {}
    calculate_canonical, calculate_string = signer.canonical_request, signer.string_to_sign
    signer.canonical_request = lambda r: seen.setdefault("canonical_request", calculate_canonical(r))
    signer.string_to_sign = lambda r, c: seen.setdefault("string_to_sign", calculate_string(r, c))
    signer.add_auth(request)
    before, after = urlsplit(url), urlsplit(request.url)
    return {
        "name": name, "service": service, "region": region, "method": method,
        "path": before.path, "query": before.query, "signed_query": after.query, "body": body,
        "token": TOKEN if with_token else "", "expires": expires, "is_s3": service == "s3",
        "headers": [["Host", before.netloc]] + [[h, v] for h, v in headers],
        "signed_headers": [[h, v] for h, v in request.headers.items()],
        "payload_hash": seen["canonical_request"].rsplit("\n", 1)[1],
        "canonical_request": seen["canonical_request"], "string_to_sign": seen["string_to_sign"],
        "authorization": request.headers.get("Authorization", ""),
        "signature": (after.query.rsplit("X-Amz-Signature=", 1)[1] if expires
                      else request.headers["Authorization"].rsplit("Signature=", 1)[1]),
    }


def main():
    document = {
        "made_by": "generate_sigv4.py with botocore " + botocore.__version__,
        "access_key_id": ACCESS_KEY, "secret_access_key": SECRET_KEY,
        "unix_ms": int(NOW.replace(tzinfo=datetime.timezone.utc).timestamp()) * 1000,
        "cases": [sign(*case) for case in CASES],
    }
    path = pathlib.Path(__file__).with_name("sigv4_botocore.json")
    path.write_text(json.dumps(document, indent=1, ensure_ascii=True) + "\n")
    print(f"{len(CASES)} cases -> {path.name}")


if __name__ == "__main__":
    main()
