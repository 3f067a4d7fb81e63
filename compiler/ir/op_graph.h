// SPDX-License-Identifier: MIT
// OpGraph: the forward pass of one model as operators over values, loops unrolled, dims concrete.
//
// Made by compiler/lower from the checked graph; rewritten by compiler/fuse; turned into statements
// by compiler/emit. `llmsqlc --emit=graph` prints it:
//
//   v3 = rms_norm(v1, layer.0.attn_norm, 1e-05)        -- h  [T, 576]  layer 0
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "operators/operators.h"

namespace llmsql::compiler {

/// A value with one row per token: [T, heads, width], or [T, width] where heads is 1.
struct Value {
    std::string name;  // the graph file's variable, "" for an intermediate
    int64_t heads = 1;
    int64_t width = 0;
    int64_t choices = 1;  // rows a token: what linear_each makes has one for each choice
    int64_t elements() const { return heads * width; }
};

/// A state as it is kept: `heads` matrices of `rows` by `width` f32, what is left out being 1.
struct StateShape {
    std::string name;  // "layer.3.conv"
    int64_t heads = 1;
    int64_t rows = 1;
    int64_t width = 0;
    int dimensions = 3;  // that it was declared with: the last of these
    int64_t elements() const { return heads * rows * width; }
    bool operator==(const StateShape&) const = default;
};

struct ValueRef {
    int id = -1;  // index into OpGraph::values
    bool operator==(const ValueRef&) const = default;
};
struct ParamRef {
    int id = 0;     // catalogue id, from 1
    int count = 1;  // of a table of matrices: how many, with ids one after the other
    bool operator==(const ParamRef&) const = default;
};
struct TokensRef {  // the token ids of the pass
    bool operator==(const TokensRef&) const = default;
};
struct StateRef {  // what a sequence carries: OpGraph::states
    int id = 0;
    bool operator==(const StateRef&) const = default;
};
struct AbsentRef {  // an optional parameter that the model lacks, in front of other arguments
    bool operator==(const AbsentRef&) const = default;
};
using Arg = std::variant<ValueRef, ParamRef, StateRef, TokensRef, double, AbsentRef>;

struct Op {
    const Operator* op = nullptr;
    std::vector<Arg> args;  // in the signature's order, defaults filled in; absent optional
                            // parameters at the end are left out
    int result = -1;        // index into OpGraph::values
    int layer = -1;         // index in the block being run, -1 outside
    int cache = -1;         // of locality cache: which key-value cache, counted from 0

    /// What it is given for a parameter of its operator's signature; null for an absent one.
    const Arg* argument(std::string_view parameter) const;
    /// The value that a tensor parameter is given, which must be there.
    ValueRef value(std::string_view parameter) const;
    /// What a number is given as; 0 where there is no such parameter.
    double number(std::string_view parameter) const;
};

/// Ops in an order in which every operand is made before it is used. Views (heads) are ops too.
struct OpGraph {
    std::vector<Value> values;
    std::vector<Op> ops;
    std::vector<StateShape> states;
    int output = -1;  // the returned value: logits [T, n_vocab]
};

/// The text form of --emit=graph; `params` names the parameters.
std::string to_text(const OpGraph& graph, const std::vector<struct Param>& params);

}  // namespace llmsql::compiler
