"""S3, S4 and S6: which keys are taken, that the link is for ever, and that nothing is left of what was refused."""
import json
import sqlite3
import subprocess

import pytest

from lockset_dev import CUSTOMER, EAST, WEST

KEY = "arn:aws:kms:us-west-2:111122223333:key/"
MRK = "mrk-" + "1234abcd" * 4

REFUSED_ARNS = [
    # (what, ARN, a word that the message must hold)
    ("alias ARN", "arn:aws:kms:us-west-2:111122223333:alias/my-key", "alias"),
    ("alias name", "alias/my-key", "alias"),
    ("bare key id", "1234abcd-12ab-34cd-56ef-1234567890ab", "ARN"),
    ("bare mrk id", MRK, "ARN"),
    ("single-Region id", KEY + "1234abcd-12ab-34cd-56ef-1234567890ab", "Multi-Region"),
    ("short mrk id", KEY + "mrk-1234", "mrk-"),
    ("upper-case mrk id", KEY + MRK.upper().replace("MRK", "mrk"), "mrk-"),
    ("another region", "arn:aws:kms:us-east-1:111122223333:key/" + MRK, "us-east-1"),
    ("another service", "arn:aws:s3:us-west-2:111122223333:key/" + MRK, "kms"),
    ("another partition", "arn:aws-cn:kms:us-west-2:111122223333:key/" + MRK, "partition"),
    ("government partition", "arn:aws-us-gov:kms:us-west-2:111122223333:key/" + MRK, "partition"),
    ("unknown partition", "arn:amazon:kms:us-west-2:111122223333:key/" + MRK, "partition"),
    ("short account", "arn:aws:kms:us-west-2:11112222333:key/" + MRK, "account"),
    ("no region", "arn:aws:kms::111122223333:key/" + MRK, "region"),
    ("trailing space", KEY + MRK + " ", ""),
    ("leading space", " " + KEY + MRK, ""),
    ("newline", KEY + MRK + "\n", ""),
    ("wildcard", KEY + "*", ""),
    ("extra slash", KEY + MRK + "/x", ""),
    ("upper case", (KEY + MRK).upper(), ""),
    ("words", "my key", "ARN"),
    ("empty", "", "leave"),
    ("not ASCII", KEY + MRK[:-1] + "ä", ""),
    ("very long", KEY + "mrk-" + "a" * 5000, ""),
]


@pytest.mark.parametrize("what,arn,word", REFUSED_ARNS, ids=[r[0] for r in REFUSED_ARNS])
def test_s3_only_a_full_key_arn_is_taken(shared_dev, what, arn, word):
    answer = shared_dev.admin("POST", "/orgs", {"name": "refused-arn", "region": WEST, "kms_key_arn": arn})
    assert answer.status == 400, answer
    assert word.lower() in answer.message.lower(), answer.message
    assert len(answer.message) > 30, "the message must name the rule and the mend"
    assert "refused-arn" not in [o["name"] for o in shared_dev.admin("GET", "/orgs").data]


def test_s3_null_is_not_a_key(shared_dev):
    answer = shared_dev.admin("POST", "/orgs", {"name": "refused-arn", "region": WEST, "kms_key_arn": None})
    assert answer.status == 400 and "leave" in answer.message


def test_s4_the_key_cannot_be_changed_unlinked_or_added(shared_dev):
    linked, plain = shared_dev.create_org(), shared_dev.create_org(key_arn=None)
    other = shared_dev.create_key()
    for org, body in ((linked, {"kms_key_arn": other}), (linked, {"kms_key_arn": None}), (plain, {"kms_key_arn": other}),
                      (linked, {"display_name": "x", "kms_key_arn": other})):
        answer = shared_dev.admin("PATCH", f"/orgs/{org.name}", body)
        assert answer.status == 409, answer
    assert shared_dev.admin("PATCH", f"/orgs/{linked.name}", {"display_name": "New"}).status == 200
    assert linked.encryption()["kms_key_arn"] == linked.key_arn
    assert plain.encryption()["kind"] == "service"
    # The same name again, with another key, is not a way around.
    answer = shared_dev.admin("POST", "/orgs", {"name": linked.name, "region": WEST, "kms_key_arn": other})
    assert answer.status == 409
    assert linked.encryption()["kms_key_arn"] == linked.key_arn


