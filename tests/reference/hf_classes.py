#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What transformers' classes make of a config.json and of tensors, for importer/hf_classes.cpp.

    hf_classes.py > importer/hf_classes.cpp

Of each class for which there is a graph: the values of keys that config.json leaves out, keys of two names,
rotary positions where nothing is said, biases and the flags they go by, whether the head may be the embedding.
Needs the PyPI packages torch and transformers, of the version that the file names.
"""

import dataclasses
import json
import math
import pathlib
import re
import sys
import textwrap
import warnings

import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[2]
# What never bears on what is computed, or is written into a folder by whatever saves it.
IDLE = {"transformers_version", "architectures", "output_hidden_states", "return_dict", "dtype",
        "chunk_size_feed_forward", "is_encoder_decoder", "id2label", "label2id", "problem_type", "use_cache",
        "initializer_range", "attention_dropout", "output_router_logits", "router_aux_loss_coef", "pretraining_tp",
        "bos_token_id", "eos_token_id", "pad_token_id", "hidden_dropout", "residual_dropout", "embedding_dropout",
        "resid_pdrop", "embd_pdrop", "attn_pdrop", "rope_parameters", "summary_type", "summary_use_proj",
        "summary_activation", "summary_proj_to_labels", "summary_first_dropout", "router_jitter_noise",
        "num_logits_to_keep", "use_mamba_kernels", "mamba_ssm_cache_dtype", "time_step_rank", "time_step_max",
        "time_step_floor", "rescale_prenorm_residual", "chunk_size", "mamba_chunk_size",
        "moe_shared_expert_overlap", "residual_in_fp32", "num_nextn_predict_layers", "num_mtp_layers",
        "use_bidirectional_attention", "reorder_and_upcast_attn", "add_cross_attention"}
# Sizes that every config.json says: one that does not is told so, and not what shape that would make.
SIZES = {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "n_embd",
         "n_layer", "n_head", "n_positions"}
# Names that classes take in words of their own (their __post_init__), beside attribute_map.
NAMES = {
    "Lfm2ForCausalLM": {"block_ff_dim": "intermediate_size", "tie_embedding": "tie_word_embeddings"},
    "Lfm2MoeForCausalLM": {"tie_embedding": "tie_word_embeddings"},
    "NemotronHForCausalLM": {"mamba_n_groups": "n_groups", "mamba_d_conv": "conv_kernel", "mamba_expand": "expand",
                             "mamba_dt_min": "time_step_min", "mamba_dt_limit": "time_step_limit",
                             "mamba_conv_bias": "use_conv_bias"},
}
# Of which the graph says itself what is left out.
THEMSELVES = {"Gemma4ForCausalLM", "Gemma4ForConditionalGeneration", "FalconForCausalLM"}
# Models of more than text: their classes, and those of their text parts by model_type ("": any).
WRAPPERS = {
    "Gemma3ForConditionalGeneration": {"": "Gemma3ForCausalLM"},
    "Gemma3nForConditionalGeneration": {"": "Gemma3nForCausalLM"},
    "Llama4ForConditionalGeneration": {"": "Llama4ForCausalLM"},
    "Mistral3ForConditionalGeneration": {"ministral3": "Ministral3ForCausalLM", "mistral": "MistralForCausalLM",
                                         "mistral4": "Mistral4ForCausalLM"},
    "Qwen2VLForConditionalGeneration": {"": "Qwen2VLTextModel"},
    "Qwen2_5_VLForConditionalGeneration": {"": "Qwen2_5_VLTextModel"},
    "Qwen3VLForConditionalGeneration": {"": "Qwen3VLTextModel"},
    "Qwen3VLMoeForConditionalGeneration": {"": "Qwen3VLMoeTextModel"},
    "Qwen3_5ForConditionalGeneration": {"": "Qwen3_5ForCausalLM"},
    "Qwen3_5MoeForConditionalGeneration": {"": "Qwen3_5MoeForCausalLM"},
}
# Whose older files say of the text part beside the other parts, without an object of its own.
FLAT = {"Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration"}
# Configurations of their own of which transformers makes a class of another name.
READ_BY = {"ExaoneForCausalLM": ("LlamaForCausalLM", "ExaoneConfig"),
           "InternLM3ForCausalLM": ("LlamaForCausalLM", "InternLM3Config"),
           "IQuestCoderForCausalLM": ("LlamaForCausalLM", "IQuestCoderConfig")}
# Sizes with which a class is made, without any memory, to see its tensors.
SMALL = dict(num_hidden_layers=4, hidden_size=64, intermediate_size=64, vocab_size=64, num_attention_heads=4,
             num_key_value_heads=2, pad_token_id=None, n_layer=2, n_embd=64, n_head=4)
OWN = {
    "dots1": dict(n_routed_experts=4, n_shared_experts=1, num_experts_per_tok=2, moe_intermediate_size=64),
    "gemma3n_text": dict(layer_types=["sliding_attention", "full_attention"] * 2, num_kv_shared_layers=1),
    "mamba2": dict(num_heads=8, head_dim=16, expand=2, n_groups=1),
    "nemotron_h": dict(layers_block_type=["mamba", "attention", "mlp", "moe"], mamba_num_heads=8, mamba_head_dim=16,
                       n_groups=1),
    "granitemoehybrid": dict(layer_types=["mamba", "attention", "mamba", "mamba"], mamba_n_heads=8),
    "falcon_h1": dict(mamba_d_ssm=128, mamba_n_heads=8),
    "lfm2": dict(layer_types=["conv", "full_attention", "conv", "conv"]),
    "lfm2_moe": dict(layer_types=["conv", "full_attention", "conv", "conv"]),
    "hunyuan_v1_dense": dict(head_dim=16),
    "hunyuan_v1_moe": dict(head_dim=16),
    "qwen3_5_text": dict(linear_num_key_heads=2, linear_num_value_heads=4),
}


def as_json(value):
    if isinstance(value, float) and not math.isfinite(value):
        return {"__float__": "Infinity" if value > 0 else "-Infinity"}
    if isinstance(value, (list, tuple)):
        return [as_json(each) for each in value]
    return value


def made(model, kind, **flags):
    known = {field.name for field in dataclasses.fields(model.config_class)} | set(model.config_class.attribute_map)
    sizes = {key: value for key, value in (SMALL | OWN.get(kind, {}) | flags).items()
             if key in known or key in OWN.get(kind, {})}
    with torch.device("meta"):
        return model(model.config_class(**sizes))


def biases_of(model, kind, flags):
    """{pattern: flag or ""} of all biases that the class can have."""
    def there(**values):
        names = {re.sub(r"\.\d+\.", ".*.", name) for name in made(model, kind, **values).state_dict()}
        return {re.sub(r"^(model|backbone|transformer)\.", "", name) for name in names
                if name.endswith((".bias", "_bias"))}
    everything = there(**{flag: True for flag in flags})
    by = {name: "" for name in everything}
    for flag in flags:
        for name in everything - there(**{each: each != flag for each in flags}):
            by[name] = flag
    return dict(sorted(by.items()))


def facts_of(architecture):
    model_name, config_name = READ_BY.get(architecture, (architecture, None))
    model = getattr(transformers, model_name)
    config = getattr(transformers, config_name) if config_name else model.config_class
    kind = config.model_type
    defaults, optional = {}, []
    for field in dataclasses.fields(config):
        value = field.default if field.default is not dataclasses.MISSING else None
        if value is None or field.name in IDLE | SIZES or value == "auto":
            continue
        defaults[field.name] = as_json(value)
    names = {}
    fields = {field.name for field in dataclasses.fields(config)}
    for alias, name in config.attribute_map.items():
        if isinstance(getattr(config, name, None), property):
            continue
        names |= {name: alias} if alias in fields and name not in fields else {alias: name}
    names |= NAMES.get(architecture, {})
    facts = {"model_type": kind, "defaults": defaults, "names": names,
             "tied": bool(getattr(model, "_tied_weights_keys", None)) or architecture.endswith("TextModel"), "windows": "sliding_window" in fields}
    whole = config()
    rope = getattr(whole, "rope_parameters", None)
    if isinstance(config.default_theta, dict):
        facts["theta"], facts["local_theta"] = config.default_theta["global"], config.default_theta["local"]
        facts["local_key"] = "rope_local_base_freq"
    elif rope and "full_attention" in rope:
        facts["theta"] = facts["local_theta"] = config.default_theta
    elif rope:
        facts["theta"] = config.default_theta
        if "partial_rotary_factor" in rope and rope["partial_rotary_factor"] != 1:
            facts["partial"] = rope["partial_rotary_factor"]
        rest = {key: value for key, value in rope.items() if key not in ("rope_theta", "rope_type",
                                                                         "partial_rotary_factor", "type")}
        if rest:
            facts["positions"] = {key: value for key, value in rope.items()
                             if key not in ("max_position_embeddings", "type")
                             and not (key == "rope_theta" and value == config.default_theta)}
    flags = [name for name, value in defaults.items()
             if isinstance(value, bool) and ("bias" in name or name == "qk_layernorm")]
    facts["biases"] = biases_of(model, model.config_class.model_type, flags)
    if config_name:
        facts["read_by"] = model_name
    return facts


def write(facts):
    text = json.dumps(facts, separators=(", ", ":"))
    print("\n".join(textwrap.wrap('R"json(' + text + ')json",', 116, break_long_words=False, break_on_hyphens=False)))


def main():
    warnings.filterwarnings("ignore")
    transformers.logging.set_verbosity_error()
    names = []
    for graph in sorted((ROOT / "graphs").glob("*.graph")):
        for line in graph.read_text().splitlines():
            if line.startswith("graph "):
                names += re.findall(r'"(\w+)"', line.split("@hf(")[1])
    print(f"""// SPDX-License-Identifier: MIT
