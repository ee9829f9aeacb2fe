"""The local KMS: calls in a second of one core's time, and what keys cost in memory. No peer does this work."""
import concurrent.futures
import json
import os
import socket
import time

import measure
from kms_tools import Kms, sign
from monitor import cpu_seconds, resident_mib

KEYS = int(os.environ.get("BENCH_KMS_KEYS", "10000"))
SECONDS = float(os.environ.get("BENCH_KMS_SECONDS", "3"))
CONNECTIONS = 4


class Connection:
    """One connection kept open, on which one signed request is sent over and over."""

    def __init__(self, kms, operation, members):
        request = sign(kms, operation, json.dumps(members).encode()).prepare()
        fields = {"Host": f"127.0.0.1:{kms.port()}", "Content-Length": len(request.body), **request.headers}
        self.bytes = (f"POST / HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields.items())
                      + "\r\n").encode() + request.body
        self.socket = socket.create_connection(("127.0.0.1", kms.port()))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""

    def call(self):
        self.socket.sendall(self.bytes)
        while b"\r\n\r\n" not in self.rest:
            self.more()
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(head.decode())
        length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        while len(self.rest) < length:
            self.more()
        body, self.rest = self.rest[:length], self.rest[length:]
        return body

    def more(self):
        piece = self.socket.recv(65536)
        if not piece:
            raise RuntimeError("the local KMS closed the connection")
        self.rest += piece

    def close(self):
        self.socket.close()


def rate(kms, operation, members):
    """Calls in a second of the service's CPU time, all threads together, on one core."""
    connections = [Connection(kms, operation, members) for _ in range(CONNECTIONS)]
    until = time.monotonic() + SECONDS

    def work(connection):
        calls = 0
        while time.monotonic() < until:
            connection.call()
            calls += 1
        return calls
    for connection in connections:
        connection.call()
    cpu, begun = cpu_seconds(kms.process.pid), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        calls = sum(pool.map(work, connections))
    took, cpu = time.monotonic() - begun, cpu_seconds(kms.process.pid) - cpu
    for connection in connections:
        connection.close()
    return {"calls_in_a_cpu_second": round(calls / cpu), "calls_in_a_second": round(calls / took),
            "cpu_percent_of_the_core": round(100 * cpu / took)}


def create_keys(kms):
    connections = [Connection(kms, "CreateKey", {"MultiRegion": True}) for _ in range(CONNECTIONS)]

    def work(connection):
        for _ in range(KEYS // CONNECTIONS):
            connection.call()
    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(work, connections))
    for connection in connections:
        connection.close()
    return KEYS // CONNECTIONS * CONNECTIONS / (time.monotonic() - begun)


def run(folder):
    kms = Kms(folder).start()
    try:
        for thread in os.listdir(f"/proc/{kms.process.pid}/task"):  # those of connections come from these
            os.sched_setaffinity(int(thread), {min(os.sched_getaffinity(0))})
        client = kms.client()
        arn = client.create_key(MultiRegion=True)["KeyMetadata"]["Arn"]
        context = {"lockset:org": "o" * 32, "lockset:region": "us-west-2", "lockset:branch": "b" * 32}
        blob = Connection(kms, "GenerateDataKey", {"KeyId": arn, "KeySpec": "AES_256", "EncryptionContext": context})
        ciphertext = json.loads(blob.call())["CiphertextBlob"]
        blob.close()
        idle = resident_mib(kms.process.pid)
        created = create_keys(kms)
        result = {
            "keys": KEYS,
            "mib_for_10000_keys": round((resident_mib(kms.process.pid) - idle) * 10000 / KEYS, 1),
            "mib_without_keys": round(idle, 1),
            "keys_created_in_a_second": round(created),
            "GenerateDataKey": rate(kms, "GenerateDataKey", {"KeyId": arn, "KeySpec": "AES_256",
                                                             "EncryptionContext": context}),
            "Decrypt": rate(kms, "Decrypt", {"CiphertextBlob": ciphertext, "EncryptionContext": context}),
        }
    finally:
        kms.stop()
    print("\nThe local KMS, on one core:")
    for name, value in result.items():
        if isinstance(value, dict):
            for more, figure in value.items():
                print(f"  {name + ', ' + more.replace('_', ' '):46} {figure:,}")
        else:
            print(f"  {name.replace('_', ' '):46} {value:,}")
    print()
    (measure.BUILD / "bench-kms.json").write_text(json.dumps(result, indent=1) + "\n")
    return []
