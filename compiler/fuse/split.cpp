// SPDX-License-Identifier: MIT
// Cutting the graph in a part for every token and a part for wanted rows. See split.h.
#include "compiler/fuse/split.h"

#include <algorithm>

namespace llmsql::compiler {
namespace {

bool is_view(const Op& op) {
    return op.op->locality == Locality::view;
}

/// Calls `use` with the base value of each operand.
template<class Use>
void for_each_operand(const Op& op, const std::vector<int>& base, Use use) {
    for (const Arg& arg : op.args)
        if (const auto* value = std::get_if<ValueRef>(&arg))
            use(base[static_cast<size_t>(value->id)]);
}

/// Flags, by value, everything that the ops flagged in `wanted` need, themselves included.
std::vector<bool> closure(const OpGraph& graph, const std::vector<int>& base,
                          std::vector<bool> wanted) {
    for (auto op = graph.ops.rbegin(); op != graph.ops.rend(); ++op)
        if (!is_view(*op) && wanted[static_cast<size_t>(op->result)])
            for_each_operand(*op, base, [&](int v) { wanted[static_cast<size_t>(v)] = true; });
    return wanted;
}

}  // namespace

Split split_graph(const OpGraph& graph) {
    Split split;
    const size_t values = graph.values.size();
    split.base.resize(values);
    for (size_t v = 0; v < values; ++v) split.base[v] = static_cast<int>(v);
    for (const Op& op : graph.ops)
        if (is_view(op))
            split.base[static_cast<size_t>(op.result)] =
                split.base[static_cast<size_t>(std::get<ValueRef>(op.args.at(0)).id)];
    split.output = split.base[static_cast<size_t>(graph.output)];

    std::vector<bool> live(values), pinned(values);
    live[static_cast<size_t>(split.output)] = true;
    live = closure(graph, split.base, std::move(live));
    for (const Op& op : graph.ops)
        if (!is_view(op) && sees_more_than_its_row(*op.op) && live[static_cast<size_t>(op.result)])
            pinned[static_cast<size_t>(op.result)] = true;
    pinned = closure(graph, split.base, std::move(pinned));

    // Pinned operators first, the others behind them, both in the graph's order.
    std::vector<int> order;
    for (const bool want_pinned : {true, false})
        for (size_t i = 0; i < graph.ops.size(); ++i) {
            const auto result = static_cast<size_t>(graph.ops[i].result);
            if (!is_view(graph.ops[i]) && live[result] && pinned[result] == want_pinned)
                order.push_back(static_cast<int>(i));
        }
    const auto pinned_count = static_cast<size_t>(std::ranges::count_if(order, [&](int i) {
        return pinned[static_cast<size_t>(graph.ops[static_cast<size_t>(i)].result)];
    }));

    // last_use[v]: the place in `order` of the last operator that reads v; the output is read at
    // the end. A value crosses a cut at place p if it is made before p and read at p or later.
    std::vector<size_t> made(values), last_use(values);
    for (size_t place = 0; place < order.size(); ++place) {
        const Op& op = graph.ops[static_cast<size_t>(order[place])];
        made[static_cast<size_t>(op.result)] = place;
        for_each_operand(op, split.base, [&](int v) { last_use[static_cast<size_t>(v)] = place; });
    }
    last_use[static_cast<size_t>(split.output)] = order.size();

    // The number of values crossing each cut, from where each value starts and stops to cross.
    std::vector<int> change(order.size() + 2);
    for (const int i : order) {
        const auto v = static_cast<size_t>(graph.ops[static_cast<size_t>(i)].result);
        // Rows for choices do not cross: it is rows of tokens that are wanted.
        const int weight = graph.values[v].choices > 1 ? 1000 : 1;
        change[made[v] + 1] += weight;
        change[last_use[v] + 1] -= weight;
    }
    // The very end is no candidate (it would store logits for every token), unless all is pinned.
    size_t cut = pinned_count;
    int crossing = 0, fewest = 0;
    for (size_t place = 0; place < order.size(); ++place) {
        crossing += change[place];
        if (place == pinned_count || (place > pinned_count && crossing < fewest)) {
            cut = place;
            fewest = crossing;
        }
    }

    split.forward.assign(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(cut));
    split.logits.assign(order.begin() + static_cast<std::ptrdiff_t>(cut), order.end());
    std::ranges::sort(split.forward);
    std::ranges::sort(split.logits);
    for (const int i : split.forward) {
        const int v = graph.ops[static_cast<size_t>(i)].result;
        if (last_use[static_cast<size_t>(v)] >= cut) split.crossing.push_back(v);
    }
    std::ranges::sort(split.crossing);
    return split;
}

}  // namespace llmsql::compiler
