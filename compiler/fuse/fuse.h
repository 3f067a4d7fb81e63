// SPDX-License-Identifier: MIT
// From operators to statements: what is stored, what nests in what, what shares a scan.
//
// HOW IT WORKS. Three steps. split.h cuts the graph: operators whose result depends on other tokens
// run for all (`forward`), what follows the last of them only for rows whose logits are wanted
// (`logits`). storage.h decides for each value whether it is stored: if it is read twice, by an
// operator that wants a stored tensor, across the cut, or if its expression may not nest in its
// reader. Here the stored values are written as statements; those that scan matrices over one input
// become one statement of their concatenation. For
//
//     n = norm(x)            element by element after a row's sum; read by q, k, v: stored
//     q, k, v = linear(n)    one input, three matrices: one statement
//     h = x + linear(a)      the linear's result nests in the sum: one statement
//
// the forward section is three INSERTs:
//
//     n      <- llm_rms_norm(x.data, …)
//     q|k|v  <- llm_concat(llm_linear(n.data, w.data)) over three rows of `param`
//     h      <- llm_add(x.data, llm_linear(a.data, w.data))
//
// docs/plan-format.md, "Nesting", has the rules; operators/operators.h the columns that they ask.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "compiler/ir/model.h"
#include "compiler/ir/op_graph.h"
#include "compiler/ir/plan.h"

namespace llmsql::compiler {

struct PlanSizes {
    int64_t context = 1024;   // positions that the cache holds
    int64_t chunk = 128;      // most tokens of one pass
    int64_t logits_rows = 8;  // most rows of one run of the logits section
    KvType kv = KvType::f16;  // how the cache is stored
    int64_t sequences = 1;    // that it has room for, each with a context of its own
    /// Most tokens of a sequence that are guessed and checked in a pass; absent: make_plan()
    /// chooses.
    std::optional<int64_t> drafts = 0;
    /// Bytes of memory for snapshots of recurrent states; absent: make_plan() chooses.
    std::optional<int64_t> snapshots = 0;
};

/// The statements of a graph that run_passes() has seen, by the rules of docs/plan-format.md,
/// "Nesting"; chunk, logits_rows and drafts are cut down to what the context can use. Strides and
/// offsets are left to compiler/memory. Fails if the graph cannot be a plan: a cache written twice,
/// a window that is not a whole number.
Plan fuse(const OpGraph& graph, const std::vector<Param>& params, const PlanSizes& sizes);

}  // namespace llmsql::compiler
