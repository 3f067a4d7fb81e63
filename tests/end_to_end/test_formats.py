#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What earlier versions wrote: each plan, model database and session of tests/fixtures/formats either gives
what it gave then, or is refused in one line that names the command which renews it."""

import json
import lzma
import re
import sqlite3
import unittest

from gguf_files import wide_llama
from programs import FIXTURES, SOURCE, TemporaryFolder, compile_model, rows, run
from running import attempt

FORMATS = FIXTURES / "formats"
GRAPHS = "--graph-dir", SOURCE / "graphs"
# What makes each of the three anew.
RENEWS = re.compile(r"llmsql-import|llmsqlc|import the model again|compile the plan again|begin a new session")


class EarlierVersions(TemporaryFolder):
    def unpack(self, version):
        for file in version.glob("*.xz"):
            (self.folder / file.stem).write_bytes(lzma.decompress(file.read_bytes()))

    def test_there_are_some(self):
        self.assertTrue(list(FORMATS.glob("*/expected.json")))

    def test_each_runs_as_it_did_or_names_what_renews_it(self):
        for version in sorted(FORMATS.iterdir()):
            for what, case in json.loads((version / "expected.json").read_text()).items():
                with self.subTest(version=version.name, what=what):
                    self.unpack(version)  # anew: a session is written to
                    status, out, err = attempt(*case["arguments"], cwd=self.folder)
                    if status == 0:
                        self.assertEqual(out.decode(), case["output"])
                    else:
                        self.assertEqual(err.count("\n"), 1, err)
                        self.assertRegex(err, RENEWS)

    def test_a_version_to_come_is_refused_by_its_number(self):
        answer = ("-p", "a", "-n", 1)
        for file, arguments in {"plan.sql": ("plan.sql", "model.db", *answer),
                                "model.db": ("plan.sql", "model.db", *answer),
                                "session.db": ("model.db", "--session", "session.db", "--id", "text",
                                               *answer)}.items():
            self.unpack(max(FORMATS.iterdir()))
            if file == "plan.sql":
                plan = self.folder / file
                plan.write_text(re.sub(r"^-- llmsql plan \d+", "-- llmsql plan 9999", plan.read_text()))
            else:
                db = sqlite3.connect(self.folder / file)
                db.execute("PRAGMA user_version = 9999")
                db.close()
            status, _, err = attempt(*arguments, cwd=self.folder)
            self.assertNotEqual(status, 0, file)
            self.assertEqual(err.count("\n"), 1, err)
            self.assertIn(file, err)
            self.assertIn("9999", err)


class TilesOfFormat3(TemporaryFolder):
    """Format 4 cuts wide matrices into other tiles, which plans with a budget number."""
    OLD = FORMATS / "2026-11-30-format-3"

    def setUp(self):
        super().setUp()
        for file in self.OLD.glob("*.xz"):
            (self.folder / file.stem).write_bytes(lzma.decompress(file.read_bytes()))
        self.expected = json.loads((self.OLD / "expected.json").read_text())
        gguf = wide_llama(FIXTURES / "tiny-llama-k.gguf", 12, 4864).write(self.folder / "wide.gguf")
        self.toml = self.folder / "new.toml"
        run("LLMSQL_IMPORT", gguf, *GRAPHS, "-o", self.folder / "new.db", "--write-model", self.toml)
        compile_model(self.toml, self.folder / "new.sql", "--context", 128, "--budget", "14MiB")
        compile_model(self.toml, self.folder / "new-plain.sql", "--context", 128)

    def answer(self, plan, db):
        what = "a plan with a budget"
        self.assertEqual(self.expected[what]["arguments"][:2], ["budget.sql", "model.db"])
        return attempt(plan, db, *self.expected[what]["arguments"][2:], cwd=self.folder)

    def test_what_belongs_together_gives_what_it_gave(self):
        output = self.expected["a plan with a budget"]["output"]
        for plan, db in (("budget.sql", "model.db"), ("plan.sql", "model.db"), ("plan.sql", "new.db"),
                         ("new-plain.sql", "model.db"), ("new-plain.sql", "new.db"), ("new.sql", "new.db")):
            with self.subTest(plan=plan, db=db):
                status, out, err = self.answer(plan, db)
                self.assertEqual(status, 0, err)
                self.assertEqual(out.decode(), output)
        for db in "model.db", "new.db":
            run("LLMSQL_RUN", self.folder / db, "--verify")

    def test_the_fixture_is_cut_otherwise(self):
        cuts = [rows(self.folder / db, "SELECT tile_rows FROM llm_param WHERE name = 'layer.0.ffn_down'")
                for db in ("model.db", "new.db")]
        self.assertEqual(cuts, [[(80,)], [(144,)]])

    def test_what_does_not_is_refused_by_name_with_what_renews_it(self):
        for plan, db, says in (("budget.sql", "new.db", r"layer\.0\.ffn_down is cut .*compile it again \(llmsqlc\)"),
                               ("new.sql", "model.db", r"layer\.0\.ffn_down is cut .*import the model again "
                                                       r"\(llmsql-import\)")):
            status, _, err = self.answer(plan, db)
            self.assertNotEqual(status, 0)
            self.assertEqual(err.count("\n"), 1, err)
            self.assertTrue(err.startswith(f"llmsql-run: {plan}:"), err)
            self.assertRegex(err, says)

    def test_a_plan_is_not_installed_where_it_could_not_run(self):
        install = [self.toml, *GRAPHS, "--context", 128, "--budget", "14MiB", "--install"]
        run("LLMSQLC", *install, self.folder / "new.db")
        before = (self.folder / "model.db").read_bytes()
        with self.assertRaisesRegex(AssertionError, r"layer\.0\.ffn_down.*import the model again"):
            run("LLMSQLC", *install, self.folder / "model.db")
        self.assertEqual((self.folder / "model.db").read_bytes(), before)
        run("LLMSQLC", *install[:5], "--install", self.folder / "model.db")
        for db in "model.db", "new.db":
            self.assertEqual(attempt(db, "-p", "a", "-n", 1, cwd=self.folder)[0], 0)


if __name__ == "__main__":
    unittest.main()
