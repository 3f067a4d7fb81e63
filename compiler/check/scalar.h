// SPDX-License-Identifier: MIT
// Numbers and truth values known at compile time: dims, constants, `let`s, conditions. Shared by
// the model loader (which decides them) and the lowering (which unrolls by them).
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "compiler/parse/ast.h"

namespace llmsql::compiler {

using Scalar = std::variant<double, bool>;

/// What evaluating throws: where and why. With an empty message it is the consequence of something
/// already reported. Caught by whoever knows which file to blame; never leaves the front.
struct EvalError {
    Position at;
    std::string message;
};

/// The value of a name, a member, or a call of anything but a function of numbers.
using ScalarLeaf = std::function<Scalar(const ast::Expr&)>;

/// Evaluates; && || and ?: look only at what they need.
Scalar evaluate(const ast::Expr& expr, const ScalarLeaf& leaf);

/// One step of it. Arithmetic whose result is not finite is an error; % is the remainder of whole
/// numbers, with the divisor's sign.
Scalar apply_unary(const ast::Expr& expr, Scalar operand);
Scalar apply_binary(const ast::Expr& expr, Scalar left, Scalar right);

/// How many numbers a function takes: sqrt, log (the natural one), floor and ceil one, pow,
/// min and max two; 0 for other names.
size_t arguments_of_function(std::string_view name);

/// Such a function, called by `expr`.
Scalar apply_function(const ast::Expr& expr, const std::vector<Scalar>& operands);

double number_of(const ast::Expr& expr, Scalar scalar);
bool truth_of(const ast::Expr& expr, Scalar scalar);

/// The names that an expression mentions, in the order of their first mention.
std::vector<std::string> names_in(const ast::Expr& expr);

/// For messages: "0.125", "9", "1e-05"; "infinity" also for the largest there is, which is what
/// sources' infinities are read as.
std::string number_text(double number);

}  // namespace llmsql::compiler
