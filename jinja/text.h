// SPDX-License-Identifier: MIT
// Texts as templates see them: characters, each of which knows where it is from.
//
// A character is a code point in 32 bits whose highest bit says that it came from a message, a tool
// or another value that a user gives, and not from the template. Whatever is made of texts is made
// of their characters (cut, joined, searched, replaced, changed in case), so each keeps its mark
// without anybody's doing. Comparisons and searches do not look at the mark.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace llmsql::jinja {

using Char = char32_t;

inline constexpr Char kForeign = 0x80000000;
/// What is not UTF-8 stands as this plus the byte.
inline constexpr Char kRawByte = 0x110000;

constexpr Char plain(Char c) {
    return c & ~kForeign;
}
constexpr bool is_ascii_digit(Char c) {
    return plain(c) >= U'0' && plain(c) <= U'9';
}
constexpr Char mark_of(Char c) {
    return c & kForeign;
}

/// Compares characters without their marks.
struct UnmarkedTraits : std::char_traits<Char> {
    static constexpr bool eq(Char a, Char b) { return plain(a) == plain(b); }
    static constexpr bool lt(Char a, Char b) { return plain(a) < plain(b); }
    static constexpr int compare(const Char* a, const Char* b, size_t n) {
        for (; n > 0; --n, ++a, ++b)
            if (plain(*a) != plain(*b)) return plain(*a) < plain(*b) ? -1 : 1;
        return 0;
    }
    static constexpr const Char* find(const Char* s, size_t n, const Char& c) {
        for (; n > 0; --n, ++s)
            if (plain(*s) == plain(c)) return s;
        return nullptr;
    }
};

using Chars = std::basic_string<Char, UnmarkedTraits>;
using CharsView = std::basic_string_view<Char, UnmarkedTraits>;

/// From bytes, which need not be UTF-8; all characters get the mark.
Chars chars_of(std::string_view bytes, Char mark = 0);
/// Back to the bytes.
std::string bytes_of(CharsView text);
void append_bytes(std::string& to, Char c);

/// True if the texts are the same; `b` is ASCII.
bool equals(CharsView a, std::string_view b);

/// As find() of strings, in time that grows with the sum of both lengths.
size_t find_in(CharsView text, CharsView what, size_t from = 0);
size_t rfind_in(CharsView text, CharsView what);

// What Python's str knows of a character.
bool is_alpha(Char c);
bool is_decimal(Char c);
bool is_digit(Char c);
bool is_numeric(Char c);
bool is_space(Char c);
bool is_printable(Char c);
bool is_upper(Char c);
bool is_lower(Char c);
bool is_title(Char c);
bool is_identifier_start(Char c);
bool is_identifier_part(Char c);
inline bool is_alnum(Char c) {
    return is_alpha(c) || is_decimal(c) || is_digit(c) || is_numeric(c);
}
inline bool is_word(Char c) {
    return plain(c) == U'_' || is_alnum(c);
}
/// Line ends of str.splitlines.
bool is_line_end(Char c);

Chars upper(CharsView text);
Chars lower(CharsView text);
Chars fold(CharsView text);
Chars title(CharsView text);
Chars capitalize(CharsView text);
Chars swap_case(CharsView text);

/// Which ends of a text are stripped.
enum class Ends { both, left, right };
CharsView strip(CharsView text, Ends ends = Ends::both);
CharsView strip(CharsView text, CharsView characters, Ends ends = Ends::both);

}  // namespace llmsql::jinja
