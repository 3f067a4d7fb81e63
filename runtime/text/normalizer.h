// SPDX-License-Identifier: MIT
// What a tokenizer makes of a text before it cuts it: Unicode's normal forms, replacements, maps of
// characters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace llmsql {

/// One step, as llm_meta has it (tokenizer.normalize.N and .N.by):
///   nfc nfd nfkc nfkd    a normal form of Unicode 9
///   bases                each character is the first of its canonical parts, as in llama.cpp
///   lowercase            by Unicode's full mapping, a character at a time
///   strip left           spaces at the begin are left out; also "right", "both"
///   prepend              `by` stands in front
///   replace EXPRESSION   each match of PCRE2's becomes `by`
///   map prefixes         by SentencePiece's compiled map, which `by` is: the longest that it knows
///   map graphemes        as Hugging Face's tokenizers ask the map: a grapheme, else its characters
struct NormalStep {
    std::string rule;
    std::string by;
};

/// Not thread-safe: expressions need scratch space.
class Normalizer {
  public:
    /// Fails on a step that is none of these, and on a damaged map.
    /// `unicode`: which characters there are to expressions, as subject_of() has it.
    explicit Normalizer(const std::vector<NormalStep>& steps, int unicode = 0);
    ~Normalizer();
    Normalizer(Normalizer&&) noexcept;
    Normalizer& operator=(Normalizer&&) noexcept;

    /// In time that grows with the text, or it fails. Bytes that are not UTF-8 stay as they are.
    std::string apply(std::string_view text) const { return made_of(text).text; }

    struct Made {
        std::string text;
        bool begins;  // with what became of the first character: that was not left out
    };
    Made made_of(std::string_view text) const;

  private:
    struct Step;
    std::vector<std::unique_ptr<Step>> steps_;
};

/// Unicode's White_Space.
bool is_white_space(char32_t code);

/// SentencePiece's compiled map of characters: a double array, and the texts that it leads to.
class CharacterMap {
  public:
    /// Fails on what is no such map; `bytes` are kept.
    explicit CharacterMap(std::string bytes);

    struct Found {
        size_t length = 0;  // of what the text begins with; 0: it knows nothing
        std::string_view text;
    };
    /// The longest, or the shortest, of what `text` begins with.
    Found find(std::string_view text, bool longest) const;

  private:
    uint32_t unit(size_t at) const;
    std::string_view text_at(size_t at) const;

    std::string bytes_;
    size_t units_ = 0;
};

}  // namespace llmsql
