// SPDX-License-Identifier: MIT
// A second opinion on a plan's memory: no code shared with the planner, no cleverness.
#pragma once

#include <string>
#include <vector>

#include "compiler/ir/plan.h"

namespace llmsql::compiler {

/// What is wrong with where a plan's tensors lie, one line a fault; empty if nothing is. Looks at
/// every read in the final statements, finds the write that it is meant to see, and makes sure that
/// no statement in between (nor any that may run again) writes a byte of it; that a statement which
/// writes what it reads does so as docs/plan-format.md allows; and that every tensor is aligned,
/// inside the arena, and every view inside what it views. O(statements * reads).
std::vector<std::string> verify_arena(const Plan& plan);

}  // namespace llmsql::compiler
