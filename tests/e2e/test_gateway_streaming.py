"""aws-chunked uploads, signed and unsigned, with and without trailers, and the checksums of S3: raw, so that each can be
altered, and through boto3."""
import base64
import hashlib
import hmac
import random
import zlib

import pytest

from gateway_tools import BUCKET, Harness, Reply, assert_nothing_left, connect, head_bytes, read_to_end, request, sign

PATH = f"/{BUCKET}/streamed"
UNSIGNED = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = SIGNED + "-TRAILER"
EMPTY = hashlib.sha256(b"").hexdigest()


def reflected_crc(polynomial, bits, body):
    table = []
    for c in range(256):
        for _ in range(8):
            c = c >> 1 ^ polynomial if c & 1 else c >> 1
        table.append(c)
    crc = (1 << bits) - 1
    for byte in body:
        crc = table[(crc ^ byte) & 255] ^ crc >> 8
    return (crc ^ (1 << bits) - 1).to_bytes(bits // 8, "big")


CHECKSUMS = {
    "crc32": lambda b: zlib.crc32(b).to_bytes(4, "big"),
    "crc32c": lambda b: reflected_crc(0x82F63B78, 32, b),
    "crc64nvme": lambda b: reflected_crc(0x9A6C9329AC4BC9B5, 64, b),
    "sha1": lambda b: hashlib.sha1(b).digest(),
    "sha256": lambda b: hashlib.sha256(b).digest(),
}


def checksum(name, body):
    return base64.b64encode(CHECKSUMS[name](body)).decode()


@pytest.fixture(scope="module")
def harness():
    with Harness() as h:
        yield h


@pytest.fixture(autouse=True)
def fresh(harness):
    harness.s3().delete_object(Bucket=BUCKET, Key="streamed")
    yield
    assert_nothing_left(harness)


class Chain:
    """Signatures of chunks, each made with the one before, from AWS's description."""

    def __init__(self, harness, headers):
        credential, _, self.previous = headers["authorization"].partition("Signature=")
        self.scope = credential.split("Credential=")[1].split(",")[0].split("/", 1)[1]
        self.date = headers["x-amz-date"]
        self.key = ("AWS4" + harness.secret).encode()
        for part in self.scope.split("/"):
            self.key = hmac.new(self.key, part.encode(), hashlib.sha256).digest()

    def sign(self, kind, tail):
        text = "\n".join([kind, self.date, self.scope, self.previous, tail])
        self.previous = hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()
        return self.previous

    def chunk(self, data):
        signature = self.sign("AWS4-HMAC-SHA256-PAYLOAD", EMPTY + "\n" + hashlib.sha256(data).hexdigest())
        return b"%x;chunk-signature=%s\r\n" % (len(data), signature.encode()) + data + (b"\r\n" if data else b"")

    def trailer(self, line):
        signature = self.sign("AWS4-HMAC-SHA256-TRAILER", hashlib.sha256(line.encode() + b"\n").hexdigest())
        return f"{line}\r\nx-amz-trailer-signature:{signature}\r\n\r\n".encode()


def frame(harness, form, signed, body, trailer="", size=8192):
    pieces = [body[i:i + size] for i in range(0, len(body), size)]
    if form == UNSIGNED:
        return b"".join(b"%x\r\n" % len(p) + p + b"\r\n" for p in pieces) + f"0\r\n{trailer}\r\n\r\n".encode() \
            if trailer else b"".join(b"%x\r\n" % len(p) + p + b"\r\n" for p in pieces) + b"0\r\n\r\n"
    chain = Chain(harness, signed)
    framed = b"".join(chain.chunk(p) for p in [*pieces, b""])
    return framed + (chain.trailer(trailer) if form == SIGNED_TRAILER else b"\r\n")


def upload(harness, form, body, trailer="", alter=lambda framed: framed, http_chunked=False, path=PATH, query="",
           trailer_name=None, size=8192, length=None, **more):
    headers = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(len(body) if length is None else length)}
    name = trailer_name or trailer.partition(":")[0]
    if name:
        headers["x-amz-trailer"] = name
    headers.update({k.replace("_", "-"): v for k, v in more.items()})
    headers = {k: v for k, v in headers.items() if v is not None}
    signed = sign(harness, "PUT", path, query, headers, payload_hash=form)
    framed = alter(frame(harness, form, signed, body, trailer, size))
    wire = dict(signed, connection="close")
    if http_chunked:
        wire["transfer-encoding"] = "chunked"
        framed = b"".join(b"%x\r\n" % len(framed[i:i + 5000]) + framed[i:i + 5000] + b"\r\n"
                          for i in range(0, len(framed), 5000)) + b"0\r\n\r\n"
    else:
        wire["content-length"] = str(len(framed))
    with connect(harness) as s:
        try:
            s.sendall(head_bytes("PUT", path + ("?" + query if query else ""), wire) + framed)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return Reply(read_to_end(s))


