// SPDX-License-Identifier: MIT
// Runs a parsed template: statements write, expressions give values. See template.h.
#include <algorithm>
#include <map>
#include <set>

#include "common/error.h"
#include "jinja/ast.h"
#include "jinja/builtins.h"
#include "jinja/template.h"

namespace llmsql::jinja {
namespace {

using Kind = Expr::Kind;

/// The variables of one call of a function: the template, a macro, a recursive loop.
struct Activation {
    std::shared_ptr<Activation> outer;
    Values slots;
    Counted counted;
    Activation(std::shared_ptr<Activation> from, int count)
        : outer(std::move(from)),
          slots(static_cast<size_t>(count)),
          counted(static_cast<size_t>(count) * sizeof(Value) + 64) {}
};
using ActivationPtr = std::shared_ptr<Activation>;

enum class Flow { on, leave, skip };

class Interpreter;

/// What `loop` is in a loop's body.
class Loop : public Object {
  public:
    Loop(const Value& all, Next next, int depth0)
        : all_(all), next_(std::move(next)), depth0_(depth0) {}

    // The recursive loop's body as a function of what to go through and how deep it is.
    std::function<Value(const Value&, int)> recurse{};

    bool advance() {
        if (!after_) after_ = next_();
        if (!after_) return false;
        before_ = std::exchange(current_, std::move(*after_));
        after_.reset();
        ++index0_;
        return true;
    }
    const Value& current() const { return current_; }

    std::string type_name() const override { return "LoopContext"; }
    int depth() const override { return all_.depth() + 2; }
    std::optional<Chars> repr() override {
        return chars_of(fmt::format("<LoopContext {}/{}>", index0_ + 1, length()));
    }
    std::optional<int64_t> size() override { return length(); }
    bool callable() const override { return true; }
    Value call(Arguments& arguments) override {
        if (arguments.by_place.size() != 1 || !arguments.by_name.empty())
            fail("loop() takes one argument");
        if (!recurse) fail("the loop must have the 'recursive' marker to be called recursively");
        return recurse(arguments.by_place[0], depth0_ + 1);
    }

    std::optional<Value> attribute(CharsView name) override {
        const auto number = [](int64_t value) { return Value::of(value); };
        if (equals(name, "index")) return number(index0_ + 1);
        if (equals(name, "index0")) return number(index0_);
        if (equals(name, "revindex")) return number(length() - index0_);
        if (equals(name, "revindex0")) return number(length() - index0_ - 1);
        if (equals(name, "first")) return Value::of(index0_ == 0);
        if (equals(name, "last")) return Value::of(!peek());
        if (equals(name, "length")) return number(length());
        if (equals(name, "depth")) return number(depth0_ + 1);
        if (equals(name, "depth0")) return number(depth0_);
        if (equals(name, "previtem"))
            return index0_ == 0 ? Value::undefined("there is no previous item") : before_;
        if (equals(name, "nextitem"))
            return peek() ? *after_ : Value::undefined("there is no next item");
        const auto self = std::static_pointer_cast<Loop>(shared_from_this());
        if (equals(name, "cycle"))
            return method("cycle", [self](Arguments& arguments) {
                if (arguments.by_place.empty()) fail("no items for cycling given");
                return arguments
                    .by_place[static_cast<size_t>(self->index0_) % arguments.by_place.size()];
            });
        if (equals(name, "changed"))
            return method("changed", [self](Arguments& arguments) {
                const Value given(List(arguments.by_place, true));
                if (!self->changed_.missing() && equal(self->changed_, given))
                    return Value::of(false);
                self->changed_ = given;
                return Value::of(true);
            });
        return std::nullopt;
    }

  private:
    Value method(const char* name, Function::Body body) const {
        return std::shared_ptr<Object>(
            std::make_shared<Function>(name, std::move(body), depth() + 1));
    }
    bool peek() {
        if (!after_) after_ = next_();
        return after_.has_value();
    }
    int64_t length() {
        if (length_) return *length_;
        length_ = jinja::length(all_);
        if (!length_) {
            Values rest;
            while (auto value = next_()) {
                Meter::step();
                rest.push_back(std::move(*value));
            }
            length_ = static_cast<int64_t>(rest.size()) + index0_ + 1 + (after_ ? 1 : 0);
            next_ = jinja::iterate(Value(List(std::move(rest))));
        }
        return *length_;
    }

