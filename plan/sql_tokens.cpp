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

class Scanner {
  public:
    explicit Scanner(std::string_view sql) : sql_(sql) {}

    std::vector<SqlToken> run() {
        while (at_ < sql_.size()) {
            const char c = sql_[at_];
            if (c == ' ' || c == '\t' || c == '\n' || c == '\r')
                ++at_;
            else if (sql_.substr(at_).starts_with("--"))
                at_ = std::min(sql_.find('\n', at_), sql_.size());
            else if (sql_.substr(at_).starts_with("/*"))
                at_ = std::min(sql_.find("*/", at_ + 2), sql_.size() - 2) + 2;
            else if (c == '\'' || c == '"' || c == '`' || c == '[')
                quoted(c == '[' ? ']' : c);
            else if (is_name_start(c))
                take(SqlToken::Kind::name, end_of(at_, is_name_part));
            else if (c == ':' || c == '@' || c == '?')
                take(SqlToken::Kind::parameter, end_of(at_ + 1, is_name_part));
            else if (is_digit(c))
                number();
            else
                symbol();
        }
        return std::move(tokens_);
    }

  private:
    size_t end_of(size_t from, bool (*belongs)(char)) const {
        while (from < sql_.size() && belongs(sql_[from])) ++from;
        return from;
    }

    void take(SqlToken::Kind kind, size_t end) {
        tokens_.push_back({kind, std::string(sql_.substr(at_, end - at_))});
        at_ = end;
    }

    void number() {
        size_t end = end_of(at_, is_name_part);
        if (end < sql_.size() && sql_[end] == '.') end = end_of(end + 1, is_name_part);
        const bool exponent = end < sql_.size() && lower(sql_[end - 1]) == 'e';
        if (exponent && (sql_[end] == '-' || sql_[end] == '+')) end = end_of(end + 1, is_digit);
        take(SqlToken::Kind::number, end);
    }

    void quoted(char quote) {
        std::string text;
        for (++at_; at_ < sql_.size(); ++at_) {
            if (sql_[at_] == quote && (at_ + 1 >= sql_.size() || sql_[at_ + 1] != quote)) break;
            if (sql_[at_] == quote) ++at_;  // doubled: one of them belongs to the text
            text += sql_[at_];
        }
        at_ = std::min(at_ + 1, sql_.size());
        tokens_.push_back(
            {quote == '\'' ? SqlToken::Kind::text : SqlToken::Kind::name, std::move(text)});
    }

    void symbol() {
        for (const std::string_view two : {"<=", ">=", "<>", "!=", "==", "||"})
            if (sql_.substr(at_).starts_with(two)) return take(SqlToken::Kind::symbol, at_ + 2);
        take(SqlToken::Kind::symbol, at_ + 1);
    }

    std::string_view sql_;
    size_t at_ = 0;
    std::vector<SqlToken> tokens_;
};

}  // namespace

bool SqlToken::is(std::string_view word) const {
    return kind == Kind::name &&
           std::ranges::equal(text, word, [](char a, char b) { return lower(a) == lower(b); });
}

std::optional<int64_t> SqlToken::integer() const {
    if (kind != Kind::number) return std::nullopt;
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::vector<SqlToken> sql_tokens(std::string_view sql) {
    return Scanner(sql).run();
}

}  // namespace llmsql
