// SPDX-License-Identifier: MIT
// The lexer. See lexer.h.
#include "jinja/lexer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <optional>

#include "common/error.h"

namespace llmsql::jinja {
namespace {

/// Line ends are line feeds from here on; the last one goes.
Chars normalized(std::string_view source) {
    std::string text;
    text.reserve(source.size());
    for (size_t i = 0; i < source.size(); ++i) {
        if (source[i] != '\r') {
            text += source[i];
            continue;
        }
        text += '\n';
        if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    }
    if (!text.empty() && text.back() == '\n') text.pop_back();
    return chars_of(text);
}

class Lexer {
  public:
    explicit Lexer(std::string_view source) : source_(normalized(source)), text_(source_) {}

    std::vector<Token> run() {
        while (at_ < text_.size()) data();
        add(TokenKind::end);
        return std::move(tokens_);
    }

  private:
    [[noreturn]] void wrong(std::string_view what) const { fail("line {}: {}", line_, what); }

    Token& add(TokenKind kind) {
        tokens_.push_back({});
        tokens_.back().kind = kind;
        tokens_.back().line = line_;
        return tokens_.back();
    }

    bool at(std::string_view ascii, size_t ahead = 0) const {
        return at_ + ahead <= text_.size() &&
               equals(text_.substr(at_ + ahead, ascii.size()), ascii);
    }

    void skip(size_t count) {
        for (; count > 0; --count, ++at_)
            if (text_[at_] == U'\n') ++line_;
    }
    void skip_spaces() {
        while (at_ < text_.size() && is_space(text_[at_])) skip(1);
    }

    // What stands before the next tag, and the tag.
    void data() {
        size_t begin = at_;
        while (begin < text_.size()) {
            begin = text_.find(U'{', begin);
            if (begin == CharsView::npos) break;
            const Char next = begin + 1 < text_.size() ? text_[begin + 1] : 0;
            if (next == U'{' || next == U'%' || next == U'#') break;
            ++begin;
        }
        if (begin >= text_.size()) {
            emit(text_.substr(at_));
            skip(text_.size() - at_);
            return;
        }
        const Char kind = text_[begin + 1];
        const Char sign = begin + 2 < text_.size() ? text_[begin + 2] : 0;
        emit(before_tag(text_.substr(at_, begin - at_), sign, kind != U'{'));
        skip(begin - at_);
        if (kind == U'%' && raw()) return;
        const Token& opened =
            add(kind == U'{' ? TokenKind::variable_begin : TokenKind::block_begin);
        skip(sign == U'-' || sign == U'+' ? 3 : 2);
        if (kind == U'#') {
            tokens_.pop_back();
            comment();
            return;
        }
        code(opened.kind == TokenKind::variable_begin);
    }

    CharsView before_tag(CharsView data, Char sign, bool is_block) const {
        if (sign == U'-') return strip(data, Ends::right);
        if (sign == U'+' || !is_block) return data;
        const size_t newline = data.rfind(U'\n');
        const size_t start = newline == CharsView::npos ? 0 : newline + 1;
        if (start == 0 && !line_starts_) return data;
        return std::ranges::all_of(data.substr(start), is_space) ? data.substr(0, start) : data;
    }

    void emit(CharsView data) {
        if (data.empty()) return;
        add(TokenKind::data).text = Chars(data);
    }

    void consumed(size_t from) { line_starts_ = at_ > from && text_[at_ - 1] == U'\n'; }

    // {% raw %}…{% endraw %}: true if it was one.
    bool raw() {
        size_t i = at_ + 2;
        if (i < text_.size() && (text_[i] == U'-' || text_[i] == U'+')) ++i;
        const auto spaces = [&] {
            while (i < text_.size() && is_space(text_[i])) ++i;
        };
        spaces();
        if (!equals(text_.substr(i, 3), "raw")) return false;
        i += 3;
        spaces();
        const bool trims = i < text_.size() && text_[i] == U'-';
        if (trims) ++i;
        if (!equals(text_.substr(std::min(i, text_.size()), 2), "%}")) return false;
        i += 2;
        if (trims) spaces();
        skip(i - at_);
        line_starts_ = text_[at_ - 1] == U'\n';
        for (size_t begin = at_;; ++begin) {
            begin = text_.find(U'{', begin);
            if (begin == CharsView::npos) wrong("Missing end of raw directive");
            i = begin + 1;
            if (i >= text_.size() || text_[i] != U'%') continue;
            ++i;
            const Char sign = i < text_.size() ? text_[i] : 0;
            if (sign == U'-' || sign == U'+') ++i;
            spaces();
            if (!equals(text_.substr(std::min(i, text_.size()), 6), "endraw")) continue;
            i += 6;
            spaces();
            const auto length = end_length(i, "%}", true);
            if (!length) continue;
            emit(before_tag(text_.substr(at_, begin - at_), sign, true));
            const size_t from = at_;
            skip(i + *length - at_);
            consumed(from);
            return true;
        }
    }

