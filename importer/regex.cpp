// SPDX-License-Identifier: MIT
// From Oniguruma's syntax to PCRE2's. See regex.h.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "importer/regex.h"

#include <fmt/format.h>
#include <pcre2.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>
#include <utility>
#include <vector>

#include "common/error.h"
#include "common/utf8.h"

namespace llmsql {
namespace {

constexpr size_t kLongest = 64 << 10;
constexpr int kDeepestClass = 50;

// Members of a class, as they stand within its brackets. PCRE2's \s also takes U+180E, which ceased
// to be a space in Unicode 6.3, and its \w no marks; Oniguruma's has the numbers of Latin-1, too,
// but not within brackets.
constexpr std::string_view kSpaceCharacters =
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"
    "\\x{205f}\\x{3000}";
constexpr std::string_view kNoSpaces =
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}"
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-"
    "\\x{d7ff}\\x{e000}-\\x{10ffff}";
constexpr std::string_view kWord =
    "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}";
constexpr std::string_view kWordInClass = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}";
// Alphabetic since Unicode 16.
constexpr std::string_view kAlphabetic =
    "\\p{Alphabetic}\\x{363}-\\x{36f}\\x{c04}\\x{f82}\\x{f83}\\x{1dd3}-\\x{1de6}\\x{11080}\\x{"
    "11081}";
constexpr std::string_view kAlphanumeric =
    "\\p{Nd}\\p{Alphabetic}\\x{363}-\\x{36f}\\x{c04}\\x{f82}\\x{f83}\\x{1dd3}-\\x{1de6}\\x{11080}"
    "\\x{11081}";
constexpr std::string_view kHex = "0-9A-Fa-f";

// Names of properties that are no scripts, in lower case and without _ and spaces.
constexpr std::array<std::pair<std::string_view, std::string_view>, 45> kProperties{{
    {"alnum", kAlphanumeric},
    {"alpha", kAlphabetic},
    {"alphabetic", kAlphabetic},
    {"any", "\\x{0}-\\x{d7ff}\\x{e000}-\\x{10ffff}"},
    {"ascii", "\\x{0}-\\x{7f}"},
    {"blank", "\\x{9}\\p{Zs}"},
    {"cntrl", "\\p{Cc}"},
    {"digit", "\\p{Nd}"},
    {"emoji", "\\p{Emoji}"},
    {"lower", "\\p{Lowercase}"},
    {"lowercase", "\\p{Lowercase}"},
    {"punct", "\\p{P}"},
    {"space", kSpaceCharacters},
    {"whitespace", kSpaceCharacters},
    {"upper", "\\p{Uppercase}"},
    {"uppercase", "\\p{Uppercase}"},
    {"xdigit", kHex},
    {"letter", "\\p{L}"},
    {"mark", "\\p{M}"},
    {"number", "\\p{N}"},
    {"punctuation", "\\p{P}"},
    {"symbol", "\\p{S}"},
    {"separator", "\\p{Z}"},
    {"other", "\\p{C}"},
    {"uppercaseletter", "\\p{Lu}"},
    {"lowercaseletter", "\\p{Ll}"},
    {"titlecaseletter", "\\p{Lt}"},
    {"modifierletter", "\\p{Lm}"},
    {"otherletter", "\\p{Lo}"},
    {"nonspacingmark", "\\p{Mn}"},
    {"spacingmark", "\\p{Mc}"},
    {"enclosingmark", "\\p{Me}"},
    {"decimalnumber", "\\p{Nd}"},
    {"letternumber", "\\p{Nl}"},
    {"othernumber", "\\p{No}"},
    {"connectorpunctuation", "\\p{Pc}"},
    {"dashpunctuation", "\\p{Pd}"},
    {"openpunctuation", "\\p{Ps}"},
    {"closepunctuation", "\\p{Pe}"},
    {"otherpunctuation", "\\p{Po}"},
    {"mathsymbol", "\\p{Sm}"},
    {"currencysymbol", "\\p{Sc}"},
    {"modifiersymbol", "\\p{Sk}"},
    {"othersymbol", "\\p{So}"},
    {"control", "\\p{Cc}"},
}};

constexpr std::array<std::string_view, 38> kCategories{
    "C",  "Cc", "Cf", "Cn", "Co", "Cs", "L",  "Ll", "Lm", "Lo", "Lt", "Lu", "M",
    "Mc", "Me", "Mn", "N",  "Nd", "Nl", "No", "P",  "Pc", "Pd", "Pe", "Pf", "Pi",
    "Po", "Ps", "S",  "Sc", "Sk", "Sm", "So", "Z",  "Zl", "Zp", "Zs", "LC"};

