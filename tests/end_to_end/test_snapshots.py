#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Snapshots of recurrent states: what a text goes on from, whether a snapshot in memory, one in a session's file or its
start, gives the same bits; memory is counted for them. The models are tiny ones of tests/fixtures/families."""

import json
import os
import random
import re
import signal
import sqlite3
import subprocess

import extension
from family_models import FamilyModels
from programs import SOURCE, run, run_and_measure
from running import attempt, start

MODELS = ("lfm2-plain", "mamba2-plain", "qwen3_5_text-plain")
WORDS = "the river ran past a mill and an old bridge where children fished in summer until it rained".split()
REWOUND = re.compile(r"rewound: (\d+) times? to a snapshot of the recurrent state, (\d+) times? to the start; "
                     r"(\d+) tokens? read again\n")


def text_of(count, seed=1):
    return " ".join(random.Random(seed).choices(WORDS, k=count))


class Snapshots(FamilyModels):
    context = 1024

    def memory(self, name, *options):
        """Sizes by part, of --emit=memory."""
        page = run("LLMSQLC", self.model(name)[1], "--graph-dir", SOURCE / "graphs", "--context", 1024,
                   "--emit=memory", *options).stdout.decode()
        return {m[1].strip(): int(m[2]) for m in re.finditer(r"(?m)^(.{24}) *(\d+) +[\d.]+ MiB$", page)}

    def smallest(self, name, *options):
        """The smallest budget that works."""
        done = subprocess.run([os.environ["LLMSQLC"], self.model(name)[1], "--emit=sql", "--context", "1024", "--graph-dir",
                               SOURCE / "graphs", "--budget", "1MiB", *map(str, options)], capture_output=True, text=True)
        return re.search(r'give --budget "([\d.]+ MiB)"', done.stderr)[1]

    def streams(self, name, plan, prompts):
        """Tokens and the logarithms of their chances, of one prompt after the other; and llm_info() behind them."""
        db = extension.connect()
        db.execute("SELECT llm_load(?, ?)", (str(self.model(name)[0]), str(plan)))
        options = json.dumps({"n_predict": 9, "temperature": 0.8, "seed": 3, "ignore_eos": True})
        made = [db.execute("SELECT token, logprob FROM llm_stream(?, ?)", (prompt, options)).fetchall()
                for prompt in prompts]
        info = json.loads(db.execute("SELECT llm_info()").fetchone()[0])
        db.close()
        return made, info

    def test_the_bits_are_the_same_from_a_snapshot_and_from_the_start(self):
        """Texts that begin alike and differ further and further back, and come back to what there was before."""
        whole = text_of(60)
        prompts = [whole]
        prompts += [whole[:at] + text_of(words, at) for at, words in
                    ((280, 3), (240, 30), (200, 0), (270, 5), (120, 20), (40, 8), (33, 90), (300, 1), (250, 2))]
        for model in MODELS:
            expected, info = self.streams(model, self.compiled(model, "--snapshots", "0"), prompts)
            without = info["reread"]
            for options in ((), ("--snapshots", "1MiB", "--chunk", 7), ("--chunk", 64, "--drafts", 4),
                            ("--sequences", 3), ("--budget", "64MiB", "--snapshots", "2MB")):
                with self.subTest(model=model, options=options):
                    plan = self.compiled(model, *options)
                    self.assertRegex(plan.read_text(), r"llm_state\(.*snapshots=[1-9]")
                    made, info = self.streams(model, plan, prompts)
                    self.assertEqual(made, expected)
                    self.assertLess(info["reread"], without / 2)

    def test_what_was_read_again_is_told(self):
        model = "qwen3_5_text-plain"
        db = self.model(model)[0]
        file = self.folder / "stops.db"
        options = ("-n", 40, "--temp", 0, "--ignore-eos", "--keep", 50, "-c", 90, "--timing")
        text = ("-p", text_of(14))  # some 70 tokens: the context is full soon
        expected, err = self.run_well(self.compiled(model, "--snapshots", "0"), db, *text, *options)
        found = REWOUND.search(err)
        self.assertEqual(found[1], "0")
        self.assertGreaterEqual(int(found[2]), 1)
        from_start = int(found[3])
        out, err = self.run_well(self.compiled(model, "--chunk", 32), db, *text, *options)
        self.assertEqual(out, expected)
        found = REWOUND.search(err)
        self.assertGreaterEqual(int(found[1]), 1, err)
        self.assertLess(int(found[3]), from_start)
        self.assertNotIn("rewound", self.run_well(self.compiled(model), db, *text, "-n", 4, "--timing")[1])

    def test_sessions_go_on_from_what_the_file_has(self):
        """A text that is taken back to a stop text goes on near there in another process, where a snapshot was kept in
        memory; and from its start, which is told, where none was."""
        for model in MODELS:
            db = self.model(model)[0]
            said, computed, told = {}, {}, {}
            for snapshots in ("0", "4MB"):
                plan = self.compiled(model, "--snapshots", snapshots)
                file = self.folder / f"{model}-{snapshots}.db"
                first, _ = self.run_well(plan, db, "--session", file, "-p", text_of(40), "-n", 30, "--temp", 0,
                                         "--ignore-eos")
                answer = first.decode(errors="replace")[len(text_of(40)):].removesuffix("\n")
                # Again, but stopped within the answer: its end is no longer part of the text.
                file.unlink()
                stop = re.search(r"[!-~]{2}", answer[3:])[0]
                self.run_well(plan, db, "--session", file, "-p", text_of(40), "-n", 30, "--temp", 0, "--ignore-eos",
                              "--stop", stop)
                with sqlite3.connect(file) as session:
                    kept = [-n for (n,) in session.execute("SELECT n FROM session_block WHERE n < 0 ORDER BY n DESC")]
                session.close()
                said[snapshots], err = self.run_well(plan, db, "--session", file, "-p", " and then", "-n", 12, "--temp", 0,
                                                     "--ignore-eos", "--timing")
                computed[snapshots] = int(re.search(r"prefill: (\d+) tokens?", err)[1])
                told[snapshots] = REWOUND.search(err)
                if snapshots != "0":
                    self.assertEqual(len(kept), 1)  # near the end of what was asked
            self.assertEqual(said["0"], said["4MB"])
            self.assertLess(computed["4MB"], 60)
            self.assertGreater(computed["0"], 150)
            self.assertEqual(told["0"][2], "1")
            self.assertEqual(told["4MB"][1], "1")

    def test_the_file_holds_the_states_that_a_run_from_the_start_has(self):
        """Bit for bit, at the same positions."""
        for model in MODELS:
            db, plan = self.model(model)[0], self.compiled(model, "--chunk", 32)
            blocks = []
            for file, turns in ((self.folder / f"{model}-one.db", (text_of(70),)),
                                (self.folder / f"{model}-two.db", (text_of(30), text_of(70)[len(text_of(30)):]))):
                for n, turn in enumerate(turns):
                    self.run_well(plan, db, "--session", file, "-p", turn, "-n", 0 if n + 1 < len(turns) else 5, "--temp", 0,
                                  "--ignore-eos")
                with sqlite3.connect(file) as session:
                    blocks.append(dict(session.execute(
                        "SELECT key, data FROM block JOIN session_block ON block = id WHERE n < 0")))
                session.close()
            same = blocks[0].keys() & blocks[1].keys()
            self.assertGreaterEqual(len(same), 1)
            for key in same:
                self.assertEqual(blocks[0][key], blocks[1][key])

    def test_a_session_keeps_as_many_as_it_has_room_for(self):
        model = "mamba2-plain"
        db, plan = self.model(model)[0], self.compiled(model, "--snapshots", "0")
        counts = {}
        for room in (None, "1KB", "40MB"):
            file = self.folder / f"room-{room}.db"
            for _ in range(7):
                self.run_well(plan, db, "--session", file, "-p", text_of(12), "-n", 3, "--temp", 0, "--ignore-eos",
                              *(("--snapshots", room) if room else ()))
            with sqlite3.connect(file) as session:
                counts[room] = session.execute("SELECT count(*) FROM session_block WHERE n < 0").fetchone()[0]
                self.assertEqual(session.execute("SELECT id FROM block EXCEPT SELECT block FROM session_block").fetchall(), [])
            session.close()
        self.assertEqual(counts, {None: 4, "1KB": 1, "40MB": 7})
        status, _, err = attempt(plan, db, "-p", "a", "--snapshots", "1MB")
        self.assertEqual((status, err.count("\n")), (2, 1))
        self.assertIn("--snapshots goes with --session FILE", err)
        status, _, err = attempt(plan, db, "-p", "a", "--session", self.folder / "no.db", "--snapshots", "much")
        self.assertEqual((status, err.count("\n")), (2, 1))
        self.assertIn("--snapshots much: this must be a size", err)

    def test_what_was_killed_goes_on_with_the_same_tokens(self):
        random.seed(5)
        killed = 0
        for model in MODELS:
            db, plan = self.model(model)[0], self.compiled(model, "--snapshots", "2MB", "--chunk", 32)
            options = ("-p", text_of(25), "-n", 150, "--temp", 0.7, "-s", 3, "--ignore-eos", "--keep", 80, "-c", 200)
            expected, _ = self.run_well(plan, db, *options)
            for n in range(int(os.environ.get("LLMSQL_KILLS", 20))):
                file = self.folder / f"killed-{model}-{n}.db"
                process = start(plan, db, "--session", file, "--snapshots", random.choice(("1KB", "2MB")), *options,
                                "--commit-every", random.choice((1, 5, 40)), stdout=subprocess.PIPE,
                                stderr=subprocess.DEVNULL)
                process.stdout.read(random.randrange(1, len(expected)))
                process.send_signal(signal.SIGKILL)
                process.communicate()
                status, out, err = attempt(plan, db, "--session", file, "--continue")
                if status == 0 and "is whole" not in err and "was whole" not in err:
                    killed += 1
                self.assertEqual(status, 0, err)
                self.assertEqual(out, expected, (model, n))
                with sqlite3.connect(file) as session:
                    self.assertEqual(session.execute("PRAGMA integrity_check").fetchone(), ("ok",))
                session.close()
        self.assertGreater(killed, 0)

    def test_memory_is_counted_and_the_budget_held(self):
        for model in MODELS:
            db = self.model(model)[0]
            self.assertNotIn("snapshots of the state", self.memory(model, "--budget", "64MiB"))
            self.assertNotIn("snapshots", self.compiled(model, "--budget", "64MiB").read_text())
            text = self.compiled(model).read_text()
            self.assertIn("snapshots=4", text)
            declared = re.search(r"INSERT INTO state\(id, name, heads, rows, width\) VALUES\n(.*?);", text, re.DOTALL)[1]
            one = sum(4 * int(m[1]) * int(m[2]) * int(m[3])
                      for m in re.finditer(r"', (\d+), (\d+), (\d+)\)", declared))
            one = -(-one // 4096) * 4096
            for count in (1, 100):
                size = count * one + one // 2
                with self.subTest(model=model, count=count):
                    parts = self.memory(model, "--budget", "64MiB", "--snapshots", size)
                    self.assertEqual(parts["snapshots of the state"], count * one)
                    self.assertEqual(sum(parts[name] for name in parts if name not in ("sum", "budget", "left")), parts["sum"])
                    # The smallest budget is larger by what they take, and a run that makes use of all of them holds it.
                    options = ("--snapshots", size)
                    budget = self.smallest(model, *options)
                    if count > 1:
                        self.assertGreater(float(budget.split()[0]), float(self.smallest(model).split()[0]))
                    plan = self.compiled(model, "--budget", budget, *options)
                    err, peak = run_and_measure("LLMSQL_RUN", plan, db, "-p", text_of(60), "-n", 120, "--temp", 0,
                                                "--ignore-eos", "-t", 2)
                    if not extension.SANITIZED:
                        self.assertLessEqual(peak, float(budget.split()[0]) * (1 << 20) + 4096, err)

    def test_the_compiler_says_what_cannot_be(self):
        toml = self.model("mamba2-plain")[1]
        for options, said in ((("--snapshots", "1KB"), "--snapshots: one of mamba2-plain takes .* MiB, more than 1 KB: give that or more"),
                              (("--snapshots", "lots"), "--snapshots: lots: this must be a size")):
            done = subprocess.run([os.environ["LLMSQLC"], toml, "--emit=sql", "--graph-dir", SOURCE / "graphs", *options],
                                  capture_output=True, text=True)
            self.assertNotEqual(done.returncode, 0)
            self.assertRegex(done.stderr, rf"\A[^\n]*{said}[^\n]*\n\Z")
        done = subprocess.run([os.environ["LLMSQLC"], SOURCE / "models" / "qwen2.toml", "--emit=sql", "--snapshots", "1MB"], capture_output=True, text=True)
        self.assertRegex(done.stderr, r"\A[^\n]*has no recurrent state to keep any of[^\n]*\n\Z")
        # A plan that takes more than its budget for them is refused.
        plan = self.compiled("mamba2-plain", "--budget", self.smallest("mamba2-plain", "--snapshots", "1MB"),
                             "--snapshots", "1MB")
        edited = self.folder / "edited.sql"
        edited.write_text(re.sub(r"snapshots=\d+\)", "snapshots=4096)", plan.read_text()))
        status, _, err = attempt(edited, self.model("mamba2-plain")[0], "-p", "a")
        self.assertEqual(status, 1)
        self.assertRegex(err, r"\A[^\n]*more than its budget[^\n]*recurrent state \d+\n\Z")


if __name__ == "__main__":
    extension.main()
