"""S7: the key policy is printed in every form customers use, works as printed, and a policy that a customer has already
is judged by what it means."""
import json
import re

import pytest

from lockset_dev import CUSTOMER, EAST, WEST

SERVICE = "318212636800"

ROOT = f"arn:aws:iam::{SERVICE}:root"
ROLE = f"arn:aws:iam::{SERVICE}:role/lockset"
ACTIONS = ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey*", "kms:DescribeKey"]
EVERY = {"kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:DescribeKey"}
OWN = {"Sid": "Enable IAM User Permissions", "Effect": "Allow",
       "Principal": {"AWS": f"arn:aws:iam::{CUSTOMER}:root"}, "Action": "kms:*", "Resource": "*"}


def allow(principal=ROOT, action=ACTIONS, resource="*", **more):
    return {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": action, "Resource": resource, **more}


def deny(action, principal="*", **more):
    return {"Effect": "Deny", "Principal": {"AWS": principal}, "Action": action, "Resource": "*", **more}


def document(*statements):
    return {"Version": "2012-10-17", "Statement": [OWN, *statements]}


def where(**condition):
    return {"Condition": condition}


def check(dev, policy, **more):
    answer = dev.admin("POST", "/key-policy/check", {"policy": policy, **more})
    assert answer.status == 200, answer
    data = answer.data
    assert {a["action"] for a in data["actions"]} == EVERY
    assert data["equivalent"] == all(a["allowed"] for a in data["actions"])
    assert all(("reason" in a) == (not a["allowed"]) for a in data["actions"])
    return data


def preflight(dev, policy):
    """Which actions the same policy lets the service do, tried on a key."""
    arn = dev.create_key(policy)
    checks = dev.admin("POST", "/keys/check", {"kms_key_arn": arn, "region": WEST}).data["checks"]
    return {c["check"]: c["ok"] for c in checks if c["check"].startswith("kms:")}


# --- What is printed. ---

def as_customer(text):
    return (text.replace("${AWS::Partition}", "aws").replace("${AWS::AccountId}", CUSTOMER)
            .replace("${data.aws_partition.current.partition}", "aws")
            .replace("${data.aws_caller_identity.current.account_id}", CUSTOMER))


class Hcl:
    """Reads as much of HashiCorp's language as such a file may hold: blocks, attributes, calls, objects, lists. Strict:
    what doesn't belong there is an error."""
    TOKEN = re.compile(r'\s*(?:(?P<string>"(?:[^"\\\n]|\\.)*")|(?P<word>[A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)*)'
                       r'|(?P<mark>[{}\[\]()=,:]))')

    def __init__(self, text):
        self.tokens, at = [], 0
        text = text.rstrip()
        while at < len(text):
            found = self.TOKEN.match(text, at)
            assert found, text[at:at + 40]
            self.tokens.append(found.group().strip())
            at = found.end()

    def take(self, wanted=None):
        token = self.tokens.pop(0)
        assert wanted is None or token == wanted, (token, wanted, self.tokens[:5])
        return token

    def body(self):
        """Attributes and blocks, up to a closing brace or the end."""
        blocks, attributes = [], {}
        while self.tokens and self.tokens[0] != "}":
            name = self.take()
            assert re.fullmatch(r"[a-z_]+", name), name
            if self.tokens[0] == "=":
                self.take()
                assert name not in attributes
                attributes[name] = self.value()
                continue
            labels = []
            while self.tokens[0].startswith('"'):
                labels.append(json.loads(self.take()))
            self.take("{")
            blocks.append((name, labels, self.body()))
            self.take("}")
        return {"blocks": blocks, **attributes}

    def value(self):
        token = self.take()
        if token.startswith('"'):
            return json.loads(token)
        if token == "[":
            return self.several("]", self.value)
        if token == "{":
            return dict(self.several("}", self.member))
        if token in ("true", "false"):
            return token == "true"
        assert re.match(r"[a-z]", token), token
        if self.tokens[0] != "(":
            return "${" + token + "}"
        self.take()
        return (token, self.several(")", self.value))

    def member(self):
        name = json.loads(self.take())
        assert self.take() in ":="
        return name, self.value()

    def several(self, end, one):
        values = []
        while self.tokens[0] != end:
            values.append(one())
            if self.tokens[0] != end:
                self.take(",")
        self.take(end)
        return values


def from_terraform(text):
    read = Hcl(text)
    body = read.body()
    assert not read.tokens
    kinds = [(name, labels) for name, labels, _ in body["blocks"]]
    assert kinds[-2:] == [("resource", ["aws_kms_key", "lockset"]), ("output", ["lockset_kms_key_arn"])]
    key = body["blocks"][-2][2]
    assert key["multi_region"] is True and key["key_usage"] == "ENCRYPT_DECRYPT"
    assert set(key) == {"blocks", "description", "customer_master_key_spec", "key_usage", "multi_region",
                        "enable_key_rotation", "policy"}
    assert body["blocks"][-1][2]["value"] == "${aws_kms_key.lockset.arn}"
    used = set(re.findall(r"\$\{data\.(\w+)\.(\w+)\.", text))
    assert used == {tuple(labels) for name, labels in kinds if name == "data"}
    function, (policy,) = key["policy"]
    assert function == "jsonencode"
    return json.loads(as_customer(json.dumps(policy)))


def from_cloudformation(template):
    assert set(template) == {"AWSTemplateFormatVersion", "Description", "Resources", "Outputs"}
    (name, key), = template["Resources"].items()
    assert name.isalnum() and key["Type"] == "AWS::KMS::Key"
    assert (key["DeletionPolicy"], key["UpdateReplacePolicy"]) == ("Retain", "Retain")
    properties = key["Properties"]
    assert set(properties) == {"Description", "KeySpec", "KeyUsage", "MultiRegion", "EnableKeyRotation", "KeyPolicy"}
    assert properties["MultiRegion"] is True and properties["KeySpec"] == "SYMMETRIC_DEFAULT"
    assert template["Outputs"]["KeyArn"]["Value"] == {"Fn::GetAtt": [name, "Arn"]}

    def resolve(value):
        if isinstance(value, dict) and set(value) == {"Fn::Sub"}:
            return as_customer(value["Fn::Sub"])
        if isinstance(value, dict):
            return {k: resolve(v) for k, v in value.items()}
        return [resolve(v) for v in value] if isinstance(value, list) else value
    return resolve(properties["KeyPolicy"])


@pytest.mark.parametrize("account", [None, CUSTOMER])
@pytest.mark.parametrize("form, read", [("cloudformation", lambda text: from_cloudformation(json.loads(text))),
                                        ("terraform", from_terraform),
                                        ("policy", json.loads),
                                        ("statement", lambda text: document(json.loads(text)))])
def test_what_is_printed_works(shared_dev, form, read, account):
    option = ["--account", account] if account else []
    text = shared_dev.cli("key", "policy", "--format", form, *option).stdout
    policy = read(text)
    served = shared_dev.admin("GET", f"/key-policy?format={form}" + (f"&account={account}" if account else "")).data
    assert served["format"] == form
    assert served[form] == text if form == "terraform" else served[form] == json.loads(text)
    assert check(shared_dev, policy)["equivalent"]
    if form == "policy" and not account:
        assert len(policy["Statement"]) == 1  # nothing of the customer's own account: nobody could change it again
        return
    assert preflight(shared_dev, policy) == {action: True for action in EVERY}


def test_refused_formats(shared_dev):
    answer = shared_dev.admin("GET", "/key-policy?format=pulumi")
    assert answer.status == 400 and "terraform" in answer.message


# --- Policies that do the same. ---

@pytest.mark.parametrize("statements", [
    pytest.param([allow(action=list(reversed(ACTIONS)))], id="another order"),
    pytest.param([allow(SERVICE)], id="the account by its number"),
    pytest.param([allow("*")], id="everybody"),
    pytest.param([allow(["arn:aws:iam::444455556666:root", ROOT])], id="one of several accounts"),
    pytest.param([allow(action="kms:*")], id="kms:*"),
    pytest.param([allow(action="*")], id="everything"),
    pytest.param([allow(action="KMS:*")], id="upper case"),
    pytest.param([allow(action=["kms:*crypt", "kms:Gen*Key*", "kms:Describe???"])], id="wildcards"),
    pytest.param([allow(action=["kms:Encrypt", "kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKey",
                                "kms:GenerateDataKeyWithoutPlaintext"])], id="data keys spelled out"),
    pytest.param([allow(action=action) for action in ACTIONS], id="a statement for each action"),
    pytest.param([{"Effect": "Allow", "Principal": {"AWS": ROOT}, "NotAction": "kms:Put*", "Resource": "*"}],
                 id="NotAction"),
    pytest.param([allow(), deny(["kms:ScheduleKeyDeletion", "kms:PutKeyPolicy"], ROOT)], id="a Deny of other actions"),
    pytest.param([allow(), deny("kms:*", "arn:aws:iam::444455556666:root")], id="a Deny of another account"),
    pytest.param([allow(), deny("kms:*", **where(StringNotEquals={"kms:CallerAccount": [CUSTOMER, SERVICE]}))],
                 id="a Deny of all other accounts"),
    pytest.param([allow("*", **where(StringEquals={"kms:CallerAccount": SERVICE}))], id="by kms:CallerAccount"),
    pytest.param([allow(**where(Bool={"aws:SecureTransport": "true"}))], id="only over TLS"),
    pytest.param([allow(), deny("kms:*", **where(Bool={"aws:SecureTransport": "false"}))], id="a Deny without TLS"),
    pytest.param([allow(**where(StringEquals={"kms:KeySpec": "SYMMETRIC_DEFAULT"}, Bool={"kms:MultiRegion": "true"}))],
                 id="conditions on the key"),
    pytest.param([allow(action="kms:DescribeKey"), allow(action=["kms:*crypt", "kms:GenerateDataKey*"], **where(
        Null={"kms:EncryptionContext:lockset:org": "false"}))], id="a context is required where there is one"),
    pytest.param([allow(action="kms:DescribeKey"), allow(action=["kms:*crypt", "kms:GenerateDataKey*"], **where(
        **{"ForAllValues:StringLike": {"kms:EncryptionContextKeys": "lockset:*"}}))], id="only Lockset's context"),
    pytest.param([allow(**where(StringEqualsIfExists={"kms:ViaService": f"s3.{WEST}.amazonaws.com"}))], id="IfExists"),
    pytest.param([allow(resource="arn:aws:kms:*:*:key/mrk-*"), allow()], id="another Resource beside"),
    pytest.param([allow(), deny("kms:*", **where(StringNotEqualsIfExists={"kms:CallerAccount": [SERVICE, CUSTOMER]}))],
                 id="a Deny of others, with IfExists"),
    pytest.param([allow(), {"Effect": "Deny", "Principal": "*", "NotAction": "kms:*", "Resource": "*"}],
                 id="a Deny of what isn't KMS's"),
    pytest.param([allow(**where(**{"ForAllValues:StringEquals": {"kms:GrantOperations": "Decrypt"}}))],
                 id="ForAllValues of what isn't there"),
    pytest.param([allow(**where(StringEquals={"kms:EncryptionContext:tenant": "a"})), allow()],
                 id="a narrower statement beside"),
])
def test_equivalent(shared_dev, statements):
    policy = document(*statements)
    data = check(shared_dev, policy)
    assert data["equivalent"], data["actions"]
    assert preflight(shared_dev, policy) == {action: True for action in EVERY}


# --- Policies that don't, and what stands in the way. Statement 1 is the customer's own. ---

DATA_KEYS = {"kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext"}
CRYPTO = EVERY - {"kms:DescribeKey"}


@pytest.mark.parametrize("statements, missing, statement, words", [
    pytest.param([], EVERY, None, ["no statement", SERVICE], id="nothing at all"),
    pytest.param([allow("arn:aws:iam::444455556666:root")], EVERY, None, ["no statement"], id="another account"),
    pytest.param([allow(action=ACTIONS[:2] + ACTIONS[3:])], DATA_KEYS, None, ["no statement"], id="no data keys"),
    pytest.param([allow(action=["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:DescribeKey"])],
                 {"kms:GenerateDataKeyWithoutPlaintext"}, None, ["no statement"], id="the star forgotten"),
    pytest.param([allow(), deny("kms:Decrypt")], {"kms:Decrypt"}, 3, ["denies it"], id="Deny for everybody"),
    pytest.param([deny("kms:Gen*", ROOT, Sid="No keys"), allow()], DATA_KEYS, 2, ["denies it", "No keys"],
                 id="Deny that stands first"),
    pytest.param([allow(), {"Effect": "Deny", "Principal": "*", "NotAction": "kms:Describe*", "Resource": "*",
                            "Condition": {"StringEquals": {"kms:CallerAccount": SERVICE}}}], CRYPTO, 3,
                 ["denies it"], id="Deny with NotAction"),
    pytest.param([allow(**where(StringEquals={"kms:ViaService": f"s3.{WEST}.amazonaws.com"}))], EVERY, 2,
                 ["kms:ViaService", "don't carry"], id="only through S3"),
    pytest.param([allow(), deny("kms:*", ROOT, **where(StringNotEquals={"aws:SourceVpce": "vpce-1"}))], EVERY, 3,
                 ["aws:SourceVpce", "can't be told"], id="Deny unless through an endpoint"),
    pytest.param([allow("*", **where(StringEquals={"kms:CallerAccount": "444455556666"}))], EVERY, 2,
                 ["kms:CallerAccount", SERVICE], id="another kms:CallerAccount"),
    pytest.param([allow(**where(StringLike={"kms:EncryptionContext:lockset:org": "*"}))], {"kms:DescribeKey"}, 2,
                 ["lockset:org", "don't carry"], id="a context, also for DescribeKey"),
    pytest.param([allow(**where(StringEquals={"kms:EncryptionContext:tenant": "a"}))], EVERY, 2, ["tenant"],
                 id="a context that isn't used"),
    pytest.param([allow(resource="arn:aws:kms:us-west-2:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab")], EVERY,
                 2, ["Resource"], id="another key"),
    pytest.param([{"Effect": "Allow", "Principal": {"AWS": ROOT}, "Action": "kms:*"}], EVERY, 2,
                 ["Resource", "missing"], id="no Resource"),
    pytest.param([allow(**where(Bool={"kms:MultiRegion": "false"}))], EVERY, 2, ["kms:MultiRegion"],
                 id="single-Region keys"),
    pytest.param([allow(), {"Effect": "Deny", "NotPrincipal": {"AWS": OWN["Principal"]["AWS"]}, "Action": "kms:*",
                            "Resource": "*"}], EVERY, 3, ["denies it"], id="Deny of everybody but the owner"),
    pytest.param([{"Effect": "Allow", "Principal": {"AWS": ROOT}, "NotAction": "kms:Decrypt", "Resource": "*"}],
                 {"kms:Decrypt"}, None, ["no statement"], id="NotAction names one"),
    pytest.param([allow(), deny("kms:*", ROOT, **where(BoolIfExists={"aws:MultiFactorAuthPresent": "false"}))], EVERY, 3,
                 ["aws:MultiFactorAuthPresent"], id="Deny without a second factor"),
    pytest.param([allow(), deny("kms:Decrypt", **where(StringNotLike={"kms:EncryptionContext:lockset:org": "x*"}))],
                 {"kms:Decrypt"}, 3, ["lockset:org"], id="Deny of other contexts"),
    pytest.param([allow(**where(StringEquals={"kms:EncryptionContext:lockset:org": "${aws:username}"}))], EVERY, 2,
                 ["lockset:org"], id="a variable"),
    pytest.param([{"Effect": "Allow", "Principal": {"Service": "s3.amazonaws.com"}, "Action": "kms:*", "Resource": "*"}],
                 EVERY, None, ["no statement"], id="a service of AWS"),
    pytest.param([allow(**where(**{"ForAnyValue:StringEquals": {"kms:EncryptionContextKeys": "tenant"}}))], EVERY, 2,
                 ["kms:EncryptionContextKeys"], id="a name that isn't used"),
])
def test_not_equivalent(shared_dev, statements, missing, statement, words):
    policy = document(*statements)
    data = check(shared_dev, policy)
    refused = {a["action"]: a for a in data["actions"] if not a["allowed"]}
    assert set(refused) == missing
    for answer in refused.values():
        assert answer["statement"] == statement, answer
        assert all(word in answer["reason"] for word in words), answer["reason"]
    tried = preflight(shared_dev, policy)
    assert {action for action, ok in tried.items() if not ok} == missing


@pytest.mark.parametrize("statements, words", [
    pytest.param([allow(ROLE)], ["certain principals", "root"], id="a role of the service's account"),
    pytest.param([allow(), deny("kms:*", ROLE)], ["denies it to some principals"], id="a Deny of a role"),
    pytest.param([allow(), {"Effect": "Deny", "NotPrincipal": {"AWS": [ROOT, OWN["Principal"]["AWS"]]}, "Action": "kms:*",
                            "Resource": "*"}], ["denies it to some principals"], id="a Deny that spares the root alone"),
    pytest.param([allow(**where(ArnLike={"aws:PrincipalArn": ROLE}))], ["aws:PrincipalArn", "can't be told"],
                 id="a condition on the principal"),
    pytest.param([allow(**where(IpAddress={"aws:SourceIp": "203.0.113.0/24"}))], ["aws:SourceIp", "can't be told"],
                 id="an address"),
    pytest.param([allow(**where(DateLessThan={"aws:CurrentTime": "2027-01-01"}))], ["aws:CurrentTime"], id="a date"),
    pytest.param([allow(**where(StringEquals={"aws:PrincipalTag/team": "a"}))], ["aws:PrincipalTag/team"], id="a tag"),
    pytest.param([allow(resource=f"arn:aws:kms:{WEST}:{CUSTOMER}:key/mrk-" + "0" * 32)], ["not known"],
                 id="an ARN, without knowing the key's"),
])
def test_what_cannot_be_told_beforehand(shared_dev, statements, words):
    data = check(shared_dev, document(*statements))
    assert not any(a["allowed"] for a in data["actions"])
    for answer in data["actions"]:
        assert all(word in answer["reason"] for word in words), answer["reason"]


def test_with_the_principal_known(shared_dev):
    session = f"arn:aws:sts::{SERVICE}:assumed-role/lockset/i-1"
    for policy in (document(allow(ROLE)), document(allow(**where(ArnLike={"aws:PrincipalArn": ROLE})))):
        assert check(shared_dev, policy, principal=session)["equivalent"]
        assert not check(shared_dev, policy, principal=session.replace("lockset/", "other/"))["equivalent"]


def test_with_the_key_known(shared_dev):
    arn = shared_dev.create_key()
    policy = document(allow(resource=arn))
    assert check(shared_dev, policy, kms_key_arn=arn)["equivalent"]
    replica = check(shared_dev, policy, kms_key_arn=arn.replace(WEST, EAST))
    assert "not this key" in replica["actions"][0]["reason"]


def test_documents_that_aws_would_refuse(shared_dev):
    for policy, word in (({}, "Statement"), ("{", "line 1"), (document(allow("arn:aws:iam::1:root")), "principals"),
                         (document({"Effect": "Allow", "Action": "kms:*", "Resource": "*"}), "Principal"),
                         (document(allow(**where(StringMatches={"kms:KeySpec": "x"}))), "StringMatches")):
        answer = shared_dev.admin("POST", "/key-policy/check", {"policy": policy})
        assert answer.status == 400 and word in answer.message, answer
    for body in ({}, {"policy": document(), "kms_key_arn": "alias/x"}, {"policy": document(), "principal": "me"},
                 {"policy": 7}, {"policy": document(), "more": 1}):
        assert shared_dev.admin("POST", "/key-policy/check", body).status == 400, body


def test_the_command(shared_dev, tmp_path):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(document(allow())))
    bad.write_text(json.dumps(document(allow(), deny("kms:Decrypt", Sid="Not that"))))
    done = shared_dev.cli("key", "check-policy", str(good))
    assert all(re.search(rf"^{action} +(yes|true)", done.stdout, re.M) for action in EVERY), done.stdout
    done = shared_dev.cli("key", "check-policy", str(bad), check=False)
    assert done.returncode == 1 and "Not that" in done.stdout and "does not give" in done.stderr
    done = shared_dev.cli("key", "check-policy", str(tmp_path / "absent.json"), check=False)
    assert done.returncode == 2 and "absent.json" in done.stderr
