// SPDX-License-Identifier: MIT
// A graph with numbers put in: its catalogue of parameters and everything a condition can ask for.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "compiler/check/scalar.h"
#include "compiler/ir/model.h"
#include "compiler/ir/op_graph.h"

namespace llmsql::compiler {

/// A number that a source's metadata says, and in which words: "hidden_act is \"gelu\"".
struct Said {
    double value = 0;
    std::string words;
};

/// What a model file or a source's metadata says about a graph.
struct Given {
    std::map<std::string, double> numbers;  // dims and constants; of a block "layer.3.is_local"
    /// Does this optional parameter exist? It has its name and its sources, but no shape yet.
    std::function<bool(const Param&)> has;
    /// What a source says of a `let` by its annotations, in a block with {i} for `index` (else -1).
    /// Empty where there is no source.
    std::function<std::optional<Said>(const ast::Let&, int64_t index)> said = {};
    /// The dims and constants of blocks, "layer.is_local": a number for each repetition, or one for
    /// all. Where they are not in `numbers`.
    std::map<std::string, std::vector<double>> lists = {};
    /// What a source says of one of them.
    std::function<std::optional<Said>(const ast::Number&, int64_t index)> said_of_number = {};
    /// Whose annotations give defaults; empty where there is no source.
    std::string format = {};
};

struct BlockInstance {
    int64_t count = 0;
    std::vector<std::map<std::string, Scalar>> lets;  // by index
};

struct Instance {
    std::map<std::string, double> numbers;  // dims and constants, defaults filled in
    std::map<std::string, Scalar> scalars;  // the same and the graph's `let`s
    std::map<std::string, BlockInstance> blocks;
    std::vector<Param> params;       // the catalogue; vectors f32, matrices f16
    std::map<std::string, int> ids;  // by full name; a tied parameter has the other's id, a table
                                     // that of its first matrix
    std::map<std::string, int64_t> tables;  // how many matrices a table has, by full name

    std::map<std::string, StateShape> states;  // by full name

    bool has(const std::string& full_name) const;  // in its own right
};

/// Whether an annotation's argument says where to look, a key or rows("tensor") and the like,
/// rather than what counts where nothing is found.
bool is_place(const ast::Expr& arg);

/// Whether a dim or constant may be left unsaid by a source of this format; of "", by a model file.
bool has_default(const ast::Number& number, std::string_view format);

/// Reports one error: where in the graph file, the dims and constants to blame, the message.
using InstanceReport =
    std::function<void(Position, const std::vector<std::string>&, const std::string&)>;

/// `graph` must have passed check_graph. A number that is neither given nor has a default is left
/// out silently, with what depends on it: the caller knows how to say that it is missing.
Instance instantiate(const ast::Graph& graph, const Given& given, const InstanceReport& report);

/// "layer.3.attn_q".
std::string full_name(const std::string& block, int64_t index, const std::string& param);

}  // namespace llmsql::compiler
