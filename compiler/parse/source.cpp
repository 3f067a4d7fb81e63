// SPDX-License-Identifier: MIT
// Source texts and their errors. See source.h.
#include "compiler/parse/source.h"

#include <algorithm>
#include <cctype>
#include <numeric>

#include "common/error.h"
#include "common/files.h"

namespace llmsql::compiler {
namespace {

constexpr size_t kMaxBytes = 1 << 20;
constexpr size_t kMagicBytes = 16;  // of files that are no text
constexpr size_t kMaxErrors = 20;   // shown
constexpr size_t kMaxKept = 1000;   // so that a file of nothing but errors takes no time
constexpr int kMaxShown = 160;      // characters of a source line in a message

/// The bytes of the UTF-8 character at `at`, 0 where there is none (RFC 3629).
size_t character_bytes(std::string_view text, size_t at) {
    const auto byte = [&](size_t i) {
        return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0u;
    };
    const unsigned first = byte(0);
    const auto follows = [&](size_t i, unsigned low = 0x80, unsigned high = 0xbf) {
        return byte(i) >= low && byte(i) <= high;
    };
    if (first < 0x80) return 1;
    if (first >= 0xc2 && first <= 0xdf) return follows(1) ? 2 : 0;
    if (first >= 0xe0 && first <= 0xef) {
        const unsigned low = first == 0xe0 ? 0xa0 : 0x80, high = first == 0xed ? 0x9f : 0xbf;
        return follows(1, low, high) && follows(2) ? 3 : 0;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        const unsigned low = first == 0xf0 ? 0x90 : 0x80, high = first == 0xf4 ? 0x8f : 0xbf;
        return follows(1, low, high) && follows(2) && follows(3) ? 4 : 0;
    }
    return 0;
}

/// Where the text stops being UTF-8; line 0 if it never does.
Position first_invalid(std::string_view text) {
    Position at{1, 1};
    for (size_t i = 0; i < text.size();) {
        const size_t bytes = character_bytes(text, i);
        if (bytes == 0) return at;
        if (text[i] == '\n') {
            at = {at.line + 1, 1};
        } else {
            ++at.column;
        }
        i += bytes;
    }
    return {};
}

/// Letters to insert, delete, replace or swap with their neighbour (optimal string alignment).
size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<size_t> before(b.size() + 1), above(b.size() + 1), row(b.size() + 1);
    std::iota(above.begin(), above.end(), size_t{0});
    for (size_t i = 1; i <= a.size(); ++i) {
        row[0] = i;
        for (size_t j = 1; j <= b.size(); ++j) {
            row[j] =
                std::min({above[j - 1] + (a[i - 1] != b[j - 1]), above[j] + 1, row[j - 1] + 1});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = std::min(row[j], before[j - 2] + 1);
        }
        before.swap(above);
        above.swap(row);
    }
    return above.back();
}

/// NAME of a line `include NAME;`, perhaps with a comment behind it; else empty.
std::string included_in(std::string_view line) {
    constexpr std::string_view kWord = "include ", kSpace = " \t";
    line = line.substr(0, line.find("//"));
    line.remove_prefix(std::min(line.find_first_not_of(kSpace), line.size()));
    if (!line.starts_with(kWord)) return {};
    line.remove_prefix(kWord.size());
    const size_t end = line.find(';');
    if (end == std::string_view::npos ||
        line.find_first_not_of(kSpace, end + 1) != std::string_view::npos)
        return {};
    const std::string_view name = line.substr(0, end);
    const bool plain = !name.empty() && std::ranges::all_of(name, [](char c) {
        return c == '_' || std::isalnum(static_cast<unsigned char>(c)) != 0;
    });
    return plain ? std::string(name) : std::string();
}

// What begins so, of which one may think that it is compiled; empty: none of these.
std::string_view kind_of_model(std::string_view start) {
    if (start.starts_with("SQLite format 3")) return "a database";
    if (start.starts_with("GGUF")) return "a GGUF file";
    return {};
}

}  // namespace

SourceFile::SourceFile(std::string name, std::string text)
    : name_(std::move(name)), text_(std::move(text)) {
    if (text_.size() > kMaxBytes)
        fail("{}: has {} bytes; graph and model files are at most {} bytes long", name_,
             text_.size(), kMaxBytes);
    if (text_.starts_with("\xef\xbb\xbf")) text_.erase(0, 3);
    line_starts_.push_back(0);
    for (size_t i = 0; i < text_.size(); ++i)
        if (text_[i] == '\n') line_starts_.push_back(i + 1);
    if (const Position at = first_invalid(text_); at.line != 0)
        throw Error(describe(at, "this is not UTF-8 text"));
}

