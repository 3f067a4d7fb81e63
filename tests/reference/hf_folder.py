#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes models as Hugging Face folders: config.json, safetensors, tokenizer.json and the rest.

    hf_folder.py MODEL.gguf OUT_FOLDER [--type F32|F16|BF16] [--shards N]

turns a GGUF into such a folder: every tensor dequantised, the names, the order of rows and the norms
as transformers has them, the tokenizer as the tokenizers library reads it. SentencePiece's scores
become the merges that they imply, as transformers' own converter does it. The tests write the tiny
models of tiny_models.py.

Needs NumPy; for GGUFs the PyPI package gguf too.
"""

import argparse
import json
import pathlib
import struct

import numpy as np

from tiny_models import EPS, MODELS, gguf_metadata, weights_of

# What transformers calls the architectures that GGUFs call otherwise.
MODEL_TYPES = {"gemma3": "gemma3_text", "qwen3moe": "qwen3_moe"}

TYPE_BYTES = {"F32": 4, "F16": 2, "BF16": 2}

SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|"
         r"\s*[\r\n]+|\s+(?!\S)|\s+")


def encoded(values, type):
    """Little-endian bytes of an array as F32, F16 or BF16 (to the nearest, ties to even)."""
    values = np.ascontiguousarray(values, np.float32)
    if type == "F32":
        return values.astype("<f4").tobytes()
    if type == "F16":
        return values.astype("<f2").tobytes()
    bits = values.view(np.uint32)
    return ((bits + 0x7fff + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()


def safetensors_header(entries):
    """{name: (type, shape, bytes)} in the order of their data."""
    header, at = {}, 0
    for name, (type, shape, size) in entries.items():
        header[name] = {"dtype": type, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def write_safetensors(path, shapes, values_of, type):
    """`values_of(name)` gives a tensor when it is its turn, so that a large model fits in memory."""
    entries = {name: (type, shape, int(np.prod(shape)) * TYPE_BYTES[type])
               for name, shape in shapes.items()}
    with open(path, "wb") as file:
        file.write(safetensors_header(entries))
        for name in shapes:
            file.write(encoded(values_of(name), type))


def write_weights(folder, shapes, values_of, type, shards=1):
    """model.safetensors, or that many files and their index."""
    if shards == 1:
        write_safetensors(folder / "model.safetensors", shapes, values_of, type)
        return
    names, weight_map = list(shapes), {}
    for part in range(shards):
        file = f"model-{part + 1:05}-of-{shards:05}.safetensors"
        own = names[part::shards]
        write_safetensors(folder / file, {name: shapes[name] for name in own}, values_of, type)
        weight_map |= {name: file for name in own}
    total = sum(int(np.prod(shape)) for shape in shapes.values()) * TYPE_BYTES[type]
    write_json(folder / "model.safetensors.index.json",
               {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))})


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")


# ---- tokenizers ----------------------------------------------------------------------------------

def byte_level(**options):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True,
            **options}


def split_by(pattern, behavior):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": False}


def pre_tokenizer(pre):
    if pre == "gpt2":
        return byte_level()
    if pre == "smollm":
        return {"type": "Sequence",
                "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level()]}
    pattern = {"Regex": SPLIT % ("" if pre == "qwen2" else "{1,3}")}
    return {"type": "Sequence", "pretokenizers": [split_by(pattern, "Isolated"),
                                                  byte_level(use_regex=False)]}


def added_token(id, content, special, normalized=False):
    return {"id": id, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
            "normalized": normalized, "special": special}


def bpe_tokenizer(tokens, kinds, merges, pre, pairs=False):
    """A byte-level tokenizer.json. kinds are GGUF's; merges are pairs of pieces, written as lists if
    `pairs`, as version 4.45 and later do."""
    added = [added_token(i, text, kind == 3) for i, (text, kind) in enumerate(zip(tokens, kinds))
             if kind in (3, 4)]
    last = max(i for i, kind in enumerate(kinds) if kind == 1)  # what is behind was added to the vocabulary
    special = {token["id"] for token in added if token["id"] > last}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
            "normalizer": {"type": "NFC"} if pre == "qwen2" else None,
            "pre_tokenizer": pre_tokenizer(pre), "post_processor": byte_level(),
            "decoder": byte_level(),
            "model": {"type": "BPE", "dropout": None, "unk_token": None,
                      "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False,
                      "byte_fallback": False, "ignore_merges": pre == "llama3",
                      "vocab": {text: i for i, (text, kind) in enumerate(zip(tokens, kinds))
                                if i not in special and kind != 5},
                      "merges": [list(m) if pairs else " ".join(m) for m in merges]}}


def implied_merges(tokens, kinds, scores):
    """The pairs that make a piece, best piece first, as transformers' SentencePieceExtractor has it."""
    vocab = {text: i for i, (text, kind) in enumerate(zip(tokens, kinds)) if kind in (1, 4, 5)}
    merges = []
    for text in vocab:
        for at in range(1, len(text)):
            left, right = text[:at], text[at:]
            if left in vocab and right in vocab:
                merges.append((left, right, scores[vocab[text]], vocab[left], vocab[right]))
    merges.sort(key=lambda m: (-m[2], m[3], m[4]))
    return [(left, right) for left, right, *_ in merges]


