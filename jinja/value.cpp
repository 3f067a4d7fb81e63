// SPDX-License-Identifier: MIT
// Making values, comparing them, going through them. See value.h.
#include "jinja/value.h"

#include <algorithm>
#include <cmath>

#include "common/error.h"

namespace llmsql::jinja {

Text::Text(Chars text, bool is_markup)
    : chars(std::move(text)), markup(is_markup), counted(64 + chars.size() * sizeof(Char)) {
    Meter::step(static_cast<int64_t>(chars.size() / 64));
}

int64_t Range::size() const {
    if (step > 0) return first < last ? (last - first - 1) / step + 1 : 0;
    return first > last ? (first - last - 1) / -step + 1 : 0;
}

Value::Value(Chars text, bool markup)
    : data_(std::make_shared<const Text>(std::move(text), markup)) {}
Value::Value(List list) : data_(std::make_shared<const List>(std::move(list))) {}
Value::Value(Map map) : data_(std::make_shared<const Map>(std::move(map))) {}

Value Value::undefined(std::string why) {
    return Undefined{std::make_shared<const std::string>(std::move(why))};
}

std::optional<int64_t> Value::integer() const {
    if (const auto* truth = boolean()) return *truth ? 1 : 0;
    const auto* number = std::get_if<int64_t>(&data_);
    return number ? std::optional(*number) : std::nullopt;
}

std::optional<double> Value::number() const {
    if (const auto whole = integer()) return static_cast<double>(*whole);
    return real() ? std::optional(*real()) : std::nullopt;
}

std::string Value::type_name() const {
    if (is_none()) return "NoneType";
    if (is_undefined() || missing()) return "Undefined";
    if (boolean()) return "bool";
    if (real()) return "float";
    if (text()) return text()->markup ? "Markup" : "str";
    if (list()) return list()->tuple ? "tuple" : "list";
    if (map()) return "dict";
    if (range()) return "range";
    if (object()) return object()->type_name();
    return "int";
}

int Value::depth() const {
    if (list()) return list()->depth;
    if (map()) return map()->depth;
    if (object()) return object()->depth();
    return 0;
}

bool Value::same_as(const Value& other) const {
    if (data_.index() != other.data_.index()) return false;
    if (boolean()) return *boolean() == *other.boolean();
    if (is_none()) return true;
    // Small integers and texts are one object in Python where they are equal; others may not be.
    if (integer()) return *integer() == *other.integer();
    if (real()) return false;
    if (text()) return text() == other.text() || text()->chars == other.text()->chars;
    if (list())
        return list() == other.list() || (list()->tuple && other.list()->tuple &&
                                          list()->items.empty() && other.list()->items.empty());
    if (map()) return map() == other.map();
    if (range()) return range() == other.range();
    if (object()) return object() == other.object();
    return why_undefined()->why == other.why_undefined()->why;
}

namespace {

int deeper(int depth) {
    if (depth > kDeepest) fail("values are nested too deeply: more than {} levels", kDeepest);
    return depth;
}

}  // namespace

List::List(Values values, bool is_tuple)
    : items(std::move(values)),
      tuple(is_tuple),
      depth(1),
      counted(std::make_shared<Counted>(64 + items.size() * sizeof(Value))) {
    Meter::step(static_cast<int64_t>(items.size() / 8));
    for (const Value& item : items) depth = std::max(depth, item.depth() + 1);
    deeper(depth);
}

std::optional<size_t> Map::place_of(const Value& key, size_t hash) const {
    if (places_.empty()) {
        for (size_t i = 0; i < items.size(); ++i)
            if (equal(items[i].first, key)) return i;
        return std::nullopt;
    }
    const auto [begin, end] = places_.equal_range(hash);
    for (auto each = begin; each != end; ++each)
        if (equal(items[each->second].first, key)) return each->second;
    return std::nullopt;
}

void Map::set(Value key, Value value) {
    constexpr size_t kSmall = 8, kBytes = 160;
    const size_t hashed = hash(key);
    Meter::step();
    depth = deeper(std::max({depth, key.depth() + 1, value.depth() + 1}));
    if (const auto place = place_of(key, hashed)) {
        items[*place].second = std::move(value);
        return;
    }
    if (!counted_)
        counted_ = std::make_shared<Counted>(kBytes);
    else if (counted_.use_count() > 1)  // of a copy
        counted_ = std::make_shared<Counted>(kBytes * (items.size() + 1));
    else
        counted_->grow(kBytes);
    items.emplace_back(std::move(key), std::move(value));
    if (items.size() == kSmall + 1)
        for (size_t i = 0; i < items.size(); ++i) places_.emplace(hash(items[i].first), i);
    else if (items.size() > kSmall)
        places_.emplace(hashed, items.size() - 1);
}

const Value* Map::find(const Value& key) const {
    const auto place = place_of(key, hash(key));
    return place ? &items[*place].second : nullptr;
}

const Value* Map::find(std::string_view ascii) const {
    return find(Value(ascii));
}

Value Object::call(Arguments&) {
    fail("'{}' object is not callable", type_name());
}

Iterator::Iterator(Next next, int depth, std::string type)
    : next_(std::move(next)), depth_(depth), type_(std::move(type)) {
    // What it takes from may be an iterator itself: each level is a call.
    if (depth > kDeepest) fail("iterators are nested too deeply: more than {} levels", kDeepest);
}

std::optional<Next> Iterator::iterate() {
    return
        [self = std::static_pointer_cast<Iterator>(shared_from_this())]() -> std::optional<Value> {
            if (!self->next_) return std::nullopt;
            Meter::step();
            std::optional<Value> value = self->next_();
            if (!value) self->next_ = nullptr;
            return value;
        };
}

std::string View::type_name() const {
    return part_ == Part::keys ? "dict_keys" : part_ == Part::values ? "dict_values" : "dict_items";
}

Values View::all() const {
    Meter::step(static_cast<int64_t>(map_.map()->items.size()));
    Values all;
    all.reserve(map_.map()->items.size());
    for (const auto& [key, value] : map_.map()->items)
        all.push_back(part_ == Part::keys     ? key
                      : part_ == Part::values ? value
                                              : Value(List({key, value}, true)));
    return all;
}

std::optional<Chars> View::repr() {
    return chars_of(type_name() + "(") + jinja::repr(Value(List(all()))) + chars_of(")");
}

std::optional<Next> View::iterate() {
    return jinja::iterate(Value(List(all())));
}

std::optional<int64_t> View::size() {
    return static_cast<int64_t>(map_.map()->items.size());
}

void require_defined(const Value& value) {
    if (const Undefined* undefined = value.why_undefined()) fail("{}", *undefined->why);
}

bool truth(const Value& value) {
    if (const bool* truth = value.boolean()) return *truth;
    if (const auto number = value.integer()) return *number != 0;
    if (value.real()) return *value.real() != 0;
    if (value.is_none() || value.is_undefined() || value.missing()) return false;
    if (const auto size = length(value)) return *size != 0;
    return true;
}

std::optional<int64_t> length(const Value& value) {
    if (value.text()) return static_cast<int64_t>(value.text()->chars.size());
    if (value.list()) return static_cast<int64_t>(value.list()->items.size());
    if (value.map()) return static_cast<int64_t>(value.map()->items.size());
    if (value.range()) return value.range()->size();
    if (value.is_undefined()) return 0;
    if (value.object()) return value.object()->size();
    return std::nullopt;
}

std::optional<Next> try_iterate(const Value& value) {
    if (const auto* text = value.text())
        return [value, text, i = size_t{0}]() mutable -> std::optional<Value> {
            if (i == text->chars.size()) return std::nullopt;
            return Value(Chars(1, text->chars[i++]), text->markup);
        };
    if (const auto* list = value.list())
        return [value, list, i = size_t{0}]() mutable -> std::optional<Value> {
            if (i == list->items.size()) return std::nullopt;
            return list->items[i++];
        };
    if (const auto* map = value.map())
        return [value, map, i = size_t{0}]() mutable -> std::optional<Value> {
            if (i == map->items.size()) return std::nullopt;
            return map->items[i++].first;
        };
    if (const auto* range = value.range())
        return [value, range, i = int64_t{0}]() mutable -> std::optional<Value> {
            if (i == range->size()) return std::nullopt;
            return Value::of(range->at(i++));
        };
    if (value.is_undefined()) return []() -> std::optional<Value> { return std::nullopt; };
    if (value.object()) return value.object()->iterate();
    return std::nullopt;
}

Next iterate(const Value& value) {
    if (auto next = try_iterate(value)) return std::move(*next);
    fail("'{}' object is not iterable", value.type_name());
}

Values values_of(const Value& value) {
    if (value.list()) {
        Meter::step(static_cast<int64_t>(value.list()->items.size() / 8));
        return value.list()->items;
    }
    Values values;
    const Next next = iterate(value);
    while (std::optional<Value> each = next()) {
        Meter::step();
        if (values.size() % 1024 == 0) Meter::allow(values.size() + 1024, sizeof(Value));
        values.push_back(std::move(*each));
    }
    return values;
}

bool equal(const Value& a, const Value& b) {
    Meter::step();
    if (const auto x = a.integer()) {
        if (const auto y = b.integer()) return *x == *y;
        return b.real() && static_cast<double>(*x) == *b.real();
    }
    if (a.real()) {
        const auto y = b.number();
        return y && *a.real() == *y;
    }
    if (a.text()) {
        if (b.text()) Meter::step(static_cast<int64_t>(a.text()->chars.size() / 64));
        return b.text() && a.text()->chars == b.text()->chars;
    }
    if (const List* x = a.list()) {
        const List* y = b.list();
        return y && x->tuple == y->tuple && std::ranges::equal(x->items, y->items, equal);
    }
    if (const Map* x = a.map()) {
        const Map* y = b.map();
        return y && x->items.size() == y->items.size() &&
               std::ranges::all_of(x->items, [&](const auto& item) {
                   const Value* other = y->find(item.first);
                   return other && equal(item.second, *other);
               });
    }
    if (const Range* x = a.range()) {
        const Range* y = b.range();
        if (!y || x->size() != y->size()) return false;
        return x->size() == 0 || (x->first == y->first && (x->size() == 1 || x->step == y->step));
    }
    if (a.is_undefined() || a.is_none()) return a.is_undefined() ? b.is_undefined() : b.is_none();
    if (const auto x = a.as<View>()) {
        const auto y = b.as<View>();
        if (x == y) return true;
        if (!y || x->part() == View::Part::values || y->part() == View::Part::values) return false;
        if (x->size() != y->size()) return false;
        return std::ranges::all_of(x->all(), [&](const Value& item) { return contains(b, item); });
    }
    return a.object() && a.object() == b.object();
}

bool less(const Value& a, const Value& b, std::string_view sign) {
    Meter::step();
    require_defined(a);
    require_defined(b);
    if (const auto x = a.integer(), y = b.integer(); x && y) return *x < *y;
    if (const auto x = a.number(), y = b.number(); x && y) return *x < *y;
    if (a.text() && b.text()) {
        Meter::step(static_cast<int64_t>(a.text()->chars.size() / 64));
        return a.text()->chars < b.text()->chars;
    }
    const List *x = a.list(), *y = b.list();
    if (x && y && x->tuple == y->tuple) {
        for (size_t i = 0; i < x->items.size() && i < y->items.size(); ++i)
            if (!equal(x->items[i], y->items[i])) return less(x->items[i], y->items[i], sign);
        return x->items.size() < y->items.size();
    }
    fail("'{}' not supported between instances of '{}' and '{}'", sign, a.type_name(),
         b.type_name());
}

size_t hash(const Value& value) {
    const auto mixed = [](size_t a, size_t b) {
        return (a ^ (b + 0x9e3779b97f4a7c15ull)) * 0xff51afd7ed558ccdull;
    };
    if (const auto number = value.number()) {
        const double real = *number;
        // A float that is whole is the integer's equal.
        return mixed(1, std::hash<double>()(real == 0 ? 0.0 : real));
    }
    if (const Text* text = value.text()) {
        size_t hashed = 2;
        Meter::step(static_cast<int64_t>(text->chars.size() / 16));
        for (const Char c : text->chars) hashed = mixed(hashed, plain(c));
        return hashed;
    }
    if (value.is_none()) return 3;
    if (value.is_undefined()) return 4;
    if (value.list() && value.list()->tuple) {
        size_t hashed = 5;
        for (const Value& item : value.list()->items) hashed = mixed(hashed, hash(item));
        return hashed;
    }
    // A dict's values have no equality of their own, so that Python hashes them by what they are.
    const auto view = value.as<View>();
    if (value.list() || value.map() || (view && view->part() != View::Part::values))
        fail("unhashable type: '{}'", value.type_name());
    if (const Range* range = value.range()) return mixed(6, static_cast<size_t>(range->size()));
    return std::hash<const void*>()(value.object());
}

bool contains(const Value& container, const Value& item) {
    if (const Text* text = container.text()) {
        if (!item.text())
            fail("'in <string>' requires string as left operand, not {}", item.type_name());
        Meter::step(static_cast<int64_t>(text->chars.size() / 16));
        return find_in(text->chars, item.text()->chars) != Chars::npos;
    }
    if (container.map()) return container.map()->find(item) != nullptr;
    if (const auto view = container.as<View>(); view && view->part() == View::Part::keys)
        hash(item);
    if (const Range* range = container.range()) {
        const auto number = item.number();
        if (!number || *number != std::floor(*number) || std::abs(*number) > 1e18) return false;
        const auto whole = static_cast<int64_t>(*number);
        return range->step > 0 ? whole >= range->first && whole < range->last &&
                                     (whole - range->first) % range->step == 0
                               : whole <= range->first && whole > range->last &&
                                     (range->first - whole) % -range->step == 0;
    }
    const auto next = try_iterate(container);
    if (!next) fail("argument of type '{}' is not iterable", container.type_name());
    while (const auto each = (*next)()) {
        Meter::step();
        if (equal(*each, item)) return true;
    }
    return false;
}

}  // namespace llmsql::jinja
