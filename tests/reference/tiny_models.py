# SPDX-License-Identifier: MIT
"""Tiny random models of further architectures, made where they are needed rather than kept as files:
their weights come from a generator that is the same everywhere, so that tests can write them as GGUF
files and record_transformers.py can give them to transformers.

Their numbers are awkward on purpose: heads of 64, 80, 128 and 256, one to four query heads a
key-value head, vocabularies and widths that fill no block of 32 or strip of 16, windows that end
inside a cache block. Weights are scaled as in make_tiny.py.

Needs NumPy alone.

    tiny_models.py NAME OUT.gguf
"""

import functools
import struct
import sys
import zlib

import numpy as np

EPS = 1e-4  # large enough to show in the logits

MODELS = {
    # Llama 3's scaled rotary positions: of 32 pairs of elements some turn as they would, some are
    # slowed down wholly, some in part. A head of its own.
    "llama3": dict(architecture="llama", d_model=80, n_layer=2, n_head=4, n_kv_head=1, d_head=64,
                   d_ff=100, n_vocab=300, rope_theta=500000.0, tied=False,
                   rope_scaling=dict(factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                     original_max_position_embeddings=64)),
    # The head is the embedding.
    "llama3-tied": dict(architecture="llama", d_model=72, n_layer=1, n_head=2, n_kv_head=2,
                        d_head=36, d_ff=50, n_vocab=290, rope_theta=10000.0, tied=True,
                        rope_scaling=dict(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                                          original_max_position_embeddings=48)),
    # Heads of 128 in a model of 72; three query heads a key-value head.
    "qwen3": dict(architecture="qwen3", d_model=72, n_layer=2, n_head=6, n_kv_head=2, d_head=128,
                  d_ff=100, n_vocab=307, rope_theta=1e6, tied=True),
    # Heads of 256; layer 5 is global; the window ends inside a cache block.
    "gemma3-256": dict(architecture="gemma3", d_model=40, n_layer=7, n_head=2, n_kv_head=1,
                       d_head=256, d_ff=60, n_vocab=299, rope_theta=1e6, rope_theta_local=10000.0,
                       window=40, query_scalar=256, tied=True),
    # Heads of 80, norms behind attention and feed-forward, queries and keys normed as a whole.
    "olmo2": dict(architecture="olmo2", d_model=160, n_layer=2, n_head=2, n_kv_head=1, d_head=80,
                  d_ff=90, n_vocab=303, rope_theta=500000.0, tied=False),
    # q, k and v in one matrix, gate and up in another; the window ends inside a cache block.
    "phi3": dict(architecture="phi3", d_model=160, n_layer=2, n_head=5, n_kv_head=1, d_head=32,
                 d_ff=70, n_vocab=306, rope_theta=10000.0, window=37, tied=False),
    # Three of ten experts a token, their shares normalised.
    "qwen3moe": dict(architecture="qwen3moe", d_model=72, n_layer=2, n_head=4, n_kv_head=2,
                     d_head=32, d_ff=44, n_vocab=301, rope_theta=1e6, tied=False, n_expert=10,
                     n_used=3),
    # Four of nine experts a token, their shares as they are.
    "olmoe": dict(architecture="olmoe", d_model=64, n_layer=2, n_head=4, n_kv_head=4, d_head=16,
                  d_ff=36, n_vocab=305, rope_theta=10000.0, tied=False, n_expert=9, n_used=4),
}


