"""The local KMS's fault controls: what tests ask for over the fault socket happens, to the calls it is for, and to no
others."""
import os
import socket
import stat
import threading
import time

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from keyring_rig import wait_for
from kms_tools import EAST, WEST, Faults, Kms, refused, sign


@pytest.fixture(scope="module")
def kms(tmp_path_factory):
    root = tmp_path_factory.mktemp("kms")
    kms = Kms(root, WEST, "--fault-socket", str(root / "fault.sock")).start()
    yield kms
    kms.stop()


@pytest.fixture
def faults(kms):
    faults = Faults(kms.root / "fault.sock")
    yield faults
    faults.clear()
    faults.close()


@pytest.fixture
def customer(kms):
    return kms.client()


@pytest.fixture
def arn(customer):
    return customer.create_key()["KeyMetadata"]["Arn"]


def test_only_the_owner_gets_in(kms):
    path = kms.root / "fault.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    status, _, answer = kms.raw("SetFault", {"do": "set", "fault": "drop"})
    assert status == 400 and answer["__type"] == "UnknownOperationException"


def test_errors(customer, faults, arn):
    number = faults.set("error", error="KMSInternalException", message="not today", calls=2)
    for _ in range(2):
        with pytest.raises(ClientError) as caught:
            customer.describe_key(KeyId=arn)
        answer = caught.value.response
        assert answer["Error"]["Code"] == "KMSInternalException" and answer["Error"]["Message"] == "not today"
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 500
    customer.describe_key(KeyId=arn)
    assert faults.hits(number) == 2
    faults.set("error", error="AccessDeniedException", message="no", operation="Encrypt")
    assert refused("AccessDeniedException", customer.encrypt, KeyId=arn, Plaintext=b"x") == "no"
    faults.set("error", error="SomethingNewException", status=503, operation="DescribeKey", calls=1)
    with pytest.raises(ClientError) as caught:
        customer.describe_key(KeyId=arn)
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 503


def test_throttling(customer, faults, arn):
    faults.set("throttle", operation="DescribeKey", calls=1)
    assert refused("ThrottlingException", customer.describe_key, KeyId=arn).startswith("You have exceeded the rate")
    customer.describe_key(KeyId=arn)


def test_for_one_operation_and_one_key(customer, faults, arn):
    other = customer.create_key()["KeyMetadata"]["Arn"]
    blob = customer.encrypt(KeyId=arn, Plaintext=b"x")["CiphertextBlob"]
    number = faults.set("throttle", operation="Decrypt", key=arn)
    refused("ThrottlingException", customer.decrypt, CiphertextBlob=blob)
    refused("ThrottlingException", customer.decrypt, CiphertextBlob=blob, KeyId=arn.rpartition("/")[2])
    assert faults.hits(number) == 2
    customer.describe_key(KeyId=arn)
    customer.decrypt(CiphertextBlob=customer.encrypt(KeyId=other, Plaintext=b"y")["CiphertextBlob"])
    assert faults.clear(number) == 1
    assert customer.decrypt(CiphertextBlob=blob)["Plaintext"] == b"x"


def test_the_first_one_set_applies(customer, faults, arn):
    faults.set("error", error="KeyUnavailableException", calls=1)
    faults.set("throttle", calls=1)
    for code, status in (("KeyUnavailableException", 500), ("ThrottlingException", 400)):
        with pytest.raises(ClientError) as caught:
            customer.describe_key(KeyId=arn)
        assert caught.value.response["Error"]["Code"] == code
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_a_delay(customer, faults, arn):
    faults.set("delay", ms=300, calls=1)
    began = time.monotonic()
    customer.describe_key(KeyId=arn)
    assert 0.3 <= time.monotonic() - began < 5
    faults.set("delay", ms=3_600_000)
    threading.Thread(target=lambda: wait_for(lambda: any(f["hits"] for f in faults.ask("list")["faults"]))
                     and faults.clear(), daemon=True).start()
    customer.describe_key(KeyId=arn)  # what is cleared delays no longer


def test_a_dropped_connection(customer, faults, arn):
    faults.set("drop", calls=1)
    with pytest.raises(ConnectionClosedError):
        customer.describe_key(KeyId=arn)
    customer.describe_key(KeyId=arn)


