"""The key policy of the local KMS, enforced: other accounts, and the key's own."""
import json

import pytest

from kms_tools import CUSTOMER, SERVICE, WEST, Kms, allow, deny, policy, refused

FOREIGN = ("on this resource because the resource does not exist in this Region, no resource-based policies allow "
           "access, or a resource-based policy explicitly denies access")
ACTIONS = ["kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey*", "kms:DescribeKey"]
SERVICE_ROOT = f"arn:aws:iam::{SERVICE}:root"


@pytest.fixture(scope="module")
def kms(tmp_path_factory):
    kms = Kms(tmp_path_factory.mktemp("kms")).start()
    yield kms
    kms.stop()


@pytest.fixture
def customer(kms):
    return kms.client()


@pytest.fixture
def service(kms):
    return kms.client("service")


class Uses:
    """The calls that a service makes with another account's key."""

    def __init__(self, owner, arn):
        self.arn = arn
        self.blob = owner.encrypt(KeyId=arn, Plaintext=b"hello", EncryptionContext={"tenant": "a"})["CiphertextBlob"]

    def calls(self, client):
        context = {"tenant": "a"}
        return {
            "kms:DescribeKey": lambda: client.describe_key(KeyId=self.arn),
            "kms:Encrypt": lambda: client.encrypt(KeyId=self.arn, Plaintext=b"x", EncryptionContext=context),
            "kms:Decrypt": lambda: client.decrypt(KeyId=self.arn, CiphertextBlob=self.blob, EncryptionContext=context),
            "kms:GenerateDataKey": lambda: client.generate_data_key(KeyId=self.arn, KeySpec="AES_256",
                                                                    EncryptionContext=context),
            "kms:GenerateDataKeyWithoutPlaintext": lambda: client.generate_data_key_without_plaintext(
                KeyId=self.arn, KeySpec="AES_256", EncryptionContext=context),
        }

    def allowed(self, client):
        """The actions that go through; each refusal is the one that another account gets."""
        allowed = set()
        for action, call in self.calls(client).items():
            try:
                call()
                allowed.add(action)
            except client.exceptions.ClientError as error:
                assert error.response["Error"]["Code"] == "AccessDeniedException", error
                assert f"is not authorized to perform: {action} {FOREIGN}" in error.response["Error"]["Message"]
        return allowed


EVERY = {"kms:DescribeKey", "kms:Encrypt", "kms:Decrypt", "kms:GenerateDataKey", "kms:GenerateDataKeyWithoutPlaintext"}


@pytest.fixture
def uses(customer):
    return Uses(customer, customer.create_key(MultiRegion=True)["KeyMetadata"]["Arn"])


def put(customer, uses, *statements):
    customer.put_key_policy(KeyId=uses.arn, PolicyName="default", Policy=policy(*statements))


def test_by_default_no_other_account(service, uses):
    assert uses.allowed(service) == set()


@pytest.mark.parametrize("principal", [SERVICE_ROOT, SERVICE, "*", [SERVICE_ROOT, "arn:aws:iam::444455556666:root"]])
def test_the_statement_that_grants_the_service(customer, service, uses, principal):
    put(customer, uses, allow(principal, ACTIONS))
    assert uses.allowed(service) == EVERY
    described = service.describe_key(KeyId=uses.arn)["KeyMetadata"]
    assert (described["Arn"], described["AWSAccountId"]) == (uses.arn, CUSTOMER)
    assert service.decrypt(CiphertextBlob=uses.blob, EncryptionContext={"tenant": "a"})["Plaintext"] == b"hello"


@pytest.mark.parametrize("missing", range(4))
def test_each_action_missing_in_turn(customer, service, uses, missing):
    put(customer, uses, allow(SERVICE_ROOT, ACTIONS[:missing] + ACTIONS[missing + 1:]))
    gone = {action for action in EVERY if action.startswith(ACTIONS[missing].rstrip("*"))}
    assert uses.allowed(service) == EVERY - gone


