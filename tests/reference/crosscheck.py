#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks numpy_model.py on the tiny models against two other implementations, whichever are there:

    transformers   LlamaForCausalLM, Qwen2ForCausalLM, Gemma3ForCausalLM in float64
                   (PyPI: torch, transformers)
    llama.cpp      in float32, keys and values in float32 (PyPI: llama-cpp-python)

and shows that each thing special to an architecture matters in its tiny model: the change of the
logits when it is left out.
"""

import dataclasses

import numpy as np

from make_tiny import FIXTURES
from numpy_model import forward, load_gguf


def transformers_logits(name, config, weights, tokens):
    import torch
    from transformers import (Gemma3ForCausalLM, Gemma3TextConfig, LlamaConfig, LlamaForCausalLM,
                              Qwen2Config, Qwen2ForCausalLM)

    common = dict(
        vocab_size=len(weights["token_embd"]), hidden_size=weights["token_embd"].shape[1],
        intermediate_size=len(weights["layer.0.ffn_gate"]), num_hidden_layers=config.n_layer,
        num_attention_heads=config.n_head, num_key_value_heads=config.n_kv_head,
        head_dim=config.d_head, rms_norm_eps=config.rms_eps, max_position_embeddings=512,
        tie_word_embeddings="output" not in weights, attn_implementation="eager",
        bos_token_id=None, eos_token_id=None, pad_token_id=None)
    rope = {"rope_type": "default", "rope_theta": config.rope_base}
    norm_offset = 0.0
    if "gemma3" in name:
        norm_offset = 1.0  # transformers stores w and multiplies by 1 + w; GGUF holds 1 + w
        kinds = ["sliding_attention" if config.is_local(i) else "full_attention"
                 for i in range(config.n_layer)]
        local = {"rope_type": "default", "rope_theta": config.rope_base_local}
        model = Gemma3ForCausalLM(Gemma3TextConfig(
            **common, sliding_window=config.window, layer_types=kinds,
            query_pre_attn_scalar=config.d_head, hidden_activation="gelu_pytorch_tanh",
            rope_parameters={"full_attention": rope, "sliding_attention": local}))
    elif "qwen2" in name:
        model = Qwen2ForCausalLM(Qwen2Config(**common, rope_parameters=rope))
    else:
        model = LlamaForCausalLM(LlamaConfig(**common, rope_parameters=rope))
    model = model.double().eval()

    places = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
              "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
              "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
              "attn_norm": "input_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
              "ffn_down": "mlp.down_proj", "post_attention_norm": "post_attention_layernorm",
              "ffn_norm": "pre_feedforward_layernorm" if "gemma3" in name
              else "post_attention_layernorm",
              "post_ffw_norm": "post_feedforward_layernorm"}
    state = {}
    for key, w in weights.items():
        value = torch.tensor(w.astype(np.float64) - (norm_offset if key.endswith("norm") else 0.0))
        if key.startswith("layer."):
            _, i, part = key.split(".")
            kind = "bias" if part.endswith("_bias") else "weight"
            state[f"model.layers.{i}.{places[part.removesuffix('_bias')]}.{kind}"] = value
        elif key == "output":
            state["lm_head.weight"] = value
        else:
            place = {"token_embd": "embed_tokens", "output_norm": "norm"}[key]
            state[f"model.{place}.weight"] = value
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and set(missing) <= {"lm_head.weight"}, (missing, unexpected)
    with torch.no_grad():
        return model(torch.tensor(tokens[None].astype(np.int64))).logits[0].numpy()


def llama_cpp_logits(path, tokens):
    import llama_cpp

    model = llama_cpp.Llama(str(path), n_ctx=128, n_threads=2, logits_all=True, verbose=False,
                            type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32,
                            n_batch=128)
    model.eval([int(t) for t in tokens])
    return model.scores[:len(tokens)].astype(np.float64)


def main():
    for path in sorted(FIXTURES.glob("tiny-*.gguf")):
        config, weights = load_gguf(path)
        tokens = np.load(path.with_suffix(".npz"))["tokens"]
        ours = forward(config, weights, tokens)
        print(f"{path.stem}: largest difference of any logit")
        for name, other in (
                ("transformers", lambda: transformers_logits(path.stem, config, weights, tokens)),
                ("llama.cpp", lambda: llama_cpp_logits(path, tokens))):
            try:
                print(f"  {name:30} {abs(other() - ours).max():.1e}")
            except ImportError as error:
                print(f"  {name:30} not installed: {error}")

        changes = {"rope_base * 1.1": dataclasses.replace(config, rope_base=config.rope_base * 1.1),
                   "rms_eps * 10": dataclasses.replace(config, rms_eps=config.rms_eps * 10)}
        if config.window:
            changes["window + 1"] = dataclasses.replace(config, window=config.window + 1)
            changes["window - 1"] = dataclasses.replace(config, window=config.window - 1)
            changes["no global layer"] = dataclasses.replace(config, window_pattern=100)
            changes["rope_base_local * 1.1"] = dataclasses.replace(config, rope_base_local=11000.0)
            changes["silu for gelu"] = dataclasses.replace(config, activation="silu")
        for name, changed in changes.items():
            print(f"  without: {name:21} {abs(forward(changed, weights, tokens) - ours).max():.1e}")
        for part in ("attn_q_bias", "attn_v_bias", "attn_k_norm", "post_ffw_norm"):
            fewer = {n: w for n, w in weights.items() if not n.endswith(part)}
            if len(fewer) < len(weights):
                change = abs(forward(config, fewer, tokens) - ours).max()
                print(f"  without: {part:21} {change:.1e}")


if __name__ == "__main__":
    main()
