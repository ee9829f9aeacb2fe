"""The local KMS and what IAM decides: identity policies, and what a request carries for conditions."""
import json

import pytest

from kms_tools import CUSTOMER, SERVICE, WEST, Kms, allow, deny, policy, refused

OWNER = allow(CUSTOMER, "kms:*")


@pytest.fixture(scope="module")
def kms(tmp_path_factory):
    kms = Kms(tmp_path_factory.mktemp("kms")).start()
    yield kms
    kms.stop()


@pytest.fixture(scope="module")
def customer(kms):
    return kms.client()


@pytest.fixture
def arn(customer):
    return customer.create_key(MultiRegion=True, Tags=[{"TagKey": "team", "TagValue": "a"}])["KeyMetadata"]["Arn"]


def put(customer, arn, *statements):
    customer.put_key_policy(KeyId=arn, PolicyName="default", Policy=policy(*statements))


def because(who, action, arn, end):
    return f"User: arn:aws:iam::{CUSTOMER}:user/{who} is not authorized to perform: kms:{action} on resource: {arn} {end}"


def test_the_account_only_opens_the_door(kms, customer, arn):
    nobody, decrypter = kms.client("nobody"), kms.client("decrypter")
    blob = customer.encrypt(KeyId=arn, Plaintext=b"x")["CiphertextBlob"]
    assert decrypter.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"
    assert decrypter.describe_key(KeyId=arn)["KeyMetadata"]["Arn"] == arn
    assert refused("AccessDeniedException", decrypter.encrypt, KeyId=arn, Plaintext=b"x") == because(
        "decrypter", "Encrypt", arn, "because no identity-based policy allows the kms:Encrypt action")
    assert refused("AccessDeniedException", decrypter.schedule_key_deletion, KeyId=arn) == because(
        "decrypter", "ScheduleKeyDeletion", arn, "with an explicit deny in an identity-based policy")
    assert refused("AccessDeniedException", nobody.describe_key, KeyId=arn) == because(
        "nobody", "DescribeKey", arn, "because no identity-based policy allows the kms:DescribeKey action")


def test_named_directly_one_needs_no_policy(kms, customer, arn):
    nobody = kms.client("nobody")
    put(customer, arn, OWNER, allow(f"arn:aws:iam::{CUSTOMER}:user/nobody", "kms:Encrypt"))
    nobody.encrypt(KeyId=arn, Plaintext=b"x")
    refused("AccessDeniedException", nobody.describe_key, KeyId=arn)


def test_across_accounts_both_are_needed(kms, customer, arn):
    stranger = kms.client("stranger")
    put(customer, arn, OWNER, allow("*", ["kms:DescribeKey", "kms:Encrypt"]))
    kms.client("service").describe_key(KeyId=arn)
    assert refused("AccessDeniedException", stranger.describe_key, KeyId=arn) == (
        f"User: arn:aws:iam::{SERVICE}:user/stranger is not authorized to perform: kms:DescribeKey on resource: {arn} "
        "because no identity-based policy allows the kms:DescribeKey action")


def test_what_iam_alone_decides(kms, customer, arn):
    nobody, decrypter = kms.client("nobody"), kms.client("decrypter")
    assert any(key["KeyArn"] == arn for key in decrypter.list_keys(Limit=1000)["Keys"])
    for action, call in (("ListKeys", nobody.list_keys), ("CreateKey", nobody.create_key),
                         ("CreateKey", decrypter.create_key)):
        who = "nobody" if call.__self__ is nobody else "decrypter"
        assert refused("AccessDeniedException", call) == because(
            who, action, "*", f"because no identity-based policy allows the kms:{action} action")
    put(customer, arn, OWNER, allow(f"arn:aws:iam::{CUSTOMER}:user/nobody", "kms:ReplicateKey"))
    assert refused("AccessDeniedException", nobody.replicate_key, KeyId=arn, ReplicaRegion="eu-west-1") == because(
        "nobody", "CreateKey", "*", "because no identity-based policy allows the kms:CreateKey action")


