// SPDX-License-Identifier: MIT
// Tokenizer: text to token ids and back, over a model.db's tables.
//
// Four kinds (llm_meta's tokenizer.kind):
//   bpe        byte-level BPE: the text is cut into words (pre_tokenizer.h), each word's bytes are
//              merged by rank (Sennrich et al. 2016; over bytes as in GPT-2, Radford et al. 2019)
//   spm        SentencePiece's BPE (Kudo and Richardson 2018): spaces become U+2581, the neighbours
//              that form the best-scored token merge, characters that are no token fall back to
//              byte tokens. Where llm_merge has rows, they say what merges, and in which order: a
//              tokenizer.json has ranks for what were scores
//   unigram    the pieces whose scores sum to the most (Kudo 2018; piece_table.h)
//   wordpiece  the longest piece first, word by word (Wu et al. 2016)
//
// In all, special tokens are cut out first, the longest at each position from left to right; what
// lies between them is normalised (normalizer.h) and cut into words. Where special tokens overlap,
// llama.cpp takes the longest in the whole text first; tokens of real models overlap only in runs
// of one character, where the two agree.
//
// Text that isn't valid UTF-8 is tokenised too and keeps its bytes (llama.cpp replaces them by
// U+FFFD for bpe): see PreTokenizer::split for bpe; for spm each such byte falls back by itself.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/text/fragment.h"
#include "runtime/text/merge.h"
#include "runtime/text/normalizer.h"
#include "runtime/text/piece_table.h"
#include "runtime/text/pre_tokenizer.h"
#include "runtime/text/vocabulary.h"

namespace llmsql {

/// Not thread-safe. `db` must outlive it.
class Tokenizer {
  public:
    /// Fails on an unknown kind or pre-tokenizer, naming the database.
    explicit Tokenizer(const ModelDb& db);

    /// The fragments as one text, control tokens recognised inside markup only. With
    /// `start_of_text` the model's start token comes first, if the model wants one and the markup
    /// hasn't written it already. Fails on texts of 1 GiB or more.
    std::vector<int32_t> encode(std::span<const Fragment> fragments, bool start_of_text);
    std::vector<int32_t> encode(std::string_view text, bool start_of_text);

    /// The bytes that a token stands for in a text. A control token's are its name, which is not
    /// printed in generated text.
    std::string text_of(int32_t token) const;
    bool is_control(int32_t token) const;
    /// What is shown of a token in generated text: nothing of a control token.
    std::string shown_text(int32_t token) const {
        return is_control(token) ? std::string() : text_of(token);
    }

    /// The id of the token with exactly this piece, of any kind.
    std::optional<int32_t> find_piece(std::string_view piece) const;

    /// The id of the control or user-defined token with exactly this piece.
    std::optional<int32_t> find_special(std::string_view piece) const {
        if (piece.empty()) return std::nullopt;
        for (const SpecialTokens* tokens : {&special_, &normalized_})
            if (const SpecialToken* found = tokens->at(piece, 0, piece.size());
                found && found->piece == piece)
                return found->id;
        return std::nullopt;
    }

    /// Bytes of the longest token's text. The first call looks at the whole vocabulary.
    size_t longest_token() const { return vocabulary_.longest_piece(); }

    std::optional<int32_t> start_token() const { return start_; }  // the model's bos
    std::optional<int32_t> end_token() const { return end_; }      // the model's eos
    /// The tokens at which the model ends, its eos among them, in the order of their ids.
    const std::vector<int32_t>& ends() const { return ends_; }
    bool adds_start_token() const { return adds_start_; }

    /// Has encode() call this every few thousand words or characters; it may throw, to stop.
    void on_progress(std::function<void()> progress) { progress_ = std::move(progress); }

    /// Bytes of encoded texts that the model has no token for and that were left out, as llama.cpp
    /// and Hugging Face's tokenizers do (SmolLM2's vocabulary lacks 21 of the 256 bytes; none of
    /// them is in everyday text).
    uint64_t bytes_left_out() const { return bytes_left_out_; }

  private:
    void note_step() {
        if (++steps_ % 4096 == 0 && progress_) progress_();
    }
    enum class Kind { bpe, spm, unigram, wordpiece };
    enum class Unknown { left_out, each_byte, each, fused };  // characters that no token covers

    /// Part of a text in which special tokens are looked for.
    struct Part {
        std::string_view text;
        bool after_special = true, first = true;
    };

    std::optional<int32_t> meta_token(const std::string& key) const;
    std::vector<int32_t> meta_tokens(const char* key) const;
    int32_t token_id(const std::string& key, std::string_view text) const;
    std::vector<PieceRule> piece_rules() const;
    std::vector<NormalStep> normal_steps() const;
    void read_kind();
    void read_special();
    int unicode() const;
    void cut_out(const SpecialTokens& tokens, const Part& whole,
                 std::span<const std::pair<size_t, size_t>> markup,
                 const std::function<void(const Part&)>& plain, std::vector<int32_t>& out);
    void encode_plain(const Part& part, std::vector<int32_t>& out);
    void encode_normal(const Part& part, std::vector<int32_t>& out);
    void encode_piece(std::string_view word, std::vector<int32_t>& out);
    void encode_by_scores(std::string_view text, std::vector<int32_t>& out);
    void encode_greedily(std::string_view word, std::vector<int32_t>& out);
    void encode_word(std::string_view word, std::vector<int32_t>& out);
    void encode_marked(std::string_view text, std::vector<int32_t>& out);
    std::optional<Merge> known_character(std::string_view character, int32_t stand_in);
    void append_bytes(std::string_view bytes, std::vector<int32_t>& out);
    bool has_byte_tokens(std::string_view bytes) const;

    const ModelDb& db_;
    Vocabulary vocabulary_;
    Kind kind_ = Kind::bpe;
    SpecialTokens special_, normalized_;  // of texts as they are; of normalised ones
    std::optional<Normalizer> normalizer_;
    std::optional<PreTokenizer> pre_tokenizer_;
    std::optional<PieceTable> table_;       // of unigram and wordpiece
    std::array<int32_t, 256> byte_tokens_;  // -1 where the model has none
    std::optional<int32_t> start_, end_, unknown_;
    std::vector<int32_t> ends_;
    bool adds_start_ = false;
    bool adds_space_ = false;
    bool marks_spaces_ = false;  // of spm whose database has no steps for it
    bool takes_words_ = false;   // a word that is a token is that token, whatever merges say
    bool by_rank_ = false;       // of spm: llm_merge ranks the pieces, not their scores
    Unknown unknowns_ = Unknown::left_out;
    double unknown_score_ = 0;  // of unigram
    std::string word_start_,
        continuing_;           // of wordpiece: what stands before words, and their rests
    size_t longest_word_ = 0;  // of wordpiece, in characters; a longer one is unknown
    MergeCache cache_;
    std::vector<Symbol> symbols_;  // of the word being merged
    uint64_t bytes_left_out_ = 0;
    uint64_t steps_ = 0;
    std::function<void()> progress_;
};

}  // namespace llmsql
