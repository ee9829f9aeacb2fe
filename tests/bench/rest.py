"""The REST API over one connection kept alive, with as little as possible around the request."""
import http.client
import json
import time
import urllib.parse


class Rest:
    def __init__(self, api, key):
        parts = urllib.parse.urlsplit(api)
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=120)
        self.headers = {"Authorization": f"ApiKey {key}", "Content-Type": "application/json"}

    def close(self):
        self.connection.close()

    def call(self, method, path, body):
        """Returns (seconds, the answer's bytes)."""
        begun = time.perf_counter()
        self.connection.request(method, "/v1/orgs/self" + path, body, self.headers)
        response = self.connection.getresponse()
        answer = response.read()
        took = time.perf_counter() - begun
        if response.status != 200:
            raise RuntimeError(f"{method} {path}: {response.status} {answer[:300]!r}")
        return took, answer

    def query(self, sql):
        """Returns (seconds, rows)."""
        took, answer = self.call("POST", "/queries", json.dumps({"sql": {"query": sql}}).encode())
        return took, json.loads(answer)["results"]
