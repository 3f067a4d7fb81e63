#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""llmsql-run --perplexity against the same sum over --logits."""

import math
import struct
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

    def base_file(self, model, size, windows):
        """What llama-perplexity --save-all-logits would write of a model whose logits are 0.8 times as
        large; and per row the log probabilities that it then holds, ours, and the token that came."""
        plan, db = self.made[model]
        tokens = self.tokens_of(TEXT, model)[:size * windows]
        packed, rows = [], []
        for begin in range(0, len(tokens), size):
            window = tokens[begin:begin + size]
            read = [2] + window[1:] if model == "tiny-gemma3" else window
            for at, own in enumerate(logits(plan, db, read, self.folder)[:-1]):
                if at < size // 2:
                    continue
                own = own.astype(np.float64)
                own -= own.max() + np.log(np.exp(own - own.max()).sum())
                base = 0.8 * own
                base -= base.max() + np.log(np.exp(base - base.max()).sum())
                least = max(base.min(), base.max() - 16)
                line = np.array([(base.max() - least) / 65535, least], "<f4")
                steps = np.clip(np.rint((base - line[1]) / line[0]), 0, 65535).astype("<u2")
                packed.append(line.tobytes() + steps.tobytes() + b"xx" * (len(steps) % 2))
                rows.append((line[0].astype(np.float64) * steps + line[1], own, window[at + 1]))
        head = b"_logits_" + struct.pack("<3i", size, len(rows[0][0]), windows)
        return head + struct.pack(f"<{len(tokens)}i", *tokens) + b"".join(packed), rows

    def test_divergence(self):
        file = self.folder / "base.bin"
        for model, size in (("tiny-llama", 7), ("tiny-gemma3", 16)):
            with self.subTest(model=model):
                content, rows = self.base_file(model, size, 4)
                file.write_bytes(content)
                status, out, err = attempt(*self.made[model], "--divergence", file)
                self.assertEqual(status, 0, err)
                said = dict(line.split(": ") for line in out.decode().splitlines())
                of_rows = [np.sum(np.exp(p) * (p - q), where=p > -16) for p, q, _ in rows]
                self.assertGreater(np.mean(of_rows), 1e-4)
                for name, expected in (
                        ("divergence", np.mean(of_rows)), ("divergence, median", np.sort(of_rows)[(len(rows) - 1) // 2]),
                        ("divergence, most", max(of_rows)),
                        ("perplexity", math.exp(-np.mean([q[t] for _, q, t in rows]))),
                        ("base perplexity", math.exp(-np.mean([p[t] for p, _, t in rows]))),
                        ("same likeliest token", 100),
                        ("probability off by", 100 * np.mean([(np.exp(q[t]) - np.exp(p[t])) ** 2 for p, q, t in rows]) ** 0.5)):
                    self.assertAlmostEqual(float(said[name].split()[0]), expected, delta=2e-3 * expected + (6e-4 if "off" in name else 2e-6), msg=name)
                again = attempt(*self.made[model], "--divergence", file, "-b", 5, "-t", 2)[1]
                self.assertEqual(again, out)

    def test_divergence_refuses(self):
        good = self.base_file("tiny-llama", 8, 2)[0]
        file = self.folder / "base.bin"
        size = struct.Struct("<3i")
        other = lambda *sizes: good[:8] + size.pack(*sizes) + good[20:]
        vocabulary = size.unpack(good[8:20])[1]
        for content, message in ((good[:-1], "is cut short"), (b"", "is no file of log probabilities"),
                                 (good[:15], "is no file of log probabilities"),
                                 (b"_Logits_" + good[8:], "is no file of log probabilities"),
                                 (other(8, vocabulary - 2, 2), f"is of a model of {vocabulary - 2} tokens, this one has {vocabulary}"),
                                 (other(3, vocabulary, 2), "has 2 windows of 3 tokens"),
                                 (other(8, vocabulary, -1), "has -1 windows of 8 tokens"),
                                 (other(2**31 - 1, vocabulary, 2**31 - 1), "is cut short"),
                                 (good[:20] + b"\xff" * 4 + good[24:], "token -1 of a vocabulary of"),
                                 (good[:-2 * vocabulary - 8] + b"\xff" * (2 * vocabulary + 8), "is not a number")):
            file.write_bytes(content)
            status, out, err = attempt(self.plan, self.db, "--divergence", file)
            self.assertEqual((status, out), (1, b""), err)
            self.assertIn(message, err)
        for arguments, message in ((("--divergence", "missing"), "missing: No such file"),
                                   (("--divergence", self.folder), "is a directory")):
            status, out, err = attempt(self.plan, self.db, *arguments)
            self.assertEqual((status, out), (1, b""), err)
            self.assertIn(message, err)
        status, out, err = attempt(self.plan, self.db, "--divergence", file, "-c", 8)
        self.assertEqual((status, out), (2, b""), err)

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
