#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A GGUF like another one, tensor by tensor and key by key, with random weights in the types that publishers use: of a
model whose shape can be had (converted from an empty safetensors file, say) and whose weights cannot. Its text is noise;
its speed, memory and bytes are those of the real one.

    random_like.py SOURCE.gguf OUT.gguf [--experts MXFP4]

Matrices are Q4_K, as in Q4_K_M with half of attn_v and ffn_down, the head and the embeddings in Q6_K; where rows are
no multiple of 256, Q5_0 and Q8_0, as llama-quantize does; matrices of under 100,000 weights, vectors and factors of positions as
they are in the source, but for norms, which are around 1, and biases, around 0. Needs the PyPI packages numpy and gguf.
"""

import argparse
import pathlib

import gguf
import numpy as np

Type = gguf.GGMLQuantizationType
SPREAD = 0.02  # of a weight
SMALL = 100_000


def halves(values):
    return values.astype("<f2").view(np.uint8).reshape(-1, 2)


def block(kind, random, count):
    """Blocks of random codes whose weights are around 0."""
    made = random.integers(0, 256, (count, gguf.GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    scale = random.uniform(0.5, 1.5, count) * SPREAD
    if kind == Type.Q4_K:
        made[:, 0:2] = halves(scale / 150)
        made[:, 2:4] = halves(scale / 150 * 7.5)
    elif kind == Type.Q6_K:
        made[:, 208:210] = halves(scale / 1300)
    elif kind == Type.Q5_0:
        made[:, 0:2] = halves(scale / 8)
    elif kind == Type.Q8_0:
        made[:, 0:2] = halves(scale / 64)
    elif kind == Type.MXFP4:
        made[:, 0] = random.integers(119, 121, count)
    return made


def blocks(kind, random, shape):
    """The same few thousand over and over, from another one on."""
    weights, _ = gguf.GGML_QUANT_SIZES[kind]
    count = int(np.prod(shape)) // weights
    made = block(kind, random, min(count, 1 << 15))
    return np.resize(made, (count, made.shape[1]))


def kind_of(tensor, shape, layers, experts):
    """The type of a tensor in the file that is written; none: the source's."""
    if len(shape) < 2 or int(np.prod(shape)) < SMALL or not tensor.name.endswith(".weight") or "norm" in tensor.name:
        return None
    if "_exps" in tensor.name and experts:
        return experts
    layer = int(tensor.name.split(".")[1]) if tensor.name.startswith("blk.") else 0
    large = tensor.name.startswith(("token_embd", "output", "per_layer_token_embd")) or (
        any(part in tensor.name for part in ("attn_v.", "ffn_down")) and
        (layer < layers // 8 or layer >= 7 * layers // 8 or layer % 3 == 2))
    if shape[-1] % 256:
        return Type.Q8_0 if large else Type.Q5_0
    return Type.Q6_K if large else Type.Q4_K


def values_of(tensor, shape, random):
    if "norm" in tensor.name and tensor.name.endswith("weight"):
        return random.uniform(0.7, 1.3, shape).astype(np.float32)
    if tensor.name.endswith("bias") or "sinks" in tensor.name:
        return random.normal(0, 0.02, shape).astype(np.float32)
    values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(shape)
    if not values.any():
        values = random.normal(0, SPREAD, shape)
    return values.astype(np.float32)


def copy_keys(source, writer):
    left_out = {gguf.Keys.General.ARCHITECTURE, "GGUF.version", "GGUF.tensor_count", "GGUF.kv_count"}
    for field in source.fields.values():
        if field.name not in left_out:
            kind = field.types[0]
            writer.add_key_value(field.name, field.contents(), kind,
                                 sub_type=field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--experts", type=lambda name: Type[name], help="type of the experts' matrices")
    options = parser.parse_args()
    source = gguf.GGUFReader(options.source)
    architecture = source.fields[gguf.Keys.General.ARCHITECTURE].contents()
    layers = source.fields[f"{architecture}.block_count"].contents()
    writer = gguf.GGUFWriter(options.out, architecture)
    copy_keys(source, writer)
    random = np.random.default_rng(1)
    tensors = []
    for tensor in source.tensors:
        shape = [int(n) for n in reversed(tensor.shape)]
        kind = kind_of(tensor, shape, layers, options.experts)
        tensors.append((tensor, shape, kind))
        if kind:
            weights, size = gguf.GGML_QUANT_SIZES[kind]
            stored = [*shape[:-1], shape[-1] // weights * size]
            writer.add_tensor_info(tensor.name, stored, np.dtype(np.uint8), int(np.prod(stored)), raw_dtype=kind)
        else:
            writer.add_tensor_info(tensor.name, shape, np.dtype(np.float32), 4 * int(np.prod(shape)))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor, shape, kind in tensors:
        writer.write_tensor_data(blocks(kind, random, shape) if kind else values_of(tensor, shape, random))
    writer.close()


if __name__ == "__main__":
    main()
