# SPDX-License-Identifier: MIT
"""A process's locks on a database outlive whatever llmsql does with the file, in a program and in a
host that has loaded the extension; and descriptors are not used up. Seen by a second process: POSIX
drops a process's locks when it closes any descriptor of the file, and SQLite does not notice."""

import contextlib
import os
import pathlib
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
import unittest

import extension
from extension import connect, tiny, value
from programs import TemporaryFolder, compile_model
from running import start

WRITER = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=0, isolation_level=None)
try:
    db.execute("BEGIN IMMEDIATE")
    db.execute("CREATE TABLE IF NOT EXISTS intruder(a)")
    db.executemany("INSERT INTO intruder VALUES (?)", [("x" * 500,)] * 300)
    db.execute("COMMIT")
    print("wrote")
except sqlite3.OperationalError as error:
    print(error)
"""


def other_writer(path):
    """What another process is told that writes to the database."""
    environment = {key: text for key, text in os.environ.items() if key != "LD_PRELOAD"}
    return subprocess.run([sys.executable, "-c", WRITER, str(path)], capture_output=True, text=True,
                          check=True, env=environment).stdout.strip()


def descriptors(path=None):
    """Of this process: all, or those of a file."""
    found = 0
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            here = os.stat(f"/proc/self/fd/{entry}")
            found += path is None or os.path.samestat(here, os.stat(path))
    return found


class Locks(TemporaryFolder):
    def setUp(self):
        super().setUp()
        self.model = tiny(self.folder)
        self.plan = compile_model(self.model.with_suffix(".toml"), self.folder / "plan.sql",
                                  "--context", 128, "--chunk", 32)

    def loaded(self, *arguments):
        db = connect(isolation_level=None)
        self.addCleanup(db.close)
        value(db, f"SELECT llm_load({', '.join('?' * len(arguments))})", *map(str, arguments))
        return db

    def assert_locked(self, path=None):
        self.assertEqual(other_writer(path or self.model), "database is locked")


class OfAModel(Locks):
    """Somebody reads the model; nobody may write."""

    def test_whatever_else_opens_it(self):
        first = self.loaded(self.model)
        self.assert_locked()
        symbolic, hard = self.folder / "symbolic.db", self.folder / "hard.db"
        symbolic.symlink_to(self.model)
        os.link(self.model, hard)
        as_plan = self.folder / "model.sql"
        as_plan.symlink_to(self.model)
        db = connect(isolation_level=None)
        self.addCleanup(db.close)
        options = '\'{"n_predict": 1, "temperature": 0, "model": "%s"}\''
        statements = [
            *(f"SELECT llm_load('{path}')" for path in (self.model, symbolic, hard)),
            f"SELECT llm_load('{self.model}', '{self.plan}')",
            f"SELECT llm_load('{self.model}', '{as_plan}')",  # fails: not a plan
            f"SELECT llm_load('{self.model}', 'none')",
            f"SELECT llm_load('{self.folder}')",
            f"SELECT llm_load('{self.plan}')",
            f"SELECT llm_generate('a', {options % hard})",
            f"SELECT count(*) FROM llm_stream('a', {options % symbolic})",
            f"SELECT count(*) FROM llm_batch('SELECT 1, ''a''', {options % self.model})",
            "SELECT llm_unload()",
            f"ATTACH '{self.model}' AS m",
            "SELECT llm_generate('a', '{\"n_predict\": 1}')",
            "DETACH m",
        ]
        for sql in statements:
            with self.subTest(sql):
                with contextlib.suppress(sqlite3.Error):
                    db.execute(sql).fetchall()
                self.assert_locked()
        db.close()
        self.assert_locked()
        # SQLite keeps what it would have to close; ours are as many as before.
        before = descriptors(self.model)
        for _ in range(5):
            again = self.loaded(self.model)
            value(again, "SELECT llm_unload()")
        self.assertLessEqual(descriptors(self.model), before)
        first.close()
        # What was promised ends with the last reader.
        self.assertEqual(other_writer(self.model), "wrote")

    def test_opened_again_after_it_was_unloaded(self):
        one, two = self.loaded(self.model), self.loaded(self.model)
        for _ in range(3):
            value(one, "SELECT llm_unload()")
            self.assert_locked()
            value(one, "SELECT llm_load(?)", str(self.model))
            value(two, "SELECT llm_unload()")
            self.assert_locked()
            value(two, "SELECT llm_load(?)", str(self.model))
        self.assert_locked()

    def test_by_hand(self):
        first = self.loaded(self.model)
        db = connect(self.model, isolation_level=None)
        self.addCleanup(db.close)
        init = self.plan.read_text().split("-- section ")[0]
        for statement in init.split(";")[:40]:
            with contextlib.suppress(sqlite3.Error):
                db.execute(statement)
        self.assert_locked()
        value(first, "SELECT llm_generate('a', '{\"n_predict\": 1}')")
        self.assert_locked()

    def test_in_a_program(self):
        for options in ((), ("--session", self.folder / "s.db"),
                        (f"--trace=db:{self.folder / 't.db'}",), ("--io", "direct"), ("--io", "map"),
                        ("--io", "blob")):
            with self.subTest(options):
                chat = start(self.plan, self.model, "-n", 4, "--temp", 0, *options,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                try:
                    self.wait_for_lock(chat)
                    self.assert_locked()
                finally:
                    chat.communicate(b"")

    def wait_for_lock(self, process):
        """Until the program has the model open, through a descriptor of its own beside SQLite's."""
        end = time.monotonic() + 60
        while time.monotonic() < end and process.poll() is None:
            with contextlib.suppress(OSError):
                names = [os.readlink(f"/proc/{process.pid}/fd/{entry}")
                         for entry in os.listdir(f"/proc/{process.pid}/fd")]
                if names.count(str(self.model)) >= 2:
                    return
            time.sleep(0.01)


