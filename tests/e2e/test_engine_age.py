"""An engine ends at engine.max_age, so that what its memory holds ends too; no query and no write is dropped for that."""
import threading
import time

import pytest

from lockset_dev import Dev, is_running, wait_for

AGE = 10  # the least that is allowed


@pytest.fixture
def org():
    with Dev({"engine.max_age": f"{AGE}s"}) as dev:
        org = dev.create_org()
        for name in ("few", "c"):
            org.create_collection(name)
        assert org.add("few", [{"_id": str(i), "v": i} for i in range(100)]).status == 200
        org.engine_of = org.engine_pid
        org.log = dev.log
        yield org


class Load:
    """Queries, short and long, and writes, from several threads, all the time."""

    def __init__(self, org):
        self.org, self.stop = org, threading.Event()
        self.refused, self.answered, self.written, self.slowest = [], 0, set(), 0.0
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.run, args=(work, n))
                        for n, work in enumerate([self.short, self.short, self.long, self.write, self.write])]

    def run(self, work, n):
        i = 0
        while not self.stop.is_set():
            begun = time.monotonic()
            answer = work(n, i)
            with self.lock:
                self.slowest = max(self.slowest, time.monotonic() - begun)
                self.answered += 1
                if answer.status != 200:
                    self.refused.append(answer)
            i += 1

    def short(self, _, __):
        answer = self.org.query("SELECT count(*) AS n FROM few", timeout=120)
        if answer.status == 200:
            assert answer.json["results"] == [{"n": 100}], answer
        return answer

    def long(self, _, __):
        answer = self.org.query("SELECT count(*) AS n FROM few AS a, few AS b, few AS d, few AS e WHERE a.v + b.v + d.v + e.v = 3", timeout=120)
        if answer.status == 200:
            assert answer.json["results"] == [{"n": 20}], answer
        return answer

    def write(self, n, i):
        answer = self.org.add("c", [{"_id": f"w{n}-{i}", "v": -1}], timeout=120)
        if answer.status == 200:
            with self.lock:
                self.written.add(f"w{n}-{i}")
        return answer

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for t in self.threads:
            t.join()


def test_no_query_and_no_write_is_dropped_when_engines_get_old(org):
    seen = [org.engine_of()]
    with Load(org) as load:
        for _ in range(2):
            before = load.answered
            wait_for(lambda: org.engine_of() not in (None, seen[-1]), 90, what="a new engine")
            assert not is_running(seen[-1]), "one at a time"
            seen.append(org.engine_of())
            wait_for(lambda: load.answered > before + 20, 60, what="answers of the new engine")
    assert load.refused == [], load.refused[:2]
    print(f"{load.answered} answers, {len(load.written)} writes, the slowest took {load.slowest:.1f} s")
    stored = [row["_id"] for row in org.rows("SELECT _id FROM c WHERE v = -1 ORDER BY _id LIMIT 100000")]
    assert len(stored) == len(set(stored)) and load.written <= set(stored)
    # An engine that has nothing to do gets no older.
    wait_for(lambda: org.engine_of() not in (None, seen[-1]), 90, what="a new engine")
    assert not is_running(seen[-1]) and org.rows("SELECT count(*) AS n FROM few") == [{"n": 100}]
    assert org.log().count("engine.retired") >= 3 and "pair.lost" not in org.log()


@pytest.mark.parametrize("wrong", ["0", "5s", "8d"])
def test_it_cannot_be_switched_off(wrong):
    with pytest.raises(AssertionError, match=r"engine.max_age.*10s to 7d"):
        Dev({"engine.max_age": wrong}).start()
