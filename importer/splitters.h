// SPDX-License-Identifier: MIT
// How a GGUF's tokenizer cuts texts, by the name that it gives (tokenizer.ggml.pre).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace llmsql {

struct Splitter {
    std::string_view theirs;               // the name in GGUF
    std::string_view ours;                 // llm_meta's tokenizer.pre; "own": by `expressions`
    bool adds_bos = false;                 // where the file doesn't say
    bool takes_words = false;              // a word that is a token is not merged
    bool marks_spaces = false;             // SentencePiece's way: pieces of UTF-8, spaces marked
    std::vector<std::string> expressions;  // in Oniguruma's syntax; each isolates what it matches
};

/// Null where llmsql does not have it. The names are those of llama.cpp of autumn 2026, and texts
/// are cut as it cuts them, where it and the model's own tokenizer.json differ, too.
const Splitter* splitter_of(std::string_view name);

/// All names, for messages.
std::vector<std::string_view> splitter_names();

}  // namespace llmsql
