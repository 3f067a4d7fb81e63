#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A tiny random model of any architecture that transformers has, as a Hugging Face folder with a
byte-level tokenizer: what docs/adding-an-architecture.md tries a new graph with.

    random_model.py TYPE FOLDER [KEY=VALUE …]

TYPE is model_type of a config.json (olmo2, granite, smollm3); KEY=VALUE overrides the configuration. What was
written is printed, with the kinds of its layers. Needs the PyPI packages torch, transformers and tokenizers.
"""

import ast
import collections
import sys

import tokenizers
import torch
import transformers

# Awkward on purpose: nothing fills a block of 32, heads are not of d_model / n_head (which some GGUFs cannot say).
SIZES = dict(vocab_size=300, hidden_size=80, intermediate_size=100, num_hidden_layers=5,
             num_attention_heads=4, num_key_value_heads=2, head_dim=24, max_position_embeddings=512,
             tie_word_embeddings=False, bos_token_id=None, eos_token_id=257, pad_token_id=None)


def byte_tokenizer():
    letters = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {letter: token for token, letter in enumerate(sorted(letters))}
    vocabulary["Ġt"] = len(vocabulary)  # llmsql takes a tokenizer without merges for a broken one
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, [("Ġ", "t")]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")


def layers_of(config):
    """How many layers there are of each kind, as far as the configuration says."""
    kinds = getattr(config, "layer_types", None)
    if not kinds:
        return f"{config.num_hidden_layers} layers"
    return "layers: " + ", ".join(f"{count} {kind}" for kind, count in collections.Counter(kinds).items())


def main():
    kind, folder, *changes = sys.argv[1:]
    sizes = dict(SIZES)
    for change in changes:
        key, value = change.split("=", 1)
        sizes[key] = ast.literal_eval(value)
    torch.manual_seed(1)
    config = transformers.AutoConfig.for_model(kind, **sizes)
    model = transformers.AutoModelForCausalLM.from_config(config).float()
    for name, weight in model.named_parameters():
        # Norms that do nothing and matrices near zero would hide mistakes.
        weight.data = (1 + 0.3 * torch.randn_like(weight) if weight.dim() == 1
                       else torch.randn_like(weight) * 1.5 / weight.shape[-1] ** 0.5)
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    window = getattr(config, "sliding_window", None)
    print(f"{folder}: {type(model).__name__}, {layers_of(config)}; window: {window or 'none'}")


if __name__ == "__main__":
    main()
