"""Deleting an organization for good: every wrapped copy of its data keys goes, so that nothing can be read any more, whoever
kept a copy of the rest; its name is free again, its id is not."""
import shutil
import sqlite3
import tempfile
import time

import pytest

from lockset_dev import EAST, Dev, wait_for


@pytest.fixture(scope="module")
def dev():
    with Dev() as running:
        yield running


def loaded(dev, regions=False):
    org = dev.create_org()
    org.create_collection("c")
    assert org.add("c", [{"_id": "1", "text": "marker"}]).status == 200
    if regions:
        dev.replicate_key(org.key_arn)
        assert dev.admin("POST", f"/orgs/{org.name}/regions", {"region": EAST}).status == 201
        org.at(EAST).create_collection("c")
    return org


def rows_about(dev, org):
    """Table -> rows in the registry that name the organization."""
    db = sqlite3.connect(f"file:{dev.data}/registry.db?mode=ro", uri=True)
    found = {}
    for (table,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
        columns = [c[1] for c in db.execute(f"PRAGMA table_info({table})")]
        column = next((c for c in ("org", "id") if c in columns), None)
        if column:
            n = db.execute(f"SELECT count(*) FROM {table} WHERE {column} = ?", (org.id,)).fetchone()[0]
            if n:
                found[table] = n
    return found


def test_everything_goes(dev):
    org, other = loaded(dev, regions=True), loaded(dev)
    wrapped = [f.read_text() for s in dev.stores.values() for f in (s / org.id / "keys").glob("*.json")]
    assert len(wrapped) >= 4
    begun = time.monotonic()
    answer = dev.admin("DELETE", f"/orgs/{org.name}")
    assert answer.status == 200, answer
    assert answer.data["deleted"] is True and answer.data["remains"] == []
    print(f"deleted in {time.monotonic() - begun:.2f} s")
    assert org.query("SELECT 1").status == 401
    assert dev.admin("GET", f"/orgs/{org.name}").status == 404
    wait_for(lambda: not any(org.id in name for name in dev.pids()), 5, what="no process of it left")
    for store in dev.stores.values():
        assert not (store / org.id).exists()
    assert set(rows_about(dev, org)) == {"events", "retired_orgs"}
    # Not in what SQLite keeps beside its rows either.
    import base64
    import json
    blobs = b"".join(p.read_bytes() for p in dev.data.glob("registry.db*"))
    for text in wrapped:
        assert base64.b64decode(json.loads(text)["wrapped"]) not in blobs
    assert other.count("c") == 1  # nobody else notices
    assert dev.admin("DELETE", f"/orgs/{org.name}").status == 404
    # The name can be used again, for another organization.
    again = dev.create_org(org.name)
    assert again.id != org.id and again.rows("SELECT 1 AS one") == [{"one": 1}]


def test_while_it_is_used(dev):
    import threading
    org = loaded(dev)
    stop = threading.Event()

    def work():
        while not stop.is_set():
            try:
                if org.add("c", [{"n": 1}]).status == 401:
                    return
            except OSError:
                pass
    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    try:
        time.sleep(1)
        assert dev.admin("DELETE", f"/orgs/{org.id}").status == 200
    finally:
        stop.set()
        for t in threads:
            t.join()
    time.sleep(1)
    assert not (dev.store / org.id).exists()
    assert not any(org.id in name for name in dev.pids())


def test_while_the_key_is_away(dev):
    org = loaded(dev)
    org.disable_key()
    wait_for(lambda: org.query("SELECT 1").status == 403, 20)
    assert dev.admin("DELETE", f"/orgs/{org.name}").status == 200
    assert not (dev.store / org.id).exists()


def test_bad_requests_delete_nothing(dev):
    org = loaded(dev)
    assert dev.admin("DELETE", "/orgs/nobody").status == 404
    assert dev.admin("DELETE", f"/orgs/{org.name}", {"force": True}).status == 400
    assert dev.cli("org", "delete", org.name, check=False).returncode == 2
    assert dev.cli("org", "delete", org.name, "--confirm", "else", check=False).returncode == 2
    assert org.count("c") == 1
    assert org.name in dev.cli("org", "delete", org.name, "--confirm", org.name).stdout
    assert org.query("SELECT 1").status == 401


@pytest.mark.parametrize("victim", ["keyring", "supervisor"])
def test_killed_in_the_middle(victim):
    import threading
    data = tempfile.mkdtemp(prefix="ls-")
    dev = Dev(data=data).start()
    try:
        for round_number in range(4):
            org = loaded(dev)
            (dev.store / org.id / "bodies" / "filler").mkdir()
            for i in range(3000):  # so that it takes a while
                (dev.store / org.id / "bodies" / "filler" / str(i)).touch()
            thread = threading.Thread(target=lambda: attempt(dev, org))
            thread.start()
            time.sleep(0.01 * round_number)
            if victim == "keyring":
                dev.devctl("stop", "keyring")
                dev.devctl("start", "keyring")
            else:
                dev.kill()
                dev.start()
            thread.join(130)
            wait_for(lambda: dev.admin("GET", "/orgs").status == 200, 20)
            if dev.admin("GET", f"/orgs/{org.name}").status == 200:
                wait_for(org.is_answering, 30, 0.2, "it exists whole")
                assert org.count("c") == 1
                assert dev.admin("DELETE", f"/orgs/{org.name}").status == 200
            assert not (dev.store / org.id / "keys").exists()
            dev.stop()
            dev.start()  # removes what is left
            assert not (dev.store / org.id).exists()
    finally:
        dev.stop()
        shutil.rmtree(data, ignore_errors=True)


def attempt(dev, org):
    try:
        dev.admin("DELETE", f"/orgs/{org.name}", timeout=20)
    except (OSError, TimeoutError):
        pass
