// SPDX-License-Identifier: MIT
// Running forward on paper: statements in, operators out. See lower.h.
#include "compiler/lower/lower.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "compiler/check/expressions.h"
#include "compiler/check/signature.h"
#include "compiler/model/instance.h"

namespace llmsql::compiler {
namespace {

/// What an expression comes to: a number or condition, or something that operators work on.
struct Tensor {
    int value = -1;
    Shape shape;
};
struct Parameter {
    int id = 0;         // catalogue id, of a table that of its first matrix
    int64_t count = 0;  // of a table: how many matrices
};
struct State {
    StateShape shape;
};
struct Tokens {};
struct Absent {};  // an optional parameter that the model lacks
using Item = std::variant<Scalar, Tensor, Parameter, State, Tokens, Absent>;

constexpr std::string_view kRows = "T";  // what shape rules call the number of tokens

struct Repetition {
    std::string block;
    int64_t index = 0;
};

class Lowering {
  public:
    Lowering(const Instance& instance, const ast::Graph& graph, Diagnostics& errors,
             int64_t context)
        : instance_(instance), graph_(graph), errors_(errors), context_(context) {}

    OpGraph run() {
        for (const auto& item : graph_.items)
            if (const auto* forward = std::get_if<ast::Forward>(&item)) {
                forward_ = forward;
            } else if (const auto* define = std::get_if<ast::Define>(&item)) {
                defines_.emplace(define->name.text, define);
            }
        try {
            statements(forward_->body);
        } catch (const EvalError& error) {
            errors_.error(error.at,
                          layer_ < 0 ? error.message
                                     : fmt::format("{} (in repetition {})", error.message, layer_));
            return {};
        }
        return std::move(made_);
    }

  private:
    void statements(const std::vector<ast::Statement>& body) {
        for (const ast::Statement& statement : body) {
            switch (statement.kind) {
                case ast::Statement::Kind::assign:
                    assign(statement);
                    break;
                case ast::Statement::Kind::loop:
                    loop(statement);
                    break;
                case ast::Statement::Kind::branch:
                    branch(statement);
                    break;
                case ast::Statement::Kind::give:
                    made_.output = std::get<Tensor>(item_of(*statement.value)).value;
                    break;
            }
        }
    }

    void assign(const ast::Statement& statement) {
        Item item = item_of(*statement.value);
        if (const Tensor* tensor = std::get_if<Tensor>(&item)) {
            std::string& name = made_.values[static_cast<size_t>(tensor->value)].name;
            if (name.empty()) name = statement.name.text;
        }
        variables_.insert_or_assign(statement.name.text, std::move(item));
    }

    void loop(const ast::Statement& statement) {
        const int outer = layer_;
        const std::string& block = statement.block.text;
        for (int64_t i = 0; i < instance_.blocks.at(block).count; ++i) {
            loops_[statement.name.text] = {block, i};
            layer_ = static_cast<int>(i);
            statements(statement.arms.front().body);
        }
        loops_.erase(statement.name.text);
        layer_ = outer;
    }

    void branch(const ast::Statement& statement) {
        for (const ast::Arm& arm : statement.arms) {
            if (arm.condition && !truth_of(*arm.condition, scalar_of(*arm.condition))) continue;
            statements(arm.body);
            return;
        }
    }

    Scalar scalar_of(const ast::Expr& expr) { return std::get<Scalar>(item_of(expr)); }

    Item item_of(const ast::Expr& expr) {
        switch (expr.kind) {
            case ast::Expr::Kind::number:
                return Scalar(expr.number);
            case ast::Expr::Kind::truth:
                return Scalar(expr.number != 0);
            case ast::Expr::Kind::name:
                return named(expr);
            case ast::Expr::Kind::member:
                return member(expr);
            case ast::Expr::Kind::call:
                return call(expr);
            case ast::Expr::Kind::unary:
                return apply_unary(expr, scalar_of(expr.operands[0]));
            case ast::Expr::Kind::binary:
                return binary(expr);
            case ast::Expr::Kind::conditional:
                return item_of(
                    expr.operands[truth_of(expr.operands[0], scalar_of(expr.operands[0])) ? 1 : 2]);
            case ast::Expr::Kind::text:
                break;
        }
        throw EvalError{expr.at, "a text can only stand in an annotation"};
    }

