#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Folders whose weights are codes with scales, FP8 and MXFP4, give the database that a folder of the values gives,
which are worked out here from the formats' definitions.
"""

import os
import shutil
import subprocess
import sys
import unittest

import numpy as np

from programs import SOURCE, TemporaryFolder, rows, run

sys.path.insert(0, str(SOURCE / "tests" / "reference"))

from family_folder import FIXTURES, read_recording, weights
from hf_folder import encoded, safetensors_header, write_json

GRAPHS = SOURCE / "graphs"


def e4m3(codes):
    """A sign, four bits of exponent of bias 7, three of mantissa; below the least exponent no leading one."""
    exponent, mantissa = (codes >> 3 & 15).astype(int), (codes & 7).astype(float)
    value = np.where(exponent == 0, mantissa / 8 * 2.0 ** -6, (1 + mantissa / 8) * 2.0 ** (exponent - 7))
    return np.where(codes & 128, -value, value)


def e2m1(nibbles):
    """Zero has no sign here."""
    return np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6])[nibbles]


class Scaled(TemporaryFolder):
    def write(self, name, config, tensors):
        """`tensors` are {name: (type, shape, bytes)}."""
        folder = self.folder / name
        folder.mkdir()
        write_json(folder / "config.json", config)
        for each in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(FIXTURES / each, folder / each)
        entries = {each: (type, shape, len(data)) for each, (type, shape, data) in tensors.items()}
        with open(folder / "model.safetensors", "wb") as file:
            file.write(safetensors_header(entries))
            for _, _, data in tensors.values():
                file.write(data)
        return folder

    def imported(self, folder, *options):
        db = folder.with_suffix(".db")
        said = run("LLMSQL_IMPORT", folder, "--graph-dir", GRAPHS, "-o", db, *options).stderr.decode()
        return rows(db, "SELECT p.name, p.type, t.data FROM llm_tile t JOIN llm_param p ON p.id = t.param "
                        "ORDER BY p.id, t.first_row"), said

    def refused(self, folder, *needles):
        done = subprocess.run([os.environ["LLMSQL_IMPORT"], folder, "--graph-dir", GRAPHS, "-o",
                               self.folder / "no.db"], capture_output=True)
        lines = [line for line in done.stderr.decode().split("\n") if line and ": note: " not in line]
        self.assertEqual((done.returncode, len(lines)), (1, 1), lines)
        said = lines[0]
        for needle in needles:
            self.assertIn(needle, said)

    def plain(self, recorded):
        return {name: ("F32", shape, encoded(weights(name, tuple(shape), around), "F32"))
                for name, shape, around in recorded["tensors"]}

    def test_fp8(self):
        recorded = read_recording(FIXTURES / "llama-plain.json")
        random = np.random.default_rng(11)
        blocks = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [32, 48]}
        packed = {"quant_method": "compressed-tensors", "format": "float-quantized"}
        for name, end, type, how, exact in (
                ("blocks", "_scale_inv", "F32", blocks, False), ("powers", "_scale_inv", "F8_E8M0", blocks, True),
                ("halves", "_scale_inv", "BF16", blocks, False), ("whole", "_scale", "F32", packed, False),
                ("one", "_scale", "F16", {"quant_method": "fp8"}, False), ("rows", "_scale", "F32", packed, False)):
            with self.subTest(name):
                coded, values = {}, {}
                count = 0
                for tensor, entry in self.plain(recorded).items():
                    if not tensor.endswith("_proj.weight"):
                        coded[tensor] = values[tensor] = entry
                        continue
                    count += 1
                    shape = entry[1]
                    codes = random.integers(0, 256, shape, dtype=np.uint8)
                    codes[codes & 127 == 127] = 1  # no number
                    if how is blocks:
                        grid = [-(-shape[0] // 32), -(-shape[1] // 48)]
                    else:
                        grid = {"whole": [], "one": [1], "rows": [shape[0], 1]}[name]
                    exponents = random.integers(110, 120, grid)
                    scales = 2.0 ** (exponents - 127.0) * (1 if exact else random.uniform(1, 2, grid))
                    if type == "F8_E8M0":
                        raw = exponents.astype(np.uint8).tobytes()
                    else:
                        raw = encoded(np.asarray(scales, np.float32), type)
                        if type == "BF16":
                            scales = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
                        else:
                            scales = np.frombuffer(raw, "<f4" if type == "F32" else "<f2")
                        scales = scales.astype(np.float64).reshape(grid)
                    if how is blocks:
                        full = np.repeat(np.repeat(scales, 32, 0), 48, 1)[:shape[0], :shape[1]]
                    else:
                        full = np.broadcast_to(scales, shape)
                    product = e4m3(codes).astype(np.float32) * full.astype(np.float32)
                    coded[tensor] = ("F8_E4M3", shape, codes.tobytes())
                    coded[tensor + end] = (type, grid, raw)
                    coded[tensor.replace(".weight", ".input_scale")] = ("F32", [1], encoded(np.ones(1), "F32"))
                    values[tensor] = ("BF16", shape, encoded(product, "BF16"))
                    if exact:
                        np.testing.assert_array_equal(
                            (np.frombuffer(values[tensor][2], "<u2").astype(np.uint32) << 16).view(np.float32),
                            product.reshape(-1))
                ours, said = self.imported(self.write(name, recorded["config"] | {"quantization_config": how}, coded))
                theirs, _ = self.imported(self.write(name + "-values", recorded["config"], values))
                self.assertEqual(ours, theirs)
                self.assertIn("bf16", {type for _, type, _ in ours})
                self.assertIn(f"{count} tensors of F8_E4M3 with scales are held as bf16, "
                              + ("exactly" if exact else "each value times its scale rounded to it"), said)
                self.assertIn(f"left out: {count} scales of activations", said)

    def test_fp8_that_cannot_be_read(self):
        recorded = read_recording(FIXTURES / "llama-plain.json")
        tensor = "model.layers.0.mlp.up_proj.weight"
        how = {"quant_method": "fp8", "weight_block_size": [32, 48]}
        config = recorded["config"] | {"quantization_config": how}
        tensors = self.plain(recorded)
        shape = tensors[tensor][1]
        tensors[tensor] = ("F8_E4M3", shape, bytes(shape[0] * shape[1]))
        self.refused(self.write("missing", config, tensors), tensor, "there is no", "_scale_inv")
        tensors[tensor + "_scale_inv"] = ("F32", [3, 2], bytes(24))
        self.refused(self.write("shape", config, tensors), "its scales", "[3, 2]", "blocks of 32 x 48")
        tensors[tensor + "_scale_inv"] = ("I32", [4, 2], bytes(32))
        self.refused(self.write("type", config, tensors), "of the type I32")
        tensors[tensor] = ("F8_E4M3", shape, bytes([127]) * (shape[0] * shape[1]))
        tensors[tensor + "_scale_inv"] = ("F32", [4, 2], encoded(np.ones(8), "F32"))
        self.refused(self.write("nan", config, tensors), tensor, "not a finite number")
        for name, each in (("e5m2", how | {"fmt": "e5m2"}), ("awq", {"quant_method": "awq"}),
                           ("size", how | {"weight_block_size": [128]})):
            self.refused(self.write(name, recorded["config"] | {"quantization_config": each}, tensors),
                         "quantization_config")

    def test_mxfp4(self):
        recorded = read_recording(FIXTURES / "gpt_oss-plain.json")
        sizes = {80: 96, 100: 64, 200: 128, 40: 48}  # blocks have 32 columns
        recorded["tensors"] = [[name, [sizes.get(size, size) for size in shape], around]
                               for name, shape, around in recorded["tensors"]]
        config = recorded["config"] | {"hidden_size": 96, "intermediate_size": 64, "head_dim": 24}
        random = np.random.default_rng(12)
        coded, values = {}, {}
        for tensor, entry in self.plain(recorded).items():
            if not tensor.endswith(("experts.gate_up_proj", "experts.down_proj")):
                coded[tensor] = values[tensor] = entry
                continue
            experts, inputs, outputs = entry[1]
            codes = random.integers(0, 256, (experts, outputs, inputs // 32, 16), dtype=np.uint8)
            scales = random.integers(118, 124, (experts, outputs, inputs // 32), dtype=np.uint8)
            numbers = np.stack([e2m1(codes & 15), e2m1(codes >> 4)], -1).reshape(experts, outputs, inputs // 32, 32)
            numbers = (numbers * 2.0 ** (scales[..., None] - 127.0)).reshape(experts, outputs, inputs)
            coded[tensor + "_blocks"] = ("U8", list(codes.shape), codes.tobytes())
            coded[tensor + "_scales"] = ("U8", list(scales.shape), scales.tobytes())
            values[tensor] = ("F32", entry[1], encoded(numbers.transpose(0, 2, 1), "F32"))
        how = {"quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}}
        folder = self.write("coded", config | how, coded)
        ours, said = self.imported(folder, "--weights", "f32")
        theirs, _ = self.imported(self.write("values", config, values), "--weights", "f32")
        self.assertEqual(ours, theirs)
        self.assertIn("8 tensors of MXFP4 are held as each is, exactly", said)
        kept, _ = self.imported(folder)
        self.assertEqual({type for name, type, _ in kept if ".exp_" in name and not name.endswith("bias")}, {"mxfp4"})
        coded["model.layers.0.mlp.experts.down_proj_scales"] = ("U8", [1], bytes(1))
        self.refused(self.write("shape", config | how, coded), "its scales have the shape [1], not [")


if __name__ == "__main__":
    unittest.main()
