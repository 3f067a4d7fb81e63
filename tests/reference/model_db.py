# SPDX-License-Identifier: MIT
"""Reads the weights out of a model.db by docs/model-db.md alone, independently of llmsql.

Needs NumPy."""

import sqlite3

import numpy as np

ROWS = 16  # of a strip
BLOCK = 32


def read_vector(data, cols):
    return np.frombuffer(data, "<f4", cols)


def read_plain(data, cols, dtype):
    """[cols][16 rows] a strip."""
    strips = np.frombuffer(data, dtype).reshape(-1, cols, ROWS)
    return strips.transpose(0, 2, 1).reshape(-1, cols).astype(np.float32)


def read_q8(data, cols):
    """A block: f16 scale[16], int8 code[8][16 rows][4 columns]."""
    blocks = np.frombuffer(data, np.uint8).reshape(-1, (cols + BLOCK - 1) // BLOCK, 544)
    scale = blocks[..., :32].copy().view("<f2").astype(np.float32)
    codes = blocks[..., 32:].view(np.int8).reshape(blocks.shape[:2] + (8, ROWS, 4))
    values = codes.transpose(0, 3, 1, 2, 4).reshape(len(blocks), ROWS, -1, BLOCK)
    weights = values * scale.transpose(0, 2, 1)[..., None]
    return weights.reshape(len(blocks) * ROWS, -1)[:, :cols]


def read_q4(data, cols):
    """A block: f16 scale[16], f16 offset[16], byte code[4][16 rows][4]; the low nibble of byte
    [j][r][i] is column 4j + i, the high one column 16 + 4j + i."""
    blocks = np.frombuffer(data, np.uint8).reshape(-1, (cols + BLOCK - 1) // BLOCK, 320)
    halves = blocks[..., :64].copy().view("<f2").astype(np.float32)
    scale, offset = halves[..., :ROWS], halves[..., ROWS:]
    codes = blocks[..., 64:].reshape(blocks.shape[:2] + (4, ROWS, 4))
    nibbles = np.stack([codes & 15, codes >> 4], axis=2)  # [strip][block][half][j][row][i]
    values = nibbles.transpose(0, 4, 1, 2, 3, 5).reshape(len(blocks), ROWS, -1, BLOCK)
    weights = values * scale.transpose(0, 2, 1)[..., None] + offset.transpose(0, 2, 1)[..., None]
    return weights.reshape(len(blocks) * ROWS, -1)[:, :cols]


def halves(blocks, at):
    """f16[16 rows] from byte `at` of each block on, as f32[..., row]."""
    return blocks[..., at:at + 32].copy().view("<f2").astype(np.float32)


def unpack(vectors, width):
    """Codes of `width` bits from vectors [..., v, 16 rows, 4]: of four columns the lowest bits, of the next
    four the next. As [..., row, column]."""
    codes = np.stack([vectors >> shift & (1 << width) - 1 for shift in range(0, 8, width)], axis=-3)
    codes = np.moveaxis(codes, -2, -4)  # [..., row, v, k, 4]
    return codes.reshape(codes.shape[:-3] + (-1,)).astype(np.int32)


def vectors(blocks, at, count):
    return blocks[..., at:at + 64 * count].reshape(blocks.shape[:-1] + (count, ROWS, 4))


def groups(blocks, at, size, count):
    return blocks[..., at:at + size * count].reshape(blocks.shape[:-1] + (count, size))


def repeated(per_group, columns):
    """[..., group, row] to [..., row, column]."""
    return np.repeat(np.swapaxes(per_group, -1, -2), columns, axis=-1)


def in_order(per_group):
    """[..., group, row, column of the group] to [..., row, column]."""
    swapped = np.swapaxes(per_group, -2, -3)
    return swapped.reshape(swapped.shape[:-2] + (-1,))


def kept(columns, size, read):
    """A reader of blocks of 16 rows by `columns`, 16 * size bytes: read(blocks) gives [..., row, column]."""
    def reader(data, cols):
        blocks = np.frombuffer(data, np.uint8).reshape(-1, cols // columns, ROWS * size)
        values = read(blocks).astype(np.float32)  # [strip, block, row, column]
        return values.transpose(0, 2, 1, 3).reshape(len(blocks) * ROWS, -1)
    return reader


NONLINEAR = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
FLOAT4 = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float32)


def five_bits(blocks):
    return unpack(vectors(blocks, 64, 4), 4) | unpack(vectors(blocks, 0, 1), 1) << 4


def q4_0(blocks):
    return halves(blocks, 0)[..., None] * (unpack(vectors(blocks, 32, 4), 4) - 8)


def q5_0(blocks):
    return halves(blocks, 0)[..., None] * (five_bits(blocks[..., 32:]) - 16)


def q5_1(blocks):
    return halves(blocks, 0)[..., None] * five_bits(blocks[..., 64:]) + halves(blocks, 32)[..., None]


def iq4_nl(blocks):
    return halves(blocks, 0)[..., None] * NONLINEAR[unpack(vectors(blocks, 32, 4), 4)]


def mxfp4(blocks):
    scale = np.ldexp(np.float32(1), blocks[..., :16].astype(np.int32) - 128)
    return scale[..., None] * FLOAT4[unpack(vectors(blocks, 16, 4), 4)]


def bytes_of(blocks, at, count):
    """Bytes of each row, four to a vector, as int [..., byte, row]."""
    four = vectors(blocks, at, count).astype(np.int32)
    return np.swapaxes(four, -1, -2).reshape(blocks.shape[:-1] + (4 * count, ROWS))


def with_minima(code, size):
    """q4_k and q5_k: scales and minima of six bits."""
    def read(blocks):
        b = bytes_of(blocks, 64, 3)
        low, high, last = b[..., :4, :], b[..., 4:8, :], b[..., 8:, :]
        scale = np.concatenate([low & 63, last & 15 | low >> 6 << 4], axis=-2).astype(np.float32)
        minimum = np.concatenate([high & 63, last >> 4 | high >> 6 << 4], axis=-2).astype(np.float32)
        codes = in_order(code(groups(blocks, 256, size, 8)))
        return (repeated(halves(blocks, 0)[..., None, :] * scale, 32) * codes.astype(np.float32)
                - repeated(halves(blocks, 32)[..., None, :] * minimum, 32))
    return read


def q6_k(blocks):
    scale = bytes_of(blocks, 0, 4).astype(np.int8).astype(np.float32)
    parts = groups(blocks, 256, 192, 16)
    codes = unpack(vectors(parts, 64, 2), 4) | unpack(vectors(parts, 0, 1), 2) << 4
    return repeated(halves(blocks, 3328)[..., None, :] * scale, 16) * (in_order(codes) - 32).astype(np.float32)


def q3_k(blocks):
    b = bytes_of(blocks, 0, 3)
    low = np.concatenate([b[..., :8, :] & 15, b[..., :8, :] >> 4], axis=-2)
    high = np.concatenate([b[..., 8:, :] >> shift & 3 for shift in (0, 2, 4, 6)], axis=-2)
    scale = ((low | high << 4) - 32).astype(np.float32)
    parts = groups(blocks, 192, 192, 8)
    codes = unpack(vectors(parts, 64, 2), 2) | unpack(vectors(parts, 0, 1), 1) << 2
    return repeated(halves(blocks, 1728)[..., None, :] * scale, 16) * (in_order(codes) - 4).astype(np.float32)


def q2_k(blocks):
    b = bytes_of(blocks, 64, 4)
    codes = in_order(unpack(vectors(groups(blocks, 320, 128, 8), 0, 2), 2)).astype(np.float32)
    return (repeated(halves(blocks, 0)[..., None, :] * (b & 15).astype(np.float32), 16) * codes
            - repeated(halves(blocks, 32)[..., None, :] * (b >> 4).astype(np.float32), 16))


def iq4_xs(blocks):
    low = bytes_of(blocks, 0, 1)
    low = np.stack([low & 15, low >> 4], axis=-2).reshape(blocks.shape[:-1] + (8, ROWS))
    high = blocks[..., 96:128].copy().view("<u2").astype(np.int32)[..., None, :]
    scale = (low | (high >> np.arange(0, 16, 2)[:, None] & 3) << 4) - 32
    codes = in_order(unpack(vectors(groups(blocks, 128, 256, 8), 0, 4), 4))
    return (repeated(halves(blocks, 64)[..., None, :] * scale.astype(np.float32), 32)
            * NONLINEAR[codes])


def nvfp4(blocks):
    signs = np.packbits(blocks[..., :32] >> 7, axis=-1, bitorder="little")
    times = signs.view("<f4")[..., None, :]  # one number a block
    bits = bytes_of(blocks, 0, 1) & 127
    exponent, mantissa = bits >> 3, (bits & 7).astype(np.float32)
    scale = np.where(exponent > 0, np.ldexp(8 + mantissa, exponent - 10), np.ldexp(mantissa, -9)).astype(np.float32)
    codes = in_order(unpack(vectors(groups(blocks, 64, 256, 2), 0, 4), 4))
    return FLOAT4[codes] / 2 * repeated(scale, 16) * times


def q1_0(blocks):
    codes = in_order(unpack(vectors(groups(blocks, 32, 64, 4), 0, 1), 1))
    return halves(blocks, 0)[..., None] * (2 * codes - 1).astype(np.float32)


def ternary(at, count, scale_at):
    def read(blocks):
        codes = in_order(unpack(vectors(groups(blocks, at, 128, count), 0, 2), 2))
        return halves(blocks, scale_at)[..., None] * (codes - 1).astype(np.float32)
    return read


def tq1_0(blocks):
    """Thirteen vectors of five codes a byte, in thirds; the 65th code of each four rows' columns is none's."""
    y = vectors(blocks, 0, 13)[..., :, None, :, :].astype(np.int32) * np.array([1, 3, 9, 27, 81])[:, None, None]
    codes = -(-3 * (y & 255) // 256)  # [..., vector, code, row, column of four]
    codes = codes.reshape(codes.shape[:-4] + (65, ROWS, 4))[..., :64, :, :]
    codes = np.moveaxis(codes, -2, -3).reshape(codes.shape[:-3] + (ROWS, 256))
    return halves(blocks, 832)[..., None] * (codes - 2).astype(np.float32)


def levels(width, times, positive):
    """The code books' types: scales of 16 columns in nibbles, codes whose upper half is negative."""
    table = np.concatenate([positive, [-level for level in positive]]).astype(np.float32)

    def read(blocks):
        scale = np.swapaxes(2 * unpack(vectors(blocks, 0, 2), 4) + 1, -1, -2).astype(np.float32)
        size = 256 if width == 4 else 192
        parts = groups(blocks, 128, size, 8)
        codes = (unpack(vectors(parts, 0, 4), 4) if width == 4 else
                 unpack(vectors(parts, 64, 2), 2) | unpack(vectors(parts, 0, 1), 1) << 2)
        d = halves(blocks, 128 + 8 * size) * np.float32(times)
        return repeated(d[..., None, :] * scale, 16) * table[in_order(codes)]
    return read


def read_bf16(data, cols):
    bits = np.frombuffer(data, "<u2").astype(np.uint32) << 16
    return read_plain(bits.tobytes(), cols, "<f4")


READERS = {"f32": lambda data, cols: read_plain(data, cols, "<f4"),
           "f16": lambda data, cols: read_plain(data, cols, "<f2"), "bf16": read_bf16,
           "q8": read_q8, "q4": read_q4,
           "q4_0": kept(32, 18, q4_0), "q5_0": kept(32, 22, q5_0), "q5_1": kept(32, 24, q5_1),
           "q2_k": kept(256, 84, q2_k), "q3_k": kept(256, 110, q3_k),
           "q4_k": kept(256, 144, with_minima(lambda g: unpack(vectors(g, 0, 4), 4), 256)),
           "q5_k": kept(256, 176, with_minima(five_bits, 320)), "q6_k": kept(256, 210, q6_k),
           "iq4_nl": kept(32, 18, iq4_nl), "iq4_xs": kept(256, 136, iq4_xs), "mxfp4": kept(32, 17, mxfp4),
           "nvfp4": kept(64, 36, nvfp4), "q1_0": kept(128, 18, q1_0), "q2_0": kept(64, 18, ternary(32, 2, 0)),
           "tq1_0": kept(256, 54, tq1_0), "tq2_0": kept(256, 66, ternary(0, 8, 1024)),
           "iq1": kept(256, 106, levels(3, 1 / 8, [1, 7, 9, 0])),
           "iq2": kept(256, 106, levels(3, 1 / 8, [8, 25, 43, 0])),
           "iq3_xxs": kept(256, 138, levels(4, 1 / 4, [4, 12, 20, 28, 36, 44, 52, 62])),
           "iq3_s": kept(256, 138, levels(4, 1, range(1, 16, 2)))}


def read_model(path):
    """(weights, types): name -> float32 array, name -> stored type."""
    weights, types = {}, {}
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        for id, name, type, rows, cols in db.execute(
                "SELECT id, name, type, rows, cols FROM llm_param ORDER BY id"):
            tiles = db.execute("SELECT data FROM llm_tile WHERE param = ? ORDER BY first_row", (id,))
            data = b"".join(tile for tile, in tiles)
            types[name] = type
            weights[name] = (read_vector(data, cols) if rows is None
                             else READERS[type](data, cols)[:rows])
    return weights, types
