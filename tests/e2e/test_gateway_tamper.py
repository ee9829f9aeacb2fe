"""Sealed files that somebody changed, through the gateway: a client gets an error, or an answer that is cut off before the
first byte that can't be vouched for. Never wrong bytes, never an end that looks like one, never "no such key"."""
import contextlib
import hashlib
import os
import random

import pytest
from botocore.exceptions import ClientError, IncompleteReadError, ResponseStreamingError

from gateway_tools import BUCKET, Harness, files_below, request

MIB, CHUNK, SEALED_CHUNK = 1 << 20, 65536, 65552
PART_1 = 5 * MIB
LARGE, SMALL = random.Random(1).randbytes(20 * CHUNK + 77), random.Random(2).randbytes(400)


@pytest.fixture
def harness():
    with Harness() as h:
        yield h


def put_alone(h, key, body):
    """Puts an object; returns its record and its body file, if it has one."""
    before = set(files_below(h.store))
    h.s3().put_object(Bucket=BUCKET, Key=key, Body=body)
    new = set(files_below(h.store)) - before
    [record] = [p for p in new if p.relative_to(h.store).parts[0] == "names"]
    bodies = [p for p in new if p.relative_to(h.store).parts[0] == "bodies"]
    return record, bodies[0] if bodies else None


def get(h, key, span=None):
    return request(h, "GET", f"/{BUCKET}/{key}", headers={"range": span} if span else None)


@contextlib.contextmanager
def changed(path, data):
    """The file holds something else for a while."""
    good = path.read_bytes()
    path.write_bytes(data)
    try:
        yield
    finally:
        path.write_bytes(good)


@contextlib.contextmanager
def flipped(path, offset, mask=1):
    with open(path, "r+b") as f:
        def flip():
            f.seek(offset)
            byte = f.read(1)[0]
            f.seek(offset)
            f.write(bytes([byte ^ mask]))
            f.flush()
        flip()
        yield
        flip()


def assert_refused(reply, body):
    assert reply.status == 500 and reply.code == "InternalError", (reply.status, reply.body[:300])
    for at in range(0, len(body) - 16, 16):
        assert body[at:at + 16] not in reply.body


def assert_cut(reply, body, good):
    """A good status was sent, then true bytes, at most `good` of them, then the connection ended before the length."""
    assert reply.status in (200, 206), (reply.status, reply.body[:300])
    assert int(reply.headers["content-length"]) == len(body)
    assert len(reply.body) <= good < len(body)
    assert reply.body == body[:len(reply.body)]


def assert_whole(reply, body):
    assert reply.status in (200, 206) and reply.body == body


def test_every_byte_of_a_small_object(harness):
    record, body = put_alone(harness, "small", SMALL)
    assert body is None
    for offset in range(record.stat().st_size):
        with flipped(record, offset, 1 << offset % 8):
            assert_refused(get(harness, "small"), SMALL)
    assert_whole(get(harness, "small"), SMALL)


def test_other_requests_for_a_changed_record(harness):
    record, _ = put_alone(harness, "small", SMALL)
    s3 = harness.s3()
    with flipped(record, 300):
        head = request(harness, "HEAD", f"/{BUCKET}/small")
        assert head.status == 500 and not head.body
        assert_refused(get(harness, "small", "bytes=0-3"), SMALL)
        for call in (lambda: s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "small"}),
                     lambda: s3.get_object(Bucket=BUCKET, Key="small")):
            with pytest.raises(ClientError) as caught:
                call()
            assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert get(harness, "copy").status == 404
    s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "small"})
    assert_whole(get(harness, "copy"), SMALL)


def test_small_object_cut_and_longer(harness):
    record, _ = put_alone(harness, "small", SMALL)
    whole = record.read_bytes()
    for length in [*range(0, len(whole), 7), len(whole) - 1]:
        with changed(record, whole[:length]):
            assert_refused(get(harness, "small"), SMALL)
    for more in (b"\0", bytes(16), whole):
        with changed(record, whole + more):
            assert_refused(get(harness, "small"), SMALL)


def header_of(sealed):
    return sealed - len(LARGE) - 21 * 16


