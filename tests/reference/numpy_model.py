#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""An independent NumPy implementation of the llama, qwen2 and gemma3 architectures.

It is what llmsql is tested against, so it shares nothing with it: written from the papers and model
cards (RMSNorm: Zhang and Sennrich 2019; rotary embedding: Su et al. 2021; grouped-query attention:
Ainslie et al. 2023; SwiGLU and GeGLU: Shazeer 2020; Gemma 3: its technical report and model card),
plain and slow. It computes in float64 throughout.

`forward` needs NumPy alone; reading a GGUF file needs the PyPI package `gguf` as well.

    numpy_model.py MODEL.gguf --tokens 1,2,3 --logits out.npy     all logits, f32 [T, n_vocab]
    numpy_model.py MODEL.gguf --tokens-file ids.txt --perplexity 512
"""

import argparse
import dataclasses
import json
import sys

import numpy as np


@dataclasses.dataclass
class Config:
    """What a model's metadata says, in the terms of the forward pass."""

    n_layer: int
    n_head: int
    n_kv_head: int
    d_head: int
    rms_eps: float
    rope_base: float
    activation: str = "silu"      # of the gated feed-forward: "silu" or "gelu" (tanh form)
    embedding_scale: float = 1.0
    window: int = 0               # of local layers; 0: every layer is global
    window_pattern: int = 6       # layer i is global where i % pattern == pattern - 1
    rope_base_local: float = 10000.0

    def is_local(self, layer):
        return self.window > 0 and layer % self.window_pattern != self.window_pattern - 1


def quantize_activations(x):
    """x through int8 codes in blocks of 32 along the last dimension, scale = max|x| / 127."""
    n = x.shape[-1]
    padded = np.zeros(x.shape[:-1] + ((n + 31) // 32 * 32,))
    padded[..., :n] = x
    blocks = padded.reshape(x.shape[:-1] + (-1, 32))
    scale = np.abs(blocks).max(axis=-1, keepdims=True) / 127.0
    codes = np.rint(np.divide(blocks, scale, out=np.zeros_like(blocks), where=scale > 0))
    return (codes * scale).reshape(padded.shape)[..., :n]


def rms_norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps) * weight


def rope(x, positions, base):
    """x [T, heads, d]: elements i and i + d/2 rotated by position * base^(-2i/d)."""
    half = x.shape[-1] // 2
    angle = positions[:, None] * base ** (-np.arange(half) / half)
    cos, sin = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], axis=-1)


def attention(q, k, v, window):
    """q [T, h, d], k and v [T, g, d] -> [T, h * d]. Query p sees keys j <= p, and with a window
    only j > p - window."""
    tokens, heads, d = q.shape
    group = heads // k.shape[1]
    p, j = np.arange(tokens)[:, None], np.arange(tokens)[None, :]
    hidden = j > p if window == 0 else (j > p) | (j <= p - window)
    out = np.empty_like(q)
    for h in range(heads):
        scores = q[:, h] @ k[:, h // group].T / np.sqrt(d)
        scores[hidden] = -np.inf
        scores -= scores.max(axis=-1, keepdims=True)
        weights = np.exp(scores)
        out[:, h] = weights / weights.sum(axis=-1, keepdims=True) @ v[:, h // group]
    return out.reshape(tokens, heads * d)


ACTIVATIONS = {
    "silu": lambda x: x / (1.0 + np.exp(-x)),
    "gelu": lambda x: 0.5 * x * (1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3))),
}


def forward(config, weights, tokens, kv_f16=False, quantized=frozenset(), rows=None,
            look=lambda step, values: None):
    """Logits float64 [T, n_vocab] (of `rows` alone where given).

    `weights`: name -> array, matrices [out, in], rows of q and k in Hugging Face's order, named like
    GGUF's tensors with `layer.` for `blk.` and no `.weight`; a bias is `…_bias`. An absent norm,
    bias or output (then tied) is left out of the computation. Two options model what llmsql
    rounds: `kv_f16` keeps keys and values as float16, and activations that enter a matrix named in
    `quantized` go through int8. `look` is called with values on the way, [T, …], under the names
    that statements of a plan have (docs/seeing.md)."""

    def get(name):
        w = weights.get(name)
        return None if w is None else w.astype(np.float64)

    def linear(x, name):
        y = (quantize_activations(x) if name in quantized else x) @ get(name).T
        bias = get(name + "_bias")
        return y if bias is None else y + bias

    def norm(x, name):
        w = get(name)
        return x if w is None else rms_norm(x, w, config.rms_eps)

    def cached(x):
        return x.astype(np.float16).astype(np.float64) if kv_f16 else x

    tokens = np.asarray(tokens)
    positions = np.arange(len(tokens), dtype=np.float64)
    x = weights["token_embd"][tokens].astype(np.float64) * config.embedding_scale
    look("x", x)
    for i in range(config.n_layer):
        name = f"layer.{i}.".__add__
        local = config.is_local(i)
        base = config.rope_base_local if local else config.rope_base
        h = norm(x, name("attn_norm"))
        heads = lambda y, n: y.reshape(len(tokens), n, config.d_head)
        q = norm(heads(linear(h, name("attn_q")), config.n_head), name("attn_q_norm"))
        k = norm(heads(linear(h, name("attn_k")), config.n_kv_head), name("attn_k_norm"))
        v = heads(linear(h, name("attn_v")), config.n_kv_head)
        k = cached(rope(k, positions, base))
        a = attention(rope(q, positions, base), k, cached(v), config.window if local else 0)
        look(name("cache.k"), k)
        look(name("cache.v"), cached(v))
        look(name("attention"), a)
        x = x + norm(linear(a, name("attn_output")), name("post_attention_norm"))
        look(name("x"), x)
        h = norm(x, name("ffn_norm"))
        gate = ACTIVATIONS[config.activation](linear(h, name("ffn_gate")))
        x = x + norm(linear(gate * linear(h, name("ffn_up")), name("ffn_down")),
                     name("post_ffw_norm"))
        look(name("x#2"), x)
    if rows is not None:
        x = x[rows]
    return linear(norm(x, "output_norm"), "output" if "output" in weights else "token_embd")