def test_tags_of_a_new_key_take_a_permission_of_their_own(kms, arn):
    maker, tags = kms.client("maker"), [{"TagKey": "team", "TagValue": "a"}]
    denied = because("maker", "TagResource", "*", "because no identity-based policy allows the kms:TagResource action")
    maker.create_key(Tags=[])
    assert refused("AccessDeniedException", maker.create_key, Tags=tags) == denied
    assert refused("AccessDeniedException", maker.replicate_key, KeyId=arn, ReplicaRegion="eu-west-1", Tags=tags) == denied
    maker.replicate_key(KeyId=arn, ReplicaRegion="eu-west-1")


def test_an_alias_takes_leave_of_the_key_and_for_the_alias(kms, customer, arn):
    maker, other = kms.client("maker"), customer.create_key()["KeyMetadata"]["KeyId"]
    for name in ("alias/others-", "alias/maker"):
        name += arn[-8:]
        customer.create_alias(AliasName=name, TargetKeyId=arn)
        alias = f"arn:aws:kms:{WEST}:{CUSTOMER}:{name}"
        for action, call, more in (("CreateAlias", maker.create_alias, {"TargetKeyId": arn}),
                                   ("UpdateAlias", maker.update_alias, {"TargetKeyId": other}),
                                   ("DeleteAlias", maker.delete_alias, {})):
            assert refused("AccessDeniedException", call, AliasName=name, **more) == because(
                "maker", action, alias, f"because no identity-based policy allows the kms:{action} action")
        assert customer.describe_key(KeyId=name)["KeyMetadata"]["Arn"] == arn
    name = "alias/maker-" + arn[-8:]
    maker.create_alias(AliasName=name, TargetKeyId=arn)
    maker.update_alias(AliasName=name, TargetKeyId=other)
    put(customer, other, OWNER, deny(f"arn:aws:iam::{CUSTOMER}:user/maker", "kms:DeleteAlias"))
    assert "explicit deny in a resource-based policy" in refused("AccessDeniedException", maker.delete_alias, AliasName=name)
    put(customer, other, OWNER)
    maker.delete_alias(AliasName=name)


def test_the_caller_must_keep_the_policy_in_hand(kms, customer, arn):
    text = json.dumps({"Statement": allow(f"arn:aws:iam::{CUSTOMER}:user/alice", "kms:*")})
    assert refused("MalformedPolicyDocumentException", customer.put_key_policy, KeyId=arn, PolicyName="default",
                   Policy=text) == "The new key policy will not allow you to update the key policy in the future."
    kms.client("alice").put_key_policy(KeyId=arn, PolicyName="default", Policy=text)


