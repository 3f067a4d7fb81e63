// SPDX-License-Identifier: MIT
// The checker: is a graph file sound whatever numbers a model puts in?
#pragma once

#include "compiler/parse/ast.h"

namespace llmsql::compiler {

/// Reports every name, kind and shape error it finds. Afterwards, where there was none, the model
/// loader and the lowering may take the graph at its word.
void check_graph(const ast::Graph& graph, Diagnostics& errors);

}  // namespace llmsql::compiler
