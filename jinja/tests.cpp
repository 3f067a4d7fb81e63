// SPDX-License-Identifier: MIT
// Jinja's tests: `value is name`, select('name', …).
#include <cmath>
#include <map>

#include "common/error.h"
#include "jinja/builtins.h"

namespace llmsql::jinja {
namespace {

using Test = bool (*)(const Value& value, Arguments& given);

void no_arguments(Arguments& given) {
    const Bound bound("the test", "", 0, given);
}

template<bool (*test)(const Value&)>
bool simple(const Value& value, Arguments& given) {
    no_arguments(given);
    return test(value);
}

bool odd_by(const Value& value, const Value& by, int64_t rest) {
    return equal(arithmetic("%", value, by), Value::of(rest));
}
bool is_odd(const Value& value) {
    return odd_by(value, Value::of(int64_t{2}), 1);
}
bool is_even(const Value& value) {
    return odd_by(value, Value::of(int64_t{2}), 0);
}
bool divisible(const Value& value, Arguments& given) {
    const Bound bound("divisibleby", "num", 1, given);
    return odd_by(value, bound[0], 0);
}

bool is_defined(const Value& value) {
    return !value.is_undefined();
}
bool is_undefined(const Value& value) {
    return value.is_undefined();
}
bool is_none(const Value& value) {
    return value.is_none();
}
bool is_boolean(const Value& value) {
    return value.boolean() != nullptr;
}
bool is_false(const Value& value) {
    return value.boolean() && !*value.boolean();
}
bool is_true(const Value& value) {
    return value.boolean() && *value.boolean();
}
bool is_integer(const Value& value) {
    return value.integer() && !value.boolean();
}
bool is_real(const Value& value) {
    return value.real() != nullptr;
}
bool is_number(const Value& value) {
    return value.number().has_value();
}
bool is_string(const Value& value) {
    return value.text() != nullptr;
}
bool is_mapping(const Value& value) {
    return value.map() != nullptr;
}
bool is_sequence(const Value& value) {
    return value.text() || value.list() || value.map() || value.range() || value.is_undefined();
}
bool is_iterable(const Value& value) {
    return try_iterate(value).has_value() ||
           (value.object() && value.object()->type_name() == "LoopContext");
}
bool is_callable(const Value& value) {
    return value.is_undefined() || (value.object() && value.object()->callable());
}
bool is_escaped(const Value& value) {
    return value.text() && value.text()->markup;
}

bool has_case(const Value& value, std::string_view method) {
    Arguments none;
    return truth(call(*text_method(Value(text_of(value)), method), none));
}
bool is_lower_text(const Value& value) {
    return has_case(value, "islower");
}
bool is_upper_text(const Value& value) {
    return has_case(value, "isupper");
}

bool names_filter(const Value& value) {
    hash(value);
    return value.text() && is_filter(bytes_of(value.text()->chars));
}
bool names_test(const Value& value) {
    hash(value);
    return value.text() && is_test(bytes_of(value.text()->chars));
}

template<bool (*compare)(const Value&, const Value&)>
bool against(const Value& value, Arguments& given) {
    const Bound bound("the test", "other", 1, given);
    return compare(value, bound[0]);
}

bool differs(const Value& a, const Value& b) {
    return !equal(a, b);
}
bool below(const Value& a, const Value& b) {
    return less(a, b, "<");
}
bool above(const Value& a, const Value& b) {
    return less(b, a, ">");
}
bool is_nan(const Value& value) {
    return value.real() && std::isnan(*value.real());
}
bool at_most(const Value& a, const Value& b) {
    return !less(b, a, "<=") && !is_nan(a) && !is_nan(b);
}
bool at_least(const Value& a, const Value& b) {
    return !less(a, b, ">=") && !is_nan(a) && !is_nan(b);
}
bool same(const Value& a, const Value& b) {
    return a.same_as(b);
}
bool within(const Value& value, const Value& container) {
    return contains(container, value);
}

const std::map<std::string_view, Test>& tests() {
    static const std::map<std::string_view, Test> kTests{
        {"!=", against<differs>},
        {"<", against<below>},
        {"<=", against<at_most>},
        {"==", against<equal>},
        {">", against<above>},
        {">=", against<at_least>},
        {"boolean", simple<is_boolean>},
        {"callable", simple<is_callable>},
        {"defined", simple<is_defined>},
        {"divisibleby", divisible},
        {"eq", against<equal>},
        {"equalto", against<equal>},
        {"escaped", simple<is_escaped>},
        {"even", simple<is_even>},
        {"false", simple<is_false>},
        {"filter", simple<names_filter>},
        {"float", simple<is_real>},
        {"ge", against<at_least>},
        {"greaterthan", against<above>},
        {"gt", against<above>},
        {"in", against<within>},
        {"integer", simple<is_integer>},
        {"iterable", simple<is_iterable>},
        {"le", against<at_most>},
        {"lessthan", against<below>},
        {"lower", simple<is_lower_text>},
        {"lt", against<below>},
        {"mapping", simple<is_mapping>},
        {"ne", against<differs>},
        {"none", simple<is_none>},
        {"number", simple<is_number>},
        {"odd", simple<is_odd>},
        {"sameas", against<same>},
        {"sequence", simple<is_sequence>},
        {"string", simple<is_string>},
        {"test", simple<names_test>},
        {"true", simple<is_true>},
        {"undefined", simple<is_undefined>},
        {"upper", simple<is_upper_text>},
    };
    return kTests;
}

}  // namespace

bool is_test(std::string_view name) {
    return tests().contains(name);
}

bool apply_test(std::string_view name, const Value& value, Arguments& arguments) {
    const auto test = tests().find(name);
    if (test == tests().end()) fail("no test named '{}'", printable(name));
    return test->second(value, arguments);
}

}  // namespace llmsql::jinja
