#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A state that is no cache of positions: the same bits however passes are cut, among sequences, in
sessions, within budgets. The model is the tiny Llama with a short convolution before each layer's
attention, whose weights are computed, so that the state matters for every token."""

import os
import re
import signal
import sqlite3
import subprocess
import time
import unittest

import numpy as np

from extension import connect, main
from programs import FIXTURES, SOURCE, folder_of, logits, run
from running import DRAFTS, attempt, start

LONG = "The river ran past the mill and the old bridge, where children fished in summer, and they"


def mixed_graph():
    text = (SOURCE / "graphs" / "llama.graph").read_text()
    text = text.replace("graph llama ", "graph mixed ")
    text = text.replace("block layer[n_layer] {", """block layer[n_layer] {
    state last : [3, d_model];
    param taps : [3 * d_model]  @gguf(computed(0.6 * pow(-0.7, element % 5) + 0.1 * index));""")
    return text.replace("h = rms_norm(x, l.attn_norm, rms_eps);", """h = rms_norm(x, l.attn_norm, rms_eps);
      h = h + causal_conv(h, l.taps, l.last);""")


class RecurrentState(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = folder_of(cls)
        (cls.folder / "mixed.graph").write_text(mixed_graph())
        cls.db, cls.toml = cls.folder / "mixed.db", cls.folder / "mixed.toml"
        run("LLMSQL_IMPORT", FIXTURES / "tiny-llama.gguf", "--graph", cls.folder / "mixed.graph",
            "--weights", "f32", "-o", cls.db, "--write-model", cls.toml)
        cls.plan = cls.compiled("--chunk", 32)

    @classmethod
    def compiled(cls, *options):
        plan = cls.folder / f"plan{abs(hash(options))}.sql"
        run("LLMSQLC", cls.toml, "-o", plan, "--graph-dir", cls.folder, "--context", 128, *options)
        return plan

    def run_well(self, *arguments, plan=None, **options):
        status, out, err = attempt(plan or self.plan, self.db, *arguments, **options)
        self.assertEqual(status, 0, err)
        return out, err

    def test_drafts_have_to_be_asked_for(self):
        """They take memory; test_state_drafts.py has more of them."""
        self.assertNotIn("drafts", self.plan.read_text())
        plan = self.compiled("--chunk", 32, "--drafts", 4)
        self.assertIn("llm_state(sequences=1, drafts=4, snapshots=4)", plan.read_text())
        options = ("-p", LONG, "-n", 60, "--temp", 0, "--ignore-eos")
        expected, _ = self.run_well(*options)
        checked = right = 0
        for _ in range(8):  # how many are checked is a matter of time, but the first is in every run
            out, err = self.run_well(*options, "--profile", plan=plan)
            self.assertEqual(out, expected)
            found = DRAFTS.search(err)
            checked, right = checked + int(found[1]), right + int(found[2])
        self.assertGreater(right, 5, err)
        self.assertGreaterEqual(checked, right)
        by_hand = self.folder / "by-hand.sql"
        by_hand.write_text(self.plan.read_text().replace("sequences=1);", "sequences=1, drafts=4);", 1))
        status, _, err = attempt(by_hand, self.db, "-p", "a")
        self.assertEqual(status, 1)
        self.assertRegex(err, r"\A[^\n]*drafts=4[^\n]*\n\Z")

    def test_the_convolution_is_that_of_numpy(self):
        """Its statement's input and result, as the trace has them."""
        trace = self.folder / "trace.db"
        self.run_well("-p", LONG, "-n", 1, "--temp", 0, "-b", 7, "--trace", f"db:{trace}")
        with sqlite3.connect(trace) as db:
            rows = {}
            for step, position, data in db.execute(
                    "SELECT step, position, data FROM trace_value ORDER BY position"):
                rows.setdefault(step, {})[position] = np.frombuffer(data, "<f4")
        db.close()
        x, y = (np.array([rows[step][t] for t in sorted(rows[step])])
                for step in ("layer.1.h", "layer.1.causal_conv"))
        taps = (0.6 * (-0.7) ** (np.arange(3 * x.shape[1]) % 5) + 0.1).reshape(3, -1)
        before = np.concatenate([np.zeros((2, x.shape[1])), x])
        expected = sum(taps[j] * before[j:j + len(x)] for j in range(3))
        self.assertGreater(len(x), 20)
        np.testing.assert_allclose(y, expected, atol=1e-5)

    def test_no_bit_depends_on_how_passes_are_cut(self):
        tokens = list(range(3, 63)) * 2
        first = None
        for options in ((), ("--chunk", 5), ("--budget", "24MiB"), ("--sequences", 3)):
            plan = self.compiled(*options)
            for batch, threads in ((64, 2), (33, 1), (7, 2), (1, 1)):
                chunk = int(re.search(r"chunk (\d+)", plan.read_text())[1])
                with self.subTest(options=options, batch=batch):
                    again = logits(plan, self.db, tokens, self.folder, "-b", min(batch, chunk),
                                   "-t", threads)
                    first = again if first is None else first
                    self.assertEqual(first.tobytes(), again.tobytes())
        part = logits(self.plan, self.db, tokens[:41], self.folder)
        self.assertEqual(first[:41].tobytes(), part.tobytes())

    def test_memory_is_counted_for_each_sequence(self):
        def parts(*options):
            out = run("LLMSQLC", self.toml, "--graph-dir", self.folder, "--context", 128,
                      "--budget", "40MiB", "--emit=memory", *options).stdout.decode()
            return re.search(r"recurrent state +(\d+)", out)[1]
        self.assertEqual(parts(), parts("--sequences", 1))
        self.assertNotEqual(parts(), parts("--sequences", 4))
        text = self.plan.read_text()
        self.assertRegex(text, r"INSERT INTO state\(id, name, heads, rows, width\) VALUES\n"
                               r"  \(0, 'layer.0.last', 1, 3, \d+\),")
        self.assertIn("INSERT INTO scan(id, state, sequence, position, data)", text)

    def test_a_conversation_goes_on_where_it_is(self):
        """Turn after turn, in one process and in several; and anew after what went before is lost."""
        turns = ("1?", "2?", "3?")
        expected, _ = self.run_well("-n", 6, "--temp", 0, stdin="\n".join(turns).encode())
        file = self.folder / "turns.db"
        got = b""
        for turn in turns:
            out, err = self.run_well("--session", file, "--chat", "-p", turn, "-n", 6, "--temp", 0)
            got += out
        self.assertEqual(got, expected)
        with sqlite3.connect(file) as db:
            tokens = db.execute("SELECT count(*) FROM token").fetchone()[0]
            computed = int(re.search(r"prefill: (\d+) tokens?", err)[1])
            self.assertLess(computed, tokens / 2)
            self.assertEqual(db.execute(
                "SELECT id FROM block EXCEPT SELECT block FROM session_block").fetchall(), [])
            # What was kept of the state is damaged: it is said, and computed anew.
            db.execute("UPDATE block SET data = zeroblob(length(data)) WHERE id IN "
                       "(SELECT block FROM session_block WHERE n < 0)")
        db.close()
        expected, _ = self.run_well("-n", 6, "--temp", 0,
                                    stdin="\n".join((*turns, "4?")).encode())
        out, err = self.run_well("--session", file, "--chat", "-p", "4?", "-n", 6, "--temp", 0)
        self.assertEqual(got + out, expected)
        self.assertIn("recurrent state", err)

    def test_forks_go_on_alike(self):
        file = self.folder / "forks.db"
        self.run_well("--session", file, "-p", LONG, "-n", 5, "--temp", 0, "--ignore-eos")
        answers = []
        for name in ("a", "b"):
            out, err = self.run_well("--session", file, "--fork", name, "-p", " and", "-n", 9,
                                     "--temp", 0, "--ignore-eos")
            answers.append(out)
            self.assertLess(int(re.search(r"prefill: (\d+) tokens?", err)[1]), 20)
        self.assertEqual(*answers)

    def test_a_batch_gives_what_each_prompt_gives_alone(self):
        """Prompts that begin alike, several at a time: the beginning is read once, its state copied."""
        prompts = [LONG + end for end in (" swam.", " ran.", "", " sang all day.")] + ["One", LONG[:50]]
        plan = self.compiled("--sequences", 4, "--chunk", 16)
        alone = [self.run_well("-p", prompt, "-n", 8, "--temp", 0, plan=plan)[0]
                 .decode().removeprefix(prompt).removesuffix("\n") for prompt in prompts]
        db = connect()
        db.execute("SELECT llm_load(?, ?)", (str(self.db), str(plan)))
        db.execute("CREATE TABLE question(id INTEGER PRIMARY KEY, text TEXT)")
        db.executemany("INSERT INTO question(text) VALUES (?)", [(prompt,) for prompt in prompts])
        together = [answer for (answer,) in db.execute(
            "SELECT answer FROM llm_batch('SELECT id, text FROM question', ?)",
            ('{"n_predict": 8, "temperature": 0}',))]
        db.close()
        self.assertEqual(together, alone)

    def test_what_is_killed_goes_on_with_the_same_tokens(self):
        options = ("-p", LONG, "-n", 80, "--temp", 0.7, "--seed", 5, "--ignore-eos", "--keep", 8)
        expected, _ = self.run_well(*options)
        for n in range(int(os.environ.get("LLMSQL_KILLS", 4))):
            file = self.folder / f"killed{n}.db"
            process = start(self.plan, self.db, "--session", file, "--commit-every", 3, *options,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            time.sleep(0.02 + 0.03 * n)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            if not file.exists():
                continue
            status, out, err = attempt(self.plan, self.db, "--session", file, "--continue")
            if status == 0:
                self.assertEqual(out, expected)
            else:  # before anything was said
                self.assertRegex(err, "nothing|no session|there is no")


if __name__ == "__main__":
    main()