def test_samples_of_a_large_object(harness):
    _, path = put_alone(harness, "large", LARGE)
    size = path.stat().st_size
    header = header_of(size)
    rng = random.Random(3)
    offsets = {*range(0, header, 5), *(rng.randrange(header, size) for _ in range(60)), size - 1}
    for chunk in range(21):  # first, last and tag bytes of each
        offsets |= {header + chunk * SEALED_CHUNK, min(header + (chunk + 1) * SEALED_CHUNK, size) - 1}
    cut = 0
    for offset in sorted(offsets):
        good = max(0, offset - header) // SEALED_CHUNK * CHUNK
        with flipped(path, offset, 1 << offset % 8):
            reply = get(harness, "large")
            if good == 0:
                assert_refused(reply, LARGE[:CHUNK])
            else:
                assert_cut(reply, LARGE, good)
                cut += 1
            # A range of other chunks is as good as ever; one that touches this chunk isn't answered.
            if offset < header:
                continue
            inside = f"bytes={good + 5}-{min(good + 1000, len(LARGE) - 1)}"
            assert_refused(get(harness, "large", inside), LARGE[good:good + 1000])
            elsewhere = (good + CHUNK) % (20 * CHUNK)
            assert_whole(get(harness, "large", f"bytes={elsewhere}-{elsewhere + 99}"), LARGE[elsewhere:elsewhere + 100])
            if good:
                before = get(harness, "large", f"bytes={good - 10}-{good + 10}")
                assert before.status == 500 or len(before.body) <= 10 and before.body == LARGE[good - 10:][:len(before.body)]
    assert cut > 60
    assert_whole(get(harness, "large"), LARGE)


def test_large_object_cut_longer_and_mixed(harness):
    _, path = put_alone(harness, "large", LARGE)
    whole = path.read_bytes()
    header = header_of(len(whole))
    chunks = [whole[at:at + SEALED_CHUNK] for at in range(header, len(whole), SEALED_CHUNK)]
    lengths = [0, 8, header, header + 16, *(header + n * SEALED_CHUNK + around for n in range(1, 21) for around in (-1, 0, 1)),
               len(whole) - 78, len(whole) - 77, len(whole) - 1]
    for length in lengths:
        with changed(path, whole[:length]):
            assert_refused(get(harness, "large"), LARGE[:CHUNK])
    for more in (b"\0", bytes(16), chunks[0], chunks[20]):
        with changed(path, whole + more):
            assert_refused(get(harness, "large"), LARGE[:CHUNK])

    def with_order(order):
        return whole[:header] + b"".join(chunks[n] for n in order)

    straight = list(range(21))
    for a, b in ((0, 1), (1, 2), (7, 13), (18, 19)):
        order = list(straight)
        order[a], order[b] = order[b], order[a]
        with changed(path, with_order(order)):
            reply = get(harness, "large")
            assert_refused(reply, LARGE[:CHUNK]) if a == 0 else assert_cut(reply, LARGE, a * CHUNK)
    for put, instead in ((5, 4), (19, 3)):  # a chunk twice
        order = list(straight)
        order[put] = instead
        with changed(path, with_order(order)):
            assert_cut(get(harness, "large"), LARGE, put * CHUNK)
    path.unlink()
    assert_refused(get(harness, "large"), LARGE[:CHUNK])


def exchange(a, b):
    aside = a.with_name(a.name + ".aside")
    os.rename(a, aside)
    os.rename(b, a)
    os.rename(aside, b)


def test_objects_exchanged(harness):
    other = bytes(reversed(LARGE))
    one_record, one_body = put_alone(harness, "one", LARGE)
    two_record, two_body = put_alone(harness, "two", other)
    small_one, _ = put_alone(harness, "s1", SMALL)
    small_two, _ = put_alone(harness, "s2", bytes(reversed(SMALL)))
    exchange(one_body, two_body)
    for key in ("one", "two"):
        assert_refused(get(harness, key), LARGE[:CHUNK])
    exchange(one_record, two_record)  # records and bodies now: the whole of one object under the other's name
    for key in ("one", "two"):
        assert_refused(get(harness, key), LARGE[:CHUNK])
    exchange(one_body, two_body)
    exchange(one_record, two_record)
    exchange(small_one, small_two)
    for key in ("s1", "s2"):
        assert_refused(get(harness, key), SMALL)
    exchange(small_one, small_two)
    for key, body in (("one", LARGE), ("two", other), ("s1", SMALL)):
        assert_whole(get(harness, key), body)


