# SPDX-License-Identifier: MIT
"""No output of ours replaces a file of somebody else's; what an earlier run of ours has left may be
replaced."""

import contextlib
import os
import sqlite3
import subprocess

import numpy as np

from programs import FIXTURES, SOURCE, run
from running import RunTest, attempt
import unittest


def digest(path):
    return path.read_bytes()


def program(variable, *arguments):
    done = subprocess.run([os.environ[variable], *map(str, arguments)], capture_output=True,
                          text=True, timeout=120)
    return done.returncode, done.stderr


class Outputs(RunTest):
    def setUp(self):
        self.here = self.folder / self.id().rpartition(".")[2]
        self.here.mkdir()
        self.toml = self.db.with_suffix(".toml")

    def files_of_others(self):
        def database(name, *statements):
            with contextlib.closing(sqlite3.connect(self.here / name)) as db:
                for sql in statements:
                    db.execute(sql)
                db.commit()
            return self.here / name

        def text(name, content):
            (self.here / name).write_bytes(content)
            return self.here / name

        session = self.here / "session.db"
        self.assertEqual(attempt(self.plan, self.db, "--session", session, "-p", "a", "-n", 1)[0], 0)
        array = self.here / "array.npy"
        np.save(array, np.ones((2, 3), np.float32))
        grown = self.here / "grown.db"
        grown.write_bytes(self.db.read_bytes())
        with contextlib.closing(sqlite3.connect(grown)) as db:
            db.execute("CREATE TABLE notes(text)")
        return [
            database("app.db", "CREATE TABLE note(text)", "INSERT INTO note VALUES ('work')"),
            database("id.db", "CREATE TABLE note(text)", "PRAGMA application_id = 77"),
            session, array, grown,
            text("letter.txt", b"Dear reader,\n"),
            text("page.html", b"<!doctype html>\n<title>mine</title>\n"),
            text("other.toml", b'name = "my site"\nbaseURL = "x"\n'),
            text("mine.toml", b'# by hand\nname = "m"\ngraph = "llama"\n'),
            text("notes.sql", b"-- my own queries\nSELECT 1;\n"),
        ]

    def outputs(self, path):
        """Each way of ours to write a file."""
        gguf = FIXTURES / "tiny-llama.gguf"
        graphs = ("--graph-dir", SOURCE / "graphs")
        run_it = ("-p", "a", "-n", 1, "--temp", 0)
        yield "LLMSQL_IMPORT", (gguf, *graphs, "-o", path)
        yield "LLMSQL_IMPORT", (gguf, *graphs, "-o", self.here / "x.db", "--write-model", path)
        yield "LLMSQLC", (self.toml, *graphs, "--install", path)
        yield "LLMSQLC", (self.toml, *graphs, "-o", path)
        for emit in "sql", "html", "memory", "graph", "ast", "operators":
            yield "LLMSQLC", (self.toml, *graphs, f"--emit={emit}", "-o", path)
        yield "LLMSQLC", ("--explain", self.plan, "-o", path)
        yield "LLMSQL_RUN", (self.plan, self.db, *run_it, f"--profile=db:{path}")
        yield "LLMSQL_RUN", (self.plan, self.db, *run_it, f"--profile=html:{path}")
        yield "LLMSQL_RUN", (self.plan, self.db, *run_it, f"--trace=db:{path}")
        yield "LLMSQL_RUN", (self.plan, self.db, "--tokens", "1,2", "--logits", path)
        yield "LLMSQL_RUN", (self.plan, self.db, *run_it, "--session", path)

    def test_what_is_of_others_stays(self):
        for path in self.files_of_others():
            before = digest(path)
            for variable, arguments in self.outputs(path):
                if path.name == "session.db" and "--session" in arguments:
                    continue  # that one is its own
                if path.name == "grown.db" and "--install" in arguments:
                    continue  # adds to a model, and loses nothing
                with self.subTest(path=path.name, arguments=arguments):
                    status, err = program(variable, *arguments)
                    self.assertNotEqual(status, 0)
                    self.assertEqual(len(err.splitlines()), 1, err)
                    self.assertIn(str(path), err)
                    self.assertEqual(digest(path), before)
        self.assertEqual([name for name in os.listdir(self.here) if name.count(".") > 1], [])

    def test_what_is_ours_is_replaced(self):
        made = 0
        for number, (variable, arguments) in enumerate(self.outputs(self.here / "out")):
            emits = [text for text in map(str, arguments) if text.startswith("--emit=")]
            if "--install" in arguments or "--explain" in arguments or emits not in (
                    [], ["--emit=sql"], ["--emit=html"]):
                continue  # says nothing of itself, so that it could be told
            path = self.here / f"out{number}"
            path.touch()  # nothing can be lost of that
            here = str(self.here / "out")
            arguments = [str(argument).removesuffix(here) + str(path)
                         if str(argument).endswith(here) else argument for argument in arguments]
            for _ in range(2):
                status, err = program(variable, *arguments)
                self.assertEqual(status, 0, err)
            made += path.stat().st_size > 0
        self.assertGreaterEqual(made, 9)

    def test_logits_are_read_by_numpy(self):
        path = self.here / "l.npy"
        self.run_well("--tokens", "1,2,3", "--logits", path)
        self.assertEqual(np.load(path).shape[0], 3)
        self.assertEqual(np.load(path).dtype, np.float32)


