// SPDX-License-Identifier: MIT
// What can be asked of values by a name or a key, as Jinja's sandbox allows it; and the functions
// that every template knows.
#include <algorithm>
#include <array>

#include "common/error.h"
#include "jinja/builtins.h"

namespace llmsql::jinja {
namespace {

constexpr int64_t kLongestRange = 100'000;

Value function(std::string_view name, Function::Body body, int depth = 1) {
    return std::shared_ptr<Object>(
        std::make_shared<Function>(std::string(name), std::move(body), depth));
}

template<class List>
bool has(const List& list, CharsView name) {
    return std::ranges::any_of(list, [&](std::string_view each) { return equals(name, each); });
}

constexpr std::array<std::string_view, 8> kListChanges{"append", "clear", "pop",    "reverse",
                                                       "insert", "sort",  "extend", "remove"};
constexpr std::array<std::string_view, 5> kMapChanges{"clear", "pop", "popitem", "setdefault",
                                                      "update"};
// Of every object in Python.
constexpr std::array<std::string_view, 24> kInner{
    "__class__",  "__delattr__",   "__dir__",          "__doc__",
    "__eq__",     "__format__",    "__ge__",           "__getattribute__",
    "__gt__",     "__hash__",      "__init__",         "__init_subclass__",
    "__le__",     "__lt__",        "__ne__",           "__new__",
    "__reduce__", "__reduce_ex__", "__repr__",         "__setattr__",
    "__sizeof__", "__str__",       "__subclasshook__", "__len__"};

Value unsupported(std::string_view name) {
    return function(name, [name = std::string(name)](Arguments&) -> Value {
        fail("the method '{}' is not supported", name);
    });
}

std::optional<Value> map_method(const Value& value, std::string_view name) {
    if (name == "get")
        return function(
            "get",
            [value](Arguments& given) {
                const Bound bound("get", "key default", 1, given);
                if (const Value* found = value.map()->find(bound[0])) return *found;
                return bound.given(1) ? bound[1] : Value(None{});
            },
            value.depth() + 1);
    const auto view = [&](View::Part part) {
        return function(
            name,
            [value, part, name = std::string(name)](Arguments& given) -> Value {
                const Bound bound(name, "", 0, given);
                return std::shared_ptr<Object>(std::make_shared<View>(value, part));
            },
            value.depth() + 1);
    };
    if (name == "items") return view(View::Part::items);
    if (name == "keys") return view(View::Part::keys);
    if (name == "values") return view(View::Part::values);
    if (name == "copy")
        return function(
            "copy",
            [value](Arguments& given) {
                const Bound bound("copy", "", 0, given);
                Meter::step(static_cast<int64_t>(value.map()->items.size()));
                return Value(Map(*value.map()));
            },
            value.depth() + 1);
    if (name == "fromkeys") return unsupported(name);
    return std::nullopt;
}

std::optional<Value> list_method(const Value& value, std::string_view name) {
    if (name == "count")
        return function(
            "count",
            [value](Arguments& given) {
                const Bound bound("count", "value", 1, given);
                int64_t count = 0;
                for (const Value& item : value.list()->items)
                    count += equal(item, bound[0]) ? 1 : 0;
                return Value::of(count);
            },
            value.depth() + 1);
    if (name == "index")
        return function(
            "index",
            [value](Arguments& given) {
                const Bound bound("index", "value start stop", 1, given);
                const auto size = static_cast<int64_t>(value.list()->items.size());
                const auto clipped = [&](int64_t i) {
                    return std::clamp<int64_t>(i < 0 ? i + size : i, 0, size);
                };
                const int64_t stop = clipped(bound.integer(2, size));
                for (int64_t i = clipped(bound.integer(1, 0)); i < stop; ++i)
                    if (equal(value.list()->items[static_cast<size_t>(i)], bound[0]))
                        return Value::of(i);
                fail("the value is not in the {}", value.type_name());
            },
            value.depth() + 1);
    if (name == "copy" && !value.list()->tuple)
        return function(
            "copy", [value](Arguments&) { return value; }, value.depth() + 1);
    if (value.list()->group && name == "grouper") return value.list()->items[0];
    if (value.list()->group && name == "list") return value.list()->items[1];
    return std::nullopt;
}

std::optional<Value> number_method(const Value& value, std::string_view name) {
    const auto whole = value.integer();
    if (name == "real") return whole ? Value::of(*whole) : value;
    if (name == "imag") return whole ? Value::of(int64_t{0}) : Value::of(0.0);
    if (whole && name == "numerator") return Value::of(*whole);
    if (whole && name == "denominator") return Value::of(int64_t{1});
    if (!whole && name == "is_integer")
        return function(name, [value](Arguments&) {
            const double number = *value.real();
            return Value::of(number - number == 0 &&
                             number == static_cast<double>(static_cast<int64_t>(number)));
        });
    constexpr std::array<std::string_view, 6> kWhole{"bit_length", "bit_count", "to_bytes",
                                                     "from_bytes", "conjugate", "as_integer_ratio"};
    constexpr std::array<std::string_view, 4> kReal{"hex", "fromhex", "conjugate",
                                                    "as_integer_ratio"};
    if (whole ? std::ranges::find(kWhole, name) != kWhole.end()
              : std::ranges::find(kReal, name) != kReal.end())
        return unsupported(name);
    return std::nullopt;
}

std::string shown(CharsView name) {
    return printable(bytes_of(name));
}

Value no_attribute(const Value& value, CharsView name) {
    if (is_forbidden(value, name))
        return Value::undefined(fmt::format("access to attribute '{}' of '{}' object is unsafe",
                                            shown(name), value.type_name()));
    return Value::undefined(
        fmt::format("'{} object' has no attribute '{}'", value.type_name(), shown(name)));
}

// value[key] in Python; nothing where that raises.
std::optional<Value> subscript(const Value& value, const Value& key) {
    if (const Map* map = value.map()) {
        if (key.list() ? !key.list()->tuple : key.map() != nullptr) return std::nullopt;
        const Value* found = map->find(key);
        return found ? std::optional(*found) : std::nullopt;
    }
    const auto index = key.integer();
    if (!index) return std::nullopt;
    const auto size = value.text() || value.list() || value.range() ? length(value) : std::nullopt;
    if (!size) return std::nullopt;
    const int64_t i = *index < 0 ? *index + *size : *index;
    if (i < 0 || i >= *size) return std::nullopt;
    if (const Text* text = value.text())
        return Value(Chars(1, text->chars[static_cast<size_t>(i)]), text->markup);
    if (value.range()) return Value::of(value.range()->at(i));
    return value.list()->items[static_cast<size_t>(i)];
}

class Namespace : public Object {
  public:
    std::string type_name() const override { return "Namespace"; }
    std::optional<Value> attribute(CharsView name) override {
        const Value* value = attributes_.find(Value(Chars(name)));
        return value ? std::optional(*value) : std::nullopt;
    }
    std::optional<Chars> repr() override {
        if (writing_) fail("a namespace holds itself");
        writing_ = true;
        Chars text;
        try {
            text = chars_of("<Namespace ") + jinja::repr(Value(Map(attributes_))) + chars_of(">");
        } catch (...) {
            writing_ = false;
            throw;
        }
        writing_ = false;
        return text;
    }
    void set(Value name, Value value) {
        if (name.text() && !name.text()->chars.empty() && plain(name.text()->chars[0]) == U'_')
            fail("chat templates cannot store underscore-prefixed attributes on a namespace: '{}'",
                 shown(name.text()->chars));
        attributes_.set(std::move(name), std::move(value));
    }
    void clear() override {
        Map attributes;
        std::swap(attributes, attributes_);
    }