@pytest.mark.parametrize("holds, condition", [
    (True, {"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}),
    (False, {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}),
    (True, {"StringEquals": {"aws:RequestedRegion": WEST}}),
    (True, {"DateGreaterThan": {"aws:CurrentTime": "2020-01-01"}}),
    (False, {"DateLessThan": {"aws:CurrentTime": "2020-01-01"}}),
    (True, {"NumericGreaterThan": {"aws:EpochTime": "1600000000"}}),
    (True, {"Bool": {"aws:SecureTransport": "true"}, "StringLike": {"aws:UserAgent": "Boto3/*"}}),
    (True, {"StringEquals": {"kms:KeySpec": "SYMMETRIC_DEFAULT", "kms:KeyUsage": "ENCRYPT_DECRYPT",
                             "kms:KeyOrigin": "AWS_KMS", "kms:MultiRegion": "true",
                             "kms:MultiRegionKeyType": "PRIMARY", "aws:ResourceAccount": CUSTOMER}}),
    (False, {"StringEquals": {"kms:MultiRegionKeyType": "REPLICA"}}),
    (True, {"StringEquals": {"aws:ResourceTag/team": "a"}}),
    (False, {"StringEquals": {"aws:ResourceTag/team": "b"}}),
    (True, {"StringEquals": {"kms:EncryptionAlgorithm": "SYMMETRIC_DEFAULT"}}),
    (True, {"ForAnyValue:StringEquals": {"kms:EncryptionContextKeys": "tenant"}}),
    (False, {"ForAllValues:StringEquals": {"kms:EncryptionContextKeys": "tenant"}}),
    (False, {"StringEquals": {"kms:ViaService": f"s3.{WEST}.amazonaws.com"}}),
    (False, {"Null": {"kms:RequestAlias": "false"}}),
    (True, {"StringEquals": {"kms:EncryptionContext:tenant": "${aws:PrincipalAccount}"}}),
])
def test_what_a_request_carries(kms, customer, arn, holds, condition):
    service = kms.client("service")
    put(customer, arn, OWNER, allow(SERVICE, "kms:Encrypt", Condition=condition))
    context = {"tenant": SERVICE, "purpose": "x"}
    if holds:
        service.encrypt(KeyId=arn, Plaintext=b"x", EncryptionContext=context)
    else:
        refused("AccessDeniedException", service.encrypt, KeyId=arn, Plaintext=b"x", EncryptionContext=context)


def test_conditions_on_parameters(customer, arn):
    put(customer, arn, OWNER, deny("*", "kms:ScheduleKeyDeletion", Condition={
        "NumericLessThan": {"kms:ScheduleKeyDeletionPendingWindowInDays": 14}}),
        deny("*", "kms:ReplicateKey", Condition={"StringNotLike": {"kms:ReplicaRegion": "us-*"}}),
        deny("*", "kms:PutKeyPolicy", Condition={"Bool": {"kms:BypassPolicyLockoutSafetyCheck": "true"}}))
    refused("AccessDeniedException", customer.replicate_key, KeyId=arn, ReplicaRegion="eu-west-1")
    customer.replicate_key(KeyId=arn, ReplicaRegion="us-east-1")
    refused("AccessDeniedException", customer.put_key_policy, KeyId=arn, PolicyName="default", Policy=policy(OWNER),
            BypassPolicyLockoutSafetyCheck=True)
    refused("AccessDeniedException", customer.schedule_key_deletion, KeyId=arn, PendingWindowInDays=13)
    customer.schedule_key_deletion(KeyId=arn, PendingWindowInDays=14)


def test_conditions_on_reencryption(customer, arn):
    other = customer.create_key()["KeyMetadata"]["Arn"]
    put(customer, arn, OWNER, deny("*", "kms:ReEncrypt*", Condition={"Bool": {"kms:ReEncryptOnSameKey": "false"}}))
    blob = customer.encrypt(KeyId=arn, Plaintext=b"x")["CiphertextBlob"]
    assert customer.re_encrypt(CiphertextBlob=blob, DestinationKeyId=arn)["KeyId"] == arn
    refused("AccessDeniedException", customer.re_encrypt, CiphertextBlob=blob, DestinationKeyId=other)
    foreign = customer.encrypt(KeyId=other, Plaintext=b"x")["CiphertextBlob"]
    refused("AccessDeniedException", customer.re_encrypt, CiphertextBlob=foreign, DestinationKeyId=arn)


def test_conditions_on_aliases(kms, customer, arn):
    name = "alias/payroll-" + arn[-8:]
    customer.create_alias(AliasName=name, TargetKeyId=arn)
    put(customer, arn, OWNER, deny("*", "kms:Encrypt", Condition={"StringNotLike": {"kms:RequestAlias": "alias/pay*"}}))
    customer.encrypt(KeyId=name, Plaintext=b"x")
    customer.encrypt(KeyId=f"arn:aws:kms:{WEST}:{CUSTOMER}:{name}", Plaintext=b"x")
    refused("AccessDeniedException", customer.encrypt, KeyId=arn, Plaintext=b"x")
    aliased = kms.client("aliased")
    put(customer, arn, OWNER)
    aliased.encrypt(KeyId=arn, Plaintext=b"x")
    customer.delete_alias(AliasName=name)
    refused("AccessDeniedException", aliased.encrypt, KeyId=arn, Plaintext=b"x")
