"""The gateway over a folder that fails and a machine that dies, at every single step of what it does to the disk.

Each operation runs again and again; the first time its first call to the disk is struck, then its second one, until one run gets
through unharmed. Whatever happens: what is read is an old or a new state, whole; what was acknowledged is there; after a start
the folder holds what belongs to the objects, and nothing else."""
import contextlib
import errno
import http.client
import os
import pathlib
import re
import subprocess
import tempfile

import pytest

from fault_rig import BUDGET, CHANGES, CREATE, FAIL, FAIL_FROM, INLINE, KILL, OPEN, POWER, READ, SHORT, TORN, WRITE, FaultyHarness
from gateway_tools import BUCKET

SMALL_OLD, SMALL_NEW = b"old and small " * 40, b"new and small " * 30
BIG_OLD, BIG_NEW = b"old and big " * 16000, b"new and big! " * 17000  # bodies of three and four chunks
SOURCE = b"what is copied " * 9000
PART = b"part of an upload " * 300000  # 5.4 MB
BYSTANDERS = {"bystander/big": SOURCE, "bystander/link": SOURCE, "z": SMALL_OLD}
STEPS_MAX = 200


def reset(h, key, body):
    if body is None:
        h.delete(key)
    else:
        h.put(key, body)


class Operation:
    """before: what the key holds at first; run() asks for `after`. Returns what was answered."""
    key = "d/e/k"
    before = after = None

    def __init__(self, before, after):
        self.before, self.after = before, after

    def prepare(self, h):
        reset(h, self.key, self.before)

    def segments(self, body, parts=False):
        return 0 if body is None or len(body) <= INLINE else 1

    def settle(self, h):
        """After the checks: nothing is left for the next round that prepare() doesn't know of."""

    def again(self, h):
        return self.run(h)


class Put(Operation):
    def run(self, h):
        return h.call("PUT", self.key, body=self.after)


class Copy(Operation):
    def run(self, h):
        return h.call("PUT", self.key, headers={"x-amz-copy-source": f"/{BUCKET}/bystander/big"})


class Delete(Operation):
    def run(self, h):
        return h.call("DELETE", self.key)


class DeleteMany(Operation):
    def run(self, h):
        return h.call("POST", "", "delete=", f"<Delete><Object><Key>{self.key}</Key></Object></Delete>".encode())


class Upload(Operation):
    """Operations around an upload: its id and parts are known, and the key changes only with complete."""

    def prepare(self, h):
        super().prepare(h)
        self.upload, _ = h.begin(self.key)
        self.etags = [(n, h.part(self.key, self.upload, n, body)[0]) for n, body in self.parts]

    parts = ((1, BIG_OLD),)

    def settle(self, h):
        for key, upload in h.uploads():
            assert h.abort(key, upload).status == 204


class Begin(Upload):
    def prepare(self, h):
        reset(h, self.key, self.before)

    def run(self, h):
        self.upload, reply = h.begin(self.key)
        return reply

    def check(self, h, is_acknowledged):
        uploads = h.uploads()
        assert not is_acknowledged or (self.key, self.upload) in uploads
        assert len(uploads) <= 1


class UploadPart(Upload):
    """A part is replaced: the one before is there or the new one, whole."""

    def run(self, h):
        return h.part(self.key, self.upload, 1, BIG_NEW)[1]

    def check(self, h, is_acknowledged):
        size = h.parts(self.key, self.upload)[1]
        assert size in ((len(BIG_NEW),) if is_acknowledged else (len(BIG_OLD), len(BIG_NEW)))
        etag = h.call("GET", self.key, f"uploadId={self.upload}").body.decode().split("<ETag>")[1].split("</ETag>")[0]
        reply = h.complete(self.key, self.upload, [(1, etag.replace("&quot;", '"'))])
        assert reply.status == 200, reply.body
        assert h.content(self.key) == {len(BIG_OLD): BIG_OLD, len(BIG_NEW): BIG_NEW}[size]
        h.put(self.key, self.before)


class Complete(Upload):
    parts = ((1, PART), (2, BIG_OLD))

    def run(self, h):
        return h.complete(self.key, self.upload, self.etags)

    def segments(self, body, parts=False):
        return 2 if body == self.after else super().segments(body)

    def check(self, h, is_acknowledged):
        if h.content(self.key) == self.before:  # the upload must be there, to be completed now
            reply = h.complete(self.key, self.upload, self.etags)
            assert reply.status == 200 and h.content(self.key) == self.after, reply.body


class Abort(Upload):
    def run(self, h):
        return h.abort(self.key, self.upload)

    def check(self, h, is_acknowledged):
        assert not is_acknowledged or h.uploads() == []


