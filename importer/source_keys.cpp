// SPDX-License-Identifier: MIT
// Which keys change nothing. See source_keys.h.
#include "importer/source_keys.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <set>
#include <span>
#include <utility>

#include "common/error.h"
#include "compiler/parse/source.h"

namespace llmsql {

using compiler::Param;
namespace {

/// A key and the values at which it changes nothing for a graph that does not read it, parted by
/// spaces: a number (true is 1, false 0), a text in single quotes, `[]` for an empty list and `{}`
/// for an empty object; `any` for a key that never bears on what is computed. `head` is the width
/// of a head, `1/sqrt(head)` what attention scales by, `vocabulary` the rows of the embedding, and
/// `=key` what the source says under another key. A list passes where each of its elements does. A
/// `*` at the end of a key stands for the rest of it.
struct KnownKey {
    std::string_view key;
    std::string_view neutral;
};

// Keys of a GGUF, behind "<architecture>.". The names are those of gguf-py/gguf/constants.py; what
// they mean, and what is neutral, follows llama.cpp's src/llama-model.cpp (load_hparams),
// src/models/*.cpp (load_arch_hparams) and src/llama-context.cpp. Names that are not here, as of
// experts that share, of recurrent layers or of low ranks, are of what no graph does unread.
constexpr auto kGgufKeys = std::to_array<KnownKey>({
    // Descriptions, and what is only for training or for the tokenizer.
    {"context_length", "any"},
    {"vocab_size", "vocabulary"},
    {"decoder_start_token_id", "any"},
    {"rope.scaling.finetuned", "any"},
    {"rope.scaling.original_context_length", "any"},  // counts for YaRN alone, see below
    {"tensor_data_layout", "'Meta AI original pth'"},
    {"embedding_length_out", "0 =embedding_length"},
    {"features_length", "0 =embedding_length"},
    // Widths of heads.
    {"attention.head_count_kv", "=attention.head_count"},
    {"attention.key_length", "head"},
    {"attention.value_length", "head"},
    {"attention.key_length_swa", "head"},
    {"attention.value_length_swa", "head"},
    {"attention.key_length_mla", "0"},
    {"attention.value_length_mla", "0"},
    // Attention.
    {"attention.causal", "1"},
    {"attention.scale", "0 1/sqrt(head)"},
    {"attention.output_scale", "1"},
    {"attention.value_scale", "1"},
    {"attention.clamp_kqv", "0"},
    {"attention.max_alibi_bias", "0"},
    {"attention.sliding_window", "0"},
    {"attention.sliding_window_pattern", "0"},
    {"attention.shared_kv_layers", "0"},
    {"attention.recurrent_layers", "0"},
    {"attention.temperature_length", "0"},
    {"attention.temperature_scale", "0"},
    {"attention.q_lora_rank", "0"},
    {"attention.kv_lora_rank", "0"},
    {"attention.relative_buckets_count", "0"},
    {"attn_logit_softcapping", "0"},
    {"use_parallel_residual", "0"},
    {"full_attention_interval", "0 1"},
    // Of the norms, which a graph has as it reads their epsilon.
    {"attention.layer_norm_epsilon", "=attention.layer_norm_rms_epsilon"},
    {"attention.group_norm_epsilon", "=attention.layer_norm_rms_epsilon"},
    {"swin_norm", "0"},
    // Rotary positions.
    {"rope.dimension_count", "head"},
    {"rope.dimension_count_swa", "head"},
    {"rope.dimension_sections", "0"},
    {"rope.freq_base_swa", "=rope.freq_base"},
    {"rope.scaling.type", "'none' 'linear'"},
    {"rope.scaling.factor", "0 1"},
    {"rope.scale_linear", "0 1"},  // the older name of rope.scaling.factor
    {"rope.scaling.alpha", "0"},
    {"rope.scaling.attn_factor", "1"},
    {"rope.scaling.yarn_log_multiplier", "0"},
    {"rope.scaling.yarn_ext_factor", "0 -1"},
    {"rope.scaling.yarn_attn_factor", "1 -1"},
    {"rope.scaling.yarn_beta_fast", "32"},
    {"rope.scaling.yarn_beta_slow", "1"},
    // Scales and caps.
    {"embedding_scale", "0 1"},
    {"residual_scale", "0 1"},
    {"logit_scale", "0 1"},
    {"final_logit_softcapping", "0"},
    {"router_logit_softcapping", "0"},
    {"activation_sparsity_scale", "0"},
    {"swiglu_clamp_exp", "0"},
    {"swiglu_clamp_shexp", "0"},
    // Experts, and other layers.
    {"expert_count", "0"},
    {"expert_used_count", "0"},
    {"expert_feed_forward_length", "0"},
    {"expert_shared_count", "0"},
    {"expert_shared_feed_forward_length", "0"},
    {"expert_chunk_feed_forward_length", "0"},
    {"expert_group_count", "0 1"},
    {"expert_group_used_count", "0 1"},
    {"expert_group_scale", "0 1"},
    {"expert_gating_func", "0"},
    {"expert_weights_scale", "0 1"},
    {"expert_weights_norm", "0"},
    {"experts_per_group", "0"},
    {"expert_latent_length", "0"},
    {"leading_dense_block_count", "0"},
    {"moe_every_n_layers", "0 1"},
    {"interleave_moe_layer_step", "0 1"},
    {"moe_latent_size", "0"},
    {"nextn_predict_layers", "0"},
    {"n_deepstack_layers", "0"},
    {"rescale_every_n_layers", "0"},
    {"num_loops", "0 1"},
    {"hash_layer_count", "0"},
    {"embedding_length_per_layer_input", "0"},
    {"token_shift_count", "0"},
    {"ssm.*", "0"},
    {"adapters.count", "0"},
    {"hyper_connection.count", "0"},
    {"pooling_type", "0"},
});

// Keys of config.json, those of a member text_config too. The source is transformers 5.24:
// configuration_utils.py (what every configuration has, in older files too) and the
// configuration_*.py and modeling_*.py of the families llama, mistral, qwen2, qwen3, qwen3_moe,
// gemma3, olmo2, olmoe and phi3; of granite, smollm3, cohere and stablelm what would change a graph
// copied for them. What single families have besides is ignored by their graphs: `ignore`.
constexpr auto kHfKeys = std::to_array<KnownKey>({
    // Of every configuration: descriptions, the program's own choices, and training.
    {"architectures", "any"},
    {"model_type", "any"},
    {"transformers_version", "any"},
    {"torch_dtype", "any"},
    {"dtype", "any"},
    {"_name_or_path", "any"},
    {"name_or_path", "any"},
    {"_commit_hash", "any"},
    {"_attn_implementation*", "any"},
    {"_experts_implementation*", "any"},
    {"attn_implementation", "any"},
    {"_flash_attn_2_enabled", "any"},
    {"use_flash_attn", "any"},
    {"auto_map*", "any"},
    {"use_cache", "any"},
    {"cache_implementation", "any"},
    {"pretraining_tp", "any"},
    {"gradient_checkpointing", "any"},
    {"initializer_range", "any"},
    {"initializer_factor", "any"},
    {"attention_dropout", "any"},
    {"hidden_dropout", "any"},
    {"hidden_dropout_prob", "any"},
    {"embd_pdrop", "any"},
    {"attn_pdrop", "any"},
    {"resid_pdrop", "any"},
    {"classifier_dropout", "any"},
    {"output_attentions", "any"},
    {"output_hidden_states", "any"},
    {"output_router_logits", "any"},
    {"router_aux_loss_coef", "any"},
    {"router_z_loss_coef", "any"},
    {"return_dict", "any"},
    {"use_return_dict", "any"},
    {"torchscript", "any"},
    {"tf_legacy_loss", "any"},
    {"use_bfloat16", "any"},
    {"chunk_size_feed_forward", "any"},
    {"is_decoder", "any"},
    {"tie_encoder_decoder", "any"},
    {"id2label.*", "any"},
    {"label2id.*", "any"},
    {"num_labels", "any"},
    {"problem_type", "any"},
    {"finetuning_task", "any"},
    {"task_specific_params*", "any"},
    {"tokenizer_class", "any"},
    {"prefix", "any"},
    {"is_encoder_decoder", "0"},
    {"add_cross_attention", "0"},
    {"pruned_heads", "{}"},
    // How long texts were; the tokens' ids, which the tokenizer's files say as well.
    {"max_position_embeddings", "any"},
    {"max_sequence_length", "any"},
    {"model_max_length", "any"},
    {"seq_length", "any"},
    {"bos_token_id", "any"},
    {"eos_token_id", "any"},
    {"pad_token_id", "any"},
    {"sep_token_id", "any"},
    {"unk_token_id", "any"},
    {"decoder_start_token_id", "any"},
    // How text is generated, which was part of it once (generation_config.json).
    {"max_length", "any"},
    {"min_length", "any"},
    {"do_sample", "any"},
    {"early_stopping", "any"},
    {"num_beams", "any"},
    {"num_beam_groups", "any"},
    {"diversity_penalty", "any"},
    {"temperature", "any"},
    {"top_k", "any"},
    {"top_p", "any"},
    {"typical_p", "any"},
    {"repetition_penalty", "any"},
    {"length_penalty", "any"},
    {"no_repeat_ngram_size", "any"},
    {"encoder_no_repeat_ngram_size", "any"},
    {"bad_words_ids", "any"},
    {"num_return_sequences", "any"},
    {"output_scores", "any"},
    {"return_dict_in_generate", "any"},
    {"forced_bos_token_id", "any"},
    {"forced_eos_token_id", "any"},
    {"remove_invalid_values", "any"},
    {"exponential_decay_length_penalty", "any"},
    {"suppress_tokens", "any"},
    {"begin_suppress_tokens", "any"},
    // Notes of other programs: SmolLM2's training, transformers.js, Unsloth.
    {"is_llama_config", "any"},
    {"transformers.js_config*", "any"},
    {"unsloth_version", "any"},
    {"unsloth_fixed", "any"},
    // By which tensors there are; the head is looked after where it is read.
    {"tie_word_embeddings", "any"},
    {"vocab_size", "vocabulary"},
    // Biases, of which the tensors would be left over too.
    {"attention_bias", "0"},
    {"attention_out_bias", "0"},
    {"qkv_bias", "0"},
    {"use_qkv_bias", "0"},
    {"mlp_bias", "0"},
    {"use_bias", "0"},
    {"lm_head_bias", "0"},
    // Attention.
    {"head_dim", "head"},
    {"num_key_value_heads", "=num_attention_heads"},
    {"is_causal", "1"},
    {"use_bidirectional_attention", "0"},
    {"sliding_window", "0"},
    {"use_sliding_window", "0"},
    {"layer_types", "'full_attention'"},
    {"attn_logit_softcapping", "0"},
    {"query_pre_attn_scalar", "head"},
    {"attention_multiplier", "1/sqrt(head)"},
    {"clip_qkv", "0"},
    {"qk_norm", "0"},
    {"use_qk_norm", "0"},
    {"qk_layernorm", "0"},
    {"alibi", "0"},
    {"parallel_attn", "0"},
    {"use_parallel_residual", "0"},
    {"layer_norm_eps", "=rms_norm_eps"},
    {"layer_norm_epsilon", "=rms_norm_eps"},
    // Rotary positions.
    {"rope_interleaved", "0"},
    {"partial_rotary_factor", "1"},
    {"rotary_pct", "1"},
    {"rope_scaling.rope_type", "'default'"},
    {"rope_scaling.type", "'default'"},
    {"rope_scaling.factor", "1"},
    {"rope_scaling.attention_factor", "1"},
    {"rope_scaling", "{}"},
    {"rope_parameters.rope_type", "'default'"},
    {"rope_parameters.type", "'default'"},
    {"rope_parameters.factor", "1"},
    {"rope_parameters.partial_rotary_factor", "1"},
    {"rope_parameters.attention_factor", "1"},
    {"rope_parameters", "{}"},
    {"no_rope_layers", "1"},
    {"no_rope_layer_interval", "0"},
    // Scales and caps.
    {"embedding_multiplier", "1"},
    {"residual_multiplier", "1"},
    {"logits_scaling", "1"},
    {"logit_scale", "1"},
    {"scale_embedding", "0"},
    {"final_logit_softcapping", "0"},
    // Experts.
    {"num_experts", "0"},
    {"num_local_experts", "0"},
    {"num_experts_per_tok", "0"},
    {"norm_topk_prob", "0"},
    {"decoder_sparse_step", "1"},
    {"mlp_only_layers", "[]"},
});

/// A source's numbers are of f32 at times, and what they should be is computed in f64.
bool is_about(double a, double b) {
    if (a == b) return true;
    return std::isfinite(a) && std::isfinite(b) &&
           std::abs(a - b) <= 1e-6 * std::max(std::abs(a), std::abs(b));
}

class Judge {
  public:
    Judge(const Source& source, const SourceMetadata& metadata)
        : metadata_(metadata),
          gguf_(source.format() == "gguf"),
          prefix_(gguf_ ? source.architecture() + "." : "") {}

