#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""llmsql-run --perplexity against the same sum over --logits."""

import math
import unittest

import numpy as np

from programs import FIXTURES, logits
from running import RunTest, attempt

TEXT = (FIXTURES / "perplexity.txt").read_bytes()[:330]


class Perplexity(RunTest):
    models = ("tiny-llama", "tiny-gemma3")  # without and with a start token

    def expected(self, model, size):
        plan, db = self.made[model]
        tokens = self.tokens_of(TEXT, model)
        surprises = []
        for begin in range(0, len(tokens) - size + 1, size):
            window = tokens[begin:begin + size]
            if model == "tiny-gemma3":
                window[0] = 2
            rows = logits(plan, db, window, self.folder).astype(np.float64)
            for at in range(size // 2, size - 1):
                most = rows[at].max()
                surprises.append(np.log(np.exp(rows[at] - most).sum()) + most - rows[at][window[at + 1]])
        return math.exp(sum(surprises) / len(surprises)), len(tokens) // size

    def test_against_logits(self):
        file = self.folder / "text.txt"
        file.write_bytes(TEXT + b"\n")
        for model in self.models:
            for size in (7, 33):
                with self.subTest(model=model, size=size):
                    expected, windows = self.expected(model, size)
                    status, out, err = attempt(*self.made[model], "--perplexity", file, "-c", size)
                    self.assertEqual(status, 0, err)
                    self.assertRegex(out, rb"\Aperplexity: \d+\.\d+\n\Z")
                    self.assertAlmostEqual(float(out.split()[1]), expected, delta=1e-4 * expected)
                    self.assertIn(f"[{windows}]", err)
                    again = attempt(*self.made[model], "--perplexity", file, "-c", size, "-b", 5)[1]
                    self.assertEqual(again, out)

    def test_refuses(self):
        file = self.folder / "short.txt"
        file.write_text("too short")
        empty = self.folder / "empty.txt"
        empty.write_text("")
        for arguments, message in ((("--perplexity", file, "-c", 16), "tokens are too few"),
                                   (("--perplexity", empty, "-c", 16), "tokens are too few"),
                                   (("--perplexity", file), "-c: 512 tokens; the plan's context is 128"),
                                   (("--perplexity", file, "-c", 3), "at least 4 tokens"),
                                   (("--perplexity", self.folder, "-c", 16), "is a directory"),
                                   (("--perplexity", "missing", "-c", 16), "missing: No such file")):
            status, out, err = attempt(self.plan, self.db, *arguments)
            self.assertEqual((status, out), (1, b""), err)
            self.assertIn(message, err)
            self.assertEqual(err.count("\n"), 1)


if __name__ == "__main__":
    unittest.main()
