// SPDX-License-Identifier: MIT
// What templates find ready: filters, tests, methods, global functions.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "jinja/value.h"

namespace llmsql::jinja {

bool is_filter(std::string_view name);
bool is_test(std::string_view name);

/// Applies a filter or a test; fails if there is none of the name.
Value apply_filter(std::string_view name, const Value& value, Arguments& arguments);
bool apply_test(std::string_view name, const Value& value, Arguments& arguments);

/// value.name and value[key], as Jinja's sandbox looks them up; an Undefined if there is no such.
Value attribute_of(const Value& value, CharsView name);
Value item_of(const Value& value, const Value& key);
/// A method of a text, list, dict or tuple, or one of the few attributes of numbers.
std::optional<Value> method_of(const Value& value, CharsView name);
std::optional<Value> text_method(const Value& value, std::string_view name);
/// Whether Python's values of the kind have the attribute, though templates may not use it.
bool is_forbidden(const Value& value, CharsView name);

/// value[start:stop:step].
Value slice_of(const Value& value, const Value& start, const Value& stop, const Value& step);

/// Calls a value; fails if it cannot be called.
Value call(const Value& function, Arguments& arguments);

/// + - * / // % **
Value arithmetic(std::string_view sign, const Value& a, const Value& b);
Value negative(const Value& value);
/// text % values, and a text's format(…).
Chars percent_format(CharsView format, const Value& values);
Chars brace_format(CharsView format, const Arguments& arguments);
/// One value under a specification such as ">10.2f".
Chars formatted(const Value& value, CharsView specification);

/// json.dumps as transformers' tojson calls it.
Chars to_json(const Value& value, bool ascii, const Value& indent, const Value& separators,
              bool sort_keys);

/// strftime of a moment: seconds since 1970 as a clock on the wall shows them.
std::string format_time(std::string_view format, int64_t seconds);

/// The names that every template knows; `now` as for format_time().
std::map<std::string, Value, std::less<>> globals(int64_t now);

/// {% set ns.name = value %} on what namespace() gave; fails on anything else.
void set_attribute(const Value& target, std::string_view name, const Value& value);

/// HTML's escapes for & < > " '.
Chars escaped(CharsView text);

/// A call's arguments by the names of parameters: binds them as Python does, and fails where they
/// don't fit.
class Bound {
  public:
    /// `names` parted by spaces; those before `required` must be given.
    Bound(std::string_view function, std::string_view names, size_t required, Arguments& arguments);
    bool given(size_t i) const { return !values_[i].missing(); }
    const Value& operator[](size_t i) const { return values_[i]; }
    int64_t integer(size_t i, int64_t otherwise) const;
    bool truth(size_t i, bool otherwise) const;
    /// A text; fails if it is something else.
    const Chars& text(size_t i) const;

  private:
    std::string function_;
    Values values_;
};

}  // namespace llmsql::jinja
