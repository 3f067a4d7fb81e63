#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""As check_family.py, of families that transformers has no class of: what llmsql computes of a tiny random model, from
its Hugging Face folder and from the GGUF that llama.cpp's converter makes of that, beside what llama.cpp computes of the
GGUF with keys and values rounded to f16.

    check_llama_cpp.py [--bin build/bin] --converter LLAMA_CPP --logits PROGRAM [--record] [FAMILY …]

PROGRAM is tests/reference/llama_logits.cpp, built with llama.cpp (its first lines say how). A family's model is in
llama_cpp_configs.py: its configuration and its tensors' shapes, as its makers publish them.
"""

import pathlib
import sys
import tempfile

import numpy as np

from check_family import LENGTH, ids_of, ours
from family_folder import FIXTURES, pack, write_folder, write_recording
from llama_cpp_configs import MODELS
from sources import convert, is_well, parser, run


def check(name, model, options, work):
    config, shapes = model
    recorded = {"config": config, "ids": ids_of(config["vocab_size"], LENGTH),
                "tensors": sorted([each, list(shape), 1 if "norm" in each and each.endswith(".weight") else 0]
                                  for each, shape in shapes.items())}
    folder = write_folder(recorded, work / "hf")
    gguf = work / "model.gguf"
    convert(options.converter, folder, gguf, "--outtype", "f32")
    run(options.logits, gguf, work / "theirs.f32", *recorded["ids"])
    theirs = np.fromfile(work / "theirs.f32", np.float32).reshape(LENGTH, -1)
    spread = theirs.std()
    words, problems = [], []
    from_folder = ours(options.bin, folder, work, "hf-model", recorded["ids"], (1, 7, 64))
    (from_gguf,) = ours(options.bin, gguf, work, "gguf-model", recorded["ids"], (64,))
    for what, logits in (("folder", from_folder[2]), ("GGUF", from_gguf)):
        apart = abs(logits - theirs).max() / spread
        alike = (logits.argmax(1) == theirs.argmax(1)).sum()
        words.append(f"{what} {apart:.1e} of the deviation, {alike} of {LENGTH} alike")
        if not apart < 0.01 or alike < LENGTH - 1:
            problems.append(f"{what}: a logit is off by {apart:.3g} of the deviation")
    if any(not np.array_equal(from_folder[0], each) for each in from_folder):
        problems.append("the logits depend on the chunk")
    if np.array_equal(from_gguf, from_folder[2]):
        words.append("GGUF equal to the folder")
    else:
        problems.append("the GGUF's logits are not the folder's")
    if options.record and not problems:
        write_recording(FIXTURES / f"{name}.json", recorded | {"logits": pack(theirs)})
    return f"{name}: {'; '.join(words)}", problems


def main():
    arguments = parser(__doc__, "FAMILY")
    arguments.add_argument("--logits", type=pathlib.Path, required=True, metavar="PROGRAM")
    arguments.add_argument("--record", action="store_true")
    options = arguments.parse_args()
    well = True
    for name, model in MODELS.items():
        if options.names and name.split("-")[0] not in options.names and name not in options.names:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            well &= is_well(f"{name}: ", lambda: check(name, model, options, pathlib.Path(temporary)))
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