    Item parameter(const std::string& name) const {
        if (const auto state = instance_.states.find(name); state != instance_.states.end())
            return State{state->second};
        const auto found = instance_.ids.find(name);
        if (found == instance_.ids.end()) return Absent{};
        const auto table = instance_.tables.find(name);
        return Parameter{found->second, table == instance_.tables.end() ? 0 : table->second};
    }

    Item named(const ast::Expr& expr) {
        if (const auto found = variables_.find(expr.text); found != variables_.end())
            return found->second;
        if (expr.text == forward_->tokens.text) return Tokens{};
        if (const auto found = instance_.scalars.find(expr.text); found != instance_.scalars.end())
            return found->second;
        if (expr.text == kContextName && !instance_.ids.contains(expr.text))
            return Scalar(static_cast<double>(context_));
        return parameter(expr.text);
    }

    Item member(const ast::Expr& expr) {
        const Repetition& repetition = loops_.at(expr.text);
        if (expr.field == "index") return Scalar(static_cast<double>(repetition.index));
        const BlockInstance& block = instance_.blocks.at(repetition.block);
        const auto& lets = block.lets[static_cast<size_t>(repetition.index)];
        if (const auto found = lets.find(expr.field); found != lets.end()) return found->second;
        return parameter(full_name(repetition.block, repetition.index, expr.field));
    }

    Item call(const ast::Expr& expr) {
        if (arguments_of_function(expr.text) > 0) {
            std::vector<Scalar> operands;
            for (const ast::Expr& operand : expr.operands) operands.push_back(scalar_of(operand));
            return apply_function(expr, operands);
        }
        if (expr.text == "has") {
            const ast::Expr& name = expr.operands[0];
            if (name.kind == ast::Expr::Kind::name) return Scalar(instance_.has(name.text));
            const Repetition& repetition = loops_.at(name.text);
            return Scalar(instance_.has(full_name(repetition.block, repetition.index, name.field)));
        }
        if (const auto found = defines_.find(expr.text); found != defines_.end())
            return defined(*found->second, expr);
        const Operator& op = *find_operator(expr.text);
        const std::vector<int> matched = match_arguments(op, expr, errors_).value();
        std::vector<Item> items(matched.size(), Absent{});
        for (size_t i = 0; i < matched.size(); ++i)
            if (matched[i] >= 0) items[i] = item_of(expr.operands[static_cast<size_t>(matched[i])]);
        return apply(op, expr, std::move(items));
    }

    /// The body of a definition, whose parameters stand for what they are given.
    Item defined(const ast::Define& define, const ast::Expr& expr) {
        std::map<std::string, Item> variables;
        std::map<std::string, Repetition> loops;
        for (size_t i = 0; i < define.parameters.size(); ++i) {
            const ast::Expr& argument = expr.operands[i];
            const std::string& name = define.parameters[i].text;
            const auto loop =
                argument.kind == ast::Expr::Kind::name ? loops_.find(argument.text) : loops_.end();
            if (loop != loops_.end())
                loops[name] = loop->second;
            else
                variables.insert_or_assign(name, item_of(argument));
        }
        variables_.swap(variables);
        loops_.swap(loops);
        Item item = item_of(define.body);
        variables_.swap(variables);
        loops_.swap(loops);
        return item;
    }