    bool is_neutral(std::string key, const SourceValue& value) {
        if (gguf_) {
            key = key.substr(prefix_.size());
        } else {
            prefix_ = key.starts_with(kTextConfig) ? kTextConfig : "";
            key = key.substr(prefix_.size());
        }
        const std::span<const KnownKey> table =
            gguf_ ? std::span<const KnownKey>(kGgufKeys) : std::span<const KnownKey>(kHfKeys);
        return std::ranges::any_of(table, [&](const KnownKey& known) {
            if (known.key.ends_with('*')
                    ? !key.starts_with(known.key.substr(0, known.key.size() - 1))
                    : key != known.key)
                return false;
            return passes(known.neutral, value);
        });
    }

  private:
    static constexpr const char* kTextConfig = "text_config.";

    bool passes(std::string_view neutral, const SourceValue& value) {
        if (neutral == "any") return true;
        if (value.kind == SourceValue::Kind::other) return neutral == "{}";
        if (value.kind == SourceValue::Kind::list && value.count == 0) return neutral == "[]";
        if (value.kind == SourceValue::Kind::list)
            return value.elements.size() == value.count &&
                   std::ranges::all_of(value.elements, [&](const SourceValue& element) {
                       return element.kind != SourceValue::Kind::list && passes(neutral, element);
                   });
        while (!neutral.empty()) {
            // A text in quotes may have spaces.
            const size_t end = neutral[0] == '\'' ? neutral.find('\'', 1) + 1 : neutral.find(' ');
            if (equals(neutral.substr(0, end), value)) return true;
            neutral =
                end >= neutral.size() ? "" : neutral.substr(neutral.find_first_not_of(' ', end));
        }
        return false;
    }

