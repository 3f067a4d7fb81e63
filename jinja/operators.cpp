// SPDX-License-Identifier: MIT
// Arithmetic, and what + and * do to texts and lists, as in Python. Whole numbers have 64 bits
// here: what goes beyond them is refused.
#include <cmath>

#include "common/error.h"
#include "jinja/builtins.h"

namespace llmsql::jinja {
namespace {

[[noreturn]] void too_large() {
    fail("a number does not fit in 64 bits");
}

[[noreturn]] void unsupported(std::string_view sign, const Value& a, const Value& b) {
    require_defined(a);
    require_defined(b);
    fail("unsupported operand types for {}: '{}' and '{}'", sign, a.type_name(), b.type_name());
}

Value power(int64_t base, int64_t exponent) {
    if (exponent < 0) {
        if (base == 0) fail("0 cannot be raised to a negative power");
        return Value::of(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
    }
    int64_t result = 1;
    while (exponent > 0) {
        if ((exponent & 1) != 0 && __builtin_mul_overflow(result, base, &result)) too_large();
        exponent >>= 1;
        if (exponent > 0 && __builtin_mul_overflow(base, base, &base)) too_large();
    }
    return Value::of(result);
}

Value whole(std::string_view sign, int64_t a, int64_t b) {
    int64_t result = 0;
    if (sign == "+") {
        if (__builtin_add_overflow(a, b, &result)) too_large();
    } else if (sign == "-") {
        if (__builtin_sub_overflow(a, b, &result)) too_large();
    } else if (sign == "*") {
        if (__builtin_mul_overflow(a, b, &result)) too_large();
    } else if (sign == "**") {
        return power(a, b);
    } else if (b == 0) {
        fail("division by zero");
    } else if (sign == "/") {
        return Value::of(static_cast<double>(a) / static_cast<double>(b));
    } else if (b == -1) {
        if (sign == "%") return Value::of(int64_t{0});
        if (__builtin_sub_overflow(int64_t{0}, a, &result)) too_large();
    } else {
        // Towards minus infinity, not towards 0.
        const int64_t rest = a % b;
        const bool down = rest != 0 && (rest < 0) != (b < 0);
        result = sign == "%" ? rest + (down ? b : 0) : a / b - (down ? 1 : 0);
    }
    return Value::of(result);
}

double modulo(double a, double b) {
    double rest = std::fmod(a, b);
    if (rest == 0) return std::copysign(0.0, b);
    if ((rest < 0) != (b < 0)) rest += b;
    return rest;
}

Value real(std::string_view sign, double a, double b) {
    if (sign == "+") return Value::of(a + b);
    if (sign == "-") return Value::of(a - b);
    if (sign == "*") return Value::of(a * b);
    if (sign == "**") {
        if (a == 0 && b < 0) fail("0.0 cannot be raised to a negative power");
        if (a < 0 && std::isfinite(a) && std::isfinite(b) && b != std::floor(b))
            fail("the power is a complex number");
        const double result = std::pow(a, b);
        if (std::isinf(result) && std::isfinite(a) && std::isfinite(b))
            fail("the power is too large");
        return Value::of(result);
    }
    if (b == 0) fail("division by zero");
    if (sign == "/") return Value::of(a / b);
    const double rest = modulo(a, b);
    if (sign == "%") return Value::of(rest);
    const double floored = (a - rest) / b;
    if (floored == 0) return Value::of(std::copysign(0.0, a / b));
    const double down = std::floor(floored);
    return Value::of(floored - down > 0.5 ? down + 1 : down);
}

Value repeated(const Value& value, int64_t times) {
    const auto count = static_cast<size_t>(std::max<int64_t>(0, times));
    if (const Text* text = value.text()) {
        Chars out;
        if (text->chars.empty() || count == 0) return Value(out, text->markup);
        Meter::allow(count, text->chars.size() * sizeof(Char));
        out.reserve(count * text->chars.size());
        for (size_t i = 0; i < count; ++i) out += text->chars;
        return Value(std::move(out), text->markup);
    }
    const List& list = *value.list();
    Values out;
    if (!list.items.empty() && count > 0) {
        Meter::allow(count, list.items.size() * sizeof(Value));
        for (size_t i = 0; i < count; ++i)
            out.insert(out.end(), list.items.begin(), list.items.end());
    }
    return List(std::move(out), list.tuple);
}

}  // namespace

Value arithmetic(std::string_view sign, const Value& a, const Value& b) {
    if (const auto x = a.integer(), y = b.integer(); x && y) return whole(sign, *x, *y);
    if (const auto x = a.number(), y = b.number(); x && y) return real(sign, *x, *y);
    if (sign == "+") {
        if (const Text* x = a.text(), *y = b.text(); x && y) {
            Meter::allow(x->chars.size() + y->chars.size(), sizeof(Char));
            if (!x->markup && !y->markup) return x->chars + y->chars;
            return Value((x->markup ? x->chars : escaped(x->chars)) +
                             (y->markup ? y->chars : escaped(y->chars)),
                         true);
        }
        if (const List* x = a.list(), *y = b.list(); x && y && x->tuple == y->tuple) {
            Meter::allow(x->items.size() + y->items.size(), sizeof(Value));
            Values all = x->items;
            all.insert(all.end(), y->items.begin(), y->items.end());
            return List(std::move(all), x->tuple);
        }
    }
    if (sign == "*") {
        if ((a.text() || a.list()) && b.integer()) return repeated(a, *b.integer());
        if ((b.text() || b.list()) && a.integer()) return repeated(b, *a.integer());
    }
    if (sign == "%" && a.text()) {
        if (a.text()->markup) fail("formatting of escaped text is not supported");
        return percent_format(a.text()->chars, b);
    }
    unsupported(sign, a, b);
}

Value negative(const Value& value) {
    require_defined(value);
    if (const auto whole = value.integer()) {
        int64_t result = 0;
        if (__builtin_sub_overflow(int64_t{0}, *whole, &result)) too_large();
        return Value::of(result);
    }
    if (!value.real()) fail("bad operand type for unary -: '{}'", value.type_name());
    return Value::of(-*value.real());
}

}  // namespace llmsql::jinja
