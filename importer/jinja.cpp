// SPDX-License-Identifier: MIT
// Lexes Jinja as jinja2's lexer does by default: blocks {% %}, expressions {{ }}, comments {# #}.
#include "importer/jinja.h"

#include <algorithm>
#include <array>
#include <vector>

namespace llmsql {
namespace {

struct Lexeme {
    bool is_string = false;
    std::string text;  // of a string without quotes and escapes
    bool is(std::string_view other) const { return !is_string && text == other; }
};

constexpr std::string_view kSpaces = " \t\n\v\f\r";

bool is_name_start(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/// Line ends as jinja2 reads them: one kind, and none at the end of the text.
std::string with_plain_lines(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (size_t at = 0; at < text.size(); ++at) {
        if (text[at] != '\r') {
            out += text[at];
        } else {
            out += '\n';
            if (at + 1 < text.size() && text[at + 1] == '\n') ++at;
        }
    }
    if (out.ends_with('\n')) out.pop_back();
    return out;
}

class Reader {
  public:
    explicit Reader(std::string_view text) : text_(text) {}

    std::optional<std::string> read() {
        while (at_ < text_.size()) {
            const size_t open = next_tag();
            take_text(text_.substr(at_, open - at_));
            if (open == text_.size()) break;
            at_ = open;
            if (!read_tag()) return std::nullopt;
        }
        put_text();
        return std::move(out_);
    }

  private:
    size_t next_tag() const {
        size_t at = at_;
        while ((at = text_.find('{', at)) != std::string_view::npos && at + 1 < text_.size()) {
            const char kind = text_[at + 1];
            if (kind == '{' || kind == '%' || kind == '#') return at;
            ++at;
        }
        return text_.size();
    }

    void take_text(std::string_view text) {
        if (trims_next_) text.remove_prefix(std::min(text.size(), text.find_first_not_of(kSpaces)));
        since_tag_ = plain_.size();
        plain_ += text;
    }

    void put_text() {
        if (!plain_.empty()) put('T', plain_);
        plain_.clear();
        since_tag_ = 0;
    }

    void put(char kind, std::string_view text) {
        out_ += kind;
        out_ += std::to_string(text.size());
        out_ += ':';
        out_ += text;
    }

    /// The text in front of a tag that opens with a minus, back to the comment before it.
    void trim_before() {
        const std::string_view text = std::string_view(plain_).substr(since_tag_);
        plain_.resize(since_tag_ + text.find_last_not_of(kSpaces) + 1);
    }

    bool read_tag() {
        const char kind = text_[at_ + 1];
        at_ += 2;
        const bool trims = at_ < text_.size() && text_[at_] == '-';
        if (at_ < text_.size() && text_[at_] == '+') return false;
        if (trims) {
            ++at_;
            trim_before();
        }
        if (kind == '#') {
            const size_t end = text_.find("#}", at_);
            if (end == std::string_view::npos) return false;
            trims_next_ = end > at_ && text_[end - 1] == '-';
            if (end > at_ && text_[end - 1] == '+') return false;
            at_ = end + 2;
            return true;
        }
        put_text();
        std::vector<Lexeme> lexemes;
        const std::string_view close = kind == '{' ? "}}" : "%}";
        while (true) {
            at_ = std::min(text_.size(), text_.find_first_not_of(kSpaces, at_));
            if (at_ == text_.size()) return false;
            const std::string_view rest = text_.substr(at_);
            trims_next_ = rest[0] == '-' && rest.substr(1).starts_with(close);
            if (trims_next_ || rest.starts_with(close)) {
                at_ += trims_next_ ? 3 : 2;
                break;
            }
            if (!read_lexeme(lexemes)) return false;
        }
        if (!lexemes.empty() && lexemes[0].is("raw")) return false;
        put_tag(kind, lexemes);
        return true;
    }

    bool read_lexeme(std::vector<Lexeme>& lexemes) {
        const char c = text_[at_];
        if (c == '\'' || c == '"') return read_string(lexemes);
        size_t length = 1;
        if (is_name_start(c) || is_digit(c)) {
            while (at_ + length < text_.size() &&
                   (is_name_start(text_[at_ + length]) || is_digit(text_[at_ + length])))
                ++length;
        } else {
            constexpr std::array<std::string_view, 6> kPairs{"==", "!=", "<=", ">=", "//", "**"};
            if (std::ranges::find(kPairs, text_.substr(at_, 2)) != kPairs.end())
                length = 2;
            else if (std::string_view("+-/*%~[]()<>=.:|,;").find(c) == std::string_view::npos)
                return false;
        }
        lexemes.push_back({false, std::string(text_.substr(at_, length))});
        at_ += length;
        return true;
    }

    bool read_string(std::vector<Lexeme>& lexemes) {
        const char quote = text_[at_++];
        std::string value;
        for (; at_ < text_.size() && text_[at_] != quote; ++at_) {
            if (text_[at_] != '\\') {
                value += text_[at_];
                continue;
            }
            if (++at_ == text_.size()) return false;
            constexpr std::string_view kEscapes = "nrt\\'\"", kMeanings = "\n\r\t\\'\"";
            const size_t escape = kEscapes.find(text_[at_]);
            if (escape == std::string_view::npos) return false;
            value += kMeanings[escape];
        }
        if (at_ == text_.size()) return false;
        ++at_;
        lexemes.push_back({true, std::move(value)});
        return true;
    }

    /// A tag's tokens, those replaced that say the same in another way.
    void put_tag(char kind, const std::vector<Lexeme>& lexemes) {
        std::vector<Lexeme> plain;
        for (size_t i = 0; i < lexemes.size(); ++i) {
            const auto at = [&](size_t n) {
                return i + n < lexemes.size() ? &lexemes[i + n] : nullptr;
            };
            const Lexeme* key = at(1);
            if (lexemes[i].is("[") && key && key->is_string &&
                (key->text == "role" || key->text == "content") && at(2) && at(2)->is("]") &&
                !plain.empty() && !plain.back().is_string &&
                (plain.back().is("]") || plain.back().is("message"))) {
                plain.push_back({false, "."});
                plain.push_back({false, key->text});
                i += 2;
                continue;
            }
            // x + 'a' + 'b', where neither string belongs to an operator that binds more.
            const size_t n = plain.size();
            if (lexemes[i].is_string && n >= 2 && plain[n - 1].is("+") && plain[n - 2].is_string &&
                (n == 2 ? kind == '{' : plain[n - 3].is("+") || plain[n - 3].is("(")) &&
                (!at(1) || at(1)->is("+") || at(1)->is(")"))) {
                plain.pop_back();
                plain.back().text += lexemes[i].text;
                continue;
            }
            plain.push_back(lexemes[i]);
        }
        out_ += kind;
        out_ += std::to_string(plain.size());
        out_ += ';';
        for (const Lexeme& each : plain) put(each.is_string ? 's' : 't', each.text);
    }

    std::string_view text_;
    size_t at_ = 0;
    std::string plain_;        // text since the last tag that is no comment
    size_t since_tag_ = 0;     // where in it the text since the last tag or comment begins
    bool trims_next_ = false;  // the tag before took away spaces after it
    std::string out_;
};

}  // namespace

std::optional<std::string> canonical_jinja(std::string_view text) {
    const std::string plain = with_plain_lines(text);
    return Reader(plain).read();
}

}  // namespace llmsql
