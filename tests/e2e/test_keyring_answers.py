"""The closed table of what KMS may answer: which answers end a lease at once, and which only let ride-through run; a KMS
that says yes and no by turns."""
import random
import socket
import ssl
import subprocess
import time

import pytest

from keyring_rig import Rig, now, wait_for
from kms_proxy import HANG, PASS, KmsProxy, Raw, Slow, answer, error
from kms_tools import CUSTOMER, SERVICE, WEST

RIDE_S, TIMEOUT_S, PROBE_S, FULL_S = 6.0, 0.5, 1.0, 2.0
LATE_S = 1.0  # how late this test may hear of something on a busy machine
SETTINGS = {"key.probe_interval": "1s", "key.full_check_interval": "2s", "key.kms_timeout": "500ms",
            "key.ride_through": "6s"}
ARN = "arn:aws:kms:us-west-2:111122223333:key/mrk-0123456789abcdef0123456789abcdef"
FOREIGN = (f"User: arn:aws:iam::{SERVICE}:root is not authorized to perform: kms:Decrypt on this resource because the "
           "resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy "
           "explicitly denies access")
DENIED = error("AccessDeniedException", FOREIGN, member="Message")


def always(reply):
    return lambda operation, arn: reply


def only(operation, reply):
    return lambda asked, arn: reply if asked == operation else PASS


def shown(**changes):
    """DescribeKey answers with changes (None: left out); everything else goes to KMS."""
    return lambda asked, arn: described(arn, **changes) if asked == "DescribeKey" else PASS


def described(arn, **changes):
    metadata = {"AWSAccountId": CUSTOMER, "Arn": arn, "CreationDate": 1.7e9, "CustomerMasterKeySpec": "SYMMETRIC_DEFAULT",
                "Description": "", "Enabled": True, "EncryptionAlgorithms": ["SYMMETRIC_DEFAULT"],
                "KeyId": arn.rpartition("/")[2], "KeyManager": "CUSTOMER", "KeySpec": "SYMMETRIC_DEFAULT",
                "KeyState": "Enabled", "KeyUsage": "ENCRYPT_DECRYPT", "MultiRegion": True, "Origin": "AWS_KMS",
                "MultiRegionConfiguration": {"MultiRegionKeyType": "PRIMARY", "PrimaryKey": {
                    "Arn": arn, "Region": "us-west-2"}, "ReplicaKeys": []}, **changes}
    return answer(200, {"KeyMetadata": {k: v for k, v in metadata.items() if v is not None}})


def refused_then(rest):
    """The first question of each operation is refused; afterwards it is `rest`."""
    asked = set()

    def rule(operation, arn):
        first = operation not in asked
        asked.add(operation)
        return DENIED if first else rest
    return rule


