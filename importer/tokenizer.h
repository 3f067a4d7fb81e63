// SPDX-License-Identifier: MIT
// Tokenizers: read from a GGUF (hf_tokenizer.h reads the other kind), checked, and written into
// model.db's tables.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "compiler/ir/model.h"
#include "importer/gguf.h"
#include "importer/model_writer.h"

namespace llmsql {

using compiler::ChatSpec;
using compiler::TokenizerSpec;

/// llm_token.kind, GGUF's numbers.
enum class PieceKind : int {
    absent = 0,  // no token has this id: not in a database
    normal = 1,
    unknown = 2,
    control = 3,
    user_defined = 4,
    unused = 5,
    byte = 6,
};

/// No vocabulary comes near it; memory stays small whatever a file claims.
inline constexpr uint64_t kMostTokens = 1 << 22;

/// Of files that have tokenizers in them. The largest known, Gemma's, is 33 MB with 262144 tokens
/// and 514906 merges.
inline constexpr size_t kLargestTokenizerFile = 80 << 20;
inline constexpr size_t kMostMerges = 1 << 22;
inline constexpr size_t kLongestPiece = 64 * 1024;

/// What SentencePiece has for a space: U+2581.
inline constexpr const char* kSpaceMark = "\xE2\x96\x81";

/// A vocabulary by id: all texts in one string, so that a large one costs little.
class TokenList {
  public:
    int64_t size() const { return static_cast<int64_t>(tokens_.size()); }
    void set(int64_t id, std::string_view text, PieceKind kind, double score);

    /// Of an id from 0 to size() - 1. The text is as the source spells it.
    std::string_view text(int64_t id) const;
    PieceKind kind(int64_t id) const { return tokens_[static_cast<size_t>(id)].kind; }
    double score(int64_t id) const { return tokens_[static_cast<size_t>(id)].score; }
    void set_kind(int64_t id, PieceKind kind) { tokens_[static_cast<size_t>(id)].kind = kind; }

  private:
    struct Token {
        size_t offset = 0, length = 0;
        PieceKind kind = PieceKind::absent;
        double score = 0;
    };
    std::string texts_;
    std::vector<Token> tokens_;
};

/// Ids by text; the list must outlive it unchanged.
class TokenIds {
  public:
    explicit TokenIds(const TokenList& tokens);
    std::optional<int64_t> find(std::string_view text) const;

  private:
    std::unordered_map<std::string_view, int64_t> ids_;
};

struct SourceMerge {
    int64_t left, right, rank, merged;
};

/// A merge of two pieces, or of "left right"; fails, naming `where`, unless the pieces and what
/// they make are tokens.
SourceMerge merge_of(const TokenIds& ids, std::string_view left, std::string_view right,
                     uint64_t rank, const std::string& where);
SourceMerge merge_of(const TokenIds& ids, std::string_view text, uint64_t rank,
                     const std::string& where);

/// A source's tokenizer in this project's words.
struct SourceTokenizer {
    TokenizerSpec spec;
    /// llm_meta's tokenizer.normalize.* (runtime/text/normalizer.h), each with its `by`.
    std::vector<std::pair<std::string, std::string>> normalize;
    /// llm_meta's tokenizer.split.*; of bpe where `pre` is "own".
    std::vector<std::string> split;
    std::string unicode;        // the version whose characters splitting and replacing know
    bool takes_words = false;   // a word that is a token is not merged (ignore_merges)
    bool falls_back = true;     // to tokens of bytes
    std::string unknown;        // what becomes of characters without a token: each, fused
    std::string word_start;     // of wordpiece: stands before a word
    std::string continuing;     // of wordpiece: stands before what goes on a word
    uint64_t longest_word = 0;  // of wordpiece, in characters; 0: any length
    std::vector<int64_t> takes_left, takes_right;  // added tokens: with the spaces beside them
    std::vector<int64_t> single_word;  // added tokens: where no letter or digit touches them
    std::vector<int64_t> normalized;   // added tokens: looked for in what is normalised
    std::vector<int64_t> literal;  // normal tokens that are also looked for in texts as they are
    std::optional<int64_t> bos, eos, unk;
    bool add_bos = false;
    bool add_space_prefix = false;  // of spm
    /// Tokens that end generation: what the source says besides eos, until settle_special_tokens()
    /// (special_tokens.h) makes it all of them.
    std::vector<int64_t> ends;
    /// Whether the source names its marks of padding, repository and file for code to fill in: only
    /// where it doesn't does their spelling count.
    std::array<bool, 3> names_fill{};
    TokenList tokens;
    std::vector<SourceMerge> merges;  // of bpe; of spm where they, not scores, rank the pieces
};

/// Called with one line that is worth telling but no error.
using Note = std::function<void(const std::string&)>;

/// Reads and checks a GGUF's. Fails if it is of a kind that llmsql does not have.
SourceTokenizer read_tokenizer(const Gguf& gguf, const Note& note);

/// Writes llm_token, llm_merge and the tokenizer.* keys of llm_meta but the chat template's. Merges
/// into control tokens are left out: no text becomes one.
void write_tokenizer(const SourceTokenizer& tokenizer, ModelWriter& writer);

/// What llm_token.piece holds of a token.
std::string piece_of(const SourceTokenizer& tokenizer, int64_t id);

/// The bytes that a byte-level BPE token stands for: GPT-2 writes each byte as one printable
/// character (itself where it is one, U+0100 and up otherwise). Nothing if a character stands for
/// no byte.
std::optional<std::string> bytes_of_byte_level(std::string_view piece);

}  // namespace llmsql
