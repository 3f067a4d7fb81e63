// SPDX-License-Identifier: MIT
// Comparing messages by the part that matters: the place, names, numbers, what to do; not their
// whole wording.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>

namespace llmsql::test {

/// Whether `actual` is as `pattern` has it, line by line: "…" stands for any text within a line,
/// and the spaces beside it for nothing more, so that "10:5 … 'tokns' … 'tokens'" is a place and
/// two names. A line end at the end is optional.
inline ::testing::AssertionResult says(std::string_view actual, std::string_view pattern) {
    constexpr std::string_view kAny = "…";
    const auto wrong = [&] {
        return ::testing::AssertionFailure()
               << "\"" << actual << "\"\n  is not\n\"" << pattern << "\"";
    };
    const auto take_line = [](std::string_view& text) {
        const size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        return line;
    };
    std::string_view rest = actual, wanted = pattern;
    do {
        std::string_view line = take_line(rest), part = take_line(wanted);
        for (bool anywhere = false;; anywhere = true) {
            const size_t end = part.find(kAny);
            const bool last = end == std::string_view::npos;
            std::string_view piece = part.substr(0, end);
            if (anywhere && piece.starts_with(' ')) piece.remove_prefix(1);
            if (!last && piece.ends_with(' ')) piece.remove_suffix(1);
            const size_t at = last && anywhere ? line.rfind(piece) : line.find(piece);
            if (at == std::string_view::npos || (!anywhere && at != 0) ||
                (last && at + piece.size() != line.size()))
                return wrong();
            line.remove_prefix(at + piece.size());
            if (last) break;
            part.remove_prefix(end + kAny.size());
        }
    } while (!rest.empty() && !wanted.empty());
    return rest.empty() && wanted.empty() ? ::testing::AssertionSuccess() : wrong();
}

}  // namespace llmsql::test

#define EXPECT_SAYS(actual, pattern) EXPECT_TRUE(::llmsql::test::says(actual, pattern))

#define EXPECT_CONTAINS(text, part) \
    EXPECT_NE((text).find(part), std::string::npos) << "in: " << (text)