# name: (rule, AWS's error code as it is told)
REFUSALS = {
    "access-denied": (always(DENIED), "AccessDeniedException"),
    "access-denied-namespaced": (always(error("com.amazon.coral.service#AccessDeniedException", FOREIGN)),
                                 "AccessDeniedException"),
    "access-denied-403": (always(error("AccessDeniedException", "x", 403)), "AccessDeniedException"),
    "access-denied-with-url": (always(error("AccessDeniedException:http://internal.amazon.com/coral/", "x")),
                               "AccessDeniedException"),
    "disabled": (always(error("DisabledException", ARN + " is disabled.")), "DisabledException"),
    "disabled-409": (always(error("DisabledException", ARN + " is disabled.", 409)), "DisabledException"),
    "disabled-without-a-message": (always(error("DisabledException", None)), "DisabledException"),
    "pending-deletion": (always(error("KMSInvalidStateException", ARN + " is pending deletion.")),
                         "KMSInvalidStateException"),
    "pending-import": (always(error("KMSInvalidStateException", ARN + " is pending import.")),
                       "KMSInvalidStateException"),
    "not-found": (always(error("NotFoundException", f"Key '{ARN}' does not exist")), "NotFoundException"),
    "invalid-arn": (always(error("InvalidArnException", "Invalid arn us-west-2")), "InvalidArnException"),
    "invalid-usage": (always(error("InvalidKeyUsageException", "x")), "InvalidKeyUsageException"),
    "decrypt": (only("Decrypt", DENIED), "AccessDeniedException"),
    "encrypt": (only("Encrypt", DENIED), "AccessDeniedException"),
    "generate": (only("GenerateDataKey", DENIED), "AccessDeniedException"),
    "generate-without": (only("GenerateDataKeyWithoutPlaintext", DENIED), "AccessDeniedException"),
    "describe": (only("DescribeKey", DENIED), "AccessDeniedException"),
    "refused-then-silent": (refused_then(HANG), "AccessDeniedException"),
    "refused-then-broken": (refused_then(answer(500)), "AccessDeniedException"),
    "shown-disabled": (shown(KeyState="Disabled", Enabled=False), "DisabledException"),
    "shown-pending": (shown(KeyState="PendingDeletion", Enabled=False, DeletionDate=time.time() + 1e6),
                      "KMSInvalidStateException"),
    "shown-unavailable": (shown(KeyState="Unavailable"), "KMSInvalidStateException"),
    "shown-another-usage": (shown(KeyUsage="SIGN_VERIFY"), "InvalidKeyUsageException"),
}
SILENCES = {
    "throttled": always(error("ThrottlingException", "You have exceeded the rate at which you may call KMS. Reduce the "
                              "frequency of your calls.")),
    "limit": always(error("LimitExceededException", "x")),
    "internal": always(error("KMSInternalException", "x", 500)),
    "dependency": always(error("DependencyTimeoutException", "x", 503)),
    "key-unavailable": always(error("KeyUnavailableException", "x", 500)),
    "creating": always(error("KMSInvalidStateException", ARN + " is creating.")),
    "updating": always(error("KMSInvalidStateException", ARN + " is updating.")),
    "validation": always(error("ValidationException", "x")),
    "unsupported": always(error("UnsupportedOperationException", None)),
    "dry-run": always(error("DryRunOperationException", "x", 412)),
    "unknown-code": always(error("SomethingNewException", "x")),
    "bad-token": always(error("UnrecognizedClientException", "The security token included in the request is invalid.")),
    "expired-token": always(error("ExpiredTokenException", "x")),
    "bad-signature": always(error("InvalidSignatureException", "The request signature we calculated does not match")),
    "skew": always(error("InvalidSignatureException", "Signature expired: 20261124T035244Z is now earlier than ...")),
    "400-empty": always(answer(400)),
    "400-no-code": always(answer(400, {"message": "no"})),
    "403-page": always(answer(403, b"<html>Forbidden by the proxy</html>")),
    "404-page": always(answer(404, b"not here")),
    "408": always(answer(408)),
    "429": always(answer(429)),
    "500-page": always(answer(500, b"<html>oops</html>")),
    "502": always(answer(502)),
    "503-empty": always(answer(503)),
    "504": always(answer(504)),
    "no-answer": always(HANG),
    "closed": always(Raw()),
    "no-http": always(Raw(b"\x16\x03\x01\x02\x00 what is this")),
    "dripping": always(Raw(answer(200, b"x" * 500), step=1)),
    "cut-off": always(Raw(answer(200, {"KeyId": ARN})[:-4])),
    "200-empty": always(answer(200)),
    "200-no-members": always(answer(200, {})),
    "200-page": always(answer(200, b"<html>Please log in</html>")),
    "200-list": always(answer(200, [1])),
    "200-another-key": always(answer(200, {"KeyId": ARN, "Plaintext": "AAAA", "CiphertextBlob": "AAAA"})),
    "200-huge": always(answer(200, b" " * 300_000)),
    "204": always(Raw(b"HTTP/1.1 204 No Content\r\n\r\n")),
    "denied-in-a-200": always(answer(200, {"__type": "AccessDeniedException", "Message": FOREIGN})),
}
# Ciphertexts that KMS doesn't know: not the customer's no. Told to the operator, ridden through.
CORRUPTIONS = {
    "invalid-ciphertext": only("Decrypt", error("InvalidCiphertextException", None)),
    "incorrect-key": only("Decrypt", error("IncorrectKeyException", "The key ID in the request does not identify a CMK "
                                           "that can perform this operation.")),
}
# Nothing is the matter.
GOOD = {
    "updating": shown(KeyState="Updating"),
    "old-spec-member": shown(KeySpec=None, Description=None, XNew={"a": [1]}),
    "untouched": always(PASS),
}


class Org:
    def __init__(self, rig, name, rule):
        self.rig, self.name, self.rule = rig, name, rule
        self.org, self.arn = rig.made(name)

    def begin(self):
        self.began = now()
        self.rig.proxy.rules[self.arn] = self.rule

    def ended(self):
        """The first push that says it is UNAVAILABLE since begin: (time, state), or None."""
        return next(((at, s) for at, s in self.rig.pushed_states(self.org, self.began) if s["state"] == "UNAVAILABLE"), None)


