#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tiny models of whole families, as Hugging Face folders, give the logits that transformers gave
(tests/fixtures/families, recorded by tests/reference/check_family.py with keys and values as f16), in
passes of any length.
"""

import json
import sys
import unittest

import numpy as np

from programs import SOURCE, TemporaryFolder, run

sys.path.insert(0, str(SOURCE / "tests" / "reference"))

from family_folder import EVERY, FIXTURES, unpack, write_folder

GRAPHS = SOURCE / "graphs"
CONTEXT = 96  # the length of the recorded texts, which dynamic positions go by


class Families(TemporaryFolder):
    def logits(self, source, ids, chunks):
        db, model, plan = (self.folder / f"model.{end}" for end in ("db", "toml", "sql"))
        run("LLMSQL_IMPORT", source, "--graph-dir", GRAPHS, "--weights", "f32", "-o", db, "--write-model", model)
        run("LLMSQLC", model, "-o", plan, "--context", CONTEXT, "--graph-dir", GRAPHS)
        made = []
        for chunk in chunks:
            run("LLMSQL_RUN", plan, db, "--tokens", ",".join(map(str, ids)), "--logits", self.folder / "logits.npy",
                "--batch-size", chunk)
            made.append(np.load(self.folder / "logits.npy"))
        return made

    def test_logits(self):
        recordings = sorted(FIXTURES.glob("*-*.json"))
        self.assertGreater(len(recordings), 20)
        for path in recordings:
            with self.subTest(path.stem):
                recorded = json.loads(path.read_text())
                source = write_folder(recorded, self.folder / path.stem)
                whole, single = self.logits(source, recorded["ids"], (64, 5))
                self.assertTrue(np.array_equal(whole, single), "the logits depend on the pass")
                theirs = unpack(recorded)
                ours = whole[::EVERY]
                self.assertLess(abs(ours - theirs).max() / theirs.std(), 0.01)
                self.assertLessEqual((ours.argmax(1) != theirs.argmax(1)).sum(), 1)


if __name__ == "__main__":
    unittest.main()