    Value all_;
    Next next_;
    int depth0_;
    int64_t index0_ = -1;
    std::optional<int64_t> length_;
    std::optional<Value> after_;
    Value current_, before_, changed_;
};

class Macro : public Object {
  public:
    Macro(Interpreter& interpreter, const MacroBody& body, ActivationPtr outer)
        : interpreter_(interpreter), body_(body), outer_(std::move(outer)) {}
    std::string type_name() const override { return "Macro"; }
    std::optional<Chars> repr() override {
        if (body_.name.empty()) return chars_of("<Macro anonymous>");
        return chars_of("<Macro ") + quoted(chars_of(body_.name)) + chars_of(">");
    }
    bool callable() const override { return true; }
    Value call(Arguments& arguments) override;
    std::optional<Value> attribute(CharsView name) override {
        if (equals(name, "name"))
            return body_.name.empty() ? Value(None{}) : Value(chars_of(body_.name));
        if (equals(name, "arguments")) {
            Values names;
            for (const Parameter& parameter : body_.parameters)
                names.emplace_back(chars_of(parameter.name));
            return Value(List(std::move(names), true));
        }
        if (equals(name, "caller")) return Value::of(body_.caller >= 0);
        if (equals(name, "catch_kwargs")) return Value::of(body_.kwargs >= 0);
        if (equals(name, "catch_varargs")) return Value::of(body_.varargs >= 0);
        return std::nullopt;
    }

  private:
    Interpreter& interpreter_;
    const MacroBody& body_;
    ActivationPtr outer_;
};

class Interpreter {
  public:
    Interpreter(const Program& program, const Value& variables, int64_t now, const Limits& limits)
        : program_(program), variables_(variables), limits_(limits), globals_(globals(now)) {}
    Interpreter(const Interpreter&) = delete;
    Interpreter& operator=(const Interpreter&) = delete;

    // Variables may hold macros, which hold the functions that they were made in: taken apart here.
    ~Interpreter() {
        for (const ActivationPtr& each : kept_) {
            Values slots;
            slots.swap(each->slots);
        }
    }

    Chars run() {
        Chars out;
        try {
            auto root = std::make_shared<Activation>(nullptr, program_.slots);
            kept_.push_back(root);
            here_ = root;
            enter(program_.scope);
            body(program_.body, out);
        } catch (const Error& error) {
            fail("line {}: {}", line_, error.what());
        }
        return out;
    }

    Value call_macro(const MacroBody& macro, const ActivationPtr& outer, Arguments& arguments);

  private:
    class Deeper {
      public:
        Deeper(Interpreter& interpreter, int line) : interpreter_(interpreter) {
            Meter::step();
            if (line > 0) interpreter.line_ = line;
            if (++interpreter.depth_ > interpreter.limits_.depth)
                fail("the template is nested, or calls itself, too deeply");
        }
        Deeper(const Deeper&) = delete;
        Deeper& operator=(const Deeper&) = delete;
        ~Deeper() { --interpreter_.depth_; }

      private:
        Interpreter& interpreter_;
    };

    // A function's variables while it runs.
    class Running {
      public:
        Running(Interpreter& interpreter, ActivationPtr activation)
            : interpreter_(interpreter),
              before_(std::exchange(interpreter.here_, std::move(activation))) {}
        Running(const Running&) = delete;
        Running& operator=(const Running&) = delete;
        ~Running() {
            // One that a macro made in it still refers to lives until the end.
            if (interpreter_.here_.use_count() > 1)
                interpreter_.kept_.push_back(interpreter_.here_);
            interpreter_.here_ = std::move(before_);
        }

      private:
        Interpreter& interpreter_;
        ActivationPtr before_;
    };

    // ---- variables

    Value& held(Slot slot) {
        Activation* activation = here_.get();
        for (int i = 0; i < slot.up; ++i) activation = activation->outer.get();
        return activation->slots[static_cast<size_t>(slot.index)];
    }

    Value resolved(const std::string& name) {
        if (const auto exported = exported_.find(name); exported != exported_.end())
            return exported->second;
        if (const Value* given = variables_.map()->find(Value(chars_of(name)))) return *given;
        if (const auto global = globals_.find(name); global != globals_.end())
            return global->second;
        return {};
    }

    void enter(const Scope& scope) {
        for (const Load& load : scope.loads) {
            Value value;
            if (load.from == Load::From::resolve) value = resolved(load.name);
            if (load.from == Load::From::alias) value = held(load.source);
            here_->slots[static_cast<size_t>(load.slot)] = std::move(value);
        }
    }

