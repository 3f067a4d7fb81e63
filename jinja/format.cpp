// SPDX-License-Identifier: MIT
// Python's two ways of putting values into texts: "%05.1f" % value, and "{:>8}".format(value).
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "common/error.h"
#include "jinja/builtins.h"

namespace llmsql::jinja {
namespace {

constexpr int64_t kWidest = 1'000'000, kMostDigits = 1000;

int64_t number_at(CharsView text, size_t& at) {
    int64_t number = 0;
    while (at < text.size() && is_ascii_digit(text[at])) {
        number = number * 10 + static_cast<int64_t>(plain(text[at++]) - U'0');
        if (number > kWidest) fail("a format is wider than {}", kWidest);
    }
    return number;
}

std::string real_text(double number, char type, int64_t precision, bool alternate) {
    if (precision > kMostDigits) fail("a format has more than {} digits", kMostDigits);
    const std::string format = std::string(alternate ? "%#.*" : "%.*") + type;
    std::string out(static_cast<size_t>(precision) + 400, '\0');
    const int length =
        std::snprintf(out.data(), out.size(), format.c_str(), static_cast<int>(precision), number);
    out.resize(static_cast<size_t>(std::max(0, length)));
    return out;
}

std::string in_base(int64_t number, int base, bool capitals) {
    const uint64_t size =
        number < 0 ? -static_cast<uint64_t>(number) : static_cast<uint64_t>(number);
    std::array<char, 64> digits;
    const char* const end =
        std::to_chars(digits.data(), digits.data() + digits.size(), size, base).ptr;
    std::string text(static_cast<const char*>(digits.data()), end);
    if (capitals)
        for (char& digit : text)
            if (digit >= 'a') digit = static_cast<char>(digit - 'a' + 'A');
    return text;
}

Chars padded(const Chars& text, int64_t width, Char fill, Char align) {
    if (width <= static_cast<int64_t>(text.size())) return text;
    const size_t missing = static_cast<size_t>(width) - text.size();
    Meter::allow(static_cast<size_t>(width), sizeof(Char));
    const size_t left = align == U'<' ? 0 : align == U'^' ? missing / 2 : missing;
    return Chars(left, fill) + text + Chars(missing - left, fill);
}

// ---- %

struct Percent {
    bool left = false, plus = false, blank = false, alternate = false, zero = false;
    int64_t width = 0;
    std::optional<int64_t> precision{};
};

// A number, its sign first, in its width.
Chars placed(const Percent& how, bool is_negative, const std::string& prefix, std::string digits) {
    std::string sign = is_negative ? "-" : how.plus ? "+" : how.blank ? " " : "";
    sign += prefix;
    const auto width = static_cast<size_t>(how.width);
    if (how.zero && !how.left && sign.size() + digits.size() < width)
        digits.insert(0, width - sign.size() - digits.size(), '0');
    return padded(chars_of(sign + digits), how.width, U' ', how.left ? U'<' : U'>');
}

Chars percent_number(const Percent& how, char type, const Value& value) {
    require_defined(value);
    if (std::string_view("eEfFgG").find(type) != std::string_view::npos) {
        const auto number = value.number();
        if (!number) fail("must be real number, not {}", value.type_name());
        std::string digits =
            real_text(std::abs(*number), type, how.precision.value_or(6), how.alternate);
        return placed(how, std::signbit(*number) && !std::isnan(*number), "", digits);
    }
    std::optional<int64_t> whole = value.integer();
    if (!whole && value.real() && std::string_view("diu").find(type) != std::string_view::npos) {
        if (!(std::abs(*value.real()) < 9e18))
            fail("cannot convert the float to an integer of 64 bits");
        whole = static_cast<int64_t>(*value.real());
    }
    if (!whole) fail("%{} format: a number is required, not {}", type, value.type_name());
    const int base = type == 'o' ? 8 : type == 'x' || type == 'X' ? 16 : 10;
    std::string digits = in_base(*whole, base, type == 'X');
    const auto precision = static_cast<size_t>(how.precision.value_or(0));
    if (digits.size() < precision) digits.insert(0, precision - digits.size(), '0');
    const std::string prefix =
        !how.alternate || base == 10 ? "" : std::string("0") + (base == 8 ? 'o' : type);
    return placed(how, *whole < 0, prefix, digits);
}

}  // namespace

Chars percent_format(CharsView format, const Value& values) {
    const List* tuple = values.list() && values.list()->tuple ? values.list() : nullptr;
    const bool mapping =
        values.map() || values.is_undefined() || values.range() || (values.list() && !tuple);
    size_t next = 0;
    const auto argument = [&]() -> Value {
        if (tuple) {
            if (next >= tuple->items.size()) fail("not enough arguments for format string");
            return tuple->items[next++];
        }
        if (next++ > 0) fail("not enough arguments for format string");
        return values;
    };
    Chars out;
    for (size_t i = 0; i < format.size(); ++i) {
        if (plain(format[i]) != U'%') {
            out += format[i];
            continue;
        }
        const Char mark = mark_of(format[i]);
        const auto at_end = [&] {
            if (i >= format.size()) fail("incomplete format");
        };
        Percent how;
        std::optional<Value> keyed;
        ++i;
        at_end();
        if (plain(format[i]) == U'(') {
            if (!values.map()) fail("format requires a mapping");
            int depth = 1;
            const size_t from = ++i;
            for (; i < format.size() && depth > 0; ++i)
                depth += plain(format[i]) == U'(' ? 1 : plain(format[i]) == U')' ? -1 : 0;
            if (depth > 0) fail("incomplete format key");
            const Value key(Chars(format.substr(from, i - 1 - from)));
            const Value* found = values.map()->find(key);
            if (!found)
                fail("the key '{}' of a format is missing", printable(bytes_of(key.text()->chars)));
            keyed = *found;
            at_end();
        }
        for (bool flags = true; flags;) {
            switch (plain(format[i])) {
                case U'-':
                    how.left = true;
                    break;
                case U'+':
                    how.plus = true;
                    break;
                case U' ':
                    how.blank = true;
                    break;
                case U'#':
                    how.alternate = true;
                    break;
                case U'0':
                    how.zero = true;
                    break;
                default:
                    flags = false;
                    continue;
            }
            ++i;
            at_end();
        }
        const auto count = [&]() -> int64_t {
            if (i < format.size() && plain(format[i]) == U'*') {
                ++i;
                const Value given = argument();
                const auto number = given.integer();
                if (!number) fail("* wants int");
                if (std::abs(*number) > kWidest) fail("a format is wider than {}", kWidest);
                return *number;
            }
            return number_at(format, i);
        };
        how.width = count();
        if (how.width < 0) {
            how.left = true;
            how.width = -how.width;
        }
        at_end();
        if (plain(format[i]) == U'.') {
            ++i;
            how.precision = std::max<int64_t>(0, count());
            at_end();
        }
        if (const Char c = plain(format[i]); c == U'h' || c == U'l' || c == U'L') ++i;
        at_end();
        const Char type = plain(format[i]);
        if (type == U'%') {
            out += U'%' | mark;
            continue;
        }
        const Value value = keyed ? *keyed : argument();
        if (type == U's' || type == U'r' || type == U'a') {
            if (type == U'a') fail("the format %a is not supported");
            Chars text = type == U's' ? text_of(value) : repr(value);
            if (how.precision) text = text.substr(0, static_cast<size_t>(*how.precision));
            out += padded(text, how.width, U' ', how.left ? U'<' : U'>');
        } else if (type == U'c') {
            Chars text;
            if (value.text() && value.text()->chars.size() == 1)
                text = value.text()->chars;
            else if (const auto code = value.integer(); code && *code >= 0 && *code < kRawByte)
                text = Chars(1, static_cast<Char>(*code));
            else
                fail("%c requires int or char");
            out += padded(text, how.width, U' ', how.left ? U'<' : U'>');
        } else if (type < 0x80 && std::string_view("diuoxXeEfFgG").find(static_cast<char>(type)) !=
                                      std::string_view::npos) {
            out += percent_number(how, static_cast<char>(type), value);
        } else {
            fail("unsupported format character at index {}", i);
        }
        Meter::allow(out.size(), sizeof(Char));
    }
    if (tuple ? next < tuple->items.size() : next == 0 && !mapping)
        fail("not all arguments converted during string formatting");
    return out;
}

// ---- {}

Chars formatted(const Value& value, CharsView specification) {
    if (specification.empty()) return text_of(value);
    const auto wrong = [&] {
        fail("invalid format specifier '{}' for a {}", printable(bytes_of(specification)),
             value.type_name());
    };
    size_t i = 0;
    const auto is_align = [](Char c) {
        return plain(c) == U'<' || plain(c) == U'>' || plain(c) == U'^' || plain(c) == U'=';
    };
    Char fill = U' ', align = 0;
    if (specification.size() > 1 && is_align(specification[1])) {
        fill = specification[0];
        align = plain(specification[1]);
        i = 2;
    } else if (is_align(specification[0])) {
        align = plain(specification[0]);
        i = 1;
    }
    const auto skip = [&](Char c) {
        if (i >= specification.size() || plain(specification[i]) != c) return false;
        ++i;
        return true;
    };
    Char sign = 0;
    for (const Char each : {U'+', U'-', U' '})
        if (sign == 0 && skip(each)) sign = each;
    const bool alternate = skip(U'#');
    if (skip(U'0') && align == 0) {
        fill = U'0';
        align = U'=';
    }
    const int64_t width = number_at(specification, i);
    Char grouping = 0;
    for (const Char each : {U',', U'_'})
        if (grouping == 0 && skip(each)) grouping = each;
    std::optional<int64_t> precision;
    if (skip(U'.')) {
        const size_t before = i;
        precision = number_at(specification, i);
        if (i == before) wrong();
    }
    const Char type = i < specification.size() ? plain(specification[i++]) : 0;
    if (i != specification.size()) wrong();

    if (value.text()) {
        if ((type != 0 && type != U's') || sign != 0 || alternate || grouping != 0 || align == U'=')
            wrong();
        Chars text = value.text()->chars;
        if (precision) text = text.substr(0, static_cast<size_t>(*precision));
        return padded(text, width, fill, align == 0 ? U'<' : align);
    }
    if (!value.number()) wrong();
    std::string digits, prefix;
    bool is_negative = false;
    const auto whole = value.integer();
    if (whole && (type == 0 || (type < 0x80 && std::string_view("bdoxXn").find(static_cast<char>(
                                                   type)) != std::string_view::npos))) {
        if (precision) wrong();
        const int base = type == U'b' ? 2 : type == U'o' ? 8 : (type | 0x20) == U'x' ? 16 : 10;
        digits = in_base(*whole, base, type == U'X');
        is_negative = *whole < 0;
        if (alternate && base != 10) prefix = std::string("0") + static_cast<char>(type);
        if (grouping == U',' && base != 10) wrong();
    } else {
        double number = *value.number();
        if (type == U'%') number *= 100;
        is_negative = std::signbit(number);
        number = std::abs(number);
        if (type == 0 && !whole) {
            if (precision) fail("a format with a precision and no type is not supported");
            digits = repr(number);
        } else if (type < 0x80 &&
                   std::string_view("eEfFgG%").find(static_cast<char>(type)) !=
                       std::string_view::npos &&
                   type != 0) {
            digits = real_text(number, type == U'%' ? 'f' : static_cast<char>(type),
                               precision.value_or(6), alternate);
            if (type == U'%') digits += '%';
        } else {
            wrong();
        }
        if (std::isnan(number)) is_negative = false;
    }
    if (grouping != 0) {
        if (fill == U'0' && align == U'=')
            fail("a format with zeros and groups of digits is not supported");
        const size_t every = type == U'b' || type == U'o' || (type | 0x20) == U'x' ? 4 : 3;
        size_t end = 0;
        while (end < digits.size() &&
               std::string_view("0123456789abcdefABCDEF").find(digits[end]) !=
                   std::string_view::npos &&
               (every == 4 || (digits[end] >= '0' && digits[end] <= '9')))
            ++end;
        for (size_t at = end; at > every;)
            digits.insert(at -= every, 1, static_cast<char>(grouping));
    }
    const std::string signs = (is_negative    ? "-"
                               : sign == U'+' ? "+"
                               : sign == U' ' ? " "
                                              : "") +
                              prefix;
    if (align == U'=') {
        const int64_t inner = width - static_cast<int64_t>(signs.size());
        return chars_of(signs) + padded(chars_of(digits), inner, fill, U'>');
    }
    return padded(chars_of(signs + digits), width, fill, align == 0 ? U'>' : align);
}

namespace {

class Braces {
  public:
    explicit Braces(const Arguments& arguments) : arguments_(arguments) {}

