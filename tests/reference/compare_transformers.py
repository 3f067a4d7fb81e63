#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What transformers computes of a Hugging Face folder, beside what llmsql does.

    compare_transformers.py FOLDER IDS [--logits logits.npy] [--trace other.db]

IDS as llmsql-run's --tokens takes them. --logits: what `llmsql-run --tokens IDS --logits` wrote: the
largest differences from it, and their share of the logits' standard deviation, are printed, once as
transformers computes (in float64) and once with keys and values rounded to f16, as llmsql keeps them.
--trace: writes what `llmsql-run --trace compare:FILE` takes: the residual stream between layers, and the
values of attention (but of the last layer) in front of its output matrix, under the names that they have
where a layer's body writes `x` twice. Of a layer that has no such matrix it is the residual stream alone.

Needs the PyPI packages numpy, torch and transformers.
"""

import argparse
import pathlib
import sqlite3

import numpy as np
import torch
import transformers
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS


def attention_of(model):
    """The function that the model's own file calls where no other is named."""
    return getattr(__import__(type(model).__module__, fromlist=["x"]), "eager_attention_forward")


def load(folder, attention="eager"):
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, attn_implementation=attention, dtype=torch.float64).eval()


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0].numpy()


def write_trace(path, model, ids):
    pathlib.Path(path).unlink(missing_ok=True)
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE trace_value(step TEXT, position INTEGER, data BLOB)")

    def look(step, values):
        db.executemany("INSERT INTO trace_value VALUES(?, ?, ?)", [
            (step, position, row.astype("<f4").tobytes())
            for position, row in enumerate(values.detach().numpy()[0])])

    def first(values):
        return values[0] if isinstance(values, tuple) else values

    body = model.base_model
    body.layers[0].register_forward_pre_hook(lambda module, given: look("x", given[0]))
    # Of the last layer a plan goes on with the rows whose logits are wanted, under other names.
    for number, layer in enumerate(body.layers[:-1]):
        attention = getattr(layer, "self_attn", None)
        output = getattr(attention, "o_proj", getattr(attention, "out_proj", None))
        if output is not None:
            output.register_forward_pre_hook(
                lambda module, given, number=number: look(f"layer.{number}.attention", given[0]))
        layer.register_forward_hook(
            lambda module, given, made, number=number: look(f"layer.{number}.x#2", first(made)))
    logits_of(model, ids)
    db.commit()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder")
    parser.add_argument("ids", type=lambda text: [int(each) for each in text.split(",")])
    parser.add_argument("--logits", type=pathlib.Path)
    parser.add_argument("--trace", type=pathlib.Path)
    options = parser.parse_args()

    model = load(options.folder)
    eager = attention_of(model)
    ALL_ATTENTION_FUNCTIONS.register("kv_f16", lambda module, query, key, value, *args, **named: eager(
        module, query, key.half().double(), value.half().double(), *args, **named))
    ALL_MASK_ATTENTION_FUNCTIONS.register("kv_f16", ALL_MASK_ATTENTION_FUNCTIONS["eager"])
    rounded = load(options.folder, "kv_f16")
    exact, f16 = logits_of(model, options.ids), logits_of(rounded, options.ids)
    print(f"logits: spread {exact.std():.3g}; f16 keys and values move them by up to "
          f"{abs(f16 - exact).max():.1e}")
    if options.logits:
        ours = np.load(options.logits)
        for what, theirs in (("as transformers computes", exact), ("with f16 keys and values", f16)):
            apart = abs(ours - theirs).max(axis=1)
            first = next((i for i, x in enumerate(apart) if x > 1e-3), None)
            print(f"{what + ':':26} llmsql differs by up to {apart.max():.1e}, {apart.max() / exact.std():.2%} of "
                  f"the spread, first by more than 1e-3 at position {first}; "
                  f"{(ours.argmax(1) == theirs.argmax(1)).sum()} of {len(ours)} likeliest tokens alike")
    if options.trace:
        write_trace(options.trace, rounded, options.ids)


if __name__ == "__main__":
    main()
