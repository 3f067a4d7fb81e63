#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A GGUF of a published model's true shape with random weights, where the weights cannot be had: its text is
noise; its speed, memory and bytes are those of the real one.

    random_gguf.py MODEL TOKENIZER.gguf OUT.gguf

MODEL is one of qwen3.5-0.8b, qwen3.5-4b (gated delta nets and attention) and qwen3-0.6b, qwen3-4b (attention alone,
to compare with). The tokenizer is another GGUF's, of bytes as Qwen's are, filled up with unused tokens to the model's
number. Matrices are Q4_K, head and embeddings Q6_K, as in Q4_K_M. Needs the PyPI packages numpy and gguf.
"""

import sys

import gguf
import numpy as np

from random_like import blocks

# layers, width, feed-forward, heads, of keys and values, a head's width, vocabulary
SHAPES = {
    "qwen3.5-0.8b": dict(layers=24, width=1024, ff=3584, heads=8, kv=2, head=256, vocab=248320, delta=(16, 16)),
    "qwen3.5-4b": dict(layers=32, width=2560, ff=9216, heads=16, kv=4, head=256, vocab=248320, delta=(16, 32)),
    "qwen3-0.6b": dict(layers=28, width=1024, ff=3072, heads=16, kv=8, head=128, vocab=151936, delta=None),
    "qwen3-4b": dict(layers=36, width=2560, ff=9728, heads=32, kv=8, head=128, vocab=151936, delta=None),
}
DELTA_WIDTH, TAPS, INTERVAL = 128, 4, 4
Q4_K, Q6_K = gguf.GGMLQuantizationType.Q4_K, gguf.GGMLQuantizationType.Q6_K
BLOCK = {Q4_K: 144, Q6_K: 210}  # bytes of 256 weights


def tensors_of(shape):
    """Name, shape and kind: a block type, or the number that values are around."""
    d, ff, head = shape["width"], shape["ff"], shape["head"]
    yield "token_embd.weight", (shape["vocab"], d), Q6_K
    yield "output_norm.weight", (d,), 1.0
    for layer in range(shape["layers"]):
        b = f"blk.{layer}."
        yield b + "attn_norm.weight", (d,), 1.0
        # As Q4_K_M has it, in half of the layers.
        more = Q6_K if layer % 2 else Q4_K
        if shape["delta"] and (layer + 1) % INTERVAL:
            keys, values = (n * DELTA_WIDTH for n in shape["delta"])
            yield b + "attn_qkv.weight", (2 * keys + values, d), Q4_K
            yield b + "attn_gate.weight", (values, d), Q4_K
            for name in ("alpha", "beta"):
                yield b + f"ssm_{name}.weight", (shape["delta"][1], d), Q4_K
            yield b + "ssm_conv1d.weight", (2 * keys + values, TAPS), 0.3
            yield b + "ssm_dt.bias", (shape["delta"][1],), 0.5
            yield b + "ssm_a", (shape["delta"][1],), -1.0
            yield b + "ssm_norm.weight", (DELTA_WIDTH,), 1.0
            yield b + "ssm_out.weight", (d, values), Q4_K
        else:
            twice = 2 if shape["delta"] else 1  # with a gate
            yield b + "attn_q.weight", (twice * shape["heads"] * head, d), Q4_K
            yield b + "attn_k.weight", (shape["kv"] * head, d), Q4_K
            yield b + "attn_v.weight", (shape["kv"] * head, d), more
            yield b + "attn_q_norm.weight", (head,), 1.0
            yield b + "attn_k_norm.weight", (head,), 1.0
            yield b + "attn_output.weight", (d, shape["heads"] * head), Q4_K
        yield b + ("post_attention_norm.weight" if shape["delta"] else "ffn_norm.weight"), (d,), 1.0
        yield b + "ffn_gate.weight", (ff, d), Q4_K
        yield b + "ffn_up.weight", (ff, d), Q4_K
        yield b + "ffn_down.weight", (d, ff), more


def add_tokenizer(writer, path, count):
    fields = gguf.GGUFReader(path).fields
    tokens, types = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "token_type"))
    tokens, types = tokens[:count], types[:count]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(tokens + [f"[PAD{n}]" for n in range(len(tokens), count)])
    writer.add_token_types(list(types) + [gguf.TokenType.UNUSED] * (count - len(tokens)))
    writer.add_token_merges(fields["tokenizer.ggml.merges"].contents())
    writer.add_eos_token_id(fields["tokenizer.ggml.eos_token_id"].contents())
    writer.add_add_bos_token(False)
    if "tokenizer.chat_template" in fields:
        writer.add_chat_template(fields["tokenizer.chat_template"].contents())


def main():
    name, tokenizer, out = sys.argv[1:]
    shape = SHAPES[name]
    random = np.random.default_rng(1)
    writer = gguf.GGUFWriter(out, "qwen35" if shape["delta"] else "qwen3")
    writer.add_name(f"{name}-random")
    writer.add_context_length(262144)
    writer.add_embedding_length(shape["width"])
    writer.add_block_count(shape["layers"])
    writer.add_feed_forward_length(shape["ff"])
    writer.add_head_count(shape["heads"])
    writer.add_head_count_kv(shape["kv"])
    writer.add_key_length(shape["head"])
    writer.add_value_length(shape["head"])
    writer.add_rope_freq_base(1e7)
    writer.add_layer_norm_rms_eps(1e-6)
    if shape["delta"]:
        writer.add_rope_dimension_count(shape["head"] // 4)
        writer.add_rope_dimension_sections([11, 11, 10, 0])
        writer.add_full_attention_interval(INTERVAL)
        writer.add_ssm_conv_kernel(TAPS)
        writer.add_ssm_state_size(DELTA_WIDTH)
        writer.add_ssm_group_count(shape["delta"][0])
        writer.add_ssm_time_step_rank(shape["delta"][1])
        writer.add_ssm_inner_size(shape["delta"][1] * DELTA_WIDTH)
    add_tokenizer(writer, tokenizer, shape["vocab"])

    tensors = list(tensors_of(shape))
    for tensor, size, kind in tensors:
        if kind in BLOCK:
            row = size[-1] // 256 * BLOCK[kind]
            writer.add_tensor_info(tensor, [*size[:-1], row], np.dtype(np.uint8), size[0] * row, raw_dtype=kind)
        else:
            writer.add_tensor_info(tensor, list(size), np.dtype(np.float32), 4 * int(np.prod(size)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, size, kind in tensors:
        if kind in BLOCK:
            writer.write_tensor_data(blocks(kind, random, size))
        else:
            writer.write_tensor_data((kind * random.uniform(0.7, 1.3, size)).astype(np.float32))
    writer.close()


if __name__ == "__main__":
    main()