class Verify(RunTest):
    """What was imported is compared with its digests."""

    def copy(self, *statements):
        path = self.folder / "changed.db"
        path.write_bytes(self.db.read_bytes())
        with contextlib.closing(sqlite3.connect(path)) as db:
            for sql in statements:
                db.execute(sql)
            db.commit()
        return path

    def swapped(self):
        """Two parameters of one shape, each with the other's tiles."""
        with contextlib.closing(sqlite3.connect(self.db)) as db:
            a, b = db.execute("SELECT min(id), max(id) FROM llm_param WHERE name LIKE '%attn_k' OR "
                              "name LIKE '%attn_v' GROUP BY substr(name, 1, 5) LIMIT 1").fetchone()
        return (f"UPDATE llm_tile SET param = CASE param WHEN {a} THEN {b} ELSE {a} END "
                f"WHERE param IN ({a}, {b})")

    def test_what_was_changed_is_told(self):
        self.assertIn(b"all as imported", attempt(self.db, "--verify")[1])
        changes = {
            self.swapped(): "tiles",
            "UPDATE llm_token SET piece = CAST('other' AS BLOB) WHERE id = 40": "llm_token",
            "UPDATE llm_token SET kind = 3 WHERE id = 41": "llm_token",
            "UPDATE llm_token SET score = 0.25 WHERE id = 41": "llm_token",
            "INSERT INTO llm_token VALUES (100000, x'41', 1, 0)": "llm_token",
            "DELETE FROM llm_merge WHERE rank = (SELECT max(rank) FROM llm_merge)": "llm_merge",
            "UPDATE llm_merge SET rank = rank + 1": "llm_merge",
            "UPDATE llm_meta SET value = value || '0' WHERE key = 'catalogue'": "catalogue",
            "UPDATE llm_meta SET value = 'b' WHERE key = 'source'": "llm_meta",
            "INSERT INTO llm_meta VALUES ('tokenizer.bos', 3) "
            "ON CONFLICT DO UPDATE SET value = 3": "llm_meta",
            "DELETE FROM llm_meta WHERE key = 'digest.llm_token'": "llm_token",
            "DELETE FROM llm_meta WHERE key = 'digest.llm_meta'": "llm_meta",
            "UPDATE llm_param SET name = name || '_' WHERE id = 2": "catalogue",
            "UPDATE llm_param SET tile_rows = tile_rows + 16 WHERE rows IS NOT NULL": "llm_param",
            "UPDATE llm_param SET type = CAST(type AS BLOB)": "llm_param",
        }
        for sql, what in changes.items():
            with self.subTest(sql):
                path = self.copy(sql)
                for arguments in ((path, "--verify"), (self.plan, path, "--verify", "-p", "a")):
                    status, out, err = attempt(*arguments)
                    self.assertNotEqual(status, 0, out)
                    if arguments[0] == path:
                        self.assertIn(what, err)
                    self.assertEqual(len(err.splitlines()), 1, err)

    def test_swapped_tiles_do_not_run(self):
        self.assertEqual(attempt(self.plan, self.copy(self.swapped()), "-p", "a")[0], 1)

    def test_an_older_import_runs_and_is_told(self):
        path = self.copy("DELETE FROM llm_meta WHERE key LIKE 'digest.%'")
        arguments = "-p", "a", "-n", 8, "--temp", 0
        self.assertEqual(attempt(self.plan, path, *arguments)[:2],
                         attempt(self.plan, self.db, *arguments)[:2])
        status, out, err = attempt(path, "--verify")
        self.assertEqual(status, 0, err)
        self.assertIn(b"cannot be checked", out)
        self.assertNotIn(b"all as imported", out)
        status, _, err = attempt(self.plan, path, "--verify", *arguments)
        self.assertEqual(status, 0, err)
        self.assertIn("cannot be checked", err)

    def test_a_plan_that_is_installed_changes_nothing(self):
        path = self.copy()
        run("LLMSQLC", self.db.with_suffix(".toml"), "--graph-dir", SOURCE / "graphs", "--install",
            path)
        self.assertIn(b"all as imported", attempt(path, "--verify")[1])

    def test_a_journal_that_is_kept_is_no_dead_writers(self):
        path = self.copy("PRAGMA journal_mode = PERSIST", "CREATE TABLE mine(a)")
        journal = path.with_name(path.name + "-journal")
        self.assertGreater(journal.stat().st_size, 0)
        self.assertEqual(attempt(self.plan, path, "-p", "a", "-n", 1)[0], 0)
        content = journal.read_bytes()
        journal.write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + content[8:])
        status, _, err = attempt(self.plan, path, "-p", "a", "-n", 1)
        self.assertEqual(status, 1)
        self.assertIn("-journal file lies beside it", err)
        journal.unlink()


class Limits(RunTest):
    """A way that llmsql chooses by itself works wherever the plain one does."""

    def limited(self, kilobytes, *arguments):
        done = subprocess.run(
            ["bash", "-c", f'ulimit -v {kilobytes}; exec "$0" "$@"', os.environ["LLMSQL_RUN"],
             *map(str, (self.plan, self.db, "-p", "a", "-n", 3, "--temp", 0, *arguments))],
            capture_output=True, timeout=120)
        return done.returncode, done.stdout

    @unittest.skipIf(os.environ.get("LLMSQL_SANITIZED"), "AddressSanitizer takes address space")
    def test_little_address_space(self):
        expected = attempt(self.plan, self.db, "-p", "a", "-n", 3, "--temp", 0)[1]
        worked = 0
        for kilobytes in (20_000, 40_000, 60_000, 100_000, 200_000, 1_000_000):
            for threads in ((), ("-t", 1)):
                read = self.limited(kilobytes, "--io", "read", *threads)
                auto = self.limited(kilobytes, *threads)
                with self.subTest(kilobytes=kilobytes, threads=threads):
                    self.assertEqual(auto, read)
                    self.assertIn(read[0], (0, 1, 127))  # 127: the program cannot be loaded
                worked += read == (0, expected)
        self.assertGreater(worked, 2)


if __name__ == "__main__":
    unittest.main()