    void assign(const Expr& target, const Value& value) {
        switch (target.kind) {
            case Kind::name:
                held(target.slot) = value;
                break;
            case Kind::attribute_target:
                set_attribute(held(target.slot), target.words[0], value);
                break;
            default: {
                const Values parts = values_of(value);
                if (parts.size() != target.parts.size())
                    fail("{} values to unpack, expected {}", parts.size(), target.parts.size());
                for (size_t i = 0; i < parts.size(); ++i) assign(*target.parts[i], parts[i]);
            }
        }
    }

    // jinja2 looks whether they are namespaces before anything is worked out.
    void require_namespaces(const Expr& target) {
        if (target.kind == Kind::attribute_target) {
            const Value& value = held(target.slot);
            if (!value.object() || value.object()->type_name() != "Namespace")
                fail("cannot assign attribute on non-namespace object");
        }
        for (const ExprPtr& part : target.parts) require_namespaces(*part);
    }

    void note_exported(const Stmt& stmt, const Expr& target) {
        if (!stmt.top_level) return;
        if (target.kind == Kind::name) exported_[target.name] = held(target.slot);
        for (const ExprPtr& part : target.parts) note_exported(stmt, *part);
    }

    // ---- statements

    void write(Chars& out, const Chars& text) {
        if (out.size() + text.size() > limits_.output)
            fail("the template makes more than {} bytes", limits_.output);
        Meter::allow(out.size() + text.size(), sizeof(Char));
        Meter::step(static_cast<int64_t>(text.size() / 64));
        out += text;
    }

    Flow body(const Body& body, Chars& out) {
        for (const StmtPtr& stmt : body)
            if (const Flow flow = statement(*stmt, out); flow != Flow::on) return flow;
        return Flow::on;
    }

    Flow statement(const Stmt& stmt, Chars& out) {
        const Deeper deeper(*this, stmt.line);
        switch (stmt.kind) {
            case Stmt::Kind::data:
                write(out, stmt.data.text()->chars);
                return Flow::on;
            case Stmt::Kind::output:
                for (const ExprPtr& each : stmt.expressions) write(out, text_of(value(*each)));
                return Flow::on;
            case Stmt::Kind::set: {
                require_namespaces(*stmt.target);
                assign(*stmt.target, value(*stmt.value));
                note_exported(stmt, *stmt.target);
                return Flow::on;
            }
            case Stmt::Kind::branch:
                return branch(stmt, out);
            case Stmt::Kind::loop:
                return loop(stmt, out);
            case Stmt::Kind::leave:
                return Flow::leave;
            case Stmt::Kind::skip:
                return Flow::skip;
            default:
                return rarer(stmt, out);
        }
    }

    Flow branch(const Stmt& stmt, Chars& out) {
        for (const auto& [condition, inner] : stmt.branches)
            if (truth(value(*condition))) return body(inner, out);
        return body(stmt.otherwise, out);
    }

    Flow rarer(const Stmt& stmt, Chars& out) {
        switch (stmt.kind) {
            case Stmt::Kind::set_block:
            case Stmt::Kind::filter_block: {
                enter(stmt.scope);
                Chars made;
                if (const Flow flow = body(stmt.body, made); flow != Flow::on) return flow;
                Value text(std::move(made));
                if (stmt.value) text = filtered(*stmt.value, &text);
                if (stmt.kind == Stmt::Kind::filter_block) {
                    write(out, text_of(text));
                } else {
                    require_namespaces(*stmt.target);
                    assign(*stmt.target, text);
                    note_exported(stmt, *stmt.target);
                }
                return Flow::on;
            }
            case Stmt::Kind::with: {
                enter(stmt.scope);
                for (size_t i = 0; i < stmt.targets.size(); ++i)
                    assign(*stmt.targets[i], value(*stmt.expressions[i]));
                return body(stmt.body, out);
            }
            case Stmt::Kind::macro:
                held(stmt.slot) = macro(stmt);
                if (stmt.top_level) exported_[stmt.name] = held(stmt.slot);
                return Flow::on;
            case Stmt::Kind::call_block: {
                const Value caller = macro(stmt);
                write(out, text_of(called(*stmt.value, &caller)));
                return Flow::on;
            }
            case Stmt::Kind::generation: {
                Arguments none;
                write(out, text_of(call_macro(*stmt.macro, here_, none)));
                return Flow::on;
            }
            case Stmt::Kind::block: {
                const Running running(*this,
                                      std::make_shared<Activation>(nullptr, stmt.macro->slots));
                enter(stmt.macro->scope);
                body(stmt.macro->body, out);
                return Flow::on;
            }
            default:
                fail("'{}': there are no other templates to load", stmt.name);
        }
    }

