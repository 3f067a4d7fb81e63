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


READERS = {"f32": lambda data, cols: read_plain(data, cols, "<f4"),
           "f16": lambda data, cols: read_plain(data, cols, "<f2"), "q8": read_q8, "q4": read_q4}


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
