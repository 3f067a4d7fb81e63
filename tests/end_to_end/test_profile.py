# SPDX-License-Identifier: MIT
"""llmsql-run --profile=text, db:FILE and html:FILE: the same figures three times, and those that
can be known beforehand are exactly the plan's."""

import json
import re
import resource
import sqlite3
import unittest

from programs import SOURCE, compile_model, run
from running import RunTest, attempt

PROMPT = "Once upon a time"


def page_data(path):
    html = path.read_text()
    return json.loads(re.search(r'<script id="data" type="application/json">(.*?)</script>', html, re.S)[1])


class ProfileTest(RunTest):
    models = ("tiny-llama", "tiny-qwen2")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.db_file, cls.page = cls.folder / "profile.db", cls.folder / "profile.html"
        cls.options = ("-p", PROMPT, "-n", 9, "--temp", 0, "--ignore-eos", "-b", 2, "--drafts", 0)
        cls.status, cls.out, cls.err = attempt(cls.plan, cls.db, *cls.options, "--io", "read", "--profile", f"--profile=db:{cls.db_file}", f"--profile=html:{cls.page}")

    def rows(self, query, *arguments):
        with sqlite3.connect(self.db_file) as db:
            db.row_factory = sqlite3.Row
            found = [dict(row) for row in db.execute(query, arguments)]
        db.close()
        return found

    def test_the_text_is_the_same(self):
        self.assertEqual(self.status, 0, self.err)
        self.assertEqual(self.out, self.run_well(*self.options)[0])

    def test_parts_of_a_phase_add_up(self):
        tokens = len(self.tokens_of(PROMPT))
        phases = {row["phase"]: row for row in self.rows("SELECT * FROM phase")}
        self.assertEqual({name: (p["tokens"], p["passes"]) for name, p in phases.items()},
                         {"prefill": (tokens, -(-tokens // 2)), "decode": (8, 8)})
        for name, phase in phases.items():
            statements = self.rows("SELECT sum(computing) AS computing, sum(reading) AS reading, "
                                   "sum(sql) AS sql FROM statement_time WHERE phase = ?", name)[0]
            self.assertAlmostEqual(statements["computing"], phase["computing"], delta=1e-9)
            self.assertAlmostEqual(statements["reading"], phase["reading"], delta=1e-9)
            # What is left of SQL is the loop around the statements.
            self.assertGreater(statements["sql"], 0)
            self.assertLessEqual(statements["sql"], phase["sql"] + 1e-9)
            self.assertGreater(phase["computing"], 0)
            whole = phase["computing"] + phase["reading"] + phase["sql"] + phase["waiting"]
            self.assertLessEqual(whole, phase["seconds"])

    def test_every_statement_runs_once_a_pass(self):
        plan = self.plan.read_text()
        for row in self.rows("SELECT phase, passes, section, runs, line, name, s.sql FROM statement_time "
                             "JOIN statement s USING (statement) JOIN phase USING (phase)"):
            wanted = row["passes"] if row["section"] == "forward" or row["phase"] == "decode" else 1
            self.assertEqual(row["runs"], wanted, row["name"])
            self.assertEqual(plan.splitlines()[row["line"] - 1], row["sql"].splitlines()[0])

    def test_views(self):
        kinds = self.rows("SELECT * FROM slowest_operator WHERE phase = 'decode'")
        self.assertIn("linear ffn_gate, ffn_up", [row["kind"] for row in kinds])
        times = [row["ms_a_pass"] for row in kinds]
        self.assertEqual(times, sorted(times, reverse=True))
        layers = self.rows("SELECT * FROM layer_time WHERE phase = 'decode'")
        self.assertIsNone(layers[-1]["layer"])
        self.assertEqual([row["layer"] for row in layers[:-1]], list(range(len(layers) - 1)))
        self.assertAlmostEqual(sum(times), sum(row["ms_a_pass"] for row in layers), delta=1e-9)
        # All weights are held here, in memory of their own: they are read in prefill, never in decode.
        self.assertEqual({row["phase"] for row in self.rows("SELECT * FROM io_wait WHERE read_bytes_a_pass > 0")},
                         {"prefill"})

    def test_the_table_says_what_the_database_says(self):
        blocks = re.split(r"^profile of ", self.err, flags=re.M)[1:]
        self.assertEqual([block.split(":")[0] for block in blocks], ["prefill", "decode"])
        for block in blocks:
            name = block.split(":")[0]
            table = {}
            for line in block.split("by operator")[1].split("\n\n")[0].splitlines()[1:]:
                match = re.match(r"  (.*?)(?: \((\d+)\))? +(\d+\.\d+) +(\d+\.\d) %", line)
                table[match[1]] = float(match[3])
            for row in self.rows("SELECT * FROM slowest_operator WHERE phase = ?", name):
                self.assertAlmostEqual(table.pop(row["kind"]), row["ms_a_pass"], delta=0.0006)
            self.assertEqual(set(table), {"hand-offs", "sampling and text"})

    def test_the_page_says_what_the_database_says(self):
        data = page_data(self.page)
        run = data["run"]
        self.assertEqual([phase["name"] for phase in run["phases"]], ["prefill", "decode"])
        for phase in run["phases"]:
            stored = self.rows("SELECT * FROM phase WHERE phase = ?", phase["name"])[0]
            for key in ("tokens", "passes", "seconds", "computing", "reading", "sql", "waiting"):
                self.assertEqual(phase[key], stored[key])
            for row in self.rows("SELECT * FROM statement_time WHERE phase = ?", phase["name"]):
                runs, _, *times = phase["statements"][row["statement"] - 1]
                self.assertEqual((runs, times), (row["runs"], [row[key] for key in (
                    "computing", "reading", "sql", "weight_bytes", "read_bytes")]))
        names = [row["name"] for row in self.rows("SELECT name FROM statement ORDER BY statement")]
        self.assertEqual([step["name"] for step in data["steps"]], names)

    def test_bytes_read_within_a_budget_are_the_plans(self):
        toml = self.db.with_suffix(".toml")
        try:
            self.compile_text(toml, "--emit=schedule", "--budget", "1MiB")
        except AssertionError as refusal:
            least = re.search(r"the smallest that works is ([\d.]+) MiB", str(refusal))[1] + "MiB"
        plan = compile_model(toml, self.folder / "small.sql", "--context", 128, "--budget", least)
        planned = int(re.search(r"reads, by this schedule +(\d+)", self.compile_text(
            toml, "--emit=schedule", "--budget", least))[1])
        self.assertGreater(planned, 0)
        for io in ("read", "blob"):
            profile = self.folder / f"small.{io}.db"
            status, _, err = attempt(plan, self.db, *self.options, "--io", io, f"--profile=db:{profile}")
            self.assertEqual(status, 0, err)
            with sqlite3.connect(profile) as db:
                read, passes = db.execute(
                    "SELECT sum(read_bytes), max(passes) FROM statement_time JOIN statement USING (statement) "
                    "JOIN phase USING (phase) WHERE phase = 'decode' AND kind NOT LIKE 'embed%'").fetchone()
                (waited,) = db.execute("SELECT count(*) FROM io_wait WHERE phase = 'decode'").fetchone()
            db.close()
            self.assertEqual(read, planned * passes)
            self.assertGreater(waited, 0)

    def compile_text(self, toml, *options):
        return run("LLMSQLC", toml, "--graph-dir", SOURCE / "graphs", "--context", 128, *options).stdout.decode()

    def test_sessions_too(self):
        session = self.folder / "profiled.session"
        for options in (("-p", "Once", "-n", 4), ("--chat", "-p", "Why?", "-n", 4)):
            for left in (session,):
                left.unlink(missing_ok=True)
            page, db = self.folder / "session.html", self.folder / "session-profile.db"
            _, err = self.run_well("--session", session, *options, "--profile", f"--profile=html:{page}",
                                   f"--profile=db:{db}")
            self.assertIn("profile of decode", err)
            self.assertTrue(page.exists() and db.exists())
            page.unlink()
            db.unlink()

    def test_other_modes(self):
        text = self.folder / "text.txt"
        text.write_text("Once upon a time there was a little girl. " * 20)
        for options, name in ((("--perplexity", text, "-c", 16), "perplexity"),
                              (("--tokens", "5,9,14", "--logits", self.folder / "l.npy"), "logits")):
            _, err = self.run_well(*options, "--profile")
            self.assertRegex(err, rf"timing of {name}: ")
            self.assertRegex(err, rf"profile of {name}: \d+ tokens? in \d+ pass(es)?")

    def test_files_of_others_are_left_alone(self):
        other = self.folder / "other.db"
        with sqlite3.connect(other) as db:
            db.execute("CREATE TABLE dear(x)")
        db.close()
        before = other.read_bytes()
        for what, file, message in (("db", other, "not a profile"), ("db", self.plan, "is not a database"),
                                    ("html", other, "a page"), ("db", self.folder, "directory")):
            status, out, err = attempt(self.plan, self.db, *self.options, f"--profile={what}:{file}")
            self.assertEqual((status, out), (1, b""), err)  # before the run
            self.assertIn(message, err)
        for what in ("db", "html"):
            status, out, err = attempt(self.plan, self.db, *self.options,
                                       f"--profile={what}:{self.folder / 'none' / 'x'}")
            self.assertEqual((status, out), (1, b""), err)
            self.assertIn("there is no folder", err)
        self.assertEqual(other.read_bytes(), before)
        # Nothing is left of one that could not be begun, or not be ended.
        empty = self.folder / "empty"
        empty.mkdir()
        for limit in (0, 20 << 10):
            status, _, err = attempt(self.plan, self.db, *self.options, f'--profile=db:{empty / "x"}',
                                     preexec_fn=lambda limit=limit: resource.setrlimit(
                                         resource.RLIMIT_FSIZE, (limit, limit)))
            self.assertEqual(status, 1, err)
            self.assertRegex(err.splitlines()[-1], r"^llmsql-run: .*/empty/x: ")
            self.assertEqual(list(empty.iterdir()), [])
        # Its own are replaced.
        for _ in range(2):
            self.run_well("-p", PROMPT, "-n", 1, f"--profile=db:{self.folder / 'again.db'}",
                          f"--profile=html:{self.folder / 'again.html'}")
        status, _, err = attempt(self.db, "--tokenize", self.plan, "--profile")
        self.assertEqual(status, 2)
        self.assertIn("--profile goes with a run of a plan", err)


if __name__ == "__main__":
    unittest.main()
