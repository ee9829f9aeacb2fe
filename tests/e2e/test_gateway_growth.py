"""Nothing grows, however many requests come: descriptors, memory, threads, files in the store."""
import gc
import json
import os
import shutil
import subprocess

import pytest

from fault_rig import memory_folder
from gateway_tools import BUCKET, Harness
from keyring_rig import BUILD
from lockset_dev import wait_for

CONNECTIONS = 8


def load_program():
    return next(p for p in (BUILD / "s3-load", BUILD / "tests/bench/s3-load") if p.exists())


def mixed(h, count):
    """GET, PUT, HEAD, list, DELETE, ranges, what isn't there, bad signatures, uploads that are broken off, connections that end."""
    done = subprocess.run([str(load_program()), "--port", str(h.port), "--op", "mixed", "--count", str(count), "--connections",
                           str(CONNECTIONS), "--access-key", h.access, "--secret-key", h.secret, "--bucket", BUCKET],
                          capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["errors"] == 0, done.stderr[-2000:]
    return figures


def descriptors(h):
    return len(os.listdir(f"/proc/{h.process.pid}/fd"))


def settled(h):
    """Once the last connections are closed: descriptors, threads, memory in KiB."""
    wait_for(lambda: h.threads() <= settled.threads, 30, what="no more threads than before")
    wait_for(lambda: descriptors(h) <= settled.descriptors, 30, what="no more descriptors than before")
    return h.rss_kib()


def requests(count, cache):
    folder = memory_folder("lockset-growth-")
    gc.collect()
    try:
        with Harness(f"{folder}/store", cache=f"{folder}/cache" if cache else None) as h:
            settled.threads, settled.descriptors = h.threads(), descriptors(h)
            mixed(h, 5000)  # what is there from then on: pools, arenas, the levels of the listing
            before = settled(h)
            mixed(h, count)
            after = settled(h)
            print(f"{count} requests: {before} -> {after} KiB")
            assert after - before < 4 * 1024, f"{before} -> {after} KiB"
            wait_for(lambda: not any((h.store / "tmp").iterdir()), 30, what="no upload that was broken off")
            names = [p for p in (h.store / "names").rglob("*") if p.is_file()]
            bodies = [p for p in (h.store / "bodies").rglob("*") if p.is_file()]
            assert len(names) <= 250 and len(bodies) <= len(names), (len(names), len(bodies))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("cache", [False, True], ids=["plain", "with a cache"])
def test_nothing_grows(cache):
    requests(15_000, cache)


@pytest.mark.long
@pytest.mark.parametrize("cache", [False, True], ids=["plain", "with a cache"])
def test_nothing_grows_over_100_000_requests(cache):
    requests(100_000, cache)
