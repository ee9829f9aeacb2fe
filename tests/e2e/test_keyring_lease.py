"""The lease and its two clocks: the keyring's, and the kernel's timers in the processes that it started."""
import base64
import json
import os
import re
import signal
import sqlite3
import struct
import time

import pytest

from keyring_rig import ACTIONS, QUICK, SERVICE_ROOT, Rig, built, freeze, gone, is_alive, now, thaw, wait_for
from kms_tools import WEST, deny

RIDE_S, PROBE_S, TIMEOUT_S = 3.0, 1.0, 0.5
LATE_S = 1.0  # how late this test may hear of something on a busy machine
# From a change of the key to the end of access with QUICK's settings: an interval, two time-outs, the processes' end.
BOUND_S = 2.0 + 2 * TIMEOUT_S + 2.0


@pytest.fixture(scope="module")
def rig():
    with Rig() as r:
        yield r


def armed(child):
    """The end of the lease that a process knows of."""
    lines = child.said("arm")
    return int(lines[-1][2]) / 1e3 if lines else 0.0


def both(pair):
    return pair["gateway"], pair["engine"]


def started(rig, name):
    org, arn = rig.made(name)
    pair = dict(rig.active(org))
    wait_for(lambda: all(armed(c) for c in both(pair)), what="leases for both processes")
    return org, arn, pair


def ended(pair):
    """Waits for the end of both processes."""
    wait_for(lambda: all(c.ended_at for c in both(pair)), RIDE_S + BOUND_S, "the processes' end")


# ---- Revocation ----

def test_processes_end_when_the_key_is_disabled_and_others_go_on(rig):
    org, arn, pair = started(rig, "first")
    other, _, bystanders = started(rig, "bystander")
    rig.customer.disable_key(KeyId=arn)
    began = now()
    ended(pair)
    last = max(c.ended_at for c in both(pair)) - began
    assert last < BOUND_S, f"{last:.2f} s"
    told = next(at for at, s in rig.pushed_states(org, began) if s["state"] == "UNAVAILABLE")
    assert all(c.ended_at >= told - 0.01 for c in both(pair)), "the api is told first, so that clients get the reason"
    assert pair["gateway"].said("end") and pair["gateway"].process.wait() == 0, "it wiped its keys and left"
    assert pair["engine"].process.wait() == -signal.SIGKILL
    wait_for(lambda: [m for _, m in rig.asked if m["op"] == "end" and m["org"] == org], what="word to the supervisor")
    answer = rig.call("activate", org=org, region=WEST)
    assert answer["code"] == "NO_LEASE" and answer["state"]["aws_error"] == "DisabledException", answer
    row = rig.database().execute("SELECT state, cause, aws_error FROM org_regions WHERE org = ?", (org,)).fetchone()
    assert row == ("UNAVAILABLE", "DENIED", "DisabledException")
    # Back: by itself, and with processes, because there were some.
    rig.customer.enable_key(KeyId=arn)
    rig.wait_state(org, "AVAILABLE")
    wait_for(lambda: rig.pairs[org]["engine"] is not pair["engine"] and rig.pairs[org]["engine"].said("arm"),
             what="a new pair")
    assert rig.pairs[org]["epoch"] > pair["epoch"]
    assert rig.state(other)["state"] == "AVAILABLE" and not gone(bystanders)
    assert not [1 for _, s in rig.pushed_states(other) if s["state"] != "AVAILABLE"]
    assert len(bystanders["gateway"].said("arm")) > 2


def test_a_gateway_that_ignores_the_end_is_killed(rig):
    rig.child_options["gateway"] = ["ignore-end"]
    try:
        org, arn, pair = started(rig, "stubborn")
    finally:
        rig.child_options["gateway"] = []
    freeze(pair["engine"].process.pid)
    rig.set_policy(arn, [a for a in ACTIONS if a != "kms:Encrypt"])
    began = now()
    ended(pair)
    assert pair["gateway"].said("end") and pair["gateway"].process.wait() == -signal.SIGKILL
    assert max(c.ended_at for c in both(pair)) - began < BOUND_S
    assert pair["gateway"].ended_at - pair["gateway"].said("end")[0][0] < 0.1 + LATE_S


