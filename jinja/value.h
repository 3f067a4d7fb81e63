// SPDX-License-Identifier: MIT
// Values of templates: what Python's are, as far as templates meet them.
//
// A value is cheap to copy: what is large is shared and never changes. What may change (namespaces,
// loops, iterators) is an Object. Values nest at most kDeepest levels, so that nothing that goes
// through one runs out of stack.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "jinja/meter.h"
#include "jinja/text.h"

namespace llmsql::jinja {

class Value;
struct List;
struct Map;
class Object;

inline constexpr int kDeepest = 400;

/// A variable that has never been set; reading it gives an Undefined. Never within a value.
struct Missing {
    bool operator==(const Missing&) const = default;
};
struct None {
    bool operator==(const None&) const = default;
};
/// jinja2.Undefined: why it is so, to be said where it is used.
struct Undefined {
    std::shared_ptr<const std::string> why;
};
struct Text {
    explicit Text(Chars text, bool is_markup = false);
    Chars chars;
    bool markup;  // markupsafe.Markup: joined texts are escaped
    Counted counted;
};
struct Range {
    int64_t first, last, step;  // `last` is not in it
    int64_t size() const;
    int64_t at(int64_t i) const { return first + i * step; }
};

class Value {
  public:
    using Data =
        std::variant<Missing, None, Undefined, bool, int64_t, double, std::shared_ptr<const Text>,
                     std::shared_ptr<const List>, std::shared_ptr<const Map>,
                     std::shared_ptr<const Range>, std::shared_ptr<Object>>;

    Value() = default;  // Missing
    Value(None none) : data_(none) {}
    Value(Undefined undefined) : data_(std::move(undefined)) {}
    Value(Chars text, bool markup = false);
    explicit Value(std::string_view ascii) : Value(chars_of(ascii)) {}
    Value(List list);
    Value(Map map);
    Value(Range range) : data_(std::make_shared<const Range>(range)) {}
    Value(std::shared_ptr<Object> object) : data_(std::move(object)) {}
    static Value of(bool truth) { return Value(Data(truth)); }
    static Value of(int64_t number) { return Value(Data(number)); }
    static Value of(double number) { return Value(Data(number)); }
    static Value undefined(std::string why);

    bool missing() const { return is<Missing>(); }
    bool is_undefined() const { return is<Undefined>(); }
    bool is_none() const { return is<None>(); }

    const bool* boolean() const { return std::get_if<bool>(&data_); }
    const double* real() const { return std::get_if<double>(&data_); }
    const Undefined* why_undefined() const { return std::get_if<Undefined>(&data_); }
    /// Integers, and truth values as 0 and 1.
    std::optional<int64_t> integer() const;
    /// The number as a float: integers, truth values, floats.
    std::optional<double> number() const;
    const Text* text() const { return pointed<const Text>(); }
    const List* list() const { return pointed<const List>(); }  // or a tuple
    const Map* map() const { return pointed<const Map>(); }
    const Range* range() const { return pointed<const Range>(); }
    Object* object() const { return pointed<Object>(); }
    template<class Kind>
    std::shared_ptr<Kind> as() const {
        const auto* object = std::get_if<std::shared_ptr<Object>>(&data_);
        return object ? std::dynamic_pointer_cast<Kind>(*object) : nullptr;
    }

    /// Python's name of its type.
    std::string type_name() const;
    /// Levels of nesting; 0 of what holds no others.
    int depth() const;
    /// Python's `is`.
    bool same_as(const Value& other) const;

  private:
    explicit Value(Data data) : data_(std::move(data)) {}
    template<class T>
    bool is() const {
        return std::holds_alternative<T>(data_);
    }
    template<class T>
    T* pointed() const {
        const auto* pointer = std::get_if<std::shared_ptr<T>>(&data_);
        return pointer ? pointer->get() : nullptr;
    }

