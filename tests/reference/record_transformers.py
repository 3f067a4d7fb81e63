#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Records the logits of tiny_models.py's models by transformers in float64:
tests/fixtures/architectures/NAME.npz, each with

    tokens           int32[100]: the prompt
    rows             int32[…]: the positions whose logits are recorded
    logits           f32[rows, n_vocab]
    logits_kv_f16    f32[rows, n_vocab]: the same with keys and values kept as float16

and of a mixture of experts

    greedy           int32[9]: a token that is one character, and the likeliest ones after it, each at
                     least 0.05 ahead of the next
    experts          int16[layers, 9, n_used]: which ones each of them used

and shows that each thing special to an architecture matters: how far the logits move without it.

Needs the PyPI packages numpy, torch and transformers (recorded with 2.15.0 and 5.23.0).
"""

import copy
import pathlib
import sys

import numpy as np
import torch
import transformers
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import eager_attention_forward

import tiny_models
from tiny_models import EPS, MODELS, weights_of

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "architectures"
TOKENS = 100
# The first; one before and at each border of a 32-position cache block and of a 64-token chunk; one
# where a window of 40 begins to cut; the last two.
ROWS = [0, 31, 32, 40, 63, 64, 98, 99]


def rounded(module, query, key, value, *args, **options):
    return eager_attention_forward(module, query, key.half().double(), value.half().double(), *args,
                                   **options)


ALL_ATTENTION_FUNCTIONS.register("kv_f16", rounded)
ALL_MASK_ATTENTION_FUNCTIONS.register("kv_f16", ALL_MASK_ATTENTION_FUNCTIONS["eager"])


def config_of(m, attention):
    kind = m["architecture"]
    common = dict(
        vocab_size=m["n_vocab"], hidden_size=m["d_model"], intermediate_size=m["d_ff"],
        num_hidden_layers=m["n_layer"], num_attention_heads=m["n_head"],
        num_key_value_heads=m["n_kv_head"], head_dim=m["d_head"], rms_norm_eps=EPS,
        max_position_embeddings=512, tie_word_embeddings=m["tied"], attn_implementation=attention,
        bos_token_id=None, eos_token_id=None, pad_token_id=None)
    rope = {"rope_type": "default", "rope_theta": m["rope_theta"]}
    if "rope_scaling" in m:
        rope |= {"rope_type": "llama3", **m["rope_scaling"]}
    if kind == "gemma3":
        kinds = ["full_attention" if i % 6 == 5 else "sliding_attention" for i in range(m["n_layer"])]
        local = {"rope_type": "default", "rope_theta": m["rope_theta_local"]}
        return transformers.Gemma3TextConfig(
            **common, sliding_window=m["window"], layer_types=kinds,
            query_pre_attn_scalar=m["query_scalar"], hidden_activation="gelu_pytorch_tanh",
            rope_parameters={"full_attention": rope, "sliding_attention": local})
    common["rope_parameters"] = rope
    if kind in ("qwen3moe", "olmoe"):
        common |= dict(num_experts=m["n_expert"], num_experts_per_tok=m["n_used"])
    if kind == "qwen3moe":
        return transformers.Qwen3MoeConfig(**common, moe_intermediate_size=m["d_ff"],
                                           norm_topk_prob=m.get("normalised", True),
                                           decoder_sparse_step=1, mlp_only_layers=[])
    if kind == "olmoe":
        common.pop("head_dim")
        return transformers.OlmoeConfig(**common, norm_topk_prob=m.get("normalised", False))
    if kind == "phi3":
        return transformers.Phi3Config(**common, sliding_window=m["window"])
    return {"llama": transformers.LlamaConfig, "qwen3": transformers.Qwen3Config,
            "olmo2": transformers.Olmo2Config}[kind](**common)


def state_of(name, m):
    """transformers keeps experts stacked, gate above up, and Gemma's norms less 1."""
    state, experts = {}, {}
    for key, w in weights_of(name).items():
        w = torch.tensor(w.astype(np.float64))
        if m["architecture"] == "gemma3" and "norm" in key:
            w = w - 1
        if ".experts." in key:
            layer, rest = key.split(".experts.")
            e, part = int(rest.split(".")[0]), rest.split(".")[1]
            experts.setdefault(layer, {}).setdefault(part, {})[e] = w
        else:
            state[key] = w
    for layer, parts in experts.items():
        stack = lambda part: torch.stack([parts[part][e] for e in sorted(parts[part])])
        state[f"{layer}.experts.gate_up_proj"] = torch.cat(
            [stack("gate_proj"), stack("up_proj")], dim=1)
        state[f"{layer}.experts.down_proj"] = stack("down_proj")
    return state