  private:
    Map attributes_;
    bool writing_ = false;
};

class Cycler : public Object {
  public:
    explicit Cycler(Values items) : items_(std::move(items)) {}
    std::string type_name() const override { return "Cycler"; }
    int depth() const override { return items_.depth + 1; }
    std::optional<Value> attribute(CharsView name) override {
        const auto self = std::static_pointer_cast<Cycler>(shared_from_this());
        if (equals(name, "current")) return items_.items[at_];
        if (equals(name, "pos")) return Value::of(static_cast<int64_t>(at_));
        if (equals(name, "items")) return Value(List(items_.items, true));
        if (equals(name, "next"))
            return function(
                "next",
                [self](Arguments& given) {
                    const Bound bound("next", "", 0, given);
                    const Value current = self->items_.items[self->at_];
                    self->at_ = (self->at_ + 1) % self->items_.items.size();
                    return current;
                },
                depth() + 1);
        if (equals(name, "reset"))
            return function(
                "reset",
                [self](Arguments& given) {
                    const Bound bound("reset", "", 0, given);
                    self->at_ = 0;
                    return Value(None{});
                },
                depth() + 1);
        return std::nullopt;
    }

  private:
    List items_;
    size_t at_ = 0;
};

class Joiner : public Object {
  public:
    explicit Joiner(Value between) : between_(std::move(between)) {}
    std::string type_name() const override { return "Joiner"; }
    int depth() const override { return between_.depth() + 1; }
    bool callable() const override { return true; }
    Value call(Arguments& given) override {
        const Bound bound("joiner", "", 0, given);
        return std::exchange(used_, true) ? between_ : Value(Chars());
    }
    std::optional<Value> attribute(CharsView name) override {
        if (equals(name, "sep")) return between_;
        if (equals(name, "used")) return Value::of(used_);
        return std::nullopt;
    }