    Chars run(CharsView format, int depth) {
        if (depth < 0) fail("Max string recursion exceeded");
        Chars out;
        for (size_t i = 0; i < format.size(); ++i) {
            const Char c = plain(format[i]);
            if (c != U'{' && c != U'}') {
                out += format[i];
                continue;
            }
            if (i + 1 < format.size() && plain(format[i + 1]) == c) {
                out += format[i++];
                continue;
            }
            if (c == U'}') fail("Single '}}' encountered in format string");
            size_t end = i + 1;
            for (int open = 1; open > 0; ++end) {
                if (end >= format.size()) fail("expected '}}' before end of string");
                // A bracket's content may have anything in it.
                if (plain(format[end]) == U'{') ++open;
                if (plain(format[end]) == U'}') --open;
            }
            out += field(format.substr(i + 1, end - i - 2), depth);
            Meter::allow(out.size(), sizeof(Char));
            i = end - 1;
        }
        return out;
    }

  private:
    Chars field(CharsView field, int depth) {
        size_t end = 0;
        for (bool bracket = false; end < field.size(); ++end) {
            const Char c = plain(field[end]);
            if (c == U'[') bracket = true;
            if (c == U']') bracket = false;
            if (!bracket && (c == U'!' || c == U':')) break;
            if (c == U'{' || c == U'}') fail("unexpected '{{' in field name");
        }
        Value value = named(field.substr(0, end));
        if (end < field.size() && plain(field[end]) == U'!') {
            if (end + 1 >= field.size())
                fail("end of string while looking for conversion specifier");
            const Char kind = plain(field[end + 1]);
            if (kind == U's')
                value = text_of(value);
            else if (kind == U'r')
                value = repr(value);
            else if (kind == U'a')
                fail("the conversion !a is not supported");
            else
                fail("unknown conversion specifier");
            end += 2;
            if (end < field.size() && plain(field[end]) != U':')
                fail("expected ':' after conversion specifier");
        }
        const Chars specification =
            end < field.size() ? run(field.substr(end + 1), depth - 1) : Chars();
        if (!specification.empty() && value.is_undefined())
            fail("unsupported format string passed to Undefined.__format__");
        return formatted(value, specification);
    }

