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
    const bool exponent = end < sql_.size() && lower(sql_[end - 1]) == 'e';
    if (exponent && (sql_[end] == '-' || sql_[end] == '+')) end = end_of(end + 1, is_digit);
    return end;
}

size_t SqlScanner::end_of_quoted(char quote) const {
    for (size_t at = at_ + 1; at < sql_.size(); ++at) {
        if (sql_[at] != quote) continue;
        if (quote == ']' || at + 1 >= sql_.size() || sql_[at + 1] != quote) return at + 1;
        ++at;
    }
    return sql_.size();
}

/// Whether there was something: a space, a comment, or a byte order mark, which is a space to
/// SQLite.
bool SqlScanner::skip_blank() {
    const std::string_view rest = sql_.substr(at_);
    const char c = rest.front();
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f')
        ++at_;
    else if (rest.starts_with("--"))
        at_ = std::min(sql_.find('\n', at_), sql_.size());
    else if (rest.starts_with("/*"))
        at_ = std::min(sql_.find("*/", at_ + 2), sql_.size() - 2) + 2;
    else if (rest.starts_with("\xEF\xBB\xBF"))
        at_ += 3;
    else
        return false;
    return true;
}

bool SqlScanner::next(Word& word) {
    while (at_ < sql_.size() && skip_blank()) {
    }
    if (at_ == sql_.size()) return false;
    const char c = sql_[at_];
    using Kind = SqlToken::Kind;
    size_t end = at_ + 1;
    Kind kind = Kind::symbol;
    if (c == '\'' || c == '"' || c == '`' || c == '[') {
        end = end_of_quoted(c == '[' ? ']' : c);
        kind = c == '\'' ? Kind::text : Kind::name;
    } else if (is_name_start(c)) {
        end = end_of(at_, is_name_part);
        kind = Kind::name;
    } else if (c == ':' || c == '@' || c == '?' || c == '$' || c == '#') {
        end = end_of(at_ + 1, is_name_part);
        kind = Kind::parameter;
    } else if (is_digit(c)) {
        end = end_of_number();
        kind = Kind::number;
    } else {
        for (const std::string_view two : {"<=", ">=", "<>", "!=", "==", "||"})
            if (sql_.substr(at_).starts_with(two)) end = at_ + 2;
    }
    word = {kind, sql_.substr(at_, end - at_)};
    at_ = end;
    return true;
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