SourceFile SourceFile::read(const std::filesystem::path& path) {
    require_readable_file(path);
    std::error_code error;
    const auto bytes = std::filesystem::file_size(path, error);
    const bool too_long = !error && bytes > kMaxBytes;
    std::string text = too_long ? read_start(path, kMagicBytes) : read_file(path);
    if (const std::string_view kind = kind_of_model(text); !kind.empty())
        fail(
            "{}: this is {}; a model file is compiled ('llmsql-import SRC -o MODEL.db "
            "--write-model FILE.toml' writes one, 'llmsql run' takes this as it is)",
            path.string(), kind);
    if (too_long)
        fail("{}: has {} bytes; graph and model files are at most {} bytes long", path.string(),
             bytes, kMaxBytes);
    return {path.string(), std::move(text)};
}

SourceFile SourceFile::read_with_parts(const std::filesystem::path& path, const FindPart& find) {
    const SourceFile own = read(path);
    std::string text;
    std::vector<Origin> origins;
    int made = 1;  // the number of the line that comes next
    const auto add_lines = [&](const SourceFile& from, int first, int count) {
        origins.push_back({made, from.name(), first});
        for (int i = first; i < first + count; ++i, ++made) text.append(from.line(i)).append("\n");
    };
    const int lines = static_cast<int>(own.line_starts_.size());
    int first = 1;
    for (int i = 1; i <= lines; ++i) {
        const std::string name = included_in(own.line(i));
        if (name.empty()) continue;
        add_lines(own, first, i - first);
        const SourceFile part = read(find(name));
        const int all = static_cast<int>(part.line_starts_.size());
        for (int j = 1; j <= all; ++j)
            if (!included_in(part.line(j)).empty())
                throw Error(part.describe({j, 1}, "what is included includes nothing itself"));
        add_lines(part, 1, all);
        first = i + 1;
    }
    if (origins.empty()) return own;
    add_lines(own, first, lines - first + 1);
    SourceFile whole(own.name(), std::move(text));
    whole.origins_ = std::move(origins);
    return whole;
}

std::string_view SourceFile::line(int number) const {
    if (number < 1 || static_cast<size_t>(number) > line_starts_.size()) return {};
    const size_t start = line_starts_[static_cast<size_t>(number) - 1];
    const std::string_view rest = std::string_view(text_).substr(start);
    std::string_view found = rest.substr(0, rest.find('\n'));
    if (found.ends_with('\r')) found.remove_suffix(1);
    return found;
}

std::string SourceFile::describe(Position at, std::string_view message) const {
    // A long line is shown around the column only; what a terminal could not show is replaced.
    const int skipped = at.column > kMaxShown ? at.column - kMaxShown / 2 : 0;
    const std::string_view whole = line(at.line);
    std::string shown;
    int column = 0;
    for (size_t i = 0; i < whole.size() && column < skipped + kMaxShown; ++column) {
        const size_t bytes = std::max<size_t>(character_bytes(whole, i), 1);
        const auto first = static_cast<unsigned char>(whole[i]);
        if (column >= skipped) {
            if (first == '\t') {
                shown += ' ';
            } else if (first < 0x20 || first == 0x7f || character_bytes(whole, i) == 0) {
                shown += '?';
            } else {
                shown += whole.substr(i, bytes);
            }
        }
        i += bytes;
    }
    const auto origin = std::find_if(origins_.rbegin(), origins_.rend(),
                                     [&](const Origin& each) { return each.first <= at.line; });
    const bool own = origin == origins_.rend();
    return fmt::format("{}:{}:{}: error: {}\n{}\n{}^", own ? name_ : origin->name,
                       own ? at.line : at.line - origin->first + origin->line, at.column, message,
                       shown,
                       std::string(static_cast<size_t>(std::max(at.column - 1 - skipped, 0)), ' '));
}

void Diagnostics::error(Position at, std::string message) {
    if (errors_.size() < kMaxKept && std::ranges::find(errors_, at, &Entry::at) == errors_.end())
        errors_.push_back({at, std::move(message)});
}

std::string Diagnostics::text() const {
    std::vector<Entry> sorted = errors_;
    std::ranges::stable_sort(sorted, {}, &Entry::at);
    std::string all;
    for (size_t i = 0; i < std::min(sorted.size(), kMaxErrors); ++i)
        all.append(i > 0 ? "\n" : "").append(source_.describe(sorted[i].at, sorted[i].message));
    if (sorted.size() > kMaxErrors)
        all += fmt::format("\n{}: and {} more errors", source_.name(), sorted.size() - kMaxErrors);
    return all;
}

void Diagnostics::throw_if_any() const {
    if (!empty()) throw Error(text());
}

std::string suggestion(std::string_view name, const std::vector<std::string>& candidates) {
    if (name.size() > 100) return {};  // no slip; and the distance is quadratic
    const std::string* nearest = nullptr;
    size_t least = std::min(std::max<size_t>(name.size() / 3, 1) + 1, name.size());
    for (const std::string& candidate : candidates) {
        const size_t distance = edit_distance(name, candidate);
        if (distance >= least) continue;
        least = distance;
        nearest = &candidate;
    }
    return nearest == nullptr ? "" : fmt::format(", did you mean '{}'?", *nearest);
}

}  // namespace llmsql::compiler