def absent(harness):
    return request(harness, "GET", PATH).status == 404


FORMS = [(SIGNED, False), (SIGNED_TRAILER, True), (UNSIGNED, True), (UNSIGNED, False)]


@pytest.mark.parametrize("form,with_trailer", FORMS)
@pytest.mark.parametrize("http_chunked", [False, True])
@pytest.mark.parametrize("size", [0, 1, 70_000, 300_001])
def test_framing_is_taken_off(harness, form, with_trailer, http_chunked, size):
    body = random.Random(size).randbytes(size)
    trailer = "x-amz-checksum-crc32:" + checksum("crc32", body) if with_trailer else ""
    reply = upload(harness, form, body, trailer, http_chunked=http_chunked, content_encoding="gzip, aws-chunked")
    assert reply.status == 200, reply.body
    got = request(harness, "GET", PATH, headers={"x-amz-checksum-mode": "ENABLED"})
    assert got.body == body and got.headers["content-encoding"] == "gzip"
    if with_trailer:
        assert reply.headers["x-amz-checksum-crc32"] == got.headers["x-amz-checksum-crc32"] == checksum("crc32", body)
        assert reply.headers["x-amz-checksum-type"] == got.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    else:
        assert "x-amz-checksum-crc32" not in got.headers


@pytest.mark.parametrize("name", CHECKSUMS)
def test_every_checksum_in_a_trailer(harness, name):
    body = random.Random(name).randbytes(40_000)
    for form in (UNSIGNED, SIGNED_TRAILER):
        assert upload(harness, form, body, f"x-amz-checksum-{name}:{checksum(name, body)}").status == 200
        wrong = upload(harness, form, body[:-1] + b"?", f"x-amz-checksum-{name}:{checksum(name, body)}", path=PATH + "2")
        assert (wrong.status, wrong.code) == (400, "BadDigest")
    assert request(harness, "GET", PATH + "2").status == 404
    head = harness.s3().head_object(Bucket=BUCKET, Key="streamed", ChecksumMode="ENABLED")["ResponseMetadata"]["HTTPHeaders"]
    assert head[f"x-amz-checksum-{name}"] == checksum(name, body)


@pytest.mark.parametrize("name", CHECKSUMS)
def test_every_checksum_in_a_header(harness, name):
    body = random.Random(name).randbytes(40_000)
    headers = {f"x-amz-checksum-{name}": checksum(name, body), "x-amz-sdk-checksum-algorithm": name.upper()}
    reply = request(harness, "PUT", PATH, headers=headers, body=body)
    assert reply.status == 200 and reply.headers[f"x-amz-checksum-{name}"] == checksum(name, body)
    asked = {"x-amz-checksum-mode": "ENABLED"}
    assert request(harness, "GET", PATH, headers=asked).headers[f"x-amz-checksum-{name}"] == checksum(name, body)
    # Not unasked, and not with a part of the object, whose checksum it is not.
    assert f"x-amz-checksum-{name}" not in request(harness, "GET", PATH).headers
    ranged = request(harness, "GET", PATH, headers=dict(asked, range="bytes=0-99"))
    assert ranged.status == 206 and f"x-amz-checksum-{name}" not in ranged.headers
    wrong = request(harness, "PUT", PATH + "2", headers=headers, body=body[1:])
    assert (wrong.status, wrong.code) == (400, "BadDigest")
    assert request(harness, "GET", PATH + "2").status == 404


def test_a_copy_keeps_the_checksum(harness):
    body = b"copied"
    s3 = harness.s3()
    s3.put_object(Bucket=BUCKET, Key="streamed", Body=body, ChecksumAlgorithm="SHA256")
    for n, more in enumerate(({}, {"MetadataDirective": "REPLACE", "Metadata": {"a": "b"}})):
        done = s3.copy_object(Bucket=BUCKET, Key=f"copy{n}", CopySource={"Bucket": BUCKET, "Key": "streamed"}, **more)
        assert done["CopyObjectResult"]["ChecksumSHA256"] == checksum("sha256", body)
        head = s3.head_object(Bucket=BUCKET, Key=f"copy{n}", ChecksumMode="ENABLED")
        assert head["ChecksumSHA256"] == checksum("sha256", body)
    assert s3.head_object(Bucket=BUCKET, Key="copy1")["Metadata"] == {"a": "b"}
    reply = request(harness, "PUT", f"/{BUCKET}/copy3", headers={"x-amz-copy-source": f"{BUCKET}/streamed",
                                                                 "x-amz-checksum-algorithm": "CRC32"})
    assert (reply.status, reply.code) == (501, "NotImplemented")