    bool equals(std::string_view word, const SourceValue& value) {
        if (word[0] == '\'')
            return value.kind == SourceValue::Kind::text &&
                   value.text == word.substr(1, word.size() - 2);
        if (value.kind != SourceValue::Kind::number) return false;
        const std::optional<double> wanted = number_of(word);
        return wanted && is_about(value.number, *wanted);
    }

    std::optional<double> number_of(std::string_view word) {
        if (word[0] == '=') return number(word.substr(1));
        if (word == "head") return head();
        if (word == "1/sqrt(head)") {
            const auto width = head();
            return width && *width > 0 ? std::optional(1 / std::sqrt(*width)) : std::nullopt;
        }
        if (word == "vocabulary") {
            const auto shape =
                metadata_.shape(gguf_ ? "token_embd.weight" : "model.embed_tokens.weight");
            return shape ? std::optional(static_cast<double>(shape->front())) : std::nullopt;
        }
        double number = 0;
        std::from_chars(word.data(), word.data() + word.size(), number);
        return number;
    }

    std::optional<double> number(std::string_view key) {
        return metadata_.number(prefix_ + std::string(key));
    }

    /// The width of a head, as a graph has it that reads it: a number of its own, or the model's
    /// width by its heads. (Where the graph reads that number, it is not judged here.)
    std::optional<double> head() {
        const auto own = number(gguf_ ? "attention.key_length" : "head_dim");
        const auto model = number(gguf_ ? "embedding_length" : "hidden_size");
        const auto heads = number(gguf_ ? "attention.head_count" : "num_attention_heads");
        if (own && reads_head_) return own;
        if (!model || !heads || !(*heads > 0)) return std::nullopt;
        return *model / *heads;
    }