@pytest.fixture(scope="module")
def outcomes():
    """Every answer at once, each to an organization of its own; what became of their leases."""
    with Rig(SETTINGS, proxy=True) as rig:
        orgs = {}
        for kind, table in (("refusal", REFUSALS), ("silence", SILENCES), ("corruption", CORRUPTIONS), ("good", GOOD)):
            for name, row in table.items():
                rule = row[0] if kind == "refusal" else row
                orgs[kind, name] = Org(rig, f"{kind}-{name}"[:40], rule)
        elsewhere = socket.create_server(("127.0.0.1", 0))
        target = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/"
        orgs["silence", "redirect"] = Org(rig, "redirect", always(answer(307, b"", f"Location: {target}")))
        past = shown(KeyState="PendingDeletion", Enabled=False, DeletionDate=time.time() - 60)
        gone = error("KMSInvalidStateException", ARN + " is pending deletion.")
        orgs["destroyed", "destroyed"] = Org(rig, "destroyed", lambda operation, arn: past(operation, arn) or gone)
        assert len(rig.states()) == len(orgs)
        for o in orgs.values():
            o.begin()
        # By now no answer of before can be on its way any more: so long the leases run, and no longer.
        wait_for(lambda: now() > o.began + 2 * TIMEOUT_S)
        states = rig.states()
        for o in orgs.values():
            o.expiry = states[o.org]["lease_expiry_boottime_ns"] / 1e9
        last = wait_for(lambda: all(o.ended() for (kind, _), o in orgs.items() if kind != "good"), RIDE_S + FULL_S + 4,
                        "the end of every lease") and now()
        elsewhere.settimeout(0.01)
        with pytest.raises(TimeoutError):
            elsewhere.accept()
        elsewhere.close()
        states = rig.states()
        for o in orgs.values():
            o.now = states[o.org]
        yield rig, orgs, last


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_end_the_lease_at_once(outcomes, name):
    rig, orgs, _ = outcomes
    o = orgs["refusal", name]
    at, state = o.ended()
    assert state["cause"] == "DENIED" and state["aws_error"] == REFUSALS[name][1], state
    assert o.arn in state["reason"] and state["lease_expiry_boottime_ns"] == 0
    first = rig.proxy.of(o.arn, since=o.began)
    no = next(s for s in first if s.outcome != "good" or name.startswith("shown"))
    assert at - no.at < (FULL_S if name.startswith("shown") else 0) + 2 * TIMEOUT_S + LATE_S, "soon after the first no"
    assert at - o.began < FULL_S + 2 * TIMEOUT_S + LATE_S < RIDE_S, f"ended {at - o.began:.2f} s after the change"
    # The same question was put twice before anything ended.
    asked = [s for s in first if s.at <= at]
    assert any(sum(s.operation == other.operation for s in asked) >= 2 for other in asked), [s.operation for s in asked]


@pytest.mark.parametrize("name", [*SILENCES, "redirect"])
def test_silence_is_ridden_through_and_then_ends_it(outcomes, name):
    rig, orgs, _ = outcomes
    o = orgs["silence", name]
    at, state = o.ended()
    assert state["cause"] == "UNREACHABLE", state
    assert "aws kms enable-key" not in state["reason"] and "by itself" in state["reason"]
    good = [s for s in rig.proxy.of(o.arn, "Decrypt") if s.outcome == "good" and s.at < o.began + 2 * TIMEOUT_S]
    assert o.began + RIDE_S / 2 < o.expiry <= good[-1].at + RIDE_S
    assert o.expiry <= at < o.expiry + LATE_S, f"ended {at - o.expiry:+.2f} s from its end"


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_ciphertexts_that_kms_does_not_know_are_the_operators_matter(outcomes, name):
    rig, orgs, _ = outcomes
    o = orgs["corruption", name]
    at, state = o.ended()
    assert state["cause"] == "UNREACHABLE" and "does not recognise" in state["reason"], state
    assert at - o.began > RIDE_S - PROBE_S - 0.5
    assert "key.corruption" in rig.log_text()


@pytest.mark.parametrize("name", GOOD)
def test_nothing_ends_for_what_is_no_trouble(outcomes, name):
    _, orgs, last = outcomes
    o = orgs["good", name]
    assert o.ended() is None and o.now["state"] == "AVAILABLE"
    assert o.now["lease_expiry_boottime_ns"] / 1e9 > last + RIDE_S - PROBE_S - TIMEOUT_S - LATE_S


