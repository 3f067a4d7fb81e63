// SPDX-License-Identifier: MIT
// From operators to statements: what is stored, what nests in what, what shares a scan.
#pragma once

#include <cstdint>
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
};

/// The statements of a graph, by the rules of docs/plan-format.md, "Nesting"; chunk and logits_rows
/// are cut down to what the context can use. Strides and offsets are left to compiler/memory. Fails
/// if the graph cannot be a plan: a cache written twice, a window that is not a whole number.
Plan fuse(const OpGraph& graph, const std::vector<Param>& params, const PlanSizes& sizes);

}  // namespace llmsql::compiler
