#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Records what GGUF's block types mean, for tests/unit/importer/dequantize_test.cpp.

Random blocks of each type that llmsql-import reads, with the values that the Python package gguf
gives them: an implementation that shares nothing with the importer's. Codes are any bits; scales are
f16 of either sign, some of them zero or subnormal, none infinite or NaN.

The fixture is, for each type: u32 GGUF type, u32 number of weights, the blocks, f32 values.

Needs the PyPI packages gguf and numpy.    make_gguf_blocks.py [OUTPUT]
"""

import pathlib
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize

OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "gguf-blocks.bin"
WEIGHTS = 512

# Where the f16 scales of a block lie.
SCALES = {
    Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0],
    Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208],
}


def random_halves(random, count):
    """f16 of many magnitudes up to about 1, a few of them 0 or subnormal."""
    exponents = random.uniform(-24, 0, count)
    return (random.choice([-1, 1], count) * 2.0 ** exponents).astype("<f2")


def random_row(random, type):
    if type == Type.F32:
        return (random.normal(size=WEIGHTS)).astype("<f4").view(np.uint8)
    if type == Type.F16:
        return random_halves(random, WEIGHTS).view(np.uint8)
    if type == Type.BF16:
        return (random.normal(size=WEIGHTS).astype("<f4").view(np.uint32) >> 16).astype(
            "<u2").view(np.uint8)
    weights, size = GGML_QUANT_SIZES[type]
    blocks = random.integers(0, 256, (WEIGHTS // weights, size), dtype=np.uint8)
    for at in SCALES[type]:
        blocks[:, at:at + 2] = random_halves(random, len(blocks)).view(np.uint8).reshape(-1, 2)
    if type == Type.Q8_0:  # quantisers give codes from -127 to 127
        codes = blocks[:, 2:]
        codes[codes == 0x80] = 0x81
    return blocks.ravel()


def main():
    random = np.random.default_rng(20)
    output = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT
    with output.open("wb") as file:
        for type in [Type.F32, Type.F16, Type.BF16, *SCALES]:
            row = random_row(random, type)
            values = dequantize(row, type).astype("<f4")
            assert values.shape == (WEIGHTS,) and np.isfinite(values).all()
            file.write(np.array([int(type), WEIGHTS], "<u4").tobytes())
            file.write(row.tobytes())
            file.write(values.tobytes())


if __name__ == "__main__":
    main()