class OfAHost(Locks):
    """A host writes to its own database, and calls with its name what fails or not."""

    def host(self, path, mode="DELETE"):
        db = connect(path, isolation_level=None, timeout=0)
        self.addCleanup(db.close)
        db.execute(f"PRAGMA journal_mode = {mode}")
        db.execute("CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
        db.execute("CREATE INDEX i ON t(b)")
        db.executemany("INSERT INTO t(b) VALUES (?)", [(str(k) * 50,) for k in range(200)])
        db.execute("PRAGMA cache_size = 5")  # so that pages are written before the commit
        return db

    def calls(self, path):
        """What reads the file in one way or another."""
        plan = self.folder / "app.sql"
        hard = self.folder / "hard"
        if not plan.exists():
            plan.symlink_to(path)
            os.link(path, hard)
        for name in (path, plan, hard):
            yield f"SELECT llm_load('{name}')"
            for call in ("llm_generate('a', '%s')", "llm_tokenize('a', '%s')",
                         "llm_chat('a', '%s')", "llm_embed('a', '%s')"):
                yield "SELECT " + call % f'{{"model": "{name}"}}'
            yield f"""SELECT * FROM llm_batch('SELECT 1, 2', '{{"model": "{name}"}}')"""
            yield f"""SELECT * FROM llm_stream('a', '{{"model": "{name}"}}')"""
        yield f"SELECT llm_load('{self.model}', '{plan}')"
        yield f"""SELECT llm_generate('a', '{{"model": "{self.model}", "plan": "{plan}"}}')"""
        yield "SELECT llm_info()"
        yield "SELECT llm_unload()"

    def test_its_own_database(self):
        for mode in ("DELETE", "TRUNCATE", "PERSIST", "MEMORY", "WAL"):
            path = self.folder / f"app {mode}.db"
            for link in ("app.sql", "hard"):
                (self.folder / link).unlink(missing_ok=True)
            db = self.host(path, mode)
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO t(b) VALUES (?)", [("p" + str(k) * 50,) for k in range(30)])
            self.assert_locked(path)
            for sql in self.calls(path):
                with self.subTest(mode=mode, sql=sql):
                    with contextlib.suppress(sqlite3.Error):
                        db.execute(sql).fetchall()
                    self.assert_locked(path)
            db.executemany("INSERT INTO t(b) VALUES (?)", [("q" + str(k) * 60,) for k in range(30)])
            db.execute("COMMIT")
            self.assertEqual(value(db, "PRAGMA integrity_check"), "ok")
            self.assertEqual(value(db, "SELECT count(*) FROM t"), 260)
            db.close()

    def test_a_database_that_is_not_written_yet(self):
        path = self.folder / "new.sql"
        db = connect(path, isolation_level=None)
        self.addCleanup(db.close)
        db.execute("BEGIN IMMEDIATE")
        db.execute("CREATE TABLE t(a)")
        self.assertEqual(path.stat().st_size, 0)
        for sql in (f"SELECT llm_load('{path}')", f"SELECT llm_load('{self.model}', '{path}')"):
            with self.assertRaises(sqlite3.OperationalError):
                db.execute(sql).fetchall()
            self.assert_locked(path)
        db.execute("COMMIT")

    def test_the_model_is_its_main_database(self):
        db = connect(self.model, isolation_level=None, timeout=0)
        self.addCleanup(db.close)
        db.execute("CREATE TABLE mine(a)")
        db.execute("PRAGMA cache_size = 2")
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO mine VALUES (?)", [("x" * 9000,)] * 100)
        for sql in ("SELECT llm_generate('a')", f"SELECT llm_load('{self.model}')"):
            with contextlib.suppress(sqlite3.Error):
                db.execute(sql).fetchall()
            self.assert_locked()
        db.execute("COMMIT")
        self.assertEqual(value(db, "PRAGMA integrity_check"), "ok")
        self.assertTrue(value(db, "SELECT llm_generate('a', '{\"n_predict\": 1}') IS NOT NULL"))


class Descriptors(Locks):
    def test_what_is_no_model_uses_none_up(self):
        db = connect(isolation_level=None)
        self.addCleanup(db.close)
        value(db, "SELECT llm_load(?)", str(self.model))
        made = [("text", b"x" * 200), ("short", b""), ("database", None)]
        before = descriptors()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + 30, hard))
        try:
            for number in range(60):
                for kind, content in made:
                    path = self.folder / f"{kind}{number}.sql"
                    if content is None:
                        with contextlib.closing(sqlite3.connect(path)) as other:
                            other.execute("CREATE TABLE t(a)")
                    else:
                        path.write_bytes(content)
                    with self.assertRaises(sqlite3.OperationalError):
                        db.execute("SELECT llm_load(?)", (str(path),))
                    with self.assertRaises(sqlite3.OperationalError):
                        db.execute("SELECT llm_generate('a', json_object('model', ?))", (str(path),))
                    if content is not None:
                        with self.assertRaises(sqlite3.OperationalError):
                            db.execute("SELECT llm_load(?, ?)", (str(self.model), str(path)))
                    path.unlink()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        self.assertLess(descriptors(), before + 5)  # of the model: SQLite's, while it is locked

    def test_a_model_that_was_replaced_gives_its_space_back(self):
        """By rename, as import does; used by nobody, before or after it is let go."""
        def deleted():
            names = []
            for entry in os.listdir("/proc/self/fd"):
                with contextlib.suppress(OSError):
                    names.append(os.readlink(f"/proc/self/fd/{entry}"))
            return sum(name.startswith(str(self.folder)) and name.endswith(" (deleted)")
                       for name in names)

        def replace():
            shutil.copy(self.model, self.folder / "new.db")
            os.replace(self.folder / "new.db", self.model)

        db = self.loaded(self.model)
        replace()
        self.assertGreater(deleted(), 0)  # in use
        value(db, "SELECT llm_unload()")
        self.assertEqual(deleted(), 0)
        for _ in range(5):
            value(db, "SELECT llm_load(?)", str(self.model))
            value(db, "SELECT llm_generate('a', '{\"n_predict\": 1}')")
            value(db, "SELECT llm_unload()")
            replace()
        value(db, "SELECT llm_load(?)", str(self.model))
        self.assertEqual(deleted(), 0)


if __name__ == "__main__":
    extension.main()