// A set of characters: `members` within brackets, all but them if `inverted`; or else an expression
// for one character.
struct Set {
    std::string members;
    bool inverted = false;
    std::string expression;  // if not empty

    bool is_empty() const { return members.empty() && !inverted && expression.empty(); }

    std::string text() const {
        if (!expression.empty()) return expression;
        // No character at all, or any: PCRE2 has no empty class.
        if (members.empty()) return inverted ? "(?s:.)" : "(?!)";
        // One property needs no brackets.
        if (!inverted && (members.starts_with("\\p{") || members.starts_with("\\P{")) &&
            members.find('}') == members.size() - 1)
            return members;
        return fmt::format("[{}{}]", inverted ? "^" : "", members);
    }
};

Set inverse(Set set) {
    if (set.expression.empty()) {
        set.inverted = !set.inverted;
        return set;
    }
    return {"", false, fmt::format("(?:(?!{})(?s:.))", set.expression)};
}

Set united(const Set& a, const Set& b) {
    if (a.is_empty()) return b;
    if (a.expression.empty() && b.expression.empty() && !a.inverted && !b.inverted)
        return {a.members + b.members, false, ""};
    return {"", false, fmt::format("(?:{}|{})", a.text(), b.text())};
}

Set shared(const Set& a, const Set& b) {
    return {"", false, fmt::format("(?:(?={}){})", a.text(), b.text())};
}

class Translator {
  public:
    explicit Translator(std::string_view regex) : regex_(regex) {}

    std::string run() {
        while (!at_end()) term();
        return std::move(out_);
    }

  private:
    bool at_end() const { return at_ >= regex_.size(); }
    char peek(size_t ahead = 0) const {
        return at_ + ahead < regex_.size() ? regex_[at_ + ahead] : '\0';
    }
    bool take(std::string_view what) {
        if (!regex_.substr(at_).starts_with(what)) return false;
        at_ += what.size();
        return true;
    }
    std::string_view character() {
        if (at_end()) fail("it ends within a part");
        const Utf8Char next = utf8_at(regex_.substr(at_));
        const std::string_view text = regex_.substr(at_, std::max<size_t>(1, next.length));
        at_ += text.size();
        return text;
    }

    void term() {
        const char c = peek();
        if (c == ')') {
            ++at_;
            out_ += c;
            if (!open_.empty()) {
                atom_ = open_.back();
                open_.pop_back();
            }
            return;
        }
        // A sign that repeats is no atom of its own.
        if (c != '{' && c != '*' && c != '+' && c != '?') atom_ = out_.size();
        if (c == '(') open_.push_back(out_.size());
        if (c == '[') {
            ++at_;
            out_ += set(0).text();
        } else if (c == '\\') {
            ++at_;
            escape();
        } else if (c == '(') {
            group();
        } else if (c == '^') {
            ++at_;
            out_ += "(?m:^)";
        } else if (c == '$') {
            ++at_;
            out_ += "(?m:$)";
        } else if (c == '{') {
            braces();
        } else if (c == '#' || c == ' ') {
            ++at_;
            out_ += c;
        } else {
            out_ += character();
        }
    }

    void braces() {
        size_t end = at_ + 1;
        while (end < regex_.size() &&
               (std::isdigit(static_cast<unsigned char>(regex_[end])) || regex_[end] == ','))
            ++end;
        const std::string_view inside = regex_.substr(at_ + 1, end - at_ - 1);
        if (end >= regex_.size() || regex_[end] != '}' || inside.empty() || inside == ",") {
            out_ += "\\{";
            ++at_;
            return;
        }
        at_ = end + 1;
        out_ += fmt::format("{{{}{}}}", inside.starts_with(',') ? "0" : "", inside);
        // Repeated again, where PCRE2 would read that nothing is given back.
        if (peek() == '+') out_ = out_.substr(0, atom_) + "(?:" + out_.substr(atom_) + ")";
    }

