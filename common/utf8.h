// SPDX-License-Identifier: MIT
// UTF-8, one character at a time, and a stream that never prints half of one.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace llmsql {

/// U+FFFD, what stands for bytes that are no character.
inline constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

enum class Utf8Status {
    valid,       // a whole character
    invalid,     // bytes that no character starts with
    incomplete,  // the text ends inside a character that is right so far
};

struct Utf8Char {
    Utf8Status status = Utf8Status::invalid;
    /// Bytes. Of an invalid sequence: its longest part that could have begun a character, at least
    /// 1 (Unicode's "maximal subpart", the unit that is replaced by one U+FFFD).
    size_t length = 1;
    char32_t code = 0;  // of a valid character
};

/// What `text`, which is not empty, starts with. Well-formed is what table 3-7 of the Unicode
/// standard says: no overlong forms, no surrogates, nothing above U+10FFFF.
Utf8Char utf8_at(std::string_view text);

/// The offset of the first byte that is not valid UTF-8, if there is one.
std::optional<size_t> first_invalid_utf8(std::string_view text);

/// Turns bytes that arrive in arbitrary pieces into valid UTF-8: what ends inside a character is
/// held back until the rest comes, what can't be a character becomes U+FFFD.
class Utf8Stream {
  public:
    /// The text that can be printed now.
    std::string push(std::string_view bytes);

    /// The end: whatever was held back becomes U+FFFD.
    std::string finish();

  private:
    std::string held_;
};

}  // namespace llmsql