@functools.lru_cache(maxsize=1024)
def values(name, count):
    """`count` numbers of mean 0 and variance 1: sums of four even ones from splitmix64."""
    with np.errstate(over="ignore"):
        x = np.arange(1, 4 * count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        x += np.uint64(zlib.crc32(name.encode())) << np.uint64(32)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    even = (x >> np.uint64(40)).astype(np.float64) / 2**24 - 0.5
    numbers = even.reshape(4, count).sum(axis=0) * np.sqrt(3.0)
    numbers.flags.writeable = False  # whoever asks again has the same
    return numbers


def weights_of(name):
    """The weights under Hugging Face's names, each expert apart; a norm is stored as it multiplies."""
    m = MODELS[name]
    d, ff, q, kv = m["d_model"], m["d_ff"], m["n_head"] * m["d_head"], m["n_kv_head"] * m["d_head"]
    kind = m["architecture"]
    size = 2 / np.sqrt(d)
    made = {}

    def matrix(key, rows, cols, gain=1.0, spread=None):
        spread = gain / np.sqrt(cols) if spread is None else spread
        made[key] = (values(name + key, rows * cols) * spread).astype(np.float32).reshape(rows, cols)

    def norm(key, n, mean=1.0):
        made[key] = (mean * (1.0 + 0.2 * values(name + key, n))).astype(np.float32)

    after = kind in ("gemma3", "olmo2")  # norms behind attention and feed-forward
    branch = 0.24 if kind == "gemma3" else 0.3 * size  # Gemma scales its embeddings
    matrix("model.embed_tokens.weight", m["n_vocab"], d, spread=size)
    for i in range(m["n_layer"]):
        at = f"model.layers.{i}."
        if kind != "olmo2":
            norm(at + "input_layernorm.weight", d)
        if kind == "phi3":
            matrix(at + "self_attn.qkv_proj.weight", q + 2 * kv, d, gain=1.2)
        else:
            matrix(at + "self_attn.q_proj.weight", q, d, gain=1.2)
            matrix(at + "self_attn.k_proj.weight", kv, d, gain=1.2)
            matrix(at + "self_attn.v_proj.weight", kv, d)
        matrix(at + "self_attn.o_proj.weight", d, q, gain=1.0 if after else branch)
        whole = kind in ("olmo2", "olmoe")
        if whole or kind in ("qwen3", "qwen3moe", "gemma3"):
            norm(at + "self_attn.q_norm.weight", q if whole else m["d_head"])
            norm(at + "self_attn.k_norm.weight", kv if whole else m["d_head"])
        norm(at + "post_attention_layernorm.weight", d, branch if after else 1.0)
        if kind == "gemma3":
            norm(at + "pre_feedforward_layernorm.weight", d)
        if after:
            norm(at + "post_feedforward_layernorm.weight", d, branch)
        experts = [f"experts.{e}." for e in range(m["n_expert"])] if "n_expert" in m else [""]
        if "n_expert" in m:
            matrix(at + "mlp.gate.weight", m["n_expert"], d, gain=1.5)
        for expert in experts:
            if kind == "phi3":
                matrix(at + "mlp.gate_up_proj.weight", 2 * ff, d, gain=1.2)
            else:
                matrix(at + f"mlp.{expert}gate_proj.weight", ff, d, gain=1.2)
                matrix(at + f"mlp.{expert}up_proj.weight", ff, d, gain=1.2)
            matrix(at + f"mlp.{expert}down_proj.weight", d, ff, gain=1.0 if after else branch)
    norm("model.norm.weight", d)
    if not m["tied"]:
        matrix("lm_head.weight", m["n_vocab"], d, gain=2.0)
    return made


# ---- GGUF ----------------------------------------------------------------------------------------

GGUF_NAMES = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "mlp.gate": "ffn_gate_inp", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def llama3_factors(m):
    """By which Llama 3.1's positions are divided (its inference code's apply_scaling)."""
    s = m["rope_scaling"]
    wavelength = 2 * np.pi * m["rope_theta"] ** (np.arange(0, m["d_head"], 2) / m["d_head"])
    context, low, high = (s["original_max_position_embeddings"], s["low_freq_factor"],
                          s["high_freq_factor"])
    smooth = (context / wavelength - low) / (high - low)
    between = 1 / ((1 - smooth) / s["factor"] + smooth)
    return np.where(wavelength < context / high, 1.0,
                    np.where(wavelength > context / low, s["factor"], between)).astype(np.float32)


def gguf_tensors(name):
    m, found = MODELS[name], {}
    after = m["architecture"] in ("gemma3", "olmo2")
    for key, w in weights_of(name).items():
        if not key.startswith("model.layers."):
            found[{"model.embed_tokens.weight": "token_embd.weight", "lm_head.weight": "output.weight",
                   "model.norm.weight": "output_norm.weight"}[key]] = w
            continue
        _, _, i, rest = key.removesuffix(".weight").split(".", 3)
        parts = rest.split(".")
        if "experts" in parts:  # stacked, in order
            found.setdefault(f"blk.{i}.ffn_{parts[3].removesuffix('_proj')}_exps.weight", []).append(w)
            continue
        place = "post_attention_norm" if after else "ffn_norm"
        place = place if rest == "post_attention_layernorm" else GGUF_NAMES[rest]
        if m["architecture"] == "llama" and place in ("attn_q", "attn_k"):
            heads = m["n_head"] if place == "attn_q" else m["n_kv_head"]
            w = w.reshape(heads, 2, -1, w.shape[1]).swapaxes(1, 2).reshape(w.shape)
        found[f"blk.{i}.{place}.weight"] = w
    if "rope_scaling" in m:
        found["rope_freqs.weight"] = llama3_factors(m)
    return {key: np.stack(w) if isinstance(w, list) else w for key, w in found.items()}


def byte_alphabet():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(spare)) for b in range(256)]