@pytest.mark.parametrize("form", [SIGNED, SIGNED_TRAILER])
def test_an_altered_chunk_is_refused(harness, form):
    body = random.Random(1).randbytes(70_000)
    trailer = "x-amz-checksum-crc32:" + checksum("crc32", body) if form == SIGNED_TRAILER else ""

    def flip(at):
        return lambda framed: framed[:at] + bytes([framed[at] ^ 1]) + framed[at + 1:]

    for at in (100, 8191, 40_000, 69_999):
        reply = upload(harness, form, body, trailer, alter=flip(at))
        assert reply.status in (400, 403) and reply.code in ("SignatureDoesNotMatch", "InvalidRequest"), (at, reply.body)
        assert absent(harness)

    def forge(framed):
        return framed.replace(b"chunk-signature=", b"chunk-signature=" + b"0" * 64 + b"\r\n", 1)[:len(framed)]

    def swap(framed):  # two whole chunks: each is right by itself
        head = framed.index(b"\r\n") + 2
        one = head + 8192 + 2
        return framed[one:2 * one] + framed[:one] + framed[2 * one:]

    def drop(framed):
        one = framed.index(b"\r\n") + 2 + 8192 + 2
        return framed[:one] + framed[2 * one:]

    for alter in (forge, swap, drop):
        reply = upload(harness, form, body, trailer, alter=alter)
        assert (reply.status, reply.code) in ((403, "SignatureDoesNotMatch"), (400, "InvalidRequest")), reply.body
        assert absent(harness)
    assert upload(harness, form, body, trailer).status == 200


def test_an_altered_trailer_is_refused(harness):
    body = b"x" * 20_000
    good, other = ("x-amz-checksum-crc32:" + checksum("crc32", b) for b in (body, b"y"))

    def put(form, old, new):
        return upload(harness, form, body, good, alter=lambda framed: framed.replace(old.encode(), new.encode()))

    assert put(SIGNED_TRAILER, good, other).code == "SignatureDoesNotMatch"
    assert put(SIGNED_TRAILER, good + "\r\n", "").code == "SignatureDoesNotMatch"
    assert put(UNSIGNED, good, other).code == "BadDigest"
    assert put(UNSIGNED, good + "\r\n", "").code == "MalformedTrailerError"
    assert put(UNSIGNED, "crc32:", "crc32c:").code == "MalformedTrailerError"
    assert put(UNSIGNED, good, good + "\r\nx-amz-meta-a:b").code == "MalformedTrailerError"
    assert put(UNSIGNED, "\r\n" + good, "").code in ("IncompleteBody", "InvalidRequest", "MalformedTrailerError")
    assert absent(harness)


def test_lengths_are_held(harness):
    body = b"x" * 20_000
    for form in (SIGNED, UNSIGNED):
        for length in (0, len(body) - 1, len(body) + 1):
            reply = upload(harness, form, body, length=length)
            assert (reply.status, reply.code) == (400, "IncompleteBody"), (form, length)
        for cut in (1, 3, 50, 10_000):
            reply = upload(harness, form, body, alter=lambda framed, n=cut: framed[:-n])
            assert reply.status == 400, (form, cut)
        assert upload(harness, form, body, x_amz_decoded_content_length=None).code == "MissingContentLength"
        assert upload(harness, form, body, x_amz_decoded_content_length="many").code == "InvalidArgument"
        assert upload(harness, form, body, x_amz_decoded_content_length=str(6 << 30)).code == "EntityTooLarge"
    assert absent(harness)


@pytest.mark.parametrize("form", [SIGNED_TRAILER, UNSIGNED])
def test_memory_is_bounded(harness, form):
    """64 MiB in a single chunk: not collected, though only its last byte shows whether its signature is right."""
    body = random.Random(2).randbytes(1 << 20) * 64
    assert upload(harness, form, b"warm", "x-amz-checksum-crc32:" + checksum("crc32", b"warm")).status == 200
    before = harness.rss_kib()
    reply = upload(harness, form, body, "x-amz-checksum-crc32:" + checksum("crc32", body), size=len(body))
    assert reply.status == 200, reply.body
    assert harness.rss_kib("VmHWM") - before < 24 * 1024
    got = request(harness, "GET", PATH).body
    assert hashlib.sha256(got).digest() == hashlib.sha256(body).digest()


