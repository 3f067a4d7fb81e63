// SPDX-License-Identifier: MIT
// What a plan takes and reads, for people: --emit=memory and --emit=schedule.
#pragma once

#include <string>
#include <vector>

#include "compiler/ir/model.h"
#include "compiler/ir/plan.h"
#include "compiler/memory/budget.h"

namespace llmsql::compiler {

/// The parts of the process's memory and their sum beside the budget, if the plan has one; then the
/// chunk lengths that were considered.
std::string memory_page(const Model& model, const Plan& plan,
                        const std::vector<ChunkChoice>& considered);

/// A plan's residency, parameter by parameter, and what a pass reads under it and under the usual
/// policies. The plan must have a residency.
std::string schedule_page(const Model& model, const Plan& plan);

}  // namespace llmsql::compiler
