#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Records the logits of the tiny models by numpy_model.py: tests/fixtures/tiny-*.npz, each with

    config           numpy_model.Config as JSON
    tokens           int32[100]: the prompt
    rows             int32[8]: the positions whose logits are recorded
    logits           f32[8, n_vocab]: everything in float64
    logits_kv_f16    f32[8, n_vocab]: the same with keys and values kept as float16

Needs the PyPI packages gguf and numpy.
"""

import dataclasses
import json

import numpy as np

from make_tiny import FIXTURES
from numpy_model import forward, load_gguf

TOKENS = 100
# The first, one before and at each border of a 32-position cache block and of a 64-token chunk, one
# where the window of 24 begins to cut, the last two.
ROWS = [0, 24, 31, 32, 63, 64, 98, 99]


def main():
    for path in sorted(FIXTURES.glob("tiny-*.gguf")):
        config, weights = load_gguf(path)
        vocabulary = len(weights["token_embd"])
        tokens = np.random.default_rng(100).integers(0, vocabulary, TOKENS, dtype=np.int32)
        exact = forward(config, weights, tokens, rows=ROWS)
        kv_f16 = forward(config, weights, tokens, rows=ROWS, kv_f16=True)
        np.savez_compressed(path.with_suffix(".npz"), tokens=tokens,
                            config=json.dumps(dataclasses.asdict(config)),
                            rows=np.array(ROWS, dtype=np.int32), logits=exact.astype(np.float32),
                            logits_kv_f16=kv_f16.astype(np.float32))
        print(f"{path.stem}: spread {exact.std():.2f}, largest {abs(exact).max():.2f}, "
              f"f16 keys and values change them by up to {abs(kv_f16 - exact).max():.1e}")


if __name__ == "__main__":
    main()
