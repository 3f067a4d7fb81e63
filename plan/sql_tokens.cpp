// SPDX-License-Identifier: MIT
// Cutting SQL into words. See sql_tokens.h.
#include "plan/sql_tokens.h"

#include <algorithm>
#include <charconv>

namespace llmsql {
namespace {

bool is_name_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80) != 0;
}
bool is_space(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}
bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
bool is_name_part(char c) {
    return is_name_start(c) || is_digit(c) || c == '$';
}
char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

/// What stands between the quotes; a doubled one belongs to the text.
std::string unquoted(std::string_view text) {
    const char quote = text.front() == '[' ? ']' : text.front();
    text.remove_prefix(1);
    if (!text.empty() && text.back() == quote) text.remove_suffix(1);
    std::string out;
    for (size_t at = 0; at < text.size(); ++at) {
        out += text[at];
        if (text[at] == quote && quote != ']') ++at;
    }
    return out;
}

}  // namespace

bool SqlScanner::Word::is_quoted() const {
    const char c = text.front();
    return c == '\'' || c == '"' || c == '`' || c == '[';
}

size_t SqlScanner::end_of(size_t from, bool (*belongs)(char)) const {
    while (from < sql_.size() && belongs(sql_[from])) ++from;
    return from;
}

size_t SqlScanner::end_of_number() const {
    size_t end = end_of(at_, is_name_part);
    if (end < sql_.size() && sql_[end] == '.') end = end_of(end + 1, is_name_part);
    const bool hexadecimal = end - at_ > 1 && lower(sql_[at_ + 1]) == 'x';
    const bool exponent = !hexadecimal && lower(sql_[end - 1]) == 'e' && end + 1 < sql_.size() &&
                          (sql_[end] == '-' || sql_[end] == '+') && is_digit(sql_[end + 1]);
    return exponent ? end_of(end + 1, is_digit) : end;
}

/// npos if it is not closed.
size_t SqlScanner::end_of_quoted(char quote) const {
    for (size_t at = at_ + 1; at < sql_.size(); ++at) {
        if (sql_[at] != quote) continue;
        if (quote == ']' || at + 1 >= sql_.size() || sql_[at + 1] != quote) return at + 1;
        ++at;
    }
    return std::string_view::npos;
}

SqlToken::Kind SqlScanner::kind_at(size_t& end, bool& closed) const {
    using Kind = SqlToken::Kind;
    const std::string_view rest = sql_.substr(at_);
    const char c = rest.front();
    const auto close = [&](size_t found, size_t behind) {
        closed = found != std::string_view::npos;
        end = closed ? found + behind : sql_.size();
    };
    end = at_ + 1;
    if (is_space(c)) {
        end = end_of(at_, [](char each) { return is_space(each) || each == '\v'; });
        return Kind::space;
    }
    if (rest.starts_with("--")) {
        end = std::min(sql_.find('\n', at_), sql_.size());
        return Kind::line_comment;
    }
    if (rest.starts_with("/*")) {
        close(sql_.find("*/", at_ + 2), 2);
        return Kind::block_comment;
    }
    if (rest.starts_with("\xEF\xBB\xBF")) {  // a byte order mark
        end = at_ + 3;
        return Kind::space;
    }
    if (c == '\'' || c == '"' || c == '`' || c == '[') {
        close(end_of_quoted(c == '[' ? ']' : c), 0);
        return c == '\'' ? Kind::text : Kind::name;
    }
    if (is_name_start(c)) {
        end = end_of(at_, is_name_part);
        return Kind::name;
    }
    if (c == ':' || c == '@' || c == '?' || c == '$' || c == '#') {
        end = end_of(at_ + 1, is_name_part);
        return Kind::parameter;
    }
    if (is_digit(c)) {
        end = end_of_number();
        return Kind::number;
    }
    for (const std::string_view two : {"<=", ">=", "<>", "!=", "==", "||"})
        if (rest.starts_with(two)) end = at_ + 2;
    return Kind::symbol;
}

bool SqlScanner::next_piece(Word& piece) {
    if (at_ == sql_.size()) return false;
    size_t end = 0;
    bool closed = true;
    const SqlToken::Kind kind = kind_at(end, closed);
    piece = {kind, sql_.substr(at_, end - at_), closed};
    at_ = end;
    return true;
}

bool SqlScanner::next(Word& word) {
    while (next_piece(word))
        if (!word.is_blank()) return true;
    return false;
}

bool same_name(std::string_view a, std::string_view b) {
    return std::ranges::equal(a, b, [](char x, char y) { return lower(x) == lower(y); });
}

bool SqlToken::is(std::string_view word) const {
    return kind == Kind::name && same_name(text, word);
}

std::optional<int64_t> SqlToken::integer() const {
    if (kind != Kind::number) return std::nullopt;
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::vector<SqlToken> sql_tokens(std::string_view sql) {
    std::vector<SqlToken> tokens;
    SqlScanner scanner(sql);
    for (SqlScanner::Word word; scanner.next(word);)
        tokens.push_back(
            {word.kind, word.is_quoted() ? unquoted(word.text) : std::string(word.text)});
    return tokens;
}

}  // namespace llmsql