@pytest.mark.parametrize("statement", [
    "UPDATE key_links SET kms_key_arn = 'arn:aws:kms:us-west-2:111122223333:key/mrk-00000000000000000000000000000000'",
    "UPDATE key_links SET kms_key_arn = NULL, kind = 'service'",
    "DELETE FROM key_links",
    "REPLACE INTO key_links SELECT * FROM key_links",
    "INSERT OR REPLACE INTO key_links(org, kind, kms_key_arn) SELECT org, 'service', NULL FROM key_links",
])
def test_s4_the_store_of_record_itself_enforces_it(shared_dev, statement):
    shared_dev.create_org()
    path = shared_dev.data / "registry.db"
    with sqlite3.connect(path, timeout=10) as db:
        before = db.execute("SELECT org, kind, kms_key_arn FROM key_links ORDER BY org").fetchall()
    assert before
    done = subprocess.run(["sqlite3", str(path), statement], capture_output=True, text=True, check=False, timeout=20)
    assert done.returncode != 0, "the registry let the link be changed"
    with sqlite3.connect(path, timeout=10) as db:
        assert db.execute("SELECT org, kind, kms_key_arn FROM key_links ORDER BY org").fetchall() == before


def failed(answer):
    return sorted(c["check"] for c in answer.json["checks"] if not c["ok"])


def refuse(dev, arn):
    """Creating with this key is refused by preflight, and nothing stays of it."""
    before = sorted(p.name for p in dev.store.iterdir()) if dev.store.exists() else []
    answer = dev.admin("POST", "/orgs", {"name": "refused-key", "region": WEST, "kms_key_arn": arn})
    assert answer.status == 422, answer
    assert answer.json["type"] and answer.message
    for check in answer.json["checks"]:
        assert set(check) >= {"check", "ok", "detail", "mend"}
        assert check["ok"] or (check["detail"] and check["mend"]), check
    assert "refused-key" not in [o["name"] for o in dev.admin("GET", "/orgs").data]
    assert before == (sorted(p.name for p in dev.store.iterdir()) if dev.store.exists() else [])
    with sqlite3.connect(dev.data / "registry.db", timeout=10) as db:
        for table in ("organizations", "org_regions", "wrapped_keys", "key_links", "api_keys"):
            rows = db.execute(f"SELECT * FROM {table}").fetchall()
            assert not any("refused-key" in str(r) or arn in str(r) for r in rows), table
    return answer


ACTIONS = ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"]


@pytest.mark.parametrize("action", ACTIONS)
def test_s6_each_missing_action_is_named(shared_dev, action):
    policy = shared_dev.policy()
    policy["Statement"][1]["Action"] = [a for a in policy["Statement"][1]["Action"] if not a.startswith(action)]
    assert len(policy["Statement"][1]["Action"]) == 3
    answer = refuse(shared_dev, shared_dev.create_key(policy))
    named = failed(answer)
    expected = {"kms:GenerateDataKey": {"kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext"}}.get(action, {action})
    assert set(named) == expected or set(named) == {action + "*"}, named
    broken = next(c for c in answer.json["checks"] if not c["ok"])
    assert action in broken["mend"] and "318212636800" in broken["mend"]


@pytest.mark.parametrize("action", ACTIONS)
def test_s6_an_explicit_deny_counts(shared_dev, action):
    policy = shared_dev.policy()
    policy["Statement"].append({"Sid": "no", "Effect": "Deny", "Principal": {"AWS": "arn:aws:iam::318212636800:root"},
                                "Action": action + "*", "Resource": "*"})
    answer = refuse(shared_dev, shared_dev.create_key(policy))
    assert any(name.startswith(action) for name in failed(answer)), failed(answer)


def test_s6_no_statement_at_all_names_all_four(shared_dev):
    policy = shared_dev.policy()
    del policy["Statement"][1]
    named = failed(refuse(shared_dev, shared_dev.create_key(policy)))
    assert {"kms:Encrypt", "kms:Decrypt", "kms:DescribeKey"} <= set(named)
    assert any(n.startswith("kms:GenerateDataKey") for n in named)


def test_s6_a_key_that_does_not_exist(shared_dev):
    answer = refuse(shared_dev, KEY + "mrk-" + "0" * 32)
    assert "kms:DescribeKey" in failed(answer)