def test_an_explicit_deny_wins(customer, service, uses):
    put(customer, uses, allow(SERVICE_ROOT, ACTIONS), deny(SERVICE_ROOT, "kms:Decrypt"))
    assert uses.allowed(service) == EVERY - {"kms:Decrypt"}
    put(customer, uses, deny("*", "kms:*", Condition={"StringEquals": {"kms:CallerAccount": SERVICE}}),
        allow(SERVICE_ROOT, "*"))
    assert uses.allowed(service) == set()
    put(customer, uses, allow(SERVICE_ROOT, "KMS:GENERATEdatakeyw*"))
    assert uses.allowed(service) == {"kms:GenerateDataKeyWithoutPlaintext"}


def test_sessions_of_a_role(kms, customer, service, uses):
    put(customer, uses, allow(f"arn:aws:iam::{SERVICE}:role/Reader", ACTIONS))
    assert uses.allowed(kms.client("session")) == EVERY
    assert uses.allowed(service) == set()


def test_conditions_on_the_context(customer, service, uses):
    put(customer, uses, allow(SERVICE_ROOT, ACTIONS,
                              Condition={"StringEquals": {"kms:EncryptionContext:tenant": ["a", "b"]}}))
    assert uses.allowed(service) == EVERY - {"kms:DescribeKey"}
    refused("AccessDeniedException", service.encrypt, KeyId=uses.arn, Plaintext=b"x", EncryptionContext={"tenant": "c"})
    refused("AccessDeniedException", service.encrypt, KeyId=uses.arn, Plaintext=b"x")
    put(customer, uses, allow(SERVICE_ROOT, ACTIONS), deny(
        "*", ["kms:Encrypt", "kms:GenerateDataKey*"],
        Condition={"StringNotEquals": {"kms:EncryptionContext:tenant": "a"}}))
    assert uses.allowed(service) == EVERY
    refused("AccessDeniedException", service.encrypt, KeyId=uses.arn, Plaintext=b"x", EncryptionContext={"Tenant": "b"})
    put(customer, uses, allow("*", ACTIONS, Condition={"StringEquals": {
        "kms:CallerAccount": SERVICE, "kms:ViaService": f"s3.{WEST}.amazonaws.com"}}))
    assert uses.allowed(service) == set()


def test_missing_and_forbidden_look_the_same(customer, service, uses):
    missing = uses.arn[:-8] + "00000000"
    for arn in (uses.arn, missing):
        for action, call in Uses.calls(type("", (), {"arn": arn, "blob": uses.blob})(), service).items():
            with pytest.raises(service.exceptions.ClientError) as caught:
                call()
            assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
            assert caught.value.response["Error"]["Message"] == (
                f"User: {SERVICE_ROOT} is not authorized to perform: {action} {FOREIGN}")
    # Its bare id is looked for among the caller's own keys.
    key_id = uses.arn.rsplit("/", 1)[1]
    assert refused("NotFoundException", service.describe_key, KeyId=key_id) == (
        f"Key 'arn:aws:kms:{WEST}:{SERVICE}:key/{key_id}' does not exist")


def test_another_account_never_manages(customer, service, uses):
    put(customer, uses, allow(SERVICE_ROOT, "kms:*"))
    text = policy(allow(SERVICE_ROOT, "kms:*"))
    for call in (lambda: service.disable_key(KeyId=uses.arn), lambda: service.enable_key(KeyId=uses.arn),
                 lambda: service.schedule_key_deletion(KeyId=uses.arn),
                 lambda: service.cancel_key_deletion(KeyId=uses.arn),
                 lambda: service.put_key_policy(KeyId=uses.arn, PolicyName="default", Policy=text),
                 lambda: service.get_key_policy(KeyId=uses.arn, PolicyName="default"),
                 lambda: service.replicate_key(KeyId=uses.arn, ReplicaRegion="eu-west-1")):
        assert FOREIGN in refused("AccessDeniedException", call)
    assert all(CUSTOMER not in key["KeyArn"] for key in service.list_keys()["Keys"])


