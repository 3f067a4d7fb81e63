// SPDX-License-Identifier: MIT
// What a person types at a terminal: a turn, edited, with earlier ones to go back to.
#pragma once

#include <memory>
#include <optional>
#include <string>

namespace llmsql {

/// By libedit where there was one when this was built and the terminal can move its cursor; else a
/// line as the terminal itself edits it. One at a time: it has standard input while it reads.
class LineEditor {
  public:
    LineEditor();
    LineEditor(const LineEditor&) = delete;
    LineEditor& operator=(const LineEditor&) = delete;
    ~LineEditor();

    /// The next turn, which is more than a line where one ends in \, or stands between two """.
    /// Nothing at the end of input (Ctrl-D) or after a signal. What was typed when Ctrl-C came is
    /// let go: interrupted() says whether it was anything.
    std::optional<std::string> read();
    bool interrupted() const { return interrupted_; }

  private:
    class Library;
    std::optional<std::string> line(const char* prompt);

    std::unique_ptr<Library> library_;  // null: the terminal itself
    bool interrupted_ = false;
};

}  // namespace llmsql