    Item binary(const ast::Expr& expr) {
        Item left = item_of(expr.operands[0]);
        if (const Scalar* scalar = std::get_if<Scalar>(&left)) {
            if (expr.text == "&&" && !truth_of(expr.operands[0], *scalar)) return Scalar(false);
            if (expr.text == "||" && truth_of(expr.operands[0], *scalar)) return Scalar(true);
        }
        Item right = item_of(expr.operands[1]);
        const Scalar* a = std::get_if<Scalar>(&left);
        const Scalar* b = std::get_if<Scalar>(&right);
        if (a && b) return apply_binary(expr, *a, *b);
        const bool vectors =
            std::holds_alternative<Parameter>(left) || std::holds_alternative<Parameter>(right);
        InfixOperand second = a || b    ? InfixOperand::number
                              : vectors ? InfixOperand::vector
                                        : InfixOperand::tensor;
        bool turned = a || std::holds_alternative<Parameter>(left);  // number * tensor
        if (second == InfixOperand::tensor && shape_of(left) != shape_of(right)) {
            second = InfixOperand::column;
            turned = shape_of(left).back() == Dimension::constant(1);
        }
        if (turned) std::swap(left, right);
        std::vector<Item> operands;
        operands.push_back(std::move(left));
        operands.push_back(std::move(right));
        const Operator* op = find_infix(expr.text, second);
        if (op == nullptr)
            throw EvalError{expr.at, fmt::format("'{}' does not work on {} and {}", expr.text,
                                                 shape_text(shape_of(operands[0])),
                                                 shape_text(shape_of(operands[1])))};
        return apply(*op, expr, std::move(operands));
    }

    Shape shape_of(const Item& item) const {
        if (const Tensor* tensor = std::get_if<Tensor>(&item)) return tensor->shape;
        if (std::holds_alternative<Tokens>(item)) return {count()};
        if (const State* state = std::get_if<State>(&item)) return shape_of(state->shape);
        const auto& [id, count] = std::get<Parameter>(item);
        const ParamShape& shape = instance_.params[static_cast<size_t>(id - 1)].shape;
        if (count > 0)
            return {Dimension::constant(count), Dimension::constant(*shape.rows),
                    Dimension::constant(shape.cols)};
        if (shape.is_vector()) return {Dimension::constant(shape.cols)};
        return {Dimension::constant(*shape.rows), Dimension::constant(shape.cols)};
    }

    static Shape shape_of(const StateShape& state) {
        Shape shape{Dimension::constant(state.heads), Dimension::constant(state.rows),
                    Dimension::constant(state.width)};
        shape.erase(shape.begin(), shape.end() - state.dimensions);
        return shape;
    }

    /// The number of a state, which the graph has from its first use on.
    int number_of_state(const StateShape& shape) {
        const auto found = std::ranges::find(made_.states, shape);
        if (found == made_.states.end()) made_.states.push_back(shape);
        return static_cast<int>(std::ranges::find(made_.states, shape) - made_.states.begin());
    }

    Dimension count() const { return Dimension::named(forward_->count.text, -1); }

    Tensor apply(const Operator& op, const ast::Expr& expr, std::vector<Item> items) {
        const Signature& signature = signature_of(op);
        std::vector<Operand> operands(items.size());
        for (size_t i = 0; i < items.size(); ++i) {
            if (std::holds_alternative<Absent>(items[i])) continue;
            operands[i].given = true;
            if (const Scalar* scalar = std::get_if<Scalar>(&items[i])) {
                const double number = number_of(expr, *scalar);
                if (std::abs(number) < 0x1p53 && number == std::floor(number))
                    operands[i].number = Dimension::constant(static_cast<int64_t>(number));
            } else {
                operands[i].shape = shape_of(items[i]);
            }
        }
        Inference inferred = infer(op, operands);
        if (inferred.failed >= 0)
            throw EvalError{expr.at, fmt::format("{}: {}", op.name, inferred.message)};
        Op made;
        made.op = &op;
        made.layer = layer_;
        for (size_t i = 0; i < items.size(); ++i) {
            const SignatureParam& param = signature.params[i];
            if (param.kind == SignatureParam::Kind::number && !operands[i].given) {
                items[i] = evaluate(*param.default_value, [&](const ast::Expr& name) -> Scalar {
                    return static_cast<double>(inferred.dims.at(name.text).whole().value_or(0));
                });
            }
            if (const Tensor* tensor = std::get_if<Tensor>(&items[i])) {
                made.args.emplace_back(ValueRef{tensor->value});
            } else if (const Parameter* parameter = std::get_if<Parameter>(&items[i])) {
                made.args.emplace_back(ParamRef{
                    parameter->id, static_cast<int>(std::max<int64_t>(1, parameter->count))});
            } else if (const State* state = std::get_if<State>(&items[i])) {
                made.args.emplace_back(StateRef{number_of_state(state->shape)});
            } else if (std::holds_alternative<Tokens>(items[i])) {
                made.args.emplace_back(TokensRef{});
            } else if (const Scalar* scalar = std::get_if<Scalar>(&items[i])) {
                made.args.emplace_back(number_of(expr, *scalar));
            } else {
                made.args.emplace_back(AbsentRef{});
            }
        }
        while (std::holds_alternative<AbsentRef>(made.args.back())) made.args.pop_back();
        Value value;
        const std::vector<int64_t> sizes = whole_sizes(op, expr, inferred.result);
        value.width = sizes.back();
        value.choices = choices_of(op, expr, made, inferred);
        if (sizes.size() == 2 && value.choices == 1) value.heads = sizes.front();
        check_numbers(op, expr, made, inferred);
        made.result = static_cast<int>(made_.values.size());
        made_.values.push_back(std::move(value));
        made_.ops.push_back(std::move(made));
        return {made_.ops.back().result, std::move(inferred.result)};
    }

