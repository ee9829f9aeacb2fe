"""Any process killed or frozen while documents are written: every acknowledged document is there, exactly once."""
import os
import signal
import threading
import time

import pytest

from lockset_dev import wait_for

FAST = {"key.probe_interval": "1s", "key.full_check_interval": "2s", "key.kms_timeout": "500ms", "key.ride_through": "5s"}


class Writer:
    """Writes small batches without end; a batch that was not acknowledged is sent again."""

    def __init__(self, org):
        self.org = org
        self.acknowledged = 0
        self.stopping = False
        self.wrong = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.stopping:
            batch = [{"_id": f"d{self.acknowledged + i:08}", "v": self.acknowledged + i} for i in range(5)]
            try:
                answer = self.org.add("c", batch, timeout=30)
            except OSError:
                time.sleep(0.1)
                continue
            if answer.status == 200:
                self.acknowledged += len(batch)
            elif answer.status not in (503, 429):
                self.wrong.append(answer)
                return
            else:
                time.sleep(0.1)

    def stop(self):
        self.stopping = True
        self.thread.join(60)
        assert not self.wrong, self.wrong[0]


def rounds(dev, org, victim, how, count, pause=3.0):
    writer = Writer(org)
    try:
        for _ in range(count):
            before = writer.acknowledged
            wait_for(lambda: writer.acknowledged > before, 40, what=f"writes going on ({victim}, {how})")
            pid = wait_for(lambda: dev.pid(victim(org)), 20, what=f"a process {victim(org)}")
            try:
                if how == "kill":
                    os.kill(pid, signal.SIGKILL)
                else:
                    os.kill(pid, signal.SIGSTOP)
                    time.sleep(pause)
                    os.kill(pid, signal.SIGCONT)
            except ProcessLookupError:
                pass
        before = writer.acknowledged
        wait_for(lambda: writer.acknowledged > before, 60, what="writes after the last round")
    finally:
        writer.stop()
    wait_for(lambda: org.is_answering("SELECT count(*) AS n FROM c"), 60)
    row = org.rows("SELECT count(*) AS n, count(DISTINCT _id) AS ids, max(v) AS top FROM c")[0]
    # The last batch may have been stored without its acknowledgement.
    assert row["n"] == row["ids"]
    assert writer.acknowledged <= row["n"] <= writer.acknowledged + 5, (writer.acknowledged, row)
    assert row["top"] == row["n"] - 1


VICTIMS = {
    "keyring": lambda org: "keyring",
    "api": lambda org: "api",
    "gateway": lambda org: f"gateway.{org.id}.",
    "engine": lambda org: f"engine.{org.id}.",
}


@pytest.mark.parametrize("how", ["kill", "freeze"])
@pytest.mark.parametrize("name", VICTIMS)
def test_one_process_at_a_time(dev_with, name, how):
    dev = dev_with(FAST)
    org = dev.create_org()
    org.create_collection("c")
    rounds(dev, org, VICTIMS[name], how, 2, pause=1.5)


@pytest.mark.long
@pytest.mark.parametrize("how", ["kill", "freeze"])
@pytest.mark.parametrize("name", VICTIMS)
def test_twenty_times_each(dev_with, name, how):
    dev = dev_with(FAST)
    org = dev.create_org()
    org.create_collection("c")
    rounds(dev, org, VICTIMS[name], how, 20)


def test_with_the_keyring_frozen_gateway_and_engine_end_with_their_lease(dev_with):
    dev = dev_with(FAST)
    org = dev.create_org()
    org.create_collection("c")
    assert org.add("c", [{"_id": "1"}]).status == 200
    engine, gateway, keyring = org.engine_pid(), org.gateway_pid(), dev.pid("keyring")
    os.kill(keyring, signal.SIGSTOP)
    try:
        wait_for(lambda: org.engine_pid() is None and org.gateway_pid() is None, 8, what="the end of both by themselves")
        assert engine and gateway
    finally:
        os.kill(keyring, signal.SIGCONT)
    wait_for(lambda: org.is_answering("SELECT count(*) AS n FROM c"), 30)
    assert org.count("c") == 1


def test_the_supervisor_killed_leaves_nothing_running_and_loses_nothing(dev_with):
    from lockset_dev import is_running
    dev = dev_with(FAST)
    org = dev.create_org()
    org.create_collection("c")
    writer = Writer(org)
    wait_for(lambda: writer.acknowledged >= 50, 30)
    pids = list(dev.pids().values())
    dev.kill()
    wait_for(lambda: not any(is_running(p) for p in pids), 5, what="the end of every process")
    writer.stop()
    dev.start()
    wait_for(lambda: org.is_answering("SELECT count(*) AS n FROM c"), 30)
    assert writer.acknowledged <= org.count("c") <= writer.acknowledged + 5
