// SPDX-License-Identifier: MIT
// Passes over an OpGraph: what is rewritten between lowering and fusing.
//
// A new one is a function and a line in the list of passes.cpp. Passes are tested one by one, on
// the text form of the graph (tests/unit/compiler/passes_test.cpp).
#pragma once

#include <span>
#include <string_view>

#include "compiler/ir/model.h"
#include "compiler/ir/op_graph.h"

namespace llmsql::compiler {

/// Keeps what the graph's output is, however it is computed, and the order of operands before
/// operators. The model's parameters may be looked at.
struct GraphPass {
    std::string_view name;
    OpGraph (*run)(OpGraph graph, const Model& model);
};

/// All passes, in the order in which they run.
std::span<const GraphPass> graph_passes();

/// The graph that the fuser is given. Made of one that lowering made.
OpGraph run_passes(OpGraph graph, const Model& model);

}  // namespace llmsql::compiler
