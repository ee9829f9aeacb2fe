"""S3, S6: what the keyring says of a key before an organization is made with it; nothing is left behind by a refusal."""
import base64
import hashlib
import json

import pytest

from keyring_rig import ACTIONS, SERVICE_ROOT, Rig, freeze, thaw, wait_for
from kms_tools import CUSTOMER, SERVICE, WEST, deny


@pytest.fixture(scope="module")
def rig():
    with Rig() as r:
        yield r


def failed(checks):
    return {c["check"] for c in checks if not c["ok"]}


def held(checks):
    return {c["check"] for c in checks if c["ok"]}


def assert_nothing_left(rig, name):
    rows = rig.database().execute("SELECT count(*) FROM organizations WHERE name = ?", (name,)).fetchone()
    assert rows == (0,)
    orgs = {r[0] for r in rig.database().execute("SELECT id FROM organizations")}
    assert {p.parent.parent.name for p in rig.key_files()} <= orgs
    store = rig.data / "store" / WEST
    assert {p.name for p in store.iterdir()} <= orgs


def test_a_good_key_makes_an_organization(rig):
    arn = rig.make_key()
    checks = rig.call("check_key", arn=arn, region=WEST)
    assert checks["ok"] and checks["passed"] and not failed(checks["checks"])
    assert held(checks["checks"]) == {"exists", "state", "key_spec", "key_usage", "multi_region", "region", *ACTIONS}
    answer = rig.create("good", arn)
    assert answer["ok"] and answer["kms_key_arn"] == arn and answer["kind"] == "customer"
    assert answer["state"]["state"] == "AVAILABLE"
    org = answer["org"]
    files = [json.loads(p.read_text()) for p in rig.key_files(org)]
    assert sorted(f["kind"] for f in files) == ["branch", "name"]
    for f, path in zip(files, rig.key_files(org)):
        what = "lockset:branch" if f["kind"] == "branch" else "lockset:names"
        assert f["encryption_context"] == {"lockset:org": org, "lockset:region": WEST, what: path.stem}
        assert path.stat().st_mode & 0o777 == 0o600
    rows = rig.database().execute("SELECT kind, kms_key_arn FROM key_links WHERE org = ?", (org,)).fetchall()
    assert rows == [("customer", arn)]
    assert rig.create("good", arn)["code"] == "EXISTS"


def test_without_a_customer_key_the_service_key_is_used(rig):
    answer = rig.create("plain")
    assert answer["ok"] and answer["kind"] == "service" and answer["kms_key_arn"] == rig.service_arn
    rows = rig.database().execute("SELECT kind, kms_key_arn FROM key_links WHERE org = ?", (answer["org"],)).fetchall()
    assert rows == [("service", None)]
    assert rig.active(answer["org"])["epoch"] == 1


@pytest.mark.parametrize("form", [
    "", "alias/mine", f"arn:aws:kms:{WEST}:{CUSTOMER}:alias/mine", "mrk-0123456789abcdef0123456789abcdef",
    "1234abcd-12ab-34cd-56ef-1234567890ab", f"arn:aws:kms:{WEST}:{CUSTOMER}:key/1234abcd-12ab-34cd-56ef-1234567890ab",
    f"arn:aws:kms:us-east-1:{CUSTOMER}:key/mrk-0123456789abcdef0123456789abcdef",
    f"arn:aws-cn:kms:{WEST}:{CUSTOMER}:key/mrk-0123456789abcdef0123456789abcdef",
    f"arn:aws:s3:{WEST}:{CUSTOMER}:key/mrk-0123456789abcdef0123456789abcdef",
    f"arn:aws:kms:{WEST}:1234:key/mrk-0123456789abcdef0123456789abcdef",
    f"arn:aws:kms:{WEST}:{CUSTOMER}:key/mrk-xyz", "arn:aws:kms", "a b", "\u00fc" * 40, "x" * 5000])
def test_every_other_form_is_refused(rig, form):
    for answer in (rig.create("badform", form), rig.call("check_key", arn=form, region=WEST)):
        assert not answer["ok"] and answer["code"] == "INVALID" and answer["message"], answer
    assert_nothing_left(rig, "badform")


@pytest.mark.parametrize("missing", ACTIONS)
def test_one_action_missing(rig, missing):
    arn = rig.make_key([a for a in ACTIONS if a != missing])
    answer = rig.create("missing", arn)
    assert answer["code"] == "PREFLIGHT", answer
    assert failed(answer["checks"]) == {missing}
    assert set(ACTIONS) - {missing} <= held(answer["checks"])
    check = next(c for c in answer["checks"] if not c["ok"])
    assert missing in check["mend"] and SERVICE in check["mend"] and check["detail"]
    assert_nothing_left(rig, "missing")


@pytest.mark.parametrize("denied", ACTIONS)
def test_an_explicit_deny(rig, denied):
    arn = rig.make_key(ACTIONS, deny(SERVICE_ROOT, [denied]))
    answer = rig.create("denied", arn)
    assert answer["code"] == "PREFLIGHT" and failed(answer["checks"]) == {denied}, answer


