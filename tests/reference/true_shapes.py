#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A real model or two of each family, in its true shape (shapes.py): as wide and with as many heads and experts, of
random weights and as few layers as have each kind once. What transformers saves, and what llama.cpp's converter makes
of that, is imported, compiled within a budget, and goes on with a text and answers a message.

    true_shapes.py --converter LLAMA_CPP [--bin build/bin] [--work FOLDER] [--packages FOLDER] [NAME …]

Prints a row for each model: what its tokenizer and chat template are, what was imported, the smallest budget, what a
run took of it and whether both sources give the same text. Exit status 1 if anything is refused, or takes more than its
budget.
A model takes up to 20 GB of disk while it is looked at, and 8 GB of memory, which the converter wants.

The folder of --packages has PyPI and npm packages with tokenizers, unpacked (shape_tokenizers.py). Needs the PyPI
packages numpy, torch, transformers, tokenizers, gguf and sentencepiece; where a tekken.json is taken mistral-common too.
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

from shape_folder import make_folder
from shapes import SHAPES
from sources import ROOT, convert, imported, is_well, parser, run


def smallest_budget(options, context, model, plan):
    budget = "1MiB"
    while True:
        compiled = subprocess.run([options.bin / "llmsqlc", model, "-o", plan, "--context", context, "--graph-dir",
                                   ROOT / "graphs", "--budget", budget], capture_output=True, text=True)
        if compiled.returncode == 0:
            return budget
        named = re.search(r'give --budget "([\d.]+ MiB)"', compiled.stderr)
        if not named or named[1] == budget:
            raise RuntimeError(f"llmsqlc: {compiled.stderr.strip()[-600:]}")
        budget = named[1]


def look_at(source, shape, options, work, speaks):
    """Imports it, finds the smallest budget and runs within it; what came of it."""
    began = time.monotonic()
    database, model = imported(options.bin, source, work, "model", "auto" if shape.get("weights") == "MXFP4" else "q8")
    seconds = time.monotonic() - began
    plan = work / "model.sql"
    budget = smallest_budget(options, shape.get("context", "256"), model, plan)
    texts = []
    for extra in ([], ["--chat"]) if speaks else ([],):
        done = run(options.bin / "llmsql-run", plan, database, *extra, "-p", "The old river ran past", "-n", 12,
                   "--temp", 0, "--ignore-eos")
        peak = float(re.search(r"peak RSS ([\d.]+) MiB", done.stderr)[1])
        if peak > float(budget.split()[0]):
            raise RuntimeError(f"a run took {peak} MiB of a budget of {budget}")
        texts.append(done.stdout)
    size = database.stat().st_size / 1e9
    database.unlink()
    return dict(seconds=seconds, size=size, budget=budget, peak=peak, texts=texts)


def check(name, shape, options, work):
    folder, gguf = work / "hf", work / "model.gguf"
    own, speaks, parameters = make_folder(shape, options, folder)
    tokenizer = shape.get("called", "its own") if own else "bytes"
    template = shape.get("spoken", "its own") if speaks else "none"
    layers = "; ".join([shape["layers"], *([shape["less"]] if "less" in shape else [])])
    row = f"{name} | {shape['of']} | {layers} | {parameters / 1e9:.2f} | {tokenizer} | {template}"
    problems = []
    from_folder = look_at(folder, shape, options, work, speaks)
    row += f" | {from_folder['seconds']:.0f} s | {from_folder['size']:.2f} GB | {from_folder['budget']}" \
           f" | {from_folder['peak']} MiB"
    try:
        convert(options.converter, folder, gguf, "--outtype", "bf16", *shape.get("convert", []), of_bytes=not own)
        shutil.rmtree(folder)
        from_gguf = look_at(gguf, shape, options, work, speaks)
        same = from_gguf["texts"] == from_folder["texts"]
        row += f" | {from_gguf['budget']} | {'the same' if same else 'another'} text"
        if not same and "apart" in shape:
            row += f": {shape['apart']}"
        elif not same:
            problems.append(f"the folder's texts are {from_folder['texts']}, the GGUF's {from_gguf['texts']}")
    except RuntimeError as error:
        row += " | refused |"
        problems.append(str(error))
    return row, problems


def main():
    arguments = parser(__doc__, "NAME")
    arguments.add_argument("--work", type=pathlib.Path, help="where the models are made, and deleted")
    arguments.add_argument("--packages", type=pathlib.Path, help="unpacked packages that have tokenizers")
    options = arguments.parse_args()
    if not options.converter:
        arguments.error("--converter is needed")
    well = True
    print("name | model | layers | 10⁹ weights | tokenizer | template | import | database | smallest budget | peak"
          " | GGUF's | texts")
    for name in options.names or SHAPES:
        with tempfile.TemporaryDirectory(dir=options.work) as temporary:
            well &= is_well(name, lambda: check(name, SHAPES[name], options, pathlib.Path(temporary)))
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
