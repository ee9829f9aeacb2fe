"""A private PostgreSQL server for tests, and the harness that runs a driver of sources by hand."""
import glob
import json
import os
import pathlib
import pwd
import random
import shutil
import socket
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("LOCKSET_BUILD", ROOT / "build"))
PASSWORD = "harness-password-of-the-replicator"


def binaries():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda p: int(p.split("/")[4]))
    assert found, "the postgresql package is not installed"
    return pathlib.Path(found[-1])


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Postgres:
    """A cluster of its own in a temporary folder. The server refuses root, so root becomes another user for it."""

    def __init__(self, settings=None, database="shop"):
        self.settings = {"wal_level": "logical", "max_wal_senders": "20", "max_replication_slots": "20", "fsync": "off",
                         "shared_buffers": "16MB", "max_connections": "60", "log_min_messages": "warning",
                         "synchronous_commit": "on", **(settings or {})}
        self.database = database
        self.process = None

    def start(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="lockset-postgres-"))
        self.user = {}
        if os.getuid() == 0:
            account = pwd.getpwnam("nobody")
            self.user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            os.chown(self.folder, account.pw_uid, account.pw_gid)
        self.environment = {"PATH": f"{binaries()}:/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": str(self.folder)}
        self._run("initdb", "-D", str(self.folder / "data"), "-U", "admin", "-A", "trust", "-E", "UTF8", "--no-sync",
                  "--locale=C.UTF-8")
        (self.folder / "data/pg_hba.conf").write_text(
            "local all admin trust\nhost all admin 127.0.0.1/32 trust\nhost replication admin 127.0.0.1/32 trust\n"
            "host all all 127.0.0.1/32 scram-sha-256\n")
        self.port = free_port()
        self.boot()
        self.sql(f"CREATE DATABASE {self.database}", database="postgres")
        self.sql(f"CREATE ROLE replicator LOGIN REPLICATION PASSWORD '{PASSWORD}';"
                 f"GRANT CREATE ON DATABASE {self.database} TO replicator; GRANT ALL ON SCHEMA public TO replicator")
        return self

    def _run(self, program, *arguments):
        done = subprocess.run([str(binaries() / program), *arguments], env=self.environment, capture_output=True, text=True,
                              timeout=120, check=False, cwd=self.folder, **self.user)
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"
        return done.stdout

    def boot(self):
        options = [f"--{name}={value}" for name, value in
                   {**self.settings, "port": self.port, "listen_addresses": "127.0.0.1",
                    "unix_socket_directories": str(self.folder)}.items()]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen([str(binaries() / "postgres"), "-D", str(self.folder / "data"), *options],
                                            env=self.environment, stdout=log, stderr=log, cwd=self.folder, **self.user)
        deadline = time.monotonic() + 60
        while subprocess.run([str(binaries() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)],
                             env=self.environment, check=False).returncode != 0:
            assert self.process.poll() is None and time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.05)

    def halt(self, how="INT"):
        """INT: connections are cut, files are whole. QUIT: like a crash."""
        if self.process and self.process.poll() is None:
            self.process.send_signal({"INT": 2, "QUIT": 3}[how])
        if self.process:
            self.process.wait(timeout=60)

    def restart(self, settings=None):
        self.halt()
        self.settings.update(settings or {})
        self.boot()

    def psql(self, database=None, user="admin"):
        return [str(binaries() / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p",
                str(self.port), "-U", user, "-d", database or self.database]

    def sql(self, text, database=None, user="admin"):
        done = subprocess.run(self.psql(database, user), env={**self.environment, "PGPASSWORD": PASSWORD}, input=text,
                              capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def rows(self, table, columns="*", key="id"):
        """What the table holds, by its key as text."""
        text = self.sql(f"SELECT coalesce(json_object_agg({key}::text, to_json(t)), '{{}}') FROM "
                        f"(SELECT {columns} FROM {table}) t")
        return json.loads(text)

    def until(self, condition, what, seconds=60):
        """Waits until SQL says true."""
        deadline = time.monotonic() + seconds
        while self.sql(f"SELECT {condition}") != "t":
            assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
            time.sleep(0.05)

    def session(self):
        return Session(self)

    def integration(self, **changes):
        return {"host": "127.0.0.1", "port": self.port, "dbname": self.database, "user": "replicator",
                "password": PASSWORD, "sslmode": "disable", **changes}

    def close(self):
        self.halt("QUIT")
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.close()


class Session:
    """One connection that stays, so that transactions can be left open."""

    def __init__(self, server):
        self.process = subprocess.Popen(server.psql(), env=server.environment, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)

    def send(self, text):
        self.process.stdin.write(text + ";\n")
        self.process.stdin.flush()

    def run(self, text):
        """Returns once the server has done it; the lines that it answered."""
        self.send(text)
        self.process.stdin.write("\\echo --done--\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            if line.strip() == "--done--":
                return lines
            lines.append(line.strip())
        raise AssertionError(f"the session ended at: {text}")

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def make(server, table, columns, rest=""):
    server.sql(f"CREATE TABLE {table} ({columns}); ALTER TABLE {table} OWNER TO replicator; {rest}")


class Writer(threading.Thread):
    """Changes rows of all kinds until it is told to stop: inserts, updates, deletes, moved keys, rollbacks."""

    def __init__(self, server, table, seed):
        super().__init__()
        self.server, self.table, self.random, self.stop = server, table, random.Random(seed), threading.Event()
        self.error = None

    def statement(self):
        r, t = self.random, self.table
        some = r.randint(1, 30000)
        return r.choice([
            f"INSERT INTO {t} SELECT i, 0, 'new', repeat('z', {r.choice([5, 4000])}) FROM generate_series({some}, {some + 40}) i "
            f"ON CONFLICT (id) DO UPDATE SET n = {t}.n + 1",
            f"UPDATE {t} SET n = n + 1 WHERE id BETWEEN {some} AND {some + 60}",
            f"DELETE FROM {t} WHERE id BETWEEN {some} AND {some + 25}",
            f"UPDATE {t} SET id = -id WHERE id BETWEEN {some} AND {some + 10} AND NOT EXISTS (SELECT FROM {t} o WHERE o.id = -{t}.id)",
            f"UPDATE {t} SET id = id + 100000 WHERE id BETWEEN -{some} AND -{some} + 500 AND NOT EXISTS "
            f"(SELECT FROM {t} o WHERE o.id = {t}.id + 100000)",
            f"UPDATE {t} SET name = 'n{some}' WHERE id % 1000 = {some % 1000}",
        ])

    def run(self):
        try:
            with self.server.session() as session:
                while not self.stop.is_set():
                    statements = [self.statement() for _ in range(self.random.randint(1, 6))]
                    end = self.random.choice(["COMMIT"] * 9 + ["ROLLBACK"])
                    session.run("BEGIN; " + "; ".join(statements) + f"; {end}")
        except Exception as error:  # noqa: BLE001 - told by the test
            self.error = error


class SourceError(Exception):
    def __init__(self, code, detail):
        super().__init__(f"{code}: {detail}")
        self.code, self.detail = code, detail


def harness_program():
    found = [BUILD / "source-harness", BUILD / "tests/tools/source-harness", BUILD / "obj/tests/tools/source-harness"]
    for path in found:
        if path.exists():
            return path
    raise FileNotFoundError(f"source-harness is in none of {found}; set LOCKSET_BUILD")


class Harness:
    """One process with one reader. `position` is the last that a batch brought: where a new process would go on."""

    def __init__(self, kind, config, integration, source_id="s1", position=None, **spec):
        self.folder = tempfile.TemporaryDirectory(prefix="lockset-source-")
        path = pathlib.Path(self.folder.name, "spec.json")
        path.write_text(json.dumps({"kind": kind, "source_id": source_id, "config": config, "integration": integration,
                                    **spec}))
        self.path, self.position, self.process = path, position, None

    def start(self):
        self.process = subprocess.Popen([str(harness_program()), str(self.path)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1,
                                        env={**os.environ, "PGPASSWORD": "wrong", "PGSSLMODE": "verify-full"})
        return self

    def order(self, text):
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, f"the harness ended at: {text.split()[0]}"
        answer = json.loads(line)
        if not answer["ok"]:
            raise SourceError(answer["error"], answer["detail"])
        return answer

    def open(self):
        return self.order("open" if self.position is None else "open " + json.dumps(self.position))

    def next(self, wait_ms=200):
        batch = self.order(f"next {wait_ms}")
        if "position" in batch:
            self.position = batch["position"]
        return batch

    def ask(self, word):
        return self.order(word if self.position is None else f"{word} {json.dumps(self.position)}")

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
        if self.process:
            self.process.wait()

    def close(self):
        """Its end must be clean: a leak, or an error that sanitizers see, fails the test."""
        if self.process and self.process.poll() is None:
            self.process.stdin.close()
            assert self.process.wait(timeout=30) == 0

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, *_):
        if kind:
            self.kill()
        self.close()
        self.folder.cleanup()


def apply(image, batch):
    """What storing a batch makes of a collection."""
    for record in batch["records"]:
        assert "flaw" not in record, record
        if record["is_deletion"]:
            image.pop(record["id"], None)
        else:
            image[record["id"]] = record["document"]
