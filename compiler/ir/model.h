// SPDX-License-Identifier: MIT
// What the compiler and the importer know of one concrete model: numbers, parameters, tokenizer.
//
// Made by the front (graph file + model file, see compiler/load/load.h); plain values from then
// on.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/catalogue.h"

namespace llmsql::compiler {

/// What is done to a tensor on its way in: "unpermute" (rows: interleaved to split-half rope) and
/// its heads, "plus" and the addend, "slice", "every", "transposed".
struct TransformStep {
    std::string name;
    std::vector<double> args;
    bool operator==(const TransformStep&) const = default;
};

/// Where a parameter is found in one source format, and what is done to it on the way in.
struct ParamSource {
    std::string tensor;                     // "blk.3.attn_q.weight", already with the block's index
    std::vector<TransformStep> transforms;  // the first first
    /// Of a matrix of a table that the source keeps as one tensor [parts, rows, columns]: which.
    std::optional<int64_t> part = {};
    int64_t parts = 1;
    /// Instead of a tensor: the source says it in numbers, from which these were computed.
    std::vector<double> values = {};
    /// Or as a list of numbers, under the first of these keys that it has.
    std::vector<std::string> keys = {};
    /// Other places that count where a source has no such tensor, in this order.
    std::vector<ParamSource> others = {};
    bool is_computed() const { return tensor.empty(); }
    bool operator==(const ParamSource&) const = default;
};

/// One parameter of the concrete model: its catalogue entry and where to find it.
struct Param : ParamEntry {
    std::optional<ParamSource> gguf;
    std::optional<ParamSource> hf;
    int64_t item = -1;      // of a table of matrices: which one it is; its name ends in ".item"
    bool optional = false;  // here only because the model has it: listed under "present"
    const std::optional<ParamSource>& source(std::string_view format) const {
        return format == "hf" ? hf : gguf;
    }
    bool operator==(const Param&) const = default;
};

/// The tokenizer's kind. Its tables live in model.db; a model file only says what it must be.
struct TokenizerSpec {
    std::string kind;  // "bpe" (byte level), "spm" (SentencePiece's BPE), "unigram", "wordpiece"
    // For bpe: "gpt2", "qwen2", "qwen35", "smollm", "llama3", "cl100k", "default", "own".
    std::string pre;
    bool operator==(const TokenizerSpec&) const = default;
};

struct ChatSpec {
    std::string query;              // SQL over message(id, role, content); empty for a base model
    std::vector<std::string> stop;  // pieces of control tokens that end a turn
    bool operator==(const ChatSpec&) const = default;
};

/// What is known of a model beyond what it computes.
struct ModelOrigin {
    int64_t context = 0;               // the longest text it was trained for; 0: not known
    std::vector<std::string> ignored;  // keys of the source that import was told to pass over
    bool operator==(const ModelOrigin&) const = default;
};

/// A graph instantiated with a model file.
struct Model {
    std::string name;                       // "smollm2-135m-instruct"
    std::string graph;                      // "llama"
    std::map<std::string, double> numbers;  // dims and constants by name; those of a block by
                                            // "layer.3.is_local", one a repetition
    std::vector<std::string> dims;          // the dims among them, as the graph declares them; of
                                            // a block once, as "layer.d_ff"
    std::vector<std::string> constants;     // and the constants
    /// What "gguf" and "hf" sources call it: general.architecture, and config.json's architectures.
    std::map<std::string, std::vector<std::string>> architectures;
    std::vector<Param> params;  // the catalogue; id = index + 1
    TokenizerSpec tokenizer;
    ChatSpec chat;
    ModelOrigin origin;
    bool operator==(const Model&) const = default;
};

}  // namespace llmsql::compiler
