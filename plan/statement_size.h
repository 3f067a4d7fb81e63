// SPDX-License-Identifier: MIT
// What one statement of a plan may be, told from its text: before SQLite sees it, since preparing
// it cannot be interrupted in every version of SQLite, nor bounded in any.
//
// Where a query reads a subquery, SQLite writes the subquery's column in place of its name, each
// time that it is named. Six levels that name theirs fifty times are 800 characters, and 50^6
// expressions. So besides a statement's length, the depth of its brackets and the like, what counts
// is how many words it would have were everything written out; this is an upper bound of that.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace llmsql {

/// Of a whole plan. The largest compiled ones have two thousand statements of sixty words, and one
/// in init with twelve words a parameter.
inline constexpr int64_t kMostStatements = 1 << 15;
inline constexpr int64_t kMostWordsInInit = 8'000'000;
inline constexpr int64_t kMostWordsElsewhere = 1 << 21;  // written out: they stay prepared

struct StatementSize {
    int64_t words = 0;
    int64_t written_out = 0;  // words; at most 2^40
    std::string refusal;      // empty, or why the statement is refused
};

/// Takes time in proportion to the text, and memory for each SELECT in it.
StatementSize size_of_statement(std::string_view sql, bool in_init);

}  // namespace llmsql