    /// The operators that make rows for choices.
    static std::string makers() {
        std::string names;
        for (const Operator& op : operators())
            if (op.choices == Choices::made && op.locality == Locality::choice)
                names += fmt::format("{}{}", names.empty() ? "" : " or ", op.name);
        return names;
    }

    /// How many rows a token the result has. Rows for choices lie one below the other, heads side
    /// by side, so the two do not go together even where their shapes are alike.
    int64_t choices_of(const Operator& op, const ast::Expr& expr, const Op& made,
                       const Inference& inferred) const {
        std::vector<int64_t> given;
        for (const Arg& arg : made.args)
            if (const ValueRef* value = std::get_if<ValueRef>(&arg))
                given.push_back(made_.values[static_cast<size_t>(value->id)].choices);
        const bool any = std::ranges::any_of(given, [](int64_t choices) { return choices > 1; });
        if (op.locality == Locality::choice) {
            const int64_t used = inferred.dims.at("u").whole().value_or(1);
            const bool sums = op.choices == Choices::summed;
            if ((sums ? given[0] : used) != used || given[1] != 1 || (!sums && given[0] != 1))
                throw EvalError{expr.at, fmt::format("{}: what it takes must {}come from {}",
                                                     op.name, sums ? "" : "not ", makers())};
            return sums ? 1 : used;
        }
        if (!any) return 1;
        // It adds to rows for choices what goes by the tokens' choices.
        if (op.choices == Choices::made && given[0] > 1 &&
            std::ranges::all_of(given.begin() + 1, given.end(), [](int64_t n) { return n == 1; }))
            return given[0];
        const bool alike = std::ranges::all_of(given, [&](int64_t n) { return n == given[0]; });
        if (!alike || sees_more_than_its_row(op) ||
            (op.locality != Locality::element && op.locality != Locality::head))
            throw EvalError{
                expr.at,
                fmt::format("{} does not work on what {} makes, which has a row for each choice{}",
                            op.name, makers(), alike ? "" : ", together with what has none")};
        return given[0];
    }

    /// The dimensions after T, as numbers.
    std::vector<int64_t> whole_sizes(const Operator& op, const ast::Expr& expr,
                                     const Shape& shape) const {
        std::vector<int64_t> sizes;
        for (size_t i = 1; i < shape.size(); ++i) {
            const std::optional<int64_t> size = shape[i].whole();
            if (!size || *size < 1)
                throw EvalError{expr.at,
                                fmt::format("{} would give {}: its dimensions must be whole "
                                            "numbers of at least 1",
                                            op.name, shape_text(shape))};
            sizes.push_back(*size);
        }
        return sizes;
    }