def test_a_deletion_date_that_has_passed_is_told_as_destroyed(outcomes):
    _, orgs, _ = outcomes
    o = orgs["destroyed", "destroyed"]
    wait_for(lambda: o.rig.state(o.org)["cause"] == "DESTROYED", 8, "DESTROYED")
    assert "was deleted" in o.rig.state(o.org)["reason"]


def test_all_of_them_come_back_when_kms_answers_again(outcomes):
    rig, orgs, _ = outcomes
    rig.proxy.rules.clear()
    began = now()
    wait_for(lambda: {s["state"] for s in rig.states().values()} == {"AVAILABLE"}, 12, "AVAILABLE")
    assert now() - began < 3 + 2 + 2 * TIMEOUT_S + 2 * LATE_S
    wait_for(lambda: rig.database().execute("SELECT count(*) FROM org_regions WHERE state = 'AVAILABLE'").fetchone() ==
             (len(orgs),), what="the same in the registry")


# ---- A KMS that says yes and no by turns ----

FLAP_RIDE_S, FLAP_S, GAP_S = 4.0, 10.0, 2.0


def by_turns():
    count = iter(range(1 << 30))
    return lambda operation, arn: DENIED if next(count) % 2 else PASS


def by_chance(share):
    chance = random.Random(7)
    return lambda operation, arn: DENIED if chance.random() < share else PASS


def by_time(yes_s, no_s):
    return lambda operation, arn: PASS if now() % (yes_s + no_s) < yes_s else DENIED


def one_by_turns(which):
    count = iter(range(1 << 30))
    return lambda operation, arn: DENIED if operation == which and next(count) % 2 else PASS


FLAPS = {"turns": by_turns, "half": lambda: by_chance(0.5), "few": lambda: by_chance(0.15), "second": lambda: by_time(1, 1),
         "short": lambda: by_time(0.3, 0.3), "long": lambda: by_time(2.9, 1.1), "longer": lambda: by_time(4.5, 2.2),
         "encrypt": lambda: one_by_turns("Encrypt"), "decrypt": lambda: one_by_turns("Decrypt")}


def check_flapping(rig, o, pair):
    pushes = rig.pushed_states(o.org)
    asked = rig.proxy.of(o.arn)
    decrypted = [s for s in asked if s.operation == "Decrypt" and s.outcome == "good"]
    ends = [at for at, s in pushes if s["state"] == "UNAVAILABLE" and at >= o.began]
    phase = "AVAILABLE"
    for at, state in pushes:
        if state["state"] == "AVAILABLE":
            latest = max(s.at for s in decrypted if s.at <= at)
            assert state["lease_expiry_boottime_ns"] / 1e9 <= latest + FLAP_RIDE_S, (o.name, at - o.began)
        if state["state"] == "AVAILABLE" and phase == "UNAVAILABLE":
            # Restored for good: two whole preflights, apart, with nothing but yes in between.
            no = max(s.at for s in asked if s.outcome == "refused" and s.at < at)
            assert at - no >= GAP_S, f"{o.name}: a lease {at - no:.2f} s after a no"
            assert sum(s.outcome == "good" and no < s.at <= at for s in asked) >= 10, o.name
        phase = state["state"]
    # No and no again to the same question ends it; Decrypt is also asked for other reasons where there is a pair.
    for operation in {s.operation for s in asked} - ({"Decrypt"} if pair else set()):
        answers = [s for s in asked if s.operation == operation and s.at >= o.began]
        for first, second in zip(answers, answers[1:]):
            if first.outcome == second.outcome == "refused" and state_at(pushes, first.at) == "AVAILABLE":
                assert any(first.at < at < second.at + LATE_S for at in ends), (o.name, operation, second.at - o.began)
    for child in pair.get("all", []):
        for at, *words in child.lines:
            if words[0] == "arm":
                assert int(words[1]) / 1e3 <= max(s.at for s in decrypted if s.at <= at) + FLAP_RIDE_S, o.name
        for end in ends:
            assert child.began > end or child.ended_at and child.ended_at < end + 0.5 + LATE_S, (o.name, "a process lives on")
    return len(ends)


def state_at(pushes, at):
    return next((s["state"] for when, s in reversed(pushes) if when <= at), None)


