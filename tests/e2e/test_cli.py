"""The command line as a stranger meets it: what it says when something is wrong, exit codes, progress, Ctrl-C."""
import os
import signal
import socket
import subprocess

import pytest

from lockset_dev import LOCKSET, wait_for

CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("LOCKSET_")}


def lockset(*words, cwd=None, stdin=None, **environment):
    return subprocess.run([str(LOCKSET), *map(os.fsencode, words)], capture_output=True, timeout=60, check=False, cwd=cwd,
                          env={**CLEAN, **environment}, input=stdin, encoding="utf-8", errors="replace")


@pytest.fixture(scope="module")
def org(shared_dev):
    made = shared_dev.create_org()
    made.create_collection("c")
    return made


# ---- help and usage ----

def test_help_of_everything():
    done = lockset("--help")
    assert done.returncode == 0 and not done.stderr
    commands = [line.strip().split("  ")[0] for line in done.stdout.splitlines() if line.startswith("  ")]
    assert len(commands) > 20
    for command in commands:
        name = [w for w in command.split() if not w.isupper() and not w[0].isupper()]
        for form in ([*name, "--help"], ["help", *name]):
            one = lockset(*form)
            assert one.returncode == 0 and one.stdout.startswith(f"Usage: lockset {' '.join(name)}"), (form, one)
    assert "lockset org create NAME" in lockset("help", "org").stdout
    assert lockset().returncode == 2
    assert lockset("--version").stdout.startswith("lockset ")


@pytest.mark.parametrize("words,says", [
    (["frobnicate"], "unknown command 'frobnicate'"),
    (["frobnicate", "--help"], "unknown command 'frobnicate'"),
    (["help", "frobnicate"], "unknown command 'frobnicate'"),
    (["org", "destroy"], "unknown command 'org destroy'"),
    (["org", "create"], "needs NAME"),
    (["org", "show", "a", "b"], "unexpected word: b"),
    (["org", "list", "--bogus"], "unknown option --bogus"),
    (["org", "list", "--api"], "a value is missing after --api"),
    (["org", "list", "--json=yes"], "takes no value"),
    (["query", "SELECT 1"], "where is the API?"),
    (["query", "SELECT 1", "--api", "http://127.0.0.1:1"], "--api-key or set LOCKSET_API_KEY"),
    (["org", "list", "--api", "http://127.0.0.1:1"], "set LOCKSET_TOKEN"),
    (["query", "SELECT 1", "--api", "127.0.0.1:1", "--api-key", "x"], "must begin with http:// or https://"),
    (["query", "SELECT 1", "--api", "http://x", "--api-key", "x", "--limit", "ten"], "--limit must be a whole number"),
    (["query", "SELECT 1", "--api", "http://x", "--api-key", "x", "--param", "a"], "NAME=VALUE"),
    (["ingest", "c", "f", "--api", "http://x", "--api-key", "x", "--batch", "-1"], "--batch must be a whole number"),
    (["ingest", "c", "f", "--api", "http://x", "--api-key", "x", "--batch", "0"], "--batch must be at least 1"),
    (["ingest", "c", "f", "--api", "http://x", "--api-key", "x", "--max-wait", "1h"], "--max-wait must be a whole number"),
    (["collection", "create", ".", "--api", "http://x", "--api-key", "x"], "WORKSPACE.NAME"),
    (["collection", "delete", "", "--api", "http://x", "--api-key", "x"], "WORKSPACE.NAME"),
    (["collection", "show", "a.", "--api", "http://x", "--api-key", "x"], "WORKSPACE.NAME"),
    (["org", "create", "x\udcff", "--api", "http://x", "--token", "x"], "not valid UTF-8"),
    (["org", "create", "xx", "--key-arn", "x\udcff", "--api", "http://x", "--token", "x"], "--key-arn is not valid UTF-8"),
    (["org", "create", "xx", "--display-name", "\udcff", "--api", "http://x", "--token", "x"], "--display-name is not valid"),
    (["collection", "create", "c", "--description", "\udcff", "--api", "http://x", "--api-key", "x"], "--description is not"),
])
def test_wrong_usage(tmp_path, words, says):
    done = lockset(*words, cwd=tmp_path)
    assert done.returncode == 2 and says in done.stderr and not done.stdout, done


@pytest.mark.parametrize("words,says", [
    (["query", "SELECT 1", "--api", "http://127.0.0.1:1", "--api-key", "x"], "http://127.0.0.1:1: Failed to connect"),
    (["query", "SELECT 1", "--api", "http://nowhere.invalid", "--api-key", "x"], "Could not resolve host"),
    (["org", "list", "--data", "/nonexistent"], "start `lockset dev --data /nonexistent` first"),
    (["devctl", "stop", "api", "--data", "/nonexistent"], "no `lockset dev` or `lockset serve` runs on /nonexistent"),
])
def test_nobody_there(tmp_path, words, says):
    done = lockset(*words, cwd=tmp_path)
    assert done.returncode == 1 and says in done.stderr and not done.stdout, done


# ---- what the API says, in full ----

