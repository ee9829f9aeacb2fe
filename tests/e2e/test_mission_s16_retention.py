"""retention_secs: documents that are too old by _event_time are hidden at once, and purged from the tables."""
import time

import pytest

from api_rig import Rig, wait_for


@pytest.fixture(scope="module")
def rig():
    with Rig() as started:
        yield started


def test_old_documents_are_hidden_and_purged(rig):
    org = rig.org()
    made = org.collection("c", retention_secs=3600)
    collection = made["rrn"].rpartition(":")[2]
    kept = org.collection("kept")["rrn"].rpartition(":")[2]
    now = int(time.time() * 1e6)
    old, fresh, soon = now - 7200 * 10**6, now, now - 3595 * 10**6
    documents = [{"_id": f"old{i}", "_event_time": old, "n": i} for i in range(12000)]
    documents += [{"_id": f"fresh{i}", "_event_time": fresh} for i in range(100)] + [{"_id": "soon", "_event_time": soon}]
    assert org.add(documents[:6000]).status == 200 and org.add(documents[6000:]).status == 200
    assert org.add(documents[:100], name="kept").status == 200
    # Replaced: the newest version decides. What was fresh and became old must not come back, and the other way round.
    assert org.add([{"_id": "fresh0", "_event_time": old}, {"_id": "old0", "_event_time": fresh}]).status == 200
    assert org.rows("SELECT count(*) AS n FROM c")[0]["n"] in (100, 101)
    wait_for(lambda: org.rows("SELECT count(*) AS n FROM c")[0]["n"] == 100, 10)
    engine = rig.engine_of(org.id)

    def stored(sql, name=collection):
        answer = engine.call(f"SELECT {sql} FROM lockset_data.`{name}`")
        assert answer.code == 0, answer.text
        return answer.text.strip()

    wait_for(lambda: stored("uniqExact(_id)") == str(100 + 1), 90, every=0.5, what="the purge")  # and the schema
    assert stored("countIf(_id = 'fresh0')") == "0" and stored("countIf(_id = 'old0')") in ("1", "2")
    assert stored("countIf(_id = '\\0schema')") >= "1"

    def rows_on_disk():
        return int(engine.call(f"SELECT sum(rows) FROM system.parts WHERE table = '{collection}' AND active").text)

    wait_for(lambda: rows_on_disk() < 200, 30, what="the merge")
    assert stored("count()", kept) == "101"
    assert org.rows("SELECT count(*) AS n FROM c") == [{"n": 100}]
    assert org.add([{"_id": "old5", "_event_time": fresh, "n": 7}]).status == 200
    assert org.rows("SELECT n FROM c WHERE _id = 'old5'") == [{"n": 7}]
    org.kill_engine()
    assert org.rows("SELECT count(*) AS n FROM c") == [{"n": 101}]