def test_multipart_and_its_copy(harness):
    s3 = harness.s3()
    before = set(files_below(harness.store / "bodies"))
    parts = [random.Random(n).randbytes(size) for n, size in ((5, PART_1), (6, 3 * CHUNK + 1))]
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="multi")["UploadId"]
    done = [{"PartNumber": n, "ETag": s3.upload_part(Bucket=BUCKET, Key="multi", UploadId=upload, PartNumber=n,
                                                     Body=body)["ETag"]} for n, body in enumerate(parts, 1)]
    s3.complete_multipart_upload(Bucket=BUCKET, Key="multi", UploadId=upload, MultipartUpload={"Parts": done})
    first, second = sorted(set(files_below(harness.store / "bodies")) - before)
    s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "multi"})
    whole = b"".join(parts)
    exchange(first, second)
    assert_refused(get(harness, "multi"), whole[:CHUNK])
    exchange(first, second)
    assert_whole(get(harness, "copy"), whole)
    with changed(second, second.read_bytes()[:-1]):  # the file itself, so the copy has it as well
        for key in ("multi", "copy"):
            assert_cut(get(harness, key), whole, PART_1)
            assert_refused(get(harness, key, f"bytes={PART_1 + 1}-{PART_1 + 9}"), parts[1][:CHUNK])
        # What a client sees of it: an answer that is not complete.
        with pytest.raises((IncompleteReadError, ResponseStreamingError)):
            s3.get_object(Bucket=BUCKET, Key="multi")["Body"].read()
        # A part that would have to be sealed anew from it.
        upload = s3.create_multipart_upload(Bucket=BUCKET, Key="new")["UploadId"]
        with pytest.raises(ClientError) as caught:
            s3.upload_part_copy(Bucket=BUCKET, Key="new", UploadId=upload, PartNumber=1,
                                CopySource={"Bucket": BUCKET, "Key": "multi"}, CopySourceRange=f"bytes=1-{PART_1 + 5}")
        assert caught.value.response["Error"]["Code"] == "InternalError"
    assert hashlib.sha256(get(harness, "multi").body).digest() == hashlib.sha256(whole).digest()


def test_parts_of_an_upload(harness):
    s3 = harness.s3()
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="u")["UploadId"]
    etag = s3.upload_part(Bucket=BUCKET, Key="u", UploadId=upload, PartNumber=1, Body=SMALL)["ETag"]
    [body] = [p for p in files_below(harness.store / "uploads") if p.name.startswith("b")]
    with open(body, "r+b") as f:
        f.seek(200)
        f.write(b"????")
    s3.complete_multipart_upload(Bucket=BUCKET, Key="u", UploadId=upload,
                                 MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    assert_refused(get(harness, "u"), SMALL)


def restarted(harness):
    harness.kill()
    harness.start()


def test_names(harness):
    """Names are read when a folder is met first, so the gateway is started anew for each change."""
    record, _ = put_alone(harness, "folder/small", SMALL)
    folder = record.parent
    put_alone(harness, "beside", LARGE)
    name = record.name
    others = [name[:i] + ("A" if name[i] != "A" else "B") + name[i + 1:] for i in range(0, len(name), 11)]
    for other in [*others, name[:-1], name + "A", name + "AAAA", name.partition(".")[0], "junk", "+" + name, name + ".x"]:
        os.rename(record, folder / other)
        restarted(harness)
        assert_refused(get(harness, "folder/small"), SMALL)
        listed = request(harness, "GET", f"/{BUCKET}", "list-type=2")
        assert listed.status == 500 and b"<Contents>" not in listed.body, other
        assert request(harness, "DELETE", f"/{BUCKET}/folder/small").status == 500
        os.rename(folder / other, record)
    elsewhere = folder.with_name(folder.name[:-1] + ("A" if folder.name[-1] != "A" else "B"))
    os.rename(folder, elsewhere)  # all of the folder is missing then, not absent
    restarted(harness)
    assert_refused(get(harness, "folder/small"), SMALL)
    for query in ("list-type=2", "list-type=2&prefix=folder%2F"):
        assert request(harness, "GET", f"/{BUCKET}", query).status == 500
    os.rename(elsewhere, folder)
    moved = harness.store / "names" / name  # to where it would be another key
    os.rename(record, moved)
    restarted(harness)
    assert request(harness, "GET", f"/{BUCKET}", "list-type=2").status == 500
    assert get(harness, "small").status == 500
    os.rename(moved, record) if folder.exists() else (folder.mkdir(), os.rename(moved, record))
    restarted(harness)
    assert_whole(get(harness, "folder/small"), SMALL)
    assert_whole(get(harness, "beside"), LARGE)
    assert request(harness, "GET", f"/{BUCKET}", "list-type=2").body.count(b"<Contents>") == 2
