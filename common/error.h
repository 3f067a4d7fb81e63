// Error: the one way this project reports a failure.
//
// An Error's text is one line that says what is wrong, where, and what to do about it; a program's
// main prints it to stderr after its own name and exits 1. Exceptions are for what ends the current
// command or statement, never for ordinary control flow; assertions are never used on user input.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace llmsql {

class Error : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

/// Throws Error with a message formatted as by fmt::format.
template<class... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
    throw Error(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace llmsql
