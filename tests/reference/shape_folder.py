# SPDX-License-Identifier: MIT
"""Writes a model of a true shape as transformers saves it, of random weights that never are in memory: transformers
makes the model without any and tells what it would save of which shape, and that is written piece by piece."""

import contextlib
import functools
import json
import zlib

import numpy as np
import torch
import transformers

from family_folder import FIXTURES
from hf_folder import encoded, safetensors_header, write_json
from shape_tokenizers import write_tokenizer

NOISE = np.random.default_rng(1).standard_normal(4194301, np.float32)  # a prime, so that no two rows are alike
TYPES = {torch.bfloat16: ("BF16", 2), torch.float32: ("F32", 4)}
FP8 = dict(quant_method="fp8", fmt="e4m3", activation_scheme="dynamic", weight_block_size=[128, 128])
MXFP4 = dict(quant_method="mxfp4", modules_to_not_convert=["model.layers.*.self_attn", "model.layers.*.mlp.router",
                                                           "model.embed_tokens", "lm_head"])


def repeated(table):
    """Writes `size` bytes of `table`, over and over, from a place that goes by the tensor's name."""
    def write(file, name, size, item):
        at = zlib.crc32(name.encode()) % (len(table) // item) * item
        while size > 0:
            size -= file.write(table[at:at + size])
            at = 0
    return write


@functools.cache
def noise(type, spread):
    """One table for all tensors: a folder has thousands."""
    if type == "F8_E4M3":
        return torch.from_numpy(NOISE).to(torch.float8_e4m3fn).view(torch.uint8).numpy().tobytes()
    return encoded(NOISE * spread, type)


def plain(name, shape, type, zero):
    """What is written of a tensor of numbers."""
    if name.endswith("A_log"):
        return repeated(encoded(np.log(np.linspace(1, 16, shape[0])), type))
    if len(shape) == 1 and not name.endswith("bias"):  # norms, shares, D
        return repeated(encoded(np.full(shape, 0 if zero and "linear_attn" not in name else 1), type))
    return repeated(noise(type, 0.3 if len(shape) == 3 and shape[1] == 1 else 0.02))  # a convolution's


def as_fp8(name, shape):
    """Blocks of 128 by 128 have a scale."""
    blocks = [-(-size // 128) for size in shape]
    return {name: ("F8_E4M3", shape, 1, repeated(noise("F8_E4M3", 1))),
            name + "_scale_inv": ("F32", blocks, 4, repeated(encoded(np.full(blocks, 2.0 ** -6), "F32")))}


def as_mxfp4(name, shape):
    """32 inputs have a scale; the rows are outputs, other than where a folder has numbers."""
    experts, inputs, outputs = shape
    random = np.random.default_rng(2)
    return {name + "_blocks": ("U8", [experts, outputs, inputs // 32, 16], 1, repeated(random.bytes(len(NOISE)))),
            name + "_scales": ("U8", [experts, outputs, inputs // 32], 1,
                               repeated(random.integers(119, 122, len(NOISE), np.uint8).tobytes()))}


def stored(name, tensor, shape):
    """{name: (type, shape, bytes an element, what writes it)} of a tensor that transformers saves."""
    size = list(tensor.shape)
    if shape.get("weights") == "FP8" and name.endswith("_proj.weight"):
        return as_fp8(name, size)
    if shape.get("weights") == "MXFP4" and name.endswith(("experts.gate_up_proj", "experts.down_proj")):
        return as_mxfp4(name, size)
    type, item = TYPES[tensor.dtype]
    return {name: (type, size, item, plain(name, size, type, shape.get("zero", False)))}


@contextlib.contextmanager
def writing(shape):
    """Within it transformers saves tensors that have no values."""
    def save(tensors, path, metadata=None):
        entries = {}
        for name, tensor in tensors.items():
            entries |= stored(name, tensor, shape)
        sizes = {name: (type, size, int(np.prod(size)) * item) for name, (type, size, item, _) in entries.items()}
        with open(path, "wb") as file:
            file.write(safetensors_header(sizes))
            for name, (_, _, item, write) in entries.items():
                write(file, name, sizes[name][2], item)

    saves = transformers.modeling_utils.safe_save_file
    transformers.modeling_utils.safe_save_file = save
    try:
        yield
    finally:
        transformers.modeling_utils.safe_save_file = saves


def template_of(shape, options):
    for folder in (options.converter / "models/templates", FIXTURES.parent / "chat-templates"):
        path = folder / f"{shape['template']}.jinja"
        if shape["template"] and path.exists():
            return path.read_text()
    return None


def make_folder(shape, options, folder):
    """Whether the tokenizer is a published one, whether there is a template, and how many weights there are."""
    config = transformers.AutoConfig.for_model(shape["kind"], **shape["config"])
    kind = transformers.AutoModelForImageTextToText if shape.get("whole") else transformers.AutoModelForCausalLM
    with torch.device("meta"):
        made = kind.from_config(config, dtype=torch.bfloat16)
    made.tie_weights()
    with writing(shape):
        made.save_pretrained(folder, max_shard_size="1000TB")
    saved = json.loads((folder / "config.json").read_text()) | shape.get("saved", {})
    if "weights" in shape:
        saved["quantization_config"] = {"FP8": FP8, "MXFP4": MXFP4}[shape["weights"]]
    template = template_of(shape, options)
    own, begins, ends = write_tokenizer(shape, template, options, folder)
    tokens = dict(bos_token_id=begins, eos_token_id=ends)
    if "text_config" in saved:
        saved["text_config"] |= tokens
    write_json(folder / "config.json", saved | tokens)
    write_json(folder / "generation_config.json", tokens)
    return own, template is not None, sum(each.numel() for each in made.parameters())