def spm_tokenizer(tokens, kinds, scores, space_prefix, bos, merges=None):
    """A tokenizer.json as converted from SentencePiece's BPE; its merges are those that scores imply."""
    added = [added_token(i, text, kind in (2, 3))
             for i, (text, kind) in enumerate(zip(tokens, kinds)) if kind in (2, 3, 4)]
    normalizers = [{"type": "Prepend", "prepend": "\u2581"}] if space_prefix else []
    normalizers.append({"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"})
    single = [{"Sequence": {"id": "A", "type_id": 0}}]
    if bos is not None:
        single.insert(0, {"SpecialToken": {"id": tokens[bos], "type_id": 0}})
    names = {part["SpecialToken"]["id"] for part in single if "SpecialToken" in part}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
            "normalizer": {"type": "Sequence", "normalizers": normalizers},
            "pre_tokenizer": split_by({"String": " "}, "MergedWithPrevious"),
            "post_processor": {
                "type": "TemplateProcessing", "single": single,
                "pair": single + [{"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {n: {"id": n, "ids": [tokens.index(n)], "tokens": [n]}
                                   for n in names}},
            "decoder": {"type": "Sequence", "decoders": [
                {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "},
                {"type": "ByteFallback"}, {"type": "Fuse"}]},
            "model": {"type": "BPE", "dropout": None, "unk_token": "<unk>",
                      "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True,
                      "byte_fallback": True, "ignore_merges": False,
                      "vocab": {text: i for i, text in enumerate(tokens)},
                      "merges": [list(m) for m in merges or implied_merges(tokens, kinds, scores)]}}


# ---- tiny models ---------------------------------------------------------------------------------

CHATML = ("{% for message in messages %}{{ '<|start|>' + message['role'] + '\\n' + "
          "message['content'] + '<|end|>' + '\\n' }}{% endfor %}")
CLASSES = {"llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM", "gemma3": "Gemma3ForCausalLM",
           "olmo2": "Olmo2ForCausalLM", "qwen3moe": "Qwen3MoeForCausalLM",
           "olmoe": "OlmoeForCausalLM", "phi3": "Phi3ForCausalLM"}


def tiny_config(name, version):
    """config.json as transformers 4 or 5 writes it; they differ in the rotary positions."""
    m = MODELS[name]
    kind = m["architecture"]
    config = {
        "architectures": [CLASSES[kind]], "model_type": MODEL_TYPES.get(kind, kind), "vocab_size": m["n_vocab"],
        "hidden_size": m["d_model"], "intermediate_size": m["d_ff"],
        "num_hidden_layers": m["n_layer"], "num_attention_heads": m["n_head"],
        "num_key_value_heads": m["n_kv_head"], "head_dim": m["d_head"], "rms_norm_eps": EPS,
        "hidden_act": "silu", "attention_bias": False, "max_position_embeddings": 512,
        "tie_word_embeddings": m["tied"], "bos_token_id": 1, "eos_token_id": 0}
    rope = {"rope_type": "default"} if "rope_scaling" not in m else {
        "rope_type": "llama3", **m["rope_scaling"]}
    if kind == "gemma3":
        config |= {"hidden_activation": "gelu_pytorch_tanh", "sliding_window": m["window"],
                   "query_pre_attn_scalar": m["query_scalar"]}
        del config["hidden_act"]
    if kind == "phi3":
        config |= {"sliding_window": m["window"], "partial_rotary_factor": 1.0}
    if "n_expert" in m:
        config |= {"num_experts": m["n_expert"], "num_experts_per_tok": m["n_used"],
                   "norm_topk_prob": kind == "qwen3moe"}
    if kind == "qwen3moe":
        config |= {"moe_intermediate_size": m["d_ff"], "intermediate_size": 3 * m["d_ff"],
                   "decoder_sparse_step": 1, "mlp_only_layers": []}
    if version == 5:
        rope |= {"rope_theta": m["rope_theta"]}
        local = {"rope_type": "default", "rope_theta": m.get("rope_theta_local")}
        config["rope_parameters"] = {"full_attention": rope, "sliding_attention": local} \
            if kind == "gemma3" else rope
    else:
        config |= {"rope_theta": m["rope_theta"],
                   "rope_scaling": rope if "rope_scaling" in m else None}
        if kind == "gemma3":
            config |= {"rope_local_base_freq": m["rope_theta_local"], "sliding_window_pattern": 6}
    return config


def write_tiny(name, folder, type="F32", shards=1, version=5, pairs=True):
    folder.mkdir()
    gemma = MODELS[name]["architecture"] == "gemma3"
    weights = {key: w - 1 if gemma and "norm" in key else w for key, w in weights_of(name).items()}
    write_weights(folder, {key: w.shape for key, w in weights.items()}, weights.get, type, shards)
    write_json(folder / "config.json", tiny_config(name, version))
    meta = gguf_metadata(name)
    merges = [tuple(m.split(" ")) for m in meta["tokenizer.ggml.merges"]]
    write_json(folder / "tokenizer.json",
               bpe_tokenizer(meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"], merges,
                             "qwen2", pairs))
    write_json(folder / "tokenizer_config.json",
               {"bos_token": "<|start|>", "eos_token": {"content": "<|end|>"}, "unk_token": None,
                "add_bos_token": False, "chat_template": CHATML})
    return folder


# ---- GGUFs ---------------------------------------------------------------------------------------

HF_NAMES = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj", "post_attention_norm": "post_attention_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
GGUF_CLASSES = CLASSES | {"qwen2": "Qwen2ForCausalLM"}


def hf_name(name, kind):
    parts = name.split(".")
    own = {**HF_NAMES, **({"ffn_norm": "pre_feedforward_layernorm"} if kind == "gemma3" else {})}
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{own[parts[2]]}.{parts[3]}"
    return f"{own[parts[0]]}.{parts[1]}"


def convert(gguf_path, folder, type, shards):
    import gguf
    reader = gguf.GGUFReader(gguf_path)
    fields = {key: field.contents() for key, field in reader.fields.items()}
    kind = fields["general.architecture"]
    at = kind + "."
    heads = fields[at + "attention.head_count"]
    kv_heads = fields[at + "attention.head_count_kv"]
    tensors = {hf_name(t.name, kind): t for t in reader.tensors}

    def values_of(name):
        w = gguf.quants.dequantize(tensors[name].data, tensors[name].tensor_type).astype(np.float32)
        if kind == "llama" and (".q_proj." in name or ".k_proj." in name):
            n = heads if ".q_proj." in name else kv_heads
            w = w.reshape(n, w.shape[0] // n // 2, 2, -1).swapaxes(1, 2).reshape(w.shape)
        if kind == "gemma3" and "norm" in name:
            w = w - np.float32(1)
        return w

    folder.mkdir()
    write_weights(folder, {n: tuple(map(int, reversed(t.shape))) for n, t in tensors.items()},
                  values_of, type, shards)
    width = fields[at + "embedding_length"]
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    config = {
        "architectures": [GGUF_CLASSES[kind]], "model_type": MODEL_TYPES.get(kind, kind), "vocab_size": len(tokens),
        "hidden_size": width, "intermediate_size": fields[at + "feed_forward_length"],
        "num_hidden_layers": fields[at + "block_count"], "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": fields.get(at + "attention.key_length", width // heads),
        "rms_norm_eps": float(np.format_float_positional(
            np.float32(fields[at + "attention.layer_norm_rms_epsilon"]), unique=True)),
        "rope_theta": fields[at + "rope.freq_base"], "hidden_act": "silu",
        "max_position_embeddings": fields[at + "context_length"],
        "tie_word_embeddings": "lm_head.weight" not in tensors,
        "bos_token_id": fields.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": fields.get("tokenizer.ggml.eos_token_id")}
    if kind == "gemma3":
        config |= {"sliding_window": fields[at + "attention.sliding_window"],
                   "hidden_activation": "gelu_pytorch_tanh", "rope_local_base_freq": 10000.0,
                   "query_pre_attn_scalar": config["head_dim"], "sliding_window_pattern": 6}
    write_json(folder / "config.json", config)

    def named(key):
        id = fields.get(f"tokenizer.ggml.{key}_token_id")
        return None if id is None else tokens[id]

    add_bos = fields.get("tokenizer.ggml.add_bos_token", False)
    if fields["tokenizer.ggml.model"] == "gpt2":
        merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"]]
        tokenizer = bpe_tokenizer(tokens, kinds, merges, fields["tokenizer.ggml.pre"])
    else:
        tokenizer = spm_tokenizer(tokens, kinds, fields["tokenizer.ggml.scores"],
                                  fields.get("tokenizer.ggml.add_space_prefix", True),
                                  fields["tokenizer.ggml.bos_token_id"] if add_bos else None)
    write_json(folder / "tokenizer.json", tokenizer)
    write_json(folder / "tokenizer_config.json",
               {"bos_token": named("bos"), "eos_token": named("eos"), "unk_token": named("unknown"),
                "add_bos_token": add_bos,
                "chat_template": fields.get("tokenizer.chat_template")})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("gguf", type=pathlib.Path)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--type", choices=TYPE_BYTES, default="F32")
    parser.add_argument("--shards", type=int, default=1)
    arguments = parser.parse_args()
    convert(arguments.gguf, arguments.folder, arguments.type, arguments.shards)


if __name__ == "__main__":
    main()
