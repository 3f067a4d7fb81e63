#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What becomes of a tiny random model when its config.json says something else: of every family each key is
left out, made null, changed, and keys are added that others have; tensors are added that no flag asks for.

    check_configs.py [--bin build/bin] [--only KEY] [--all] [FAMILY | FAMILY:VARIANT …]

For each edit the folder is loaded by transformers, and imported and run by llmsql. Either the logits agree, or
llmsql refuses the folder in one line. What it takes although transformers does not (or only with tensors that
it makes up) is told too. Exit status 1 if any logits differ. --all tells of refusals as well.

Needs the PyPI packages numpy, torch, transformers and tokenizers.
"""

import argparse
import copy
import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import torch
import transformers

from check_family import make_folder, reference
from family_configs import FAMILIES, config
from family_folder import weights, write_folder
from sources import ROOT

LENGTH = 40
# Families of which check_family.py knows nothing, as tiny_models.py has them.
OTHERS = {
    "mistral": config(head_dim=20, sliding_window=16),
    "qwen2": config(),
    "qwen3": config(head_dim=24),
    "qwen3_moe": config(head_dim=24, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=40),
    "gemma3_text": config(head_dim=24, sliding_window=16, query_pre_attn_scalar=24, num_hidden_layers=7,
                          tie_word_embeddings=True),
    "olmoe": config(num_experts=6, num_experts_per_tok=2),
}
# Of training and of how models are run, and what no folder is without.
IDLE = {"architectures", "model_type", "transformers_version", "dtype", "torch_dtype", "use_cache",
        "initializer_range", "attention_dropout", "bos_token_id", "eos_token_id", "pad_token_id",
        "output_router_logits", "router_aux_loss_coef", "resid_pdrop", "embd_pdrop", "attn_pdrop",
        "summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels",
        "summary_first_dropout", "hidden_dropout", "residual_dropout", "embedding_dropout", "pretraining_tp"}
ACTIVATIONS = ["silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu", "relu2", "quick_gelu", "sigmoid"]
FOREIGN = [
    {"attention_bias": True}, {"mlp_bias": True}, {"use_bias": True}, {"partial_rotary_factor": 0.5},
    {"rotary_pct": 0.5}, {"sliding_window": 8}, {"sliding_window": 8, "use_sliding_window": True},
    {"final_logit_softcapping": 2.0}, {"attn_logit_softcapping": 1.0}, {"logit_scale": 0.5},
    {"attention_multiplier": 0.7}, {"embedding_multiplier": 3.0}, {"residual_multiplier": 0.5},
    {"logits_scaling": 3.0}, {"head_dim": 40}, {"num_experts": 3}, {"num_local_experts": 3},
    {"num_experts_per_tok": 1}, {"norm_topk_prob": True}, {"norm_topk_prob": False}, {"clip_qkv": 0.5},
    {"rms_norm_eps": 0.3}, {"layer_norm_eps": 0.3}, {"layer_norm_epsilon": 0.3}, {"norm_eps": 0.3},
    {"query_pre_attn_scalar": 7}, {"use_qk_norm": True}, {"qk_layernorm": True}, {"no_rope_layers": [0, 0, 0, 0]},
    {"no_rope_layer_interval": 2}, {"use_parallel_residual": True}, {"sliding_window_pattern": 2},
    {"rope_interleaved": True}, {"scale_embedding": True}, {"original_max_position_embeddings": 16},
    {"use_bidirectional_attention": True}, {"intermediate_size_mlp": 40}, {"attention_chunk_size": 8},
    {"mlp_only_layers": [1]}, {"decoder_sparse_step": 2}, {"full_attention_interval": 2},
    {"rope_local_base_freq": 77.0}, {"rope_theta": 77.0}, {"mamba_d_conv": 3}, {"block_ff_dim": 60},
    {"tie_embedding": True}, {"hidden_act": "gelu"}, {"hidden_activation": "gelu"}, {"model_type": "llama"},
    {"per_layer_config": {"0": {"rms_norm_eps": 0.3}}}, {"rope_parameters": {}}, {"rope_scaling": None},
    {"auto_map": {}}, {"a_new_key": 7},
]
STRETCHED = [
    {"rope_type": "linear", "factor": 3.0}, {"type": "linear", "factor": 3.0},
    {"rope_type": "dynamic", "factor": 3.0},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
    {"rope_type": "yarn", "factor": 4.0},
    {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "mscale": 1.0, "mscale_all_dim": 0.5},
    {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
     "original_max_position_embeddings": 32},
    {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    {"rope_type": "default"}, {"factor": 3.0}, {"rope_type": "default", "factor": 3.0}, {"rope_theta": 500.0},
    {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5},
    {"rope_type": "proportional"}, {"full_attention": {"rope_type": "default", "rope_theta": 300.0}},
    {"full_attention": {"rope_type": "linear", "rope_theta": 300.0, "factor": 2.0},
     "sliding_attention": {"rope_type": "default", "rope_theta": 900.0}},
]


def changes_of(value, key=""):
    """Other values of the kind."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float)):
        other = [value + 1, value * 2, 0, -1] if isinstance(value, int) else [value * 2 + 0.25, value / 2, 0.0]
        return [each for each in other if each != value]
    if isinstance(value, str) and (value in ACTIVATIONS or key.endswith("_act")):
        return [each for each in ACTIVATIONS if each != value]
    if isinstance(value, str):
        return ["other"]
    if isinstance(value, list) and value:
        made = [list(reversed(value)), value[:-1], value + value[-1:]]
        kinds = sorted(set(map(str, value)))
        if len(kinds) > 1:
            made += [[each] * len(value) for each in kinds]
        if isinstance(value[0], (int, float)):
            made += [[each * 2 if isinstance(each, (int, float)) else each for each in value], []]
        return [each for each in made if each != value]
    return []