def test_a_frozen_gateway_is_killed(rig):
    org, arn, pair = started(rig, "frozen")
    freeze(pair["gateway"].process.pid)
    rig.set_policy(arn, ACTIONS, deny(SERVICE_ROOT, ["kms:Decrypt"]))
    began = now()
    ended(pair)
    assert pair["gateway"].process.wait() == -signal.SIGKILL
    assert max(c.ended_at for c in both(pair)) - began < BOUND_S


def test_an_api_that_says_nothing_holds_nothing_up(rig):
    org, arn, pair = started(rig, "unheard")
    rig.acks = False
    try:
        rig.customer.disable_key(KeyId=arn)
        began = now()
        ended(pair)
    finally:
        rig.acks = True
    told = next(at for at, s in rig.pushed_states(org, began) if s["state"] == "UNAVAILABLE")
    assert 0.2 < min(c.ended_at for c in both(pair)) - told < 0.3 + LATE_S, "a quarter of a second to pass the reason on"


def test_a_registry_that_cannot_be_written_holds_nothing_up(rig):
    org, arn, pair = started(rig, "locked")
    holder = sqlite3.connect(rig.data / "registry.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        rig.customer.disable_key(KeyId=arn)
        began = now()
        ended(pair)
        assert max(c.ended_at for c in both(pair)) - began < BOUND_S
    finally:
        holder.execute("ROLLBACK")
        holder.close()
    wait_for(lambda: rig.database().execute("SELECT state FROM org_regions WHERE org = ?", (org,)).fetchone() ==
             ("UNAVAILABLE",), 12, "the state in the registry")


def test_asking_now_finds_out_now():
    with Rig({"key.probe_interval": "20s", "key.full_check_interval": "20s"}) as rig:
        org, arn, pair = started(rig, "asked")
        rig.set_policy(arn, ["kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"])
        began = now()
        answer = rig.call("recheck", org=org, region=WEST)
        assert answer["ok"] and not answer["passed"] and answer["state"]["state"] == "UNAVAILABLE", answer
        assert {c["check"] for c in answer["checks"] if not c["ok"]} == {
            "kms:Encrypt", "kms:GenerateDataKeyWithoutPlaintext"}
        ended(pair)
        assert now() - began < 2 + LATE_S
        rig.set_policy(arn)
        assert rig.call("recheck", org=org, region=WEST)["passed"]
        rig.wait_state(org, "AVAILABLE")


# ---- The timers ----

def test_timers_fire_when_the_keyring_is_frozen(rig):
    org, arn, pair = started(rig, "timers")
    freeze(rig.keyring.pid)
    expiry = [armed(c) for c in both(pair)]
    ended(pair)
    for child, at in zip(both(pair), expiry):
        assert armed(child) == at
        assert at - 0.05 <= child.ended_at < at + LATE_S, f"ended {child.ended_at - at:+.2f} s from its lease's end"
        assert child.process.wait() == -signal.SIGKILL
    thawed = now()
    thaw(rig.keyring.pid)
    # It finds that its own lease has passed as well, and begins anew.
    wait_for(lambda: any(s["state"] == "UNAVAILABLE" and s["cause"] == "UNREACHABLE"
                         for _, s in rig.pushed_states(org, thawed)), what="the lease's end")
    rig.wait_state(org, "AVAILABLE")
    wait_for(lambda: not gone(rig.pairs[org]) and rig.pairs[org]["epoch"] > pair["epoch"], what="a new pair")


def test_timers_fire_when_the_keyring_was_killed():
    with Rig() as rig:
        org, _, pair = started(rig, "orphans")
        freeze(pair["engine"].process.pid)  # no code of it has to run
        rig.keyring.kill()
        rig.keyring.wait()
        killed, expiry = now(), [armed(c) for c in both(pair)]
        wait_for(lambda: pair["gateway"].said("eof"), what="the keyring's end")
        ended(pair)
        for child, at in zip(both(pair), expiry):
            assert killed < at and at - 0.05 <= child.ended_at < at + LATE_S, "not before, not after its lease"
            assert child.process.wait() == -signal.SIGKILL
        rig.stop()
        rig.start()
        rig.wait_state(org, "AVAILABLE")
        assert rig.active(org)["epoch"] > pair["epoch"]


def test_processes_of_a_keyring_that_died_are_ended_by_the_next_one_when_the_key_is_refused():
    with Rig({"key.ride_through": "60s"}) as rig:
        org, arn, pair = started(rig, "heirs")
        rig.stop(signal.SIGKILL)
        rig.customer.disable_key(KeyId=arn)
        assert not gone(pair), "their leases are long"
        rig.asked.clear()
        rig.start()
        rig.wait_state(org, "UNAVAILABLE", "DENIED", 3)
        wait_for(lambda: [m for _, m in rig.asked if m["op"] == "end" and m["org"] == org], what="the order to end them")


def test_silence_is_ridden_through_by_both_clocks(rig):
    org, _, pair = started(rig, "silence")
    freeze(rig.kms.process.pid)
    began = now()
    try:
        ended(pair)
        told = wait_for(lambda: next((s for _, s in rig.pushed_states(org, began) if s["state"] == "UNAVAILABLE"), None))
    finally:
        thaw(rig.kms.process.pid)
    assert told["cause"] == "UNREACHABLE"
    for child in both(pair):
        assert began + RIDE_S - PROBE_S - TIMEOUT_S < armed(child) <= began + RIDE_S
        assert armed(child) - 0.05 <= child.ended_at < armed(child) + LATE_S
    rig.wait_state(org, "AVAILABLE")


def test_after_a_refusal_a_new_keyring_asks_twice(rig):
    """What was refused before a restart needs two preflights, apart, as without one; what was not needs one."""
    (refused, arn), (trusted, _) = rig.made("twice"), rig.made("once")
    rig.customer.disable_key(KeyId=arn)
    rig.wait_state(refused, "UNAVAILABLE", "DENIED")
    rig.stop(signal.SIGKILL)
    rig.customer.enable_key(KeyId=arn)
    began = now()
    rig.start()
    rig.wait_state(refused, "AVAILABLE")
    assert now() - began >= 2.0
    def told(org, otherwise=None):
        """When it was pushed that it is back; one that was back before the api connected is not pushed."""
        return next((at for at, s in rig.pushed_states(org, began) if s["state"] == "AVAILABLE"), otherwise)
    assert wait_for(lambda: told(refused), what="the push") - told(trusted, began) > 1.5, "the gap between two"


# ---- Somebody sets the wall clock ----

DAY_S = 86400


def test_leases_do_not_care_for_the_wall_clock(tmp_path):
    shift = tmp_path / "shift"

    def set_clock(seconds):
        with open(shift, "r+b") as f:
            f.write(struct.pack("=q", seconds * 10**9))
    shift.write_bytes(bytes(8))
    with Rig() as rig:
        rig.stop()
        rig.environment = {"LD_PRELOAD": built("clock-shift.so"), "CLOCK_SHIFT": str(shift)}
        rig.start()
        org, _, pair = started(rig, "shifted")
        for days in (3, -3, 4000, 0):
            set_clock(days * DAY_S)
            jumped = now()
            # KMS refuses the signature's time at first; the client takes KMS's clock.
            state = wait_for(lambda: (s := rig.state(org))["lease_expiry_boottime_ns"] / 1e9 > jumped + RIDE_S + 0.5 and s,
                             6, f"a longer lease after a jump by {days} days")
            assert abs(state["last_success_ms"] / 1e3 - time.time() - days * DAY_S) < 60, "the shift has worked"
            assert state["lease_expiry_boottime_ns"] / 1e9 <= now() + RIDE_S
        assert not [s for _, s in rig.pushed_states(org) if s["state"] == "UNAVAILABLE"]
        assert not gone(pair), "nothing has ended"
        # And the end comes when it has to, although by the wall clock it is earlier than ever.
        freeze(rig.kms.process.pid)
        set_clock(-30 * DAY_S)
        began = now()
        ended(pair)
        thaw(rig.kms.process.pid)
        assert max(c.ended_at for c in both(pair)) <= began + RIDE_S + LATE_S


# ---- Keys in memory ----

def data_keys(rig, org, arn):
    """The plaintext data keys, which the customer can always have KMS tell."""
    keys = []
    for path in rig.key_files(org):
        f = json.loads(path.read_text())
        keys.append(rig.customer.decrypt(KeyId=arn, CiphertextBlob=base64.b64decode(f["wrapped"]),
                                         EncryptionContext=f["encryption_context"])["Plaintext"])
    assert len(keys) == 2 and all(len(k) == 32 for k in keys)
    return keys


def pieces(keys):
    """What would give a key away: parts of it, as bytes, in base64 and in hex."""
    found = {}
    for number, key in enumerate(keys):
        for form, text in (("bytes", key), ("base64", base64.b64encode(key)), ("hex", key.hex().encode())):
            for i in range(0, len(text) - 11, 10):
                found[text[i:i + 12]] = (number, form)
    return found


def held_in_memory(pid, wanted):
    """Which of the keys, and in which form, the memory of a process holds."""
    pattern = re.compile(b"|".join(re.escape(p) for p in wanted))
    found = set()
    with open(f"/proc/{pid}/maps", encoding="ascii") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, rights, *_ = line.split()
            if "r" not in rights or line.rstrip().endswith(("[vvar]", "[vsyscall]")):
                continue
            start, end = (int(n, 16) for n in span.split("-"))
            try:
                memory.seek(start)
                content = memory.read(end - start)
            except OSError:
                continue  # a guard page
            found.update(wanted[m.group()] for m in pattern.finditer(content))
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read the keyring's memory")
def test_no_key_is_left_in_memory_after_a_refusal():
    with Rig() as rig:
        org, arn = rig.made("wiped")
        wanted = pieces(data_keys(rig, org, arn))
        pid = rig.keyring.pid
        # The gateway doesn't come, so that its keys wait for it: this shows that they would be found.
        rig.holds_starts = True
        rig.ask("activate", org=org, region=WEST)
        wait_for(lambda: {(0, "bytes"), (1, "bytes")} <= held_in_memory(pid, wanted), what="the keys in memory")
        rig.holds_starts = False
        rig.customer.disable_key(KeyId=arn)
        rig.wait_state(org, "UNAVAILABLE", "DENIED")
        wait_for(lambda: rig.call("activate", org=org, region=WEST)["code"] == "NO_LEASE")
        assert held_in_memory(pid, wanted) == set()
        # The same with a gateway that has got them, and after many probes, each of which brings the branch's key.
        rig.customer.enable_key(KeyId=arn)
        rig.wait_state(org, "AVAILABLE")
        pair = dict(rig.active(org))
        wait_for(lambda: len(pair["gateway"].said("arm")) >= 3, what="some probes")
        wait_for(lambda: held_in_memory(pid, wanted) == set(), 3, "a keyring without keys between two probes")
        rig.set_policy(arn, ACTIONS, deny(SERVICE_ROOT, ["kms:GenerateDataKey"]))
        rig.wait_state(org, "UNAVAILABLE", "DENIED")
        ended(pair)
        assert held_in_memory(pid, wanted) == set()
