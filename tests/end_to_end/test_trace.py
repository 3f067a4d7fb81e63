# SPDX-License-Identifier: MIT
"""llmsqlc --explain, llmsql-run --trace STEP, db:FILE and compare:FILE."""

import json
import re
import sqlite3
import struct
import unittest

import numpy as np

from programs import FIXTURES, compile_model, run
from running import RunTest, attempt
from model_db import read_model  # tests/reference
from numpy_model import Config, forward

PROMPT = "Once upon a time"
TOKENS = [5, 9, 14, 3, 77, 8, 21]
RUN = ("-p", PROMPT, "-n", 3, "--temp", 0, "--ignore-eos")


class TraceTest(RunTest):
    models = ("tiny-llama", "tiny-qwen2", "tiny-gemma3")

    def trace(self, name, *options, plan=None, db=None):
        file = self.folder / name
        status, out, err = attempt(plan or self.plan, db or self.db, *RUN, *options, f"--trace=db:{file}")
        self.assertEqual(status, 0, err)
        return file

    def query(self, file, query, *arguments):
        with sqlite3.connect(file) as db:
            found = db.execute(query, arguments).fetchall()
        db.close()
        return found

    def edited(self, change, name="edited.sql", plan=None):
        text = (plan or self.plan).read_text()
        changed = change(text)
        self.assertNotEqual(text, changed)
        file = self.folder / name
        file.write_text(changed)
        return file

    def test_the_last_step_is_the_logits(self):
        for model, (plan, db) in self.made.items():
            file = self.folder / f"{model}.trace"
            npy = self.folder / "all.npy"
            status, _, err = attempt(plan, db, "--tokens", ",".join(map(str, TOKENS)), "--logits", npy,
                                     f"--trace=db:{file}")
            self.assertEqual(status, 0, err)
            expected = np.load(npy)
            rows = self.query(file, "SELECT position, data, min, max, rms FROM trace_value WHERE step = 'logits' "
                                    "ORDER BY position")
            self.assertEqual([row[0] for row in rows], list(range(len(TOKENS))))
            values = np.stack([np.frombuffer(row[1], "<f4") for row in rows])
            np.testing.assert_array_equal(values, expected)
            for (_, _, low, high, rms), row in zip(rows, expected):
                self.assertAlmostEqual(low, row.min(), places=5)
                self.assertAlmostEqual(high, row.max(), places=5)
                self.assertAlmostEqual(rms, np.sqrt((row.astype("f8") ** 2).mean()), places=5)

    def test_keys_in_the_cache_are_rotated_ones(self):
        # The cache holds rope(k); k itself is a slice of what the projections gave.
        file = self.trace("keys.trace")
        for position, k in self.query(file, "SELECT position, data FROM trace_value "
                                            "WHERE step = 'layer.0.q,k,v.k'"):
            k = np.frombuffer(k, "<f4")
            (stored,) = self.query(file, "SELECT data FROM trace_value WHERE step = 'layer.0.cache.k' "
                                         "AND position = ?", position)[0]
            stored = np.frombuffer(stored, "<f4")
            (shape,) = self.query(file, "SELECT shape FROM trace_step WHERE step = 'layer.0.cache.k'")[0]
            heads, width = map(int, re.match(r"f16\[(\d+), (\d+)\]", shape).groups())
            base = float(re.search(r"llm_rope\(k\.data, :position, ([\d.e+]+)\)", self.plan.read_text())[1])
            half = width // 2
            angle = position * base ** (-np.arange(half) / half)
            x = k.reshape(heads, 2, half).astype("f8")
            rotated = np.stack([x[:, 0] * np.cos(angle) - x[:, 1] * np.sin(angle),
                                x[:, 0] * np.sin(angle) + x[:, 1] * np.cos(angle)], 1).reshape(-1)
            np.testing.assert_allclose(stored, rotated, atol=2e-3)

    def test_chunks_threads_and_ways_of_reading_agree_to_the_last_bit(self):
        file = self.trace("base.trace")
        for options in ((), ("-b", 1), ("-b", 3, "-t", 1), ("-t", 3), ("--io", "blob")):
            status, _, err = attempt(self.plan, self.db, *RUN, *options, f"--trace=compare:{file}", "--tolerance", 0)
            self.assertEqual(status, 0, err)
            found = re.search(r"compared with .*: (\d+) steps at up to (\d+) positions, (\d+) agree to 0\n", err)
            self.assertEqual(found[1], found[3])
            self.assertEqual(int(found[2]), len(self.tokens_of(PROMPT)) + 2)

    def test_a_cache_of_q8_is_read_as_it_is_stored(self):
        plan = compile_model(self.db.with_suffix(".toml"), self.folder / "q8.sql", "--context", 128, "--kv", "q8")
        file = self.trace("f16.trace")
        status, _, err = attempt(plan, self.db, *RUN, f"--trace=compare:{file}", "--tolerance", 0.02)
        self.assertEqual(status, 0, err)
        status, _, err = attempt(plan, self.db, *RUN, f"--trace=compare:{file}", "--tolerance", 1e-4)
        self.assertEqual(status, 3, err)
        self.assertIn("the first to part is 5 layer.0.cache.k", err)

    def test_the_first_operator_that_differs_is_named(self):
        for model, (plan, db) in self.made.items():
            file = self.trace(f"{model}.true", plan=plan, db=db)
            steps = self.query(file, "SELECT DISTINCT statement, line, step FROM trace_step ORDER BY statement")
            text = plan.read_text()
            # Changes the number in one statement: the last rms_norm's epsilon in layer 1.
            at = [match for match in re.finditer(r"llm_rms_norm\([^;]*?, (1e-\d+|[\d.e-]+)\)", text)][3]
            line = text[:at.start(1)].count("\n") + 1
            wrong = self.edited(lambda t: t[:at.start(1)] + "0.3" + t[at.end(1):], plan=plan)
            status, _, err = attempt(wrong, db, *RUN, f"--trace=compare:{file}")
            self.assertEqual(status, 3, err)
            found = re.search(r"^the first to part is (\d+) (\S+) \(line (\d+)\): relative difference ([\d.]+)", err, re.M)
            self.assertIn((int(found[1]), int(found[3]), found[2]), steps)
            self.assertLessEqual(int(found[3]), line)
            self.assertLess(line - int(found[3]), 4)
            self.assertRegex(err, r"(?m)^  here    min .*\n  there   min ")
            self.assertRegex(err, r"(?m)^  input   \d+ \S+: 0$")

    def test_a_trace_made_by_others_may_have_few_steps(self):
        file = self.trace("whole.trace")
        other = self.folder / "other.trace"
        with sqlite3.connect(other) as db:
            db.execute("CREATE TABLE trace_value(step TEXT, position INTEGER, data BLOB)")
            for step in ("layer.0.attention", "layer.1.x"):
                for position, data in self.query(file, "SELECT position, data FROM trace_value WHERE step = ?", step):
                    db.execute("INSERT INTO trace_value VALUES(?, ?, ?)", (step, position, data))
        db.close()
        status, _, err = attempt(self.plan, self.db, *RUN, f"--trace=compare:{other}")
        self.assertEqual(status, 0, err)
        self.assertRegex(err, r"2 steps at up to \d+ positions, 2 agree to 0.001; \d+ are not in it")
        with sqlite3.connect(other) as db:  # one value is moved
            (data,) = db.execute("SELECT data FROM trace_value WHERE step = 'layer.1.x' AND position = 1").fetchone()
            first = struct.unpack("<f", data[:4])[0]
            db.execute("UPDATE trace_value SET data = ? WHERE step = 'layer.1.x' AND position = 1",
                       (struct.pack("<f", first + 1) + data[4:],))
        db.close()
        status, _, err = attempt(self.plan, self.db, *RUN, f"--trace=compare:{other}")
        self.assertEqual(status, 3, err)
        self.assertRegex(err, r"the first to part is \d+ layer\.1\.x \(line \d+\): .* at position 1\n")
        for data, message in ((b"1234", "has 4 bytes at position 1"), (None, "has 0 bytes at position 1")):
            with sqlite3.connect(other) as db:
                db.execute("UPDATE trace_value SET data = ? WHERE step = 'layer.1.x' AND position = 1", (data,))
            db.close()
            status, _, err = attempt(self.plan, self.db, *RUN, f"--trace=compare:{other}")
            self.assertEqual(status, 1, err)
            self.assertIn(message, err)

    def test_an_independent_implementation_agrees_step_by_step(self):
        for model, (plan, db) in self.made.items():
            recorded = np.load(FIXTURES / f"{model}.npz")
            weights, _ = read_model(db)
            ids = recorded["tokens"][:40]

            def record(name, **changes):
                file = self.folder / name
                file.unlink(missing_ok=True)
                with sqlite3.connect(file) as trace:
                    trace.execute("CREATE TABLE trace_value(step TEXT, position INTEGER, data BLOB)")

                    def look(step, values):
                        trace.executemany("INSERT INTO trace_value VALUES(?, ?, ?)", [
                            (step, position, row.astype("<f4").tobytes()) for position, row in enumerate(values)])

                    config = Config(**{**json.loads(str(recorded["config"])), **changes})
                    look("logits", forward(config, weights, ids, kv_f16=True, look=look))
                trace.close()
                return file

            def compare(file):
                return attempt(plan, db, "--tokens", ",".join(map(str, ids)), "--logits",
                               self.folder / "numpy.npy", f"--trace=compare:{file}")

            status, _, err = compare(record("numpy.trace"))
            self.assertEqual(status, 0, err)
            steps = int(re.search(r": (\d+) steps at up to 40 positions", err)[1])
            config = json.loads(str(recorded["config"]))
            # Gemma's graph calls the attention's result `a`, and its last sum is part of the final norm.
            expected = 2 + (4 * config["n_layer"] - 1 if model == "tiny-gemma3" else 5 * config["n_layer"])
            self.assertEqual(steps, expected)
            # Each mistake of an architecture shows first where it is made.
            status, _, err = compare(record("wrong.trace", rope_base=20000.0, rope_base_local=20000.0))
            self.assertEqual(status, 3, err)
            self.assertRegex(err, r"the first to part is \d+ layer\.0\.cache\.k ")
            other = "gelu" if config.get("activation", "silu") == "silu" else "silu"
            status, _, err = compare(record("wrong.trace", activation=other))
            self.assertEqual(status, 3, err)
            self.assertRegex(err, r"the first to part is \d+ layer\.0\.x#2 ")

    def test_what_is_no_trace_is_refused(self):
        empty = self.folder / "empty.trace"
        with sqlite3.connect(empty) as db:
            db.execute("CREATE TABLE trace_value(step, position, data)")
        db.close()
        endless = self.folder / "endless.trace"
        with sqlite3.connect(endless) as db:
            db.execute("CREATE VIEW trace_value AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 "
                       "FROM n) SELECT 'layer.0.x' step, i position, x'00' data FROM n")
        db.close()
        for file, message in ((self.plan, "not a trace"), (self.db, "not a trace"),
                              (endless, "trace_value is a view"),
                              (self.folder / "none", "none"), (empty, "nothing to compare")):
            status, _, err = attempt(self.plan, self.db, *RUN, f"--trace=compare:{file}")
            self.assertEqual(status, 1, err)
            self.assertIn(message, err)
        status, _, err = attempt(self.plan, self.db, *RUN, f"--trace=db:{self.db}")
        self.assertEqual(status, 1)
        self.assertIn("is a database, but not a trace", err)
        self.assertEqual(attempt(self.db, "--verify")[0], 0)

    def test_a_run_that_fails_leaves_no_trace(self):
        wrong = self.edited(lambda text: text.replace(":position, 10000.0)", ":position, 0.0)", 1), "wrong.sql")
        file = self.folder / "failed.trace"
        status, _, err = attempt(wrong, self.db, *RUN, f"--trace=db:{file}")
        self.assertEqual(status, 1, err)
        self.assertFalse(file.exists())
        self.assertEqual([path for path in self.folder.iterdir() if path.name.startswith("failed")], [])

    def test_trace_says_shapes_ranges_and_first_values(self):
        file = self.trace("said.trace")
        _, err = self.run_well(*RUN, "--trace", "layer.0.q,k,v")
        tokens = len(self.tokens_of(PROMPT))
        match = re.search(r"trace of 3 layer\.0\.q,k,v \(line (\d+)\), pass 1: from position 0\n"
                          r"  q, k, v = linear\(h, attn_q … attn_v\).*\n"
                          r"  reads   tensor \d+ h  f32\[(\d+), \d+\]: min \S+ max \S+ mean \S+ rms \S+, first .*\n"
                          r"  weights layer\.0\.attn_q … layer\.0\.attn_v  f32\[.*\n"
                          r"  writes  tensor \d+ q, k, v  f32\[(\d+), \d+\]: min (\S+) max (\S+) .*, first (\S+)", err)
        self.assertIsNotNone(match, err)
        self.assertEqual((int(match[2]), int(match[3])), (tokens, tokens))
        self.assertIn("INSERT INTO slot", self.plan.read_text().splitlines()[int(match[1]) - 1])
        q = np.frombuffer(self.query(file, "SELECT data FROM trace_value WHERE step = 'layer.0.q,k,v.q' "
                                           "AND position = 0")[0][0], "<f4")
        self.assertAlmostEqual(float(match[6]), float(q[0]), delta=abs(float(q[0])) * 1e-4)
        # By number, by line, in more passes; and only what was asked for.
        for which in ("3", f":{match[1]}"):
            _, again = self.run_well(*RUN, "--trace", which, "--trace-passes", 2)
            self.assertEqual(re.findall(r"^trace of (\d+) .* pass (\d)", again, re.M), [("3", "1"), ("3", "2")])
        status, _, err = attempt(self.plan, self.db, *RUN, "--trace", "nothing")
        self.assertEqual(status, 1)
        self.assertIn("no statement is called 'nothing'", err)
        self.assertEqual(attempt(self.plan, self.db, *RUN, "--tolerance", 1)[0], 2)

    def test_trace_of_attention_shows_the_cache(self):
        _, err = self.run_well(*RUN, "--trace", "layer.1.attention", "--trace-passes", 3)
        counts = re.findall(r"reads   cache layer 1, keys from position 0  f16\[(\d+), ", err)
        tokens = len(self.tokens_of(PROMPT))
        self.assertEqual(list(map(int, counts)), [tokens, tokens + 1, tokens + 2])

    def test_tracing_changes_nothing(self):
        plain = self.run_well(*RUN)[0]
        self.assertEqual(self.run_well(*RUN, "--trace", "all")[0], plain)
        self.assertEqual(self.run_well(*RUN, f'--trace=db:{self.folder / "nothing.trace"}')[0], plain)

    def test_explain(self):
        text = run("LLMSQLC", "--explain", self.plan).stdout.decode()
        numbers = [int(number) for number in re.findall(r"^(\d+) \S+ · line \d+ · (?:forward|logits)$", text, re.M)]
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)))
        plan = self.plan.read_text()
        self.assertEqual(len(numbers), len(re.findall(r"^INSERT INTO (?:slot|kv)\(", plan, re.M)) + 1)
        one = run("LLMSQLC", "--explain", self.plan, "--step", "layer.0.cache").stdout.decode()
        self.assertIn(one, text)
        out = self.folder / "explained.txt"
        run("LLMSQLC", "--explain", self.plan, "-o", out)
        self.assertEqual(out.read_text(), text)
        for arguments, message in ((("--explain", self.db), "not a plan"),
                                   (("--explain", self.plan, "--step", "none"), "no statement is called"),
                                   (("--step", "3"), "--step goes with --explain")):
            with self.assertRaises(AssertionError) as caught:
                run("LLMSQLC", *arguments)
            self.assertIn(message, str(caught.exception))


if __name__ == "__main__":
    unittest.main()
