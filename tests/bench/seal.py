"""Sealing and opening on one core, beside OpenSSL's own AES-256-GCM over one endless message. Both in CPU time."""
import re
import subprocess

from measure import BUILD, rounds

MS = 500


def ours(what):
    done = subprocess.run([str(BUILD / "bench-seal"), what, str(MS)], capture_output=True, text=True, check=True, timeout=60)
    return float(done.stdout)


def openssl(*options):
    """Bytes a second of user time, as `openssl speed` counts."""
    done = subprocess.run(["openssl", "speed", "-mr", "-seconds", "1", "-bytes", "65536", *options, "-evp", "aes-256-gcm"],
                          capture_output=True, text=True, check=True, timeout=60)
    return float(re.search(r"^\+F:\d+:AES-256-GCM:([0-9.]+)", done.stdout, re.M).group(1))


def one_round(figures, _):
    def add(name, peer, value, other):
        figures.add(name, "GB/s", peer, value / 1e9, other / 1e9)

    sealing = ours("seal"), openssl(), ours("write")
    add("seal chunk 64 KiB", "openssl speed", sealing[0], sealing[1])
    add("seal object 16 MiB", "openssl speed", sealing[2], sealing[1])
    opening = ours("open"), openssl("-decrypt"), ours("read")
    add("open chunk 64 KiB", "openssl speed -decrypt", opening[0], opening[1])
    add("open object 16 MiB", "openssl speed -decrypt", opening[2], opening[1])


def run(_):
    return rounds("seal", one_round)
