"""Faults of KMS and leases: throttling, failures, silence and lost connections are ridden through and never taken for the
customer's no; an AccessDenied that the next question doesn't confirm isn't one either."""
import pytest

from keyring_rig import Rig, now, wait_for
from kms_tools import WEST, Faults, Kms

SETTINGS = {"key.probe_interval": "1s", "key.full_check_interval": "2s", "key.kms_timeout": "500ms",
            "key.ride_through": "15s"}
FAULTS = {
    "throttled": {"fault": "throttle"},
    "internal": {"fault": "error", "error": "KMSInternalException", "message": "x"},
    "dependency": {"fault": "error", "error": "DependencyTimeoutException", "message": "x"},
    "unavailable": {"fault": "error", "error": "KeyUnavailableException", "message": "x"},
    "hanging": {"fault": "hang"},
    "dropped": {"fault": "drop"},
    "slower than the time-out": {"fault": "delay", "ms": 5000},
    "slow": {"fault": "delay", "ms": 100},
}
DENIED = {"fault": "error", "error": "AccessDeniedException", "message": "User: x is not authorized"}


@pytest.fixture(scope="module")
def rig():
    rig = Rig(SETTINGS)
    rig.kms = Kms(rig.root, WEST, "--fault-socket", str(rig.root / "fault.sock"))
    with rig:
        yield rig


@pytest.fixture
def faults(rig):
    faults = Faults(rig.root / "fault.sock")
    yield faults
    faults.clear()
    faults.close()


def probed_since(rig, org, began):
    """Has a probe that was sent after `began` been answered well? It moves the lease's end."""
    return wait_for(lambda: rig.expiry(org) > began + 15 - 0.5, 15, "a good probe")


def test_faults_are_ridden_through(rig, faults):
    orgs = {name: rig.made("ride-" + name.replace(" ", "-")) for name in FAULTS}
    began = now()
    numbers = {name: faults.set(**FAULTS[name], key=orgs[name][1]) for name in FAULTS}
    wait_for(lambda: now() > began + 3 and all(faults.hits(number) >= 3 for number in numbers.values()), 10,
             "three probes under each fault")
    states = rig.states()
    assert {states[org]["state"] for org, _ in orgs.values()} == {"AVAILABLE"}
    faults.clear()
    cleared = now()
    assert cleared - began < 14, "the faults lasted longer than is ridden through"
    for name, (org, _) in orgs.items():
        probed_since(rig, org, cleared)
        told = {s["state"] for _, s in rig.pushed_states(org, began)}
        assert told <= {"AVAILABLE"}, (name, told)


@pytest.mark.parametrize("operation", ["Decrypt", "DescribeKey", "GenerateDataKey", "Encrypt"])
def test_an_unconfirmed_no_is_none(rig, faults, operation):
    org, arn = rig.made(f"once-{operation.lower()}")
    began = now()
    number = faults.set(**DENIED, key=arn, operation=operation, calls=1)
    wait_for(lambda: faults.hits(number) == 1, 10, f"a {operation}")
    probed_since(rig, org, now())
    assert rig.state(org)["state"] == "AVAILABLE"
    assert {s["state"] for _, s in rig.pushed_states(org, began)} <= {"AVAILABLE"}


def test_a_confirmed_no_is_one(rig, faults):
    org, arn = rig.made("twice")
    faults.set(**DENIED, key=arn, operation="Decrypt")
    state = rig.wait_state(org, "UNAVAILABLE", "DENIED")
    assert state["aws_error"] == "AccessDeniedException"
    faults.clear()
    rig.wait_state(org, "AVAILABLE")


def test_no_good_answer_for_long_ends_it(rig, faults):
    org, arn = rig.made("too-long")
    began = now()
    faults.set("hang", key=arn)
    state = rig.wait_state(org, "UNAVAILABLE", "UNREACHABLE", timeout=25)
    assert now() - began > 14 and state["aws_error"] != "AccessDeniedException"
    faults.clear()
    rig.wait_state(org, "AVAILABLE")
