"""S15: the gateway's cache is sealed under keys that are in memory only, and end in time, with the lease, and with the process."""
import os
import pathlib
import re
import secrets
import shutil
import signal
import subprocess

import pytest

from gateway_tools import BUCKET, Harness, connect, head_bytes, request, sign
from lockset_dev import Dev, http_call, wait_for

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may read the gateway's memory")
MARKER = secrets.token_hex(8).encode()  # 16 bytes, repeated: any 31 bytes of the content hold it
BIG, SMALL, LONG = 1 << 20, 20_000, 32 << 20  # the long one does not fit into sockets
PAGE = 4096


def content(size):
    return MARKER * (size // len(MARKER))


def memory(pid, locked_only=False):
    """What a process holds, mapping by mapping; or only what is locked: the home of keys."""
    found = []
    with open(f"/proc/{pid}/smaps", encoding="ascii") as smaps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for entry in re.split(r"\n(?=[0-9a-f]+-[0-9a-f]+ )", smaps.read()):
            first = entry.split("\n", 1)[0]
            span, rights, *_ = first.split()
            locked = " lo" in entry.rpartition("VmFlags:")[2]
            if "r" not in rights or first.endswith(("[vvar]", "[vsyscall]")) or (locked_only and not locked):
                continue
            start, end = (int(n, 16) for n in span.split("-"))
            try:
                mem.seek(start)
                found.append(mem.read(end - start))
            except OSError:
                continue  # a guard page
    return found


def holds(pid, wanted):
    return any(wanted in part for part in memory(pid))


def ctr(key, nonce, data):
    """AES-256-GCM without the check of its tag: counter mode from block 2 on."""
    done = subprocess.run(["openssl", "enc", "-d", "-aes-256-ctr", "-K", key.hex(), "-iv", (nonce + b"\0\0\0\2").hex()], input=data,
                          capture_output=True, check=True)
    return done.stdout


def decrypting_key(candidates, blocks, admitted):
    """The key under which some page of the cache's file begins a block that holds the marker; None if there is none. Nonces
    count from 0 under each key."""
    pages = [blocks[at:at + 64] for at in range(0, len(blocks), 16 * PAGE)]  # large blocks begin at rows of 16 pages
    for key in candidates:
        for number in range(admitted):
            nonce = number.to_bytes(8, "little") + b"\0\0\0\0"
            stream = ctr(key, nonce, bytes(64))
            if any(MARKER in bytes(a ^ b for a, b in zip(page, stream)) for page in pages):
                return key
    return None


def keys_in(pid):
    """Everything of 32 bytes in locked memory that could be a key."""
    return {part[at:at + 32] for part in memory(pid, locked_only=True) for at in range(0, len(part) - 31, 32)
            if len(set(part[at:at + 32])) > 12}


def get(h, name):
    reply = request(h, "GET", f"/{BUCKET}/{name}")
    assert reply.status == 200, reply.code
    return reply.body


@pytest.fixture
def folders(tmp_path):
    """A store with content, written by a process that is gone, and a place for the cache."""
    with Harness(tmp_path / "store") as h:
        for name, size in (("big", BIG), ("small", SMALL), ("long", LONG)):
            assert request(h, "PUT", f"/{BUCKET}/{name}", body=content(size)).status == 200
    return tmp_path


def warmed(h):
    for _ in range(3):
        assert get(h, "big") == content(BIG) and get(h, "small") == content(SMALL)
    counts = h.cache_counts()
    assert counts["hits"] >= 18 and counts["keys"] >= 1 and counts["admitted"] >= 18, counts
    return counts


def cached_bytes(folder):
    return (folder / "cache/blocks").read_bytes()


@root_only
@pytest.mark.parametrize("how", ["time", "lease"])
def test_afterwards_neither_disk_nor_memory_yields_anything(folders, how):
    with Harness(folders / "store", cache=folders / "cache", cache_epoch_ms=30_000 if how == "lease" else 8_000) as h:
        pid = h.process.pid
        counts = warmed(h)
        copy = cached_bytes(folders)
        assert len(copy) > BIG and MARKER not in copy
        # While the epoch lasts, whoever reads the process's memory can open the copy: this test could fail.
        key = decrypting_key(keys_in(pid), copy, counts["admitted"])
        assert key is not None and holds(pid, key)
        # And a marker in memory would be found: one is, while an answer is under way.
        with connect(h) as s:
            s.sendall(head_bytes("GET", f"/{BUCKET}/long", sign(h, "GET", f"/{BUCKET}/long")))
            wait_for(lambda: holds(pid, MARKER), 5, what="plaintext on its way out")
        if how == "time":
            wait_for(lambda: h.cache_counts()["keys"] == 0, 20, what="the end of the epoch")
            assert h.cache_counts()["expired"] == counts["admitted"]
        else:
            assert h.order("end") == "ended"
        wait_for(lambda: not holds(pid, MARKER), 5, what="the end of the answer that was cut")
        assert not holds(pid, key)
        assert decrypting_key(keys_in(pid), copy, counts["admitted"]) is None
        assert MARKER not in cached_bytes(folders)
        if how == "time":
            assert cached_bytes(folders) == b""  # given back
            warmed(h)  # and all begins anew
        else:
            assert request(h, "GET", f"/{BUCKET}/big").status == 403


def test_a_kill_leaves_noise(folders):
    with Harness(folders / "store", cache=folders / "cache") as h:
        warmed(h)
        h.process.send_signal(signal.SIGKILL)
        h.process.wait()
        left = cached_bytes(folders)
        assert len(left) > BIG and MARKER not in left
    (folders / "cache/blocks").write_bytes(left + os.urandom(PAGE))
    with Harness(folders / "store", cache=folders / "cache") as h:
        assert cached_bytes(folders) == b""
        assert h.cache_counts()["blocks"] == 0
        warmed(h)


def test_damage_is_read_again_from_the_store(folders):
    with Harness(folders / "store", cache=folders / "cache") as h:
        warmed(h)
        path = folders / "cache/blocks"
        damaged = bytearray(path.read_bytes())
        for at in range(7, len(damaged), PAGE):
            damaged[at] ^= 1
        with open(path, "r+b") as f:
            f.write(damaged)
        before = h.cache_counts()
        assert get(h, "big") == content(BIG) and get(h, "small") == content(SMALL)
        after = h.cache_counts()
        assert after["hits"] == before["hits"] and after["damaged"] >= 17
        with open(path, "r+b") as f:
            f.truncate(0)
        warmed(h)


def test_a_scan_does_not_evict_what_is_hot(folders):
    with Harness(folders / "store", cache=folders / "cache", cache_bytes=4 << 20) as h:
        scan = os.urandom(24 << 20)
        assert request(h, "PUT", f"/{BUCKET}/scan", body=scan).status == 200
        for _ in range(3):
            warmed(h)
        for _ in range(3):
            assert get(h, "scan") == scan
        before = h.cache_counts()
        assert before["evicted"] > 300 and before["bytes"] <= 4 << 20, before
        assert get(h, "big") == content(BIG)
        after = h.cache_counts()
        assert (after["hits"] - before["hits"], after["misses"]) == (17, before["misses"])  # its record and 16 chunks
        assert (folders / "cache/blocks").stat().st_size <= 4 << 20


def filled(dev):
    org = dev.create_org()
    org.create_collection("c")
    for _ in range(3):
        assert org.add("c", [{"_id": secrets.token_hex(8), "word": MARKER.decode(), "n": i} for i in range(500)]).status == 200
    for _ in range(5):
        assert org.rows("SELECT count(*) AS n, max(word) AS w FROM c") == [{"n": 1500, "w": MARKER.decode()}]
    return org


def test_revocation_ends_it_with_the_gateway():
    with Dev({"cache.epoch": "5s"}) as dev:
        org = filled(dev)
        folder = dev.data / "cache" / org.region / org.id

        def query_until(condition, what):
            wait_for(lambda: org.rows("SELECT max(word) AS w, max(n) AS n FROM c") and condition(), 30, what=what)

        query_until(lambda: re.search(r"cache\.used .*hits=[1-9]", dev.log()), "the cache's figures in the log")
        def hits():
            metrics = http_call(dev.api, "GET", "/metrics").body.decode()
            return int(re.search(r"^lockset_cache_hits_total (\d+)$", metrics, re.M).group(1))
        query_until(lambda: hits() > 0, "hits in the metrics")
        query_until(lambda: (folder / "blocks").stat().st_size > PAGE, "blocks in the cache")
        copy = dev.data / "copied"
        shutil.copytree(folder, copy)
        assert all(p.stat().st_mode & 0o077 == 0 for p in (folder, *folder.iterdir()))
        assert (copy / "blocks").stat().st_size > PAGE
        pid = org.gateway_pid()
        org.disable_key()
        org.wait_state("UNAVAILABLE")
        # The keys were this process's; no other has them.
        wait_for(lambda: not pathlib.Path(f"/proc/{pid}/mem").exists(), 20, what="the gateway's end")
        assert MARKER not in (copy / "blocks").read_bytes()
        wait_for(lambda: not folder.exists(), 5, what="the noise to be removed")
        org.enable_key()
        org.wait_state("AVAILABLE")
        wait_for(lambda: org.is_answering("SELECT max(word) AS w FROM c"), 30)


def test_without_a_cache():
    with Dev({"cache.max_bytes": "0"}) as dev:
        filled(dev)
        assert not (dev.data / "cache").exists()


def test_a_folder_that_cannot_be_had_means_no_cache():
    dev = Dev()
    (dev.data / "cache").write_text("in the way")
    with dev:
        filled(dev)
        assert "cache.off" in dev.log()
        assert (dev.data / "cache").read_text() == "in the way"
