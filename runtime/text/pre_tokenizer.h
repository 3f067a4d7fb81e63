// SPDX-License-Identifier: MIT
// Cutting a text into words before byte-level BPE merges within each of them.
//
// The rules are regular expressions over Unicode classes that each model family fixed when it was
// trained. Their sources: GPT-2's encoder for `gpt2`; the tokenizer.json of Qwen2 for `qwen2`; the
// tokenizer.json of SmolLM for `smollm`, which sets every digit apart and then cuts as GPT-2 does;
// the tokenizer.json of Llama 3 for `llama3`, which cuts as OpenAI's cl100k, `cl100k`, does.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace llmsql {

/// Not thread-safe: a match needs scratch space, which is kept.
class PreTokenizer {
  public:
    /// `name` is model.db's tokenizer.pre: gpt2, qwen2, smollm, llama3, cl100k or default. Fails
    /// for any other.
    explicit PreTokenizer(std::string_view name);
    ~PreTokenizer();
    PreTokenizer(PreTokenizer&&) noexcept;
    PreTokenizer& operator=(PreTokenizer&&) noexcept;

    /// Calls `word` with consecutive parts of `text` that together are all of it. A byte that isn't
    /// part of valid UTF-8 counts as a symbol (neither letter, digit nor space), as U+FFFD would,
    /// and stays the byte it is.
    void split(std::string_view text, const std::function<void(std::string_view)>& word) const;

  private:
    struct Pattern;
    void split_from(size_t stage, std::string_view subject, size_t offset, std::string_view text,
                    const std::function<void(std::string_view)>& word) const;

    std::vector<std::unique_ptr<Pattern>> stages_;  // each cuts the parts that the one before made
};

}  // namespace llmsql
