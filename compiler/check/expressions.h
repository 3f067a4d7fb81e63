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

/// In forward, unless something else is called so: how many positions the plan's cache holds.
inline constexpr const char* kContextName = "context";

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
    std::string when = {};         // param: the condition on which it is there, if it has one

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
    std::string what;                    // "dim", "constant", "variable", ...
    std::optional<ast::Expr> when = {};  // a parameter's condition
    bool optional = false;               // and whether a model may lack it besides
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
    std::set<std::string> facts;               // what conditions around this place say
    std::map<std::string, const ast::Define*> defines;  // those declared before the place
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
    Type check_defined(const ast::Define& define, const ast::Expr& expr, const Scope& scope);
    Type check_has(const ast::Expr& expr, const Scope& scope);
    Type check_operator(const Operator& op, const ast::Expr& expr, const Scope& scope);
    Type check_binary(const ast::Expr& expr, const Scope& scope);
    Type check_vector(const Operator& op, const ast::Expr& expr, size_t tensor_at,
                      const Type& tensor, const Type& vector);
    Type check_conditional(const ast::Expr& expr, const Scope& scope);
    Type unknown_name(const ast::Expr& expr, const Scope& scope);
    Type seen_as(const Named& symbol, const ast::Expr& expr,
                 const std::map<std::string, Named>& members, const Scope& scope) const;
    Type error(Position at, std::string message);
    bool expect_arguments(const ast::Expr& expr, size_t count);

    Diagnostics& errors_;
    std::set<std::string> used_;
    int defined_ = 0;  // expressions of a `define` that have been checked, each where it is called
};

/// What is known wherever `condition` is `outcome`: conditions as to_text writes them, those that
/// do not hold behind a '!'.
std::set<std::string> facts_of(const ast::Expr& condition, bool outcome);

/// Whether facts say, as they are written, that `condition` is `outcome`.
bool follows(const ast::Expr& condition, bool outcome, const std::set<std::string>& facts);

/// One type for a name that has either, if there is one; numbers of different make stay numbers.
std::optional<Type> merged(const Type& a, const Type& b);

}  // namespace llmsql::compiler
