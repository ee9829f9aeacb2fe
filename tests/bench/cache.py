"""What the gateway's cache brings: the same requests to two gateways over the same content in a local directory, one with a cache
that has what they ask for, one without a cache. Then what it costs where it brings nothing: content that is read once, and
content that is read for the second time and so is sealed into the cache."""
import contextlib
import random
import statistics
import time

import gateway_tools
from gateway import Client
from measure import Figures, rounds

LARGE = 16 << 20
OBJECTS = {"4 KiB": 4096, "60 KB": 60_000, "16 MiB": LARGE}
WARM = [("4 KiB", None, 400), ("60 KB", None, 400), ("16 MiB", 4096, 400), ("16 MiB", 256 << 10, 150), ("16 MiB", None, 8)]


def size_text(n):
    return f"{n >> 10} KiB"


class Side:
    def __init__(self, stack, folder, cache):
        self.harness = stack.enter_context(gateway_tools.Harness(folder, cache=cache, cache_bytes=256 << 20, cache_epoch_ms=300_000))
        self.client = stack.enter_context(contextlib.closing(Client(self.harness.port)))

    def call(self, method, name, body=b"", span=None):
        """Seconds, and the answer's body."""
        path = f"/{gateway_tools.BUCKET}/{name.replace(' ', '-')}"
        headers = gateway_tools.sign(self.harness, method, path, payload_hash="UNSIGNED-PAYLOAD")
        if body:
            headers["content-length"] = str(len(body))
        if span:
            headers["range"] = f"bytes={span[0]}-{span[1]}"
        begun = time.perf_counter()
        status, answer = self.client.call(method, path, headers, body)
        took = time.perf_counter() - begun
        assert status in (200, 206), (method, path, status, bytes(answer[:300]))
        return took, answer


class Pair:
    def __init__(self, stack, folder):
        self.sides = [Side(stack, folder / "with", folder / "cache"), Side(stack, folder / "without", None)]
        self.content = {name: random.Random(size).randbytes(size) for name, size in OBJECTS.items()}
        for side in self.sides:
            for name, body in self.content.items():
                side.call("PUT", name, body)
            for _ in range(3):
                for name in OBJECTS:
                    side.call("GET", name)

    def warm(self, name, part, times, number):
        """The median of so many requests, in turn on both sides."""
        chooser, took = random.Random(number), ([], [])
        for _ in range(times):
            at = chooser.randrange(0, LARGE - part) if part else None
            for side, values in zip(self.sides, took):
                seconds, answer = side.call("GET", name, span=(at, at + part - 1) if part else None)
                assert answer == (self.content[name][at:at + part] if part else self.content[name])
                values.append(seconds)
        return [statistics.median(values) * 1000 for values in took]

    def one_round(self, figures, number):
        before = self.sides[0].harness.cache_counts()
        for name, part, times in WARM:
            label = f"get {size_text(part)} of {name}" if part else f"get {name}"
            figures.add(label, "ms", "no cache", *self.warm(name, part, times, number))
        after = self.sides[0].harness.cache_counts()
        assert after["misses"] == before["misses"] and after["hits"] > before["hits"] + 1000, (before, after)
        took = {"first": ([], []), "second": ([], [])}
        for i in range(4):
            name = f"fresh-{number}-{i}"
            for at, side in enumerate(self.sides):
                side.call("PUT", name, self.content["16 MiB"])
                for time_of_reading in took:
                    took[time_of_reading][at].append(side.call("GET", name)[0] * 1000)
                side.call("GET", "4 KiB")
        for time_of_reading, values in took.items():
            figures.add(f"get 16 MiB, {time_of_reading} time", "ms", "no cache", *map(statistics.median, values))


def run(folder):
    with contextlib.ExitStack() as stack:
        pair = Pair(stack, folder)
        pair.one_round(Figures(), 1000)
        return rounds("cache", pair.one_round)