    Value named(CharsView path) {
        size_t end = 0;
        while (end < path.size() && plain(path[end]) != U'.' && plain(path[end]) != U'[') ++end;
        const CharsView first = path.substr(0, end);
        Value value;
        if (first.empty() || std::ranges::all_of(first, is_ascii_digit)) {
            const bool automatic = first.empty();
            if (automatic ? next_ < 0 : next_ > 0)
                fail("cannot switch between automatic and manual field numbering");
            size_t digits = 0;
            const int64_t index = automatic ? next_++ : number_at(first, digits);
            if (!automatic) next_ = -1;
            if (index >= static_cast<int64_t>(arguments_.by_place.size()))
                fail("replacement index {} out of range for positional arguments", index);
            value = arguments_.by_place[static_cast<size_t>(index)];
        } else {
            const std::string name = bytes_of(first);
            const auto found =
                std::ranges::find(arguments_.by_name, name, &std::pair<std::string, Value>::first);
            if (found == arguments_.by_name.end())
                fail("the key '{}' of a format is missing", printable(name));
            value = found->second;
        }
        while (end < path.size()) {
            const bool bracket = plain(path[end]) == U'[';
            size_t stop = end + 1;
            while (stop < path.size() &&
                   (bracket ? plain(path[stop]) != U']'
                            : plain(path[stop]) != U'.' && plain(path[stop]) != U'['))
                ++stop;
            const CharsView name = path.substr(end + 1, stop - end - 1);
            if (name.empty()) fail("Empty attribute in format string");
            if (bracket) {
                if (stop == path.size()) fail("Missing ']' in format string");
                size_t digits = 0;
                value = std::ranges::all_of(name, is_ascii_digit)
                            ? item_of(value, Value::of(number_at(name, digits)))
                            : item_of(value, Value(Chars(name)));
                ++stop;
                if (stop < path.size() && plain(path[stop]) != U'.' && plain(path[stop]) != U'[')
                    fail("Only '.' or '[' may follow ']' in format field specifier");
            } else {
                value = attribute_of(value, name);
            }
            end = stop;
        }
        return value;
    }

    const Arguments& arguments_;
    int64_t next_ = 0;
};

}  // namespace

Chars brace_format(CharsView format, const Arguments& arguments) {
    return Braces(arguments).run(format, 2);
}

}  // namespace llmsql::jinja
