"""Documents of about 1 KB through REST in requests of 1, 100 and 1,000, beside the same documents inserted by libchdb
alone into the same table on a local disk, as many an INSERT. Lockset answers when a document is sealed and synced."""
import contextlib
import json
import random
import string

from chdb_alone import COLUMNS, REPLACING, SAME_TABLE, SYNCED, Chdb, row
from lockset_dev import Dev
from measure import Figures, rounds
from rest import Rest

# Documents a request -> requests a round.
SIZES = {1: 50, 100: 20, 1000: 10}
WORDS = [f"{a}{b}" for a in ("north", "south", "silver", "quiet", "rapid", "amber") for b in ("bird", "river", "field", "stone")]


class Documents:
    """Events as an application may send them: 20 fields, some nested; the same in every run."""

    def __init__(self):
        self.source = random.Random(1024)
        self.made = 0

    def one(self):
        r = self.source
        self.made += 1
        return {
            "event": r.choice(["view", "click", "buy", "search"]), "session": "".join(r.choices(string.hexdigits, k=32)),
            "user": {"id": r.randrange(10**6), "name": " ".join(r.choices(WORDS, k=2)), "country": r.choice("DE FR US JP".split()),
                     "is_member": r.random() < 0.4, "score": round(r.random() * 100, 3)},
            "at": f"2026-03-{r.randrange(1, 29):02}T{r.randrange(24):02}:{r.randrange(60):02}:{r.randrange(60):02}Z",
            "page": {"path": "/" + "/".join(r.choices(WORDS, k=3)), "title": " ".join(r.choices(WORDS, k=6)),
                     "referrer": "https://example.com/" + r.choice(WORDS), "load_ms": r.randrange(20, 3000)},
            "device": {"kind": r.choice(["phone", "desktop"]), "width": r.randrange(300, 3000), "agent": " ".join(r.choices(WORDS, k=8))},
            "tags": r.choices(WORDS, k=5), "price": round(r.random() * 500, 2), "count": r.randrange(1, 9),
            "note": " ".join(r.choices(WORDS, k=33)), "number": self.made,
        }

    def batch(self, size):
        """The documents' texts."""
        return [json.dumps(self.one(), separators=(",", ":")).encode() for _ in range(size)]


class Pair:
    def __init__(self, rest, chdb):
        self.rest, self.chdb = rest, chdb
        self.documents = Documents()
        self.version = 0
        for name, settings in (("plain", ""), ("synced", SYNCED)):
            chdb.query(SAME_TABLE.format(name=name, engine=REPLACING, settings=settings))

    def row(self, raw):
        """Ids in order of time, as the server makes them for documents that bring none."""
        self.version += 1
        return row(f"{self.version:032x}", 1767225600000000 + self.version, raw)

    def to_chdb(self, table, batches):
        bodies = [b"".join(map(self.row, batch)) for batch in batches]
        seconds, rows = self.chdb.insert(f"{table} {COLUMNS}", bodies)
        assert rows == sum(map(len, batches)), (rows, batches)
        return seconds

    def one_round(self, figures, _):
        for size, requests in SIZES.items():
            batches = [self.documents.batch(size) for _ in range(requests)]
            bodies = [b'{"data":[' + b",".join(batch) + b"]}" for batch in batches]
            ours = 0.0
            for body in bodies:
                seconds, answer = self.rest.call("POST", "/ws/commons/collections/events/docs", body)
                ours += seconds
                assert answer.count(b'"status":"ADDED"') == size, answer[:300]
            plain, synced = self.to_chdb("plain", batches), self.to_chdb("synced", batches)
            megabytes = sum(len(d) for batch in batches for d in batch) / 1e6
            name = f"add {size:,} of 1 KB"
            figures.add(name, "docs/s", "chDB alone", size * requests / ours, size * requests / plain)
            figures.add(name, "docs/s", "chDB alone, synced", size * requests / ours, size * requests / synced)
            figures.add(name, "MB/s", "chDB alone", megabytes / ours, megabytes / plain)


def run(folder):
    with contextlib.ExitStack() as stack:
        dev = stack.enter_context(Dev())
        org = dev.create_org("bench")
        org.create_collection("events")
        rest = stack.enter_context(contextlib.closing(Rest(dev.api, org.api_key)))
        chdb = stack.enter_context(Chdb(folder))
        pair = Pair(rest, chdb)
        pair.one_round(Figures(), 0)
        return rounds("ingest", pair.one_round)