  private:
    Value between_;
    bool used_ = false;
};

// What dict() makes of its arguments.
void fill(Arguments& given, std::string_view name, const std::function<void(Value, Value)>& set) {
    if (given.by_place.size() > 1)
        fail("{} expected at most 1 argument, got {}", name, given.by_place.size());
    if (!given.by_place.empty()) {
        const Value& from = given.by_place[0];
        require_defined(from);
        if (from.map()) {
            for (const auto& [key, value] : from.map()->items) set(key, value);
        } else {
            for (const Value& pair : values_of(from)) {
                const Values both = values_of(pair);
                if (both.size() != 2)
                    fail("{}: an element has length {}; 2 is required", name, both.size());
                set(both[0], both[1]);
            }
        }
    }
    for (auto& [key, value] : given.by_name) set(Value(chars_of(key)), std::move(value));
}

class DictFunction : public Object {
  public:
    std::string type_name() const override { return "TemplateDict"; }
    bool callable() const override { return true; }
    Value call(Arguments& given) override {
        Map map;
        fill(given, "dict",
             [&](Value key, Value value) { map.set(std::move(key), std::move(value)); });
        return map;
    }
    std::optional<Value> attribute(CharsView name) override {
        if (!equals(name, "fromkeys")) return std::nullopt;
        return function("fromkeys", [](Arguments& given) {
            const Bound bound("fromkeys", "iterable value", 1, given);
            Map map;
            for (const Value& key : values_of(bound[0]))
                map.set(key, bound.given(1) ? bound[1] : Value(None{}));
            return Value(std::move(map));
        });
    }
};

Value make_range(Arguments& given) {
    const Bound bound("range", "start stop step", 1, given);
    Range range{0, bound.integer(0, 0), bound.integer(2, 1)};
    if (bound.given(1)) {
        range.first = range.last;
        range.last = bound.integer(1, 0);
    }
    constexpr int64_t kMost = int64_t{1} << 61;
    if (range.step == 0) fail("range() arg 3 must not be zero");
    if (std::max({std::abs(range.first), std::abs(range.last), std::abs(range.step)}) > kMost ||
        range.size() > kLongestRange)
        fail("a range may have {} numbers at most", kLongestRange);
    return range;
}

}  // namespace

bool is_forbidden(const Value& value, CharsView name) {
    if (has(kInner, name)) return true;
    if (value.list()) return !value.list()->tuple && has(kListChanges, name);
    return value.map() && has(kMapChanges, name);
}

std::optional<Value> method_of(const Value& value, CharsView name) {
    if (value.object()) return value.object()->attribute(name);
    const std::string ascii = bytes_of(name);
    if (value.text()) return text_method(value, ascii);
    if (value.map()) return map_method(value, ascii);
    if (value.list()) return list_method(value, ascii);
    if (value.number()) return number_method(value, ascii);
    if (value.range()) {
        if (ascii == "start") return Value::of(value.range()->first);
        if (ascii == "stop") return Value::of(value.range()->last);
        if (ascii == "step") return Value::of(value.range()->step);
        if (ascii == "index" || ascii == "count") return unsupported(ascii);
    }
    return std::nullopt;
}

Value attribute_of(const Value& value, CharsView name) {
    require_defined(value);
    if (auto method = method_of(value, name)) return std::move(*method);
    if (!is_forbidden(value, name) && value.map())
        if (const Value* found = value.map()->find(Value(Chars(name)))) return *found;
    return no_attribute(value, name);
}

Value item_of(const Value& value, const Value& key) {
    require_defined(value);
    if (auto item = subscript(value, key)) return std::move(*item);
    if (key.text()) {
        if (auto method = method_of(value, key.text()->chars)) return std::move(*method);
        return no_attribute(value, key.text()->chars);
    }
    return Value::undefined(
        fmt::format("'{} object' has no element {}", value.type_name(),
                    key.integer() ? std::to_string(*key.integer()) : "of this key"));
}

Value slice_of(const Value& value, const Value& start, const Value& stop, const Value& step) {
    require_defined(value);
    if (!value.text() && !value.list() && !value.range())
        fail("'{}' object cannot be sliced", value.type_name());
    const auto number = [](const Value& bound) -> std::optional<int64_t> {
        if (bound.is_none()) return std::nullopt;
        require_defined(bound);
        if (!bound.integer())
            fail("slice indices must be integers or None, not '{}'", bound.type_name());
        return bound.integer();
    };
    const int64_t size = *length(value);
    const int64_t by = std::clamp<int64_t>(number(step).value_or(1), -size - 1, size + 1);
    if (by == 0) {
        if (number(step) == 0) fail("slice step cannot be zero");
    }
    const auto clipped = [&](std::optional<int64_t> i, int64_t otherwise) {
        if (!i) return otherwise;
        const int64_t low = by < 0 ? -1 : 0, high = by < 0 ? size - 1 : size;
        const int64_t at = *i < 0 ? (*i < -size ? low : *i + size) : *i;
        return std::clamp(at, low, std::max(low, high));
    };
    const int64_t from = clipped(number(start), by < 0 ? size - 1 : 0),
                  to = clipped(number(stop), by < 0 ? -1 : size);
    if (const Range* range = value.range())
        return Range{range->at(from), range->at(to), range->step * by};
    if (const Text* text = value.text()) {
        if (by == 1)
            return Value(from < to ? text->chars.substr(static_cast<size_t>(from),
                                                        static_cast<size_t>(to - from))
                                   : Chars(),
                         text->markup);
        Chars out;
        for (int64_t i = from; by > 0 ? i < to : i > to; i += by)
            out += text->chars[static_cast<size_t>(i)];
        return Value(std::move(out), text->markup);
    }
    Values out;
    for (int64_t i = from; by > 0 ? i < to : i > to; i += by)
        out.push_back(value.list()->items[static_cast<size_t>(i)]);
    return List(std::move(out), value.list()->tuple);
}

Value call(const Value& function, Arguments& arguments) {
    require_defined(function);
    if (!function.object() || !function.object()->callable())
        fail("'{}' object is not callable", function.type_name());
    return function.object()->call(arguments);
}

void set_attribute(const Value& target, std::string_view name, const Value& value) {
    const auto space = target.as<Namespace>();
    if (!space) fail("cannot assign attribute on non-namespace object");
    space->set(Value(chars_of(name)), value);
}

std::map<std::string, Value, std::less<>> globals(int64_t now) {
    std::map<std::string, Value, std::less<>> names;
    const auto add = [&](std::string_view name, Function::Body body) {
        names[std::string(name)] = function(name, std::move(body));
    };
    add("range", make_range);
    names["dict"] = std::shared_ptr<Object>(std::make_shared<DictFunction>());
    add("namespace", [](Arguments& given) -> Value {
        auto space = std::make_shared<Namespace>();
        if (Meter::current()) Meter::current()->keep(space);
        fill(given, "namespace",
             [&](Value key, Value value) { space->set(std::move(key), std::move(value)); });
        return std::shared_ptr<Object>(std::move(space));
    });
    add("cycler", [](Arguments& given) -> Value {
        if (!given.by_name.empty()) fail("cycler() takes no keyword arguments");
        if (given.by_place.empty()) fail("at least one item has to be provided");
        return std::shared_ptr<Object>(std::make_shared<Cycler>(given.by_place));
    });
    add("joiner", [](Arguments& given) -> Value {
        const Bound bound("joiner", "sep", 0, given);
        return std::shared_ptr<Object>(
            std::make_shared<Joiner>(bound.given(0) ? bound[0] : Value(chars_of(", "))));
    });
    add("raise_exception", [](Arguments& given) -> Value {
        const Bound bound("raise_exception", "message", 1, given);
        std::string message = bytes_of(text_of(bound[0]).substr(0, 1000));
        fail("the template refuses this conversation: {}", message);
    });
    add("strftime_now", [now](Arguments& given) -> Value {
        const Bound bound("strftime_now", "format", 1, given);
        const Chars& format = bound.text(0);
        const bool foreign = std::ranges::any_of(format, [](Char c) { return mark_of(c) != 0; });
        return chars_of(format_time(bytes_of(format), now), foreign ? kForeign : 0);
    });
    // A template's own blocks, by name.
    add("self", [](Arguments&) -> Value { fail("self is not supported"); });
    add("lipsum",
        [](Arguments&) -> Value { fail("lipsum() is not supported: its text is made by chance"); });
    return names;
}

}  // namespace llmsql::jinja
