// SPDX-License-Identifier: MIT
// Checking what stands outside forward: numbers, parameters, blocks, annotations.
#pragma once

#include "compiler/check/expressions.h"

namespace llmsql::compiler {

/// Declares everything of `graph` in `scope`, reporting what is wrong on the way.
void check_declarations(const ast::Graph& graph, Scope& scope, ExpressionChecker& expressions,
                        Diagnostics& errors);

/// Checks forward's statements against the declared names.
void check_forward(const ast::Forward& forward, Scope scope, ExpressionChecker& expressions,
                   Diagnostics& errors);

}  // namespace llmsql::compiler
