// SPDX-License-Identifier: MIT
// The operator table: every operator, declared once.
//
// The compiler's checker reads the shape rules, the emitter the SQL names and argument counts, the
// runtime registers exactly these functions, and docs/operators.md is printed from the table
// (`llmsqlc --emit=operators`). An operator is pure: its result depends on its arguments alone.
#pragma once

#include <span>
#include <string_view>

namespace llmsql {

/// Which part of its operands an operator needs for one element of its result. This decides what
/// may nest inside what (docs/plan-format.md, "Nesting").
enum class Locality {
    element,  // the same element of each operand: nests in anything, holds anything
    head,     // the last dimension of the same token and head: holds element and head operators
    matrix,   // a whole row of a stored tensor against a parameter: linear, embed
    choice,   // matrices of a table that each token chooses: linear_each, linear_sum
    cache,    // the key-value cache: attention
    view,     // no arithmetic: another shape of the same elements; never reaches the SQL
    plan,     // written by the compiler, not by graph files
    inspect,  // written by people, over a plan's tensors
};

struct Operator {
    std::string_view name = {};      // in the graph language; empty for plan and inspect
    std::string_view sql = {};       // the SQL function; empty for views
    int min_args = 0, max_args = 0;  // of the SQL function
    Locality locality = Locality::element;
    bool aggregate = false;  // an aggregate over rows rather than a scalar function
    int positive = -1;       // the argument of the signature, from 0, that takes no parameter with
                             // elements of 0 or less; -1: none
    /// The shape rule, as a signature. Dimensions are names that unify across arguments; `...` is
    /// any run of dimensions, the same wherever it stands; `h*d` and `2*f` products; an argument
    /// `h: number` fixes the dimension h. `?` marks an optional argument, `= text` its default, a
    /// graph-language expression over the rule's dimensions; `table[m, n, k]` is a parameter of m
    /// matrices.
    std::string_view signature = {};
    std::string_view sql_form = {};  // how it is written in a plan
    std::string_view summary = {};   // what it computes: one or two sentences, with the formula
};

/// The whole table, in the order of the documentation.
std::span<const Operator> operators();

/// By graph-language name or by SQL name; null if there is none.
const Operator* find_operator(std::string_view name);
const Operator* find_sql_operator(std::string_view sql_name);

}  // namespace llmsql
