// SPDX-License-Identifier: MIT
// Which values of a graph are stored, and in which form: the decisions behind the statements.
#pragma once

#include <optional>
#include <vector>

#include "compiler/fuse/split.h"
#include "compiler/ir/model.h"
#include "compiler/ir/op_graph.h"
#include "compiler/ir/plan.h"

namespace llmsql::compiler {

/// What one statement may evaluate at most, in operators: far below SQLite's limits of 64 joined
/// tables and 1000 levels of nesting, and enough for any feed-forward.
inline constexpr int kMostNested = 16;

/// How one value of the graph is kept, and, for a value that is not stored, what its expression
/// holds.
struct ValueStorage {
    int op = -1;  // index into OpGraph::ops of what makes it; -1 for views and dead values
    int uses = 0;
    bool in_logits = false;  // made in the logits section
    bool crosses = false;    // made in forward, read in logits

    bool stored = false;    // has a statement of its own in the section that makes it
    bool as_f32 = false;    // stored as f32
    bool as_q8 = false;     // stored quantised
    bool rows_f32 = false;  // crossing: its wanted rows are stored as f32 in logits
    bool rows_q8 = false;   // crossing: its wanted rows are stored quantised in logits

    bool scans = false, picks = false;   // a matrix: as linear does, or as embed
    bool stands_alone = false;           // of locality cache, choice or scan
    std::optional<RowShape> head_shape;  // of the head operators in it, all alike
    int size = 0;                        // operators in the expression
};

/// Decides for every value. A value is stored if it is read more than once, by an operator that
/// reads stored tensors (reads_stored in operators/operators.h), across the cut, as the output, or
/// where nesting does not allow it inside its reader.
std::vector<ValueStorage> decide_storage(const OpGraph& graph, const std::vector<Param>& params,
                                         const Split& split);

/// Whether a head operator takes an argument, of another width than its result, as a stored tensor.
bool reads_stored_operand(const OpGraph& graph, const Op& op, const Arg& arg);

/// Whether an operator reads its argument `index` as q8: the first of its operands, where it takes
/// it as its quantized weight asks.
bool reads_q8(const Op& op, size_t index, const std::vector<Param>& params);

/// The shape of the row that the expression of value `v` computes.
RowShape expression_shape(const OpGraph& graph, const ValueStorage& storage, int v);

}  // namespace llmsql::compiler