def unpermute(weight, n_head):
    """Undoes the row order of llama GGUFs, where the two rows of a rotated pair stand side by side:
    GGUF rows 2i and 2i + 1 of a head are rows i and i + d/2."""
    d = weight.shape[0] // n_head
    pairs = weight.reshape((n_head, d // 2, 2) + weight.shape[1:])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def load_gguf(path):
    """(Config, weights) of a GGUF file, dequantised to float32 by the gguf package."""
    import gguf

    reader = gguf.GGUFReader(path)
    field = lambda key: reader.fields[key].contents()
    architecture = field("general.architecture")

    def value(key, default=None):
        key = f"{architecture}.{key}"
        if key not in reader.fields and default is None:
            raise KeyError(f"{path}: {key} is missing")
        return field(key) if key in reader.fields else default

    d_model, n_head = value("embedding_length"), value("attention.head_count")
    config = Config(
        n_layer=value("block_count"),
        n_head=n_head,
        n_kv_head=value("attention.head_count_kv", n_head),
        d_head=value("attention.key_length", d_model // n_head),
        rms_eps=value("attention.layer_norm_rms_epsilon"),
        rope_base=value("rope.freq_base", 10000.0),
    )
    if architecture == "gemma3":
        config.activation = "gelu"
        config.embedding_scale = d_model**0.5
        config.window = value("attention.sliding_window")
    elif architecture not in ("llama", "qwen2"):
        raise ValueError(f"{path}: architecture {architecture} is not implemented here")

    weights = {}
    for tensor in reader.tensors:
        name = tensor.name.replace("blk.", "layer.").replace(".bias", "_bias")
        name = name.removesuffix(".weight")
        w = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        w = w.reshape([int(n) for n in reversed(tensor.shape)])
        if architecture == "llama" and name.endswith(("attn_q", "attn_q_bias")):
            w = unpermute(w, config.n_head)
        elif architecture == "llama" and name.endswith(("attn_k", "attn_k_bias")):
            w = unpermute(w, config.n_kv_head)
        weights[name] = w
    return config, weights


def log_softmax(logits):
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def perplexity(config, weights, tokens, context, bos=None, **rounding):
    """As llama-perplexity has it: the text cut into windows of `context` tokens (the rest dropped),
    the first of each replaced by bos where the model starts texts with one; in each window the
    tokens after the first half are scored."""
    total, count = 0.0, 0
    for start in range(0, len(tokens) - context + 1, context):
        window = list(tokens[start:start + context])
        if bos is not None:
            window[0] = bos
        first = context // 2
        logits = forward(config, weights, window, rows=slice(first, context - 1), **rounding)
        scored = window[first + 1:]
        total -= log_softmax(logits)[np.arange(len(scored)), scored].sum()
        count += len(scored)
        print(f"[{start // context + 1}] {np.exp(total / count):.4f}", file=sys.stderr)
    return float(np.exp(total / count))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--tokens", help="ids, separated by commas")
    parser.add_argument("--tokens-file", help="ids in a file, separated by commas or spaces")
    parser.add_argument("--logits", help="write all logits to this .npy file")
    parser.add_argument("--kv-f16", action="store_true", help="keys and values as float16")
    parser.add_argument("--q8-activations", action="store_true",
                        help="activations that enter a matrix through int8")
    parser.add_argument("--perplexity", type=int, metavar="CONTEXT")
    parser.add_argument("--bos", type=int, help="for --perplexity: the first token of each window")
    args = parser.parse_args()
    text = open(args.tokens_file).read() if args.tokens_file else args.tokens or ""
    tokens = [int(t) for t in text.strip("[] \n").replace(",", " ").split()]
    if not tokens:
        parser.error("no tokens")
    config, weights = load_gguf(args.model)
    rounding = {"kv_f16": args.kv_f16, "quantized": set(weights) if args.q8_activations else set()}
    if args.perplexity:
        value = perplexity(config, weights, tokens, args.perplexity, args.bos, **rounding)
        print(f"perplexity: {value:.4f}")
        return
    logits = forward(config, weights, tokens, **rounding)
    if args.logits:
        np.save(args.logits, logits.astype(np.float32))
    else:
        print(json.dumps([int(t) for t in logits.argmax(axis=-1)]))


if __name__ == "__main__":
    main()
