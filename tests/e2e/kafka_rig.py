"""A Kafka cluster for the tests (librdkafka's mock), and who is connected to it."""
import json
import subprocess

from lockset_dev import BUILD


class Kafka:
    def __init__(self, brokers=1):
        self.process = subprocess.Popen([str(BUILD / "kafka-mock"), str(brokers)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.servers = json.loads(self.process.stdout.readline())["bootstrap_servers"]
        self.ports = {int(s.rpartition(":")[2]) for s in self.servers.split(",")}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(20)

    def do(self, what, **more):
        return self.do_all([{"do": what, **more}])[0]

    def do_all(self, commands):
        """In portions whose answers fit into a pipe."""
        answers = []
        for at in range(0, len(commands), 1000):
            portion = commands[at:at + 1000]
            self.process.stdin.write("".join(json.dumps(c) + "\n" for c in portion))
            self.process.stdin.flush()
            answers += [json.loads(self.process.stdout.readline()) for _ in portion]
        for answer in answers:
            assert answer["ok"], answer
        return answers

    def topic(self, name, partitions=1):
        self.do("topic", topic=name, partitions=partitions)

    def produce(self, topic, messages):
        """(partition, key, value) each; value: an object, a text, or None. They are there afterwards."""
        self.do_all([{"do": "produce", "topic": topic, "partition": p, "key": k,
                      "value": v if v is None or isinstance(v, str) else json.dumps(v)} for p, k, v in messages])
        self.do("flush")

    def connections(self, pid):
        """How many sockets of a process are connected to the cluster."""
        done = subprocess.run(["ss", "-Htnp", "state", "established"], capture_output=True, text=True, check=True)
        return sum(1 for line in done.stdout.splitlines()
                   if f"pid={pid}," in line and int(line.split()[3].rpartition(":")[2]) in self.ports)


def integrate(org, kafka, name="stream", **more):
    answer = org.call("POST", "/integrations", {"name": name, "kafka": {"bootstrap_servers": kafka.servers, **more}})
    assert answer.status == 200, answer
    return answer.data


def source(topic, integration="stream", **more):
    return {"integration_name": integration, "kafka": {"kafka_topic_name": topic, **more}}


def collect(org, name, *sources, **more):
    answer = org.call("POST", "/ws/commons/collections", {"name": name, "sources": list(sources), **more})
    assert answer.status == 200, answer
    return answer.data
