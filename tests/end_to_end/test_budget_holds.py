#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Real SmolLM2 at its smallest budget, at two between and without one: bitwise the same logits for
prompts of 1, 130 and 900 tokens, the whole process within the budget, and per token exactly the bytes
read that the plan predicts."""

import hashlib
import os
import re
import subprocess
import unittest

from programs import MODELS, SOURCE, compile_model, folder_of, run, run_and_measure

TOML = SOURCE / "models" / "smollm2-135m.toml"


def has_direct(file):
    try:
        os.close(os.open(file, os.O_RDONLY | os.O_DIRECT))
        return True
    except OSError:
        return False


class BudgetHolds(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        gguf = MODELS / "smollm2.gguf"
        if not gguf.exists():
            raise unittest.SkipTest(f"{gguf} is not there (scripts/fetch-models brings it)")
        cls.folder = folder_of(cls)
        cls.db = cls.folder / "model.db"
        run("LLMSQL_IMPORT", gguf, "--model", TOML, "-o", cls.db)
        refusal = subprocess.run([os.environ["LLMSQLC"], TOML, "--emit=sql", "--budget", "1MiB"],
                                 capture_output=True, text=True)
        cls.smallest = re.search(r"the smallest that works is ([\d.]+) MiB", refusal.stderr)[1]
        cls.budgets = [cls.smallest, "60", "100", None]
        cls.plans = {}
        for budget in cls.budgets:
            options = ["--budget", f"{budget}MiB"] if budget else []
            cls.plans[budget] = compile_model(TOML, cls.folder / f"{budget}.sql", *options)
        # Ids that are real tokens, in no order that any cache could like.
        cls.tokens = [(i * 7919 + 13) % 49000 + 20 for i in range(900)]

    def logits_and_peak(self, budget, count):
        out = self.folder / "logits.npy"
        _, peak = run_and_measure("LLMSQL_RUN", self.plans[budget], self.db, "--logits", out,
                                  "--tokens", ",".join(map(str, self.tokens[:count])))
        with out.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        out.unlink()
        return digest.hexdigest(), peak

    def test_the_same_logits_within_the_budget(self):
        for count in (1, 130, 900):
            whole, _ = self.logits_and_peak(None, count)
            for budget in self.budgets[:-1]:
                with self.subTest(budget=budget, tokens=count):
                    digest, peak = self.logits_and_peak(budget, count)
                    self.assertEqual(digest, whole)
                    self.assertLessEqual(peak, float(budget) * 2**20)

    def test_reads_what_was_predicted(self):
        for budget in self.budgets[:-1]:
            page = run("LLMSQLC", TOML, "--emit=schedule", "--budget", f"{budget}MiB").stdout.decode()
            predicted = re.search(r"(?m)^reads, by this schedule +(\d+)", page)[1]
            # Reading past the page cache takes memory, which the smallest budget does not leave, and a
            # file system that allows it.
            ways = ["read", "blob", "auto"]
            if "windows=0," not in self.plans[budget].read_text() and has_direct(self.db):
                ways.append("direct")
            for way in ways:
                with self.subTest(budget=budget, way=way):
                    err, peak = run_and_measure("LLMSQL_RUN", self.plans[budget], self.db, "-p", "Once upon a",
                                                "-n", 12, "--ignore-eos", "--io", way)
                    self.assertEqual(re.search(r"held, (\d+) read per (?:token|pass)", err)[1], predicted)
                    self.assertLessEqual(peak, float(budget) * 2**20)


if __name__ == "__main__":
    unittest.main()
