// SPDX-License-Identifier: MIT
// Checking expressions. See expressions.h.
#include "compiler/check/expressions.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "compiler/check/scalar.h"

namespace llmsql::compiler {
namespace {

using Kind = Type::Kind;

std::string quoted_shape(const Type& type) {
    return shape_text(type.shape);
}

std::vector<std::string> visible_names(const Scope& scope) {
    std::vector<std::string> names;
    for (const auto& [name, symbol] : scope.variables) names.push_back(name);
    for (const auto& [name, block] : scope.loops) names.push_back(name);
    if (scope.inside != nullptr) {
        names.push_back("index");
        for (const auto& [name, symbol] : scope.inside->members) names.push_back(name);
    }
    for (const auto& [name, symbol] : scope.globals) names.push_back(name);
    return names;
}

}  // namespace

std::string describe(const Type& type) {
    switch (type.kind) {
        case Kind::number:
            return "a number";
        case Kind::truth:
            return "true or false";
        case Kind::tensor:
            return "a tensor " + quoted_shape(type);
        case Kind::param:
            return "a parameter " + quoted_shape(type);
        case Kind::state:
            return "a state " + quoted_shape(type);
        case Kind::tokens:
            return "the tokens";
        case Kind::unknown:
            break;
    }
    return "unknown";
}

namespace {

/// A condition without what merely turns it round: `!a`, and `a != b`, which is `a == b` that does
/// not hold.
struct Plain {
    ast::Expr condition;
    bool outcome;
};

Plain plain(const ast::Expr& condition, bool outcome) {
    if (condition.kind == ast::Expr::Kind::unary && condition.text == "!")
        return plain(condition.operands[0], !outcome);
    Plain made{condition, outcome};
    if (condition.kind == ast::Expr::Kind::binary && condition.text == "!=") {
        made.condition.text = "==";
        made.outcome = !outcome;
    }
    return made;
}

/// Whether a condition is `outcome` only where both of its operands are.
bool needs_both(const Plain& each) {
    return each.condition.kind == ast::Expr::Kind::binary &&
           each.condition.text == (each.outcome ? "&&" : "||");
}

/// And whether it is where one of them is.
bool needs_one(const Plain& each) {
    return each.condition.kind == ast::Expr::Kind::binary &&
           each.condition.text == (each.outcome ? "||" : "&&");
}

std::string fact(const Plain& each) {
    return fmt::format("{}{}", each.outcome ? "" : "!", to_text(each.condition));
}

}  // namespace

std::set<std::string> facts_of(const ast::Expr& condition, bool outcome) {
    const Plain each = plain(condition, outcome);
    std::set<std::string> facts{fact(each)};
    if (needs_both(each))
        for (const ast::Expr& operand : each.condition.operands)
            facts.merge(facts_of(operand, each.outcome));
    return facts;
}

bool follows(const ast::Expr& condition, bool outcome, const std::set<std::string>& facts) {
    const Plain each = plain(condition, outcome);
    if (facts.contains(fact(each))) return true;
    const auto known = [&](const ast::Expr& operand) {
        return follows(operand, each.outcome, facts);
    };
    if (needs_both(each)) return std::ranges::all_of(each.condition.operands, known);
    return needs_one(each) && std::ranges::any_of(each.condition.operands, known);
}

std::optional<Type> merged(const Type& a, const Type& b) {
    if (a.kind == Kind::unknown || b.kind == Kind::unknown) return Type{};
    if (a.kind != b.kind || a.shape != b.shape) return std::nullopt;
    Type both = a;
    if (a.dim != b.dim) both.dim.reset();
    both.may_be_absent = a.may_be_absent || b.may_be_absent;
    return both;
}

Type ExpressionChecker::error(Position at, std::string message) {
    errors_.error(at, std::move(message));
    return {};
}

Type ExpressionChecker::check(const ast::Expr& expr, const Scope& scope) {
    switch (expr.kind) {
        case ast::Expr::Kind::number: {
            const bool whole = expr.number == std::floor(expr.number) && expr.number < 0x1p53;
            return whole ? Type::number(Dimension::constant(static_cast<int64_t>(expr.number)))
                         : Type::number();
        }
        case ast::Expr::Kind::text:
            return error(expr.at, "a text can only stand in an annotation");
        case ast::Expr::Kind::truth:
            return Type::truth();
        case ast::Expr::Kind::name:
            return check_name(expr, scope);
        case ast::Expr::Kind::member:
            return check_member(expr, scope);
        case ast::Expr::Kind::call:
            return check_call(expr, scope);
        case ast::Expr::Kind::unary: {
            if (expr.text == "!") {
                need_truth(expr.operands[0], scope);
                return Type::truth();
            }
            const Type operand = check(expr.operands[0], scope);
            if (operand.kind == Kind::unknown) return {};
            if (operand.kind != Kind::number)
                return error(expr.at, fmt::format("'-' takes a number, not {}", describe(operand)));
            return Type::number(operand.dim ? Dimension::constant(0) - *operand.dim : std::nullopt);
        }
        case ast::Expr::Kind::binary:
            return check_binary(expr, scope);
        case ast::Expr::Kind::conditional:
            return check_conditional(expr, scope);
    }
    return {};
}

std::optional<Dimension> ExpressionChecker::dimension(const ast::Expr& expr, const Scope& scope) {
    const Type type = check(expr, scope);
    if (type.kind == Kind::unknown) return std::nullopt;
    if (type.kind == Kind::number && type.dim) return type.dim;
    error(expr.at, fmt::format("a dimension is made of dims and whole numbers with + - * and /; {} "
                               "is not",
                               bare_text(expr)));
    return std::nullopt;
}

void ExpressionChecker::need_number(const ast::Expr& expr, const Scope& scope) {
    const Type type = check(expr, scope);
    if (type.kind != Kind::number && type.kind != Kind::unknown)
        error(expr.at, fmt::format("a number is needed here, not {}", describe(type)));
}

void ExpressionChecker::need_truth(const ast::Expr& expr, const Scope& scope) {
    const Type type = check(expr, scope);
    if (type.kind != Kind::truth && type.kind != Kind::unknown)
        error(expr.at, fmt::format("true or false is needed here, not {}", describe(type)));
}

Type ExpressionChecker::unknown_name(const ast::Expr& expr, const Scope& scope) {
    const std::string& name = expr.text;
    if (const auto found = scope.uncertain.find(name); found != scope.uncertain.end())
        return error(expr.at, fmt::format("'{}' may not be assigned here: the 'if' in line {} "
                                          "assigns it on some ways only",
                                          name, found->second.line));
    if (const auto found = scope.later.find(name); found != scope.later.end())
        return error(expr.at, fmt::format("'{}' is declared later, in line {}; only earlier names "
                                          "can be used here",
                                          name, found->second.line));
    if (scope.loops.contains(name))
        return error(expr.at, fmt::format("'{}' stands for one repetition of block '{}'; write {}."
                                          "NAME for what is in it",
                                          name, scope.loops.at(name), name));
    if (scope.blocks.contains(name))
        return error(expr.at,
                     fmt::format("'{}' is a block; `for l in {}` runs through it", name, name));
    if (scope.in_forward)
        for (const auto& [block, symbols] : scope.blocks)
            if (symbols.members.contains(name))
                return error(expr.at, fmt::format("'{}' is in block '{}': write l.{} in a "
                                                  "`for l in {}`",
                                                  name, block, name, block));
    return error(expr.at,
                 fmt::format("unknown name '{}'{}", name, suggestion(name, visible_names(scope))));
}

Type ExpressionChecker::check_name(const ast::Expr& expr, const Scope& scope) {
    const auto seen = [&](const Named& symbol) { return seen_as(symbol, expr, {}, scope); };
    if (const auto found = scope.variables.find(expr.text); found != scope.variables.end())
        return seen(found->second);
    if (scope.inside != nullptr) {
        if (expr.text == "index") return Type::number();
        const auto found = scope.inside->members.find(expr.text);
        if (found != scope.inside->members.end()) return seen(found->second);
    }
    if (const auto found = scope.globals.find(expr.text); found != scope.globals.end()) {
        const bool tracked =
            found->second.type.kind == Kind::param || found->second.type.kind == Kind::state;
        if (tracked && scope.in_forward) used_.insert(expr.text);
        return seen(found->second);
    }
    if (scope.in_forward && expr.text == kContextName && !scope.uncertain.contains(expr.text))
        return Type::number();
    return unknown_name(expr, scope);
}

Type ExpressionChecker::check_member(const ast::Expr& expr, const Scope& scope) {
    const auto loop = scope.loops.find(expr.text);
    if (loop == scope.loops.end()) {
        if (scope.blocks.contains(expr.text))
            return error(expr.at, fmt::format("'{}' is a block; run through it with `for l in {}` "
                                              "and write l.{}",
                                              expr.text, expr.text, expr.field));
        if (scope.variables.contains(expr.text) || scope.globals.contains(expr.text))
            return error(expr.at, fmt::format("'{}' has no members; only the variable of a `for` "
                                              "has",
                                              expr.text));
        std::vector<std::string> names;
        for (const auto& [name, block] : scope.loops) names.push_back(name);
        return error(expr.at,
                     fmt::format("unknown name '{}'{}", expr.text, suggestion(expr.text, names)));
    }
    if (expr.field == "index") return Type::number();
    const auto block = scope.blocks.find(loop->second);
    if (block == scope.blocks.end()) return {};  // reported with the `for`
    const auto found = block->second.members.find(expr.field);
    if (found == block->second.members.end()) {
        std::vector<std::string> names{"index"};
        for (const auto& [name, symbol] : block->second.members) names.push_back(name);
        return error(expr.at, fmt::format("block '{}' has no '{}'{}", loop->second, expr.field,
                                          suggestion(expr.field, names)));
    }
    if (found->second.type.kind == Kind::param || found->second.type.kind == Kind::state)
        used_.insert(loop->second + "." + expr.field);
    return seen_as(found->second, expr, block->second.members, scope);
}

namespace {

/// An expression of a block's declarations as forward writes it: `index` and members behind the
/// loop's variable.
ast::Expr in_loop(ast::Expr expr, const std::string& variable,
                  const std::map<std::string, Named>& members) {
    if (expr.kind == ast::Expr::Kind::name &&
        (expr.text == "index" || members.contains(expr.text))) {
        expr.kind = ast::Expr::Kind::member;
        expr.field = expr.text;
        expr.text = variable;
    }
    for (ast::Expr& operand : expr.operands)
        operand = in_loop(std::move(operand), variable, members);
    return expr;
}

}  // namespace

Type ExpressionChecker::seen_as(const Named& symbol, const ast::Expr& expr,
                                const std::map<std::string, Named>& members,
                                const Scope& scope) const {
    Type type = symbol.type;
    if (type.kind != Kind::param || !type.may_be_absent) return type;
    if (scope.facts.contains(fmt::format("has({})", to_text(expr)))) type.may_be_absent = false;
    if (!symbol.when) return type;
    const ast::Expr when = in_loop(*symbol.when, expr.text, members);
    type.when = bare_text(when);
    if (type.may_be_absent && !symbol.optional && follows(when, true, scope.facts))
        type.may_be_absent = false;
    return type;
}

bool ExpressionChecker::expect_arguments(const ast::Expr& expr, size_t count) {
    const bool named = std::ranges::any_of(
        expr.labels, [](const ast::Name& label) { return !label.text.empty(); });
    if (expr.operands.size() == count && !named) return true;
    error(expr.at,
          fmt::format("{} takes {} without a name, not {}", expr.text,
                      count == 1 ? "one argument" : fmt::format("{} arguments", count),
                      expr.operands.size() == count ? "a named one"
                                                    : std::to_string(expr.operands.size())));
    return false;
}

Type ExpressionChecker::check_call(const ast::Expr& expr, const Scope& scope) {
    if (const size_t takes = arguments_of_function(expr.text); takes > 0) {
        if (expect_arguments(expr, takes))
            for (const ast::Expr& operand : expr.operands) need_number(operand, scope);
        return Type::number();
    }
    if (expr.text == "has") return check_has(expr, scope);
    if (const auto found = scope.defines.find(expr.text); found != scope.defines.end())
        return check_defined(*found->second, expr, scope);
    const Operator* op = find_operator(expr.text);
    if (op == nullptr) {
        std::vector<std::string> names{"sqrt", "log", "floor", "ceil", "pow", "min", "max", "has"};
        for (const Operator& each : operators())
            if (!each.name.empty()) names.emplace_back(each.name);
        for (const auto& [name, define] : scope.defines) names.push_back(name);
        return error(expr.at, fmt::format("there is no operator '{}'{}", expr.text,
                                          suggestion(expr.text, names)));
    }
    if (!scope.in_forward)
        return error(expr.at, fmt::format("{} works on tensors, and there are none outside forward",
                                          expr.text));
    return check_operator(*op, expr, scope);
}

/// The body, with what it is given under the names of its parameters: tensors, numbers, or the
/// repetition of a loop.
Type ExpressionChecker::check_defined(const ast::Define& define, const ast::Expr& expr,
                                      const Scope& scope) {
    constexpr int kMost = 10000;
    if (!expect_arguments(expr, define.parameters.size())) return {};
    if (++defined_ > kMost)
        return error(expr.at, fmt::format("the definitions come to more than {} calls", kMost));
    Scope inner = scope;
    inner.variables.clear();
    inner.uncertain.clear();
    inner.loops.clear();
    // It knows what was defined before it, so that none comes to itself.
    std::erase_if(inner.defines,
                  [&](const auto& each) { return !(each.second->name.at < define.name.at); });
    for (size_t i = 0; i < define.parameters.size(); ++i) {
        const ast::Expr& argument = expr.operands[i];
        const ast::Name& parameter = define.parameters[i];
        const auto loop = argument.kind == ast::Expr::Kind::name ? scope.loops.find(argument.text)
                                                                 : scope.loops.end();
        if (loop != scope.loops.end())
            inner.loops[parameter.text] = loop->second;
        else
            inner.variables.insert_or_assign(
                parameter.text, Named{check(argument, scope), argument.at, "parameter"});
    }
    return check(define.body, inner);
}

Type ExpressionChecker::check_has(const ast::Expr& expr, const Scope& scope) {
    if (!expect_arguments(expr, 1)) return Type::truth();
    const ast::Expr& operand = expr.operands[0];
    const bool is_path =
        operand.kind == ast::Expr::Kind::name || operand.kind == ast::Expr::Kind::member;
    const bool variable =
        operand.kind == ast::Expr::Kind::name && scope.variables.contains(operand.text);
    if (!is_path || variable) {
        error(operand.at, "has() takes the name of a parameter");
        return Type::truth();
    }
    const Type type = check(operand, scope);
    if (type.kind != Kind::unknown && type.kind != Kind::param)
        error(operand.at, fmt::format("has() takes a parameter, not {}", describe(type)));
    return Type::truth();
}

Type ExpressionChecker::check_operator(const Operator& op, const ast::Expr& expr,
                                       const Scope& scope) {
    const std::optional<std::vector<int>> matched = match_arguments(op, expr, errors_);
    if (!matched) {
        for (const ast::Expr& operand : expr.operands) check(operand, scope);
        return {};
    }
    const Signature& signature = signature_of(op);
    std::vector<Operand> operands(signature.params.size());
    bool sound = true;
    for (size_t i = 0; i < signature.params.size(); ++i) {
        if ((*matched)[i] < 0) continue;
        const SignatureParam& param = signature.params[i];
        const ast::Expr& argument = expr.operands[static_cast<size_t>((*matched)[i])];
        Type type = check(argument, scope);
        using Needed = SignatureParam::Kind;
        const Kind needed = param.kind == Needed::tensor   ? Kind::tensor
                            : param.kind == Needed::param  ? Kind::param
                            : param.kind == Needed::state  ? Kind::state
                            : param.kind == Needed::tokens ? Kind::tokens
                                                           : Kind::number;
        if (type.kind == Kind::unknown) {
            sound = false;
        } else if (type.kind != needed) {
            const char* wanted = needed == Kind::tensor   ? "a tensor"
                                 : needed == Kind::param  ? "a parameter"
                                 : needed == Kind::state  ? "a state"
                                 : needed == Kind::tokens ? "the tokens"
                                                          : "a number";
            error(argument.at, fmt::format("{}: {} must be {}, not {}", op.name, param.name, wanted,
                                           describe(type)));
            sound = false;
        } else if (type.may_be_absent && !param.optional) {
            error(argument.at,
                  type.when.empty()
                      ? fmt::format("{}: {} is needed, but {} is optional; ask has({}) first",
                                    op.name, param.name, to_text(argument), to_text(argument))
                      : fmt::format("{}: {} is needed, but {} is there only when {}: ask that, "
                                    "or has({}), first",
                                    op.name, param.name, to_text(argument), type.when,
                                    to_text(argument)));
            sound = false;
        }
        operands[i] = {true, std::move(type.shape), std::move(type.dim)};
    }
    if (!sound) return {};
    Inference inferred = infer(op, operands);
    if (inferred.failed >= 0) {
        const int index = (*matched)[static_cast<size_t>(inferred.failed)];
        const Position at = index < 0 ? expr.at : expr.operands[static_cast<size_t>(index)].at;
        error(at, fmt::format("{}: {}", op.name, inferred.message));
        if (inferred.result.empty()) return {};
    }
    return Type::tensor(std::move(inferred.result));
}

Type ExpressionChecker::check_binary(const ast::Expr& expr, const Scope& scope) {
    const std::string& op = expr.text;
    if (op == "&&" || op == "||") {
        need_truth(expr.operands[0], scope);
        Scope inner = scope;
        inner.facts.merge(facts_of(expr.operands[0], op == "&&"));
        need_truth(expr.operands[1], inner);
        return Type::truth();
    }
    const Type a = check(expr.operands[0], scope), b = check(expr.operands[1], scope);
    const bool compares = op == "==" || op == "!=" || op[0] == '<' || op[0] == '>';
    if (a.kind == Kind::unknown || b.kind == Kind::unknown)
        return compares ? Type::truth() : Type{};
    if (compares) {
        const bool equality = op == "==" || op == "!=";
        const bool numbers = a.kind == Kind::number && b.kind == Kind::number;
        const bool truths = a.kind == Kind::truth && b.kind == Kind::truth;
        if (!numbers && !(equality && truths))
            error(expr.at, fmt::format("'{}' compares numbers, not {} and {}", op, describe(a),
                                       describe(b)));
        return Type::truth();
    }
    if (a.kind == Kind::number && b.kind == Kind::number) {
        if (!a.dim || !b.dim) return Type::number();
        if (op == "+") return Type::number(*a.dim + *b.dim);
        if (op == "-") return Type::number(*a.dim - *b.dim);
        if (op == "*") return Type::number(*a.dim * *b.dim);
        if (op == "/") return Type::number(*a.dim / *b.dim);
        return Type::number();
    }
    using Second = InfixOperand;
    if (a.kind == Kind::tensor && b.kind == Kind::tensor && find_infix(op, Second::tensor)) {
        const auto column_of = [](const Type& column, const Type& whole) {
            return column.shape.size() == whole.shape.size() &&
                   column.shape.back() == Dimension::constant(1) &&
                   std::equal(column.shape.begin(), column.shape.end() - 1, whole.shape.begin());
        };
        if (a.shape != b.shape && find_infix(op, Second::column)) {
            if (column_of(b, a)) return a;
            if (column_of(a, b)) return b;
        }
        if (a.shape != b.shape)
            return error(expr.at, fmt::format("'{}' takes equal shapes, not {} and {}", op,
                                              quoted_shape(a), quoted_shape(b)));
        return a;
    }
    if (a.kind == Kind::tensor && b.kind == Kind::number && find_infix(op, Second::number))
        return a;
    if (a.kind == Kind::number && b.kind == Kind::tensor && find_infix(op, Second::number))
        return b;
    const bool vectors = (a.kind == Kind::tensor && b.kind == Kind::param) ||
                         (a.kind == Kind::param && b.kind == Kind::tensor);
    if (vectors && find_infix(op, Second::vector))
        return check_vector(*find_infix(op, Second::vector), expr, a.kind == Kind::tensor ? 0 : 1,
                            a.kind == Kind::tensor ? a : b, a.kind == Kind::tensor ? b : a);
    const bool tensors = a.kind == Kind::tensor || b.kind == Kind::tensor;
    return error(expr.at,
                 fmt::format("'{}' does not work on {} and {}{}", op, describe(a), describe(b),
                             tensors ? ": tensors are added and multiplied with tensors of "
                                       "their shape or vectors of their width, and multiplied "
                                       "with numbers"
                                     : ""));
}

/// A tensor, which is the operand `tensor_at` of a sign, and a vector.
Type ExpressionChecker::check_vector(const Operator& op, const ast::Expr& expr, size_t tensor_at,
                                     const Type& tensor, const Type& vector) {
    const ast::Expr& argument = expr.operands[1 - tensor_at];
    if (vector.may_be_absent)
        return error(argument.at, fmt::format("'{}': {} may not be there; ask has({}) first",
                                              expr.text, to_text(argument), to_text(argument)));
    const Inference inferred =
        infer(op, {{true, tensor.shape, std::nullopt}, {true, vector.shape, std::nullopt}});
    if (inferred.failed >= 0)
        return error(expr.at,
                     fmt::format("'{}': {} {} does not go with {}", expr.text, to_text(argument),
                                 quoted_shape(vector), quoted_shape(tensor)));
    return tensor;
}

Type ExpressionChecker::check_conditional(const ast::Expr& expr, const Scope& scope) {
    need_truth(expr.operands[0], scope);
    Scope then = scope, otherwise = scope;
    then.facts.merge(facts_of(expr.operands[0], true));
    otherwise.facts.merge(facts_of(expr.operands[0], false));
    const Type a = check(expr.operands[1], then), b = check(expr.operands[2], otherwise);
    if (const std::optional<Type> both = merged(a, b)) return *both;
    return error(expr.at, fmt::format("the two sides of ':' must be alike, but are {} and {}",
                                      describe(a), describe(b)));
}

}  // namespace llmsql::compiler
