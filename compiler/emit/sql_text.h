// SPDX-License-Identifier: MIT
// SQL's small print: strings, names and sizes as a plan writes them.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

namespace llmsql::compiler {

/// An SQL expression for a text: 'it''s', or 'a' || char(10) || 'b' where it has control
/// characters.
std::string sql_string(std::string_view text);

/// A text as one literal, for where SQL takes no expression. Fails, naming `what`, if the text
/// has control characters.
std::string sql_literal(std::string_view text, std::string_view what);

/// "144.9 MB", "62.5 kB", "100 bytes": decimal units, rounded to nearest.
std::string bytes_text(int64_t bytes);

/// One SELECT as it was written, ended by exactly one semicolon. Fails if there is more than one
/// statement, none, an unterminated string or comment, or a line that would read as a section of
/// the plan. `what` names it in errors.
std::string single_statement(std::string_view sql, std::string_view what);

/// Table aliases of one statement: names that SQLite takes unquoted, each once.
class Aliases {
  public:
    Aliases() : taken_{"kv"} {}

    /// `name` itself where it can be had, else with a number behind it; "t" for what is no name.
    std::string pick(std::string_view name);

  private:
    std::set<std::string> taken_;  // in lower case, as SQL compares them
};

}  // namespace llmsql::compiler