OPERATIONS = {
    "put, small, new": lambda: Put(None, SMALL_NEW),
    "put, small over big": lambda: Put(BIG_OLD, SMALL_NEW),
    "put, big, new": lambda: Put(None, BIG_NEW),
    "put, big over big": lambda: Put(BIG_OLD, BIG_NEW),
    "copy, new": lambda: Copy(None, SOURCE),
    "copy over big": lambda: Copy(BIG_OLD, SOURCE),
    "delete small": lambda: Delete(SMALL_OLD, None),
    "delete big": lambda: Delete(BIG_OLD, None),
    "delete many": lambda: DeleteMany(BIG_OLD, None),
    "begin": lambda: Begin(SMALL_OLD, SMALL_OLD),
    "part": lambda: UploadPart(SMALL_OLD, SMALL_OLD),
    "complete": lambda: Complete(BIG_OLD, PART + BIG_OLD),
    "abort": lambda: Abort(SMALL_OLD, SMALL_OLD),
}


@pytest.fixture
def faulty():
    with FaultyHarness() as h:
        h.put("bystander/big", SOURCE)
        assert h.call("PUT", "bystander/link", headers={"x-amz-copy-source": f"/{BUCKET}/bystander/big"}).status == 200
        h.put("z", SMALL_OLD)
        yield h


def is_success(reply):
    return reply is not None and reply.status in (200, 204) and b"<Error>" not in reply.body


def attempt(h, operation):
    """The answer; None: the gateway died under it."""
    try:
        reply = operation.run(h)
    except (OSError, http.client.HTTPException):
        return None
    return reply if reply.status else None


def check_contents(h, operation, is_acknowledged):
    content = h.content(operation.key)
    allowed = (operation.after,) if is_acknowledged else (operation.before, operation.after)
    assert content in allowed, f"{len(content) if content is not None else None} bytes, which are neither old nor new"
    for key, body in BYSTANDERS.items():
        assert h.content(key) == body, key
    assert h.keys() == {*BYSTANDERS, *((operation.key,) if content is not None else ())}
    return content


def check_all(h, operation, is_acknowledged):
    """After a start."""
    content = check_contents(h, operation, is_acknowledged)
    h.assert_swept(2 + operation.segments(content))
    if hasattr(operation, "check"):
        operation.check(h, is_acknowledged)
    operation.settle(h)


def strike_every_step(h, operation, mode, error=0, kinds=CHANGES):
    """Returns how many steps there were."""
    for step in range(STEPS_MAX):
        operation.prepare(h)
        h.arm(mode, step, error, kinds)
        reply = attempt(h, operation)
        fired = h.fired
        if not fired:
            h.disarm()
            assert is_success(reply), reply.body
        elif reply is not None:
            h.process.kill()  # what happened after the answer was struck
        h.process.wait() if fired else None
        h.restart()
        check_all(h, operation, is_success(reply))
        if not fired:
            return step
    raise AssertionError("it has no end")


@pytest.mark.parametrize("name", OPERATIONS)
def test_kill_9_at_every_step(faulty, name):
    operation = OPERATIONS[name]()
    assert strike_every_step(faulty, operation, KILL) >= 3
    assert strike_every_step(faulty, operation, TORN, kinds=WRITE) >= (0 if name.startswith(("delete", "abort")) else 1)


@pytest.mark.parametrize("name", OPERATIONS)
def test_power_is_lost_at_every_step(faulty, name):
    """Everything that was not synced goes, or some of it."""
    operation = OPERATIONS[name]()
    for chance in (0, 1 + len(name)):
        assert strike_every_step(faulty, operation, POWER, chance) >= 3


def check_failure(reply, error):
    """What a client learns of a disk that fails."""
    if b"<DeleteResult" in reply.body:
        assert (b"InsufficientStorage" if error == errno.ENOSPC else b"InternalError") in reply.body, reply.body
    elif error == errno.ENOSPC:
        assert (reply.status, reply.code) in ((507, "InsufficientStorage"), (500, "InternalError")), reply.body
    else:
        assert (reply.status, reply.code) == (500, "InternalError"), reply.body
    assert b"errno" not in reply.body and b"/" + b"store" not in reply.body


def fail_every_step(h, operation, mode, error):
    failures = 0
    for step in range(STEPS_MAX):
        operation.prepare(h)
        h.arm(mode, step, error)
        reply = attempt(h, operation)
        fired = h.fired
        assert reply is not None and h.process.poll() is None, "the gateway gave up"
        if not is_success(reply):
            failures += 1
            check_failure(reply, error)
        for key, body in BYSTANDERS.items():  # reading goes on while the disk fails
            assert h.content(key) == body, key
        seen = h.call("GET", operation.key)  # which version counts may be in doubt as long as nothing can be synced
        assert seen.status in (404, 500, 507) or seen.body in (operation.before, operation.after)
        h.disarm()
        check_contents(h, operation, is_success(reply))
        if fired and step % 4 == 0:  # what is on the disk, seen by the next gateway
            h.restart()
            check_all(h, operation, is_success(reply))
        elif not is_success(reply):  # it works again: the same request, as a client sends it once more
            again = operation.run(h)
            assert is_success(again) or (again.code == "NoSuchUpload" and not h.uploads()), again.body
            check_contents(h, operation, is_success(again))
        operation.settle(h)
        if not fired:
            break
    h.restart()
    content = check_contents(h, operation, False)
    h.assert_swept(2 + operation.segments(content))
    return failures


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EROFS], ids=errno.errorcode.get)
def test_every_step_fails(faulty, name, error):
    """Once and, as a full or read-only file system does, from then on."""
    operation = OPERATIONS[name]()
    assert fail_every_step(faulty, operation, FAIL if error == errno.EIO else FAIL_FROM, error) >= 1


