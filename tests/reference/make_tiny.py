#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes the tiny random-weight models of tests/fixtures, small enough to be kept in the repository.

Their numbers are awkward on purpose: vocabularies and feed-forwards that fill no block of 32 or
strip of 16, windows that end inside a cache block. Weights are scaled so that logits spread over
several units and attention is far from flat. Each has a small tokenizer that works, trained on
tests/fixtures/perplexity.txt.

Needs the PyPI packages gguf and numpy.    make_tiny.py [OUTPUT_FOLDER]
"""

import collections
import pathlib
import re
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf.quants import quantize

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, BYTE = 1, 2, 3, 4, 6


# ---- tokenizers ----------------------------------------------------------------------------------

def byte_alphabet():
    """GPT-2's printable stand-in for each byte: itself where printable, else 256 and up in order."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spare = iter(range(256, 512))
    return [chr(b) if b in plain else chr(next(spare)) for b in range(256)]


def learn_merges(words, count):
    """The most frequent adjacent pair, `count` times over; ties go to the pair that sorts first."""
    words = {word: (list(word), n) for word, n in words.items()}
    merges = []
    for _ in range(count):
        pairs = collections.Counter()
        for parts, n in words.values():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += n
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for parts, _ in words.values():
            i = 0
            while i + 1 < len(parts):
                if (parts[i], parts[i + 1]) == best:
                    parts[i:i + 2] = ["".join(best)]
                i += 1
    return merges


def training_words(space):
    text = (FIXTURES / "perplexity.txt").read_text()
    return collections.Counter(w.replace(" ", space) for w in re.findall(r" ?[A-Za-z]+", text))


def add_bpe(writer, pre, merge_count, specials_first):
    """Byte-level BPE: 256 bytes, merges, and ChatML's three control tokens."""
    alphabet = byte_alphabet()
    merges = learn_merges(training_words(alphabet[ord(" ")]), merge_count)
    normal = alphabet + ["".join(pair) for pair in merges]
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokens = specials + normal if specials_first else normal + specials
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([CONTROL if t in specials else NORMAL for t in tokens])
    writer.add_token_merges([" ".join(pair) for pair in merges])
    writer.add_bos_token_id(tokens.index("<|im_start|>"))
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_unk_token_id(tokens.index("<|endoftext|>"))
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    writer.add_chat_template(
        "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + "
        "message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}"
        "{{ '<|im_start|>assistant\\n' }}{% endif %}")
    return len(tokens)


def add_spm(writer, merge_count):
    """SentencePiece-style BPE by score: the characters of the training text, merged pieces with
    scores that fall in the order in which they were learnt, and a token for each byte."""
    text = (FIXTURES / "perplexity.txt").read_text().replace(" ", "\u2581")
    merges = learn_merges(training_words("\u2581"), merge_count)
    pieces = ["".join(pair) for pair in merges]
    characters = sorted(set(text) - {"\n"})
    tokens = [("<pad>", CONTROL, -1000.0), ("<eos>", CONTROL, -1000.0), ("<bos>", CONTROL, -1000.0),
              ("<unk>", UNKNOWN, -1000.0), ("<start_of_turn>", USER_DEFINED, -1000.0),
              ("<end_of_turn>", CONTROL, -1000.0), ("\n", USER_DEFINED, -1000.0),
              ("\n\n", USER_DEFINED, -1000.0)]
    tokens += [(f"<0x{b:02X}>", BYTE, -1000.0) for b in range(256)]
    tokens += [(piece, NORMAL, -float(i)) for i, piece in enumerate(pieces)]
    tokens += [(c, NORMAL, -float(len(pieces) + i)) for i, c in enumerate(characters)]
    names, kinds, scores = zip(*tokens)
    assert len(set(names)) == len(names)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(list(names))
    writer.add_token_scores(list(scores))
    writer.add_token_types(list(kinds))
    writer.add_bos_token_id(2)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(3)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    return len(tokens)


# ---- weights -------------------------------------------------------------------------------------

