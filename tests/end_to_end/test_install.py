#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""llmsqlc --install: the plan inside the model's database, and llmsql-run on that one file."""

import os
import sqlite3
import subprocess
import unittest

from programs import SOURCE
from running import RunTest, attempt

OPTIONS = ("-p", "The river", "-n", 12, "--temp", 0)


def install(toml, db, *options):
    done = subprocess.run([os.environ["LLMSQLC"], *map(str, (toml, "--install", db, "--graph-dir",
                                                             SOURCE / "graphs", *options))],
                          capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr


class Install(RunTest):
    models = ("tiny-llama", "tiny-qwen2")

    def setUp(self):
        self.toml = self.db.with_suffix(".toml")
        with sqlite3.connect(self.db) as db:
            db.execute("DROP TABLE IF EXISTS llm_plan")
        db.close()

    def install(self, *options):
        if "--context" not in options:
            options += "--context", 128
        self.assertEqual(install(self.toml, self.db, *options), (0, "", ""))

    def text(self, *options):
        status, out, err = attempt(self.db, *options, *OPTIONS)
        self.assertEqual(status, 0, err)
        return out

    def refused(self, *options):
        status, out, err = attempt(self.db, *options, *OPTIONS)
        self.assertEqual((status, out), (1, b""))
        self.assertRegex(err, r"\Allmsql-run: [^\n]+\n\Z")
        return err

    def test_one_file_is_the_whole(self):
        expected, _ = self.run_well(*OPTIONS)
        self.install()
        self.assertEqual(self.text(), expected)
        with sqlite3.connect(self.db) as db:
            self.assertEqual(db.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
        db.close()

    def test_several_plans(self):
        self.install("--name", "small", "--kv", "q8")
        self.text()  # the only one
        self.install("--name", "large")
        self.assertIn("name one; installed are 'large', 'small'", self.refused())
        self.assertIn("no plan 'tiny' in it; installed are 'large', 'small'",
                      self.refused("--plan", "tiny"))
        self.text("--plan", "small")
        self.install()
        self.text()  # the default one
        self.install("--name", "small", "--context", 64)  # in place of the other
        status, _, err = attempt(self.db, "--plan", "small", "-p", "word " * 70)
        self.assertEqual(status, 1)
        self.assertIn("the context holds 64", err)

    def test_a_plan_from_a_database_names_itself(self):
        self.install()
        with sqlite3.connect(self.db) as db:
            db.execute("UPDATE llm_plan SET sql = replace(sql, 'llm_embed', 'llm_embedded')")
        db.close()
        self.assertIn(f"{self.db}(default):", self.refused())

    def test_refusals_leave_the_file_alone(self):
        other = self.made["tiny-qwen2"][1]
        before = other.read_bytes()
        status, _, err = install(self.toml, other)
        self.assertEqual(status, 1)
        self.assertIn("but the plan is for", err)
        nothing = self.folder / "nothing.db"
        nothing.write_bytes(b"not a database" * 100)
        self.assertIn("not a model database", install(self.toml, nothing)[2])
        self.assertIn("no plan is installed", self.refused())
        self.assertEqual(other.read_bytes(), before)
        status, _, err = install(self.toml, self.db, "--budget", "1MiB")
        self.assertEqual(status, 1)
        self.assertIn("too small", err)

    def test_a_database_in_use_says_so(self):
        reader = sqlite3.connect(self.db)
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM llm_meta").fetchall()
        try:
            status, _, err = install(self.toml, self.db)
        finally:
            reader.close()
        self.assertEqual(status, 1)
        self.assertRegex(err, r"\Allmsqlc: [^\n]+ is in use: [^\n]+\n\Z")
        self.assertIn("no plan is installed", self.refused())


if __name__ == "__main__":
    unittest.main()
