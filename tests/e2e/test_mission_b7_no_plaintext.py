"""No plaintext at rest: markers in values and in field names are nowhere on a disk, in clear or in ClickHouse's compression."""
import os
import pathlib
import secrets
import subprocess

from lockset_dev import Dev, wait_for

MARKERS = {name: f"zq{secrets.token_hex(12)}" for name in ("value", "field", "id", "nested", "big", "patched", "query")}


def files_under(*folders):
    for folder in folders:
        for root, _, names in os.walk(folder):
            for name in names:
                path = pathlib.Path(root) / name
                if path.is_file() and not path.is_symlink():
                    yield path


def holders(paths):
    """Files that hold a marker, in clear or in a name."""
    found = []
    for path in paths:
        try:
            text = path.read_bytes()
        except OSError:
            continue
        for name, marker in MARKERS.items():
            if marker.encode() in text or marker in str(path):
                found.append((name, str(path)))
    return found


def lz4_blocks_hold(paths):
    """Files in which something begins with a header of ClickHouse's compressed block: 16 bytes of checksum, a method byte
    (LZ4 0x82, ZSTD 0x90), and two lengths that fit the file. A sealed file has none at its start."""
    found = []
    for path in paths:
        with open(path, "rb") as f:
            head = f.read(25)
        if len(head) == 25 and head[16] in (0x82, 0x90, 0x02):
            packed, plain = int.from_bytes(head[17:21], "little"), int.from_bytes(head[21:25], "little")
            if 9 <= packed <= path.stat().st_size and packed <= plain + 64 and plain < 1 << 27:
                found.append(str(path))
    return found


def temporary_files(before):
    return [p for p in files_under("/tmp", "/var/tmp", "/dev/shm") if str(p) not in before and "pytest" not in str(p)]


def test_markers_are_nowhere_at_rest():
    before = {str(p) for p in files_under("/tmp", "/var/tmp", "/dev/shm")}
    with Dev() as dev:
        org = dev.create_org()
        org.create_collection("c")
        org.create_collection("d")
        m = MARKERS
        # 60,000 documents of about 500 bytes: sorts and joins big enough to tempt spilling, parts big enough to be wide.
        for batch in range(30):
            documents = [{"_id": f"{m['id']}-{batch:02}-{i:04}", m["field"]: m["value"], "n": {m["nested"]: i},
                          "big": m["big"] + secrets.token_hex(180), "k": i} for i in range(2000)]
            answer = org.add("c", documents)
            assert answer.status == 200, answer
        assert org.add("d", [{"_id": str(i), "k": i, m["field"]: m["value"]} for i in range(2000)]).status == 200
        patch = {"data": [{"_id": "1", "patch": [{"op": "add", "path": "/p", "value": m["patched"]}]}]}
        assert org.call("PATCH", "/ws/commons/collections/d/docs", patch).status == 200
        rows = org.rows(f'SELECT "{m["field"]}" AS f, big FROM c ORDER BY big DESC LIMIT 3')
        assert rows[0]["f"] == m["value"]
        assert org.rows(f"SELECT count(*) AS n FROM (SELECT big, count(*) AS x FROM c GROUP BY big ORDER BY big)")[0]["n"] == 60000
        joined = org.rows(f"SELECT count(*) AS n FROM c JOIN d ON c.k = d.k WHERE c.\"{m['field']}\" = '{m['value']}'")
        assert joined[0]["n"] == 60000
        org.query(f"SELECT '{m['query']}' FROM nowhere_{m['query']}")  # errors quote SQL
        org.query(f"SELECT * FROM c ORDER BY big, \"{m['field']}\", k")  # may be refused for its size: no spill either way
        org.call("DELETE", "/ws/commons/collections/d/docs", {"data": [{"_id": "2"}]})
        # While it runs, and after it has ended:
        for moment in ("running", "stopped"):
            if moment == "stopped":
                dev.stop()
            paths = list(files_under(dev.data)) + [dev.log_path]
            assert len([p for p in paths if "store" in p.parts]) > 20
            assert not holders(paths), moment
            assert not holders(temporary_files(before)), moment
            assert not lz4_blocks_hold([p for p in paths if "store" in p.parts]), moment
        strings = subprocess.run(["sqlite3", str(dev.data / "registry.db"), ".dump"], capture_output=True, text=True, check=True)
        assert not any(marker in strings.stdout for marker in MARKERS.values())
        # And it was all there: a fresh start reads it back.
        dev.start()
        wait_for(lambda: org.is_answering("SELECT count(*) AS n FROM c"), 30)
        assert org.count("c") == 60000
        assert org.rows("SELECT p FROM d WHERE _id = '1'") == [{"p": MARKERS["patched"]}]
        assert org.rows("SELECT count(*) AS n FROM d WHERE _id = '2'")[0]["n"] == 0