def pack_k_scales(scales, mins):
    """Eight 6-bit scales and eight 6-bit mins a row in the 12 bytes of Q4_K and Q5_K."""
    low, high = scales[:, :4], scales[:, 4:]
    low_min, high_min = mins[:, :4], mins[:, 4:]
    return np.concatenate([low | (high >> 4 << 6), low_min | (high_min >> 4 << 6),
                           (high & 15) | (high_min & 15) << 4], axis=1).astype(np.uint8)


def random_k_blocks(rng, type, shape, spread):
    """Random valid blocks of a k-quant (the gguf package only reads those), whose weights have
    about the standard deviation `spread`."""
    blocks = shape[0] * shape[1] // 256
    levels, codes = {Type.Q4_K: (16, 128), Type.Q5_K: (32, 160), Type.Q6_K: (64, 192)}[type]
    step = spread / (40 * levels / np.sqrt(12))
    f16 = lambda x: np.full((blocks, 1), x, np.float16).view(np.uint8)
    random_codes = rng.integers(0, 256, (blocks, codes), dtype=np.uint8)
    if type == Type.Q6_K:
        scales = (rng.integers(20, 60, (blocks, 16)) * rng.choice([-1, 1], (blocks, 16)))
        parts = [random_codes, scales.astype(np.int8).view(np.uint8), f16(step)]
    else:
        scales = rng.integers(20, 60, (blocks, 8))
        mins = scales + rng.integers(-3, 4, (blocks, 8))
        parts = [f16(step), f16(step * (levels - 1) / 2), pack_k_scales(scales, mins), random_codes]
    return np.concatenate(parts, axis=1).reshape(shape[0], -1)


class Weights:
    """Adds random tensors to a file."""

    def __init__(self, writer, seed):
        self.writer, self.rng = writer, np.random.default_rng(seed)

    def matrix(self, name, rows, cols, type=Type.F32, gain=1.0, spread=None):
        """[rows, cols] with standard deviation `spread`, or gain / sqrt(cols), which keeps a
        normalised input's size."""
        spread = gain / np.sqrt(cols) if spread is None else spread
        if type in (Type.Q4_K, Type.Q5_K, Type.Q6_K):
            data = random_k_blocks(self.rng, type, (rows, cols), spread)
        else:
            data = (self.rng.standard_normal((rows, cols)) * spread).astype(np.float32)
            if type != Type.F32:
                data = quantize(data, type)
        self.writer.add_tensor(name + ".weight", data, raw_dtype=type)

    def norm(self, name, n, mean=1.0):
        values = mean * (1.0 + 0.2 * self.rng.standard_normal(n))
        self.writer.add_tensor(name + ".weight", values.astype(np.float32))

    def bias(self, name, n):
        self.writer.add_tensor(name + ".bias",
                               (0.5 * self.rng.standard_normal(n)).astype(np.float32))


