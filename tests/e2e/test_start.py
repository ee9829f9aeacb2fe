"""Starting a node: what is wrong with its settings or files is said at once, by name; a production node with TLS starts."""
import os
import signal
import socket
import ssl
import subprocess
import time
import urllib.request

import pytest

from lockset_dev import LOCKSET, wait_for

TOKEN = "operator-token-of-this-node"


def lockset(*words, timeout=30):
    begun = time.monotonic()
    done = subprocess.run([str(LOCKSET), *map(str, words)], capture_output=True, text=True, timeout=timeout, check=False,
                          env={"PATH": os.environ["PATH"], "HOME": "/nonexistent"})
    return done, time.monotonic() - begun


@pytest.fixture
def node(tmp_path_factory):
    """Writes the settings of a node: the given lines in place of those of the same name."""
    folder = tmp_path_factory.mktemp("n")
    (folder / "token").write_text(TOKEN + "\n")
    (folder / "token").chmod(0o600)

    def write(*more, listen="127.0.0.1:0"):
        lines = {"data": str(folder / "d"), "operator.token_file": str(folder / "token"), "kms.endpoint": "http://127.0.0.1:1"}
        lines.update(dict(line.split(": ", 1) for line in more))
        text = "".join(f"{k}: {v}\n" for k, v in lines.items())
        text += f"regions:\n  - name: us-west-2\n    api.listen: {listen}\n"
        (folder / "node.yaml").write_text(text)
        return folder / "node.yaml"

    write.folder = folder
    return write


@pytest.mark.parametrize("line,says", [
    ("operator.token_file: /nonexistent", "operator.token_file: /nonexistent: No such file"),
    ("api.tls.cert: /nonexistent\napi.tls.key: /nonexistent", "api.tls.cert: /nonexistent: No such file"),
    ("aws.credentials_file: /nonexistent", "aws.credentials_file: /nonexistent: No such file"),
    ("engine.chdb: /nonexistent", "engine.chdb: /nonexistent: No such file"),
    ("bogus: 1", "node.yaml:4: unknown key 'bogus'"),
    ("key.probe_interval: 90s", "node.yaml:4: key.probe_interval: '90s' is out of range (allowed: 1s to 60s)"),
    ("kms.endpoint: localhost", "node.yaml:3: kms.endpoint: 'localhost' is not valid: it must be http(s)://"),
])
def test_refused_at_once(node, line, says):
    done, _ = lockset("serve", "--config", node(*line.split("\n")))
    assert done.returncode in (1, 2) and says in done.stderr and not done.stdout, done


def test_a_token_that_others_can_read_is_refused(node):
    (node.folder / "token").chmod(0o644)
    done, _ = lockset("serve", "--config", node())
    assert done.returncode == 2 and "chmod 600" in done.stderr and TOKEN not in done.stderr
    (node.folder / "token").write_text("short")
    (node.folder / "token").chmod(0o600)
    done, _ = lockset("serve", "--config", node())
    assert done.returncode == 2 and "at least 20 characters" in done.stderr


def test_what_no_restart_mends_ends_the_start(node):
    """No credentials for KMS anywhere; and a certificate that is none."""
    done, took = lockset("serve", "--config", node())
    assert done.returncode == 1 and "keyring can't start" in done.stderr and "no AWS credentials" in done.stderr and took < 15
    assert not done.stdout
    (node.folder / "cert").write_text("this is no certificate")
    (node.folder / "aws").write_text("[default]\naws_access_key_id = AKIAX\naws_secret_access_key = y\n")
    (node.folder / "aws").chmod(0o600)
    config = node(f"api.tls.cert: {node.folder}/cert", f"api.tls.key: {node.folder}/cert", f"aws.credentials_file: {node.folder}/aws")
    done, took = lockset("serve", "--config", config)
    assert done.returncode == 1 and "api can't start" in done.stderr and took < 15, done
    assert not done.stdout


def test_a_node_with_tls(node, shared_dev):
    cert, key = node.folder / "cert.pem", node.folder / "key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
                    "/CN=lockset.example", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert], check=True,
                   capture_output=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = node(f"api.tls.cert: {cert}", f"api.tls.key: {key}", f"aws.credentials_file: {shared_dev.data}/credentials",
                  "aws.profile: service", f"kms.endpoint: {shared_dev.kms_urls['us-west-2']}", listen=f"127.0.0.1:{port}")
    with open(node.folder / "log", "wb") as log:
        process = subprocess.Popen([str(LOCKSET), "serve", "--config", str(config)], stdout=subprocess.PIPE, stderr=log)
    try:
        line = process.stdout.readline().decode()
        assert line.startswith(f"ready: api=https://127.0.0.1:{port}"), (node.folder / "log").read_text()
        trusted = ssl.create_default_context(cafile=str(cert))
        with urllib.request.urlopen(f"https://localhost:{port}/readyz", context=trusted, timeout=10) as answer:
            assert answer.status == 200
        request = urllib.request.Request(f"https://localhost:{port}/v1/admin/orgs", headers={"Authorization": f"Operator {TOKEN}"})
        with urllib.request.urlopen(request, context=trusted, timeout=10) as answer:
            assert answer.read() == b'{"data":[]}'
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def test_a_second_node_on_the_same_folder_or_port(shared_dev, node):
    done, _ = lockset("dev", "--data", shared_dev.data)
    assert done.returncode == 1 and "another lockset runs on" in done.stderr
    port = shared_dev.api.rpartition(":")[2]
    done, _ = lockset("dev", "--data", node.folder / "x", "--set", f"dev.port_base={port}")
    assert done.returncode == 1 and f"port {port} at 127.0.0.1 is in use" in done.stderr
    wait_for(lambda: subprocess.run([str(LOCKSET), "org", "list", "--data", str(shared_dev.data)], capture_output=True, check=False).returncode
             == 0, what="the first one still serves")


def test_the_longest_path_of_a_data_folder(node, dev_with):
    room = 64 - len(str(node.folder)) - 1
    dev = dev_with(data=node.folder / ("d" * room))
    assert dev.create_org().rows("SELECT 1 AS one") == [{"one": 1}]
    done, _ = lockset("dev", "--data", node.folder / ("d" * (room + 1)))
    assert done.returncode == 2 and "too long for the sockets in it; at most 64 characters" in done.stderr