def test_a_hanging_call(kms, customer, faults, arn):
    number = faults.set("hang", operation="DescribeKey", calls=2)
    done = []
    waiting = threading.Thread(target=lambda: done.append(customer.describe_key(KeyId=arn)))
    waiting.start()
    wait_for(lambda: faults.hits(number) == 1)
    customer.encrypt(KeyId=arn, Plaintext=b"x")
    sock = socket.create_connection(("127.0.0.1", kms.port()))
    prepared = sign(kms, "DescribeKey", b'{"KeyId":"' + arn.encode() + b'"}').prepare()
    fields = {"Host": f"127.0.0.1:{kms.port()}", "Content-Length": len(prepared.body), **prepared.headers}
    head = "".join(f"{k}: {v}\r\n" for k, v in fields.items())
    sock.sendall(f"POST / HTTP/1.1\r\n{head}\r\n".encode() + prepared.body)
    wait_for(lambda: faults.hits(number) == 2)
    sock.close()  # whoever hangs up is not waited for
    assert not done
    faults.clear(number)
    waiting.join(10)
    assert done[0]["KeyMetadata"]["Arn"] == arn


def test_unsigned_requests_are_refused_first(kms, faults):
    number = faults.set("error", error="KMSInternalException")
    wrong = sign(kms, "ListKeys", b"{}", secret="wrong" * 8)
    assert b"InvalidSignatureException" in kms.send(wrong)[2]
    assert faults.hits(number) == 0


@pytest.mark.parametrize("line", [
    "", "x", "[]", "{}", '{"do":"stop"}', '{"do":"set"}', '{"do":"set","fault":"explode"}', '{"do":"set","fault":"delay"}',
    '{"do":"set","fault":"error"}', '{"do":"set","fault":"error","error":"a b"}', '{"do":"set","fault":"drop","calls":0}',
    '{"do":"set","fault":"drop","colour":"red"}', '{"do":"set","fault":"error","error":"X","status":200}',
    '{"do":"clear","id":"x"}', '{"do":"list","id":1}', '{"do":"set","fault":"hang","operation":7}', "\x00"])
def test_what_is_no_command(faults, line):
    answer = faults.tell(line)
    assert answer["ok"] is False and answer["error"]
    assert faults.ask("list")["faults"] == []


def test_many_at_the_socket(kms):
    several = [Faults(kms.root / "fault.sock") for _ in range(32)]
    assert all(f.ask("list")["faults"] == [] for f in several)
    several[0].socket.sendall(b'{"do":"li')
    several[1].socket.sendall(b"x" * 20000)  # a line without an end
    assert several[1].lines.readline() == ""
    several[0].socket.sendall(b'st"}\n{"do":"list"}\n')
    assert [several[0].lines.readline() for _ in range(2)] == ['{"ok":true,"faults":[]}\n'] * 2
    for f in several:
        f.close()


def test_the_end(kms, tmp_path):
    path = tmp_path / "fault.sock"
    mine = Kms(tmp_path, WEST, "--fault-socket", str(path)).start()
    faults = Faults(path)
    faults.set("hang")
    client = mine.client()
    failed = []

    def call():
        try:
            client.list_keys()
        except (ConnectionClosedError, ReadTimeoutError) as error:
            failed.append(error)
    thread = threading.Thread(target=call)
    thread.start()
    wait_for(lambda: faults.ask("list")["faults"][0]["hits"] == 1)
    assert mine.stop() == 0  # calls that hang hold nothing up
    thread.join(10)
    assert len(failed) == 1 and not os.path.exists(path)
    faults.close()


def test_lockset_dev_has_them(shared_dev):
    for region in (WEST, EAST):
        faults = Faults(shared_dev.data / "run" / f"kms-fault.{region}.sock")
        faults.set("throttle", operation="DescribeKey", calls=1)
        refused("ThrottlingException", impatient(shared_dev, region).describe_key, KeyId="mrk-" + "0" * 32)
        refused("NotFoundException", impatient(shared_dev, region).describe_key, KeyId="mrk-" + "0" * 32)
        faults.close()


def impatient(dev, region):
    """The customer's client, without retries."""
    return boto3.client("kms", endpoint_url=dev.kms_urls[region], region_name=region,
                        aws_access_key_id=dev.credential("customer", "aws_access_key_id"),
                        aws_secret_access_key=dev.credential("customer", "aws_secret_access_key"),
                        config=Config(retries={"max_attempts": 0}))
