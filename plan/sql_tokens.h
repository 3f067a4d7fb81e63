// SPDX-License-Identifier: MIT
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

/// The words of one statement, one after the other, where SQLite sees them: what is a comment, a
/// text or a name to one must not be code to the other. Takes no memory.
class SqlScanner {
  public:
    struct Word {
        SqlToken::Kind kind = SqlToken::Kind::symbol;
        std::string_view text;  // as written, quotes included
        bool is(char symbol) const {
            return kind == SqlToken::Kind::symbol && text.size() == 1 && text[0] == symbol;
        }
        bool is_quoted() const;
    };

    explicit SqlScanner(std::string_view sql) : sql_(sql) {}

    /// False at the end of the text.
    bool next(Word& word);

  private:
    size_t end_of(size_t from, bool (*belongs)(char)) const;
    size_t end_of_number() const;
    size_t end_of_quoted(char quote) const;
    bool skip_blank();

    std::string_view sql_;
    size_t at_ = 0;
};

/// The words of one statement; comments are left out, and so is what is no word of SQL.
std::vector<SqlToken> sql_tokens(std::string_view sql);

/// Whether two names are one to SQL, which disregards the case of ASCII's letters.
bool same_name(std::string_view a, std::string_view b);

}  // namespace llmsql