    // How long the end of a tag is that stands at `i`: with its sign, and with what it trims.
    std::optional<size_t> end_length(size_t i, std::string_view end, bool trims_line) const {
        size_t length = 0;
        const Char sign = i < text_.size() ? text_[i] : 0;
        const bool minus = sign == U'-', plus = sign == U'+' && trims_line;
        if (minus || plus) ++length;
        if (i + length > text_.size() || !equals(text_.substr(i + length, 2), end))
            return std::nullopt;
        length += 2;
        if (minus)
            while (i + length < text_.size() && is_space(text_[i + length])) ++length;
        else if (trims_line && !plus && i + length < text_.size() && text_[i + length] == U'\n')
            ++length;
        return length;
    }

    void comment() {
        for (size_t i = at_; i < text_.size(); ++i)
            if (const auto length = end_length(i, "#}", true)) {
                const size_t from = at_;
                skip(i + *length - at_);
                consumed(from);
                return;
            }
        wrong("Missing end of comment tag");
    }

    // Within {% %} or {{ }}.
    void code(bool variable) {
        const std::string_view end = variable ? "}}" : "%}";
        std::string open;  // the brackets that are to be closed
        while (at_ < text_.size()) {
            if (open.empty())
                if (const auto length = end_length(at_, end, !variable)) {
                    add(variable ? TokenKind::variable_end : TokenKind::block_end);
                    const size_t from = at_;
                    skip(*length);
                    consumed(from);
                    return;
                }
            const Char c = text_[at_];
            if (is_space(c))
                skip_spaces();
            else if (is_ascii_digit(c))
                number();
            else if (is_word(c))
                name();
            else if (c == U'\'' || c == U'"')
                string(c);
            else
                sign(open);
        }
        // Jinja finds the end of the template where it looks for something else.
        line_starts_ = false;
    }

    void name() {
        size_t i = at_;
        while (i < text_.size() && is_word(text_[i])) ++i;
        const CharsView name = text_.substr(at_, i - at_);
        if (!is_identifier_start(name[0]) || !std::ranges::all_of(name, is_identifier_part))
            wrong("Invalid character in identifier");
        add(TokenKind::name).word = bytes_of(name);
        skip(name.size());
    }

    void number() {
        size_t i = digits_from(at_);
        bool real = false;
        const bool after_dot = at_ > 0 && text_[at_ - 1] == U'.';
        if (!after_dot) {
            size_t end = i;
            if (end < text_.size() && text_[end] == U'.') {
                const size_t fraction = digits_from(end + 1);
                if (fraction > end + 1) {
                    end = fraction;
                    real = true;
                }
            }
            if (end < text_.size() && (text_[end] == U'e' || text_[end] == U'E')) {
                size_t power = end + 1;
                if (power < text_.size() && (text_[power] == U'+' || text_[power] == U'-')) ++power;
                const size_t last = digits_from(power);
                if (last > power) {
                    end = last;
                    real = true;
                }
            }
            if (real) i = end;
        }
        if (real) {
            add(TokenKind::real).real = std::strtod(without_underscores(i).c_str(), nullptr);
            skip(i - at_);
            return;
        }
        integer();
    }

    // (\d+_)*\d+ from `i` on: where it ends; `i` where there is none.
    size_t digits_from(size_t i) const {
        if (i >= text_.size() || !is_ascii_digit(text_[i])) return i;
        ++i;
        while (i < text_.size()) {
            const bool underscore = text_[i] == U'_';
            const size_t digit = underscore ? i + 1 : i;
            if (digit >= text_.size() || !is_ascii_digit(text_[digit])) break;
            i = digit + 1;
        }
        return i;
    }

    std::string without_underscores(size_t end) const {
        std::string number;
        for (const Char c : text_.substr(at_, end - at_))
            if (c != U'_') number += static_cast<char>(c);
        return number;
    }

