// SPDX-License-Identifier: MIT
// Where every tensor of a plan lies: lifetimes, reuse in place, and offsets into one arena.
#pragma once

#include "compiler/ir/plan.h"

namespace llmsql::compiler {

/// Sets the stride and offset of every tensor and the arena's size.
///
/// A tensor lives from the statement that writes it to the last one that reads it or a view of it;
/// what `logits` reads of `forward` lives to the end, since that section runs as often as wanted.
/// A statement may write where it reads, element by element or head by head, a tensor that nobody
/// reads afterwards. Offsets by the greedy-by-size rule (Pisarchyk and Lee, "Efficient Memory
/// Management for Deep Neural Net Inference", 2020): the largest first, each at the lowest place
/// that is free for its whole life.
void plan_arena(Plan& plan);

}  // namespace llmsql::compiler