    Value macro(const Stmt& stmt) {
        return std::shared_ptr<Object>(std::make_shared<Macro>(*this, *stmt.macro, here_));
    }

    Flow loop(const Stmt& stmt, Chars& out) {
        const Value all = value(*stmt.value);
        if (!stmt.recursive) return loop_over(stmt, all, 0, out);
        write(out, recursive(stmt, all, 0, here_).text()->chars);
        return Flow::on;
    }

    Value recursive(const Stmt& stmt, const Value& all, int depth, const ActivationPtr& outer) {
        const Deeper deeper(*this, 0);
        const Running running(*this, std::make_shared<Activation>(outer, stmt.slots));
        Chars out;
        loop_over(stmt, all, depth, out);
        return out;
    }

    // What a loop's condition lets through. Called while the loop runs, in its function.
    Next filtered_items(const Stmt& stmt, Next next) {
        enter(stmt.test_scope);
        return [this, &stmt, next = std::move(next), own = here_]() -> std::optional<Value> {
            const Running running(*this, own);
            while (auto item = next()) {
                assign(*stmt.test_target, *item);
                if (truth(value(*stmt.test))) return item;
            }
            return std::nullopt;
        };
    }

    Flow loop_over(const Stmt& stmt, const Value& all, int depth, Chars& out) {
        Next next = iterate(all);
        Value sized = all;
        if (stmt.test) {
            next = filtered_items(stmt, std::move(next));
            sized = Value();  // of no known length
        }
        const auto loop = std::make_shared<Loop>(sized, std::move(next), depth);
        if (stmt.recursive) {
            const ActivationPtr outer = here_->outer;
            loop->recurse = [this, &stmt, outer](const Value& inner, int deeper) {
                return recursive(stmt, inner, deeper, outer);
            };
        }
        bool otherwise = true;
        Flow flow = Flow::on;
        while (loop->advance()) {
            Meter::step();
            line_ = stmt.line;
            assign(*stmt.target, loop->current());
            if (stmt.loop_slot >= 0)
                here_->slots[static_cast<size_t>(stmt.loop_slot)] = std::shared_ptr<Object>(loop);
            enter(stmt.scope);
            flow = body(stmt.body, out);
            if (flow == Flow::leave) break;
            if (flow != Flow::skip) otherwise = false;  // as jinja2 has it: at the end of the body
        }
        if (stmt.loop_slot >= 0) here_->slots[static_cast<size_t>(stmt.loop_slot)] = Value();
        if (!otherwise || stmt.otherwise.empty()) return Flow::on;
        enter(stmt.else_scope);
        return body(stmt.otherwise, out);
    }

    // ---- expressions

    Value value(const Expr& expr) {
        const Deeper deeper(*this, expr.line);
        switch (expr.kind) {
            case Kind::constant:
                return expr.constant;
            case Kind::name: {
                const Value& value = held(expr.slot);
                return value.missing()
                           ? Value::undefined(fmt::format("'{}' is undefined", expr.name))
                           : value;
            }
            case Kind::attribute:
                return attribute_of(value(*expr.parts[0]), expr.constant.text()->chars);
            case Kind::item: {
                const Value container = value(*expr.parts[0]);
                return item_of(container, value(*expr.parts[1]));
            }
            case Kind::call:
                return called(expr, nullptr);
            case Kind::filter:
                return filtered(expr, nullptr);
            case Kind::test:
                return tested(expr);
            case Kind::compare:
                return compared(expr);
            case Kind::both: {
                Value left = value(*expr.parts[0]);
                return truth(left) ? value(*expr.parts[1]) : left;
            }
            case Kind::either: {
                Value left = value(*expr.parts[0]);
                return truth(left) ? left : value(*expr.parts[1]);
            }
            case Kind::negation:
                return Value::of(!truth(value(*expr.parts[0])));
            case Kind::condition:
                if (truth(value(*expr.parts[1]))) return value(*expr.parts[0]);
                if (expr.parts[2]) return value(*expr.parts[2]);
                return Value::undefined(
                    fmt::format("the inline if-expression on line {} evaluated to false and no "
                                "else section was defined",
                                expr.line));
            case Kind::arithmetic: {
                const Value left = value(*expr.parts[0]);
                return arithmetic(expr.name, left, value(*expr.parts[1]));
            }
            default:
                return made(expr);
        }
    }

