// SPDX-License-Identifier: MIT
// Compile-time arithmetic. See scalar.h.
#include "compiler/check/scalar.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace llmsql::compiler {
namespace {

double finite(const ast::Expr& expr, double value) {
    if (!std::isfinite(value))
        throw EvalError{expr.at, fmt::format("{} has no finite value here", bare_text(expr))};
    return value;
}

double remainder_of(const ast::Expr& expr, double a, double b) {
    constexpr double kExact = 9007199254740992.0;  // 2^53: whole numbers beyond are not exact
    if (a != std::floor(a) || b != std::floor(b) || std::abs(a) > kExact || std::abs(b) > kExact)
        throw EvalError{expr.at, fmt::format("% takes whole numbers, not {} and {}", number_text(a),
                                             number_text(b))};
    if (b == 0) throw EvalError{expr.at, "the remainder of a division by 0"};
    const double rest = std::fmod(a, b);
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

void collect_names(const ast::Expr& expr, std::vector<std::string>& names) {
    if (expr.kind == ast::Expr::Kind::name && std::ranges::find(names, expr.text) == names.end())
        names.push_back(expr.text);
    for (const ast::Expr& operand : expr.operands) collect_names(operand, names);
}

}  // namespace

std::string number_text(double number) {
    if (std::abs(number) >= std::numeric_limits<double>::max())
        return number > 0 ? "infinity" : "-infinity";
    return fmt::format("{}", number);
}

std::vector<std::string> names_in(const ast::Expr& expr) {
    std::vector<std::string> names;
    collect_names(expr, names);
    return names;
}

double number_of(const ast::Expr& expr, Scalar scalar) {
    if (const double* number = std::get_if<double>(&scalar)) return *number;
    throw EvalError{expr.at, "a number is needed here, not true or false"};
}

bool truth_of(const ast::Expr& expr, Scalar scalar) {
    if (const bool* truth = std::get_if<bool>(&scalar)) return *truth;
    throw EvalError{expr.at, "true or false is needed here, not a number"};
}

Scalar apply_unary(const ast::Expr& expr, Scalar operand) {
    if (expr.text == "!") return !truth_of(expr.operands[0], operand);
    return -number_of(expr.operands[0], operand);
}

size_t arguments_of_function(std::string_view name) {
    for (const char* of_one : {"sqrt", "log", "floor", "ceil"})
        if (name == of_one) return 1;
    return name == "pow" || name == "min" || name == "max" ? 2 : 0;
}

Scalar apply_function(const ast::Expr& expr, const std::vector<Scalar>& operands) {
    const double a = number_of(expr, operands[0]);
    if (expr.text == "sqrt") return finite(expr, std::sqrt(a));
    if (expr.text == "log") return finite(expr, std::log(a));
    if (expr.text == "floor") return std::floor(a);
    if (expr.text == "ceil") return std::ceil(a);
    const double b = number_of(expr, operands[1]);
    if (expr.text == "pow") return finite(expr, std::pow(a, b));
    return expr.text == "min" ? std::min(a, b) : std::max(a, b);
}

Scalar apply_binary(const ast::Expr& expr, Scalar left, Scalar right) {
    const std::string& op = expr.text;
    if (op == "&&" || op == "||") {
        const bool a = truth_of(expr.operands[0], left), b = truth_of(expr.operands[1], right);
        return op == "&&" ? a && b : a || b;
    }
    if ((op == "==" || op == "!=") && std::holds_alternative<bool>(left))
        return (std::get<bool>(left) == truth_of(expr.operands[1], right)) == (op == "==");
    const double a = number_of(expr.operands[0], left), b = number_of(expr.operands[1], right);
    if (op == "+") return finite(expr, a + b);
    if (op == "-") return finite(expr, a - b);
    if (op == "*") return finite(expr, a * b);
    if (op == "/") return finite(expr, a / b);
    if (op == "%") return remainder_of(expr, a, b);
    if (op == "<") return a < b;
    if (op == "<=") return a <= b;
    if (op == ">") return a > b;
    if (op == ">=") return a >= b;
    if (op == "==") return a == b;
    return a != b;
}

Scalar evaluate(const ast::Expr& expr, const ScalarLeaf& leaf) {
    using Kind = ast::Expr::Kind;
    const auto operand = [&](size_t i) { return evaluate(expr.operands[i], leaf); };
    switch (expr.kind) {
        case Kind::number:
            return expr.number;
        case Kind::truth:
            return expr.number != 0;
        case Kind::unary:
            return apply_unary(expr, operand(0));
        case Kind::binary: {
            const Scalar left = operand(0);
            if (expr.text == "&&" && !truth_of(expr.operands[0], left)) return false;
            if (expr.text == "||" && truth_of(expr.operands[0], left)) return true;
            return apply_binary(expr, left, operand(1));
        }
        case Kind::conditional:
            return operand(truth_of(expr.operands[0], operand(0)) ? 1 : 2);
        case Kind::call:
            if (arguments_of_function(expr.text) > 0) {
                std::vector<Scalar> operands;
                for (size_t i = 0; i < expr.operands.size(); ++i) operands.push_back(operand(i));
                return apply_function(expr, operands);
            }
            return leaf(expr);
        case Kind::name:
        case Kind::member:
        case Kind::text:
            return leaf(expr);
    }
    return 0.0;
}

}  // namespace llmsql::compiler
