"""Webhooks: each change of a key's state, in order, signed, again and again until it is taken, also across crashes."""
import hashlib
import hmac
import http.server
import json
import subprocess
import tempfile
import threading
import time

from lockset_dev import LOCKSET, Dev, wait_for

SECRET = "a-secret-of-some-length"
FAST = {"key.probe_interval": "1s", "key.full_check_interval": "2s", "key.kms_timeout": "500ms"}


class Receiver:
    """Takes deliveries; `refuses` of them are answered with 500 first."""

    def __init__(self):
        self.events = []
        self.headers = []
        self.refuses = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.refuses > 0:
                    outer.refuses -= 1
                    self.send_response(500)
                else:
                    outer.headers.append(dict(self.headers))
                    outer.events.append((body, json.loads(body)))
                    self.send_response(204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def states(self, org):
        return [e["to_state"] for _, e in self.events if e["organization"]["id"] == org.id and e["kind"] == "state"]


def test_each_change_is_told_in_order_signed_and_once_more_until_it_is_taken():
    receiver = Receiver()
    folder = tempfile.mkdtemp(prefix="ls-")
    secret_file = f"{folder}/secret"
    with open(secret_file, "w", encoding="ascii") as f:
        f.write(SECRET + "\n")
    dev = Dev({**FAST, "webhook.url": receiver.url, "webhook.secret_file": secret_file}).start()
    try:
        org = dev.create_org()
        wait_for(lambda: any(e["kind"] == "org.created" for _, e in receiver.events), 10, what="the creation told")
        org.disable_key()
        wait_for(lambda: receiver.states(org) == ["UNAVAILABLE"], 20, what="the refusal told")
        event = receiver.events[-1][1]
        assert event["organization"] == {"id": org.id, "name": org.name}
        assert event["cause"] == "DENIED" and event["aws_error"] == "DisabledException"
        assert event["from_state"] == "AVAILABLE" and event["region"] == "us-west-2"
        for (body, event), headers in zip(receiver.events, receiver.headers):
            assert headers["Lockset-Event"] == str(event["seq"])
            fields = dict(part.split("=") for part in headers["Lockset-Signature"].split(","))
            assert abs(int(fields["t"]) - time.time()) < 60
            wanted = hmac.new(SECRET.encode(), f"{fields['t']}.".encode() + body, hashlib.sha256).hexdigest()
            assert hmac.compare_digest(fields["v1"], wanted)

        # The receiver fails, and the api is killed meanwhile: nothing is left out, the order stays.
        receiver.refuses = 3
        org.enable_key()
        wait_for(lambda: receiver.refuses < 3, 20, what="a failed delivery")
        dev.devctl("stop", "api")
        dev.devctl("start", "api")
        wait_for(lambda: receiver.states(org)[-1] == "AVAILABLE", 30, what="the return told")
        numbers = [e["seq"] for _, e in receiver.events]
        assert numbers == sorted(numbers)
        history = dev.admin("GET", f"/orgs/{org.name}/events").data
        assert {e["seq"] for e in history} == set(numbers)
        assert SECRET not in dev.log()
    finally:
        dev.close()
        receiver.close()


def test_what_is_no_place_to_post_to_is_refused_at_start():
    for url in ("ftp://example.com/x", "http://example.com/x", "nonsense"):
        done = subprocess.run([str(LOCKSET), "dev", "--data", tempfile.mkdtemp(prefix="ls-"), "--set", "dev.port_base=0",
                               "--set", f"webhook.url={url}"], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode != 0
        assert "webhook.url" in done.stderr and "http" in done.stderr, done.stderr[-500:]
