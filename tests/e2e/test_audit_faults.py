"""The audit ledger on a disk that fails, and killed at each of its writes: access stops being prolonged, ends as ever, and the chain
holds."""
import contextlib
import errno
import json
import mmap
import pathlib
import shutil
import struct
import subprocess

import pytest

from fault_rig import CHANGES, FAIL_FROM, KILL, SYNC, WRITE, memory_folder
from keyring_rig import Rig, built, gone, wait_for
from kms_proxy import error
from kms_tools import WEST


class Faulty(Rig):
    """A keyring whose ledgers' folder is on a disk that the test rules."""

    def __init__(self, **options):
        super().__init__(**options)
        self.plans = pathlib.Path(memory_folder("lockset-faults-"))
        plan = self.plans / "plan"
        plan.write_bytes(bytes(64))
        with open(plan, "r+b") as f:
            self.plan = mmap.mmap(f.fileno(), 64)
        self.environment = {"LD_PRELOAD": built("fault-io.so"), "FAULT_PLAN": str(plan), "FAULT_ROOT": str(self.data / "audit")}

    def __exit__(self, *rest):
        super().__exit__(*rest)
        shutil.rmtree(self.plans, ignore_errors=True)

    def arm(self, mode, at, code=errno.EIO, kinds=CHANGES):
        struct.pack_into("<7q", self.plan, 0, 1, mode, at, code, kinds, 0, 0)

    def disarm(self):
        struct.pack_into("<q", self.plan, 0, 0)

    @property
    def fired(self):
        return bool(struct.unpack_from("<q", self.plan, 48)[0])

    def ledger(self, org):
        return self.data / "audit" / WEST / org

    def records(self, org):
        lines = [line for p in sorted(self.ledger(org).glob("*.jsonl")) for line in p.read_bytes().split(b"\n")[:-1]]
        return [json.loads(line) for line in lines]


def verify(path):
    done = subprocess.run([built("lockset"), "audit", "verify", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_killed_at_each_write_and_sync_the_chain_goes_on():
    with Faulty() as rig:
        org, _ = rig.made()
        rig.wait_state(org, "AVAILABLE")
        for at in range(12):  # a record and its head, written alone or synced, and what follows
            rig.arm(KILL, at, kinds=WRITE | SYNC)
            with contextlib.suppress(OSError):  # it may be gone by now
                if at % 2:
                    rig.ask("audit", org=org, region=WEST, action="add_api_key", actor="operator")  # a synced one
            wait_for(lambda: rig.keyring.poll() is not None, 30, what="the keyring's end")
            assert rig.fired
            rig.disarm()
            before = len(rig.records(org))
            rig.restart()
            wait_for(lambda b=before: len(rig.records(org)) > b, 20, what="a further record")
        rig.wait_state(org, "AVAILABLE", timeout=20)
        rig.stop()
        verify(rig.data / "audit")
        assert not [r for r in rig.records(org) if r["kind"] in ("gap", "torn")]
        seqs = [r["seq"] for r in rig.records(org)]
        assert seqs == list(range(1, len(seqs) + 1))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS], ids=lambda c: errno.errorcode[c])
def test_a_disk_that_cannot_be_written_prolongs_nothing_and_holds_no_end_up(code):
    with Faulty(proxy=True) as rig:
        org, arn = rig.made()
        pair = rig.active(org)
        rig.arm(FAIL_FROM, 0, code)
        state = rig.wait_state(org, "UNAVAILABLE", "UNREACHABLE", timeout=20)
        assert "audit ledger can't be written" in state["reason"], state
        wait_for(lambda: gone(pair), 10, what="the end of the processes")
        assert not rig.create("another", rig.make_key())["ok"]
        rig.disarm()
        rig.wait_state(org, "AVAILABLE", timeout=20)
        pair = rig.active(org)
        rig.arm(FAIL_FROM, 0, code)
        rig.proxy.rules[arn] = lambda operation, key: error("DisabledException")
        rig.wait_state(org, "UNAVAILABLE", "DENIED", timeout=10)  # a refusal counts, recorded or not
        wait_for(lambda: gone(pair), 10, what="the end of the processes")
        assert rig.call("delete_org", org=org, actor="operator")["ok"]
        assert not rig.key_files(org)
        rig.disarm()
        assert rig.create("another", rig.make_key())["ok"]
        rig.stop()
        verify(rig.data / "audit")
