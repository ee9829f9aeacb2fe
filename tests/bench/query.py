"""SQL over 200,000 flights through REST, beside the same SQL by libchdb alone: on a plain MergeTree with typed columns, and
on the same table as Lockset's, both on a local disk. The answers must be equal."""
import contextlib
import json
import statistics

from chdb_alone import COLUMNS, REPLACING, SAME_TABLE, Chdb, row
from lockset_dev import BUILD, Dev
from measure import rounds
from rest import Rest

FLIGHTS = BUILD / "deps/vega-datasets/data/flights-200k.json"
TIMES = 9  # a round's value is the median of so many pairs
QUERIES = {
    "count": "SELECT count(*) AS n FROM {t}",
    "sums": "SELECT count(*) AS n, sum(delay) AS delays, max(distance) AS longest FROM {t}",
    "filter": "SELECT count(*) AS n, sum(distance) AS miles FROM {t} WHERE delay > 60 AND distance < 500",
    "group by": "SELECT floor(time) AS hour, count(*) AS n, sum(delay) AS delays FROM {t} GROUP BY hour ORDER BY hour",
    "top 10": "SELECT delay, distance, time FROM {t} ORDER BY delay DESC, distance DESC, time DESC LIMIT 10",
    "one by _id": "SELECT delay, distance, time FROM {t} WHERE _id = 'flight-0000123456'",
    "5,000 rows": "SELECT _id, delay, distance, time FROM {t} ORDER BY _id LIMIT 5000",
}
TYPED = "CREATE TABLE typed (_id String, delay Int64, distance Int64, time Float64) ENGINE = MergeTree ORDER BY _id"
# The view that Lockset makes over its table once it has met these three fields.
VIEW = """CREATE VIEW same AS SELECT _id, __lockset_doc.delay.:Int64 AS delay, __lockset_doc.distance.:Int64 AS distance,
    __lockset_doc.time.:Float64 AS time FROM same_table FINAL"""


def load_typed(chdb, flights):
    lines = [json.dumps({"_id": i, **flight}).encode() for i, flight in flights]
    chdb.query(TYPED)
    return chdb.insert("typed", [b"\n".join(lines)], "JSONEachRow")


def load_same(chdb, flights):
    """In as many parts as a loader with requests of 1,000 leaves behind, before they are merged."""
    rows = [row(i, n, json.dumps({"_id": i, **flight}, separators=(",", ":")).encode())
            for n, (i, flight) in enumerate(flights, 1)]
    chdb.query(SAME_TABLE.format(name="same_table", engine=REPLACING, settings=""))
    chdb.query(VIEW)
    return chdb.insert(f"same_table {COLUMNS}", [b"".join(rows[i:i + 1000]) for i in range(0, len(rows), 1000)])


class Pair:
    def __init__(self, rest, chdb):
        self.rest, self.chdb = rest, chdb

    def check(self):
        """A comparison of different answers would mean nothing."""
        for name, sql in QUERIES.items():
            ours = self.rest.query(sql.format(t="flights"))[1]
            for table in ("typed", "same"):
                answer = self.chdb.query(sql.format(t=table), "JSONEachRow")[1]
                theirs = [json.loads(line) for line in answer.splitlines()]
                assert ours == theirs, (name, table, ours[:3], theirs[:3])

    def one_round(self, figures, _):
        for name, sql in QUERIES.items():
            values = {"ours": [], "typed": [], "same": []}
            for _ in range(TIMES):
                values["ours"].append(self.rest.query(sql.format(t="flights"))[0])
                for table in ("typed", "same"):
                    values[table].append(self.chdb.query(sql.format(t=table))[0])
            ours, typed, same = (statistics.median(v) * 1000 for v in values.values())
            figures.add(f"query: {name}", "ms", "chDB, plain MergeTree", ours, typed)
            figures.add(f"query: {name}", "ms", "chDB, same table", ours, same)


def run(folder):
    flights = [(f"flight-{i:010}", flight) for i, flight in enumerate(json.loads(FLIGHTS.read_text()), 1)]
    with contextlib.ExitStack() as stack:
        dev = stack.enter_context(Dev())
        org = dev.create_org("bench")
        org.create_collection("flights")
        dev.cli("ingest", "flights", str(FLIGHTS), "--id-prefix", "flight", key=org.api_key)
        rest = stack.enter_context(contextlib.closing(Rest(dev.api, org.api_key)))
        chdb = stack.enter_context(Chdb(folder))
        for load in (load_typed, load_same):
            assert load(chdb, flights)[1] == len(flights)
        pair = Pair(rest, chdb)
        pair.check()
        return rounds("query", pair.one_round)
