// SQL cut into words: what is needed to see which tables, ids and operators a statement names.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace llmsql {

struct SqlToken {
    enum class Kind { name, number, text, parameter, symbol };
    Kind kind = Kind::symbol;
    std::string text;  // names as written, a string without its quotes, "(" or ">=" …

    /// A name, as SQL compares them: without regard to case.
    bool is(std::string_view word) const;
    bool is_symbol(std::string_view symbol) const { return kind == Kind::symbol && text == symbol; }
    /// A whole number that fits, else nothing.
    std::optional<int64_t> integer() const;
};

/// The words of one statement; comments are left out, and so is what is no word of SQL.
std::vector<SqlToken> sql_tokens(std::string_view sql);

}  // namespace llmsql
