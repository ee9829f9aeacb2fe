"""The local KMS against bad signatures, bad bodies, bad HTTP, bad arguments."""
import base64
import json
import os
import socket
import stat
import subprocess
import threading
import time

import pytest

from kms_tools import EAST, WEST, Kms, access_key, b64, program, raw_http, sign, write_accounts


@pytest.fixture(scope="module")
def kms(tmp_path_factory):
    kms = Kms(tmp_path_factory.mktemp("kms")).start()
    yield kms
    assert kms.stop() == 0


def check(answer, code, *texts, status=400):
    assert answer[0] == status, answer
    body = answer[2]
    assert body["__type"] == code, body
    for text in texts:
        assert text in body.get("message", body.get("Message", "")), body


def test_signatures(kms):
    check(kms.raw("ListKeys", {}, secret="wrong"), "InvalidSignatureException",
          "The request signature we calculated does not match the signature you provided.")
    check(kms.raw("ListKeys", {}, access="AKIAUNKNOWN"), "UnrecognizedClientException",
          "The security token included in the request is invalid.")
    check(kms.raw("ListKeys", {}, region=EAST), "InvalidSignatureException",
          "Credential should be scoped to a valid region.")
    check(kms.raw("ListKeys", {}, service="s3"), "InvalidSignatureException",
          "Credential should be scoped to correct service: 'kms'.")
    check(kms.raw("ListKeys", {}, skew_s=-400), "InvalidSignatureException", "Signature expired:", "is now earlier than",
          "- 5 min.)")
    check(kms.raw("ListKeys", {}, skew_s=400), "InvalidSignatureException", "Signature not yet current:",
          "is still later than", "+ 5 min.)")
    for skew in (-250, 250):
        assert kms.raw("ListKeys", {}, skew_s=skew)[0] == 200
    check(kms.raw("ListKeys", {}, headers={"X-Amz-Security-Token": "x"}), "UnrecognizedClientException")


def change_header(request, name, change):
    value = request.headers[name]
    del request.headers[name]
    changed = change(value)
    if changed is not None:
        request.headers[name] = changed


def send_changed(kms, change):
    request = sign(kms, "ListKeys", b"{}")
    change(request)
    status, headers, body = kms.send(request)
    return status, headers, json.loads(body)


def test_changed_after_signing(kms):
    def target(request):
        change_header(request, "X-Amz-Target", lambda _: "TrentService.CreateKey")

    def body(request):
        request.data = b'{"Limit": 1}'

    def date(request):
        change_header(request, "X-Amz-Date", lambda value: value[:-2] + ("1Z" if value[-2] != "1" else "2Z"))

    def signature(request):
        change_header(request, "Authorization", lambda value: value[:-1] + ("0" if value[-1] != "0" else "1"))

    for change in (target, body, date, signature):
        check(send_changed(kms, change), "InvalidSignatureException")


def test_incomplete_signatures(kms):
    def without(part):
        return lambda request: change_header(
            request, "Authorization",
            lambda value: "AWS4-HMAC-SHA256 " + ", ".join(p for p in value.split(" ", 1)[1].split(", ")
                                                          if not p.startswith(part)))
    for part in ("Credential", "SignedHeaders", "Signature"):
        check(send_changed(kms, without(part)), "IncompleteSignatureException")
    check(send_changed(kms, lambda r: change_header(r, "X-Amz-Date", lambda _: None)), "IncompleteSignatureException")
    check(send_changed(kms, lambda r: change_header(r, "X-Amz-Date", lambda _: "yesterday")),
          "IncompleteSignatureException")
    check(send_changed(kms, lambda r: change_header(r, "Authorization", lambda _: "Basic eDp5")),
          "IncompleteSignatureException")
    check(send_changed(kms, lambda r: change_header(r, "Authorization", lambda _: None)),
          "MissingAuthenticationTokenException", "Missing Authentication Token")
    check(send_changed(kms, lambda r: r.headers.add_header("X-Amz-Extra", "unsigned")), "IncompleteSignatureException")


def test_bodies(kms):
    for body in (b"", b"x", b"[]", b"7", b"{", b'{"Limit":1,"Limit":2}', b'{"Limit":1} ', b"\xff\xfe", b"{}" * 2,
                 b'{"KeyId":' + b"[" * 100000, b'{"a":' * 20000, b'{"KeyId":"\\ud800"}', b'{"KeyId":"\x00"}'):
        answer = kms.raw("DescribeKey", None, body=body)
        if body == b'{"Limit":1} ':
            check(answer, "ValidationException")
        else:
            check(answer, "SerializationException")
    for value in (7, 1.5, True, [], {}, ["x"]):
        check(kms.raw("DescribeKey", {"KeyId": value}), "SerializationException", "can not be converted to String")
    check(kms.raw("DescribeKey", {"KeyId": None}), "ValidationException", "Member must not be null")
    check(kms.raw("Encrypt", {"KeyId": "x", "Plaintext": "not base64!"}), "SerializationException")
    check(kms.raw("DescribeKey", {"KeyId": "k" * 3000}), "ValidationException", "less than or equal to 2048")
    check(kms.raw("CreateKey", {"Description": "d" * 8193}), "ValidationException", "less than or equal to 8192")


