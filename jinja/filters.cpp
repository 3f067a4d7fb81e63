// SPDX-License-Identifier: MIT
// Jinja's filters, as jinja2 3.1 has them, but for tojson, which is transformers'. Those that are
// lazy there are lazy here: what they are to go through is gone through once, and only if somebody
// asks.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>

#include "common/error.h"
#include "jinja/builtins.h"

namespace llmsql::jinja {
namespace {

using Filter = Value (*)(const Value& value, Arguments& given);

/// What is changed in case, cut and so on: a text as it is, anything else as str() has it.
Value soft_text(const Value& value) {
    return value.text() ? value : Value(text_of(value));
}

Value by_method(const Value& value, std::string_view method, Arguments& given) {
    return call(*text_method(soft_text(value), method), given);
}

Value iterator(Next next, int depth, std::string type = "generator") {
    return std::shared_ptr<Object>(
        std::make_shared<Iterator>(std::move(next), depth, std::move(type)));
}

Value ignore_case(const Value& value) {
    return value.text() ? Value(lower(value.text()->chars)) : value;
}

// ---- attributes by name: "a.b", 0, "a,b"

using Getter = std::function<Value(const Value&)>;

Values path_of(const Value& attribute) {
    Values path;
    if (attribute.is_none() || attribute.missing()) return path;
    if (!attribute.text()) return {attribute};
    CharsView rest = attribute.text()->chars;
    while (true) {
        const size_t dot = rest.find(U'.');
        const CharsView part = rest.substr(0, dot);
        if (!part.empty() && std::ranges::all_of(part, is_digit)) {
            int64_t index = 0;
            for (const Char c : part.substr(0, 18))
                index = index * 10 + static_cast<int64_t>(plain(c)) - '0';
            path.push_back(Value::of(index));
        } else {
            path.emplace_back(Chars(part));
        }
        if (dot == CharsView::npos) return path;
        rest.remove_prefix(dot + 1);
    }
}

Getter getter_of(const Value& attribute, bool fold_case, const Value& fallback = {}) {
    return [path = path_of(attribute), fold_case, fallback](const Value& item) {
        Value value = item;
        for (const Value& part : path) {
            value = item_of(value, part);
            if (value.is_undefined() && !fallback.missing() && !fallback.is_none())
                value = fallback;
        }
        return fold_case ? ignore_case(value) : value;
    };
}

// Of sort: a list of what the attributes, parted by commas, are.
Getter getter_of_several(const Value& attribute, bool fold_case) {
    std::vector<Getter> getters;
    if (attribute.text()) {
        CharsView rest = attribute.text()->chars;
        while (true) {
            const size_t comma = rest.find(U',');
            getters.push_back(getter_of(Value(Chars(rest.substr(0, comma))), fold_case));
            if (comma == CharsView::npos) break;
            rest.remove_prefix(comma + 1);
        }
    } else {
        getters.push_back(getter_of(attribute, fold_case));
    }
    return [getters = std::move(getters)](const Value& item) {
        Values values;
        for (const Getter& getter : getters) values.push_back(getter(item));
        return Value(List(std::move(values)));
    };
}

Values sorted(const Values& items, const Getter& key, bool backwards) {
    std::vector<std::pair<Value, size_t>> keys;
    for (size_t i = 0; i < items.size(); ++i) keys.emplace_back(key(items[i]), i);
    // Equal ones stay in order, backwards too.
    std::stable_sort(keys.begin(), keys.end(), [&](const auto& a, const auto& b) {
        return backwards ? less(b.first, a.first) : less(a.first, b.first);
    });
    Values out;
    for (const auto& [each, i] : keys) out.push_back(items[i]);
    return out;
}

// ---- numbers

Value absolute(const Value& value, Arguments& given) {
    const Bound bound("abs", "", 0, given);
    require_defined(value);
    if (value.real()) return Value::of(std::abs(*value.real()));
    const auto whole = value.integer();
    if (!whole) fail("bad operand type for abs(): '{}'", value.type_name());
    return *whole < 0 ? negative(value) : Value::of(*whole);
}

std::string ascii_number(CharsView text) {
    std::string out;
    for (const Char c : strip(text)) {
        if (plain(c) >= 0x80) {
            if (is_decimal(c)) fail("digits other than 0 to 9 are not supported in numbers");
            return "x";  // no number
        }
        out += static_cast<char>(plain(c));
    }
    return out;
}

// float(text); nothing where Python raises ValueError.
std::optional<double> real_of(CharsView text) {
    std::string number = ascii_number(text), digits;
    for (size_t i = 0; i < number.size(); ++i) {
        const auto digit = [&](size_t at) {
            return at < number.size() && number[at] >= '0' && number[at] <= '9';
        };
        if (number[i] == '_') {
            if (i == 0 || !digit(i - 1) || !digit(i + 1)) return std::nullopt;
            continue;
        }
        digits +=
            static_cast<char>(number[i] >= 'A' && number[i] <= 'Z' ? number[i] | 0x20 : number[i]);
    }
    const size_t sign = !digits.empty() && (digits[0] == '-' || digits[0] == '+') ? 1 : 0;
    const std::string_view word = std::string_view(digits).substr(sign);
    if (word != "inf" && word != "infinity" && word != "nan") {
        // Digits with a point among them, and an exponent.
        const size_t e = std::min(word.find('e'), word.size());
        const std::string_view mantissa = word.substr(0, e);
        if (mantissa.find_first_not_of("0123456789.") != std::string_view::npos ||
            std::ranges::count(mantissa, '.') > 1 ||
            mantissa.find_first_of("0123456789") == std::string_view::npos)
            return std::nullopt;
        if (e < word.size()) {
            std::string_view power = word.substr(e + 1);
            if (!power.empty() && (power[0] == '-' || power[0] == '+')) power.remove_prefix(1);
            if (power.empty() || power.find_first_not_of("0123456789") != std::string_view::npos)
                return std::nullopt;
        }
    }
    return std::strtod(digits.c_str(), nullptr);
}

// int(text, base); nothing where Python raises ValueError.
std::optional<int64_t> whole_of(CharsView text, int64_t base) {
    if (base != 0 && (base < 2 || base > 36)) return std::nullopt;
    std::string_view number;
    const std::string held = ascii_number(text);
    number = held;
    std::string digits;
    if (!number.empty() && (number[0] == '-' || number[0] == '+')) {
        if (number[0] == '-') digits = "-";
        number.remove_prefix(1);
    }
    const auto prefixed = [&](char letter) {
        return number.size() > 1 && number[0] == '0' && (number[1] | 0x20) == letter;
    };
    bool after_prefix = false;
    for (const auto& [letter, its] : {std::pair('b', 2), std::pair('o', 8), std::pair('x', 16)})
        if (prefixed(letter) && (base == 0 || base == its)) {
            number.remove_prefix(2);
            base = its;
            after_prefix = true;
            break;
        }
    if (base == 0) {
        base = 10;
        if (number.size() > 1 && number[0] == '0' &&
            number.find_first_not_of("0_") != std::string_view::npos)
            return std::nullopt;
    }
    bool last_digit = after_prefix;
    for (const char c : number) {
        if (c == '_') {
            if (!last_digit) return std::nullopt;
            last_digit = false;
            continue;
        }
        const int value = c >= '0' && c <= '9'                     ? c - '0'
                          : (c | 0x20) >= 'a' && (c | 0x20) <= 'z' ? (c | 0x20) - 'a' + 10
                                                                   : 99;
        if (value >= base) return std::nullopt;
        digits += c;
        last_digit = true;
    }
    if (!last_digit || number.empty()) return std::nullopt;
    int64_t whole = 0;
    if (std::from_chars(digits.data(), digits.data() + digits.size(), whole, static_cast<int>(base))
            .ec != std::errc())
        fail("a number does not fit in 64 bits");
    return whole;
}

int64_t whole_of(double number) {
    if (!(std::abs(number) < 9.2e18)) fail("cannot convert the float to an integer of 64 bits");
    return static_cast<int64_t>(number);
}

Value to_int(const Value& value, Arguments& given) {
    const Bound bound("int", "default base", 0, given);
    require_defined(value);
    if (const auto whole = value.integer()) return Value::of(*whole);
    if (value.real() && !std::isnan(*value.real())) return Value::of(whole_of(*value.real()));
    if (value.text()) {
        const CharsView text = value.text()->chars;
        if (const auto whole = whole_of(text, bound.integer(1, 10))) return Value::of(*whole);
        if (const auto real = real_of(text); real && std::isfinite(*real))
            return Value::of(whole_of(*real));
    }
    return bound.given(0) ? bound[0] : Value::of(int64_t{0});
}

Value to_float(const Value& value, Arguments& given) {
    const Bound bound("float", "default", 0, given);
    require_defined(value);
    if (const auto number = value.number()) return Value::of(*number);
    if (value.text())
        if (const auto number = real_of(value.text()->chars)) return Value::of(*number);
    return bound.given(0) ? bound[0] : Value::of(0.0);
}

Value rounded(const Value& value, Arguments& given) {
    const Bound bound("round", "precision method", 0, given);
    const int64_t precision = bound.integer(0, 0);
    const std::string method = bound.given(1) ? bytes_of(bound.text(1)) : "common";
    if (method != "common" && method != "ceil" && method != "floor")
        fail("method must be common, ceil or floor");
    require_defined(value);
    if (std::abs(precision) > 300) fail("round: a precision beyond 300 is not supported");
    if (!value.number()) fail("type {} cannot be rounded", value.type_name());
    if (method == "common") {
        if (const auto whole = value.integer()) {
            if (precision >= 0) return Value::of(*whole);
            if (precision < -18) return Value::of(int64_t{0});
            int64_t unit = 1;
            for (int64_t i = precision; i < 0; ++i) unit *= 10;
            // Halves go to the even one.
            const int64_t rest = ((*whole % unit) + unit) % unit, down = *whole - rest;
            const bool up = rest * 2 > unit || (rest * 2 == unit && (down / unit) % 2 != 0);
            return Value::of(down + (up ? unit : 0));
        }
        const double number = *value.real();
        if (!std::isfinite(number)) {
            if (bound.given(0)) return value;
            return value;
        }
        if (precision < 0) {
            double unit = std::pow(10.0, static_cast<double>(-precision));
            return Value::of(std::nearbyint(number / unit) * unit);
        }
        char text[800];
        std::snprintf(text, sizeof text, "%.*f", static_cast<int>(precision), number);
        return Value::of(std::strtod(text, nullptr));
    }
    const auto power = precision >= 0
                           ? arithmetic("**", Value::of(int64_t{10}), Value::of(precision))
                           : Value::of(std::pow(10.0, static_cast<double>(precision)));
    const double scaled = *arithmetic("*", value, power).number();
    const int64_t whole = whole_of(method == "ceil" ? std::ceil(scaled) : std::floor(scaled));
    return arithmetic("/", Value::of(whole), power);
}

Value file_size(const Value& value, Arguments& given) {
    const Bound bound("filesizeformat", "binary", 0, given);
    const bool binary = bound.truth(0, false);
    require_defined(value);
    auto bytes = value.number();
    if (!bytes && value.text()) bytes = real_of(value.text()->chars);
    if (!bytes) fail("filesizeformat: not a number");
    const double base = binary ? 1024 : 1000;
    if (*bytes == 1) return chars_of("1 Byte");
    if (*bytes < base) return chars_of(fmt::format("{} Bytes", whole_of(*bytes)));
    constexpr std::string_view kUnits = "kMGTPEZY";
    double unit = base;
    for (size_t i = 0;; ++i) {
        unit *= base;
        if (*bytes < unit || i + 1 == kUnits.size())
            return chars_of(fmt::format("{:.1f} {}{}", base * *bytes / unit,
                                        binary && i == 0 ? 'K' : kUnits[i], binary ? "iB" : "B"));
    }
}

// ---- texts

template<size_t n>
struct Name {
    constexpr Name(const char (&text)[n]) { std::copy_n(text, n, value); }
    char value[n];
};

template<Name method>
Value text_filter(const Value& value, Arguments& given) {
    const Bound bound(method.value, "", 0, given);
    Arguments none;
    return by_method(value, method.value, none);
}

Value trim(const Value& value, Arguments& given) {
    const Bound bound("trim", "chars", 0, given);
    Arguments arguments;
    if (bound.given(0)) arguments.by_place.push_back(bound[0]);
    return by_method(value, "strip", arguments);
}

Value center(const Value& value, Arguments& given) {
    const Bound bound("center", "width", 0, given);
    Arguments arguments;
    arguments.by_place.push_back(Value::of(bound.integer(0, 80)));
    return by_method(value, "center", arguments);
}

Value title_words(const Value& value, Arguments& given) {
    const Bound bound("title", "", 0, given);
    const Chars text = text_of(value);
    const auto parts_words = [](Char c) {
        return is_space(c) ||
               std::u32string_view(U"-({[<").find(plain(c)) != std::u32string_view::npos;
    };
    Chars out;
    for (size_t i = 0; i < text.size();) {
        size_t end = i;
        const bool between = parts_words(text[i]);
        while (end < text.size() && parts_words(text[end]) == between) ++end;
        const CharsView part = CharsView(text).substr(i, end - i);
        out += upper(part.substr(0, 1)) + lower(part.substr(1));
        i = end;
    }
    return out;
}

Value replaced(const Value& value, Arguments& given) {
    const Bound bound("replace", "old new count", 2, given);
    Arguments arguments;
    arguments.by_place = {Value(text_of(bound[0])), Value(text_of(bound[1]))};
    arguments.by_place.push_back(
        Value::of(bound.given(2) && bound[2].is_none() ? -1 : bound.integer(2, -1)));
    return call(*text_method(Value(text_of(value)), "replace"), arguments);
}

Value indented(const Value& value, Arguments& given) {
    const Bound bound("indent", "width first blank", 0, given);
    require_defined(value);
    if (!value.text()) fail("indent: not a text, but '{}'", value.type_name());
    const bool first = bound.truth(1, false), blank = bound.truth(2, false);
    Chars indent;
    if (bound.given(0) && bound[0].text()) {
        indent = bound.text(0);
    } else {
        const int64_t width = std::max<int64_t>(0, bound.integer(0, 4));
        Meter::allow(static_cast<size_t>(width), sizeof(Char));
        indent = Chars(static_cast<size_t>(width), U' ');
    }
    Arguments none;
    Chars with_end = value.text()->chars;
    with_end += U'\n';
    const Value lines = call(*text_method(Value(with_end), "splitlines"), none);
    Chars out;
    bool is_first = true;
    for (const Value& line : lines.list()->items) {
        const Chars& text = line.text()->chars;
        Meter::allow(out.size() + indent.size() + text.size() + 1, sizeof(Char));
        if (!is_first) {
            out += U'\n';
            if (blank || !text.empty()) out += indent;
        }
        is_first = false;
        out += text;
    }
    if (first) out = indent + out;
    return Value(std::move(out), value.text()->markup);
}

Value truncated(const Value& value, Arguments& given) {
    const Bound bound("truncate", "length killwords end leeway", 0, given);
    const int64_t most = bound.integer(0, 255);
    const Chars end = bound.given(2) ? bound.text(2) : chars_of("...");
    const int64_t leeway = bound.given(3) && bound[3].is_none() ? 5 : bound.integer(3, 5);
    const auto size = length(value);
    if (!size) fail("truncate: '{}' has no length", value.type_name());
    if (most < static_cast<int64_t>(end.size()))
        fail("truncate: expected length >= {}, got {}", end.size(), most);
    if (leeway < 0) fail("truncate: expected leeway >= 0");
    if (*size <= most + leeway) return value;
    if (!value.text()) fail("truncate: not a text, but '{}'", value.type_name());
    Chars text = value.text()->chars.substr(0, static_cast<size_t>(most) - end.size());
    if (!bound.truth(1, false))
        if (const size_t space = text.rfind(U' '); space != Chars::npos) text.resize(space);
    return Value(text + end, value.text()->markup);
}

Value word_count(const Value& value, Arguments& given) {
    const Bound bound("wordcount", "", 0, given);
    int64_t count = 0;
    bool within = false;
    for (const Char c : text_of(value)) {
        if (is_word(c) && !within) ++count;
        within = is_word(c);
    }
    return Value::of(count);
}

Value formatted_text(const Value& value, Arguments& given) {
    if (value.text() && value.text()->markup) fail("formatting of escaped text is not supported");
    if (!given.by_name.empty()) {
        if (!given.by_place.empty())
            fail("can't handle positional and keyword arguments at the same time");
        Map map;
        for (auto& [name, each] : given.by_name) map.set(Value(chars_of(name)), std::move(each));
        return percent_format(text_of(value), Value(std::move(map)));
    }
    return percent_format(text_of(value), Value(List(given.by_place, true)));
}

Value as_string(const Value& value, Arguments& given) {
    const Bound bound("string", "", 0, given);
    return soft_text(value);
}

Value escape(const Value& value, Arguments& given) {
    const Bound bound("escape", "", 0, given);
    if (value.text() && value.text()->markup) return value;
    return Value(escaped(text_of(value)), true);
}

Value force_escape(const Value& value, Arguments& given) {
    const Bound bound("forceescape", "", 0, given);
    return Value(escaped(text_of(value)), true);
}

Value safe(const Value& value, Arguments& given) {
    const Bound bound("safe", "", 0, given);
    return Value(text_of(value), true);
}

Chars url_quoted(const Value& value, bool in_query) {
    Chars out;
    for (const Char c : text_of(value)) {
        std::string bytes;
        append_bytes(bytes, c);
        for (const char byte : bytes) {
            const bool plain_one = (byte >= '0' && byte <= '9') ||
                                   ((byte | 0x20) >= 'a' && (byte | 0x20) <= 'z') ||
                                   std::string_view("_.-~").find(byte) != std::string_view::npos ||
                                   (byte == '/' && !in_query);
            if (in_query && byte == ' ')
                out += U'+' | mark_of(c);
            else if (plain_one)
                out += static_cast<Char>(byte) | mark_of(c);
            else
                out +=
                    chars_of(fmt::format("%{:02X}", static_cast<unsigned char>(byte)), mark_of(c));
        }
    }
    return out;
}

Value url_encoded(const Value& value, Arguments& given) {
    const Bound bound("urlencode", "", 0, given);
    const auto next = value.text() ? std::nullopt : try_iterate(value);
    if (!next) return url_quoted(value, false);
    Chars out;
    const auto add = [&](const Value& key, const Value& item) {
        if (!out.empty()) out += U'&';
        out += url_quoted(key, true) + Chars(1, U'=') + url_quoted(item, true);
    };
    if (value.map()) {
        for (const auto& [key, item] : value.map()->items) add(key, item);
        return out;
    }
    while (const auto pair = (*next)()) {
        const Values both = values_of(*pair);
        if (both.size() != 2) fail("urlencode: pairs are expected");
        add(both[0], both[1]);
    }
    return out;
}

Value xml_attributes(const Value& value, Arguments& given) {
    const Bound bound("xmlattr", "autospace", 0, given);
    require_defined(value);
    if (!value.map()) fail("xmlattr: a mapping is expected, not '{}'", value.type_name());
    Chars out;
    for (const auto& [key, item] : value.map()->items) {
        if (item.is_none() || item.is_undefined()) continue;
        if (!key.text()) fail("xmlattr: names must be texts");
        const Chars& name = key.text()->chars;
        if (std::ranges::any_of(name, [](Char c) {
                return (plain(c) < 0x80 && is_space(c) && (plain(c) < 0x1c || plain(c) > 0x1f)) ||
                       plain(c) == U'/' || plain(c) == U'>' || plain(c) == U'=';
            }))
            fail("xmlattr: invalid character in an attribute's name");
        if (!out.empty()) out += U' ';
        out += escaped(name) + chars_of("=\"") +
               (item.text() && item.text()->markup ? item.text()->chars : escaped(text_of(item))) +
               chars_of("\"");
    }
    if (bound.truth(0, true) && !out.empty()) out = chars_of(" ") + out;
    return out;
}

Value json(const Value& value, Arguments& given) {
    const Bound bound("tojson", "ensure_ascii indent separators sort_keys", 0, given);
    return to_json(value, bound.truth(0, false), bound[1], bound[2], bound.truth(3, false));
}

// ---- lists

Value length_of(const Value& value, Arguments& given) {
    const Bound bound("length", "", 0, given);
    const auto size = length(value);
    if (!size) fail("object of type '{}' has no len()", value.type_name());
    return Value::of(*size);
}

Value first_of(const Value& value, Arguments& given) {
    const Bound bound("first", "", 0, given);
    auto item = iterate(value)();
    return item ? std::move(*item) : Value::undefined("No first item, sequence was empty.");
}

/// What reversed() can go through, from its end; nothing if it can't.
std::optional<Values> backwards(const Value& value) {
    if (value.object() && !value.as<View>()) return std::nullopt;
    if (value.object() || value.text() || value.list() || value.map() || value.range() ||
        value.is_undefined()) {
        Values items = values_of(value);
        std::ranges::reverse(items);
        return items;
    }
    return std::nullopt;
}

Value last_of(const Value& value, Arguments& given) {
    const Bound bound("last", "", 0, given);
    if (value.list() && !value.list()->items.empty()) return value.list()->items.back();
    const auto items = backwards(value);
    if (!items) fail("'{}' object is not reversible", value.type_name());
    return items->empty() ? Value::undefined("No last item, sequence was empty.") : items->front();
}

Value reversed(const Value& value, Arguments& given) {
    const Bound bound("reverse", "", 0, given);
    if (value.text()) {
        Chars text = value.text()->chars;
        std::ranges::reverse(text);
        return Value(std::move(text), value.text()->markup);
    }
    if (auto items = backwards(value))
        return iterator(iterate(Value(List(std::move(*items)))), value.depth() + 1, "reversed");
    Values items = values_of(value);
    std::ranges::reverse(items);
    return List(std::move(items));
}

Value listed(const Value& value, Arguments& given) {
    const Bound bound("list", "", 0, given);
    return List(values_of(value));
}

Value joined(const Value& value, Arguments& given) {
    const Bound bound("join", "d attribute", 0, given);
    const Chars between = bound.given(0) ? text_of(bound[0]) : Chars();
    const Getter getter = getter_of(bound[1], false);
    const Next next = iterate(value);
    Chars out;
    bool first = true;
    while (const auto each = next()) {
        Meter::step();
        if (!std::exchange(first, false)) out += between;
        const Chars text = text_of(getter(*each));
        Meter::allow(out.size() + between.size() + text.size(), sizeof(Char));
        out += text;
    }
    return out;
}

Value defaulted(const Value& value, Arguments& given) {
    const Bound bound("default", "default_value boolean", 0, given);
    if (value.is_undefined() || (bound.truth(1, false) && !truth(value)))
        return bound.given(0) ? bound[0] : Value(Chars());
    return value;
}

Value attribute(const Value& value, Arguments& given) {
    const Bound bound("attr", "name", 1, given);
    const Chars& name = bound.text(0);
    if (value.is_undefined()) require_defined(value);
    if (auto found = method_of(value, name)) return std::move(*found);
    if (is_forbidden(value, name)) return attribute_of(value, name);
    return Value::undefined(fmt::format("'{} object' has no attribute '{}'", value.type_name(),
                                        printable(bytes_of(name))));
}

Value items_of(const Value& value, Arguments& given) {
    const Bound bound("items", "", 0, given);
    return iterator(
        [value, next = Next()]() mutable -> std::optional<Value> {
            if (!next) {
                if (value.is_undefined()) return std::nullopt;
                if (!value.map())
                    fail("can only get item pairs from a mapping, not '{}'", value.type_name());
                next = View(value, View::Part::items).iterate().value();
            }
            return next();
        },
        value.depth() + 1);
}

Value sort(const Value& value, Arguments& given) {
    const Bound bound("sort", "reverse case_sensitive attribute", 0, given);
    return List(sorted(values_of(value), getter_of_several(bound[2], !bound.truth(1, false)),
                       bound.truth(0, false)));
}

Value dict_sort(const Value& value, Arguments& given) {
    const Bound bound("dictsort", "case_sensitive by reverse", 0, given);
    require_defined(value);
    const std::string by = bound.given(1) ? bytes_of(bound.text(1)) : "key";
    if (by != "key" && by != "value") fail("You can only sort by either \"key\" or \"value\"");
    if (!value.map()) fail("dictsort: a mapping is expected, not '{}'", value.type_name());
    return List(sorted(View(value, View::Part::items).all(),
                       getter_of(Value::of(int64_t{by == "key" ? 0 : 1}), !bound.truth(0, false)),
                       bound.truth(2, false)));
}

Value unique(const Value& value, Arguments& given) {
    const Bound bound("unique", "case_sensitive attribute", 0, given);
    return iterator(
        [value, getter = getter_of(bound[1], !bound.truth(0, false)),
         seen = std::make_shared<Map>(), next = Next()]() mutable -> std::optional<Value> {
            if (!next) next = iterate(value);
            while (auto item = next()) {
                Meter::step();
                const Value key = getter(*item);
                if (seen->find(key)) continue;
                seen->set(key, None{});
                return item;
            }
            return std::nullopt;
        },
        value.depth() + 1);
}

template<bool most>
Value extreme(const Value& value, Arguments& given) {
    const Bound bound(most ? "max" : "min", "case_sensitive attribute", 0, given);
    const Getter getter = getter_of(bound[1], !bound.truth(0, false));
    std::optional<Value> best, best_key;
    const Next next = iterate(value);
    while (auto item = next()) {
        Meter::step();
        Value key = getter(*item);
        if (best && !(most ? less(*best_key, key, ">") : less(key, *best_key))) continue;
        best = std::move(item);
        best_key = std::move(key);
    }
    return best ? std::move(*best) : Value::undefined("No aggregated item, sequence was empty.");
}

Value sum(const Value& value, Arguments& given) {
    const Bound bound("sum", "attribute start", 0, given);
    const Getter getter = getter_of(bound[0], false);
    Value total = bound.given(1) ? bound[1] : Value::of(int64_t{0});
    if (total.text()) fail("sum() can't sum strings: use join");
    const Next next = iterate(value);
    while (const auto item = next()) total = arithmetic("+", total, getter(*item));
    return total;
}

Value group_by(const Value& value, Arguments& given) {
    const Bound bound("groupby", "attribute default case_sensitive", 1, given);
    const bool case_sensitive = bound.truth(2, false);
    const Getter key = getter_of(bound[0], !case_sensitive, bound[1]),
                 shown = getter_of(bound[0], false, bound[1]);
    Values groups, members;
    Value current;
    const auto close = [&] {
        if (members.empty()) return;
        Value name = case_sensitive ? current : shown(members[0]);
        List group({std::move(name), Value(List(std::move(members)))}, true);
        group.group = true;
        groups.emplace_back(std::move(group));
        members.clear();
    };
    for (const Value& item : sorted(values_of(value), key, false)) {
        Value its = key(item);
        if (!members.empty() && !equal(current, its)) close();
        current = std::move(its);
        members.push_back(item);
    }
    close();
    return List(std::move(groups));
}

Value sliced(const Value& value, Arguments& given) {
    const Bound bound("slice", "slices fill_with", 1, given);
    const int64_t slices = bound.integer(0, 0);
    const Value filling = bound[1];
    return iterator(
        [value, slices, filling, items = Values(), at = int64_t{-1},
         offset = int64_t{0}]() mutable -> std::optional<Value> {
            if (at < 0) {
                items = values_of(value);
                if (slices == 0) fail("division by zero");
                at = 0;
            }
            if (at >= slices) return std::nullopt;
            const auto size = static_cast<int64_t>(items.size());
            const int64_t each = size / slices, more = size % slices, start = offset + at * each;
            if (at < more) ++offset;
            const int64_t end = offset + (at + 1) * each;
            Values part(items.begin() + start, items.begin() + end);
            if (!filling.missing() && !filling.is_none() && at >= more) part.push_back(filling);
            ++at;
            return Value(List(std::move(part)));
        },
        std::max(value.depth(), filling.depth()) + 1);
}

Value batch(const Value& value, Arguments& given) {
    const Bound bound("batch", "linecount fill_with", 1, given);
    const Value count_given = bound[0], filling = bound[1];
    return iterator(
        [value, count_given, filling, next = Next(),
         ahead = std::optional<Value>()]() mutable -> std::optional<Value> {
            const auto count = count_given.number();
            const bool first = !next;
            if (first) {
                next = iterate(value);
                ahead = next();
            }
            if (!ahead) return std::nullopt;
            Values part;
            if (first && count && *count == 0) return Value(List(std::move(part)));
            // As jinja2 has it: a line of another size than asked for has everything.
            while (ahead &&
                   (part.empty() || !count || static_cast<double>(part.size()) != *count)) {
                Meter::step();
                part.push_back(std::move(*ahead));
                ahead = next();
            }
            if (!ahead && !filling.missing() && !filling.is_none()) {
                if (!count) fail("batch: the size of a line must be a number");
                const auto size = static_cast<double>(part.size());
                if (size < *count) {
                    if (!count_given.integer())
                        fail("batch: the size of a line must be a whole number");
                    Meter::allow(static_cast<size_t>(*count), sizeof(Value));
                    part.resize(static_cast<size_t>(*count), filling);
                }
            }
            return Value(List(std::move(part)));
        },
        std::max(value.depth(), filling.depth()) + 1);
}

// ---- filters that apply others

Value mapped(const Value& value, Arguments& given) {
    return iterator(
        [value, given, function = Getter(), next = Next()]() mutable -> std::optional<Value> {
            if (!next) {
                if (!truth(value)) return std::nullopt;
                const auto named = [&](std::string_view name) {
                    return std::ranges::find(given.by_name, name,
                                             &std::pair<std::string, Value>::first);
                };
                if (given.by_place.empty() && named("attribute") != given.by_name.end()) {
                    const Bound bound("map", "attribute default", 0, given);
                    function = getter_of(bound[0], false, bound[1]);
                } else {
                    if (given.by_place.empty()) fail("map requires a filter argument");
                    if (!given.by_place[0].text()) fail("map: a filter's name must be a text");
                    Arguments rest = given;
                    rest.by_place.erase(rest.by_place.begin());
                    function = [name = bytes_of(given.by_place[0].text()->chars),
                                rest](const Value& item) {
                        Arguments arguments = rest;
                        return apply_filter(name, item, arguments);
                    };
                }
                next = iterate(value);
            }
            auto item = next();
            if (!item) return item;
            return function(*item);
        },
        value.depth() + 1);
}

template<bool wanted, bool by_attribute>
Value selected(const Value& value, Arguments& given) {
    return iterator(
        [value, given, holds = std::function<bool(const Value&)>(),
         next = Next()]() mutable -> std::optional<Value> {
            if (!next) {
                if (!truth(value)) return std::nullopt;
                Arguments rest = given;
                Getter getter = [](const Value& item) { return item; };
                if (by_attribute) {
                    if (rest.by_place.empty()) fail("Missing parameter for attribute name");
                    getter = getter_of(rest.by_place[0], false);
                    rest.by_place.erase(rest.by_place.begin());
                }
                if (rest.by_place.empty()) {
                    holds = [getter](const Value& item) { return truth(getter(item)); };
                } else {
                    if (!rest.by_place[0].text()) fail("a test's name must be a text");
                    const std::string name = bytes_of(rest.by_place[0].text()->chars);
                    rest.by_place.erase(rest.by_place.begin());
                    holds = [getter, name, rest](const Value& item) {
                        Arguments arguments = rest;
                        return apply_test(name, getter(item), arguments);
                    };
                }
                next = iterate(value);
            }
            while (auto item = next()) {
                Meter::step();
                if (holds(*item) == wanted) return item;
            }
            return std::nullopt;
        },
        value.depth() + 1);
}

template<Name name>
Value refused(const Value&, Arguments&) {
    fail("the filter '{}' is not supported", name.value);
}

const std::map<std::string_view, Filter>& filters() {
    static const std::map<std::string_view, Filter> kFilters{
        {"abs", absolute},
        {"attr", attribute},
        {"batch", batch},
        {"capitalize", text_filter<"capitalize">},
        {"center", center},
        {"count", length_of},
        {"d", defaulted},
        {"default", defaulted},
        {"dictsort", dict_sort},
        {"e", escape},
        {"escape", escape},
        {"filesizeformat", file_size},
        {"first", first_of},
        {"float", to_float},
        {"forceescape", force_escape},
        {"format", formatted_text},
        {"groupby", group_by},
        {"indent", indented},
        {"int", to_int},
        {"items", items_of},
        {"join", joined},
        {"last", last_of},
        {"length", length_of},
        {"list", listed},
        {"lower", text_filter<"lower">},
        {"map", mapped},
        {"max", extreme<true>},
        {"min", extreme<false>},
        {"pprint", refused<"pprint">},
        {"random", refused<"random">},
        {"reject", selected<false, false>},
        {"rejectattr", selected<false, true>},
        {"replace", replaced},
        {"reverse", reversed},
        {"round", rounded},
        {"safe", safe},
        {"select", selected<true, false>},
        {"selectattr", selected<true, true>},
        {"slice", sliced},
        {"sort", sort},
        {"string", as_string},
        {"striptags", refused<"striptags">},
        {"sum", sum},
        {"title", title_words},
        {"tojson", json},
        {"trim", trim},
        {"truncate", truncated},
        {"unique", unique},
        {"upper", text_filter<"upper">},
        {"urlencode", url_encoded},
        {"urlize", refused<"urlize">},
        {"wordcount", word_count},
        {"wordwrap", refused<"wordwrap">},
        {"xmlattr", xml_attributes},
    };
    return kFilters;
}

}  // namespace

bool is_filter(std::string_view name) {
    return filters().contains(name);
}

Value apply_filter(std::string_view name, const Value& value, Arguments& arguments) {
    const auto filter = filters().find(name);
    if (filter == filters().end()) fail("no filter named '{}'", printable(name));
    if (value.text()) Meter::step(static_cast<int64_t>(value.text()->chars.size() / 16));
    return filter->second(value, arguments);
}

}  // namespace llmsql::jinja
