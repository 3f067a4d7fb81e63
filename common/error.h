// SPDX-License-Identifier: MIT
// Error: the one way this project reports a failure.
//
// An Error's text is one line that says what is wrong, where, and what to do about it; a program's
// main prints it to stderr after its own name and exits 1. Exceptions are for what ends the current
// command or statement, never for ordinary control flow; assertions are never used on user input.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <string_view>

namespace llmsql {

class Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

inline bool is_control(char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

/// A text with spaces for its line ends and other control characters, and U+FFFD for what is not
/// UTF-8.
std::string one_line(std::string_view text);

/// fail(), below, once its arguments' types are erased: one function for all of its many callers.
[[noreturn]] void fail_formatted(fmt::string_view format, fmt::format_args args);

/// Throws Error with a message formatted as by fmt::format, in one line: what it quotes may hold
/// anything.
template<class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
    fail_formatted(format, fmt::make_format_args(args...));
}

/// Writes to stderr. What cannot be said there cannot be said at all, so failures are ignored.
inline void report(std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
}

/// For messages: "1 token", "2 tokens".
std::string counted(uint64_t count, std::string_view noun, std::string_view plural = "s");

/// For messages: other programs' strings may hold anything and be long. The first 100 bytes, with
/// question marks for control characters, as far as they are UTF-8.
std::string printable(std::string_view text);

}  // namespace llmsql
