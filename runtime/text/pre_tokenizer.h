// SPDX-License-Identifier: MIT
// Cutting a text into words before byte-level BPE merges within each of them.
//
// The rules are regular expressions over Unicode classes that each model family fixed when it was
// trained. A model.db has them as its source wrote them (PieceRule, llm_meta's tokenizer.split.*),
// or names one of the few that came first. Their sources: GPT-2's encoder for `gpt2`; the
// tokenizer.json of Qwen2 for `qwen2`; the tokenizer.json of SmolLM for `smollm`, which sets every
// digit apart and then cuts as GPT-2 does; the tokenizer.json of Llama 3 for `llama3`, which cuts
// as OpenAI's cl100k, `cl100k`, does.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace llmsql {

/// What becomes of the parts that an expression matches, and of those between them.
enum class PieceBehavior {
    isolated,              // each is a word
    removed,               // what matches is left out
    merged_with_previous,  // what matches ends the word before it
    merged_with_next,      // what matches begins the word after it
    contiguous,            // matches that touch are one word
};

/// One step: each part that the step before made is cut again, or changed.
struct PieceRule {
    enum class Kind {
        cut,      // by `text`, an expression for PCRE2 in its UTF and property modes
        prefix,   // a part that does not begin with `text` gets it in front
        first,    // the same for the first part of a whole text alone
        mark,     // each space becomes `text`
        bytes,    // what follows sees each byte as one character, as GPT-2 spells it
        spelled,  // each byte is spelled so already (normalizer.h)
    };
    Kind kind = Kind::cut;
    std::string text;
    PieceBehavior behavior = PieceBehavior::isolated;
    bool inverted = false;  // matches and what lies between them change places
};

/// A rule as llm_meta has it: "isolated EXPRESSION", "inverted removed EXPRESSION", "prefix TEXT",
/// "first TEXT", "mark TEXT", "bytes", "spelled". Fails on what is none.
PieceRule piece_rule_of(std::string_view text);

/// Not thread-safe: a match needs scratch space, which is kept.
class PreTokenizer {
  public:
    /// `name` is model.db's tokenizer.pre: gpt2, qwen2, qwen35, smollm, llama3, cl100k or default.
    /// Fails for any other.
    /// `unicode`: which characters there are to expressions, as subject_of() has it.
    explicit PreTokenizer(std::string_view name, int unicode = 0);
    /// By rules; fails where PCRE2 refuses one.
    explicit PreTokenizer(const std::vector<PieceRule>& rules, int unicode = 0);
    ~PreTokenizer();
    PreTokenizer(PreTokenizer&&) noexcept;
    PreTokenizer& operator=(PreTokenizer&&) noexcept;

    /// Calls `word` with consecutive parts of `text`, which together are all of it unless a rule
    /// leaves something out or adds to it. `first`: nothing stands before it in its text. Fails
    /// where an expression takes too long, or too much memory, for the text. A byte that isn't part
    /// of valid UTF-8 counts as a symbol (neither letter, digit nor space), as U+FFFD would, and
    /// stays the byte it is.
    void split(std::string_view text, bool first,
               const std::function<void(std::string_view)>& word) const;

  private:
    struct Stage;
    struct Cut;  // one call of split()
    void cut(Cut& how, size_t stage, std::string_view subject, std::string_view text,
             bool first) const;

    int unicode_;
    std::vector<Stage> stages_;  // each cuts the parts that the one before made
};

}  // namespace llmsql