def model_of(name, m, attention="eager"):
    config = config_of(m, attention)
    model = transformers.AutoModelForCausalLM.from_config(
        config, attn_implementation=attention, experts_implementation="eager")
    model = model.double().eval()
    missing, unexpected = model.load_state_dict(state_of(name, m), strict=False)
    missing = set(missing) - ({"lm_head.weight"} if m["tied"] else set())
    assert not unexpected and not missing, (missing, unexpected)
    return model


def logits_of(name, m, tokens, attention="eager", model=None):
    model = model or model_of(name, m, attention)
    with torch.no_grad():
        return model(torch.tensor(np.asarray(tokens)[None].astype(np.int64))).logits[0].numpy()


def greedy_with_experts(name, m):
    model = model_of(name, m, "kv_f16")
    for first in range(35, 128):  # printable ASCII characters, which are tokens 2 on
        tokens, gap = [first], 9.0
        while len(tokens) < 9 and gap > 0.05:
            last = logits_of(name, m, tokens, model=model)[-1]
            order = np.argsort(last)
            gap = min(gap, last[order[-1]] - last[order[-2]])
            tokens.append(int(order[-1]))
        if gap > 0.05:
            break
    chosen = []
    for layer in model.model.layers:
        layer.mlp.gate.register_forward_hook(
            lambda gate, into, out: chosen.append(np.sort(out[2].numpy(), axis=1)))
    logits_of(name, m, tokens, model=model)
    return dict(greedy=np.array(tokens, dtype=np.int32), experts=np.array(chosen, dtype=np.int16))


def variations(m):
    yield "rope_theta * 1.1", m | dict(rope_theta=m["rope_theta"] * 1.1)
    if "rope_scaling" in m:
        for key, factor in (("factor", 1.2), ("low_freq_factor", 1.2), ("high_freq_factor", 0.8)):
            yield f"{key} * {factor}", m | dict(
                rope_scaling=m["rope_scaling"] | {key: m["rope_scaling"][key] * factor})
        plain = copy.deepcopy(m)
        plain.pop("rope_scaling")
        yield "no scaling", plain
    if "window" in m:
        yield "window + 1", m | dict(window=m["window"] + 1)
    if "rope_theta_local" in m:
        yield "rope_theta_local * 1.1", m | dict(rope_theta_local=m["rope_theta_local"] * 1.1)
        yield "query_scalar 230", m | dict(query_scalar=230)
    if "n_expert" in m:
        yield "one expert less", m | dict(n_used=m["n_used"] - 1)
        yield "shares normalised or not", m | dict(normalised=m["architecture"] == "olmoe")


def main():
    OUT.mkdir(exist_ok=True)
    for name in sys.argv[1:] or MODELS:
        m = MODELS[name]
        tokens = ((tiny_models.values(name + "tokens", TOKENS) * 1e6).astype(np.int64)
                  % m["n_vocab"]).astype(np.int32)
        exact = logits_of(name, m, tokens)
        kv_f16 = logits_of(name, m, tokens, "kv_f16")
        more = greedy_with_experts(name, m) if "n_expert" in m else {}
        np.savez_compressed(OUT / f"{name}.npz", tokens=tokens, rows=np.array(ROWS, dtype=np.int32),
                            logits=exact[ROWS].astype(np.float32),
                            logits_kv_f16=kv_f16[ROWS].astype(np.float32), **more)
        print(f"{name}: spread {exact.std():.2f}, largest {abs(exact).max():.2f}, "
              f"f16 keys and values change them by up to {abs(kv_f16 - exact).max():.1e}")
        for what, changed in variations(m):
            print(f"  without: {what:26} {abs(logits_of(name, changed, tokens) - exact).max():.1e}")


if __name__ == "__main__":
    main()
