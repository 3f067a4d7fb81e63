#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every architecture beyond those of the fixtures' GGUFs, by a tiny random model each: found by its
name alone, imported, compiled, run; logits against transformers' (tests/reference), and against
themselves in passes of other lengths, on other threads, within budgets."""

import os
import re
import sqlite3
import subprocess
import unittest

import numpy as np

from programs import FIXTURES, SOURCE, compile_model, folder_of, logits, run, shown
from tiny_models import MODELS, write_gguf  # tests/reference

RECORDED = FIXTURES / "architectures"
CONTEXT = 128


def parse_mib(text):
    return int(float(text.removesuffix(" MiB")) * 2**20)


def read_figures(plan):
    return re.search(r"read per pass (.+) expected, (.+) at most", plan).groups()


class Architectures(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = folder_of(cls)
        cls.made = {}

    def made_of(self, name, weights):
        """(database, model file) of a tiny model at a weight type."""
        if (name, weights) not in self.made:
            gguf = self.folder / f"{name}.gguf"
            if not gguf.exists():
                write_gguf(name, gguf)
            db, toml = (self.folder / f"{name}.{weights}.{end}" for end in ("db", "toml"))
            run("LLMSQL_IMPORT", gguf, "--graph-dir", SOURCE / "graphs", "--weights", weights, "-o",
                db, "--write-model", toml)
            self.made[name, weights] = db, toml
        return self.made[name, weights]

    def plan_of(self, name, weights, *options):
        _, toml = self.made_of(name, weights)
        return compile_model(toml, self.folder / "plan.sql", "--context", CONTEXT, *options)

    def smallest_budget(self, toml, *options):
        """What a refusal of next to nothing names."""
        done = subprocess.run(
            [os.environ["LLMSQLC"], toml, "-o", self.folder / "none.sql", "--graph-dir",
             SOURCE / "graphs", "--context", str(CONTEXT), "--budget", "1MiB", *options],
            capture_output=True)
        self.assertNotEqual(done.returncode, 0)
        return re.search(rb'give --budget "([^"]+)"', done.stderr)[1].decode()

    def test_f32_is_the_reference(self):
        for name in MODELS:
            with self.subTest(name):
                db, _ = self.made_of(name, "f32")
                recorded = np.load(RECORDED / f"{name}.npz")
                plan = self.plan_of(name, "f32", "--chunk", 64)
                ours = logits(plan, db, recorded["tokens"], self.folder)
                self.assertEqual(ours.shape, (100, MODELS[name]["n_vocab"]))
                difference = ours[recorded["rows"]] - recorded["logits_kv_f16"]
                self.assertLess(np.abs(difference).max(), 1e-3)

    def test_narrow_weights_come_near(self):
        for name in MODELS:
            for weights, bound in (("f16", 0.02), ("q8", 0.3)):
                if weights == "q8" and "n_expert" in MODELS[name]:
                    continue  # rounding may change the choice of an expert
                with self.subTest(model=name, weights=weights):
                    db, _ = self.made_of(name, weights)
                    recorded = np.load(RECORDED / f"{name}.npz")
                    plan = self.plan_of(name, weights)
                    ours = logits(plan, db, recorded["tokens"], self.folder)
                    difference = ours[recorded["rows"]] - recorded["logits_kv_f16"]
                    self.assertLess(np.abs(difference).max(), bound)

    def test_passes_threads_and_budgets_change_no_bit(self):
        """Prefill in chunks of 64, 33 and 7, and decoding; everything held, some, and nothing."""
        for name in MODELS:
            tokens = np.load(RECORDED / f"{name}.npz")["tokens"]
            for weights in ("f32", "q8"):
                db, toml = self.made_of(name, weights)
                first = None
                least = self.smallest_budget(toml)
                for budget in ((), ("--budget", least), ("--budget", "1GiB")):
                    plan = self.plan_of(name, weights, *budget)
                    for batch, threads in ((64, 2), (33, 1), (7, 2), (1, 1)):
                        with self.subTest(model=name, weights=weights, budget=budget, batch=batch):
                            chunk = int(re.search(r"chunk (\d+)", plan.read_text())[1])
                            if batch > chunk:
                                batch = chunk
                            again = logits(plan, db, tokens, self.folder, "-b", batch, "-t", threads)
                            first = again if first is None else first
                            self.assertEqual(first.tobytes(), again.tobytes())

    def test_as_many_bytes_are_read_as_the_choices_ask_for(self):
        """Of a mixture of experts the plan says what is expected and what is the most; what a run
        reads is what its tokens chose, to the byte."""
        strips = {"f32": lambda cols: cols * 64, "q8": lambda cols: -(-cols // 32) * 544}
        for name, model in MODELS.items():
            if "n_expert" not in model:
                continue
            recorded = np.load(RECORDED / f"{name}.npz")
            tokens, experts = recorded["greedy"], recorded["experts"]
            db, toml = self.made_of(name, "f32")
            least = parse_mib(self.smallest_budget(toml))
            partly = 0
            for more in (0, 200_000, 500_000):
                with self.subTest(model=name, more=more):
                    plan = self.plan_of(name, "f32", "--budget", f"{least + more}")
                    with sqlite3.connect(db) as connection:
                        params = list(connection.execute("SELECT * FROM llm_param ORDER BY id"))
                    connection.close()
                    text = plan.read_text()
                    held = {int(param) for param, is_held in
                            re.findall(r"\((\d+), \d+, \d+, ([01]), [01]\)", text) if is_held == "1"}
                    certain, tables = 0, {}
                    for id, param, type, rows, cols, _ in params:
                        bytes = 0 if rows is None or id in held else -(-rows // 16) * strips[type](cols)
                        if re.search(r"\.\d+$", param):
                            _, layer, table, item = param.split(".")
                            tables.setdefault((int(layer), table), []).append(bytes)
                        elif param != "token_embd":
                            certain += bytes
                    used, count = model["n_used"], model["n_expert"]
                    partly += any(0 in each and any(each) for each in tables.values())

                    expected = certain + -(-sum(map(sum, tables.values())) * used // count)
                    most = certain + sum(sum(sorted(each)[-used:]) for each in tables.values())
                    self.assertEqual(read_figures(text), (shown(expected), shown(most)))

                    passes = range(1, len(tokens) - 1)  # the last token is only picked
                    chosen = sum(each[e] for (layer, _), each in tables.items()
                                 for t in passes for e in experts[layer, t])
                    prompt = chr(tokens[0] - 2)
                    done = run("LLMSQL_RUN", plan, db, "-p", prompt, "-n", len(tokens) - 1, "--temp",
                               0, "--ignore-eos")
                    read = re.search(rb"(\d+) read per (?:token|pass)", done.stderr)
                    self.assertEqual(int(read[1]) if read else 0,
                                     certain + chosen // len(passes))
            self.assertGreater(partly, 0)  # some experts of a table are held and some are not

    def test_a_shorter_prompt_has_the_same_beginning(self):
        for name in MODELS:
            db, _ = self.made_of(name, "f32")
            plan = self.plan_of(name, "f32")
            tokens = np.load(RECORDED / f"{name}.npz")["tokens"]
            whole = logits(plan, db, tokens, self.folder)
            for length in (1, 32, 41, 65):
                with self.subTest(model=name, length=length):
                    part = logits(plan, db, tokens[:length], self.folder)
                    self.assertEqual(whole[:length].tobytes(), part.tobytes())


if __name__ == "__main__":
    unittest.main()