    static bool fits(DimensionRule::Kind kind, int64_t a, int64_t b, int64_t c) {
        switch (kind) {
            case DimensionRule::Kind::multiple:
                return b > 0 && a % b == 0;
            case DimensionRule::Kind::at_most:
                return a <= b;
            case DimensionRule::Kind::pairs:
                return a >= 0 && a <= b && (a == 0 ? b : a) % 2 == 0;
            case DimensionRule::Kind::within:
                return a >= 0 && b >= 0 && a <= c && b <= c - a;
            case DimensionRule::Kind::sum:
                return a == b + c;
            case DimensionRule::Kind::ordered:  // which are no dimensions
            case DimensionRule::Kind::none:
                break;
        }
        return true;
    }

    /// What an operator needs of its numbers beyond its shape rule.
    static void check_numbers(const Operator& op, const ast::Expr& expr, const Op& made,
                              const Inference& inferred) {
        for (const auto& [name, size] : inferred.dims)
            if (name != kRows && !size.whole())
                throw EvalError{expr.at, fmt::format("{}: {} would be {}, no whole number, by {}",
                                                     op.name, name, size.text(), op.signature)};
        for (const auto& arg : made.args)
            if (const double* number = std::get_if<double>(&arg);
                number != nullptr && !std::isfinite(static_cast<float>(*number)))
                throw EvalError{expr.at, fmt::format("{}: {} is beyond what f32 holds", op.name,
                                                     number_text(*number))};
        if (const DimensionRule& rule = op.dimensions; rule.kind == DimensionRule::Kind::ordered) {
            const double a = made.number(rule.a), b = made.number(rule.b);
            if (static_cast<float>(a) > static_cast<float>(b))
                throw EvalError{expr.at, fmt::format("{}: {}", op.name,
                                                     fmt::format(fmt::runtime(rule.otherwise),
                                                                 number_text(a), number_text(b)))};
        } else if (rule.kind != DimensionRule::Kind::none) {
            const auto size = [&](std::string_view name) {
                const auto found = inferred.dims.find(std::string(name));
                if (found != inferred.dims.end()) return found->second.whole().value_or(1);
                const double number = made.number(name);
                return std::abs(number) < 0x1p53 ? static_cast<int64_t>(number) : int64_t{-1};
            };
            const int64_t a = size(rule.a), b = size(rule.b), c = rule.c.empty() ? 0 : size(rule.c);
            if (!fits(rule.kind, a, b, c))
                throw EvalError{expr.at,
                                fmt::format("{}: {}", op.name,
                                            fmt::format(fmt::runtime(rule.otherwise), a, b, c))};
        }
        for (const NumberRule& rule : op.numbers) {
            if (rule.name.empty()) continue;
            const auto dimension = inferred.dims.find(std::string(rule.name));
            const double number = dimension == inferred.dims.end()
                                      ? made.number(rule.name)
                                      : static_cast<double>(dimension->second.whole().value_or(1));
            const double ranged = rule.magnitude ? std::abs(number) : number;
            const bool in_range =
                (rule.above ? static_cast<float>(ranged) > rule.least : ranged >= rule.least) &&
                ranged <= rule.most;
            if (!in_range || (rule.whole && (number != std::floor(number) || number >= 0x1p31)))
                throw EvalError{expr.at, fmt::format("{}: {} must be {}, not {}", op.name,
                                                     rule.name, rule.must_be, number_text(number))};
        }
    }

    const Instance& instance_;
    const ast::Graph& graph_;
    Diagnostics& errors_;
    const int64_t context_;
    const ast::Forward* forward_ = nullptr;
    OpGraph made_;
    std::map<std::string, const ast::Define*> defines_;
    std::map<std::string, Item> variables_;
    std::map<std::string, Repetition> loops_;
    int layer_ = -1;
};

}  // namespace

OpGraph lower(const ast::Graph& graph, const Model& model, Diagnostics& errors, int64_t context) {
    std::set<std::string> names;
    for (const Param& param : model.params) names.insert(param.name);
    const Given given{model.numbers,
                      [&](const Param& param) { return names.contains(param.name); }};
    const Instance instance =
        instantiate(graph, given,
                    [&](Position at, const std::vector<std::string>&, const std::string& message) {
                        errors.error(at, message);
                    });
    if (!errors.empty()) return {};
    return Lowering(instance, graph, errors, context).run();
}

}  // namespace llmsql::compiler