def test_a_body_that_is_too_large(kms):
    request = sign(kms, "CreateKey", b'{"Description":"' + b"x" * (1 << 20) + b'"}')
    try:
        status, _, body = kms.send(request)
        assert status == 413 and json.loads(body)["__type"] == "RequestEntityTooLargeException"
    except (ConnectionError, OSError):
        pass  # the connection may break before the whole body was sent
    assert kms.raw("ListKeys", {})[0] == 200


def test_an_enormous_context(kms):
    arn = kms.client().create_key()["KeyMetadata"]["Arn"]
    context = {f"name-{i}": "v" * 20 for i in range(5000)}
    sealed = kms.client().encrypt(KeyId=arn, Plaintext=b"x", EncryptionContext=context)["CiphertextBlob"]
    assert kms.client().decrypt(CiphertextBlob=sealed, EncryptionContext=context)["Plaintext"] == b"x"


def test_other_paths_and_methods(kms):
    for head in (b"GET / HTTP/1.1", b"PUT / HTTP/1.1", b"POST /other HTTP/1.1", b"POST /?x=y HTTP/1.1"):
        answer = raw_http(kms.port(), head + b"\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        assert b" 404 " in answer.split(b"\r\n")[0] and b"UnknownOperationException" in answer, answer
    no_service = b"POST / HTTP/1.1\r\nHost: x\r\nX-Amz-Target: Other.ListKeys\r\nContent-Length: 2\r\n\r\n{}"
    assert b" 400 " in raw_http(kms.port(), no_service).split(b"\r\n")[0]


def test_bad_framing(kms):
    for fields in (b"Content-Length: 2\r\nContent-Length: 3\r\n", b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
                   b"Transfer-Encoding: gzip\r\n"):
        answer = raw_http(kms.port(), b"POST / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n{}")
        assert b" 400 " in answer.split(b"\r\n")[0], answer
    for noise in (b"\x16\x03\x01\x02\x00" * 20, b"\r\n" * 100, b"GET\r\n\r\n"):
        raw_http(kms.port(), noise)
    assert kms.raw("ListKeys", {})[0] == 200


def test_many_at_once(kms):
    client = kms.client()
    arn = client.create_key()["KeyMetadata"]["Arn"]
    failures = []

    def work():
        mine = kms.client()
        for _ in range(20):
            made = mine.generate_data_key(KeyId=arn, KeySpec="AES_256")
            if mine.decrypt(CiphertextBlob=made["CiphertextBlob"])["Plaintext"] != made["Plaintext"]:
                failures.append(made)

    def change():
        mine = kms.client()
        for i in range(20):
            mine.put_key_policy(KeyId=arn, PolicyName="default",
                                Policy=mine.get_key_policy(KeyId=arn, PolicyName="default")["Policy"] + " ")
            mine.create_key(MultiRegion=i % 2 == 0)

    threads = [threading.Thread(target=f) for f in [work] * 8 + [change] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_nothing_secret_in_files_or_log(tmp_path):
    kms = Kms(tmp_path, WEST, "--log-level", "debug").start()
    client = kms.client()
    arn = client.create_key()["KeyMetadata"]["Arn"]
    made = client.generate_data_key(KeyId=arn, KeySpec="AES_256")
    client.encrypt(KeyId=arn, Plaintext=b"very private plaintext")
    kms.stop()
    root_key = (tmp_path / "root.key").read_text().strip()
    secrets = [b"very private plaintext", made["Plaintext"], b64(made["Plaintext"]).encode(),
               b64(b"very private plaintext").encode(), b"customer-secret-key"]
    for path in tmp_path.rglob("*"):
        if not path.is_file():
            continue
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 or path.suffix == ".log", path
        content = path.read_bytes()
        if path.name != "accounts.json":
            assert not any(secret in content for secret in secrets), path
        if path.name != "root.key":
            assert root_key.encode() not in content and base64.b64encode(bytes.fromhex(root_key)) not in content, path


def run(*arguments, timeout=10):
    return subprocess.run([program(), *map(str, arguments)], capture_output=True, text=True, timeout=timeout, check=False)


def test_help_and_usage_errors(tmp_path):
    done = run("--help")
    assert done.returncode == 0 and "--listen HOST:PORT" in done.stdout and not done.stderr
    assert run("--version").stdout.startswith("lockset-kms ")
    data = ("--data", tmp_path / "d")
    for arguments, text in (((), "--data DIR is missing"), (data, "--listen HOST:PORT is missing"),
                            ((*data, "--listen", "8080"), "is not HOST:PORT"),
                            ((*data, "--listen", "127.0.0.1:x"), "is not a number"),
                            ((*data, "--listen", "127.0.0.1:70000"), "is not a number"),
                            ((*data, "--listen", "0.0.0.0:0"), "--tls-cert"),
                            ((*data, "--listen", "127.0.0.1:0", "--region", "moon"), "is not an AWS region"),
                            ((*data, "--listen", "127.0.0.1:0", "--nonsense"), "nonsense"),
                            ((*data, "--listen", "127.0.0.1:0", "extra"), "'extra'"),
                            ((*data, "--listen", "127.0.0.1:0", "--tls-cert", "x"), "go together"),
                            ((*data, "--listen", "127.0.0.1:0", "--log-level", "loud"), "--log-level")):
        done = run(*arguments)
        assert done.returncode == 2 and text in done.stderr and not done.stdout, (arguments, done)
    assert not (tmp_path / "d").exists()


def test_refusals_at_start(tmp_path):
    start = ("--data", tmp_path / "d", "--listen", "127.0.0.1:0", "--accounts")
    missing = run(*start, tmp_path / "nothing.json")
    assert missing.returncode == 1 and "nothing.json" in missing.stderr
    accounts = write_accounts(tmp_path / "accounts.json")
    accounts.chmod(0o640)
    readable = run(*start, accounts)
    assert readable.returncode == 1 and "chmod 600" in readable.stderr
    accounts.chmod(0o600)
    accounts.write_text('{"accounts":[{"account":"1","access_key_id":"A","secret_access_key":"0123456789abcdef"}]}')
    wrong = run(*start, accounts)
    assert wrong.returncode == 1 and "12 digits" in wrong.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        write_accounts(accounts)
        done = run("--data", tmp_path / "d", "--listen", f"127.0.0.1:{taken.getsockname()[1]}", "--accounts", accounts)
        assert done.returncode == 1 and done.stderr
    running = Kms(tmp_path, accounts=accounts).start()
    try:
        second = run("--data", tmp_path / WEST, "--listen", "127.0.0.1:0", "--accounts", accounts)
        assert second.returncode == 1 and "already serves" in second.stderr
    finally:
        running.stop()
    other = run("--data", tmp_path / WEST, "--listen", "127.0.0.1:0", "--accounts", accounts, "--region", EAST)
    assert other.returncode == 1 and "another region" in other.stderr


def test_accounts_made_at_first_start(tmp_path):
    process = subprocess.Popen([program(), "--data", str(tmp_path / "d"), "--listen", "127.0.0.1:0"],
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        url = process.stdout.readline().split()[1]
        path = tmp_path / "d" / "accounts.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        account = json.loads(path.read_text())["accounts"][0]
        import boto3
        client = boto3.client("kms", endpoint_url=url, region_name=WEST, aws_access_key_id=account["access_key_id"],
                              aws_secret_access_key=account["secret_access_key"])
        assert client.create_key()["KeyMetadata"]["AWSAccountId"] == account["account"]
    finally:
        process.terminate()
        assert process.wait(5) == 0
        process.stdout.close()


def test_ends_at_once(tmp_path):
    kms = Kms(tmp_path).start()
    idle = [socket.create_connection(("127.0.0.1", kms.port())) for _ in range(20)]
    kms.client().list_keys()
    started = time.monotonic()
    assert kms.stop() == 0
    assert time.monotonic() - started < 1
    for connection in idle:
        connection.close()


def test_dies_with_its_parent(tmp_path):
    accounts = write_accounts(tmp_path / "accounts.json")
    script = (f"{program()} --data {tmp_path}/d --listen 127.0.0.1:0 --accounts {accounts} --die-with-parent & "
              "echo $!; sleep 60")
    shell = subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE, text=True)
    pid = int(shell.stdout.readline())
    assert shell.stdout.readline().startswith("ready:")
    shell.kill()
    shell.wait()
    shell.stdout.close()
    deadline = time.monotonic() + 3
    while os.path.exists(f"/proc/{pid}") and "Z" not in open(f"/proc/{pid}/stat").read().split(")")[1].split()[0]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert access_key("customer") in accounts.read_text()
