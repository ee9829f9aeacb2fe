"""bench-chdb: libchdb in a process of its own, with tables on the local disk."""
import struct
import subprocess

from gateway_tools import CHDB
from measure import BUILD

# The table that Lockset's engine makes for a collection, on a plain local disk. KEEP IN STEP with lifecycle/attach.c.
SAME_TABLE = ("CREATE TABLE {name} (_id String, _event_time DateTime64(6, 'UTC'), __lockset_version UInt64, "
              "__lockset_deleted UInt8, __lockset_raw String CODEC(ZSTD(1)), __lockset_doc JSON(max_dynamic_paths=128) "
              "DEFAULT CAST(if(__lockset_deleted = 1, '{{}}', __lockset_raw), 'JSON(max_dynamic_paths=128)')) "
              "ENGINE = {engine} ORDER BY _id SETTINGS min_bytes_for_wide_part = 134217728{settings}")
REPLACING = "ReplacingMergeTree(__lockset_version, __lockset_deleted)"
SYNCED = ", fsync_after_insert = 1, fsync_part_directory = 1"
COLUMNS = "(_id, _event_time, __lockset_version, __lockset_deleted, __lockset_raw)"
# How the engine reads documents, so that both take them for the same.
SETTINGS = ("--input_format_try_infer_dates=0", "--input_format_try_infer_datetimes=0", "--json_type_escape_dots_in_keys=1",
            "--input_format_parallel_parsing=0", "--date_time_output_format=iso")


def text(s):
    """RowBinary: the length in LEB128, then the bytes."""
    head, left = bytearray(), len(s)
    while left >= 128:
        head.append(left & 127 | 128)
        left >>= 7
    head.append(left)
    return bytes(head) + s


def row(identity, version, raw):
    return text(identity.encode()) + struct.pack("<qQB", version, version, 0) + text(raw)


class Chdb:
    def __init__(self, folder):
        self.folder = folder
        self.process = subprocess.Popen([str(BUILD / "bench-chdb"), str(CHDB), str(folder / "db"), *SETTINGS],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _order(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()
        words = self.process.stdout.readline().split()
        if not words or words[0] != b"ok":
            raise RuntimeError(f"bench-chdb did not answer {line[:80]!r}")
        return int(words[1]) / 1e9, int(words[2])

    def query(self, sql, output="JSONCompactEachRow"):
        """(seconds, the answer's bytes)"""
        seconds, size = self._order(f"query {output} {' '.join(sql.split())}")
        return seconds, self.process.stdout.read(size)

    def insert(self, table, bodies, form="RowBinary"):
        """One INSERT for each body; (seconds, rows)."""
        path = self.folder / "bodies"
        with open(path, "wb") as f:
            for body in bodies:
                f.write(struct.pack("<I", len(body)) + body)
        return self._order(f"insert {form} {path} INSERT INTO {table}")
