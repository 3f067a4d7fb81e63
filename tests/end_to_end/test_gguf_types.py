#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""GGUFs of every type of tensors: imported whatever their types are, told what grows, and refused in
a line where a scale is no number. What the values are is the unit tests' matter."""

import os
import struct
import subprocess
import unittest

import numpy as np

from programs import FIXTURES, SOURCE, TemporaryFolder, compile_model, logits, rows

from gguf_files import BLOCKS, Gguf, Tensor, bytes_of
from model_db import read_model

GRAPHS = "--graph-dir", SOURCE / "graphs"
LLAMA = FIXTURES / "tiny-llama-k.gguf"  # rows of 256
CHANGED = "blk.0.ffn_up.weight", "blk.0.attn_k.weight"
IQ3_S, NVFP4, Q4_K, Q6_K = 21, 40, 12, 14
KEPT = {0: "f32", 1: "f16", 2: "q4_0", 3: "q4", 6: "q5_0", 7: "q5_1", 8: "q8", 10: "q2_k", 11: "q3_k", 12: "q4_k",
        13: "q5_k", 14: "q6_k", 20: "iq4_nl", 23: "iq4_xs", 30: "bf16", 34: "tq1_0", 35: "tq2_0", 39: "mxfp4", 40: "nvfp4", 41: "q1_0", 42: "q2_0"}
# Exactly, too, but in more bytes.
LARGER = {16: "iq2", 17: "iq2", 18: "iq3_xxs", 19: "iq1", 21: "iq3_s", 22: "iq2", 29: "iq1"}
BECOME = {24: "f32", 25: "f32", 26: "f32", 27: "f32", 28: "f32"}