    Value made(const Expr& expr) {
        switch (expr.kind) {
            case Kind::list:
            case Kind::tuple:
                return List(values(expr.parts), expr.kind == Kind::tuple);
            case Kind::dict: {
                Map map;
                for (size_t i = 0; i < expr.parts.size(); i += 2) {
                    Value key = value(*expr.parts[i]);
                    map.set(std::move(key), value(*expr.parts[i + 1]));
                }
                return map;
            }
            case Kind::slice: {
                const Value whole = value(*expr.parts[0]);
                Value bounds[3];
                for (size_t i = 0; i < 3; ++i)
                    bounds[i] = expr.parts[i + 1] ? value(*expr.parts[i + 1]) : None{};
                return slice_of(whole, bounds[0], bounds[1], bounds[2]);
            }
            case Kind::joined: {
                Chars text;
                for (const ExprPtr& part : expr.parts) {
                    text += text_of(value(*part));
                    Meter::allow(text.size(), sizeof(Char));
                }
                return text;
            }
            case Kind::negative:
                return negative(value(*expr.parts[0]));
            case Kind::positive: {
                const Value operand = value(*expr.parts[0]);
                require_defined(operand);
                if (const auto whole = operand.integer()) return Value::of(*whole);
                if (!operand.real())
                    fail("bad operand type for unary +: '{}'", operand.type_name());
                return operand;
            }
            default:
                fail("this cannot be evaluated");  // never
        }
    }

    Values values(const std::vector<ExprPtr>& parts) {
        Values values;
        values.reserve(parts.size());
        for (const ExprPtr& part : parts) values.push_back(value(*part));
        return values;
    }

    Value compared(const Expr& expr) {
        Value left = value(*expr.parts[0]);
        for (size_t i = 0; i < expr.words.size(); ++i) {
            Value right = value(*expr.parts[i + 1]);
            if (!holds(expr.words[i], left, right)) return Value::of(false);
            left = std::move(right);
        }
        return Value::of(true);
    }

    static bool holds(const std::string& sign, const Value& a, const Value& b) {
        if (sign == "==") return equal(a, b);
        if (sign == "!=") return !equal(a, b);
        if (sign == "in") return contains(b, a);
        if (sign == "not in") return !contains(b, a);
        if (sign == "<") return less(a, b, sign);
        if (sign == ">") return less(b, a, sign);
        // With a NaN neither holds.
        if (const auto x = a.number(), y = b.number(); x && y && (*x != *x || *y != *y))
            return false;
        return sign == "<=" ? !less(b, a, sign) : !less(a, b, sign);
    }

    Arguments arguments(const Expr& expr) {
        Arguments given;
        given.by_place = values(expr.arguments);
        for (const auto& [name, each] : expr.by_name)
            given.by_name.emplace_back(name, value(*each));
        if (expr.more_by_place)
            for (Value& each : values_of(value(*expr.more_by_place)))
                given.by_place.push_back(std::move(each));
        if (expr.more_by_name) {
            const Value more = value(*expr.more_by_name);
            if (!more.map()) fail("argument after ** must be a mapping, not {}", more.type_name());
            for (const auto& [key, each] : more.map()->items) {
                if (!key.text()) fail("keywords must be strings");
                std::string name = bytes_of(key.text()->chars);
                if (std::ranges::find(given.by_name, name, &std::pair<std::string, Value>::first) !=
                    given.by_name.end())
                    fail("got multiple values for keyword argument '{}'", printable(name));
                given.by_name.emplace_back(std::move(name), each);
            }
        }
        return given;
    }

    // Not inlined into value(), whose frames are many.
    [[gnu::noinline]] Value called(const Expr& expr, const Value* caller) {
        const Value function = value(*expr.parts[0]);
        Arguments given = arguments(expr);
        if (caller) given.by_name.emplace_back("caller", *caller);
        line_ = expr.line;
        return jinja::call(function, given);
    }

    [[gnu::noinline]] Value filtered(const Expr& expr, const Value* text) {
        const Deeper deeper(*this, expr.line);
        const Value input = expr.parts[0] ? expr.parts[0]->kind == Kind::filter
                                                ? filtered(*expr.parts[0], text)
                                                : value(*expr.parts[0])
                                          : *text;
        Arguments given = arguments(expr);
        line_ = expr.line;
        return apply_filter(expr.name, input, given);
    }

