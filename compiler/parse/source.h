// SPDX-License-Identifier: MIT
// A source text with its name, and the errors found in it: what every pass of the front reports to.
#pragma once

#include <compare>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace llmsql::compiler {

/// A place in a source file, counted from 1; columns count characters, not bytes. Line 0 is no
/// place.
struct Position {
    int line = 0;
    int column = 0;
    auto operator<=>(const Position&) const = default;
};

/// A text file, at most 1 MiB of UTF-8. Immutable after construction.
class SourceFile {
  public:
    /// Throws Error where `text` is too long or not UTF-8 (with the position). `name` is how errors
    /// call the file. A byte order mark is dropped.
    SourceFile(std::string name, std::string text);

    /// Reads a file; errors also for a path that cannot be read.
    static SourceFile read(const std::filesystem::path& path);

    /// Reads a file, with the text of the file that `find` gives for NAME in place of each line
    /// `include NAME;`. Such a file includes none itself. Errors name the file and line that they
    /// are in.
    using FindPart = std::function<std::filesystem::path(const std::string& name)>;
    static SourceFile read_with_parts(const std::filesystem::path& path, const FindPart& find);

    const std::string& name() const { return name_; }
    const std::string& text() const { return text_; }

    /// One line without its end, empty where there is none of that number.
    std::string_view line(int number) const;

    /// "file:line:column: error: message", the source line and a caret below, no newline at the
    /// end.
    std::string describe(Position at, std::string_view message) const;

  private:
    /// Lines from `first` on are those of a file from `line` on.
    struct Origin {
        int first = 1;
        std::string name;
        int line = 1;
    };

    std::string name_;
    std::string text_;
    std::vector<size_t> line_starts_;
    std::vector<Origin> origins_;  // none where all is the file's own
};

/// Collects the errors of one source file. Not thread-safe.
class Diagnostics {
  public:
    explicit Diagnostics(const SourceFile& source) : source_(source) {}

    /// A second error at the same place is a consequence of the first and dropped.
    void error(Position at, std::string message);

    bool empty() const { return errors_.empty(); }

    /// All errors in the order of the file, the first 20 at most and how many more there are.
    std::string text() const;

    /// Throws Error(text()) unless empty.
    void throw_if_any() const;

  private:
    struct Entry {
        Position at;
        std::string message;
    };
    const SourceFile& source_;
    std::vector<Entry> errors_;
};

/// ", did you mean 'x'?" for the candidate nearest to `name`, at most a third of its length (or one
/// letter of several) away; nothing if there is none.
std::string suggestion(std::string_view name, const std::vector<std::string>& candidates);

}  // namespace llmsql::compiler