def test_s6_a_single_region_key_is_refused(shared_dev):
    arn = shared_dev.create_key(MultiRegion=False)
    answer = shared_dev.admin("POST", "/orgs", {"name": "refused-key", "region": WEST, "kms_key_arn": arn})
    assert answer.status == 400 and "Multi-Region" in answer.message


@pytest.mark.parametrize("spec, usage, wrong", [
    ("RSA_2048", "ENCRYPT_DECRYPT", {"key_spec"}), ("RSA_2048", "SIGN_VERIFY", {"key_spec", "key_usage"}),
    ("HMAC_256", "GENERATE_VERIFY_MAC", {"key_spec", "key_usage"}),
    ("ECC_NIST_P256", "SIGN_VERIFY", {"key_spec", "key_usage"})])
def test_s6_keys_of_other_kinds_are_refused(shared_dev, spec, usage, wrong):
    arn = shared_dev.create_key(KeySpec=spec, KeyUsage=usage)
    assert set(failed(refuse(shared_dev, arn))) == wrong
    done = shared_dev.cli("key", "check", arn, check=False)
    assert done.returncode != 0 and all(name in done.stderr for name in wrong), done.stderr
    assert spec in done.stderr and "create a symmetric Multi-Region key" in done.stderr


def test_s6_disabled_and_pending_deletion_say_so(shared_dev):
    kms = shared_dev.kms()
    disabled, pending = shared_dev.create_key(), shared_dev.create_key()
    kms.disable_key(KeyId=disabled)
    kms.schedule_key_deletion(KeyId=pending, PendingWindowInDays=7)
    assert "disabled" in json.dumps(refuse(shared_dev, disabled).json["checks"]).lower()
    assert "deletion" in json.dumps(refuse(shared_dev, pending).json["checks"]).lower()
    kms.enable_key(KeyId=disabled)
    assert shared_dev.create_org(key_arn=disabled).is_answering()


def test_s6_a_replica_is_as_good_as_a_primary(shared_dev):
    from lockset_dev import wait_for
    east = shared_dev.kms(EAST)
    arn = east.create_key(MultiRegion=True)["KeyMetadata"]["Arn"]
    shared_dev.kms(EAST).replicate_key(KeyId=arn, ReplicaRegion=WEST, Policy=json.dumps(shared_dev.policy()))
    replica = arn.replace(EAST, WEST)
    wait_for(lambda: shared_dev.kms().describe_key(KeyId=replica)["KeyMetadata"]["KeyState"] == "Enabled", 15)
    assert shared_dev.create_org(key_arn=replica).is_answering()


def test_s6_checking_a_key_creates_nothing(shared_dev):
    good, bad = shared_dev.create_key(), shared_dev.create_key(MultiRegion=True, policy={
        "Version": "2012-10-17", "Statement": shared_dev.policy()["Statement"][:1]})
    before = shared_dev.admin("GET", "/orgs").data
    answer = shared_dev.admin("POST", "/keys/check", {"kms_key_arn": good, "region": WEST})
    assert answer.status == 200
    assert all(c["ok"] for c in answer.data["checks"])
    answer = shared_dev.admin("POST", "/keys/check", {"kms_key_arn": bad, "region": WEST})
    checks = (answer.json.get("data") or answer.json)["checks"]
    assert any(not c["ok"] for c in checks)
    assert shared_dev.admin("GET", "/orgs").data == before


def test_s6_a_region_that_is_not_served_is_named(shared_dev):
    answer = shared_dev.admin("POST", "/orgs", {"name": "elsewhere", "region": "eu-central-1"})
    assert answer.status == 400 and "eu-central-1" in answer.message and WEST in answer.message


def test_s7_the_printed_policy_is_the_one_that_works(shared_dev):
    """Exactly what `lockset key policy` prints, given to KMS by the customer, passes every check."""
    printed = shared_dev.cli("key", "policy", "--account", CUSTOMER).stdout
    arn = shared_dev.kms().create_key(MultiRegion=True, Policy=printed)["KeyMetadata"]["Arn"]
    assert shared_dev.create_org(key_arn=arn).is_answering()
    statement = json.loads(shared_dev.cli("key", "policy", "--format", "statement").stdout)
    assert statement["Principal"] == {"AWS": "arn:aws:iam::318212636800:root"}
    assert statement["Action"] == ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey*", "kms:DescribeKey"]
