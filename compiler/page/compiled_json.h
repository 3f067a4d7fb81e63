// SPDX-License-Identifier: MIT
// What only the compiler can say of a plan, for the page: see page/page.h.
#pragma once

#include "compiler/fuse/fuse.h"
#include "compiler/ir/model.h"
#include "compiler/ir/op_graph.h"
#include "compiler/ir/plan.h"
#include "compiler/memory/budget.h"
#include "page/page.h"

namespace llmsql::compiler {

/// The page's "compiled": the parts of the process's memory; what a steady pass reads beside the
/// lower bound and the usual policies; and the same of plans compiled for other budgets, from the
/// smallest that works to none. `sizes` and `budget` are those that `plan` was made with.
Json compiled_json(const Model& model, const OpGraph& graph, const Plan& plan,
                   const PlanSizes& sizes, const std::optional<MemoryBudget>& budget);

}  // namespace llmsql::compiler
