"""Large and small objects and ranges, in both directions, from two connections: the gateway beside nginx's plain files and Ceph's
gateway without and with SSE-KMS. MB/s, the servers' CPU seconds for a GB, and how long the slowest small GETs take."""
import contextlib
import json
import os
import pathlib
import subprocess
import tempfile

import gateway_tools
import nginx_files
import radosgw as ceph
from measure import BUILD, Figures, rounds, say

MIB = 1 << 20
CONNECTIONS = 2
# name, operation, bytes of an object, objects, requests in a round
WORK = [("put 16 MiB", "put", 16 * MIB, 6, 12), ("get 16 MiB", "get", 16 * MIB, 6, 24),
        ("put 64 KiB", "put", 65536, 200, 400), ("get 64 KiB", "get", 65536, 200, 2000),
        ("get 1 MiB of 256 MiB", "range", 256 * MIB, 1, 200)]


def cpu_seconds(pids):
    ticks = 0
    for pid in pids:
        with open(f"/proc/{pid}/stat", encoding="latin-1") as f:
            fields = f.read().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


class Server:
    """Where load goes to, and whose CPU time counts."""

    def __init__(self, port, pids, access="", secret="", bucket="x", headers=(), prefix="load-"):
        self.pids = pids
        self.options = ["--port", str(port), "--bucket", bucket, "--prefix", prefix, "--connections", str(CONNECTIONS)]
        self.options += ["--access-key", access, "--secret-key", secret] if access else ["--plain"]
        for header in headers:
            self.options += ["--header", header]

    def load(self, operation, size, objects, count, prefix):
        before = cpu_seconds(self.pids())
        options = [*self.options]
        options[options.index("--prefix") + 1] += prefix
        done = subprocess.run([str(BUILD / "s3-load"), *options, "--op", operation, "--size", str(size), "--objects", str(objects),
                               "--count", str(count)], capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stderr
        figures = json.loads(done.stdout)
        assert figures["errors"] == 0, done.stdout + done.stderr
        gigabytes = figures["bytes"] / 1e9
        return {"rate": figures["bytes"] / 1e6 / figures["seconds"], "cpu": (cpu_seconds(self.pids()) - before) / gigabytes,
                "p99": figures["p99_ms"]}


class Field:
    """in_memory: a gateway whose store is in memory, as that of the Ceph peer is; None if there is no such folder."""

    def __init__(self, ours, cached, in_memory, peers):
        self.ours, self.cached, self.in_memory, self.peers = ours, cached, in_memory, peers
        for server in (ours, *peers.values()):  # what the ranges are of
            server.load("put", 256 * MIB, 1, 1, "range-")
        cached.load("put", 65536, 200, 200, "64k-")
        for _ in range(3):  # so that it is in the cache
            cached.load("get", 65536, 200, 200, "64k-")

    def one_round(self, figures, _):
        for name, operation, size, objects, count in WORK:
            prefix = "range-" if operation == "range" else f"{size // 1024}k-"
            mine = self.ours.load(operation, size, objects, count, prefix)
            for peer, server in self.peers.items():
                theirs = server.load(operation, size, objects, count, prefix)
                figures.add(name, "MB/s", peer, mine["rate"], theirs["rate"])
                figures.add(name, "CPU s/GB", peer, mine["cpu"], theirs["cpu"])
                if (operation, size) == ("get", 65536):
                    figures.add(f"{name}, p99", "ms", peer, mine["p99"], theirs["p99"])
                if operation == "put" and self.in_memory and peer != "nginx":
                    unsynced = self.in_memory.load(operation, size, objects, count, prefix)
                    figures.add(f"{name}, store in memory", "MB/s", peer, unsynced["rate"], theirs["rate"])
                    figures.add(f"{name}, store in memory", "CPU s/GB", peer, unsynced["cpu"], theirs["cpu"])
        hit = self.cached.load("get", 65536, 200, 2000, "64k-")
        plain = self.peers["nginx"].load("get", 65536, 200, 2000, "64k-")
        figures.add("get 64 KiB from the cache, p99", "ms", "nginx", hit["p99"], plain["p99"])


def harness_server(harness):
    return Server(harness.port, lambda: [harness.process.pid], harness.access, harness.secret, gateway_tools.BUCKET)


def run(folder):
    with contextlib.ExitStack() as stack:
        harness = stack.enter_context(gateway_tools.Harness(folder / "load-store"))
        cached = stack.enter_context(gateway_tools.Harness(folder / "cached-store", cache=folder / "cache", cache_epoch_ms=300_000))
        in_memory = None
        if os.access("/dev/shm", os.W_OK):
            shared = stack.enter_context(tempfile.TemporaryDirectory(prefix="lockset-bench-", dir="/dev/shm"))
            in_memory = harness_server(stack.enter_context(gateway_tools.Harness(pathlib.Path(shared) / "store")))
        port, pids = stack.enter_context(nginx_files.nginx(folder / "load-nginx"))
        peers = {"nginx": Server(port, pids)}
        rgw = stack.enter_context(ceph.radosgw(folder / "ceph"))
        if rgw:
            peers["radosgw"] = Server(rgw.port, rgw.pids, rgw.access, rgw.secret, rgw.bucket, prefix="plain-")
            kms = ["x-amz-server-side-encryption: aws:kms", f"x-amz-server-side-encryption-aws-kms-key-id: {rgw.key}"]
            peers["radosgw, SSE-KMS"] = Server(rgw.port, rgw.pids, rgw.access, rgw.secret, rgw.bucket, kms, "sealed-")
        else:
            say("  gateway: radosgw is not installed; without it")
        field = Field(harness_server(harness), harness_server(cached), in_memory, peers)
        field.one_round(Figures(), 0)
        return rounds("gateway, load", field.one_round)
