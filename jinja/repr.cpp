// SPDX-License-Identifier: MIT
// Values as texts: Python's str() and repr().
#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <cstring>

#include "common/error.h"
#include "jinja/value.h"

namespace llmsql::jinja {

// Brackets and commas around what a user gave are as little a template's as what they are around.
constexpr Char kWritten = kForeign;

std::string repr(double number) {
    if (std::isnan(number)) return "nan";
    if (std::isinf(number)) return number < 0 ? "-inf" : "inf";
    // The shortest digits that read back as the number, and where the point stands.
    char digits[32];
    const auto end =
        std::to_chars(digits, digits + sizeof digits, number, std::chars_format::scientific).ptr;
    std::string text(digits, end);
    const size_t e = text.find('e');
    const int exponent = std::atoi(text.c_str() + e + 1);
    std::string sign = text[0] == '-' ? "-" : "", mantissa;
    for (const char c : text.substr(0, e))
        if (c >= '0' && c <= '9') mantissa += c;
    if (exponent >= -4 && exponent < 16) {
        if (exponent < 0)
            return sign + "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + mantissa;
        const auto whole = static_cast<size_t>(exponent) + 1;
        if (mantissa.size() <= whole)
            return sign + mantissa + std::string(whole - mantissa.size(), '0') + ".0";
        return sign + mantissa.substr(0, whole) + "." + mantissa.substr(whole);
    }
    return fmt::format("{}{}{}{}e{}{:02}", sign, mantissa[0], mantissa.size() > 1 ? "." : "",
                       mantissa.substr(1), exponent < 0 ? '-' : '+', std::abs(exponent));
}

Chars quoted(CharsView text) {
    const bool single = text.find(U'\'') != CharsView::npos,
               both = single && text.find(U'"') != CharsView::npos;
    const Char quote = single && !both ? U'"' : U'\'';
    Chars out(1, quote | kWritten);
    for (const Char c : text) {
        const Char code = plain(c);
        const auto escaped = [&](std::string_view ascii) { out += chars_of(ascii, mark_of(c)); };
        const auto number = [&](char letter, int width) {
            escaped(fmt::format("\\{}{:0{}x}", letter, static_cast<uint32_t>(code), width));
        };
        if (code == quote || code == U'\\') {
            escaped("\\");
            out += c;
        } else if (code == U'\n') {
            escaped("\\n");
        } else if (code == U'\r') {
            escaped("\\r");
        } else if (code == U'\t') {
            escaped("\\t");
        } else if (code >= kRawByte) {
            escaped(fmt::format("\\udc{:02x}", static_cast<uint32_t>(code - kRawByte)));
        } else if (is_printable(code)) {
            out += c;
        } else if (code < 0x100) {
            number('x', 2);
        } else if (code < 0x10000) {
            number('u', 4);
        } else {
            number('U', 8);
        }
    }
    out += quote | kWritten;
    return out;
}

namespace {

void write(Chars& to, const Value& value);

void write_all(Chars& to, const Values& items) {
    bool first = true;
    for (const Value& item : items) {
        if (!first) to += chars_of(", ", kWritten);
        first = false;
        write(to, item);
    }
}

void write(Chars& to, const Value& value) {
    Meter::step();
    Meter::allow(to.size(), sizeof(Char));
    if (const Text* text = value.text()) {
        if (text->markup) to += chars_of("Markup(", kWritten);
        to += quoted(text->chars);
        if (text->markup) to += Char{')'} | kWritten;
    } else if (const List* list = value.list()) {
        to += Char{list->tuple ? U'(' : U'['} | kWritten;
        write_all(to, list->items);
        if (list->tuple && list->items.size() == 1) to += Char{','} | kWritten;
        to += Char{list->tuple ? U')' : U']'} | kWritten;
    } else if (const Map* map = value.map()) {
        to += Char{'{'} | kWritten;
        bool first = true;
        for (const auto& [key, item] : map->items) {
            if (!first) to += chars_of(", ", kWritten);
            first = false;
            write(to, key);
            to += chars_of(": ", kWritten);
            write(to, item);
        }
        to += Char{'}'} | kWritten;
    } else if (value.is_undefined()) {
        to += chars_of("Undefined", kWritten);
    } else {
        for (const Char c : text_of(value)) to += c | kWritten;
    }
}

}  // namespace

Chars repr(const Value& value) {
    Chars text;
    write(text, value);
    return text;
}

Chars text_of(const Value& value) {
    if (value.text()) return value.text()->chars;
    if (value.is_none()) return chars_of("None");
    if (value.is_undefined() || value.missing()) return {};
    if (value.boolean()) return chars_of(*value.boolean() ? "True" : "False");
    if (const auto number = value.integer()) return chars_of(std::to_string(*number));
    if (value.real()) return chars_of(repr(*value.real()));
    if (const Range* range = value.range())
        return chars_of(range->step == 1 ? fmt::format("range({}, {})", range->first, range->last)
                                         : fmt::format("range({}, {}, {})", range->first,
                                                       range->last, range->step));
    if (value.object()) {
        if (auto text = value.object()->repr()) return std::move(*text);
        fail("a {} cannot be written as text: its text would differ from run to run",
             value.type_name());
    }
    return repr(value);
}

}  // namespace llmsql::jinja