    void integer() {
        int base = 10;
        size_t i = at_;
        if (text_[i] == U'0' && i + 1 < text_.size()) {
            const Char letter = text_[i + 1] | 0x20;
            base = letter == U'b' ? 2 : letter == U'o' ? 8 : letter == U'x' ? 16 : 10;
        }
        const auto fits = [&](Char c) {
            if (c >= 0x80) return false;
            const int value = is_ascii_digit(c) ? static_cast<int>(c - U'0')
                              : (c | 0x20) >= U'a' && (c | 0x20) <= U'f'
                                  ? static_cast<int>((c | 0x20) - U'a') + 10
                                  : 99;
            return value < base;
        };
        const auto take = [&](bool first) {
            bool needs = first;
            while (i < text_.size()) {
                const size_t digit = text_[i] == U'_' && !needs ? i + 1 : i;
                if (digit >= text_.size() || !fits(text_[digit])) break;
                i = digit + 1;
                needs = false;
            }
        };
        if (base != 10) {
            i += 2;
            const size_t from = i;
            take(false);
            if (i == from) {
                i = at_ + 1;
                base = 10;
            }
        } else if (text_[i] == U'0') {  // 0, 00, and no other that begins so
            ++i;
            while (i < text_.size()) {
                const size_t digit = text_[i] == U'_' ? i + 1 : i;
                if (digit >= text_.size() || text_[digit] != U'0') break;
                i = digit + 1;
            }
        } else {
            take(true);
        }
        const std::string digits = without_underscores(i).substr(base == 10 ? 0 : 2);
        int64_t value = 0;
        const auto [end, error] =
            std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
        if (error != std::errc() || end != digits.data() + digits.size())
            wrong("a number does not fit in 64 bits");
        add(TokenKind::integer).integer = value;
        skip(i - at_);
    }

    void string(Char quote) {
        size_t i = at_ + 1;
        while (i < text_.size() && text_[i] != quote) i += text_[i] == U'\\' ? 2 : 1;
        if (i >= text_.size())
            wrong("unexpected char " + std::string(1, static_cast<char>(quote)) +
                  ": a text without end");
        Token& token = add(TokenKind::string);
        token.text = unescaped(text_.substr(at_ + 1, i - at_ - 1));
        skip(i + 1 - at_);
    }

    // As Python's unicode-escape does it.
    Chars unescaped(CharsView raw) const {
        Chars text;
        for (size_t i = 0; i < raw.size(); ++i) {
            if (raw[i] != U'\\') {
                text += raw[i];
                continue;
            }
            const Char c = raw[++i];
            const auto number = [&](size_t digits, int base, size_t from) {
                Char code = 0;
                size_t count = 0;
                for (; count < digits && from + count < raw.size(); ++count) {
                    const Char d = raw[from + count];
                    const Char low = d | 0x20;
                    Char value = 99;
                    if (is_ascii_digit(d))
                        value = d - U'0';
                    else if (low >= U'a' && low <= U'f' && d < 0x80)
                        value = low - U'a' + 10;
                    if (value >= static_cast<Char>(base)) break;
                    code = code * static_cast<Char>(base) + value;
                }
                return std::pair(code, count);
            };
            constexpr std::string_view kShort = "abfnrtv\\'\"", kMeans = "\a\b\f\n\r\t\v\\'\"";
            if (c == U'\n') continue;
            if (c < 0x80 && kShort.find(static_cast<char>(c)) != std::string_view::npos) {
                text += static_cast<Char>(kMeans[kShort.find(static_cast<char>(c))]);
            } else if (c == U'x' || c == U'u' || c == U'U') {
                const size_t digits = c == U'x' ? 2 : c == U'u' ? 4 : 8;
                const auto [code, count] = number(digits, 16, i + 1);
                if (count < digits || code > 0x10ffff)
                    wrong("truncated or illegal escape in a text");
                if (code >= 0xd800 && code < 0xe000) wrong("a text has half of a surrogate pair");
                text += code;
                i += digits;
            } else if (c >= U'0' && c <= U'7') {
                const auto [code, count] = number(3, 8, i);
                text += code;
                i += count - 1;
            } else if (c == U'N') {
                wrong("\\N{…} is not supported: write the character itself");
            } else {
                text += U'\\';
                text += c;
            }
        }
        return text;
    }

    void sign(std::string& open) {
        constexpr std::array kTwo{"//", "**", "==", "!=", ">=", "<="};
        constexpr std::string_view kOne = "+-/*%~[](){}><=.:|,;";
        std::string word;
        for (const char* two : kTwo)
            if (at(two)) word = two;
        const Char c = text_[at_];
        if (word.empty() && c < 0x80 && kOne.find(static_cast<char>(c)) != std::string_view::npos)
            word = static_cast<char>(c);
        if (word.empty()) {
            std::string shown;
            append_bytes(shown, c);
            wrong(fmt::format("unexpected char '{}'", shown));
        }
        if (word == "{" || word == "(" || word == "[") {
            open += word == "{" ? '}' : word == "(" ? ')' : ']';
        } else if (word == "}" || word == ")" || word == "]") {
            if (open.empty()) wrong(fmt::format("unexpected '{}'", word));
            if (open.back() != word[0])
                wrong(fmt::format("unexpected '{}', expected '{}'", word, open.back()));
            open.pop_back();
        }
        add(TokenKind::sign).word = word;
        skip(word.size());
    }

    Chars source_;
    CharsView text_;
    size_t at_ = 0;
    int line_ = 1;
    bool line_starts_ = true;
    std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> tokens_of(std::string_view source) {
    return Lexer(source).run();
}

}  // namespace llmsql::jinja