def test_the_own_account_needs_the_policy_too(kms, customer):
    statement = allow(f"arn:aws:iam::{CUSTOMER}:user/alice", "kms:*")
    arn = customer.create_key(Policy=json.dumps({"Statement": statement}),
                              BypassPolicyLockoutSafetyCheck=True)["KeyMetadata"]["Arn"]
    message = refused("AccessDeniedException", customer.describe_key, KeyId=arn)
    assert message == (f"User: arn:aws:iam::{CUSTOMER}:root is not authorized to perform: kms:DescribeKey on resource: "
                       f"{arn} because no resource-based policy allows the kms:DescribeKey action")
    alice = kms.client("alice")
    alice.put_key_policy(KeyId=arn, PolicyName="default", Policy=policy(deny("*", "kms:DescribeKey")))
    assert refused("AccessDeniedException", customer.describe_key, KeyId=arn).endswith(
        "with an explicit deny in a resource-based policy")
    customer.encrypt(KeyId=arn, Plaintext=b"x")


def test_lockout(kms, customer, service):
    arn = customer.create_key()["KeyMetadata"]["Arn"]
    lockouts = [json.dumps({"Statement": allow(SERVICE_ROOT, "kms:*")}), policy(deny("*", "kms:*")),
                json.dumps({"Statement": allow(CUSTOMER, "kms:Get*")}),
                json.dumps({"Statement": allow(f"arn:aws:iam::{CUSTOMER}:user/alice", "kms:*")})]
    locked = "The new key policy will not allow you to update the key policy in the future."
    for text in lockouts:
        assert refused("MalformedPolicyDocumentException", customer.put_key_policy, KeyId=arn, PolicyName="default",
                       Policy=text) == locked
        assert refused("MalformedPolicyDocumentException", customer.create_key, Policy=text) == locked
    customer.put_key_policy(KeyId=arn, PolicyName="default", Policy=lockouts[0], BypassPolicyLockoutSafetyCheck=True)
    for call in (customer.enable_key, customer.describe_key):
        refused("AccessDeniedException", call, KeyId=arn)
    service.describe_key(KeyId=arn)


@pytest.mark.parametrize("text, code", [
    ("not JSON", "MalformedPolicyDocumentException"),
    ("{}", "MalformedPolicyDocumentException"),
    (policy({"Effect": "Allow", "Action": "kms:*", "Resource": "*"}), "MalformedPolicyDocumentException"),
    (policy(allow("arn:aws:iam::1:root", "kms:*")), "MalformedPolicyDocumentException"),
    (policy(allow(SERVICE, "kms:*", Condition={"IpAddress": {"aws:SourceIp": "10.0.0.0/33"}})),
     "MalformedPolicyDocumentException"),
    (policy(deny(SERVICE, "kms:*", Condition={"StringEquals": {"kms:DryRun": "true"}})),
     "MalformedPolicyDocumentException"),
    (policy(allow(SERVICE, "kms:*", Condition={"StringEquals": {"kms:CallerAccount": "${x"}})),
     "MalformedPolicyDocumentException"),
    (policy(allow(SERVICE, "kms:*", Condition={"ForAllValues:StringEquals": {"kms:EncryptionContext:a": "b"}})),
     "MalformedPolicyDocumentException"),
    (policy(*[allow(SERVICE, "kms:Encrypt", Sid="x" * 100)] * 200), "LimitExceededException"),
    (policy() + "\u20ac", "ValidationException"),
])
def test_policies_that_are_refused(customer, text, code):
    arn = customer.create_key()["KeyMetadata"]["Arn"]
    before = customer.get_key_policy(KeyId=arn, PolicyName="default")["Policy"]
    assert refused(code, customer.put_key_policy, KeyId=arn, PolicyName="default", Policy=text)
    assert customer.get_key_policy(KeyId=arn, PolicyName="default")["Policy"] == before
