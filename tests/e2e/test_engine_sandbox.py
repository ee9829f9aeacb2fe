"""The engine's walls: what the process can reach, how it ends, where it refuses to start."""
import os
import subprocess
import time

import pytest

from engine_launcher import Engine

NO_NAMESPACES = ("unshare", "-U", "-r", "sh", "-c",
                 "echo 0 > /proc/sys/user/max_user_namespaces;"
                 " exec setpriv --bounding-set=-all --inh-caps=-all \"$@\"", "sh")
UNPRIVILEGED = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups")


@pytest.fixture(params=["as it is", "unprivileged"])
def engine(request):
    prefix = UNPRIVILEGED if request.param == "unprivileged" else ()
    if prefix and os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    with Engine(prefix=prefix) as e:
        yield e


def status(pid):
    with open(f"/proc/{pid}/status") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def test_the_process_has_nothing_left(engine):
    s = status(engine.pid)
    assert all(int(s[name], 16) == 0 for name in ("CapEff", "CapPrm", "CapInh", "CapBnd", "CapAmb"))
    assert s["NoNewPrivs"] == "1" and s["Seccomp"] == "2"
    limits = open(f"/proc/{engine.pid}/limits").read()
    assert "Max core file size        0                    0" in limits


def test_its_root_holds_two_devices_and_its_data(engine):
    root = f"/proc/{engine.pid}/root"
    assert sorted(os.listdir(root)) == ["data", "dev"]
    assert sorted(os.listdir(root + "/dev")) == ["null", "urandom"]
    mounts = [line.split() for line in open(f"/proc/{engine.pid}/mountinfo")]
    assert sorted(m[4] for m in mounts) == ["/", "/data", "/dev/null", "/dev/urandom"]
    assert "ro" in next(m[5] for m in mounts if m[4] == "/").split(",")


@pytest.mark.parametrize("name", ["net", "mnt", "ipc", "uts", "cgroup"])
def test_its_namespaces_are_its_own(engine, name):
    assert os.readlink(f"/proc/{engine.pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}")


def test_its_network_is_lo_alone(engine):
    lines = open(f"/proc/{engine.pid}/net/dev").read().splitlines()[2:]
    assert [line.split(":")[0].strip() for line in lines] == ["lo"]


def test_it_holds_no_descriptor_of_others(engine):
    for fd in os.listdir(f"/proc/{engine.pid}/fd"):
        target = os.readlink(f"/proc/{engine.pid}/fd/{fd}")
        own = target.startswith(("/dev/null", "/data/", "socket:", "pipe:", "anon_inode:", "/dev/urandom"))
        assert own or target == engine.log_path or target == f"/proc/{engine.pid}/statm", target


def test_start_is_quick_and_the_log_has_one_line(engine):
    assert engine.start_s < 5
    while not engine.log() and time.monotonic() - engine.began < 10:  # READY comes first
        time.sleep(0.02)
    lines = engine.log().strip().splitlines()
    assert len(lines) == 1 and "engine.ready" in lines[0]
    print(f"exec to READY: {engine.start_s * 1000:.0f} ms")


def test_it_refuses_to_start_without_namespaces():
    engine = Engine(prefix=NO_NAMESPACES, wait=False)
    try:
        assert engine.wait() == 1
        assert "namespaces are not permitted" in engine.log() and "engine.allow_weak_isolation" in engine.log()
    finally:
        engine.kill()


def test_weak_isolation_is_asked_for_and_said():
    with Engine(prefix=NO_NAMESPACES, args=("--allow-weak-isolation",)) as engine:
        assert "engine.weak_isolation" in engine.log()
        assert engine.read("SELECT 1").text == "1\n"
        # Landlock still stands.
        assert engine.call("SELECT file('/etc/passwd')").code != 0


def test_the_dead_man_ends_it_when_nobody_renews():
    with Engine(lease_s=2) as engine:
        began = time.monotonic()
        assert engine.wait() == -9
        assert time.monotonic() - began < 3


def test_a_stopped_engine_dies_all_the_same():
    with Engine(lease_s=2) as engine:
        os.kill(engine.pid, 19)
        assert engine.wait() == -9


def test_renewal_keeps_it_and_the_end_of_the_lease_ends_it():
    with Engine(lease_s=2) as engine:
        engine.arm(60)
        time.sleep(2.5)
        assert engine.read("SELECT 1").text == "1\n"
        engine.end_lease()
        assert engine.wait(2) == 0


def test_it_outlives_the_keyring_but_not_the_lease():
    with Engine(lease_s=3) as engine:
        engine.keyring.close()
        time.sleep(1)
        assert engine.read("SELECT 1").text == "1\n"
        assert engine.wait(5) == -9


def test_it_dies_with_its_parent(tmp_path):
    script = tmp_path / "parent.py"
    folder = os.path.dirname(__file__)
    script.write_text(f"import sys, os; sys.path.insert(0, {folder!r})\n"
                      "from engine_launcher import Engine\n"
                      "e = Engine(); print(e.pid, flush=True); os.kill(os.getpid(), 9)\n")
    out = subprocess.run(["/usr/bin/python3", str(script)], capture_output=True, text=True, timeout=60)
    pid = int(out.stdout)
    for _ in range(50):
        if not os.path.exists(f"/proc/{pid}"):
            return
        time.sleep(0.05)
    raise AssertionError("the engine lives on")


@pytest.mark.parametrize("args", [[], ["--org", "o1"], ["--org", "o1", "--region", "r", "--epoch", "0"], ["--wrong"]])
def test_a_wrong_start_says_what_is_wrong(args):
    from engine_launcher import find_program
    out = subprocess.run([find_program("lockset-engine"), *args], capture_output=True, text=True, timeout=20)
    assert out.returncode == 1 and "engine.start_failed" in out.stderr
