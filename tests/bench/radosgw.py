"""A Ceph gateway on loopback for the time of a measurement: one monitor, one OSD that keeps everything in memory, SSE-KMS with keys
from its own settings. None where it isn't installed."""
import base64
import contextlib
import shutil
import socket
import subprocess

import boto3

from lockset_dev import wait_for

ACCESS, SECRET, BUCKET, KEY = "LOCKSETBENCHKEY", "bench-secret-of-the-ceph-gateway", "bench", "bench-key"
PROGRAMS = ("radosgw", "radosgw-admin", "ceph", "ceph-mon", "ceph-osd", "monmaptool")

SETTINGS = """[global]
fsid = 6a4f8f0e-0000-4000-8000-00000000beef
mon host = v1:{monitor}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr2 = false
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
run dir = {folder}
admin socket = {folder}/$name.asok
log file = {folder}/$name.log
pid file = {folder}/$name.pid
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data avail warn = 1
mon data avail crit = 0
[mon.a]
mon data = {folder}/mon
[osd.0]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 4294967296
osd class load list = *
osd class default list = *
[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port}
rgw data = {folder}/rgw
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = {keys}
rgw enable usage log = false
rgw enable ops log = false
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Radosgw:
    access, secret, bucket, key = ACCESS, SECRET, BUCKET, KEY

    def __init__(self, folder):
        self.folder, self.processes = folder, []
        self.port, monitor = free_port(), f"127.0.0.1:{free_port()}"
        for name in ("mon", "osd", "rgw"):
            (folder / name).mkdir(parents=True)
        self.settings = folder / "ceph.conf"
        keys = f"{KEY}={base64.b64encode(b'a key for measurements, no more!').decode()}"
        self.settings.write_text(SETTINGS.format(folder=folder, monitor=monitor, port=self.port, keys=keys))
        self.monitor = monitor

    def run(self, *words, check=True):
        done = subprocess.run([words[0], "-c", str(self.settings), *words[1:]], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0 or not check, (words, done.stderr[-2000:])
        return done

    def daemon(self, *words):
        with open(self.folder / "output", "ab") as log:
            self.processes.append(subprocess.Popen([words[0], "-c", str(self.settings), "-f", *words[1:]], stdin=subprocess.DEVNULL,
                                                   stdout=log, stderr=log, start_new_session=True))

    def start(self):
        map_file = str(self.folder / "monmap")
        subprocess.run(["monmaptool", "--create", "--clobber", "--fsid", "6a4f8f0e-0000-4000-8000-00000000beef", "--addv", "a",
                        f"[v1:{self.monitor}]", map_file], capture_output=True, check=True)
        self.run("ceph-mon", "-i", "a", "--mkfs", "--monmap", map_file)
        self.daemon("ceph-mon", "-i", "a")
        wait_for(lambda: self.run("ceph", "--connect-timeout", "5", "-s", check=False).returncode == 0, 60, what="the monitor")
        osd = "22222222-2222-4333-8444-555555555555"
        self.run("ceph", "osd", "new", osd)
        self.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)
        self.daemon("ceph-osd", "-i", "0")
        wait_for(lambda: "1 up" in self.run("ceph", "osd", "stat", check=False).stdout, 60, what="the OSD")
        self.daemon("radosgw", "-n", "client.rgw")
        wait_for(self.answers, 240, 0.5, "the Ceph gateway")
        self.run("radosgw-admin", "user", "create", "--uid=bench", "--display-name=bench", f"--access-key={ACCESS}", f"--secret-key={SECRET}")
        boto3.client("s3", endpoint_url=f"http://127.0.0.1:{self.port}", region_name="us-west-2", aws_access_key_id=ACCESS,
                     aws_secret_access_key=SECRET).create_bucket(Bucket=BUCKET)

    def answers(self):
        assert all(p.poll() is None for p in self.processes), (self.folder / "output").read_text(errors="replace")[-2000:]
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            return True
        return False

    def pids(self):
        """The gateway and the OSD: together they do what Lockset's gateway does."""
        return [p.pid for p in self.processes[1:]]

    def stop(self):
        for p in reversed(self.processes):
            p.kill()
            p.wait()


@contextlib.contextmanager
def radosgw(folder):
    if not all(shutil.which(p, path="/usr/bin:/usr/sbin:/bin") for p in PROGRAMS):
        yield None
        return
    server = Radosgw(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
