// SPDX-License-Identifier: MIT
// Types of expressions: what the declarations' and the forward pass's checks have in common.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "compiler/check/dimension.h"
#include "compiler/check/signature.h"
#include "compiler/parse/ast.h"

namespace llmsql::compiler {

struct Type {
    enum class Kind {
        unknown,  // of something wrong that has been reported: fits everything, reports nothing
        number,
        truth,
        tensor,
        param,
        state,
        tokens,
    };
    Kind kind = Kind::unknown;
    std::optional<Dimension> dim;  // number: what it is made of, if of dims and whole numbers alone
    Shape shape;                   // tensor, param, state; [T] of tokens
    bool may_be_absent = false;    // param: optional, and not known to be there

    static Type number(std::optional<Dimension> dim = std::nullopt) {
        return {Kind::number, std::move(dim), {}, false};
    }
    static Type truth() { return {Kind::truth, std::nullopt, {}, false}; }
    static Type tensor(Shape shape) {
        return {Kind::tensor, std::nullopt, std::move(shape), false};
    }
};

/// "a number", "a tensor [T, d_model]", "a parameter [d_model]".
std::string describe(const Type& type);

/// What a name stands for.
struct Named {
    Type type;
    Position at;
    std::string what;  // "dim", "constant", "variable", ...
};

struct BlockNames {
    Position at;
    std::map<std::string, Named> members;  // parameters, states and lets
};

/// The names that an expression can see.
struct Scope {
    std::map<std::string, Named> globals;  // dims, constants, lets, top-level parameters
    std::map<std::string, BlockNames> blocks;
    const BlockNames* inside = nullptr;      // the block whose declarations are being checked
    std::map<std::string, Named> variables;  // of forward, assigned for certain
    std::map<std::string, Position>
        uncertain;                             // assigned on some ways only: by the statement there
    std::map<std::string, std::string> loops;  // loop variable to block
    std::map<std::string, Position> later;     // declared further down
    std::set<std::string> present;             // optional parameters that a condition guards
    bool in_forward = false;
};

/// Checks expressions against a scope. Every error is reported once; its type is unknown then.
class ExpressionChecker {
  public:
    explicit ExpressionChecker(Diagnostics& errors) : errors_(errors) {}

    Type check(const ast::Expr& expr, const Scope& scope);

    /// A number made of dims and whole numbers; reports and gives nothing otherwise.
    std::optional<Dimension> dimension(const ast::Expr& expr, const Scope& scope);

    void need_number(const ast::Expr& expr, const Scope& scope);
    void need_truth(const ast::Expr& expr, const Scope& scope);

    /// Parameters and states that forward uses: "token_embd", "layer.attn_q".
    const std::set<std::string>& used() const { return used_; }

  private:
    Type check_name(const ast::Expr& expr, const Scope& scope);
    Type check_member(const ast::Expr& expr, const Scope& scope);
    Type check_call(const ast::Expr& expr, const Scope& scope);
    Type check_has(const ast::Expr& expr, const Scope& scope);
    Type check_operator(const Operator& op, const ast::Expr& expr, const Scope& scope);
    Type check_binary(const ast::Expr& expr, const Scope& scope);
    Type check_conditional(const ast::Expr& expr, const Scope& scope);
    Type unknown_name(const ast::Expr& expr, const Scope& scope);
    Type error(Position at, std::string message);
    bool expect_arguments(const ast::Expr& expr, size_t count);

    Diagnostics& errors_;
    std::set<std::string> used_;
};

/// The optional parameters that are there wherever `condition` is `outcome`, as written in has().
std::set<std::string> guarded(const ast::Expr& condition, bool outcome);

/// One type for a name that has either, if there is one; numbers of different make stay numbers.
std::optional<Type> merged(const Type& a, const Type& b);

}  // namespace llmsql::compiler