def test_failures_come_with_their_reason(shared_dev, org):
    for words, key, says in [
            (("query", "SELECT 1"), "wrong", "this API key is not known (HTTP 401)"),
            (("query", "SELEC 1"), org.api_key, "(HTTP 400)"),
            (("query", "SELECT :a"), org.api_key, "'parameters' holds no such name"),
            (("query", "SELECT :a", "--param", "a:int=x"), org.api_key, "give a whole number"),
            (("collection", "show", "nope"), org.api_key, "does not exist"),
            (("collection", "create", "c"), org.api_key, "exists already"),
            (("org", "list", "--token", "wrong"), None, "the operator's token is wrong (HTTP 401)"),
            (("org", "show", "nobody"), None, "There is no organization 'nobody'."),
            (("devctl", "stop", "nobody"), None, "no process 'nobody'; there are: kms.us-west-2")]:
        done = shared_dev.cli(*words, key=key, check=False)
        assert done.returncode == 1 and says in done.stderr and not done.stdout, (words, done)


def test_a_refusal_for_the_key_is_told_to_its_end(dev_with):
    dev = dev_with({"key.probe_interval": "1s", "key.full_check_interval": "1s", "key.kms_timeout": "1s"})
    org = dev.create_org()
    org.disable_key()
    org.wait_state("UNAVAILABLE")
    done = dev.cli("query", "SELECT 1", key=org.api_key, check=False)
    assert done.returncode == 1
    for part in (org.key_arn, "DisabledException", "aws kms enable-key", "access then returns by itself", "(HTTP 403)"):
        assert done.stderr.count(part) >= 1, done.stderr
    assert done.stderr.count("aws kms enable-key") == 1, done.stderr
    assert org.key_arn in dev.cli("key", "state", key=org.api_key).stdout
    events = dev.cli("org", "events", org.name).stdout
    assert f"refuses the use of the key {org.key_arn} (DisabledException" in events, events  # the reason comes last, uncut
    dev.devctl("stop", "api")
    refused = dev.cli("query", "SELECT 1", key=org.api_key, check=False, timeout=20)
    assert refused.returncode == 1 and "Failed to connect" in refused.stderr
    dev.devctl("start", "api")
    wait_for(lambda: dev.cli("org", "list", check=False).returncode == 0, what="the api is back")


def test_key_check_fails_with_how_to_mend(shared_dev):
    good = shared_dev.create_key()
    assert "kms:Encrypt" in shared_dev.cli("key", "check", good).stdout
    policy = shared_dev.policy()
    policy["Statement"][1]["Action"] = [a for a in policy["Statement"][1]["Action"] if a != "kms:Encrypt"]
    done = shared_dev.cli("key", "check", shared_dev.create_key(policy), check=False)
    assert done.returncode == 1 and "nothing was created" in done.stderr
    failed = [line for line in done.stderr.splitlines() if "FAIL" in line]
    assert len(failed) == 1 and "kms:Encrypt" in failed[0]
    assert "mend: Allow kms:Encrypt" in done.stderr
    assert good.rpartition("/")[2] in shared_dev.cli("org", "create", "cli-whole", "--key-arn", good).stdout
    assert good in shared_dev.cli("org", "list").stdout  # an ARN is not cut


# ---- ingest ----

FILES = [("half.json", b'[{"a":1},{"b":', 1, "is not complete"), ("text.csv", b"a,b\n1,2\n", 1, "expected a document"),
         ("cut.json", b'[{"a":1}', 1, "cut off"), ("behind.json", b'[{"a":1}] x', 1, "expected a document"),
         ("twice.json", b'[{"a":1,"a":2}]', 1, "document 1 of the file was refused: holds the same field twice"),
         ("large.json", b'[{"a":"' + b"x" * (11 << 20) + b'"}]', 1, "over 10 MiB"),
         ("empty.json", b"", 0, "0 documents"), ("mark.json", b'\xef\xbb\xbf[{"_id":"m"}]', 0, "1 document\n"),
         ("lines.json", b'{"_id":"x"}\n{"_id":"y"}\n', 0, "2 documents\n")]


@pytest.mark.parametrize("name,content,code,says", FILES, ids=[f[0] for f in FILES])
def test_files(shared_dev, org, tmp_path, name, content, code, says):
    file = tmp_path / name
    file.write_bytes(content)
    done = shared_dev.cli("ingest", "c", str(file), key=org.api_key, check=False)
    assert done.returncode == code and says in (done.stderr if code else done.stdout), done


def test_files_that_cannot_be_read(shared_dev, org, tmp_path):
    folder = shared_dev.cli("ingest", "c", str(tmp_path), key=org.api_key, check=False)
    assert folder.returncode == 1 and "Is a directory" in folder.stderr
    missing = shared_dev.cli("ingest", "c", str(tmp_path / "no"), key=org.api_key, check=False)
    assert missing.returncode == 1 and "No such file" in missing.stderr
    nowhere = shared_dev.cli("ingest", "nope", "-", key=org.api_key, check=False, stdin='{"a":1}')
    assert nowhere.returncode == 1 and "Collection 'nope' does not exist" in nowhere.stderr


# ---- secrets and Ctrl-C ----

def hanging(words):
    """The command, connected to a server that never answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    process = subprocess.Popen([str(LOCKSET), *words, "--api", address], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=CLEAN,
                               # Whoever runs the tests in the background has them ignore it.
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    listener.settimeout(20)
    connection, _ = listener.accept()
    connection.settimeout(20)
    assert connection.recv(10)
    return process, (listener, connection)


@pytest.mark.parametrize("words", [["query", "SELECT 1", "--api-key", "unguessable-4711"], ["org", "list", "--token=unguessable-4711"]])
def test_secrets_leave_the_command_line(words):
    process, sockets = hanging(words)
    with open(f"/proc/{process.pid}/cmdline", "rb") as f:
        line = f.read()
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == -signal.SIGINT
    assert words[0].encode() in line and b"unguessable" not in line, line
    assert process.stdout.read() == b""
    for s in sockets:
        s.close()