    [[gnu::noinline]] Value tested(const Expr& expr) {
        const Value input = value(*expr.parts[0]);
        Arguments given = arguments(expr);
        line_ = expr.line;
        return Value::of(apply_test(expr.name, input, given));
    }

    const Program& program_;
    const Value& variables_;
    const Limits& limits_;
    std::map<std::string, Value, std::less<>> globals_;
    std::map<std::string, Value, std::less<>> exported_;  // for blocks
    std::vector<ActivationPtr> kept_;
    ActivationPtr here_;
    int line_ = 1;
    int depth_ = 0;
};

Value Macro::call(Arguments& arguments) {
    return interpreter_.call_macro(body_, outer_, arguments);
}

Value Interpreter::call_macro(const MacroBody& macro, const ActivationPtr& outer,
                              Arguments& arguments) {
    const Deeper deeper(*this, 0);
    const int line = line_;
    auto activation = std::make_shared<Activation>(outer, macro.slots);
    const size_t count = macro.parameters.size();
    bool found_caller = arguments.by_place.size() >= count && macro.explicit_caller;
    const auto take = [&](std::string_view name) {
        const auto at =
            std::ranges::find(arguments.by_name, name, &std::pair<std::string, Value>::first);
        Value value;
        if (at == arguments.by_name.end()) return value;
        value = std::move(at->second);
        arguments.by_name.erase(at);
        return value;
    };
    const auto slot = [&](int index) -> Value& {
        return activation->slots[static_cast<size_t>(index)];
    };
    for (size_t i = 0; i < count; ++i) {
        const Parameter& parameter = macro.parameters[i];
        if (i < arguments.by_place.size()) {
            slot(parameter.slot) = arguments.by_place[i];
            continue;
        }
        if (parameter.name == "caller") found_caller = true;
        slot(parameter.slot) = take(parameter.name);
    }
    if (macro.caller >= 0 && !found_caller) {
        Value caller = take("caller");
        if (caller.missing() || caller.is_none()) caller = Value::undefined("No caller defined");
        slot(macro.caller) = std::move(caller);
    }
    if (macro.kwargs >= 0) {
        Map rest;
        for (auto& [name, value] : arguments.by_name)
            rest.set(Value(chars_of(name)), std::move(value));
        slot(macro.kwargs) = Value(std::move(rest));
    } else if (!arguments.by_name.empty()) {
        fail("macro '{}' takes no keyword argument '{}'", macro.name,
             printable(arguments.by_name[0].first));
    }
    if (macro.varargs >= 0) {
        Values rest;
        for (size_t i = count; i < arguments.by_place.size(); ++i)
            rest.push_back(arguments.by_place[i]);
        slot(macro.varargs) = Value(List(std::move(rest), true));
    } else if (arguments.by_place.size() > count) {
        fail("macro '{}' takes not more than {} argument(s)", macro.name, count);
    }
    const Running running(*this, std::move(activation));
    enter(macro.scope);
    for (const Parameter& parameter : macro.parameters) {
        Value& held = here_->slots[static_cast<size_t>(parameter.slot)];
        if (!held.missing()) continue;
        Value given =
            parameter.fallback
                ? value(*parameter.fallback)
                : Value::undefined(fmt::format("parameter '{}' was not provided", parameter.name));
        here_->slots[static_cast<size_t>(parameter.slot)] = std::move(given);
    }
    Chars out;
    body(macro.body, out);
    line_ = line;
    return out;
}

}  // namespace

Template::Template(std::string_view source) : program_(std::make_unique<Program>(parse(source))) {}
Template::Template(Template&&) noexcept = default;
Template& Template::operator=(Template&&) noexcept = default;
Template::~Template() = default;

std::vector<Piece> Template::render(const Value& variables, int64_t now,
                                    const Limits& limits) const {
    if (!variables.map()) fail("the variables of a template must be an object");
    std::vector<Piece> pieces;
    const Meter meter(limits);
    const Chars text = Interpreter(*program_, variables, now, limits).run();
    size_t bytes = 0;
    for (const Char c : text) {
        const bool markup = mark_of(c) == 0;
        if (pieces.empty() || pieces.back().markup != markup) {
            if (!pieces.empty()) bytes += pieces.back().text.size();
            if (bytes > limits.output) fail("the template makes more than {} bytes", limits.output);
            pieces.push_back({{}, markup});
        }
        append_bytes(pieces.back().text, c);
    }
    return pieces;
}

}  // namespace llmsql::jinja
