// The back of the compiler as one call: a model and its operators in, the text of plan.sql out.
#pragma once

#include <string>

#include "compiler/fuse/fuse.h"
#include "compiler/ir/model.h"
#include "compiler/ir/op_graph.h"
#include "compiler/ir/plan.h"

namespace llmsql {

/// Fuses, plans the arena, and has the verifier look at it: a Plan that is ready to be printed.
Plan make_plan(const Model& model, const OpGraph& graph, const PlanSizes& sizes);

/// The plan as docs/plan-format.md describes it: a function of the arguments alone, to the byte.
std::string plan_text(const Model& model, const Plan& plan);

}  // namespace llmsql
