# SPDX-License-Identifier: MIT
"""The tiny models of family_configs.py as Hugging Face folders, written without transformers: their weights
are drawn from the tensors' names (tiny_models.values), so that check_family.py, which records their logits,
and tests/end_to_end/test_families.py have the same.

A recording is a JSON file: the configuration as transformers saves it, the tensors' names, shapes and what
their values are around (1 for most norms), of layers that are alike once, ids, and logits of some positions, as
f16 in base64.
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


def write_recording(path, recorded):
    alike = {}
    for name, shape, around in recorded["tensors"]:
        number = re.search(r"\.(\d+)\.", name)
        pattern = name[:number.start(1)] + "*" + name[number.end(1):] if number else name
        alike.setdefault((pattern, tuple(shape), around), []).append(int(number[1]) if number else None)
    tensors = [[pattern, list(shape), around] + ([] if layers == [None] else [layers])
               for (pattern, shape, around), layers in alike.items()]
    path.write_text(json.dumps(recorded | {"tensors": tensors}, separators=(",", ":")) + "\n")


def read_recording(path):
    recorded = json.loads(path.read_text())
    tensors = []
    for name, shape, around, *layers in recorded["tensors"]:
        tensors += [[name.replace("*", str(layer), 1), shape, around] for layer in (layers[0] if layers else [""])]
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
    return base64.b64encode(logits[::EVERY].astype("<f2").tobytes()).decode()


def unpack(recorded):
    rows = np.frombuffer(base64.b64decode(recorded["logits"]), "<f2").astype(np.float32)
    return rows.reshape(-(-len(recorded["ids"]) // EVERY), -1)