def edits_of(original):
    """(what, config.json) of every edit."""
    for key, value in original.items():
        if key in IDLE:
            continue
        without = {name: each for name, each in original.items() if name != key}
        yield f"without {key}", without
        yield f"{key} = null", original | {key: None}
        for other in changes_of(value, key):
            yield f"{key} = {json.dumps(other)}", original | {key: other}
        if not isinstance(value, dict):
            continue
        for name, inner in value.items():
            yield f"without {key}.{name}", original | {key: {n: v for n, v in value.items() if n != name}}
            for other in changes_of(inner):
                yield f"{key}.{name} = {json.dumps(other)}", original | {key: value | {name: other}}
            if isinstance(inner, dict):
                for last, most in inner.items():
                    rest = {n: v for n, v in inner.items() if n != last}
                    yield f"without {key}.{name}.{last}", original | {key: value | {name: rest}}
                    for other in changes_of(most):
                        yield (f"{key}.{name}.{last} = {json.dumps(other)}",
                               original | {key: value | {name: inner | {last: other}}})
    for added in FOREIGN:
        if all(original.get(key, ...) != value for key, value in added.items()):
            yield f"with {json.dumps(added)}", original | added
    old = {key: value for key, value in original.items() if key != "rope_parameters"}
    for rope in STRETCHED:
        yield f"rope_parameters = {json.dumps(rope)}", original | {"rope_parameters": rope}
        yield f"rope_scaling = {json.dumps(rope)}", old | {"rope_scaling": rope}
        yield f"rope_theta and rope_scaling = {json.dumps(rope)}", old | {"rope_theta": 700.0, "rope_scaling": rope}
        yield f"both, rope_scaling = {json.dumps(rope)}", original | {"rope_scaling": rope}
    yield "rope_theta alone", old | {"rope_theta": 700.0}


def tensor_edits_of(recorded):
    """(what, config.json, tensors): tensors that a flag rules out, and a head of its own."""
    shapes = {name: shape for name, shape, _ in recorded["tensors"]}
    original = recorded["config"]
    flags = [key for key, value in original.items() if isinstance(value, bool) and "bias" in key]
    configs = [("", original)] + [(f" and {flag} = {json.dumps(not original[flag])}",
                                   original | {flag: not original[flag]}) for flag in flags]
    for suffix, changed in configs:
        added = [[f"{name[:-7]}.bias", [shape[0]], 0] for name, shape in shapes.items()
                 if name.endswith(".weight") and len(shape) > 1 and f"{name[:-7]}.bias" not in shapes]
        for one in sorted({each[0].split(".")[-2] for each in added}):
            own = [each for each in added if each[0].split(".")[-2] == one]
            yield f"with biases of {one}{suffix}", changed, recorded["tensors"] + own
    vocabulary, width = original["vocab_size"], original.get("hidden_size") or original["n_embd"]
    if "lm_head.weight" in shapes:
        yield "tied, with a head", original | {"tie_word_embeddings": True}, recorded["tensors"]
    else:
        yield "tied, with a head", original, recorded["tensors"] + [["lm_head.weight", [vocabulary, width], 0]]


