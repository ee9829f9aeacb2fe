"""The format of the sealed store, written from docs/format.md alone: a second implementation for the tests, and for whoever
wants to read a store without Lockset. Small things are held in memory whole."""
import base64
import dataclasses
import hashlib
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MAGIC, SEALED, IN_CLEAR = b"LOCKSEAL", 1, 2  # the two format versions
CHUNK, TAG, PIECE, INLINE = 65536, 16, 112, 65536
ROOT_CHAIN = bytes(16)
OBJECT, UPLOAD, PART = 1, 2, 3


class Refused(Exception):
    """Something is not what Lockset wrote there."""


def require(condition, what):
    if not condition:
        raise Refused(what)


def u16(n):
    return struct.pack(">H", n)


def u64(n):
    return struct.pack(">Q", n)


def text16(text):
    return u16(len(text)) + text


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    """One spelling only: what b64 would not write is refused."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars="-_", validate=True)
    except ValueError as error:
        raise Refused(f"no base64url: {text}") from error
    require(b64(data) == text, f"no base64url: {text}")
    return data


@dataclasses.dataclass
class Keys:
    """What it takes to read (and write) an organization's store in one region."""
    org: str
    region: str
    branches: dict  # id (16 bytes) -> key (32 bytes)
    names: bytes
    bucket: str = "lockset"
    arn: str = ""  # for sealing only

    def derive(self, label, key, salt, context, length):
        info = label + b"\0" + text16(self.org.encode()) + text16(self.region.encode()) + context
        return HKDF(SHA256(), length, salt, info).derive(key)

    def file_context(self, label, identity):
        return label.encode() + b"\0" + text16(self.bucket.encode()) + identity

    # ---- Sealed files ----

    def _chunks(self, header, branch, salt, context):
        require(branch in self.branches, f"there is no branch key {branch.hex()}")
        aes = AESGCM(self.derive(b"lockset object 1", self.branches[branch], salt, context, 32))
        digest = hashlib.sha256(header).digest()

        def at(index, final):
            return aes, bytes([0, 0, 0, final]) + u64(index), digest + u64(index) + bytes([final])

        return at

    def seal(self, context, plain, branch, salt, version=SEALED):
        header = MAGIC + u16(version) + text16(self.arn.encode()) + branch + salt
        at = self._chunks(header, branch, salt, context)
        pieces = [plain[i:i + CHUNK] for i in range(0, len(plain), CHUNK)] or [b""]
        out = [header]
        for index, piece in enumerate(pieces):
            aes, nonce, aad = at(index, index + 1 == len(pieces))
            out.append(aes.encrypt(nonce, piece, aad) if version == SEALED else piece + aes.encrypt(nonce, b"", aad + piece))
        return b"".join(out)

    def open(self, context, sealed, size=None):
        """The plaintext; `size`: what its length has to be, where that is known."""
        header, branch, salt = parse_header(sealed)
        at = self._chunks(header, branch, salt, context)
        if size is not None:
            require(len(sealed) == len(header) + size + TAG * max(1, -(-size // CHUNK)), "a file of another length")
        out, index, rest = [], 0, memoryview(sealed)[len(header):]
        while True:
            final = len(rest) <= CHUNK + TAG
            piece, rest = rest[:CHUNK + TAG], rest[CHUNK + TAG:]
            require(len(piece) > TAG or (len(piece) == TAG and index == 0), "a file ends early")
            aes, nonce, aad = at(index, final)
            try:
                if header[9] == SEALED:
                    out.append(aes.decrypt(nonce, bytes(piece), aad))
                else:
                    text, tag = bytes(piece[:-TAG]), bytes(piece[-TAG:])
                    aes.decrypt(nonce, tag, aad + text)
                    out.append(text)
            except InvalidTag as error:
                raise Refused(f"chunk {index} does not verify") from error
            index += 1
            if final:
                return b"".join(out)

    # ---- Names ----

    def _siv(self, kind):
        return AESSIV(self.derive(b"lockset names 1", self.names, None, kind + b"\0" + self.bucket.encode(), 64))

    @property
    def components(self):
        return self._siv(b"component")

    @property
    def summaries(self):
        return self._siv(b"summary")

    def place(self, key):
        """Where an object is: its folders below names/, its sealed name without a summary, and that name's chain."""
        siv, chain, folders = self.components, ROOT_CHAIN, []
        *parents, last = key.split(b"/")
        for kind, component in [*((b"D", p) for p in parents), (b"O", last)]:
            while len(component) > PIECE:
                sealed = siv.encrypt(b"P" + component[:PIECE], [chain])
                folders.append("+" + b64(sealed))
                chain, component = sealed[:16], component[PIECE:]
            sealed = siv.encrypt(kind + component, [chain])
            chain = sealed[:16]
            if kind == b"D":
                folders.append(b64(sealed))
        return folders, b64(sealed), chain

    def open_name(self, chain, file):
        """The kind (O, D, P), the bytes and the chain of a name, and of an object its Summary and tag."""
        text, dot, summary = file.partition(".")
        piece = text.startswith("+")
        require(not (piece and dot), f"no name: {file}")
        kind = b"O" if dot else b"P" if piece else b"D"
        sealed = unb64(text[1:] if piece else text)
        plain = self._open_siv(self.components, sealed, chain, file)
        require(plain[:1] == kind and (not piece or len(plain) == 1 + PIECE), f"a name of another kind: {file}")
        if not dot:
            return kind, plain[1:], sealed[:16], None, None
        sealed_summary = unb64(summary)
        parsed = Summary.parse(self._open_siv(self.summaries, sealed_summary, sealed[:16], file))
        return kind, plain[1:], sealed[:16], parsed, sealed_summary[:16]

    @staticmethod
    def _open_siv(siv, sealed, chain, file):
        require(len(sealed) > 16, f"no name: {file}")
        try:
            return siv.decrypt(sealed, [chain])
        except InvalidTag as error:
            raise Refused(f"a name does not verify: {file}") from error

    def add_summary(self, name, chain, summary):
        """The whole file name, and the object's tag."""
        sealed = self.summaries.encrypt(summary.pack(), [chain])
        return name + "." + b64(sealed), sealed[:16]


def parse_header(sealed):
    require(sealed[:8] == MAGIC, "no sealed file")
    require(len(sealed) >= 12, "a header ends early")
    version, arn_length = struct.unpack(">HH", sealed[8:12])
    require(version in (SEALED, IN_CLEAR), f"format version {version}")
    end = 12 + arn_length
    require(1 <= arn_length <= 2048 and len(sealed) >= end + 48, "a header ends early")
    return bytes(sealed[:end + 48]), bytes(sealed[end:end + 16]), bytes(sealed[end + 16:end + 48])


@dataclasses.dataclass
class Summary:
    sequence: int
    size: int
    time: int
    etag: bytes
    etag_parts: int
    FORMAT = ">QQq16sH"

    def pack(self):
        return struct.pack(self.FORMAT, self.sequence, self.size, self.time, self.etag, self.etag_parts)

    @classmethod
    def parse(cls, plain):
        require(len(plain) == struct.calcsize(cls.FORMAT), "a summary of another length")
        return cls(*struct.unpack(cls.FORMAT, plain))

    def etag_text(self):
        return self.etag.hex() + (f"-{self.etag_parts}" if self.etag_parts else "")


class Taker:
    """Takes things from the front of bytes, or refuses."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def bytes(self, n):
        require(len(self.data) - self.at >= n, "a record ends early")
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, form):
        return struct.unpack(">" + form, self.bytes(struct.calcsize(">" + form)))[0]

    def text(self):
        value = self.bytes(self.number("H"))
        require(b"\0" not in value, "a text with NUL")
        return value


@dataclasses.dataclass
class Record:
    kind: int
    summary: Summary
    key: bytes
    fields: list = dataclasses.field(default_factory=list)    # (name, value)
    parts: list = dataclasses.field(default_factory=list)     # (number, segments)
    segments: list = dataclasses.field(default_factory=list)  # (body id, size)
    content: bytes = b""

    def pack(self):
        out = [bytes([self.kind]), self.summary.pack(), text16(self.key), u16(len(self.fields))]
        out += [text16(name) + text16(value) for name, value in self.fields]
        out += [u16(len(self.parts))] + [struct.pack(">HI", *part) for part in self.parts]
        out += [struct.pack(">I", len(self.segments))] + [struct.pack(">16sQ", *s) for s in self.segments]
        return b"".join(out + [struct.pack(">I", len(self.content)), self.content])

    @classmethod
    def parse(cls, plain):
        t = Taker(plain)
        kind = t.number("B")
        summary = Summary.parse(t.bytes(struct.calcsize(Summary.FORMAT)))
        key = t.text()
        fields = [(t.text(), t.text()) for _ in range(t.number("H"))]
        parts = [(t.number("H"), t.number("I")) for _ in range(t.number("H"))]
        segments = [(t.bytes(16), t.number("Q")) for _ in range(t.number("I"))]
        content = t.bytes(t.number("I"))
        require(t.at == len(plain) and kind in (OBJECT, UPLOAD, PART), "a record of another shape")
        require(len(fields) <= 128 and len(parts) <= 10000 and len(segments) <= 100000 and len(content) <= INLINE,
                "a record over the limits")
        numbers = [number for number, _ in parts]
        require(all(1 <= n <= 10000 for n in numbers) and sorted(set(numbers)) == numbers, "parts out of order")
        require(not (segments and content) and all(1 <= size <= 1 << 48 for _, size in segments), "segments of no sense")
        require(not parts or sum(n for _, n in parts) == len(segments), "parts that don't add up")
        total = len(content) + sum(size for _, size in segments)
        require(total == summary.size if kind != UPLOAD else total == summary.size == 0, "sizes that don't add up")
        return cls(kind, summary, key, fields, parts, segments, content)


def body_path(tag, index):
    return f"bodies/{tag.hex()[:2]}/{tag.hex()}.{index}"


def s3_body_path(body_id):
    return f"bodies/{body_id.hex()[:2]}/{body_id.hex()}"
