// SPDX-License-Identifier: MIT
// A second opinion on a plan's residency: no code shared with the planner.
#pragma once

#include <string>
#include <vector>

#include "compiler/ir/model.h"
#include "compiler/ir/plan.h"

namespace llmsql::compiler {

/// What is wrong with a plan's residency, one line a fault; empty if nothing is, or if it has none.
/// Makes sure that the ranges cover every tile of every parameter once, in order; that vectors are
/// held; that what is held comes to the pool's bytes and fits in the budget; and, replaying the
/// statements of a steady pass as the runtime will, strip by strip, that what the scans find
/// streamed comes to the predicted bytes, and that these are not below the lower bound.
std::vector<std::string> verify_residency(const Plan& plan, const std::vector<Param>& params);

}  // namespace llmsql::compiler