def decoder(out, name, architecture, seed, *, d_model, n_head, n_kv, d_head, n_ff, layers, types,
            tokenizer, embedding_type=Type.F32, head_type=None, rope_base=10000.0, window=0):
    """One file. `types` are given to the layers' seven matrices in turn."""
    writer = gguf.GGUFWriter(out / f"{name}.gguf", architecture)
    writer.add_name(name)
    writer.add_context_length(512)
    writer.add_embedding_length(d_model)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(n_ff)
    writer.add_head_count(n_head)
    writer.add_head_count_kv(n_kv)
    writer.add_layer_norm_rms_eps(1e-4)  # large enough to show in the logits
    writer.add_rope_freq_base(rope_base)
    if architecture == "llama":
        writer.add_rope_dimension_count(d_head)
    if architecture == "gemma3":
        writer.add_key_length(d_head)
        writer.add_value_length(d_head)
        writer.add_sliding_window(window)
    vocabulary = tokenizer(writer)
    writer.add_vocab_size(vocabulary)

    w = Weights(writer, seed)
    size = 2 / np.sqrt(d_model)
    w.matrix("token_embd", vocabulary, d_model, embedding_type, spread=size)
    # What a layer adds is smaller than what it is added to, as in trained models. Without that, one
    # key that llmsql and the reference round to different float16s already shows in the logits.
    branch = 0.12 * size * np.sqrt(d_model) if architecture == "gemma3" else 0.3 * size
    types = [types[i % len(types)] for i in range(7 * layers)]
    for i in range(layers):
        blk, q, k, v, o, gate, up, down = f"blk.{i}.", *types[7 * i:7 * i + 7]
        w.norm(blk + "attn_norm", d_model)
        w.matrix(blk + "attn_q", n_head * d_head, d_model, q, gain=1.2)
        w.matrix(blk + "attn_k", n_kv * d_head, d_model, k, gain=1.2)
        w.matrix(blk + "attn_v", n_kv * d_head, d_model, v)
        if architecture == "qwen2":
            w.bias(blk + "attn_q", n_head * d_head)
            w.bias(blk + "attn_k", n_kv * d_head)
            w.bias(blk + "attn_v", n_kv * d_head)
        w.matrix(blk + "attn_output", d_model, n_head * d_head, o, gain=branch)
        if architecture == "gemma3":
            w.norm(blk + "attn_q_norm", d_head)
            w.norm(blk + "attn_k_norm", d_head)
            w.norm(blk + "post_attention_norm", d_model, mean=branch)
            w.norm(blk + "post_ffw_norm", d_model, mean=branch)
        w.norm(blk + "ffn_norm", d_model)
        w.matrix(blk + "ffn_gate", n_ff, d_model, gate, gain=1.2)
        w.matrix(blk + "ffn_up", n_ff, d_model, up, gain=1.2)
        w.matrix(blk + "ffn_down", d_model, n_ff, down, gain=branch)
    w.norm("output_norm", d_model)
    if head_type is not None:
        w.matrix("output", vocabulary, d_model, head_type, gain=2.0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else FIXTURES
    chatml = lambda writer: add_bpe(writer, "smollm", 41, specials_first=True)
    # The head is tied; 44 is a block of 32 and a part, 300 tokens are 18 strips and a part.
    decoder(out, "tiny-llama", "llama", 1, d_model=64, n_head=4, n_kv=2, d_head=16, n_ff=44,
            layers=2, types=[Type.F32], tokenizer=chatml)
    # A head of its own; the 16-bit types.
    decoder(out, "tiny-llama-f16", "llama", 2, d_model=64, n_head=4, n_kv=4, d_head=16, n_ff=44,
            layers=2, types=[Type.F16, Type.BF16], tokenizer=chatml, embedding_type=Type.F16,
            head_type=Type.BF16)
    # Every block-quantised type of 32.
    decoder(out, "tiny-llama-quant", "llama", 3, d_model=64, n_head=4, n_kv=2, d_head=16, n_ff=96,
            layers=3, types=[Type.Q4_0, Type.Q4_1, Type.Q5_0, Type.Q5_1, Type.Q8_0],
            tokenizer=chatml, embedding_type=Type.Q8_0, head_type=Type.Q5_1)
    # Every block-quantised type of 256 that is supported.
    decoder(out, "tiny-llama-k", "llama", 4, d_model=256, n_head=4, n_kv=1, d_head=64, n_ff=256,
            layers=1, types=[Type.Q4_K, Type.Q5_K, Type.Q6_K, Type.Q4_K], tokenizer=chatml,
            embedding_type=Type.Q6_K)
    # Biases, three query heads a key-value head, rows of one and a half blocks.
    decoder(out, "tiny-qwen2", "qwen2", 5, d_model=48, n_head=6, n_kv=2, d_head=8, n_ff=100,
            layers=2, types=[Type.F32], rope_base=1e6,
            tokenizer=lambda writer: add_bpe(writer, "qwen2", 48, specials_first=False))
    # Layer 5 is global, the other six local; heads wider together than the model.
    decoder(out, "tiny-gemma3", "gemma3", 6, d_model=32, n_head=2, n_kv=1, d_head=32, n_ff=36,
            layers=7, types=[Type.F32, Type.F32, Type.F16, Type.F16, Type.F16, Type.F16, Type.F32],
            rope_base=1e6, window=24, tokenizer=lambda writer: add_spm(writer, 80))


if __name__ == "__main__":
    main()
