// SPDX-License-Identifier: MIT
// Where every tensor of a plan lies: lifetimes, reuse in place, and offsets into one arena.
//
// HOW IT WORKS. Each tensor gets a buffer: one of its own, or that of a tensor which its statement
// reads element by element or head by head and which nobody reads afterwards. Buffers that are in
// use at one time may not overlap; others may. Buffers are placed from the largest down, each at
// the lowest offset that is free for its whole life. Say, with rows of so many bytes:
//
//     statement                      buffer, and the statements that it lives through
//     1  x = embed(tokens)   100 B   A: 1 … 5
//     2  n = norm(x)         100 B   B: 2 … 3
//     3  h = linear(n)       300 B   C: 3 … 5
//     4  g = silu(h)         300 B   C again: element by element, and h is read no more
//     5  y = x + linear(g)   100 B   A again: likewise of x
//
// C is placed first, as the largest, at 0; A lives while C does, so it goes to 300; B lives while
// both do, in statement 3, and goes to 400. A buffer that lives through statements 1 and 2 alone
// would lie at 0, under C. verify.h checks a finished plan by other means.
#pragma once

#include "compiler/ir/plan.h"

namespace llmsql::compiler {

/// Sets the stride and offset (bytes, multiples of what the type is aligned to) of every tensor and
/// the arena's size. Call when the statements are final; does not fail.
///
/// A tensor lives from the statement that writes it to the last one that reads it or a view of it;
/// what `logits` reads of `forward` lives to the end, since that section runs as often as wanted.
/// A statement may write where it reads, element by element or head by head, a tensor that nobody
/// reads afterwards. Offsets by the greedy-by-size rule (Pisarchyk and Lee, "Efficient Memory
/// Management for Deep Neural Net Inference", 2020): the largest first, each at the lowest place
/// that is free for its whole life.
void plan_arena(Plan& plan);

}  // namespace llmsql::compiler