// What transformers {transformers.__version__} takes where a config.json says nothing, class by class; made by
// tests/reference/hf_classes.py. See hf_config.h.
#include "importer/hf_config.h"

namespace llmsql {{

// clang-format off
const std::string_view kHfClasses[] = {{""")
    for name in sorted(set(names)):
        if name in WRAPPERS or name in THEMSELVES or not (name in READ_BY or hasattr(transformers, name)):
            continue
        write({name: facts_of(name)})
    for name, parts in sorted(WRAPPERS.items()):
        fields = [field.name for field in dataclasses.fields(getattr(transformers, name).config_class)]
        own = sorted(set(fields) - {"text_config", "tie_word_embeddings"} - IDLE |
                     set(getattr(transformers, name).config_class.attribute_map))
        tied = next(field.default for field in dataclasses.fields(getattr(transformers, name).config_class)
                    if field.name == "tie_word_embeddings")
        write({name: {"model_type": getattr(transformers, name).config_class.model_type, "text": parts, "own": own,
                      "tied": tied} | ({"flat": True} if name in FLAT else {})})
    print("""};
// clang-format on

const size_t kHfClassCount = sizeof kHfClasses / sizeof *kHfClasses;

}  // namespace llmsql""")


if __name__ == "__main__":
    sys.exit(main())
