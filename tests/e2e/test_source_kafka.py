"""Kafka topics as data sources, through the REST API: what is stored is what was produced, whatever happens."""
import json
import os
import signal
import time

import pytest

from kafka_rig import Kafka, collect, integrate, source
from lockset_dev import WEST, Dev, wait_for
from sources_rig import count, errors_of, path, sources_of, status_of, wait_count, wait_watching

QUICK = {"key.probe_interval": "1s", "key.full_check_interval": "2s", "key.kms_timeout": "500ms",
         "key.ride_through": "4s", "key.pause_after": "6s"}
DETACHED_S = 2  # from the moment the key's loss is known; SOURCE_CANCEL_MS and the keeper's tick are within


@pytest.fixture(scope="module")
def dev():
    with Dev(QUICK) as running:
        yield running


@pytest.fixture(scope="module")
def kafka():
    with Kafka(2) as running:
        yield running


@pytest.fixture
def org(dev, kafka):
    org = dev.create_org()
    integrate(org, kafka)
    yield org
    for collection in org.call("GET", "/collections").data if org.state() == "AVAILABLE" else []:
        org.call("DELETE", f"/ws/commons/collections/{collection['name']}")


@pytest.fixture
def topic(request):
    return request.node.name.replace("[", ".").replace("]", "")


def numbers(first, last, partitions=3):
    return [(i % partitions, None, {"n": i}) for i in range(first, last)]


def all_there(org, many):
    """Each number once: by the documents, and by what the source counted together with them."""
    row, = org.rows("SELECT count(*) AS docs, count(DISTINCT n) AS numbers, min(n) AS low, max(n) AS high FROM c")
    assert row == {"docs": many, "numbers": many, "low": 0, "high": many - 1}
    assert status_of(org)["total_processed_items"] == many


def test_a_topic_is_read_and_followed(org, kafka, topic):
    kafka.topic(topic, 3)
    kafka.produce(topic, [(0, "a", {"n": 1}), (0, "b", {"n": 2, "_id": "other"}), (1, None, {"n": 3, "_id": "own"}),
                          (1, None, "poison"), (2, None, {"n": 4}), (0, "a", {"n": 5}), (0, "gone", {"n": 6}), (0, "gone", None)])
    collect(org, "c", source(topic))
    wait_watching(org)
    assert count(org) == 4
    assert org.rows("SELECT _id, n FROM c WHERE n < 4 OR n = 5 ORDER BY _id") == [
        {"_id": "a", "n": 5}, {"_id": "b", "n": 2}, {"_id": "own", "n": 3}]
    shown, = sources_of(org)
    status = shown["status"]
    assert status["error_count"] == 1 and status["total_processed_items"] == 7 and status["message"] is None
    assert status["last_processed_item"].startswith(topic + "[") and status["lag"] == 0
    assert shown["kafka"]["status"]["state"] == "ACTIVE"
    assert shown["kafka"]["status"]["kafka_partitions"] == [{"partition": 0, "offset": 5, "lag": 0},
                                                            {"partition": 1, "offset": 2, "lag": 0},
                                                            {"partition": 2, "offset": 1, "lag": 0}]
    error, = errors_of(org, shown["id"])
    assert error["origin"] == f"{topic}[1]@1" and error["record"] == "poison" and "JSON object" in error["reason"]

    kafka.produce(topic, [(2, "late", {"n": 7}), (0, "b", None)])
    wait_for(lambda: org.rows("SELECT n FROM c WHERE _id = 'late'") == [{"n": 7}], 20)
    wait_for(lambda: org.rows("SELECT n FROM c WHERE _id = 'b'") == [], 20)
    group = f"lockset-{shown['id']}"
    wait_for(lambda: kafka.do("committed", group=group, topic=topic, partition=0)["offset"] == 6, 20,
             what="the offsets in the customer's monitoring")


def test_from_latest_and_keys_that_name_nothing(org, kafka, topic):
    kafka.topic(topic, 2)
    kafka.produce(topic, [(0, "user", {"n": 0})])
    collect(org, "c", source(topic, offset_reset_policy="LATEST", key_is_id=False))
    wait_watching(org)
    assert sources_of(org)[0]["kafka"]["status"]["state"] == "NO_DOCS_YET"
    kafka.produce(topic, [(0, "user", {"n": 1}), (0, "user", {"n": 2}), (1, "user", None)])
    wait_count(org, 2)
    assert org.rows("SELECT n FROM c ORDER BY n") == [{"n": 1}, {"n": 2}]
    error, = wait_for(lambda: errors_of(org, sources_of(org)[0]["id"]), 10)
    assert error["origin"] == f"{topic}[1]@0"


def test_secrets_stay_hidden_and_wrong_ones_are_told(dev, org, kafka, topic):
    kafka.topic(topic)
    integrate(org, kafka, "secured", security_config={"api_key": "theApiKey", "secret": "kafka-secret-0815"})
    shown = json.dumps(org.call("GET", "/integrations/secured").json)
    assert "kafka-secret-0815" not in shown
    collect(org, "c", source(topic, "secured"))  # the mock speaks no TLS
    status = wait_for(lambda: (lambda s: s if s["state"] == "ERROR" else None)(status_of(org)), 40, what="ERROR")
    assert "Kafka" in status["message"] and "kafka-secret-0815" not in status["message"]
    assert b"kafka-secret-0815" not in dev.log().encode()


