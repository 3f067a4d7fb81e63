// SPDX-License-Identifier: MIT
// The one scanner of SQL: where comments, texts, names and statements begin and end, as SQLite sees
// it. Whatever looks into SQL, a plan's or a chat query, looks through this.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace llmsql {

struct SqlToken {
    enum class Kind { name, number, text, parameter, symbol, space, line_comment, block_comment };
    Kind kind = Kind::symbol;
    std::string text;  // names as written, a string without its quotes, "(" or ">=" …

    /// A name, as SQL compares them: without regard to case.
    bool is(std::string_view word) const;
    bool is_symbol(std::string_view symbol) const { return kind == Kind::symbol && text == symbol; }
    /// A whole number that fits, else nothing.
    std::optional<int64_t> integer() const;
};

/// The words of SQL, one after the other, where SQLite sees them: what is a comment, a text or a
/// name to one must not be code to the other. Takes no memory.
class SqlScanner {
  public:
    struct Word {
        SqlToken::Kind kind = SqlToken::Kind::symbol;
        std::string_view text;  // as written, quotes included
        bool closed = true;     // false: a text, name or block comment that the SQL ends within
        bool is(char symbol) const {
            return kind == SqlToken::Kind::symbol && text.size() == 1 && text[0] == symbol;
        }
        bool is_quoted() const;
        bool is_blank() const { return kind >= SqlToken::Kind::space; }
    };

    explicit SqlScanner(std::string_view sql) : sql_(sql) {}

    /// The next word; spaces and comments are passed over. False at the end of the text.
    bool next(Word& word);

    /// The next word, space or comment: end to end they are the text. False at its end. A line
    /// comment ends before the end of its line.
    bool next_piece(Word& piece);

  private:
    size_t end_of(size_t from, bool (*belongs)(char)) const;
    size_t end_of_number() const;
    size_t end_of_quoted(char quote) const;
    SqlToken::Kind kind_at(size_t& end, bool& closed) const;

    std::string_view sql_;
    size_t at_ = 0;
};

/// The words of one statement; comments are left out, and so is what is no word of SQL.
std::vector<SqlToken> sql_tokens(std::string_view sql);

/// Whether two names are one to SQL, which disregards the case of ASCII's letters.
bool same_name(std::string_view a, std::string_view b);

}  // namespace llmsql