def test_two_missing_are_told_at_once(rig):
    arn = rig.make_key(["kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"])
    answer = rig.create("two", arn)
    assert failed(answer["checks"]) == {"kms:Encrypt", "kms:GenerateDataKeyWithoutPlaintext"}


def test_no_statement_at_all(rig):
    answer = rig.create("none", rig.make_key([]))
    assert answer["code"] == "PREFLIGHT"
    assert failed(answer["checks"]) == set(ACTIONS), answer["checks"]
    assert not held(answer["checks"])


def test_a_key_that_is_not_there(rig):
    answer = rig.create("absent", f"arn:aws:kms:{WEST}:{CUSTOMER}:key/mrk-00000000000000000000000000000000")
    assert answer["code"] == "PREFLIGHT" and failed(answer["checks"]), answer
    assert_nothing_left(rig, "absent")


def test_a_disabled_key_is_only_disabled(rig):
    arn = rig.make_key()
    rig.customer.disable_key(KeyId=arn)
    answer = rig.create("disabled", arn)
    assert answer["code"] == "PREFLIGHT" and failed(answer["checks"]) == {"state"}, answer
    check = next(c for c in answer["checks"] if not c["ok"])
    assert "Disabled" in check["detail"] and "enable" in check["mend"].lower()


def test_pending_deletion(rig):
    arn = rig.make_key()
    rig.customer.schedule_key_deletion(KeyId=arn, PendingWindowInDays=7)
    answer = rig.create("pending", arn)
    assert failed(answer["checks"]) == {"state"}, answer
    check = next(c for c in answer["checks"] if not c["ok"])
    assert "PendingDeletion" in check["detail"] and "ancel" in check["mend"]


def test_a_single_region_key(rig):
    arn = rig.make_key(MultiRegion=False)
    answer = rig.create("single", arn)
    assert answer["code"] == "INVALID" and "mrk-" in answer["message"], answer


def test_bad_requests_change_nothing(rig):
    arn = rig.make_key()
    for changes in ({"name": "Upper"}, {"name": "a"}, {"name": ""}, {"region": "eu-west-1"}, {"api_key_hash": "xyz"},
                    {"org": "nonsense"}, {"unknown": 1}, {"name": 5}, {"display_name": None}):
        answer = rig.create(**{"name": "bad", "arn": arn, **changes})
        assert answer["code"] == "INVALID", (changes, answer)
    assert rig.call("activate", org="o" + "0" * 20, region=WEST)["code"] == "NOT_FOUND"
    assert rig.call("nonsense")["code"] == "INVALID"
    assert_nothing_left(rig, "bad")


def test_kms_that_is_silent_is_not_the_customers_fault(rig):
    arn = rig.make_key()
    freeze(rig.kms.process.pid)
    try:
        answer = rig.create("silent", arn)
    finally:
        thaw(rig.kms.process.pid)
    assert answer["code"] == "UNREACHABLE" and not failed(answer["checks"]), answer
    assert_nothing_left(rig, "silent")
    assert rig.create("silent", arn)["ok"]


def test_the_keys_that_a_gateway_gets_are_kms_own(rig):
    org, arn = rig.made("keys")
    pair = rig.active(org)
    want = {}
    for path in rig.key_files(org):
        f = json.loads(path.read_text())
        plain = rig.service.decrypt(KeyId=arn, CiphertextBlob=base64.b64decode(f["wrapped"]),
                                    EncryptionContext=f["encryption_context"])["Plaintext"]
        want["names" if f["kind"] == "name" else "branch-key"] = hashlib.sha256(plain).hexdigest()
    wait_for(lambda: pair["gateway"].said("arm"), what="the gateway's lease")
    for what, digest in want.items():
        assert pair["gateway"].said(what, digest), (what, pair["gateway"].lines)
    order = [line[1] for line in pair["gateway"].lines]
    assert order[:5] == ["names", "branch", "branch-key", "active", "arm"]  # a lease only with all that it needs
    assert not pair["engine"].said("names") and not pair["engine"].said("branch")


def test_customers_keys_are_refused_until_the_operator_enables_them():
    with Rig({"customer_keys.enabled": "false"}, service_key=False) as rig:
        arn = rig.make_key()
        answer = rig.create("early", arn)
        assert answer["code"] == "FORBIDDEN" and "customer_keys.enabled" in answer["message"], answer
        assert rig.call("check_key", arn=arn, region=WEST)["passed"], "asking changes nothing, so anyone may"
        answer = rig.create("plain")
        assert answer["code"] == "INVALID" and "service_key_arn" in answer["message"], answer
        assert_nothing_left(rig, "early")
        assert_nothing_left(rig, "plain")


def test_a_store_that_cannot_be_written_leaves_nothing(rig):
    """The organization's folder can't be made: no row, no files, and the name is free again."""
    arn = rig.make_key()
    store = rig.data / "store" / WEST
    aside = store.with_name("aside")
    store.rename(aside)
    store.write_text("in the way")
    try:
        answer = rig.create("nowhere", arn)
    finally:
        store.unlink()
        aside.rename(store)
    assert not answer["ok"] and answer["code"] == "IO", answer
    assert_nothing_left(rig, "nowhere")
    assert rig.create("nowhere", arn)["ok"]
