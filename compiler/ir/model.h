// What the compiler and the importer know of one concrete model: numbers, parameters, tokenizer.
//
// Made by the front (graph file + model file, see compiler/model/load.h); plain values from then on.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/catalogue.h"

namespace llmsql {

/// Where a parameter is found in one source format, and what is done to it on the way in.
struct ParamSource {
    std::string tensor;          // "blk.3.attn_q.weight", already with the block's index
    std::string transform;       // "" or "unpermute"
    std::vector<double> args;    // of the transform: unpermute's number of heads
};

/// One parameter of the concrete model: its catalogue entry and where to find it.
struct Param : ParamEntry {
    std::optional<ParamSource> gguf;
    std::optional<ParamSource> hf;
};

/// The tokenizer's kind. Its tables live in model.db; a model file only says what it must be.
struct TokenizerSpec {
    std::string kind;  // "bpe" (byte level) or "spm" (SentencePiece BPE by score)
    std::string pre;   // for bpe: "gpt2", "qwen2", "smollm"
};

struct ChatSpec {
    std::string query;              // SQL over message(id, role, content); empty for a base model
    std::vector<std::string> stop;  // pieces of control tokens that end a turn
};

/// A graph instantiated with a model file.
struct Model {
    std::string name;   // "smollm2-135m-instruct"
    std::string graph;  // "llama"
    std::map<std::string, double> numbers;  // dims and constants by name
    std::vector<Param> params;              // the catalogue; id = index + 1
    TokenizerSpec tokenizer;
    ChatSpec chat;
};

}  // namespace llmsql