def test_yes_and_no_by_turns():
    settings = {**SETTINGS, "key.ride_through": f"{FLAP_RIDE_S:.0f}s"}
    with Rig(settings, proxy=True) as rig:
        orgs = [Org(rig, f"{name}-{kind}", make()) for name, make in FLAPS.items() for kind in ("alone", "pair")]
        for o in orgs:
            if o.name.endswith("-pair"):
                rig.active(o.org)
        for o in orgs:
            o.begin()
        wait_for(lambda: now() > orgs[0].began + FLAP_S, FLAP_S + 1)
        restored = now()
        rig.proxy.rules.clear()
        wait_for(lambda: {s["state"] for s in rig.states().values()} == {"AVAILABLE"}, 8, "AVAILABLE")
        # For good: each lease is extended by a probe of after that.
        wait_for(lambda: all(s["lease_expiry_boottime_ns"] / 1e9 > restored + 3 + GAP_S + FLAP_RIDE_S
                             for s in rig.states().values()), 10, "longer leases")
        ended = {o.name: check_flapping(rig, o, rig.pairs.get(o.org, {})) for o in orgs}
        assert all(n > 0 for name, n in ended.items() if not name.startswith(("long-", "few-"))), ended


def test_one_no_that_is_taken_back_ends_nothing_but_earns_no_longer_lease_at_once():
    with Rig({**SETTINGS, "key.ride_through": "20s"}, proxy=True) as rig:
        count = iter(range(1 << 30))
        o = Org(rig, "once", lambda operation, arn: DENIED if operation == "Decrypt" and next(count) == 0 else PASS)
        o.begin()

        def answers():
            return [s.outcome for s in rig.proxy.of(o.arn, "Decrypt", o.began)]
        seen = {}  # how many answers to Decrypt had come when the lease's end was still the old one

        def extended():
            at, n = rig.expiry(o.org), len(answers())
            seen[at > before] = n
            return at > before
        before = rig.expiry(o.org)
        wait_for(extended, 10, "a longer lease")
        assert answers()[:5] == ["refused", "good", "good", "good", "good"], answers()
        assert seen[True] >= 5, "it takes the confirmation and three more"
        assert o.ended() is None


def test_a_lease_counts_from_the_sending_of_the_question():
    with Rig(SETTINGS, proxy=True) as rig:
        o = Org(rig, "slow", always(Slow(0.35)))
        o.begin()

        def counted():
            expiry = rig.expiry(o.org)
            asked = [s.at for s in rig.proxy.of(o.arn, "Decrypt", o.began) if s.outcome == "good"]
            return len(asked) >= 4 and min(abs(expiry - RIDE_S - at) for at in asked) < 0.1
        wait_for(counted, 10, "a lease that begins at a question's sending")
        for at, state in rig.pushed_states(o.org, o.began):
            latest = max(s.at for s in rig.proxy.of(o.arn, "Decrypt") if s.at <= at - 0.3)
            assert state["lease_expiry_boottime_ns"] / 1e9 <= latest + RIDE_S


# ---- Somebody else in KMS's place ----

@pytest.fixture(scope="module", autouse=True)
def stranger(tmp_path_factory):
    """A keyring that finds a server without a trusted certificate in KMS's place, from the first of these tests on."""
    folder = tmp_path_factory.mktemp("stranger")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days",
                    "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "key",
                    "-out", folder / "cert"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert", folder / "key")
    with Rig() as rig:
        org, arn = rig.made("secure")
        rig.stop()
        false_kms = KmsProxy(rig.kms.port(), context)
        rig.endpoint = false_kms.url
        rig.start()
        assert rig.state(org)["state"] == "STARTING"
        yield rig, false_kms, org, arn


def test_a_server_without_a_trusted_certificate_hears_nothing(stranger):
    rig, false_kms, org, arn = stranger
    rig.wait_state(org, "UNAVAILABLE", "UNREACHABLE", 13)

    def names_the_certificate():
        checked = rig.call("check_key", arn=arn, region=WEST)
        assert checked["code"] == "UNREACHABLE" and not [c for c in checked["checks"] if not c["ok"]], checked
        return "certificate" in checked["message"]
    wait_for(names_the_certificate, what="the reason")  # on a busy machine a handshake may take too long instead
    assert false_kms.connections > 3 and not false_kms.seen, "nothing is said to a stranger"
    assert rig.call("activate", org=org, region=WEST)["code"] == "NO_LEASE"
    rig.stop()
    false_kms.close()
    rig.endpoint = rig.kms.url
    rig.start()
    rig.wait_state(org, "AVAILABLE")
