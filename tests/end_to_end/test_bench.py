#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""bench/compare, as far as it can be told without measuring: what it counts as read by a pass on both
sides, the model files that it makes, and the tables of a run."""

import argparse
import pathlib
import sys
import tempfile
import unittest

from programs import FIXTURES, SOURCE, import_gguf

sys.path.insert(0, str(SOURCE / "bench"))
import harness
import peer
import report


def side(name, ours, rates, **more):
    return {"name": name, "ours": ours, "weights": "q8", "head": "q8", "bytes": 2_000_000_000,
            "rss": 3 << 20, "rates": rates, **more}


class Bench(unittest.TestCase):
    def setUp(self):
        holder = tempfile.TemporaryDirectory()
        self.addCleanup(holder.cleanup)
        self.folder = pathlib.Path(holder.name)

    def test_bytes_of_a_pass_are_alike_on_both_sides(self):
        # tiny-llama-f16 has a head of its own, so that a pass reads no embeddings to speak of.
        for name, head, tied in (("tiny-llama", "f32", True), ("tiny-llama-f16", "bf16", False)):
            gguf = FIXTURES / f"{name}.gguf"
            theirs = peer.content_of(gguf)
            ours = harness.content_of(import_gguf(gguf, "llama", "f32", self.folder)[0])
            self.assertEqual((ours["head"], theirs["head"]), ("f32", head))
            whole = sum(size for _, _, size in peer.tensors(gguf))
            self.assertEqual(theirs["bytes"] == whole, tied)
            # Strips are of 16 rows and tensors are padded, so sizes differ a little.
            wider = 1 if tied else 2
            self.assertLess(abs(ours["bytes"] / theirs["bytes"] / wider - 1), 0.1)

    def test_model_file_with_a_head_of_its_own_type(self):
        for name, patterns in (("smollm2-135m", ['token_embd = "q8"', '"*" = "q4"']),
                               ("qwen2.5-coder-0.5b", ['token_embd = "q8"', 'output = "q8"', '"*" = "q4"']),
                               ("gemma3-270m", ['token_embd = "q8"', '"*" = "q4"'])):
            options = argparse.Namespace(model=SOURCE / f"models/{name}.toml")
            made = harness.model_file(options, "q4", self.folder, "q8")
            section = made.read_text().split("[weights]\n")[1].split("\n\n")[0]
            self.assertEqual(section.splitlines(), patterns)

    def test_tables(self):
        timing = {"pass": 10.0, "statements": 274, "shared": 211,
                  "parts": {name: number / 10 for number, name in enumerate(report.PARTS, 1)}}
        shares = " | ".join(f"{number}.0%" for number in range(1, 1 + len(report.PARTS)))
        ours = side("llmsql q8", True, {"prefill 128 2": [90.0], "decode 128 2": [9.0, 12.0, 10.0]},
                    perplexity=20.5, startup=[0.1, 0.3, 0.2], timing={"128 2": [timing]},
                    disturbed={"quiet": [10.0], "disturbed": [5.0]})
        theirs = side("llama.cpp Q8_0", False, {"prefill 128 2": [60.0], "decode 128 2": [3.0, 4.0, 5.0]},
                      perplexity=20.6, startup=[0.4], disturbed={"quiet": [10.0], "disturbed": [2.0]})
        text = report.markdown({
            "machine": {"date": "2026-01-02", "cpu": "A CPU", "cores": 2, "memory_gib": 8, "kernel": "6",
                        "load": 0.1},
            "settings": {"rounds": 3, "tokens": 48, "peer": "llama.cpp"},
            "stream": {"2": [40e9]}, "models": [{"name": "m", "source": "m.gguf", "sides": [ours, theirs]}]})
        for line in ("| q8 / Q8_0 | prefill 128 | 2 | 90.0 | 60.0 | 1.50× | – | – | – | – |",
                     "| q8 / Q8_0 | decode at 128 | 2 | 10.0 | 4.0 | 3.00× | 20.0 | 50% | 8.0 | 20% |",
                     "| llmsql q8 | q8 | 2000.0 | 3 | 20.50 |",
                     "| m | q8 / Q8_0 | 200 | 400 | 0.50× |",
                     f"| m | q8 | 128 | 2 | 274 | 211 | 10.00 | {shares} |",
                     "| m | llama.cpp Q8_0 | 10.0 | 2.0 | 20% |"):
            self.assertIn(line + "\n", text)


if __name__ == "__main__":
    unittest.main()