def gguf_metadata(name):
    """(key, value) pairs; ints are u32, floats f32."""
    m = MODELS[name]
    kind = m["architecture"]
    pairs = [(a, b) for a in "etaoinshr" for b in "etaoinshr"][:m["n_vocab"] - 258]
    tokens = ["<|end|>", "<|start|>", *byte_alphabet(), *(a + b for a, b in pairs)]
    assert len(tokens) == m["n_vocab"] == len(set(tokens))
    at = kind + "."
    own = {"context_length": 512, "embedding_length": m["d_model"], "block_count": m["n_layer"],
           "feed_forward_length": m["d_ff"], "attention.head_count": m["n_head"],
           "attention.head_count_kv": m["n_kv_head"], "attention.layer_norm_rms_epsilon": EPS,
           "rope.freq_base": m["rope_theta"], "vocab_size": m["n_vocab"]}
    if kind not in ("olmo2", "olmoe", "phi3"):
        own |= {"attention.key_length": m["d_head"], "attention.value_length": m["d_head"]}
    if kind in ("llama", "phi3"):
        own |= {"rope.dimension_count": m["d_head"]}
    if "window" in m:
        own |= {"attention.sliding_window": m["window"]}
    if "n_expert" in m:
        own |= {"expert_count": m["n_expert"], "expert_used_count": m["n_used"]}
    if kind == "qwen3moe":
        own |= {"expert_feed_forward_length": m["d_ff"], "feed_forward_length": 3 * m["d_ff"]}
    return {"general.architecture": kind, "general.name": name, **{at + k: v for k, v in own.items()},
            "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "qwen2",
            "tokenizer.ggml.tokens": tokens,
            "tokenizer.ggml.token_type": [3, 3] + [1] * (len(tokens) - 2),
            "tokenizer.ggml.merges": [f"{a} {b}" for a, b in pairs],
            "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 0,
            "tokenizer.ggml.add_bos_token": False}


def text_bytes(text):
    return struct.pack("<Q", len(text.encode())) + text.encode()


def value_bytes(value):
    """The value with its type before it, as ggml's docs/gguf.md says."""
    if isinstance(value, bool):
        return struct.pack("<IB", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text_bytes(value)
    if isinstance(value[0], str):
        return struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(text_bytes, value))
    return struct.pack("<IIQ", 9, 5, len(value)) + np.array(value, "<i4").tobytes()


def with_special(name, special, **keys):
    """Metadata with tokens of one's own, {text: type}, in place of the last ones; `keys` are ids by
    name, eot="<turn>" for tokenizer.ggml.eot_token_id."""
    made = gguf_metadata(name)
    tokens = made["tokenizer.ggml.tokens"][:len(made["tokenizer.ggml.tokens"]) - len(special)]
    tokens = [*tokens, *special]
    changed = {"tokenizer.ggml.tokens": tokens,
               "tokenizer.ggml.token_type": [3, 3, *[1] * (len(tokens) - 2 - len(special)),
                                             *special.values()],
               "tokenizer.ggml.merges": [merge for merge in made["tokenizer.ggml.merges"]
                                         if merge.replace(" ", "") in tokens]}
    return changed | {f"tokenizer.ggml.{k}_token_id": tokens.index(v) for k, v in keys.items()}


def always(name, token):
    """Tensors of a model that says one token, whatever it reads."""
    made = gguf_tensors(name)
    for key, w in made.items():
        if key.endswith(("attn_output.weight", "ffn_down.weight")):
            made[key] = np.zeros_like(w)
    width = made["token_embd.weight"].shape[1]
    sign = np.where(np.arange(width) < width // 2, 1, -1).astype(np.float32)
    made["token_embd.weight"] = np.tile(sign, (len(made["token_embd.weight"]), 1))
    made["output_norm.weight"] = np.ones_like(made["output_norm.weight"])
    made["output.weight"] = np.zeros_like(made["output.weight"])
    made["output.weight"][token] = sign
    return made


def says(name, *chains, end=0):
    """Tensors of a model that says what is asked: each chain is a list of tokens, the first of which
    is read last before an answer, the others said one after the other; then comes `end`. A token is
    in one place only; what is behind none of them is `end`, too."""
    made = always(name, end)
    width = made["token_embd.weight"].shape[1]
    embedding, head = (np.zeros_like(made[key]) for key in ("token_embd.weight", "output.weight"))
    places = iter(range(width))
    for chain in chains:
        for token, after in zip(chain, [*chain[1:], end]):
            place = next(places)
            assert not embedding[token].any()
            embedding[token][place] = 1
            head[after][place] = 1
    return made | {"token_embd.weight": embedding, "output.weight": head}


def write_gguf(name, path, without=(), metadata=None, rename=None, tensors=None):
    """`without` leaves tensors or metadata out, `metadata` changes some, `rename` renames tensors:
    for sources that do not fit. `tensors` are in place of the model's."""
    pairs = {k: v for k, v in {**gguf_metadata(name), **(metadata or {})}.items() if k not in without}
    tensors = {(rename or {}).get(k, k): w for k, w in (tensors or gguf_tensors(name)).items()
               if k not in without}
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(pairs))
    for key, value in pairs.items():
        head += text_bytes(key) + value_bytes(value)
    data = b""
    for key, w in tensors.items():
        head += text_bytes(key) + struct.pack("<I", w.ndim)
        head += b"".join(struct.pack("<Q", n) for n in reversed(w.shape))
        head += struct.pack("<IQ", 0, len(data))
        data += w.astype("<f4").tobytes()
        data += b"\0" * (-len(data) % 32)
    path.write_bytes(head + b"\0" * (-len(head) % 32) + data)
    return path


if __name__ == "__main__":
    import pathlib
    write_gguf(sys.argv[1], pathlib.Path(sys.argv[2]))
