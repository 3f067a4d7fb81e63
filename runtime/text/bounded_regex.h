// SPDX-License-Identifier: MIT
// Regular expressions of anybody's, matched within bounds.
//
// A tokenizer's expressions come with its file. PCRE2 is held to a number of steps and to memory
// for one match, and all of a text's matches to a time that grows with the text: beyond, it is an
// error of one line.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace llmsql {

/// How long this thread may work at one text.
class Allowance {
  public:
    /// For a text of so many bytes: far more than any known expression needs.
    explicit Allowance(size_t bytes);

    size_t bytes() const { return bytes_; }

    /// In seconds, from any point of time.
    static double passed();
    /// Whether it is over at `now`, which passed() was.
    bool is_spent(double now);

  private:
    size_t bytes_;
    double seconds_, began_, look_at_;
};

/// Not thread-safe: a match needs scratch space, which is kept.
class BoundedRegex {
  public:
    /// An expression for PCRE2's UTF and property modes; fails where PCRE2 refuses it.
    explicit BoundedRegex(std::string expression);
    ~BoundedRegex();
    BoundedRegex(BoundedRegex&&) noexcept;
    BoundedRegex& operator=(BoundedRegex&&) noexcept;

    /// Calls `match` with begin and end of each match in `subject`, which is valid UTF-8, from left
    /// to right. An empty match right behind another is none, as Hugging Face's tokenizers have it.
    /// Fails where the expression takes too long, or too much memory.
    void each(std::string_view subject, Allowance& allowance,
              const std::function<void(size_t begin, size_t end)>& match) const;

  private:
    struct Compiled;
    std::unique_ptr<Compiled> compiled_;
};

/// What an expression is matched in instead of `text`: a copy of the same length, or nothing where
/// that is the text itself. Invalid bytes are U+0001, which is neither letter, digit nor space.
/// Characters that Unicode has taken up since 14.0, the least that PCRE2 knows, are older ones of
/// the same category up to version `unicode` (151: 15.1), and none at all beyond: so cuts are the
/// same whatever PCRE2 is linked. 0: as PCRE2 has them.
std::optional<std::string> subject_of(std::string_view text, int unicode);

}  // namespace llmsql
