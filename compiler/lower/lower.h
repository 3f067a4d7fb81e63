// SPDX-License-Identifier: MIT
// Lowering: from a checked graph and a model's numbers to an OpGraph.
#pragma once

#include "compiler/ir/model.h"
#include "compiler/ir/op_graph.h"
#include "compiler/parse/ast.h"

namespace llmsql::compiler {

/// Runs `forward` with the model's numbers: loops unrolled, conditions decided, default arguments
/// filled in. What the result does not depend on is still in it: the passes of compiler/passes drop
/// it, and number the caches. `graph` must have passed check_graph and
/// be the one `model` was made from. Errors are those that only numbers can show, such as a width
/// that does not divide into heads. `context` is what forward knows under that name.
OpGraph lower(const ast::Graph& graph, const Model& model, Diagnostics& errors, int64_t context);

}  // namespace llmsql::compiler