def test_parts_too(harness):
    s3 = harness.s3()
    made = s3.create_multipart_upload(Bucket=BUCKET, Key="streamed", ChecksumAlgorithm="CRC32")
    assert made["ChecksumAlgorithm"] == "CRC32"
    bodies = [random.Random(n).randbytes(5 << 20) for n in range(2)] + [b"end"]
    etags = []
    for n, (form, body) in enumerate(zip((SIGNED, SIGNED_TRAILER, UNSIGNED), bodies), 1):
        query = f"partNumber={n}&uploadId={made['UploadId']}"
        trailer = "" if form == SIGNED else "x-amz-checksum-crc32c:" + checksum("crc32c", body)
        bad = upload(harness, form, body, trailer, query=query, size=1 << 16, alter=lambda f: f[:200] + b"!" + f[201:])
        assert bad.status in (400, 403)
        reply = upload(harness, form, body, trailer, query=query, size=1 << 16)
        assert reply.status == 200, reply.body
        assert ("x-amz-checksum-crc32c" in reply.headers) == bool(trailer)
        etags.append(reply.headers["etag"])
    s3.complete_multipart_upload(Bucket=BUCKET, Key="streamed", UploadId=made["UploadId"], MultipartUpload={
        "Parts": [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, 1)]})
    assert s3.get_object(Bucket=BUCKET, Key="streamed")["Body"].read() == b"".join(bodies)


@pytest.mark.parametrize("name", CHECKSUMS)
def test_an_upload_in_parts_has_a_checksum_too(harness, name):
    """Of CRC64NVME the whole content's, of the others that of the parts' with their number."""
    key, path, header = "in-parts", f"/{BUCKET}/in-parts", f"x-amz-checksum-{name}"
    bodies = [random.Random(n).randbytes(size) for n, size in enumerate(((5 << 20) + 1, 5 << 20, 3))]
    values = [checksum(name, b) for b in bodies]
    s3 = harness.s3()

    def begin():
        reply = request(harness, "POST", path, "uploads", headers={"x-amz-checksum-algorithm": name.upper()})
        return reply.body.decode().partition("<UploadId>")[2].partition("<")[0], reply.headers["x-amz-checksum-type"]

    def send(upload_id, n, body):
        reply = upload(harness, UNSIGNED, body, path=path, query=f"partNumber={n}&uploadId={upload_id}", size=1 << 20,
                       trailer=f"{header}:{values[n - 1]}")
        assert reply.status == 200, reply.body
        return reply.headers["etag"].strip('"')

    def complete(upload_id, etags, sums, **headers):
        element = "Checksum" + name.upper()
        parts = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{e}</ETag><{element}>{c}</{element}></Part>"
                        for n, (e, c) in enumerate(zip(etags, sums), 1))
        return request(harness, "POST", path, f"uploadId={upload_id}", headers={k.replace("_", "-"): v for k, v in headers.items()},
                       body=f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode())

    upload_id, kind = begin()
    assert kind == ("FULL_OBJECT" if name == "crc64nvme" else "COMPOSITE")
    etags = [send(upload_id, n, body) for n, body in enumerate(bodies, 1)]
    assert request(harness, "GET", path, f"uploadId={upload_id}").body.decode().count(f"<Checksum{name.upper()}>") == 3
    if name == "crc64nvme":
        expected = checksum(name, b"".join(bodies))
    else:
        expected = checksum(name, b"".join(base64.b64decode(v) for v in values)) + "-3"
    wrong = complete(upload_id, etags, [values[0], values[2], values[1]])
    assert (wrong.status, wrong.code) == (400, "InvalidPart")
    wrong = complete(upload_id, etags, values, **{header: values[0]})
    assert (wrong.status, wrong.code) == (400, "BadDigest")
    wrong = complete(upload_id, etags, values, x_amz_checksum_type="COMPOSITE" if name == "crc64nvme" else "FULL_OBJECT")
    assert wrong.status == 501
    done = complete(upload_id, etags, values, x_amz_checksum_type=kind, **{header: expected})
    assert done.status == 200 and f"<Checksum{name.upper()}>{expected}<" in done.body.decode(), done.body
    head = request(harness, "HEAD", path, headers={"x-amz-checksum-mode": "ENABLED"})
    assert (head.headers[header], head.headers["x-amz-checksum-type"]) == (expected, kind)
    assert s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"".join(bodies)


def test_refused_before_the_body_is_read(harness):
    """A wrong request signature, and a trailer of an unknown kind: answered at once, with Expect, before any chunk."""
    for headers, secret, status in (({}, "wrong", 403), ({"x-amz-trailer": "x-amz-meta-a"}, None, 400)):
        signed = sign(harness, "PUT", PATH, "", {"x-amz-decoded-content-length": str(1 << 30), **headers},
                      payload_hash=UNSIGNED, secret=secret)
        with connect(harness) as s:
            s.sendall(head_bytes("PUT", PATH, dict(signed, expect="100-continue", **{"content-length": str(1 << 30)})))
            assert s.recv(65536).startswith(b"HTTP/1.1 %d" % status)