    Data data_;
};

using Values = std::vector<Value>;

struct List {
    explicit List(Values values = {}, bool is_tuple = false);
    Values items;
    bool tuple;
    bool group = false;  // of groupby: has .grouper and .list
    int depth;
    std::shared_ptr<Counted> counted;
};

/// A dict: in the order in which keys came. Keys that are equal are one.
struct Map {
    void set(Value key, Value value);
    const Value* find(const Value& key) const;
    const Value* find(std::string_view ascii) const;

    std::vector<std::pair<Value, Value>> items;
    int depth = 1;

  private:
    std::optional<size_t> place_of(const Value& key, size_t hash) const;
    std::unordered_multimap<size_t, size_t> places_;  // of larger ones
    std::shared_ptr<Counted> counted_;
};

/// The arguments of a call.
struct Arguments {
    Values by_place;
    std::vector<std::pair<std::string, Value>> by_name;
};

/// Gives the next value until there is none.
using Next = std::function<std::optional<Value>()>;

/// What is neither data nor a text: each kind answers what it can do.
class Object : public std::enable_shared_from_this<Object> {
  public:
    Object() = default;
    Object(const Object&) = delete;
    Object& operator=(const Object&) = delete;
    virtual ~Object() = default;
    virtual std::string type_name() const = 0;
    /// str(), which may differ from run to run in Python; nothing then.
    virtual std::optional<Chars> repr() { return std::nullopt; }
    /// Nothing if there is no such attribute.
    virtual std::optional<Value> attribute(CharsView) { return std::nullopt; }
    virtual bool callable() const { return false; }
    virtual Value call(Arguments&);
    /// Nothing if it cannot be iterated over.
    virtual std::optional<Next> iterate() { return std::nullopt; }
    virtual std::optional<int64_t> size() { return std::nullopt; }
    virtual int depth() const { return 1; }
    /// Lets go of the values that it holds: see Meter::keep().
    virtual void clear() {}
};

/// A generator: what lazy filters give. It can be gone through once, is always true, has no length.
class Iterator : public Object {
  public:
    Iterator(Next next, int depth, std::string type = "generator");
    std::string type_name() const override { return type_; }
    std::optional<Next> iterate() override;
    int depth() const override { return depth_; }

  private:
    Next next_;
    int depth_;
    std::string type_;
};

/// A function with a name: a global one, or a method with the value that it belongs to.
class Function : public Object {
  public:
    using Body = std::function<Value(Arguments&)>;
    Function(std::string name, Body body, int depth = 1)
        : name_(std::move(name)), body_(std::move(body)), depth_(depth) {}
    std::string type_name() const override { return "builtin_function_or_method"; }
    bool callable() const override { return true; }
    Value call(Arguments& arguments) override { return body_(arguments); }
    int depth() const override { return depth_; }

  private:
    std::string name_;
    Body body_;
    int depth_;
};

/// dict.keys(), values(), items().
class View : public Object {
  public:
    enum class Part { keys, values, items };
    View(Value map, Part part) : map_(std::move(map)), part_(part) {}
    std::string type_name() const override;
    std::optional<Chars> repr() override;
    std::optional<Next> iterate() override;
    std::optional<int64_t> size() override;
    int depth() const override { return map_.depth() + 2; }
    Part part() const { return part_; }
    Values all() const;

  private:
    Value map_;
    Part part_;
};

// What Python's operators and built-in functions do. Errors are llmsql::Error.

bool truth(const Value& value);
bool equal(const Value& a, const Value& b);
/// Below 0, 0, above 0; fails for what has no order. `sign` is for the message.
bool less(const Value& a, const Value& b, std::string_view sign = "<");
size_t hash(const Value& value);
/// str() and repr().
Chars text_of(const Value& value);
Chars repr(const Value& value);
Chars quoted(CharsView text);
std::string repr(double number);
/// len(); nothing if it has none.
std::optional<int64_t> length(const Value& value);
/// iter(); fails if it cannot be iterated over.
Next iterate(const Value& value);
std::optional<Next> try_iterate(const Value& value);
Values values_of(const Value& value);
bool contains(const Value& container, const Value& item);

/// Fails with what an undefined value says if it is one.
void require_defined(const Value& value);

}  // namespace llmsql::jinja
