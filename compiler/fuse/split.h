// SPDX-License-Identifier: MIT
// Which operators run for every token of a pass, and which only for rows whose logits are wanted.
#pragma once

#include <vector>

#include "compiler/ir/op_graph.h"

namespace llmsql::compiler {

/// An OpGraph without views and dead operators, cut in two.
struct Split {
    std::vector<int> base;      // for each value, the value that it is a view of, or itself
    std::vector<int> forward;   // indices into OpGraph::ops, in an order that can be executed
    std::vector<int> logits;    // the same: what runs only for the wanted rows
    std::vector<int> crossing;  // values made in `forward` and read in `logits`, ascending
    int output = -1;            // the base of the graph's output
};

/// Operators that look at other tokens, at the token ids or at the position (attention, embed,
/// rope), and all that these need, must see every token. What follows is row-wise, so the cut may
/// lie anywhere behind them: it is put where the fewest values cross it, and of such places at the
/// earliest, so that most work is spared. In a decoder of the usual build that is just behind the
/// last layer's attention and its residual add: the last feed-forward runs for wanted rows alone.
Split split_graph(const OpGraph& graph);

}  // namespace llmsql::compiler
