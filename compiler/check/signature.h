// SPDX-License-Identifier: MIT
// The operator table's shape rules, parsed, and their use: arguments matched with parameters, and
// the shape of a result inferred. The checker does it with named dimensions, the lowering with
// numbers.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "compiler/check/dimension.h"
#include "compiler/parse/ast.h"
#include "operators/operators.h"

namespace llmsql::compiler {

/// One dimension of a rule: names and whole numbers multiplied, or `...`, any run of dimensions.
struct DimPattern {
    bool any = false;
    std::vector<std::string> factors;
};
using ShapePattern = std::vector<DimPattern>;

struct SignatureParam {
    enum class Kind { tensor, param, state, tokens, number };
    std::string name;
    Kind kind = Kind::tensor;
    ShapePattern shape;                      // of a tensor, param or state
    bool optional = false;                   // param[n]?
    std::optional<ast::Expr> default_value;  // of a number
};

/// Whether a number is what an argument that is left out would be.
bool is_default(const SignatureParam& param, double number);

struct Signature {
    std::vector<SignatureParam> params;
    ShapePattern result;
    size_t required() const;  // params with neither `?` nor default
};

/// An operator's parsed rule; without a result for what is not of the graph language. Thread-safe;
/// throws Error only if the table itself is malformed.
const Signature& signature_of(const Operator& op);

/// For each parameter of the signature the index of its argument, -1 where there is none. Errors
/// (unknown names, too many, given twice, missing) go to `errors` and make the result empty.
std::optional<std::vector<int>> match_arguments(const Operator& op, const ast::Expr& call,
                                                Diagnostics& errors);

/// What the shape rule needs to know of an argument: a shape (of a tensor, a param, a state, or [T]
/// for tokens), or a number that may stand for a dimension.
struct Operand {
    bool given = false;
    Shape shape;
    std::optional<Dimension> number;
};

struct Inference {
    Shape result;  // if an operand failed: what the others fix, empty if they do not
    std::map<std::string, Dimension> dims;  // what the rule's names stand for
    int failed = -1;                        // the parameter that does not fit, if any
    std::string message;                    // why
};

/// Unifies; operands are in the signature's order.
Inference infer(const Operator& op, const std::vector<Operand>& operands);

}  // namespace llmsql::compiler
