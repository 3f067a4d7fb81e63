#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Weights that are read anew each pass: every way of reading gives the same, exactly as many bytes
are read as the plan says, and a file that cannot be read or is damaged ends in one clear line."""

import mmap
import os
import re
import shutil
import sqlite3
import subprocess
import time
import unittest

from programs import compile_model, logits
from running import RunTest, attempt, start

WAYS = ("read", "map", "direct", "blob")
TOKENS = 5 * [5, 9, 14, 3, 77, 8, 21, 2, 40, 11]  # enough for AMX's tiles
READS = re.compile(r"weights: (\d+) bytes held, (\d+) read per (?:token|pass) \(--io (\w+)\)\n")


def strip_bytes(cols, type):
    blocks = -(-cols // 32)
    return {"f32": cols * 64, "f16": cols * 32, "q8": blocks * 544, "q4": blocks * 320}[type]


class Streaming(RunTest):
    models = ("tiny-llama", "tiny-qwen2", "tiny-gemma3")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.streamed = {}
        # Not every file system can be read past the page cache.
        cls.ways = [way for way in WAYS if way != "direct" or cls.has_direct()]
        for name, (plan, db) in cls.made.items():
            cls.streamed[name] = cls.stream_everything(db.with_suffix(".toml"), db), db

    @classmethod
    def has_direct(cls):
        probe = cls.folder / "probe"
        probe.write_bytes(bytes(8192))
        try:
            descriptor = os.open(probe, os.O_RDONLY | os.O_DIRECT)
        except OSError:
            return False
        try:
            with mmap.mmap(-1, 4096) as page:
                return os.preadv(descriptor, [page], 0) > 0
        except OSError:
            return False
        finally:
            os.close(descriptor)

    @classmethod
    def stream_everything(cls, toml, db):
        """A plan with a budget, edited so that no matrix is held."""
        plan = compile_model(toml, db.with_suffix(".streamed.sql"), "--context", 128,
                             "--budget", "100MiB")
        with sqlite3.connect(db) as connection:
            matrices = {id for id, in connection.execute(
                "SELECT id FROM llm_param WHERE rows IS NOT NULL")}
        connection.close()
        text = re.sub(r"\((\d+), (\d+), (\d+), 1\)(?=[,;]\n)",
                      lambda m: f"({m[1]}, {m[2]}, {m[3]}, {0 if int(m[1]) in matrices else 1})",
                      plan.read_text())
        text = text.replace("windows=0", "windows=8388608")
        plan.write_text(text)
        return plan

    def test_all_ways_give_the_same_logits(self):
        for name, (plan, db) in self.streamed.items():
            held = logits(*self.made[name], TOKENS, self.folder)
            for way in (*self.ways, "auto"):
                with self.subTest(model=name, way=way):
                    got = logits(plan, db, TOKENS, self.folder, "--io", way)
                    self.assertTrue((got == held).all())
                    whole = logits(*self.made[name], TOKENS, self.folder, "--io", way, "--verify")
                    self.assertTrue((whole == held).all())

    def test_as_many_bytes_are_read_as_are_not_held(self):
        for name, (plan, db) in self.streamed.items():
            with sqlite3.connect(db) as connection:
                params = list(connection.execute("SELECT name, type, rows, cols FROM llm_param"))
            connection.close()
            tied = not any(row[0] == "output" for row in params)
            expected = sum(-(-rows // 16) * strip_bytes(cols, type)
                           for param, type, rows, cols in params
                           if rows and (tied or param != "token_embd"))
            vectors = sum(4 * cols for _, _, rows, cols in params if not rows)
            for way in self.ways:
                with self.subTest(model=name, way=way):
                    status, _, err = attempt(plan, db, "-p", "One", "-n", 9, "--ignore-eos",
                                             "--io", way)
                    self.assertEqual(status, 0, err)
                    self.assertEqual(READS.search(err).groups(), (str(vectors), str(expected), way))

    def fault_library(self):
        return os.environ["LLMSQL_FAILING_READS"]

    def test_each_read_may_fail(self):
        plan, db = self.streamed["tiny-llama"]
        for way in [way for way in self.ways if way != "map"]:
            arguments = (plan, db, "-p", "One", "-n", 3, "--temp", 0, "--io", way, "-t", 1)
            _, right, _ = attempt(*arguments)
            count = self.folder / "count"
            # Where the sanitizers' library is linked in, ours may come before it.
            environment = {**os.environ, "LD_PRELOAD": self.fault_library(),
                           "ASAN_OPTIONS": "verify_asan_link_order=0"}
            attempt(*arguments, env={**environment, "LLMSQL_COUNT_READS": str(count)})
            reads = int(count.read_text())
            self.assertGreater(reads, 30)
            for number in range(1, reads + 1):
                with self.subTest(way=way, read=number):
                    status, out, err = attempt(
                        *arguments, env={**environment, "LLMSQL_FAIL_READ": str(number)})
                    if status == 0:  # SQLite asked for something that it can do without
                        self.assertEqual(out, right)
                        continue
                    self.assertEqual(status, 1, err)
                    self.assertRegex(err, r"\Allmsql-run: [^\n]+\n\Z")
                    self.assertTrue(right.startswith(out.rstrip(b"\n")), out)

    def damage(self, folder_name):
        """A copy of the database with one bit of a matrix flipped."""
        plan, db = self.streamed["tiny-llama"]
        copy = self.folder / folder_name
        with sqlite3.connect(db) as connection:
            needle = connection.execute(
                "SELECT substr(data, 1, 64) FROM llm_tile WHERE param = (SELECT id FROM llm_param "
                "WHERE rows IS NOT NULL ORDER BY id DESC LIMIT 1)").fetchone()[0]
        connection.close()
        data = bytearray(db.read_bytes())
        at = data.index(needle)
        data[at + 33] ^= 4
        copy.write_bytes(data)
        return plan, copy

    def test_a_flipped_bit(self):
        plan, copy = self.damage("flipped.db")
        for way in (*self.ways, "auto"):
            for more in ((), ("--verify",)):
                with self.subTest(way=way, more=more):
                    status, out, err = attempt(plan, copy, "-p", "One", "-n", 3, "--io", way, *more)
                    self.assertEqual(status, 1)
                    self.assertRegex(err, r"\Allmsql-run: [^\n]*checksum mismatch[^\n]*\n\Z")
                    self.assertEqual(out.strip(), b"" if more else b"One")

    def test_truncated_while_it_runs(self):
        plan, db = self.streamed["tiny-llama"]
        for way in (*self.ways, "auto"):
            with self.subTest(way=way):
                copy = self.folder / f"truncated-{way}.db"
                shutil.copy(db, copy)
                process = start(plan, copy, "--io", way, "-n", 4, "--temp", 0, "--ignore-eos",
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, bufsize=0)
                process.stdin.write(b"One?\n")
                process.stdout.read(1)  # the first answer has begun
                time.sleep(0.2)
                os.truncate(copy, 65536)
                process.stdin.write(b"Two?\n")
                out, err = process.communicate(timeout=60)
                self.assertEqual(process.returncode, 1, err)
                self.assertRegex(err.decode(), r"\Allmsql-run: [^\n]+\n\Z")

    def test_ways_that_cannot_be(self):
        plan, db = self.streamed["tiny-llama"]
        status, _, err = attempt(plan, db, "-p", "One", "--io", "fast")
        self.assertEqual((status, "--io: read, map, direct, blob or auto" in err), (2, True))
        narrow = self.folder / "narrow.sql"
        narrow.write_text(plan.read_text().replace("windows=8388608", "windows=0"))
        for way in ("map", "direct"):
            with self.subTest(way):
                status, _, err = attempt(narrow, db, "-p", "One", "--io", way)
                self.assertEqual((status, "use --io=read" in err), (1, True), err)
                self.assertRegex(err, r"\Allmsql-run: [^\n]+\n\Z")

    def test_budgets_that_cannot_be(self):
        plan, db = self.streamed["tiny-llama"]
        text = plan.read_text()

        def line_of(start):
            return text[:text.index(start)].count("\n") + 1
        budget = "budget=104857600"
        for old, new, start in ((budget, "budget=9000000", "CREATE VIRTUAL TABLE temp.residency"),
                                ("windows=8388608", "windows=100000000",
                                 "CREATE VIRTUAL TABLE temp.residency"),
                                ("workers=2", "workers=200", "CREATE VIRTUAL TABLE temp.residency"),
                                ("arena=", "arena=1", "CREATE VIRTUAL TABLE temp.tensor"),
                                ("context=128", "context=1000000", "INSERT INTO kv_layer")):
            with self.subTest(new):
                edited = self.folder / "edited.sql"
                # The first number of the arena grows until it cannot fit.
                grown = re.sub(r"arena=(\d+)", r"arena=1\g<1>000", text) if old == "arena=" else \
                    text.replace(old, new)
                self.assertNotEqual(grown, text)
                edited.write_text(grown)
                status, out, err = attempt(edited, db, "-p", "One")
                self.assertEqual((status, out), (1, b""))
                self.assertRegex(err, rf"\Allmsql-run: [^\n]*edited.sql:{line_of(start)}: the plan "
                                      r"takes \d+ bytes at least, more than its budget of \d+: "
                                      r"[^\n]+\n\Z")

    def test_verify_alone(self):
        plan, db = self.streamed["tiny-llama"]
        for way in ("auto", *self.ways):
            with self.subTest(way):
                status, out, err = attempt(db, "--verify", "--io", way)
                self.assertEqual((status, err), (0, ""))
                self.assertRegex(out.decode(), r"\A[^\n]+tiny-llama[^\n]* \d+ parameters, \d+ bytes "
                                               r"of weights: all as imported\n\Z")
        _, copy = self.damage("verified.db")
        status, out, err = attempt(copy, "--verify")
        self.assertEqual((status, out), (1, b""))
        self.assertRegex(err, r"\Allmsql-run: [^\n]*checksum mismatch[^\n]*import the model again\n\Z")
        status, _, err = attempt(plan, "--verify")
        self.assertEqual(status, 1)
        self.assertIn("not a model database", err)

    def test_edited_residency(self):
        plan, db = self.streamed["tiny-llama"]
        text = plan.read_text()
        line = text[:text.index("INSERT INTO residency")].count("\n") + 1
        first = re.search(r"  \((\d+), 0, (\d+), \d\)", text)
        for old, new, message in (
                (first[0], f"  ({first[1]}, 0, {int(first[2]) + 1}, 1)", "does not fit"),
                (first[0], f"  (999, 0, {first[2]}, 1)", "there is no parameter 999"),
                (first[0] + ",\n", "", "cover"),
                (first[0] + ",", first[0] + "," + first[0] + ",", "covered twice"),
                (first[0], f"  ({first[1]}, 0, {first[2]}, 7)", "must be 0 or 1")):
            with self.subTest(new):
                edited = self.folder / "edited.sql"
                edited.write_text(text.replace(old, new, 1))
                status, out, err = attempt(edited, db, "-p", "One")
                self.assertEqual((status, out), (1, b""))
                self.assertRegex(err, r"\Allmsql-run: [^\n]+\n\Z")
                self.assertIn(message, err)
                if message != "cover":
                    self.assertIn(f"edited.sql:{line}", err)


if __name__ == "__main__":
    unittest.main()
