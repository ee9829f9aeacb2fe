"""Pairs of measurements: Lockset and its peer in turn, five rounds, medians, and the ratio of the medians."""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))


def say(text):
    print(text, file=sys.stderr, flush=True)


class Figure:
    """One row of the table. Larger is better in every unit but those of time."""

    def __init__(self, name, unit, peer):
        self.name, self.unit, self.peer = name, unit, peer
        self.ours, self.theirs = [], []

    def add(self, ours, theirs):
        self.ours.append(ours)
        self.theirs.append(theirs)

    @property
    def is_time(self):
        return self.unit in ("ms", "CPU s/GB")

    @property
    def ratio(self):
        """How fast Lockset is, with its peer as 1."""
        ours, theirs = statistics.median(self.ours), statistics.median(self.theirs)
        return theirs / ours if self.is_time else ours / theirs

    @property
    def spread(self):
        """The lowest and highest ratio of a single round."""
        pairs = [t / o if self.is_time else o / t for o, t in zip(self.ours, self.theirs)]
        return min(pairs), max(pairs)

    def report(self):
        return {"figure": self.name, "unit": self.unit, "peer": self.peer, "lockset": statistics.median(self.ours),
                "peer_value": statistics.median(self.theirs), "ratio": self.ratio, "lowest": self.spread[0],
                "highest": self.spread[1], "rounds": {"lockset": self.ours, "peer": self.theirs}}


class Figures:
    """The rows of one group, made at the first round in which they appear."""

    def __init__(self):
        self.rows = {}

    def add(self, name, unit, peer, ours, theirs):
        self.rows.setdefault((name, unit, peer), Figure(name, unit, peer)).add(ours, theirs)

    def list(self):
        return list(self.rows.values())


def rounds(name, one_round):
    """Runs one_round(figures, number) ROUNDS times, telling how it goes; returns the figures."""
    figures = Figures()
    for number in range(ROUNDS):
        begun = time.monotonic()
        one_round(figures, number)
        say(f"  {name}: round {number + 1} of {ROUNDS} took {time.monotonic() - begun:.1f} s")
    return figures.list()


def number(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def table(figures):
    head = ("figure", "Lockset", "peer", "unit", "ratio", "rounds", "peer is")
    rows = [head]
    for f in figures:
        report = f.report()
        rows.append((f.name, number(report["lockset"]), number(report["peer_value"]), f.unit, f"{f.ratio:.2f}",
                     f"{f.spread[0]:.2f}-{f.spread[1]:.2f}", f.peer))
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = []
    for row in rows:
        cells = [cell.rjust(widths[i]) if 1 <= i <= 2 or i == 4 else cell.ljust(widths[i]) for i, cell in enumerate(row)]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(lines)


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8")
                  if line.startswith("model name")), "unknown")
    return {"cpu": model, "cores": os.cpu_count(), "kernel": os.uname().release, "load_1m": os.getloadavg()[0]}


def write(path, figures, seconds):
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False, cwd=ROOT)
    path.write_text(json.dumps({"at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "commit": commit.stdout.strip(),
                                "seconds": round(seconds, 1), "rounds": ROUNDS, "machine": machine(),
                                "figures": [f.report() for f in figures]}, indent=1) + "\n")