    void group() {
        for (const std::string_view start : {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!"})
            if (take(start)) {
                out_ += start;
                return;
            }
        if (take("(?#")) {
            while (!at_end() && peek() != ')') ++at_;
            if (!take(")")) fail("a comment does not end");
            open_.pop_back();
            return;
        }
        if (take("(?<")) {
            out_ += "(?<";
            return;
        }
        if (take("(?")) {  // options: m is that a point takes line ends
            out_ += "(?";
            while (!at_end() && peek() != ':' && peek() != ')') {
                const char option = regex_[at_++];
                if (option != 'i' && option != '-' && option != 'm')
                    fail("the option (?{}) is none that can be taken over", option);
                out_ += option == 'm' ? 's' : option;
            }
            if (at_end()) fail("a group does not end");
            if (peek() == ')') open_.pop_back();  // options of what follows
            out_ += regex_[at_++];
            return;
        }
        if (peek(1) == '*') fail("a verb (*…) is none of Oniguruma's");
        ++at_;
        out_ += '(';
    }

    void escape() {
        const char c = peek();
        if (c == 'b' || c == 'B') {
            ++at_;
            const std::string inside =
                fmt::format("(?:(?<=[{0}])(?![{0}])|(?<![{0}])(?=[{0}]))", kWord);
            const std::string between =
                fmt::format("(?:(?<=[{0}])(?=[{0}])|(?<![{0}])(?![{0}]))", kWord);
            out_ += c == 'b' ? inside : between;
            return;
        }
        if (c == 'A' || c == 'z' || c == 'Z' || c == 'R' || c == 'X') {
            ++at_;
            (out_ += '\\') += c;
            return;
        }
        if (c >= '1' && c <= '9') {
            out_ += '\\';
            while (std::isdigit(static_cast<unsigned char>(peek()))) out_ += regex_[at_++];
            return;
        }
        if (c == 'G' || c == 'K' || c == 'k' || c == 'g' || c == 'y' || c == 'Y' || c == 'N' ||
            c == 'O')
            fail("\\{} has no counterpart", c);
        out_ += escaped_set().text();
    }

    /// What a backslash has begun, as a set: one character, mostly. `word`: what \w is there.
    Set escaped_set(std::string_view word = kWord) {
        const std::string_view first = character();
        if (first.size() > 1) return {std::string(first), false, ""};
        switch (const char c = first[0]) {
            case 's':
                return {std::string(kSpaceCharacters), false, ""};
            case 'S':
                return {std::string(kNoSpaces), false, ""};
            case 'd':
                return {"\\p{Nd}", false, ""};
            case 'D':
                return {"\\P{Nd}", false, ""};
            case 'w':
                return {std::string(word), false, ""};
            case 'W':
                return {std::string(word), true, ""};
            case 'h':
                return {std::string(kHex), false, ""};
            case 'H':
                return {std::string(kHex), true, ""};
            case 'p':
            case 'P':
                return property(c == 'P', word);
            default:
                --at_;
                return {code_text(escaped_code()), false, ""};
        }
    }

    static std::string code_text(uint32_t code) { return fmt::format("\\x{{{:x}}}", code); }

    uint32_t hexadecimal(size_t most) {
        uint32_t code = 0;
        size_t digits = 0;
        for (; digits < most && std::isxdigit(static_cast<unsigned char>(peek())); ++digits) {
            const char c = regex_[at_++];
            code = code * 16 + static_cast<uint32_t>(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
        }
        if (digits == 0) fail("a number in base 16 is wanted");
        return code;
    }

    /// The code of the character that stands behind a backslash.
    uint32_t escaped_code() {
        const std::string_view first = character();
        if (first.size() > 1) return utf8_at(first).code;
        switch (const char c = first[0]) {
            case 'n':
                return '\n';
            case 't':
                return '\t';
            case 'r':
                return '\r';
            case 'f':
                return '\f';
            case 'v':
                return '\v';
            case 'a':
                return '\a';
            case 'e':
                return 0x1b;
            case 'b':
                return '\b';
            case 'u':
                return checked(hexadecimal(4));
            case 'x': {
                if (!take("{")) return checked(hexadecimal(2));
                const uint32_t code = hexadecimal(8);
                if (!take("}")) fail("\\x{{…}} does not end");
                return checked(code);
            }
            case '0': {
                uint32_t code = 0;
                for (int i = 0; i < 2 && peek() >= '0' && peek() <= '7'; ++i)
                    code = code * 8 + static_cast<uint32_t>(regex_[at_++] - '0');
                return code;
            }
            default:
                if (std::isalnum(static_cast<unsigned char>(c))) fail("\\{} has no counterpart", c);
                return static_cast<unsigned char>(c);
        }
    }

    static uint32_t checked(uint32_t code) {
        if (code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
            fail("{:x} is no character", code);
        return code;
    }

    /// \p{…}, whose letter has been read.
    Set property(bool inverted, std::string_view word) {
        if (!take("{")) fail("\\p wants {{…}}");
        if (take("^")) inverted = !inverted;
        const size_t end = regex_.find('}', at_);
        if (end == std::string_view::npos) fail("\\p{{…}} does not end");
        const std::string_view given = regex_.substr(at_, end - at_);
        at_ = end + 1;
        return named(given, inverted, word);
    }

    static Set named(std::string_view given, bool inverted, std::string_view word) {
        std::string plain;
        for (const char c : given) {
            if (!std::isalnum(static_cast<unsigned char>(c)) && c != '_' && c != ' ' && c != '-')
                fail("\\p{{{}}} is not known", printable(given));
            if (c != '_' && c != ' ' && c != '-')
                plain += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        }
        for (const std::string_view category : kCategories)
            if (std::ranges::equal(category, plain, {}, [](char c) {
                    return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
                })) {
                const std::string_view name = category == "LC" ? "L&" : category;
                return {fmt::format("\\{}{{{}}}", inverted ? 'P' : 'p', name), false, ""};
            }
        if (plain == "word") return {std::string(word), inverted, ""};
        for (const auto& [name, members] : kProperties)
            if (plain == name) return {std::string(members), inverted, ""};
        // PCRE2's \p{Han} would be whatever is used with Han, too.
        return {fmt::format("\\{}{{sc:{}}}", inverted ? 'P' : 'p', given), false, ""};
    }

    /// A class, whose bracket has been read.
    Set set(int depth) {
        if (depth > kDeepestClass) fail("classes lie in each other too deeply");
        const bool inverted = take("^");
        Set all, part;
        bool intersects = false, first = true;
        while (true) {
            if (at_end()) fail("a class does not end");
            if (!first && take("]")) break;
            if (first && take("]")) {
                part = united(part, {"\\]", false, ""});
                first = false;
                continue;
            }
            first = false;
            if (take("&&")) {
                all = intersects ? shared(all, part) : part;
                intersects = true;
                part = {};
                continue;
            }
            part = united(part, item(depth));
        }
        if (intersects) part = shared(all, part);
        return inverted ? inverse(part) : part;
    }

    Set item(int depth) {
        if (take("[:")) {
            const bool inverted = take("^");
            const size_t end = regex_.find(":]", at_);
            if (end == std::string_view::npos) fail("[:…:] does not end");
            const std::string_view name = regex_.substr(at_, end - at_);
            at_ = end + 2;
            if (name == "punct") return {"\\p{P}\\p{S}", inverted, ""};
            return named(name, inverted, kWordInClass);
        }
        if (take("[")) return set(depth + 1);
        uint32_t low = 0;
        if (take("\\")) {
            constexpr std::string_view kSets = "sSdDwWhHpP";
            if (kSets.find(peek()) != std::string_view::npos) return escaped_set(kWordInClass);
            low = escaped_code();
        } else {
            low = utf8_at(character()).code;
        }
        // A range, unless the sign stands last.
        if (peek() != '-' || peek(1) == ']' || peek(1) == '\0') return {code_text(low), false, ""};
        ++at_;
        if (peek() == '[' || (peek() == '\\' && std::string_view("sSdDwWhHpP").find(peek(1)) !=
                                                    std::string_view::npos))
            return {code_text(low) + "\\-", false, ""};
        const uint32_t high = take("\\") ? escaped_code() : utf8_at(character()).code;
        if (high < low) fail("a range of characters ends before it begins");
        return {code_text(low) + "-" + code_text(high), false, ""};
    }

    std::string_view regex_;
    size_t at_ = 0;
    std::string out_;
    size_t atom_ = 0;           // where in out_ that begins which braces may repeat
    std::vector<size_t> open_;  // where groups that are open begin
};

void require_compiles(const std::string& expression) {
    int error = 0;
    PCRE2_SIZE where = 0;
    pcre2_code* const code =
        pcre2_compile(reinterpret_cast<PCRE2_SPTR>(expression.data()), expression.size(),
                      PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &where, nullptr);
    if (code) {
        pcre2_code_free(code);
        return;
    }
    PCRE2_UCHAR text[128];
    pcre2_get_error_message(error, text, sizeof(text));
    fail("{}", reinterpret_cast<const char*>(text));
}

}  // namespace

std::string pcre2_of(std::string_view regex) {
    if (regex.size() > kLongest) fail("it is longer than {} bytes", kLongest);
    if (first_invalid_utf8(regex) || regex.find('\0') != std::string_view::npos)
        fail("it is no text in UTF-8");
    std::string expression = Translator(regex).run();
    require_compiles(expression);
    return expression;
}

std::string pcre2_literal(std::string_view text) {
    std::string quoted;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (byte < 0x80 && !std::isalnum(byte))
            quoted += fmt::format("\\x{{{:x}}}", static_cast<unsigned>(byte));
        else
            quoted += c;
    }
    return quoted;
}

}  // namespace llmsql
