"""@rockset/client from npm works with only the server's URL changed."""
import json
import os
import shutil
import subprocess

import pytest

from api_rig import Rig
from lockset_dev import ROOT

MODULES = ROOT / "build" / "deps" / "js" / "node_modules"


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_javascript_client(slash):
    assert shutil.which("node") and MODULES.exists(), "scripts/bootstrap installs the client"
    with Rig() as rig:
        org = rig.org()
        environment = dict(os.environ, NODE_PATH=str(MODULES), LOCKSET_API=rig.url + slash, LOCKSET_API_KEY=org.api_key)
        done = subprocess.run(["node", str(ROOT / "tests" / "js" / "client.js")], capture_output=True, text=True, timeout=60,
                              check=False, env=environment)
        assert done.returncode == 0, done.stderr
        seen = json.loads(done.stdout)
        assert seen["organization"]["id"] == org.id
        assert seen["workspace"]["name"] == "js" and seen["workspaces"] == ["commons", "js"]
        assert seen["created"]["status"] == "CREATED" and seen["collection"]["status"] == "READY"
        assert seen["collections"] == ["js.c"] and seen["inWorkspace"] == 1
        assert [d["status"] for d in seen["added"]["data"]] == ["ADDED", "ADDED"]
        assert [d["status"] for d in seen["patched"]["data"]] == ["PATCHED"]
        assert seen["rows"] == [{"_id": "a", "x": 2}]
        assert [d["status"] for d in seen["deleted"]["data"]] == ["DELETED"]
        assert seen["count"] == [{"?count": 1}]
        assert seen["badSql"]["type"] == "QUERY_ERROR" and "nope" in seen["badSql"]["message"]
        assert seen["noCollection"]["type"] == "NOTFOUND" and seen["badKey"]["type"] == "AUTHEXCEPTION"
        assert seen["dropped"] == "DELETED"
