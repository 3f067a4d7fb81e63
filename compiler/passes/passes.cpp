// SPDX-License-Identifier: MIT
// The passes over an OpGraph. See passes.h.
#include "compiler/passes/passes.h"

#include <array>
#include <map>
#include <utility>
#include <vector>

namespace llmsql::compiler {
namespace {

/// Keeps what the output depends on, and numbers values anew in order.
OpGraph drop_unused(OpGraph graph, const Model&) {
    std::vector<bool> needed(graph.values.size(), false);
    needed[static_cast<size_t>(graph.output)] = true;
    for (auto op = graph.ops.rbegin(); op != graph.ops.rend(); ++op) {
        if (!needed[static_cast<size_t>(op->result)]) continue;
        for (const Arg& arg : op->args)
            if (const ValueRef* value = std::get_if<ValueRef>(&arg))
                needed[static_cast<size_t>(value->id)] = true;
    }
    OpGraph kept;
    std::vector<int> renumbered(graph.values.size(), -1), states(graph.states.size(), -1);
    for (Op& op : graph.ops) {
        const auto result = static_cast<size_t>(op.result);
        if (!needed[result]) continue;
        for (Arg& arg : op.args)
            if (ValueRef* value = std::get_if<ValueRef>(&arg))
                value->id = renumbered[static_cast<size_t>(value->id)];
        for (Arg& arg : op.args)
            if (StateRef* state = std::get_if<StateRef>(&arg)) {
                const auto was = static_cast<size_t>(state->id);
                if (states[was] < 0) {
                    states[was] = static_cast<int>(kept.states.size());
                    kept.states.push_back(std::move(graph.states[was]));
                }
                state->id = states[was];
            }
        op.result = renumbered[result] = static_cast<int>(kept.values.size());
        kept.values.push_back(std::move(graph.values[result]));
        kept.ops.push_back(std::move(op));
    }
    kept.output = renumbered[static_cast<size_t>(graph.output)];
    return kept;
}

/// Gives each operator that looks back on a cache one of its own, counted from 0; those that look
/// back on the same keys and values share it.
OpGraph number_caches(OpGraph graph, const Model&) {
    std::map<std::pair<int, int>, int> caches;  // by keys and values; -1: those are in the keys
    for (Op& op : graph.ops)
        if (op.op->locality == Locality::cache)
            op.cache =
                caches
                    .try_emplace({op.value("k").id, op.argument("v") ? op.value("v").id : -1},
                                 static_cast<int>(caches.size()))
                    .first->second;
    return graph;
}

constexpr std::array kPasses{
    GraphPass{"drop-unused", drop_unused},
    GraphPass{"number-caches", number_caches},
};

}  // namespace

std::span<const GraphPass> graph_passes() {
    return kPasses;
}

OpGraph run_passes(OpGraph graph, const Model& model) {
    for (const GraphPass& pass : kPasses) graph = pass.run(std::move(graph), model);
    return graph;
}

}  // namespace llmsql::compiler
