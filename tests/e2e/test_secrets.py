"""API keys, the operator's token and AWS's secret keys stand where they must, and nowhere else: not in a log, a command
line, an environment, the registry, the store, or what the api says."""
import pathlib

from lockset_dev import LOCKSET, http_call

PLACES = {"dev.json": "operator", "credentials": "aws", "run/kms-accounts.json": "aws"}


def test_secrets_are_nowhere_else(dev_with):
    dev = dev_with()
    org = dev.create_org()
    second = dev.admin("POST", f"/orgs/{org.name}/api-keys", {"name": "second"}).data["api_key"]
    secrets = {"key": [org.api_key, second], "operator": [dev.info["operator_token"]],
               "aws": [dev.credential(p, "aws_secret_access_key") for p in ("service", "customer")]}
    org.create_collection("c")
    org.add("c", [{"_id": "a"}])
    assert org.rows("SELECT 1 AS one") == [{"one": 1}]
    # Requests that fail, with secrets where they don't belong.
    for every in (*secrets["key"], *secrets["operator"], *secrets["aws"]):
        for header in (f"ApiKey {every}x", f"Operator {every}x", f"Bearer {every}", every):
            answer = http_call(dev.api, "GET", "/v1/orgs/self", headers={"Authorization": header})
            assert answer.status == 401 and every not in answer.message
        http_call(dev.api, "GET", f"/v1/orgs/self/ws/{every}?key={every}", headers={"Authorization": f"ApiKey {org.api_key}"})
        http_call(dev.api, "POST", f"/v1/{every}", {"name": every}, {"Authorization": f"ApiKey {org.api_key}"})
    org.disable_key()
    org.wait_state("UNAVAILABLE")
    org.enable_key()
    org.wait_state("AVAILABLE")
    pids = list(dev.pids().values())
    assert len(pids) >= 6
    for pid in pids:
        for file in ("cmdline", "environ", "comm"):
            content = pathlib.Path(f"/proc/{pid}/{file}").read_bytes()
            assert not any(s.encode() in content for every in secrets.values() for s in every), (pid, file)
    dev.stop()
    log = dev.log()
    for path in (p for p in dev.data.rglob("*") if p.is_file()):
        content = path.read_bytes()
        allowed = PLACES.get(str(path.relative_to(dev.data)))
        for kind, values in secrets.items():
            for secret in values:
                assert secret not in log, kind
                assert kind == allowed or secret.encode() not in content, (kind, path)
        assert path.stat().st_mode & 0o077 == 0, path
    assert pathlib.Path(LOCKSET).exists()
