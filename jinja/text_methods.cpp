// SPDX-License-Identifier: MIT
// The methods of Python's str.
#include <algorithm>
#include <array>
#include <map>

#include "common/error.h"
#include "jinja/builtins.h"

namespace llmsql::jinja {
namespace {

constexpr size_t kNone = Chars::npos;

// A method: the text, whether it is escaped markup, and the arguments.
using Method = Value (*)(const Chars& text, Arguments& given);

Value truth_of(bool value) {
    return Value::of(value);
}
Value number(size_t at) {
    return Value::of(at == kNone ? int64_t{-1} : static_cast<int64_t>(at));
}
Value list(Values values, bool tuple = false) {
    return List(std::move(values), tuple);
}

size_t clipped(int64_t i, size_t size) {
    const auto length = static_cast<int64_t>(size);
    return static_cast<size_t>(std::clamp<int64_t>(i < 0 ? i + length : i, 0, length));
}

// text[start:stop] as find() and its like take it; nothing where start is behind the end.
struct Part {
    CharsView text;
    size_t start = 0;
    bool outside = false;
};
Part part_of(const Chars& text, const Bound& bound, size_t first) {
    const auto optional = [&](size_t i, int64_t otherwise) {
        return bound.given(i) && bound[i].is_none() ? otherwise : bound.integer(i, otherwise);
    };
    const int64_t size = static_cast<int64_t>(text.size()), start = optional(first, 0);
    const size_t from = clipped(start, text.size()),
                 to = clipped(optional(first + 1, size), text.size());
    Part part{CharsView(text).substr(from, to > from ? to - from : 0), from,
              start > size || to < from};
    return part;
}

template<bool last>
Value find(const Chars& text, Arguments& given) {
    const Bound bound(last ? "rfind" : "find", "sub start end", 1, given);
    const Part part = part_of(text, bound, 1);
    const Chars& what = bound.text(0);
    if (part.outside) return number(kNone);
    const size_t at = last ? rfind_in(part.text, what) : find_in(part.text, what);
    return number(at == kNone ? at : at + part.start);
}

template<bool last>
Value index(const Chars& text, Arguments& given) {
    Value found = find<last>(text, given);
    if (*found.integer() < 0) fail("substring not found");
    return found;
}

Value count(const Chars& text, Arguments& given) {
    const Bound bound("count", "sub start end", 1, given);
    const Part part = part_of(text, bound, 1);
    const Chars& what = bound.text(0);
    if (part.outside) return number(0);
    if (what.empty()) return number(part.text.size() + 1);
    int64_t count = 0;
    for (size_t at = 0; (at = find_in(part.text, what, at)) != kNone; at += what.size()) ++count;
    return Value::of(count);
}

template<bool end>
Value begins(const Chars& text, Arguments& given) {
    const Bound bound(end ? "endswith" : "startswith", "prefix start end", 1, given);
    const Part part = part_of(text, bound, 1);
    const auto matches = [&](const Value& what) {
        if (!what.text())
            fail("{} first arg must be str or a tuple of str, not {}",
                 end ? "endswith" : "startswith", what.type_name());
        const Chars& affix = what.text()->chars;
        return !part.outside && (end ? part.text.ends_with(affix) : part.text.starts_with(affix));
    };
    if (bound[0].list() && bound[0].list()->tuple)
        return truth_of(std::ranges::any_of(bound[0].list()->items, matches));
    return truth_of(matches(bound[0]));
}

Value replace(const Chars& text, Arguments& given) {
    const Bound bound("replace", "old new count", 2, given);
    const Chars &old = bound.text(0), &fresh = bound.text(1);
    int64_t most = bound.integer(2, -1);
    if (most < 0) most = INT64_MAX;
    Chars out;
    const auto put = [&](CharsView piece) {
        Meter::allow(out.size() + piece.size(), sizeof(Char));
        out += piece;
    };
    size_t done = 0;
    if (old.empty()) {
        for (; most > 0 && done <= text.size(); ++done, --most) {
            put(fresh);
            if (done < text.size()) out += text[done];
        }
        if (done < text.size()) put(CharsView(text).substr(done));
        return out;
    }
    for (size_t at; most > 0 && (at = find_in(text, old, done)) != kNone;
         done = at + old.size(), --most) {
        put(CharsView(text).substr(done, at - done));
        put(fresh);
        if (old.size() > 32) Meter::step(static_cast<int64_t>(old.size()));
    }
    put(CharsView(text).substr(done));
    return out;
}

template<Ends ends>
Value stripped(const Chars& text, Arguments& given) {
    const Bound bound("strip", "chars", 0, given);
    if (!bound.given(0) || bound[0].is_none()) return Chars(strip(text, ends));
    return Chars(strip(text, bound.text(0), ends));
}

Values split_spaces(CharsView text, int64_t most, bool from_right) {
    Values parts;
    const auto trim = [&] { text = strip(text, from_right ? Ends::right : Ends::left); };
    for (trim(); !text.empty() && most-- != 0; trim()) {
        size_t length = 0;
        while (length < text.size() &&
               !is_space(from_right ? text[text.size() - 1 - length] : text[length]))
            ++length;
        parts.emplace_back(
            Chars(from_right ? text.substr(text.size() - length) : text.substr(0, length)));
        from_right ? text.remove_suffix(length) : text.remove_prefix(length);
    }
    if (!text.empty())
        parts.emplace_back(Chars(strip(text, from_right ? Ends::right : Ends::left)));
    return parts;
}

template<bool from_right>
Value split(const Chars& text, Arguments& given) {
    const Bound bound(from_right ? "rsplit" : "split", "sep maxsplit", 0, given);
    int64_t most = bound.integer(1, -1);
    if (most < 0) most = -1;
    Values parts;
    if (!bound.given(0) || bound[0].is_none()) {
        parts = split_spaces(text, most, from_right);
    } else {
        const Chars& between = bound.text(0);
        if (between.empty()) fail("empty separator");
        CharsView rest = text;
        while (most-- != 0) {
            const size_t at = from_right ? rfind_in(rest, between) : find_in(rest, between);
            if (at == kNone) break;
            if (between.size() > 32) Meter::step(static_cast<int64_t>(rest.size() / 16));
            Meter::allow(parts.size() + 1, sizeof(Value));
            parts.emplace_back(
                Chars(from_right ? rest.substr(at + between.size()) : rest.substr(0, at)));
            rest = from_right ? rest.substr(0, at) : rest.substr(at + between.size());
        }
        parts.emplace_back(Chars(rest));
    }
    if (from_right) std::ranges::reverse(parts);
    return list(std::move(parts));
}

Value split_lines(const Chars& text, Arguments& given) {
    const Bound bound("splitlines", "keepends", 0, given);
    const bool keep = bound.truth(0, false);
    Values lines;
    for (size_t i = 0; i < text.size();) {
        size_t end = i;
        while (end < text.size() && !is_line_end(text[end])) ++end;
        size_t next = std::min(end + 1, text.size());
        if (end + 1 < text.size() && plain(text[end]) == U'\r' && plain(text[end + 1]) == U'\n')
            ++next;
        lines.emplace_back(text.substr(i, (keep ? next : end) - i));
        i = next;
    }
    return list(std::move(lines));
}

template<bool from_right>
Value partition(const Chars& text, Arguments& given) {
    const Bound bound(from_right ? "rpartition" : "partition", "sep", 1, given);
    const Chars& between = bound.text(0);
    if (between.empty()) fail("empty separator");
    const size_t at = from_right ? rfind_in(text, between) : find_in(text, between);
    if (at == kNone)
        return from_right ? list({Value(Chars()), Value(Chars()), Value(text)}, true)
                          : list({Value(text), Value(Chars()), Value(Chars())}, true);
    return list({Value(text.substr(0, at)), Value(text.substr(at, between.size())),
                 Value(text.substr(at + between.size()))},
                true);
}

Value join(const Chars& text, Arguments& given) {
    const Bound bound("join", "iterable", 1, given);
    Chars out;
    bool first = true;
    for (const Value& each : values_of(bound[0])) {
        if (!each.text()) fail("join(): expected a text, {} found", each.type_name());
        Meter::allow(out.size() + text.size() + each.text()->chars.size(), sizeof(Char));
        if (!first) out += text;
        first = false;
        out += each.text()->chars;
    }
    return out;
}

enum class Side { left, right, both };

template<Side side>
Value justified(const Chars& text, Arguments& given) {
    const Bound bound("ljust", "width fillchar", 1, given);
    Chars filling(1, U' ');
    if (bound.given(1)) filling = bound.text(1);
    if (filling.size() != 1) fail("the fill character must be exactly one character long");
    const int64_t width = bound.integer(0, 0);
    if (width <= static_cast<int64_t>(text.size())) return text;
    const size_t missing = static_cast<size_t>(width) - text.size();
    Meter::allow(missing + text.size(), sizeof(Char));
    // As CPython does it: the odd one goes to the left where the width is odd.
    const size_t left = side == Side::right ? missing
                        : side == Side::left
                            ? 0
                            : missing / 2 + (missing & static_cast<size_t>(width) & 1);
    return Chars(left, filling[0]) + text + Chars(missing - left, filling[0]);
}

Value zero_filled(const Chars& text, Arguments& given) {
    const Bound bound("zfill", "width", 1, given);
    const int64_t width = bound.integer(0, 0);
    if (width <= static_cast<int64_t>(text.size())) return text;
    const size_t missing = static_cast<size_t>(width) - text.size();
    Meter::allow(static_cast<size_t>(width), sizeof(Char));
    const bool sign = !text.empty() && (plain(text[0]) == U'+' || plain(text[0]) == U'-');
    return text.substr(0, sign ? 1 : 0) + Chars(missing, U'0') + text.substr(sign ? 1 : 0);
}

Value expand_tabs(const Chars& text, Arguments& given) {
    const Bound bound("expandtabs", "tabsize", 0, given);
    const int64_t size = std::min<int64_t>(bound.integer(0, 8), 1'000'000);
    Chars out;
    int64_t column = 0;
    for (const Char c : text) {
        if (plain(c) == U'\t') {
            if (size <= 0) continue;
            const int64_t spaces = size - column % size;
            Meter::allow(out.size() + static_cast<size_t>(spaces), sizeof(Char));
            out.append(static_cast<size_t>(spaces), U' ' | mark_of(c));
            column += spaces;
            continue;
        }
        out += c;
        column = plain(c) == U'\n' || plain(c) == U'\r' ? 0 : column + 1;
    }
    return out;
}

template<bool suffix>
Value without(const Chars& text, Arguments& given) {
    const Bound bound(suffix ? "removesuffix" : "removeprefix", "affix", 1, given);
    const Chars& affix = bound.text(0);
    if (affix.empty() || !(suffix ? text.ends_with(affix) : text.starts_with(affix))) return text;
    return suffix ? text.substr(0, text.size() - affix.size()) : text.substr(affix.size());
}

template<Chars (*change)(CharsView)>
Value changed(const Chars& text, Arguments& given) {
    const Bound bound("the method", "", 0, given);
    return change(text);
}

template<bool (*is)(Char)>
Value all_are(const Chars& text, Arguments& given) {
    const Bound bound("the method", "", 0, given);
    return truth_of(!text.empty() && std::ranges::all_of(text, is));
}

bool is_ascii_char(Char c) {
    return plain(c) < 0x80;
}

Value is_ascii(const Chars& text, Arguments&) {
    return truth_of(std::ranges::all_of(text, is_ascii_char));
}
Value is_printable_text(const Chars& text, Arguments&) {
    return truth_of(std::ranges::all_of(text, is_printable));
}
Value is_identifier(const Chars& text, Arguments&) {
    return truth_of(!text.empty() && is_identifier_start(text[0]) &&
                    std::ranges::all_of(text, is_identifier_part));
}

// Has letters with case, and none of the other.
template<bool (*wanted)(Char), bool (*other)(Char)>
Value is_case(const Chars& text, Arguments&) {
    return truth_of(std::ranges::any_of(text, wanted) &&
                    std::ranges::none_of(text, [](Char c) { return other(c) || is_title(c); }));
}

Value is_title_text(const Chars& text, Arguments&) {
    bool cased = false, within = false;
    for (const Char c : text) {
        const bool upper = is_upper(c) || is_title(c), lower = is_lower(c);
        if (upper ? within : lower && !within) return truth_of(false);
        within = upper || lower;
        cased = cased || within;
    }
    return truth_of(cased);
}

Value format(const Chars& text, Arguments& given) {
    return brace_format(text, given);
}

Value format_map(const Chars& text, Arguments& given) {
    const Bound bound("format_map", "mapping", 1, given);
    if (!bound[0].map()) fail("format_map() takes a mapping, not '{}'", bound[0].type_name());
    Arguments arguments;
    for (const auto& [key, value] : bound[0].map()->items)
        if (key.text()) arguments.by_name.emplace_back(bytes_of(key.text()->chars), value);
    return brace_format(text, arguments);
}

Value unsupported(const Chars&, Arguments&) {
    fail("this method of texts is not supported (encode, maketrans, translate)");
}

const std::map<std::string_view, Method>& methods() {
    static const std::map<std::string_view, Method> kMethods{
        {"capitalize", changed<capitalize>},
        {"casefold", changed<fold>},
        {"center", justified<Side::both>},
        {"count", count},
        {"encode", unsupported},
        {"endswith", begins<true>},
        {"expandtabs", expand_tabs},
        {"find", find<false>},
        {"format", format},
        {"format_map", format_map},
        {"index", index<false>},
        {"isalnum", all_are<is_alnum>},
        {"isalpha", all_are<is_alpha>},
        {"isascii", is_ascii},
        {"isdecimal", all_are<is_decimal>},
        {"isdigit", all_are<is_digit>},
        {"isidentifier", is_identifier},
        {"islower", is_case<is_lower, is_upper>},
        {"isnumeric", all_are<is_numeric>},
        {"isprintable", is_printable_text},
        {"isspace", all_are<is_space>},
        {"istitle", is_title_text},
        {"isupper", is_case<is_upper, is_lower>},
        {"join", join},
        {"ljust", justified<Side::left>},
        {"lower", changed<lower>},
        {"lstrip", stripped<Ends::left>},
        {"maketrans", unsupported},
        {"partition", partition<false>},
        {"removeprefix", without<false>},
        {"removesuffix", without<true>},
        {"replace", replace},
        {"rfind", find<true>},
        {"rindex", index<true>},
        {"rjust", justified<Side::right>},
        {"rpartition", partition<true>},
        {"rsplit", split<true>},
        {"rstrip", stripped<Ends::right>},
        {"split", split<false>},
        {"splitlines", split_lines},
        {"startswith", begins<false>},
        {"strip", stripped<Ends::both>},
        {"swapcase", changed<swap_case>},
        {"title", changed<title>},
        {"translate", unsupported},
        {"upper", changed<upper>},
        {"zfill", zero_filled},
    };
    return kMethods;
}

// Methods of markupsafe.Markup give Markup; what joins it is escaped.
Value as_markup(const Value& value) {
    if (value.text()) return Value(value.text()->chars, true);
    if (!value.list()) return value;
    Values items;
    for (const Value& item : value.list()->items) items.push_back(as_markup(item));
    return List(std::move(items), value.list()->tuple);
}

void refuse_escapes(const Value& value) {
    if (value.text() && !value.text()->markup &&
        escaped(value.text()->chars) != value.text()->chars)
        fail("methods of escaped text are not supported with arguments that would be escaped");
    if (value.list())
        for (const Value& item : value.list()->items) refuse_escapes(item);
}

}  // namespace

std::optional<Value> text_method(const Value& value, std::string_view name) {
    const auto method = methods().find(name);
    if (method == methods().end()) return std::nullopt;
    return Value(std::shared_ptr<Object>(std::make_shared<Function>(
        std::string(name), [value, function = method->second](Arguments& given) -> Value {
            const Text& text = *value.text();
            Meter::step(static_cast<int64_t>(text.chars.size() / 16));
            if (!text.markup) return function(text.chars, given);
            if (function == format || function == format_map || function == join)
                fail("formatting of escaped text is not supported");
            for (const Value& each : given.by_place) refuse_escapes(each);
            return as_markup(function(text.chars, given));
        })));
}

Chars escaped(CharsView text) {
    Chars out;
    for (const Char c : text) {
        std::string_view escape;
        switch (plain(c)) {
            case U'&':
                escape = "&amp;";
                break;
            case U'<':
                escape = "&lt;";
                break;
            case U'>':
                escape = "&gt;";
                break;
            case U'"':
                escape = "&#34;";
                break;
            case U'\'':
                escape = "&#39;";
                break;
            default:
                out += c;
                continue;
        }
        out += chars_of(escape, mark_of(c));
    }
    return out;
}

}  // namespace llmsql::jinja
