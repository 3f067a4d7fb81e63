// SPDX-License-Identifier: MIT
// Strings, names and sizes in SQL. See sql_text.h.
#include "compiler/emit/sql_text.h"

#include <algorithm>
#include <array>

#include "common/error.h"
#include "plan/sql_tokens.h"

namespace llmsql::compiler {
namespace {

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

std::string lower_case(std::string_view text) {
    std::string lower(text);
    for (char& c : lower)
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    return lower;
}

// SQLite's keywords (sqlite.org/lang_keywords.html), none of which may be an alias here.
constexpr std::string_view kKeywords =
    " abort action add after all alter always analyze and as asc attach autoincrement before begin "
    "between by cascade case cast check collate column commit conflict constraint create cross "
    "current current_date current_time current_timestamp database default deferrable deferred "
    "delete desc detach distinct do drop each else end escape except exclude exclusive exists "
    "explain fail filter first following for foreign from full generated glob group groups having "
    "if ignore immediate in index indexed initially inner insert instead intersect into is isnull "
    "join key last left like limit match materialized natural no not nothing notnull null nulls of "
    "offset on or order others outer over partition plan pragma preceding primary query raise "
    "range recursive references regexp reindex release rename replace restrict returning right "
    "rollback row rows savepoint select set table temp temporary then ties to transaction trigger "
    "unbounded union unique update using vacuum values view virtual when where window with "
    "without within ";

bool is_keyword(std::string_view lower) {
    return kKeywords.find(fmt::format(" {} ", lower)) != std::string_view::npos;
}

}  // namespace

std::string sql_string(std::string_view text) {
    std::string sql, literal;
    const auto flush = [&] {
        if (!literal.empty()) sql += fmt::format("{}'{}'", sql.empty() ? "" : " || ", literal);
        literal.clear();
    };
    for (const char c : text) {
        if (is_control(c)) {
            flush();
            sql += fmt::format("{}char({})", sql.empty() ? "" : " || ", static_cast<int>(c));
        } else {
            literal += c;
            if (c == '\'') literal += c;
        }
    }
    flush();
    return sql.empty() ? "''" : sql;
}

std::string sql_literal(std::string_view text, std::string_view what) {
    if (std::ranges::any_of(text, is_control)) fail("{} contains a control character", what);
    return text.empty() ? "''" : sql_string(text);
}

std::string bytes_text(int64_t bytes) {
    if (bytes < 1000) return fmt::format("{} bytes", bytes);
    const int64_t unit = bytes < 1000000 ? 1000 : 1000000;
    const int64_t tenths = (bytes + unit / 20) / (unit / 10);
    return fmt::format("{}.{} {}", tenths / 10, tenths % 10, unit == 1000 ? "kB" : "MB");
}

std::string single_statement(std::string_view sql, std::string_view what) {
    size_t begin = std::string_view::npos;  // of what is no space
    size_t end = 0;                         // behind the last word
    bool over = false;
    SqlScanner scanner(sql);
    for (SqlScanner::Word piece; scanner.next_piece(piece);) {
        if (!piece.closed)
            fail("{}: a {} is not closed", what,
                 piece.kind == SqlToken::Kind::block_comment ? "comment" : "string or name");
        const auto at = static_cast<size_t>(piece.text.data() - sql.data());
        if (piece.kind != SqlToken::Kind::space) begin = std::min(begin, at);
        if (piece.is_blank()) continue;
        if (piece.is(';'))
            over = true;
        else if (over)
            fail("{}: more than one statement", what);
        else
            end = at + piece.text.size();
    }
    if (end == 0) fail("{}: there is no statement", what);
    const std::string_view statement = sql.substr(begin, end - begin);
    if (statement.find('\0') != std::string_view::npos) fail("{}: contains a NUL character", what);
    for (size_t line = 0; line < statement.size();) {
        const size_t text = statement.find_first_not_of(" \t", line);
        if (text != std::string_view::npos && statement.substr(text).starts_with("--@"))
            fail("{}: a line begins with --@, which starts a section of the plan", what);
        line = std::min(statement.find('\n', line), statement.size() - 1) + 1;
    }
    return std::string(statement) + ";";
}

std::string Aliases::pick(std::string_view name) {
    const auto part_of_name = [](char c) { return is_letter(c) || is_digit(c); };
    const bool usable =
        !name.empty() && !is_digit(name[0]) && std::ranges::all_of(name, part_of_name);
    const std::string stem(usable ? name : "t");
    std::string alias = stem;
    for (int i = 2; is_keyword(lower_case(alias)) || !taken_.insert(lower_case(alias)).second; ++i)
        alias = fmt::format("{}{}", stem, i);
    return alias;
}

}  // namespace llmsql::compiler