  public:
    void graph_reads_head(bool reads) { reads_head_ = reads; }

  private:
    const SourceMetadata& metadata_;
    bool gguf_;
    std::string prefix_;
    bool reads_head_ = false;
};

/// Is it one of these keys, or a member of one?
template<class Keys>
bool is_within(const Keys& keys, std::string_view key) {
    return std::ranges::any_of(keys, [&](const std::string& each) {
        return key.starts_with(each) && (key.size() == each.size() || key[each.size()] == '.');
    });
}

/// Whether the graph takes all elements of a list, or all letters of a text.
bool reads_list(const KeysRead& keys, const std::string& key, const SourceValue& value) {
    const bool letters = value.kind == SourceValue::Kind::text;
    const uint64_t count = letters ? value.text.size() : value.count;
    if ((value.kind != SourceValue::Kind::list && !letters) || count == 0 ||
        !keys.lists.contains(key))
        return false;
    for (uint64_t i = 0; i < count; ++i)
        if (!keys.read.contains(fmt::format("{}.{}", key, i))) return false;
    return true;
}

/// transformers looks for these in an object of this type, and does not go on without.
void check_rope_object(const Source& source,
                       const std::vector<std::pair<std::string, SourceValue>>& values) {
    std::set<std::string> objects;
    for (const auto& [key, value] : values)
        for (const char* name : {"rope_scaling", "rope_parameters"})
            if (const size_t at = key.find(name);
                at != std::string::npos && (at == 0 || key[at - 1] == '.') &&
                key.rfind('.') != std::string::npos && key.rfind('.') > at)
                objects.insert(key.substr(0, key.rfind('.')));
    for (const std::string& object : objects) {
        const auto has = [&](const char* name) {
            return std::ranges::any_of(
                values, [&](const auto& each) { return each.first == object + "." + name; });
        };
        const bool typed = has("rope_type") || has("type");
        if (!typed && has("factor"))
            fail("{}: config.json's {} has a factor, but does not say of which type (rope_type)",
                 source.name(), printable(object));
        const bool llama3 = std::ranges::any_of(values, [&](const auto& each) {
            return (each.first == object + ".rope_type" || each.first == object + ".type") &&
                   each.second.text == "llama3";
        });
        if (!llama3) continue;
        for (const char* name :
             {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"})
            if (!has(name))
                fail("{}: config.json's {} is of the type llama3, but has no {}", source.name(),
                     printable(object), name);
    }
}

}  // namespace

std::string text_of(const SourceValue& value) {
    switch (value.kind) {
        case SourceValue::Kind::number:
            return fmt::format("{}", value.number);
        case SourceValue::Kind::text:
            return fmt::format("\"{}\"", printable(value.text));
        case SourceValue::Kind::list: {
            std::vector<std::string> shown;
            for (const SourceValue& element : value.elements) {
                if (shown.size() == 4) break;
                shown.push_back(text_of(element));
            }
            if (shown.size() < value.count) shown.emplace_back("…");
            return fmt::format("[{}]", fmt::join(shown, ", "));
        }
        case SourceValue::Kind::other:
            break;
    }
    return "{…}";
}

bool is_ignored(const std::vector<std::string>& ignored, std::string_view key) {
    return is_within(ignored, key);
}

std::vector<std::string> describe_ignored(const std::vector<std::string>& ignored,
                                          const Source& source) {
    std::vector<std::string> described;
    if (ignored.empty()) return described;
    const auto values = source.own_values();
    for (const std::string& key : ignored) {
        if (source.format() == "hf" && (key == "architectures" || key == "tie_word_embeddings"))
            fail("--ignore-key {}: import itself goes by it, so it cannot be passed over", key);
        const size_t before = described.size();
        for (const auto& [name, value] : values)
            if (is_within(std::vector{key}, name))
                described.push_back(fmt::format("{} = {}", printable(name), text_of(value)));
        if (described.size() > before) continue;
        std::vector<std::string> names;
        for (const auto& [name, value] : values) names.push_back(name);
        fail("--ignore-key {}: {} has no such key{}{}", printable(key), source.name(),
             source.format() == "gguf" ? fmt::format(" among those of {}", source.architecture())
                                       : " in its config.json",
             compiler::suggestion(key, names));
    }
    return described;
}

void check_keys(const Source& source, const SourceMetadata& metadata, const KeysRead& keys,
                const std::vector<std::string>& ignored, const std::string& graph) {
    constexpr size_t kNamed = 6;
    Judge judge(source, metadata);
    judge.graph_reads_head(keys.read.contains(source.format() == "gguf"
                                                  ? source.architecture() + ".attention.key_length"
                                                  : "head_dim") ||
                           keys.read.contains("text_config.head_dim"));
    auto values = source.own_values();
    std::erase_if(values, [&](const auto& each) { return is_ignored(ignored, each.first); });
    std::vector<std::string> foreign;
    for (const auto& [key, value] : values) {
        if (keys.read.contains(key) || is_within(keys.ignored, key) ||
            reads_list(keys, key, value) || judge.is_neutral(key, value))
            continue;
        foreign.push_back(fmt::format("{} = {}{}", printable(key), text_of(value),
                                      source.is_default(key) ? " (where nothing is said)" : ""));
    }
    if (!foreign.empty()) {
        const size_t more = foreign.size() - std::min(foreign.size(), kNamed);
        foreign.resize(foreign.size() - more);
        throw ForeignKeys(one_line(fmt::format(
            "{}: says {}{}, which the graph {} does not read, so it would compute another model; "
            "--ignore-key NAME imports it all the same, as if the key were not there",
            source.name(), fmt::join(foreign, ", "),
            more > 0 ? fmt::format(" and {} more", more) : "", graph)));
    }
    if (source.format() == "hf") check_rope_object(source, values);
}

void check_lists(const Source& source, const KeysRead& keys, const Model& model) {
    if (keys.lists.empty()) return;
    std::map<std::string, int64_t> repetitions;
    for (const Param& param : model.params) {
        const size_t first = param.name.find('.'), second = param.name.find('.', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        int64_t index = 0;
        std::from_chars(param.name.data() + first + 1, param.name.data() + second, index);
        int64_t& most = repetitions[param.name.substr(0, first)];
        most = std::max(most, index + 1);
    }
    for (const auto& [key, value] : source.own_values()) {
        if (value.kind != SourceValue::Kind::list || !keys.lists.contains(key)) continue;
        if (std::ranges::none_of(repetitions, [&](const auto& block) {
                return static_cast<uint64_t>(block.second) == value.count;
            }))
            fail("{}: {} has {}, but the model has {}", source.name(), printable(key),
                 counted(value.count, "element"),
                 counted(
                     repetitions.empty() ? 0 : static_cast<uint64_t>(repetitions.begin()->second),
                     "layer"));
    }
}

}  // namespace llmsql
