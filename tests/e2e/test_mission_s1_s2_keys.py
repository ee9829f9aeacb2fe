"""S1 and S2: every organization's data is encrypted at rest, under its customer's key when it has one."""
import json

from lockset_dev import CUSTOMER, WEST, Dev, wait_for


def wrapped_keys(dev, org):
    return [json.loads(p.read_text()) for p in (dev.store / org.id / "keys").glob("*.json")]


def test_s1_without_a_customer_key_the_operators_own_key_encrypts(shared_dev):
    org = shared_dev.create_org(key_arn=None)
    org.create_collection("c")
    assert org.add("c", [{"_id": "1", "secret": "zebra-in-the-store"}]).status == 200
    assert org.rows("SELECT secret FROM c") == [{"secret": "zebra-in-the-store"}]
    encryption = org.encryption()
    assert encryption["kind"] == "service"
    keys = wrapped_keys(shared_dev, org)
    assert len(keys) >= 2
    assert all(k["kms_key_arn"].startswith(f"arn:aws:kms:{WEST}:318212636800:key/mrk-") for k in keys)
    for path in (shared_dev.store / org.id).rglob("*"):
        assert not path.is_file() or b"zebra" not in path.read_bytes(), path


def test_s1_it_fails_closed_when_the_operators_kms_refuses(dev_with):
    dev = dev_with({"key.probe_interval": "1s", "key.full_check_interval": "2s", "key.kms_timeout": "500ms"})
    org = dev.create_org(key_arn=None)
    org.create_collection("c")
    assert org.add("c", [{"_id": "1"}]).status == 200
    arn = json.loads((dev.data / "kms" / "service-key.json").read_text())["us-west-2"]
    dev.kms(profile="service").disable_key(KeyId=arn)
    refused = wait_for(lambda: (lambda a: a if a.status != 200 else None)(org.query("SELECT count(*) AS n FROM c")), 15)
    assert refused.status == 403 and arn in refused.message
    dev.kms(profile="service").enable_key(KeyId=arn)
    wait_for(lambda: org.is_answering("SELECT count(*) AS n FROM c"), 20)
    assert org.count("c") == 1


def test_s2_all_data_keys_are_wrapped_by_the_customers_key(shared_dev):
    org = shared_dev.create_org()
    for collection in ("one", "two"):
        org.create_collection(collection)
        assert org.add(collection, [{"_id": "1", "v": 1}]).status == 200
    keys = wrapped_keys(shared_dev, org)
    assert {k["kind"] for k in keys} == {"branch", "name"}
    assert {k["kms_key_arn"] for k in keys} == {org.key_arn}
    # The customer can open them with their key and the right encryption context, and with no other.
    kms = shared_dev.kms()
    import base64
    for key in keys:
        opened = kms.decrypt(CiphertextBlob=base64.b64decode(key["wrapped"]), EncryptionContext=key["encryption_context"],
                             KeyId=org.key_arn)
        assert len(opened["Plaintext"]) == 32
        try:
            kms.decrypt(CiphertextBlob=base64.b64decode(key["wrapped"]),
                        EncryptionContext={**key["encryption_context"], "lockset:org": "another"}, KeyId=org.key_arn)
            raise AssertionError("opened under another organization's context")
        except kms.exceptions.InvalidCiphertextException:
            pass
    # Every sealed file names the key in its header.
    sealed = [p for folder in ("names", "bodies") for p in (shared_dev.store / org.id / folder).rglob("*") if p.is_file()]
    assert sealed
    assert all(org.key_arn.encode() in p.read_bytes()[:512] for p in sealed)


def test_s2_only_the_operator_creates_organizations(shared_dev):
    org = shared_dev.create_org()
    from lockset_dev import http_call
    for headers in ({}, {"Authorization": f"ApiKey {org.api_key}"}, {"Authorization": "Operator wrong"},
                    {"Authorization": "Bearer " + shared_dev.info["operator_token"]}):
        answer = http_call(shared_dev.api, "POST", "/v1/admin/orgs", {"name": "intruder", "region": WEST}, headers)
        assert answer.status == 401, (headers, answer)
        assert answer.json["type"] == "AUTHEXCEPTION"
    names = [o["name"] for o in shared_dev.admin("GET", "/orgs").data]
    assert "intruder" not in names


def test_s2_customer_keys_are_off_until_the_operator_turns_them_on(dev_with):
    dev = dev_with({"customer_keys.enabled": "false"})
    answer = dev.admin("POST", "/orgs", {"name": "acme", "region": WEST, "kms_key_arn": dev.create_key()})
    assert 400 <= answer.status < 500, answer
    assert "customer_keys.enabled" in answer.message
    assert dev.admin("GET", "/orgs").data == []
    assert dev.create_org("plain", key_arn=None).encryption()["kind"] == "service"
