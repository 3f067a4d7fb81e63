#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Tiny random models of whole families: what llmsql computes, from the Hugging Face folder and from the
GGUF that llama.cpp's converter makes of it, beside what transformers computes.

    check_family.py [--bin build/bin] [--converter LLAMA_CPP] [--keep FOLDER] [--record] [FAMILY | FAMILY:VARIANT …]

For each variant of each family (all, if none is named): the largest difference of a logit as a share of
the logits' standard deviation, which must be under 1 % of what transformers computes with keys and values
rounded to f16, as llmsql keeps them, and how many likeliest tokens are the same, in
passes of 1, 7 and 64 tokens, which must agree to the last bit; and whether the GGUF gives the folder's
logits to the last bit (where the converter only copies and reorders rows) or to 1e-4 of their deviation.
Exit status 1 if anything is not so. --record writes what was found right to tests/fixtures/families, where
tests/end_to_end/test_families.py, which needs numpy alone, finds it.

Needs the PyPI packages numpy, torch, transformers and tokenizers; for --converter gguf as well.
"""

import copy
import json
import pathlib
import shutil
import sys
import tempfile

import numpy as np
import torch
import transformers
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from safetensors import safe_open
from safetensors.torch import save_file

from family_configs import FAMILIES
from family_folder import FIXTURES, pack, write_folder, write_recording
from sources import ROOT, convert, imported, is_well, parser, run

LENGTH = 96
CONTEXT = LENGTH  # positions that go by it are as transformers has them for a text of this length


def ids_of(vocabulary, count=LENGTH):
    generator = torch.Generator().manual_seed(7)
    return torch.randint(0, vocabulary, (count,), generator=generator).tolist()


def class_of(config):
    """Of some classes AutoModelForCausalLM knows only the whole with an encoder."""
    if type(config) in transformers.AutoModelForCausalLM._model_mapping:
        return transformers.AutoModelForCausalLM
    return getattr(transformers, type(config).__name__.replace("Config", "ForCausalLM"))


def make_folder(kind, config, folder, around, published=None):
    """A random model whose every part matters, in float32: what is to be recorded of it. What published configurations
    say otherwise than transformers saves it is in `published`."""
    torch.manual_seed(1)
    made = transformers.AutoConfig.for_model(kind, **config)
    maker = class_of(made)
    model = (maker.from_config(made) if hasattr(maker, "from_config") else maker(made)).float().eval()
    means = {name: float(each.float().mean()) for name, each in model.state_dict().items()}
    model.save_pretrained(folder)
    with safe_open(folder / "model.safetensors", "pt") as file:
        shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}
    recorded = {
        "config": json.loads((folder / "config.json").read_text()),
        "tensors": [[name, shape, next((value for part, value in around.items() if part in name),
                                       1 if "norm" in name and means.get(name, 0) > 0.5 else 0)]
                    for name, shape in sorted(shapes.items())],
        "ids": ids_of(made.get_text_config().vocab_size),
    }
    recorded["config"] |= published or {}
    write_folder(recorded, folder)
    return recorded


def add_next_token_block(folder):
    """A block for guessing the token after the next, as Qwen's sources have it: no text depends on it."""
    with safe_open(folder / "model.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    last = max(name.split(".self_attn.")[0] for name in tensors if ".self_attn." in name)
    width = tensors["model.norm.weight"].shape[0]
    for name in list(tensors):
        if name.startswith(last + "."):
            tensors["mtp.layers.0" + name.removeprefix(last)] = torch.randn_like(tensors[name])
    tensors["mtp.fc.weight"] = torch.randn(width, 2 * width)
    for norm in ("pre_fc_norm_embedding", "pre_fc_norm_hidden", "norm"):
        tensors[f"mtp.{norm}.weight"] = torch.randn(width)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["mtp_num_hidden_layers"] = 1
    (folder / "config.json").write_text(json.dumps(config))


def eager_of(model):
    names = {type(module).__module__ for module in model.modules()}
    for name in sorted(names):
        eager = getattr(sys.modules.get(name), "eager_attention_forward", None)
        if eager:
            return eager
    return None


def reference(folder, ids, rounded):
    """Logits in float32; with `rounded`, keys and values are kept as f16, as llmsql keeps them."""
    reader = class_of(transformers.AutoConfig.from_pretrained(folder))
    model = reader.from_pretrained(
        folder, attn_implementation="eager", dtype=torch.float32).eval()
    latent = [module for module in model.modules() if hasattr(module, "expand_kv")]
    if rounded and latent:  # what is kept is what keys and values are made of
        for module in latent:
            def expand(kv, rotated, made=module.expand_kv):
                return made(kv.half().to(kv.dtype), rotated.half().to(rotated.dtype))
            module.expand_kv = expand
    elif rounded:
        eager = eager_of(model)
        if eager is None:
            return None
        module = sys.modules[eager.__module__]
        ALL_ATTENTION_FUNCTIONS.register("kv_f16", lambda m, q, k, v, *args, **named: eager(
            m, q, k.half().to(q.dtype), v.half().to(q.dtype), *args, **named))
        ALL_MASK_ATTENTION_FUNCTIONS.register("kv_f16", ALL_MASK_ATTENTION_FUNCTIONS["eager"])
        model = reader.from_pretrained(
            folder, attn_implementation="kv_f16", dtype=torch.float32).eval()
    with torch.no_grad():
        return model(torch.tensor([ids]), use_cache=False).logits[0].float().numpy()


def ours(programs, source, work, name, ids, chunks):
    database, model = imported(programs, source, work, name, "f32")
    plan = work / f"{name}.sql"
    run(programs / "llmsqlc", model, "-o", plan, "--context", CONTEXT, "--graph-dir", ROOT / "graphs")
    made = []
    for chunk in chunks:
        logits = work / f"{name}.npy"
        run(programs / "llmsql-run", plan, database, "--tokens", ",".join(map(str, ids)), "--logits", logits,
            "--batch-size", chunk)
        made.append(np.load(logits))
    return made


def check(family, name, kind, variant, options, work):
    config = variant["config"]
    folder = work / "hf"
    recorded = make_folder(kind, config, folder, variant.get("around", {}), variant.get("published"))
    ids = recorded["ids"]
    exact = reference(folder, ids, False)
    rounded = reference(folder, ids, True)
    spread = exact.std()
    problems, words = [], []

    def compare(what, logits):
        apart = abs(logits - exact).max() / spread
        own = exact if rounded is None else rounded
        apart_at = (logits.argmax(1) != own.argmax(1)).sum()
        words.append(f"{what} {apart:.1e} of the deviation")
        if rounded is not None:
            apart = abs(logits - rounded).max() / spread
            words[-1] += f", {apart:.1e} with f16 keys"
        words[-1] += f", {len(logits) - apart_at} of {len(logits)} alike"
        if not apart < 0.01:
            problems.append(f"{what}: a logit is off by {apart:.3g} of the deviation")
        if apart_at > 1:
            problems.append(f"{what}: {apart_at} likeliest tokens are others")

    from_folder = ours(options.bin, folder, work, "hf-model", ids, (1, 7, 64))
    compare("folder", from_folder[2])
    if any(not np.array_equal(from_folder[0], each) for each in from_folder):
        problems.append("the logits depend on the chunk")
    if options.converter and variant.get("gguf", True):
        gguf = work / "model.gguf"
        convert(options.converter, folder, gguf, "--outtype", "f32", *variant.get("convert", []))
        (logits,) = ours(options.bin, gguf, work, "gguf-model", ids, (64,))
        compare("GGUF", logits)
        if np.array_equal(logits, from_folder[2]):
            words.append("GGUF equal to the folder")
        else:
            apart = abs(logits - from_folder[2]).max() / spread
            words.append(f"GGUF {apart:.1e} from the folder")
            if not apart < variant.get("apart", 0):
                problems.append(f"the GGUF's logits are not the folder's: off by {apart:.3g} of the deviation")
        if variant.get("mtp"):
            add_next_token_block(folder)
            convert(options.converter, folder, gguf, "--outtype", "f32")
            for what, source in (("GGUF", gguf), ("folder", folder)):
                (with_block,) = ours(options.bin, source, work, "mtp-model", ids, (64,))
                words.append(f"{what} with a next-token block")
                if not np.array_equal(with_block, logits if what == "GGUF" else from_folder[2]):
                    problems.append(f"the logits of the {what} with a next-token block are others")
    if options.record and not problems:
        recorded["logits"] = pack(exact if rounded is None else rounded)
        write_recording(FIXTURES / f"{family}-{name}.json", recorded)
    return f"{family}:{name}: {'; '.join(words)}", problems


def main():
    arguments = parser(__doc__, "FAMILY")
    arguments.add_argument("--keep", type=pathlib.Path)
    arguments.add_argument("--record", action="store_true")
    options = arguments.parse_args()
    wanted = options.names or list(FAMILIES)
    well = True
    for family in wanted:
        name, _, one = family.partition(":")
        for variant_name, variant in FAMILIES[name]["variants"].items():
            if one and one != variant_name:
                continue
            with tempfile.TemporaryDirectory() as temporary:
                work = pathlib.Path(temporary)
                if options.keep:
                    work = options.keep / f"{name}-{variant_name}"
                    shutil.rmtree(work, ignore_errors=True)
                    work.mkdir(parents=True)
                well &= is_well(f"{name}:{variant_name}: ", lambda: check(
                    name, variant_name, FAMILIES[name].get("type", name), copy.deepcopy(variant), options, work))
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