def theirs(folder, ids):
    """Logits, or nothing, and why. Of biases that a file lacks transformers makes zeros."""
    try:
        model, loading = transformers.AutoModelForCausalLM.from_pretrained(
            folder, attn_implementation="eager", dtype=torch.float32, output_loading_info=True)
        missing = [name for name in loading["missing_keys"] if not name.endswith(".bias")]
        if missing or loading["mismatched_keys"]:
            return None, f"makes up {', '.join(map(str, missing[:2]))}"
        with torch.no_grad():
            logits = model.eval()(torch.tensor([ids]), use_cache=False).logits[0].float().numpy()
        return (logits, "") if np.isfinite(logits).all() else (None, "not finite")
    except Exception as error:  # whatever it is, it is no answer
        return None, f"{type(error).__name__}: {str(error).strip()[:100]}"


def ours(programs, folder, work, ids):
    database, model, plan, logits = (work / f"m.{end}" for end in ("db", "toml", "sql", "npy"))
    for command in (("llmsql-import", folder, "--graph-dir", ROOT / "graphs", "--weights", "f32", "-o", database,
                     "--write-model", model),
                    ("llmsqlc", model, "-o", plan, "--context", LENGTH, "--graph-dir", ROOT / "graphs"),
                    ("llmsql-run", plan, database, "--tokens", ",".join(map(str, ids)), "--logits", logits)):
        made = subprocess.run([str(programs / command[0]), *map(str, command[1:])], capture_output=True, text=True)
        if made.returncode:
            said = [line for line in made.stderr.strip().split("\n") if ": note: " not in line]
            return None, f"{command[0]}: " + "\n".join(said)
    return np.load(logits), ""


def agree(got, expected):
    """Keys and values that are kept as f16 make other experts the best ones at times: then those of `reference`
    are to be compared."""
    return expected is not None and got.shape == expected.shape and \
        abs(got - expected).max() / expected.std() < 0.02


def check(name, kind, variant, options, work):
    folder = work / "hf"
    recorded = make_folder(kind, copy.deepcopy(variant["config"]), folder, variant.get("around", {}))
    ids = recorded["ids"][:LENGTH]
    edits = [("as it is", recorded["config"], recorded["tensors"])]
    edits += [(what, changed, recorded["tensors"]) for what, changed in edits_of(recorded["config"])]
    edits += list(tensor_edits_of(recorded))
    counts, wrong = {}, 0
    for what, changed, tensors in edits:
        if options.only and options.only not in what:
            continue
        write_folder({"config": changed, "tensors": tensors}, folder)
        got, said = ours(options.bin, folder, work, ids)
        expected, why = theirs(folder, ids) if got is not None or options.all else (None, "")
        verdict = "same"
        if got is not None and expected is None:
            verdict = "taken"
        elif got is None:
            verdict = "refused"
            if not said.startswith("llmsql-import") or "\n" in said:
                verdict = "LATE"
        elif not agree(got, expected) and not agree(got, reference(folder, ids, True)):
            verdict, wrong = "WRONG", wrong + 1
            said = f"off by {abs(got - expected).max() / expected.std():.2g}"
        counts[verdict] = counts.get(verdict, 0) + 1
        if verdict in ("WRONG", "LATE", "taken") or (options.all and verdict == "refused" and expected is not None):
            print(f"{name}: {verdict}: {what}: {said or why}", flush=True)
    print(f"{name}: {', '.join(f'{count} {each}' for each, count in sorted(counts.items()))}", flush=True)
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("families", nargs="*")
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/bin")
    parser.add_argument("--only")
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    families = {name: {"variants": {"plain": each}} for name, each in OTHERS.items()} | FAMILIES
    wrong = 0
    for family in options.families or list(families):
        name, _, one = family.partition(":")
        variants = families[name]["variants"]
        for variant in [one] if one else list(variants)[:1]:
            with tempfile.TemporaryDirectory() as temporary:
                wrong += check(f"{name}:{variant}", families[name].get("type", name), variants[variant], options,
                               pathlib.Path(temporary))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