@pytest.mark.parametrize("config, words", [
    ({}, "kafka_topic_name"), ({"kafka_topic_name": "a b"}, "kafka_topic_name"),
    ({"kafka_topic_name": "t", "offset_reset_policy": "NEWEST"}, "EARLIEST or LATEST"),
    ({"kafka_topic_name": "t", "brokers": "x"}, "brokers")])
def test_what_is_no_source_is_refused(org, config, words):
    answer = org.call("POST", "/ws/commons/collections", {"name": "never", "sources": [
        {"integration_name": "stream", "kafka": config}]})
    assert answer.status == 400 and words in answer.message, answer


@pytest.mark.parametrize("config, words", [
    ({}, "bootstrap_servers"), ({"bootstrap_servers": "http://x"}, "host:port"),
    ({"bootstrap_servers": "b:9092", "kafka_data_format": "AVRO"}, "JSON")])
def test_what_is_no_integration_is_refused(org, config, words):
    answer = org.call("POST", "/integrations", {"name": "never", "kafka": config})
    assert answer.status == 400 and words in answer.message, answer


def test_kill_9_of_the_api_in_the_middle(dev, org, kafka, topic):
    kafka.topic(topic, 3)
    collect(org, "c", source(topic))
    wait_watching(org)
    produced, kills, pid = 0, 0, None
    while kills < 5:
        kafka.produce(topic, numbers(produced, produced + 3000))
        produced += 3000
        killed = pid
        pid = wait_for(lambda: (lambda p: p if p != killed else None)(dev.pids().get("api")), 20, what="the api")
        wait_for(lambda: kafka.connections(pid) > 0, 30, what="a reader")
        time.sleep(0.05 * kills)  # at another moment each time
        os.kill(pid, signal.SIGKILL)
        kills += 1
    wait_for(org.is_answering, 30)
    wait_count(org, produced)
    all_there(org, produced)
    kafka.produce(topic, numbers(produced, produced + 100))
    wait_count(org, produced + 100)
    all_there(org, produced + 100)


def test_brokers_that_are_away(org, kafka, topic):
    with Kafka() as own:
        integrate(org, own, "own")
        own.topic(topic, 3)
        own.produce(topic, numbers(0, 1000))
        collect(org, "c", source(topic, "own"))
        wait_count(org, 1000)
        own.do("down")
        wait_for(lambda: status_of(org)["state"] == "ERROR", 40, what="ERROR")
        assert "Kafka" in status_of(org)["message"]
        assert count(org) == 1000
        own.do("up")
        own.produce(topic, numbers(1000, 2000))
        wait_count(org, 2000)
        all_there(org, 2000)


def test_the_key_goes_in_the_middle(dev, org, kafka, topic):
    """S10, S11: within the bound nobody reads; once the key is back, it goes on where it stood."""
    kafka.topic(topic, 3)
    kafka.produce(topic, numbers(0, 3000))
    collect(org, "c", source(topic))
    wait_count(org, 3000)
    api = dev.pids()["api"]
    assert kafka.connections(api) > 0
    org.disable_key()
    produced = 3000
    while org.state() == "AVAILABLE":
        kafka.produce(topic, numbers(produced, produced + 300))
        produced += 300
    wait_for(lambda: kafka.connections(api) == 0, DETACHED_S, 0.05, "no connection to the brokers")
    kafka.produce(topic, numbers(produced, produced + 3000))
    produced += 3000
    assert kafka.connections(api) == 0
    org.enable_key()
    wait_for(org.is_answering, 30)
    wait_count(org, produced)
    all_there(org, produced)


def recover(dev, org):
    return dev.admin("POST", f"/orgs/{org.name}/regions/{WEST}/recover", {})


def pause(org):
    org.disable_key()
    org.wait_state("PAUSED", 60)


def test_a_pause_with_everything_still_there(dev, org, kafka, topic):
    """S12, S13."""
    kafka.topic(topic, 3)
    kafka.produce(topic, numbers(0, 1000))
    collect(org, "c", source(topic))
    wait_count(org, 1000)
    pause(org)
    kafka.produce(topic, numbers(1000, 2000))
    org.enable_key()
    answer = wait_for(lambda: (lambda a: a if a.status == 200 else None)(recover(dev, org)), 40, 0.5, "the recovery")
    told, = answer.data["collections"]
    assert told["collection"] == "commons.c" and told["recovered"] is True, told
    wait_count(org, 2000)
    all_there(org, 2000)


def test_a_pause_that_outlasts_the_retention(dev, org, kafka, topic):
    """S13: the brokers removed what was not read yet: that collection is lost, and nothing else."""
    kafka.topic(topic, 2)
    kafka.topic(topic + ".good", 1)
    kafka.produce(topic, numbers(0, 100, 2))
    kafka.produce(topic + ".good", numbers(0, 100, 1))
    collect(org, "c", source(topic))
    collect(org, "good", source(topic + ".good"))
    wait_count(org, 100)
    wait_count(org, 100, "good")
    pause(org)
    low = kafka.do("overflow", topic=topic, partition=1)["low"]
    assert low > 50
    org.enable_key()
    answer = wait_for(lambda: (lambda a: a if a.status == 200 else None)(recover(dev, org)), 40, 0.5, "the recovery")
    told = {c["collection"]: c for c in answer.data["collections"]}
    assert told["commons.good"]["recovered"] is True
    lost = told["commons.c"]
    assert lost["recovered"] is False
    assert f"{topic}[1]: the messages from offset 50 to {low - 1} were removed" in lost["reason"]
    kafka.produce(topic + ".good", numbers(100, 200, 1))
    wait_count(org, 200, "good")
