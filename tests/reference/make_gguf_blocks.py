#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Records what GGUF's tensor types mean, for tests/unit/importer/dequantize_test.cpp.

Blocks of each type that llmsql-import reads, with the values that the Python package gguf gives them:
an implementation that shares nothing with the importer's. For the few types that the package does not
read (Q1_0, Q2_0, Q8_1, Q8_K, F64, integers) the values are computed here from ggml's description.

  ordinary  512 weights: any bits; scales of either sign, some of them zero or subnormal, none
            infinite or NaN
  edges     scales that are zero of either sign, subnormal, the smallest normal, the largest, 1 and -1;
            codes (and what scales are of small integers) all 0, all 1, or any bits
  points    of a type with a code book: blocks that name each of its points

The fixture has records: u32 GGUF type, u32 number of weights, u32 0 or 1, the blocks, and of an
ordinary one (0) the f32 values, of the others (1) the CRC-32 of each block's values.

Needs the PyPI packages gguf and numpy.    make_gguf_blocks.py [OUTPUT]
                                           make_gguf_blocks.py --code-books
prints the maps of importer/code_books.cpp instead.
"""

import pathlib
import sys
import zlib

import numpy as np
from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as Type
from gguf import quants

OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "gguf-blocks.bin"
WEIGHTS = 512

# Where the f16 scales of a block lie.
SCALES = {
    Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0],
    Type.Q2_K: [80, 82], Type.Q3_K: [108], Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208],
    Type.IQ4_NL: [0], Type.IQ4_XS: [0], Type.TQ1_0: [52], Type.TQ2_0: [64], Type.IQ2_XXS: [0],
    Type.IQ2_XS: [0], Type.IQ2_S: [0], Type.IQ3_XXS: [0], Type.IQ3_S: [0], Type.IQ1_S: [0],
    Type.IQ1_M: [], Type.MXFP4: [], Type.NVFP4: [],
}
EDGES = np.array([0x0000, 0x8000, 0x0001, 0x83ff, 0x0400, 0x3c00, 0xbc00, 0x7bff, 0xfbff], "<u2")
POINTS = {Type.IQ1_S: 2048, Type.IQ1_M: 2048, Type.IQ2_XXS: 256, Type.IQ2_XS: 512, Type.IQ2_S: 1024,
          Type.IQ3_XXS: 256, Type.IQ3_S: 512}


# ---- types that the package does not read ----------------------------------------------------------

def halves(blocks, at=0):
    return blocks[:, at:at + 2].copy().view("<f2").astype("<f4")


def q1_0(blocks):
    bits = np.unpackbits(blocks[:, 2:], axis=1, bitorder="little").astype("<f4")
    return np.where(bits != 0, halves(blocks), -halves(blocks))


def q2_0(blocks):
    codes = blocks[:, 2:, None] >> np.array([0, 2, 4, 6], np.uint8) & 3
    return (codes.reshape(len(blocks), -1).astype("<f4") - 1) * halves(blocks)


def q8_1(blocks):
    return halves(blocks) * blocks[:, 4:].view(np.int8).astype("<f4")


def q8_k(blocks):
    return blocks[:, :4].copy().view("<f4") * blocks[:, 4:260].view(np.int8).astype("<f4")


# By number: weights and bytes of a block, where f16 scales lie, values.
OWN = {9: (32, 36, [0], q8_1), 15: (256, 292, [], q8_k), 41: (128, 18, [0], q1_0),
       42: (64, 18, [0], q2_0)}
NUMBERS = {28: "<f8", 24: "i1", 25: "<i2", 26: "<i4", 27: "<i8"}


# ---- blocks ----------------------------------------------------------------------------------------

def sizes(type):
    return OWN[int(type)][:2] if int(type) in OWN else GGML_QUANT_SIZES[type]


def values_of(type, blocks):
    """[blocks, weights of one], f32."""
    weights, _ = sizes(type)
    with np.errstate(over="ignore"):
        values = OWN[int(type)][3](blocks) if int(type) in OWN else \
            quants.dequantize(blocks.ravel(), type)
    values = np.ascontiguousarray(values, "<f4").reshape(len(blocks), weights)
    assert np.isfinite(values).all(), type
    return values


def random_halves(random, count):
    """f16 of many magnitudes up to about 1, a few of them 0 or subnormal."""
    exponents = random.uniform(-24, 0, count)
    return (random.choice([-1, 1], count) * 2.0 ** exponents).astype("<f2").view("<u2")


def put_scale(type, blocks, scales):
    """A scale of each of the blocks: the f16 numbers, as far as the type has them."""
    for at in OWN[int(type)][2] if int(type) in OWN else SCALES[type]:
        blocks[:, at:at + 2] = scales.view(np.uint8).reshape(-1, 2)
    if type == Type.IQ1_M:  # a nibble each in the upper ends of four u16
        parts = blocks[:, 48:].copy().view("<u2") & 0xfff
        parts |= (scales[:, None] >> np.array([0, 4, 8, 12], "<u2") & 15) << 12
        blocks[:, 48:] = parts.view(np.uint8).reshape(-1, 8)
    if type == Type.Q8_K:
        blocks[:, :4] = scales.view("<f2").astype("<f4").view(np.uint8).reshape(-1, 4)


def ordinary(random, type):
    weights, size = sizes(type)
    blocks = random.integers(0, 256, (WEIGHTS // weights, size), dtype=np.uint8)
    put_scale(type, blocks, random_halves(random, len(blocks)))
    if type == Type.MXFP4:  # within the range of f16
        blocks[:, 0] = random.integers(106, 140, len(blocks))
    if type == Type.Q8_0:  # quantisers give codes from -127 to 127
        codes = blocks[:, 2:]
        codes[codes == 0x80] = 0x81
    return blocks


def edges(random, type):
    _, size = sizes(type)
    scales = EDGES
    if type == Type.MXFP4:
        scales = np.arange(253, dtype=np.uint8)  # beyond, weights may be infinite
    if type == Type.NVFP4:
        scales = np.arange(256, dtype=np.uint8).reshape(64, 4)
    blocks = random.integers(0, 256, (3, len(scales), size), dtype=np.uint8)
    blocks[0] = 0x00
    blocks[1] = 0xff
    if type in (Type.MXFP4, Type.NVFP4):
        width = scales.size // len(scales)
        blocks[:, :, :width] = scales.reshape(len(scales), width)
        blocks = blocks[2:]
    else:
        for part in blocks:
            put_scale(type, part, scales)
            if type in (Type.Q8_1, Type.Q8_K):
                part[:, -1] = 0x80
    return blocks.reshape(-1, size)


def points(random, type):
    """Every point of the code book, under any scale and signs."""
    _, size = sizes(type)
    each = 64 if type in (Type.IQ3_XXS, Type.IQ3_S) else 32
    numbers = random.permutation(POINTS[type]).reshape(-1, each)
    blocks = random.integers(0, 256, (len(numbers), size), dtype=np.uint8)
    low, high = (numbers & 255).astype(np.uint8), numbers >> 8

    def bits(width, last):
        """`high` in fields of `width` bits, as many as a byte has; `last` fills them up."""
        fields = high.reshape(len(blocks), -1, 8 // width) << np.arange(0, 8, width)
        return fields.sum(axis=2).astype(np.uint8) | last

    if type == Type.IQ2_XXS:
        blocks[:, 2:].reshape(len(blocks), 8, 8)[:, :, :4] = low.reshape(len(blocks), 8, 4)
    elif type == Type.IQ2_XS:
        signs = random.integers(0, 128, numbers.shape)
        blocks[:, 2:66] = (numbers | signs << 9).astype("<u2").view(np.uint8)
    elif type == Type.IQ2_S:
        blocks[:, 2:34], blocks[:, 66:74] = low, bits(2, 0)
    elif type == Type.IQ3_XXS:
        blocks[:, 2:66] = low
    elif type == Type.IQ3_S:
        blocks[:, 2:66], blocks[:, 66:74] = low, bits(1, 0)
    elif type == Type.IQ1_S:
        blocks[:, 2:34] = low
        fields = (high.reshape(len(blocks), 8, 4) << np.arange(0, 12, 3)).sum(axis=2)
        rest = random.integers(0, 16, fields.shape) << 12
        blocks[:, 34:50] = (fields | rest).astype("<u2").view(np.uint8)
    elif type == Type.IQ1_M:
        shifts = random.choice([0, 8, 128, 136], (len(blocks), 16)).astype(np.uint8)
        blocks[:, :32], blocks[:, 32:48] = low, bits(4, shifts)
    put_scale(type, blocks, random_halves(random, len(blocks)))
    return blocks


def numbers_of(random, type):
    """A type without blocks: bytes and values."""
    if type == Type.F32:
        values = random.normal(size=WEIGHTS).astype("<f4")
        return values, values
    if type == Type.F16:
        values = random_halves(random, WEIGHTS).view("<f2")
        return values, values.astype("<f4")
    if type == Type.BF16:
        values = random.normal(size=WEIGHTS).astype("<f4").view("<u4") >> 16
        return values.astype("<u2"), (values << 16).astype("<u4").view("<f4")
    if type == Type.F64:
        values = random.normal(size=WEIGHTS).astype("<f8")
    else:
        info = np.iinfo(NUMBERS[int(type)])
        values = random.integers(info.min, info.max, WEIGHTS, endpoint=True, dtype=info.dtype)
    return values, values.astype("<f4")


# ---- the fixture -----------------------------------------------------------------------------------

def code_books():
    for type in (quants.IQ2_XXS, quants.IQ2_XS, quants.IQ2_S, quants.IQ3_XXS, quants.IQ3_S, quants.IQ1_S):
        type.init_grid()
        base, (count, width) = len(type.grid_map), type.grid_shape
        digits = np.searchsorted(np.array(type.grid_map), type.grid.reshape(count, width))
        points = (digits * base ** np.arange(width)).sum(axis=1)
        assert (np.diff(points) > 0).all()
        bits = np.zeros(-(-base ** width // 4) * 4, int)
        bits[points] = 1
        print(type.__name__, "".join(f"{x:x}" for x in bits.reshape(-1, 4) @ [1, 2, 4, 8]))


def main():
    if sys.argv[1:] == ["--code-books"]:
        return code_books()
    random = np.random.default_rng(20)
    output = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else OUTPUT
    with output.open("wb") as file:
        def record(type, weights, kind, data, values):
            file.write(np.array([int(type), weights, kind], "<u4").tobytes())
            file.write(np.ascontiguousarray(data).tobytes())
            file.write(values.tobytes())
        for type in [Type.F32, Type.F16, Type.BF16, *map(Type, NUMBERS)]:
            data, values = numbers_of(random, type)
            record(type, WEIGHTS, 0, data, values)
        for type in [*SCALES, *OWN]:
            blocks = ordinary(random, type)
            record(type, WEIGHTS, 0, blocks, values_of(type, blocks))
            for make in (edges, points) if type in POINTS else (edges,):
                blocks = make(random, type)
                values = values_of(type, blocks)
                sums = np.array([zlib.crc32(block.tobytes()) for block in values], "<u4")
                record(type, values.size, 1, blocks, sums)


if __name__ == "__main__":
    main()