def test_a_write_is_torn_and_then_fails(faulty):
    for name in ("put, big over big", "copy over big", "part", "complete"):
        assert fail_every_step(faulty, OPERATIONS[name](), SHORT, errno.EIO) >= 1


def test_reading_fails(faulty):
    """Never wrong bytes: an error, or an answer that breaks off; and afterwards everything is as before."""
    faulty.put("big", BIG_OLD)
    broken = refused = 0
    for kinds in (READ, OPEN):
        for step in range(STEPS_MAX):
            faulty.restart()  # nothing is in memory
            faulty.arm(FAIL, step, errno.EIO, kinds)
            reply = faulty.call("GET", "big")
            fired = faulty.fired
            faulty.disarm()
            if reply.status == 200:
                assert BIG_OLD.startswith(reply.body)
                broken += len(reply.body) < len(BIG_OLD)
            else:
                refused += 1
                check_failure(reply, errno.EIO)
            assert faulty.content("big") == BIG_OLD
            if not fired:
                assert reply.status == 200 and reply.body == BIG_OLD
                break
    assert broken >= 1 and refused >= 1
    assert faulty.files("tmp") == []


def fill(h, refusal):
    """Objects of all sizes until several don't fit. What was acknowledged."""
    written, refusals = {}, 0
    for n in range(200):
        key, body = f"full/{n}", bytes([n]) * (1 + n * n * 200)
        reply = h.call("PUT", key, body=body)
        if reply.status == 200:
            written[key] = body
        else:
            assert (reply.status, reply.code) == refusal, reply.body
            refusals += 1
            if refusals == 5:
                break
    assert written and refusals == 5
    return written


def check_written(h, written):
    for key, body in {**BYSTANDERS, **written}.items():
        assert h.content(key) == body, key
    assert h.keys() == {*BYSTANDERS, *written}


FULL = (507, "InsufficientStorage")


def test_the_disk_is_full_for_a_while(faulty):
    """What was acknowledged stays, and writing goes on once there is room again."""
    faulty.arm(BUDGET, 3_000_000)
    written = fill(faulty, FULL)
    check_written(faulty, written)
    assert faulty.files("tmp") == []
    faulty.disarm()
    faulty.put("full/after", BIG_NEW)
    faulty.restart()
    written["full/after"] = BIG_NEW
    check_written(faulty, written)
    faulty.assert_swept(2 + sum(len(b) > INLINE for b in written.values()))


@contextlib.contextmanager
def small_disk():
    """A file system of its own of 8 MB; None where this process may not mount (containers without CAP_SYS_ADMIN)."""
    folder = tempfile.mkdtemp(prefix="lockset-disk-")
    may = int(re.search(r"CapEff:\t(\w+)", pathlib.Path("/proc/self/status").read_text()).group(1), 16) >> 21 & 1
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "none", folder], capture_output=True, check=False)
    try:
        assert done.returncode == 0 or not may or os.path.exists("/.dockerenv"), done.stderr
        yield folder if done.returncode == 0 else None
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "-l", folder], check=True)
        os.rmdir(folder)


def test_a_real_file_system_is_full_and_then_read_only(capfd):
    """As the kernel does it. Where nothing can be mounted, as the library above does it."""
    with small_disk() as folder, FaultyHarness(folder and folder + "/store") as h:
        for key, body in BYSTANDERS.items():
            h.put(key, body)
        if folder is None:
            h.arm(BUDGET, 6_000_000)
        written = fill(h, FULL)
        check_written(h, written)
        h.disarm()
        while len(written) > 20:  # room again
            key = max(written, key=lambda k: len(written[k]))
            h.delete(key)
            del written[key]
        h.put("full/again", BIG_NEW)
        written["full/again"] = BIG_NEW

        h.arm(FAIL_FROM, 0, errno.EROFS)  # as ext4 becomes after an error; nobody can make it so with files open
        for reply in (h.call("PUT", "full/again", body=SMALL_NEW), h.call("PUT", "full/again", body=BIG_OLD), h.call("DELETE", "z"),
                      h.begin("full/again")[1],
                      h.call("PUT", "k", headers={"x-amz-copy-source": f"/{BUCKET}/bystander/big"})):
            assert (reply.status, reply.code) == (500, "InternalError"), reply.body
        check_written(h, written)
        h.kill()
        if folder:
            subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
            h.disarm()
        with pytest.raises(AssertionError):
            h.start()
        assert h.process.wait(10) == 1
        assert "Read-only file system" in capfd.readouterr().err
        if folder:
            subprocess.run(["mount", "-o", "remount,rw", folder], check=True)
        h.disarm()
        h.start()
        check_written(h, written)
        h.put("full/once-more", BIG_OLD)
        written["full/once-more"] = BIG_OLD
        h.restart()
        check_written(h, written)
        h.assert_swept(2 + sum(len(b) > INLINE for b in written.values()))
        h.kill()  # nothing of the file system is open
