"""The api or the keyring is killed in the middle of the creation of an organization: it is there, whole, or it is not there
at all and its name is free."""
import os
import signal
import threading

import pytest

from lockset_dev import Dev, WEST, http_call, wait_for


@pytest.fixture(scope="module")
def dev():
    with Dev({"key.kms_timeout": "30s", "key.denied_bound": "300s"}) as started:
        yield started


def is_up(dev):
    try:
        return dev.admin("GET", "/orgs").status == 200
    except OSError:
        return False


@pytest.mark.parametrize("victim", ["api", "keyring"])
@pytest.mark.parametrize("kind", ["customer", "service"])
def test_killed_while_kms_is_asked(dev, victim, kind):
    name = f"half-{victim}-{kind}"
    body = {"name": name, "region": WEST}
    if kind == "customer":
        body["kms_key_arn"] = dev.create_key()
    dev.devctl("freeze", f"kms.{WEST}")  # the preflight stands still in the middle
    answers = []

    def create():
        try:
            answers.append(dev.admin("POST", "/orgs", body))
        except OSError as e:
            answers.append(e)

    client = threading.Thread(target=create)
    client.start()
    wait_for(lambda: unread_by_kms(dev) > 0, what="KMS is asked")
    pid = dev.pid(victim)
    os.kill(pid, signal.SIGKILL)
    dev.devctl("thaw", f"kms.{WEST}")
    client.join(60)
    assert not client.is_alive() and len(answers) == 1
    assert isinstance(answers[0], OSError) or answers[0].status in (201, 503), answers
    wait_for(lambda: is_up(dev) and dev.pid(victim) not in (None, pid), what=f"{victim} is back")
    whole = dev.admin("GET", f"/orgs/{name}")
    if whole.status == 404:
        made = wait_for(lambda: (lambda a: a if a.status == 201 else None)(dev.admin("POST", "/orgs", body)), what="its name is free")
        key = made.data["api_key"]
    else:  # the keyring went on: only the answer was lost
        assert whole.status == 200 and victim == "api", whole
        assert whole.data["kind"] == kind and whole.data["kms_key_arn"] == body.get("kms_key_arn")
        key = dev.admin("POST", f"/orgs/{name}/api-keys", {}).data["api_key"]
    headers = {"Authorization": f"ApiKey {key}"}

    def works():
        return http_call(dev.api, "POST", "/v1/orgs/self/queries", {"sql": {"query": "SELECT 1 AS one"}}, headers).status == 200

    wait_for(works, what="its queries are answered")
    assert [o["name"] for o in dev.admin("GET", "/orgs").data].count(name) == 1


def unread_by_kms(dev):
    """Bytes that were sent to the local KMS and wait there."""
    port = int(dev.kms_urls[WEST].rpartition(":")[2])
    with open("/proc/net/tcp", encoding="ascii") as f:
        rows = [line.split() for line in f.readlines()[1:]]
    return sum(int(r[4].split(":")[1], 16) for r in rows if r[3] == "01" and int(r[1].split(":")[1], 16) == port)
