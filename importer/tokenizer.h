// The tokenizer of a GGUF, checked and copied into model.db's tables.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "compiler/ir/model.h"
#include "importer/gguf.h"
#include "importer/model_writer.h"

namespace llmsql {

/// What GGUF's tokenizer.ggml.* keys say, in this project's words.
struct SourceTokenizer {
    TokenizerSpec spec;
    int64_t tokens = 0;  // the vocabulary's size
    std::optional<int64_t> bos, eos, unk;
    bool add_bos = false;
    bool add_space_prefix = false;  // of spm
};

/// Called with one line that is worth telling but no error.
using Note = std::function<void(const std::string&)>;

/// Reads and checks the small keys: kind, way of splitting, special ids, array sizes. Fails if the
/// tokenizer is of a kind that llmsql does not have.
SourceTokenizer read_tokenizer(const Gguf& gguf, const Note& note);

/// Writes llm_token, llm_merge and the tokenizer.* keys of llm_meta.
void write_tokenizer(const Gguf& gguf, const SourceTokenizer& tokenizer, ModelWriter& writer);

/// The piece of the eos token, and which of `candidates` are control tokens of the vocabulary.
struct SpecialPieces {
    std::optional<std::string> eos;
    std::vector<std::string> present;  // in the order of `candidates`
};
SpecialPieces find_special_pieces(const Gguf& gguf, const SourceTokenizer& tokenizer,
                                  const std::vector<std::string>& candidates);

/// The bytes that a byte-level BPE token stands for: GPT-2 writes each byte as one printable
/// character (itself where it is one, U+0100 and up otherwise). Nothing if a character stands for
/// no byte.
std::optional<std::string> bytes_of_byte_level(std::string_view piece);

}  // namespace llmsql
