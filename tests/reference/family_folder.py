# SPDX-License-Identifier: MIT
"""The tiny models of family_configs.py as Hugging Face folders, written without transformers: their weights
are drawn from the tensors' names (tiny_models.values), so that check_family.py, which records their logits,
and tests/end_to_end/test_families.py have the same.

A recording is a JSON file: the configuration as transformers saves it, the tensors' names, shapes and what
their values are around (1 for most norms), of layers and of experts that are alike once, ids where they are others than
those in ids.json, and logits of some positions, as f16 in base85.
"""

import base64
import json
import pathlib
import re
import shutil

import numpy as np

from hf_folder import write_json, write_safetensors
from tiny_models import values

FIXTURES = pathlib.Path(__file__).resolve().parents[1] / "fixtures" / "families"
EVERY = 24  # positions of which logits are recorded


def weights(name, shape, around):
    """Norms that do nothing and matrices near zero would hide mistakes."""
    numbers = values(name, int(np.prod(shape))).reshape(shape)
    if name.endswith("act_fn.eps"):  # what xIELU has in every model
        return np.full(shape, -1e-6, np.float32)
    if len(shape) < 2 or around:
        return (around + 0.3 * numbers).astype(np.float32)
    return (numbers * 1.3 / shape[-1] ** 0.5).astype(np.float32)


def grouped(names, numbered):
    """{(name with a star for the number that `numbered` finds, of what besides): numbers} of (name, of what) pairs."""
    alike = {}
    for name, kind in names:
        number = re.search(numbered, name)
        pattern = name[:number.start(1)] + "*" + name[number.end(1):] if number else name
        alike.setdefault((pattern, kind), []).append(int(number[1]) if number else None)
    return alike


def write_recording(path, recorded):
    """Of a tensor of a layer, and in it of an expert, the name has stars, and behind it are the numbers of either, or how
    many there are from 0 on."""
    def brief(numbers):
        return len(numbers) if list(numbers) == list(range(len(numbers))) else list(numbers)
    layers = grouped(((name, (tuple(shape), around)) for name, shape, around in recorded["tensors"]), r"\.(\d+)\.")
    experts = grouped(((name, (*kind, tuple(numbers))) for (name, kind), numbers in layers.items()), r"experts\.(\d+)\.")
    tensors = [[name, list(shape), around, *([] if numbers == (None,) else [brief(numbers)]),
                *([] if which == [None] else [brief(which)])]
               for (name, (shape, around, numbers)), which in experts.items()]
    recorded = recorded | {"tensors": tensors}
    if recorded["ids"] == usual_ids():
        del recorded["ids"]
    path.write_text(json.dumps(recorded, separators=(",", ":")) + "\n")


def usual_ids():
    return json.loads((FIXTURES / "ids.json").read_text())


def read_recording(path):
    recorded = {"ids": usual_ids()} | json.loads(path.read_text())
    tensors = []
    for name, shape, around, *numbers in recorded["tensors"]:
        names = [name]
        for each in numbers:
            each = range(each) if isinstance(each, int) else each
            names = [one.replace("*", str(number), 1) for one in names for number in each]
        tensors += [[each, shape, around] for each in names]
    return recorded | {"tensors": sorted(tensors)}


def write_folder(recorded, folder):
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", recorded["config"])
    for each in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(FIXTURES / each, folder / each)
    tensors = {name: (tuple(shape), around) for name, shape, around in recorded["tensors"]}
    write_safetensors(folder / "model.safetensors", {name: list(shape) for name, (shape, _) in tensors.items()},
                      lambda name: weights(name, *tensors[name]), "F32")
    return folder


def pack(logits):
    return base64.b85encode(logits[::EVERY].astype("<f2").tobytes()).decode()


def unpack(recorded):
    rows = np.frombuffer(base64.b85decode(recorded["logits"]), "<f2").astype(np.float32)
    return rows.reshape(-(-len(recorded["ids"]) // EVERY), -1)
