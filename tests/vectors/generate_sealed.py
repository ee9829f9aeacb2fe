#!/usr/bin/python3
"""Writes sealed/ beside this file (or into the folder given): sealed files, names, records and a whole store as docs/format.md
wants them, made by tests/tools/sealed.py. Always writes the same. The content of a file is "length" bytes, byte i of which is
(31 i + 7 floor(i / 256) + seed) mod 256."""
import hashlib
import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tools"))

from sealed import IN_CLEAR, OBJECT, PART, SEALED, UPLOAD, Keys, Record, Summary, u64  # noqa: E402

ARN = "arn:aws:kms:us-west-2:111122223333:key/mrk-00000000000000000000000000000001"
BRANCH, OLD_BRANCH = bytes.fromhex("b0" * 16), bytes.fromhex("a0" * 16)
KEYS = Keys("o00000000000000000001", "us-west-2", {BRANCH: bytes(range(32)), OLD_BRANCH: bytes(range(32, 64))},
            bytes(range(64, 96)), "lockset", ARN)
TIME = 4102444800000  # 2100: an upload that is not too old
OUT = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "sealed"


def known(what, n):
    """Bytes that stand in for random ones."""
    return hashlib.sha256(f"lockset vectors: {what}".encode()).digest()[:n]


def content(length, seed):
    return bytes((31 * i + 7 * (i // 256) + seed) & 255 for i in range(length))


# ---- Sealed files ----

def one_file(name, label, id_bytes, length, seed, branch=BRANCH, arn=ARN, version=SEALED):
    identity, salt = known(name + " id", id_bytes), known(name + " salt", 32)
    context = KEYS.file_context(label, identity)
    KEYS.arn = arn
    data = KEYS.seal(context, content(length, seed), branch, salt, version)
    KEYS.arn = ARN
    (OUT / f"{name}.sealed").write_bytes(data)
    return {"file": f"{name}.sealed", "version": version, "arn": arn, "label": label, "id": identity.hex(), "context": context.hex(),
            "branch": branch.hex(), "salt": salt.hex(), "length": length, "seed": seed,
            "sha256": hashlib.sha256(data).hexdigest()}


def files():
    return [
        one_file("empty", "body", 16, 0, 0),
        one_file("one-byte", "body", 16, 1, 200),
        one_file("text", "object", 16, 300, 1),
        one_file("upload", "upload", 16, 40, 2),
        one_file("part", "part", 32, 41, 3),
        one_file("old-branch", "body", 16, 17, 4, branch=OLD_BRANCH),
        one_file("longest-arn", "body", 16, 18, 5, arn="arn:" + "x" * 2044),
        one_file("chunk-less-1", "body", 16, 65535, 6),
        one_file("chunk", "body", 16, 65536, 7),
        one_file("chunk-plus-1", "body", 16, 65537, 8),
        one_file("two-chunks", "body", 16, 131072, 9),
        one_file("several-chunks", "body", 16, 3 * 65536 + 100, 10),
        one_file("clear-empty", "body", 16, 0, 11, version=IN_CLEAR),
        one_file("clear-text", "object", 16, 300, 12, version=IN_CLEAR),
        one_file("clear-two-chunks", "body", 16, 65536 + 200, 13, version=IN_CLEAR),
    ]


def refused():
    """Changes, each of which makes a file refused. "xor": [offset, mask]; "cut": new length; "append": hex; "exchange":
    [offset, offset, length]; "copy": [from, to, length]; "label" and "id": another context."""
    header, chunk = 12 + len(ARN) + 48, 65552
    several = header + 3 * 65536 + 100 + 4 * 16
    cases = []

    def case(file, what, **change):
        cases.append({"file": file + ".sealed", "what": what, **change})

    for offset, what in ((0, "magic"), (9, "version"), (11, "length of the ARN"), (12, "ARN"), (header - 48, "branch id"),
                         (header - 1, "salt"), (header, "ciphertext"), (header + 300, "tag")):
        case("text", what, xor=[offset, 1])
    for length, what in ((0, "nothing left"), (8, "magic only"), (12, "no ARN"), (header, "no chunk"), (header + 15, "no tag"),
                         (header + 16, "an empty file's length"), (header + 315, "one byte less")):
        case("text", what, cut=length)
    case("empty", "empty: without its tag", cut=header)
    case("empty", "empty: tag", xor=[header + 15, 128])
    case("empty", "empty: a byte more", append="00")
    case("text", "a byte more", append="00")
    case("text", "another version", xor=[9, 3])
    case("clear-text", "another version", xor=[9, 3])
    for offset, what in ((header - 1, "salt"), (header, "text"), (header + 299, "end of the text"), (header + 300, "tag")):
        case("clear-text", "in clear: " + what, xor=[offset, 1])
    case("clear-text", "in clear: one byte less", cut=header + 315)
    case("clear-empty", "in clear: tag", xor=[header + 15, 128])
    case("clear-two-chunks", "in clear: last chunk cut off", cut=header + chunk)
    case("clear-two-chunks", "in clear: a bit of the first chunk", xor=[header + 1000, 1])
    case("text", "another label", label="body")
    case("text", "another id", id="00" * 16)
    case("text", "another file's salt", exchange=[header - 48, header - 32, 16])
    case("chunk-plus-1", "last chunk cut off", cut=header + chunk)
    case("chunk-plus-1", "last chunk cut to its tag", cut=header + chunk + 16)
    case("two-chunks", "last chunk cut off", cut=header + chunk)
    case("two-chunks", "chunks exchanged", exchange=[header, header + chunk, chunk])
    case("several-chunks", "first chunks exchanged", exchange=[header, header + chunk, chunk])
    case("several-chunks", "a chunk twice", copy=[header, header + chunk, chunk])
    case("several-chunks", "end cut at a chunk", cut=header + 3 * chunk)
    case("several-chunks", "end cut at the chunk before", cut=header + 2 * chunk)
    case("several-chunks", "end cut in a chunk", cut=header + 2 * chunk + 1000)
    for offset in (header + 65536, header + chunk, header + 2 * chunk - 1, several - 17, several - 1):
        case("several-chunks", f"byte {offset}", xor=[offset, 4])
    return cases


# ---- Names ----

ODD = ["a", "a/", "a//b", "/", "//", ".", "..", "./../x", " ", "-", "+", "a.b", "%2F", "tab\tnew\nline", "\x01\x7f",
       "ünïcode/日本語/\U0001f5dd.parquet", "store/abc/all_1_1_0/data.bin",
       "x" * 112, "x" * 113, "x" * 224, "x" * 225, "y" * 300 + "/z", "é" * 512, "k" * 1024, "f" * 500 + "/" + "g" * 523,
       "/" * 1024]


def summary_json(s):
    return {"sequence": s.sequence, "size": s.size, "time": s.time, "etag": s.etag.hex(), "etag_parts": s.etag_parts}


def name(key, summary):
    folders, sealed, chain = KEYS.place(key.encode())
    file, tag = KEYS.add_summary(sealed, chain, summary)
    return {"key": key, "folders": folders, "name": sealed, "chain": chain.hex(), "summary": summary_json(summary),
            "file": file, "tag": tag.hex()}


def names():
    return [name(key, Summary(1000 + i, i, TIME + i, known(f"etag {i}", 16), i % 3)) for i, key in enumerate(ODD)] + [
        name("largest numbers", Summary(2**63 - 1, 2**48, 2**63 - 1, b"\xff" * 16, 10000)),
        name("before 1970", Summary(0, 0, -1, bytes(16), 0))]


def refused_names(good):
    """Names in a folder with a chain."""
    one, other, zeros = good[0], good[1], "00" * 16
    stem, summary = one["file"].split(".")
    folder = other["folders"][0]
    piece = next(n for n in good if len(n["key"]) == 113)["folders"][0]
    unfilled = next(n for n in good if n["key"].startswith("ünïcode/"))["folders"][0]  # 26 bytes: two bits are left
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return [{"what": what, "chain": chain, "file": file} for what, chain, file in [
        ("in another folder", one["chain"], one["file"]),
        ("another's summary", zeros, stem + "." + other["file"].split(".")[1]),
        ("an object without a summary", zeros, stem),
        ("an object as a piece", zeros, "+" + stem),
        ("a folder as an object", zeros, folder + "." + summary),
        ("a folder as a piece", zeros, "+" + folder),
        ("a piece as a folder", zeros, piece[1:]),
        ("a piece with a summary", zeros, piece + "." + summary),
        ("a name cut", zeros, stem[:-1] + "." + summary),
        ("a summary cut", zeros, one["file"][:-1]),
        ("a summary longer", zeros, one["file"] + "AA"),
        ("two summaries", zeros, one["file"] + "." + summary),
        ("no summary behind the dot", zeros, stem + "."),
        ("nothing before the dot", zeros, "." + summary),
        ("stray bits", zeros, unfilled[:-1] + alphabet[alphabet.index(unfilled[-1]) + 1]),
        ("padding", zeros, folder + "="),
        ("nothing", zeros, "+"),
        ("something else", zeros, "lost+found"),
    ]]


# ---- A store ----

class StoreFiles:
    def __init__(self):
        self.files, self.objects, self.uploads, self.count, self.stale = {}, [], [], 0, []

    def next(self, what, n):
        self.count += 1
        return known(f"store {what} {self.count}", n)

    def seal(self, label, identity, plain, branch=BRANCH):
        return KEYS.seal(KEYS.file_context(label, identity), plain, branch, self.next("salt", 32))

    def body(self, plain):
        """A body, and the segment that names it."""
        body_id = self.next("body id", 16)
        return self.seal("body", body_id, plain), (body_id, len(plain))

    def put(self, key, pieces, seed, bodies=(), parts=(), fields=(), segments=(), sequence=None, branch=BRANCH):
        """pieces: what the content is made of, for the test to compare. bodies: sealed ones, which segments name."""
        size = sum(pieces)
        number = sequence or 10**15 + len(self.objects)
        summary = Summary(number, size, TIME, self.next("etag", 16), len(parts))
        folders, sealed, chain = KEYS.place(key.encode())
        file, tag = KEYS.add_summary(sealed, chain, summary)
        record = Record(OBJECT, summary, key.encode(), [(n.encode(), v.encode()) for n, v in fields], list(parts),
                        list(segments), b"" if segments else content(size, seed))
        path = "/".join(["names", *folders, file])
        self.files[path] = self.seal("object", tag, record.pack(), branch)
        for i, data in enumerate(bodies):
            self.files[f"bodies/{tag.hex()[:2]}/{tag.hex()}.{i}"] = data
        if sequence:
            self.stale.append(path)
            return
        self.objects.append({"key": key, "seed": seed, "pieces": list(pieces), "summary": summary_json(summary),
                             "fields": [list(f) for f in fields], "parts": [list(p) for p in parts],
                             "record": record.pack().hex() if len(record.content) < 1000 else None})

    def upload(self, key, fields, part_sizes, attempts):
        upload_id = u64(TIME * 1000) + self.next("upload id", 8)
        folder = f"uploads/{upload_id.hex()}"
        begun = Record(UPLOAD, Summary(0, 0, TIME, bytes(16), 0), key.encode(),
                       [(n.encode(), v.encode()) for n, v in fields])
        self.files[f"{folder}/upload"] = self.seal("upload", upload_id, begun.pack())
        parts = []
        for number, size in part_sizes:
            for again in range(attempts):
                attempt, etag = self.next("attempt", 16), self.next("etag", 16)
                data, segment = self.body(content(size, number + 100 * again)) if size else (None, None)
                record = Record(PART, Summary(10**15 + again, size, TIME, etag, 0), key.encode(), [],
                                [(number, 1 if size else 0)], [segment] if size else [])
                self.files[f"{folder}/p{attempt.hex()}"] = self.seal("part", upload_id + attempt, record.pack())
                if size:
                    self.files[f"{folder}/b{attempt.hex()}.0"] = data
            parts.append({"number": number, "size": size, "seed": number + 100 * (attempts - 1), "etag": etag.hex()})
        self.uploads.append({"id": upload_id.hex(), "key": key, "fields": [list(f) for f in fields], "parts": parts})


def store():
    s = StoreFiles()
    s.put("empty", [0], 0)
    s.put("small", [11], 1, fields=[("content-type", "text/plain"), ("x-amz-meta-ünïcode", "wert"), ("empty", "")])
    s.put("old branch", [12], 2, branch=OLD_BRANCH)
    s.put("small", [5], 3, sequence=10)  # a version from before
    data, segment = s.body(content(65537, 4))
    s.put("big", [65537], 4, [data], segments=[segment])
    s.put("copies/of big", [65537], 4, [data], segments=[segment])
    pieces = [300, 1, 70]
    bodies = [s.body(content(sum(pieces), 5)[sum(pieces[:i]):sum(pieces[:i + 1])]) for i in range(3)]
    s.put("in parts", pieces, 5, [b for b, _ in bodies], [(1, 1), (2, 0), (7, 2)], [("content-type", "x/y")],
          [segment for _, segment in bodies])
    for i, key in enumerate(ODD):
        if key != "/" * 1024:  # a path too long for the test to make in one step
            s.put("odd/" + key if len(key.encode()) < 1000 else key, [i], i)
    s.upload("under way", [("content-type", "a/b")], [(3, 100), (1, 7), (9, 0)], 2)
    return {"objects": s.objects, "uploads": s.uploads, "stale": s.stale,
            "files": {path: data.hex() for path, data in sorted(s.files.items()) if len(data) < 60000},
            "large_files": {path: f"{hashlib.sha256(data).hexdigest()[:16]}.body"
                            for path, data in sorted(s.files.items()) if len(data) >= 60000}}, {
        f"{hashlib.sha256(data).hexdigest()[:16]}.body": data for data in s.files.values() if len(data) >= 60000}


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    for old in [*OUT.glob("*.sealed"), *OUT.glob("*.body")]:
        old.unlink()
    good_names = names()
    whole, large = store()
    for file, data in large.items():
        (OUT / file).write_bytes(data)
    vectors = {
        "about": "Written by generate_sealed.py; see docs/format.md.",
        "keys": {"org": KEYS.org, "region": KEYS.region, "bucket": KEYS.bucket, "arn": ARN, "names": KEYS.names.hex(),
                 "active": BRANCH.hex(), "branches": {i.hex(): k.hex() for i, k in KEYS.branches.items()}},
        "files": files(), "refused_files": refused(), "names": good_names, "refused_names": refused_names(good_names),
        "store": whole}
    (OUT / "vectors.json").write_text(json.dumps(vectors, indent=1, ensure_ascii=True) + "\n")


main()
