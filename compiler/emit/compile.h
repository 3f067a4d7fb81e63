// SPDX-License-Identifier: MIT
// The back of the compiler as one call: a model and its operators in, the text of plan.sql out.
#pragma once

#include <optional>
#include <string>

#include "compiler/fuse/fuse.h"
#include "compiler/ir/model.h"
#include "compiler/ir/op_graph.h"
#include "compiler/ir/plan.h"
#include "compiler/memory/budget.h"

namespace llmsql::compiler {

/// Fuses, plans the arena, and has the verifier look at it: a Plan that is ready to be printed.
/// With a budget, chooses the sizes that it does not keep and plans which weights are held,
/// verified too; fails if the budget is too small.
Plan make_plan(const Model& model, const OpGraph& graph, const PlanSizes& sizes,
               const std::optional<MemoryBudget>& budget = std::nullopt);

/// The plan as docs/plan-format.md describes it: a function of the arguments alone, to the byte.
std::string plan_text(const Model& model, const Plan& plan);

}  // namespace llmsql::compiler