def some_bytes(type, count):
    """Blocks with small scales, wherever these lie; of integers small ones."""
    if 24 <= type <= 27:
        size = BLOCKS[type][1]
        return b"".join((i % 90).to_bytes(size, "little") for i in range(count // size))
    if type in (0, 28):  # floats, not NaN
        return np.linspace(-1, 1, count // BLOCKS[type][1]).astype("<f4" if type == 0 else "<f8").tobytes()
    return bytes(1 + i * 31 % 61 for i in range(count))


def nvfp4_values(data):
    """By the format's description: e4m3 without its sign, e2m1, 16 weights a scale."""
    blocks = np.frombuffer(data, np.uint8).reshape(-1, 36)
    exponent, mantissa = (blocks[:, :4] >> 3 & 15).astype(int), blocks[:, :4] & 7
    scales = np.where(exponent > 0, (1 + mantissa / 8) * 2.0 ** (exponent - 7), mantissa * 2.0 ** -9)
    codes = blocks[:, 4:].reshape(-1, 4, 8)
    codes = np.concatenate([codes & 15, codes >> 4], axis=2)
    levels = np.array([0, .5, 1, 1.5, 2, 3, 4, 6, 0, -.5, -1, -1.5, -2, -3, -4, -6])
    return (levels[codes] * scales[:, :, None]).astype(np.float32).ravel()


class Types(TemporaryFolder):
    def setUp(self):
        super().setUp()
        self.gguf = Gguf(LLAMA)
        self.db, self.toml = self.folder / "x.db", self.folder / "x.toml"

    def retype(self, type, names=CHANGED):
        for name in names:
            tensor = self.gguf[name]
            tensor.type = type
            tensor.data = some_bytes(type, bytes_of(type, tensor.weights()))

    def attempt(self, *options):
        source = self.gguf.write(self.folder / "x.gguf")
        done = subprocess.run([os.environ["LLMSQL_IMPORT"], source, *map(str, GRAPHS), "-o", self.db,
                               "--write-model", self.toml, *options], capture_output=True, text=True)
        return done.returncode, done.stderr

    def held(self, *options):
        """Imports; the values and types of all parameters, and the notes but for the last line."""
        code, said = self.attempt(*options)
        self.assertEqual(code, 0, said)
        notes = [line for line in said.splitlines() if "larger in the database" in line]
        self.assertLessEqual(len(notes), 1)
        return *read_model(self.db), notes

    def refuse(self, expected):
        self.db.unlink(missing_ok=True)
        code, said = self.attempt()
        self.assertEqual(code, 1)
        self.assertRegex(said, expected)
        self.assertEqual(len([line for line in said.splitlines() if "note:" not in line]), 1)
        self.assertFalse(self.db.exists())

    def test_none_is_refused(self):
        for type in BLOCKS:
            with self.subTest(type):
                self.retype(type)
                kept, types, notes = self.held()
                self.assertEqual(types["layer.0.ffn_up"], (KEPT | LARGER | BECOME).get(type, "q8"))
                if type in KEPT:
                    self.assertEqual(notes, [])
                if type in LARGER:
                    self.assertIn(f" as {LARGER[type]} (", notes[0])
                if type in KEPT | LARGER:
                    exact = self.held("--weights", "f32")[0]
                    for name in "layer.0.ffn_up", "layer.0.attn_k":
                        np.testing.assert_array_equal(kept[name], exact[name])
                self.assertTrue(np.isfinite(self.held("--weights", "q4")[0]["layer.0.ffn_up"]).all())

    def test_a_model_of_code_books_runs(self):
        self.retype(IQ3_S, [tensor.name for tensor in self.gguf.tensors
                            if len(tensor.shape) == 2 and tensor.name.startswith("blk.")])
        self.held()
        plan = compile_model(self.toml, self.folder / "x.sql")
        self.assertTrue(np.isfinite(logits(plan, self.db, [1, 2, 3], self.folder)).all())

    def test_growth_is_said(self):
        self.retype(IQ3_S)
        _, types, (note,) = self.held()
        read = sum(len(self.gguf[name].data) for name in CHANGED)
        (grown,), = rows(self.db, "SELECT sum(length(data)) FROM llm_tile JOIN llm_param ON "
                                  "llm_param.id = param WHERE name IN ('layer.0.ffn_up', 'layer.0.attn_k')")
        self.assertIn(f"IQ3_S as iq3_s ({read / 1e3:.1f} kB → {grown / 1e3:.1f} kB)", note)
        self.assertRegex(note, r"; all matrices: [0-9.]+ [kM]B → [0-9.]+ [kM]B$")
        # Said of what a model file asks for too, and before it is begun: of an import that fails.
        self.gguf[CHANGED[0]].data = b"\xff" * len(self.gguf[CHANGED[0]].data)
        code, said = self.attempt()
        self.assertEqual(code, 1)
        self.assertIn("IQ3_S as iq3_s (", said.splitlines()[-2])

    def test_what_does_not_grow_is_not_said(self):
        for name, options in {"tiny-llama": [], "tiny-llama-f16": [], "tiny-llama-k": ["--weights", "q4"],
                              "tiny-llama-quant": ["--weights", "q4"]}.items():
            self.gguf = Gguf(FIXTURES / f"{name}.gguf")
            grown = "Q4_" in str(self.held(*options)[2])
            self.assertEqual(grown, "--weights" in options, name)  # 4.5 bits as 5

    def test_patterns(self):
        _, natural, _ = self.held()
        for options, asked in (
                (("layer.*.attn_*=f16",), {"layer.0.attn_q": "f16", "layer.0.attn_output": "f16"}),
                (("layer.0.ffn_up=auto", "layer.*.ffn_*=q4", "f32"),
                 {"layer.0.ffn_up": natural["layer.0.ffn_up"], "layer.0.ffn_gate": "q4", "layer.0.ffn_down": "q4",
                  "layer.0.attn_q": "f32", "token_embd": "f32"}),
                (("q8",), dict.fromkeys(("layer.0.ffn_up", "layer.0.attn_q", "token_embd"), "q8"))):
            with self.subTest(options):
                _, types, _ = self.held(*(f"--weights={option}" for option in options))
                for name, type in asked.items():
                    self.assertEqual(types[name], type, name)
                if len(options) == 1 and "=" in options[0]:
                    self.assertEqual(types["layer.0.ffn_up"], natural["layer.0.ffn_up"])
                self.assertEqual(types["layer.0.attn_norm"], "f32")

    def test_patterns_are_checked(self):
        self.db.unlink(missing_ok=True)
        for options, status, said in ((("layer.9.*=q8",), 1, "'layer.9.*' matches none of the model's matrices"),
                                      (("*.attn_norm=f16",), 1, "'*.attn_norm' matches none"),
                                      (("q8", "layer.0.ffn_up=q4"), 1, "'layer.0.ffn_up' matches none"),
                                      (("q9",), 2, "--weights q9: a type is wanted, auto, "),
                                      (("q5_k",), 2, "--weights q5_k: a type is wanted, auto, "),
                                      (("=q8",), 2, "--weights =q8: a type is wanted"),
                                      (("",), 2, "a type is wanted")):
            with self.subTest(options):
                code, err = self.attempt(*(f"--weights={option}" for option in options))
                self.assertEqual(code, status, err)
                self.assertIn(said, err)
                self.assertFalse(self.db.exists())

    def scaled(self, name, scale, input_scale=None):
        stem = name.removesuffix(".weight")
        self.gguf.tensors.append(Tensor(stem + ".scale", (1,), 0, struct.pack("<f", scale)))
        if input_scale is not None:
            self.gguf.tensors.append(Tensor(stem + ".input_scale", (1,), 0, struct.pack("<f", input_scale)))

    def test_nvfp4_with_its_scales(self):
        self.retype(NVFP4)
        self.scaled(CHANGED[0], 0.37, 0.01)
        values, _, _ = self.held("--weights", "f32")
        expected = nvfp4_values(self.gguf[CHANGED[0]].data) * np.float32(0.37)
        np.testing.assert_array_equal(values["layer.0.ffn_up"].ravel(), expected)
        np.testing.assert_array_equal(  # k's rows are in another order, the values are the same
            np.sort(values["layer.0.attn_k"].ravel()), np.sort(nvfp4_values(self.gguf[CHANGED[1]].data)))
        kept, types, _ = self.held()
        self.assertEqual(types["layer.0.ffn_up"], "nvfp4")
        np.testing.assert_array_equal(kept["layer.0.ffn_up"].ravel(), expected)
        np.testing.assert_array_equal(kept["layer.0.attn_k"], values["layer.0.attn_k"])

    def test_other_scales_are_not_passed_over(self):
        for name in "blk.0.nothing.input_scale", "blk.0.nothing.scale", "blk.0.ffn_up.output_scale":
            self.gguf = Gguf(LLAMA)
            self.gguf.tensors.append(Tensor(name, (1,), 0, struct.pack("<f", 1)))
            self.refuse(f"not used by the graph llama: {name}")
        self.gguf = Gguf(LLAMA)
        self.gguf.tensors.append(Tensor("blk.0.ffn_up.scale", (2,), 0, struct.pack("<2f", 1, 2)))
        self.refuse("not used by the graph llama: blk.0.ffn_up.scale")
        self.gguf = Gguf(LLAMA)
        self.scaled(CHANGED[0], float("nan"))
        self.refuse("blk.0.ffn_up.scale has a value that is not a finite number")

    def test_scales_that_are_no_numbers(self):
        for type, at in (IQ3_S, 0), (Q4_K, 2), (Q6_K, 208):
            self.retype(type, CHANGED[:1])
            tensor = self.gguf[CHANGED[0]]
            row, size = bytes_of(type, tensor.shape[0]), BLOCKS[type][1]
            for bad in 0x7c00, 0xfc00, 0x7e01:
                data = bytearray(some_bytes(type, len(tensor.data)))
                struct.pack_into("<H", data, 5 * row + at, bad)
                tensor.data = bytes(data)
                self.refuse("tensor blk.0.ffn_up.weight: row 5 has a scale that makes weights infinite or "
                            "no numbers, in its block 0\n")


if __name__ == "__main__":
    unittest.main()
