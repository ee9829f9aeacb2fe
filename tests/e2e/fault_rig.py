"""A gateway whose disk fails, or whose machine dies, at the call that a test names (tests/tools/fault_io.c)."""
import errno
import mmap
import os
import pathlib
import re
import shutil
import struct
import tempfile

from gateway_tools import BUCKET, Harness, request
from keyring_rig import built

FAIL, FAIL_FROM, KILL, TORN, SHORT, POWER, BUDGET = range(1, 8)
CREATE, WRITE, SYNC, RENAME, LINK, UNLINK, MKDIR, READ, OPEN = (1 << i for i in range(9))
CHANGES = CREATE | WRITE | SYNC | RENAME | LINK | UNLINK | MKDIR
INLINE = 65536  # bigger content is a body


def memory_folder(prefix):
    """A folder in memory, where there is one: what is tested is the order of calls, not the disk."""
    return tempfile.mkdtemp(prefix=prefix, dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None)


class FaultyHarness(Harness):
    def __init__(self, store=None):
        self.folder = pathlib.Path(memory_folder("lockset-faults-"))
        plan = self.folder / "plan"
        plan.write_bytes(bytes(64))
        with open(plan, "r+b") as f:
            self.plan = mmap.mmap(f.fileno(), 64)
        super().__init__(store or self.folder / "store")
        self.extra_environment = {"LD_PRELOAD": built("fault-io.so"), "FAULT_PLAN": str(plan), "FAULT_ROOT": str(self.store)}

    def arm(self, mode, at, error=errno.EIO, kinds=CHANGES):
        struct.pack_into("<7q", self.plan, 0, 1, mode, at, error, kinds, 0, 0)

    def disarm(self):
        struct.pack_into("<q", self.plan, 0, 0)

    @property
    def counted(self):
        return struct.unpack_from("<q", self.plan, 40)[0]

    @property
    def fired(self):
        return bool(struct.unpack_from("<q", self.plan, 48)[0])

    def restart(self):
        self.disarm()
        self.kill()
        self.start()
        for left in self.folder.glob("store.stash-*"):
            left.unlink()

    def close(self):
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- requests ---

    def call(self, method, key="", query="", body=b"", headers=None):
        return request(self, method, f"/{BUCKET}" + (f"/{key}" if key else ""), query, headers, body)

    def put(self, key, body):
        reply = self.call("PUT", key, body=body)
        assert reply.status == 200, (reply.status, reply.body)

    def delete(self, key):
        assert self.call("DELETE", key).status == 204

    def content(self, key):
        """None: there is none."""
        reply = self.call("GET", key)
        assert reply.status in (200, 404) and (reply.status == 200 or reply.code == "NoSuchKey"), (key, reply.status, reply.body[:500])
        assert reply.status == 404 or len(reply.body) == int(reply.headers["content-length"])
        return reply.body if reply.status == 200 else None

    def keys(self):
        reply = self.call("GET", query="list-type=2")
        assert reply.status == 200, reply.body
        return set(re.findall(r"<Key>([^<]*)</Key>", reply.body.decode()))

    def begin(self, key):
        reply = self.call("POST", key, "uploads=")
        return found(reply, "UploadId"), reply

    def part(self, key, upload, number, body):
        reply = self.call("PUT", key, f"partNumber={number}&uploadId={upload}", body)
        return reply.headers.get("etag", ""), reply

    def complete(self, key, upload, etags):
        parts = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in etags)
        return self.call("POST", key, f"uploadId={upload}", f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode())

    def abort(self, key, upload):
        return self.call("DELETE", key, f"uploadId={upload}")

    def uploads(self):
        """Key and id of all that are under way."""
        reply = self.call("GET", query="uploads=")
        assert reply.status == 200, reply.body
        return re.findall(r"<Upload>.*?<Key>([^<]*)</Key>.*?<UploadId>([^<]*)</UploadId>", reply.body.decode(), re.S)

    def parts(self, key, upload):
        reply = self.call("GET", key, f"uploadId={upload}")
        assert reply.status == 200, reply.body
        return {int(n): int(size) for n, size in
                re.findall(r"<Part>.*?<PartNumber>(\d+)</PartNumber>.*?<Size>(\d+)</Size>.*?</Part>", reply.body.decode(), re.S)}

    # --- the folder ---

    def files(self, folder):
        return sorted(str(p.relative_to(self.store)) for p in (self.store / folder).rglob("*") if p.is_file())

    def assert_swept(self, segments):
        """After opening: the files of what is there, and nothing else. segments: of all objects."""
        names, bodies = self.files("names"), self.files("bodies")
        assert len(names) == len(self.keys()), names
        assert len(bodies) == segments, bodies
        assert self.files("tmp") == []
        wanted = 0
        for key, upload in self.uploads():
            wanted += 1 + sum(1 if size == 0 else 2 for size in self.parts(key, upload).values())
        assert len(self.files("uploads")) == wanted, self.files("uploads")
        assert len(list((self.store / "uploads").iterdir())) == len(self.uploads())
        empty = [p for p in (self.store / "names").rglob("*") if p.is_dir() and not any(p.iterdir())]
        assert empty == [], empty


def found(reply, name):
    match = re.search(f"<{name}>([^<]*)</{name}>", reply.body.decode())
    return match.group(1) if match else None
