#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Matrices so wide that a few strips are a tile: the database is hardly larger than the source, whoever reads
it finds what the source has, and all ways of reading give the same logits."""

import os
import re
import sqlite3
import unittest

import numpy as np

from programs import FIXTURES, SOURCE, TemporaryFolder, compile_model, logits, rows, run

from gguf_files import wide_llama
from model_db import read_model

GRAPHS = "--graph-dir", SOURCE / "graphs"
LLAMA = FIXTURES / "tiny-llama-k.gguf"
Q8_0, Q4_K = 8, 12
TOKENS = 5 * [5, 9, 14, 3, 77, 8, 21, 2, 40, 11]  # enough for AMX's tiles
PAGE = 65536


class Wide(TemporaryFolder):
    def imported(self, type, width, *options):
        """The database, the model file, and the bytes of the source's tensors."""
        gguf = wide_llama(LLAMA, type, width)
        db, toml = self.folder / f"{type}-{width}.db", self.folder / f"{type}-{width}.toml"
        run("LLMSQL_IMPORT", gguf.write(self.folder / "x.gguf"), *GRAPHS, "-o", db, "--write-model", toml, *options)
        return db, toml, sum(len(tensor.data) for tensor in gguf.tensors)

    def test_the_database_is_hardly_larger_than_the_source(self):
        small, _, fewer = self.imported(Q4_K, 256)  # mostly tokenizer, and a page each of tables
        for type, width in ((Q4_K, 9728), (Q4_K, 18944), (Q4_K, 25600), (Q8_0, 9728), (Q8_0, 11008)):
            with self.subTest(type=type, width=width):
                db, _, bytes = self.imported(type, width)
                (tile_rows, count), = rows(db, "SELECT tile_rows, (SELECT count(*) FROM llm_tile WHERE param = p.id) "
                                               "FROM llm_param p WHERE name = 'layer.0.ffn_down'")
                self.assertEqual(count, -(-256 // tile_rows))
                grown = os.path.getsize(db) - os.path.getsize(small)
                # Of each matrix the last tile may be short, and leave of its last page what there is.
                self.assertLess(grown, 1.03 * (bytes - fewer) + 4 * PAGE)
                run("LLMSQL_RUN", db, "--verify")

    def test_an_independent_reader_finds_the_source_in_it(self):
        for type in (Q4_K, Q8_0):
            with self.subTest(type):
                kept, types = read_model(self.imported(type, 9728)[0])
                exact, _ = read_model(self.imported(type, 9728, "--weights", "f32")[0])
                self.assertIn(types["layer.0.ffn_down"], ("q4_k", "q8"))
                for name in kept:
                    np.testing.assert_array_equal(kept[name], exact[name], name)

    def test_all_ways_of_reading_give_the_same(self):
        for type, width in ((Q4_K, 18944), (Q8_0, 9728)):
            db, toml, _ = self.imported(type, width)
            held = logits(compile_model(toml, self.folder / "held.sql", "--context", 128), db, TOKENS, self.folder)
            self.assertTrue(np.isfinite(held).all())
            self.assertGreater(np.ptp(held), 0)
            plan = compile_model(toml, self.folder / "streamed.sql", "--context", 128, "--budget", "100MiB")
            text = plan.read_text()
            self.assertRegex(text, r"workers=2, tiles=4\);\n")
            with sqlite3.connect(db) as connection:
                matrices = {id for id, in connection.execute("SELECT id FROM llm_param WHERE rows IS NOT NULL")}
            connection.close()
            streamed = re.sub(r"\((\d+), (\d+), (\d+), 1\)(?=[,;]\n)",
                              lambda m: f"({m[1]}, {m[2]}, {m[3]}, {0 if int(m[1]) in matrices else 1})", text)
            self.assertNotEqual(streamed, text)
            plan.write_text(streamed.replace("windows=0", "windows=16777216"))
            for way in ("read", "map", "blob", "auto", *self.direct()):
                with self.subTest(type=type, way=way):
                    for known in ((), ("--verify",)):  # what has been verified is taken in parts
                        got = logits(plan, db, TOKENS, self.folder, "--io", way, *known)
                        self.assertTrue((got == held).all())

    def direct(self):
        """Past the page cache, where the file system allows it."""
        try:
            os.close(os.open(self.folder / "x.gguf", os.O_RDONLY | os.O_DIRECT))
        except OSError:
            return ()
        return ("direct",)

    def test_within_a_budget_part_of_a_wide_matrix_is_held(self):
        db, toml, _ = self.imported(Q4_K, 18944)
        held = logits(compile_model(toml, self.folder / "held.sql", "--context", 128), db, TOKENS, self.folder)
        plan = compile_model(toml, self.folder / "budget.sql", "--context", 128, "--budget", "20MiB")
        down, = re.findall(r"\(\d+, 'layer.0.ffn_down'", plan.read_text())
        self.assertTrue(down)
        self.assertIn(", 0)", plan.read_text().split("INSERT INTO residency")[1].split(";")[0])
        for way in ("read", "blob"):
            self.assertTrue((logits(plan, db, TOKENS, self.folder, "--io", way) == held).all())


if __name__ == "__main__":
    unittest.main()
