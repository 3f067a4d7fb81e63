// SPDX-License-Identifier: MIT
// The operator table: every operator, declared once.
//
// The compiler's checker reads the shape rules, its other passes the columns that say what an
// operator needs, the emitter fills in the SQL forms, the runtime registers exactly these
// functions, and docs/operators.md is printed from the table (`llmsqlc --emit=operators`). An
// operator is pure: its result depends on its arguments alone.
//
// The table decides: nothing outside of this folder asks what an operator is called, but the lists
// that say which C++ function computes it, at the end of the files of runtime/compute. A column
// that only one operator sets so far names another that would set it.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace llmsql {

/// Which part of its operands an operator needs for one element of its result. This decides what
/// may nest inside what (docs/plan-format.md, "Nesting").
enum class Locality : uint8_t {
    element,  // the same element of each operand: nests in anything, holds anything
    head,     // the last dimension of the same token and head: holds element and head operators; an
              // operand of another width than the result's is a stored tensor
    matrix,   // a whole row of a stored tensor, or a token's id, against a parameter
    choice,   // a whole row of stored tensors against matrices of a table that each token chooses
    cache,    // what the key-value cache holds (attention, a short convolution); stored tensors
    scan,  // a token after the other, each from the state that the one before left; stored tensors
    view,  // the same elements in another shape (heads, or joining them); never in the SQL
    plan,  // written by the compiler, not by graph files
    inspect,  // written by people, over a plan's tensors
};

/// How the first operand is stored, for localities that read stored tensors.
enum class Input : uint8_t {
    f32,
    as_weight,  // q8 if the matrix that it meets is quantized, else f32
};

/// What an operator of locality matrix or choice does with its first parameter. Expressions of the
/// two uses do not stand in one statement: one is cut by columns, the other by rows.
enum class WeightUse : uint8_t {
    none,
    scanned,  // multiplied by: read front to back each pass, and held or streamed by the budget
    picked,   // read where a row is wanted: embed, or a table of learned positions
};

/// Rows for choices: of an operator of locality choice whose shape rule calls the rows of a token
/// `u`.
enum class Choices : uint8_t {
    none,
    made,    // its result has u rows a token: linear_each, or one that adds each choice's bias
    summed,  // its operand has: linear_sum, or one that keeps the largest of each element
};

/// What an operator of locality plan is for. Each stands outermost in a statement or around a
/// stored tensor.
enum class Wrap : uint8_t {
    none,
    stores_q8,   // its result is stored as q8; another quantizer would store another type
    joins,       // the values of all selected rows side by side; a sum over them would be the next
    picks_rows,  // rows of a stored tensor: those that are wanted, or just the last
};

/// Of a causal convolution.
inline constexpr int kMostTaps = 64;

/// What a number that is given to an operator must be, besides finite.
struct NumberRule {
    std::string_view name = {};  // in the signature, of a number or a dimension; empty: no rule
    double least = 0, most = 1e38;
    bool above = false;             // more than `least`, as f32 too: rope's base, a temperature
    bool magnitude = false;         // without its sign: a factor
    bool whole = false;             // an integer below 2^31, in SQL too
    std::string_view must_be = {};  // "positive": for the error
};

/// What two dimensions of the shape rule, or numbers, must be to each other.
struct DimensionRule {
    enum class Kind : uint8_t { none, multiple, at_most, pairs, within, sum, ordered };
    Kind kind = Kind::none;           // at_most: linear_each's choices, or top's count; ordered:
                                      // two numbers, of which a is at most b
    std::string_view a = {}, b = {};  // a multiple of b: heads; channels in groups. pairs: a, or b
                                      // where a is 0, is even and at most b. within: a + b is at
                                      // most c. sum: a is b + c
    std::string_view otherwise = {};  // the error, with {} for a, then for b and c
    std::string_view c = {};
};

struct Operator {
    std::string_view name = {};  // in the graph language; empty for plan and inspect
    std::string_view sql = {};   // the SQL function; empty for views
    Locality locality = Locality::element;
    bool aggregate = false;  // an aggregate over rows rather than a scalar function
    int positive = -1;       // the argument of the signature, from 0, that takes no parameter with
                             // elements of 0 or less; -1: none
    /// The shape rule, as a signature. Dimensions are names that unify across arguments; `...` is
    /// any run of dimensions, the same wherever it stands; `h*d` and `2*f` products; an argument
    /// `h: number` fixes the dimension h. `?` marks an optional argument, `= text` its default, a
    /// graph-language expression over the rule's dimensions; `table[m, n, k]` is a parameter of m
    /// matrices, `state[h, n]` what a sequence carries from token to token. Optional parameters
    /// come last.
    std::string_view signature = {};
    /// How it is written in a plan, which is how the emitter writes it: see FormArgument.
    std::string_view sql_form = {};
    std::string_view summary = {};  // what it computes: one or two sentences, with the formula

    /// The sign that stands for it between two operands in a graph file and in comments. Operators
    /// may share a sign whose second operands differ in kind: InfixOperand.
    std::string_view infix = {};
    Input input = Input::f32;
    WeightUse weight = WeightUse::none;
    Choices choices = Choices::none;
    Wrap wrap = Wrap::none;
    /// The result for a token depends on other tokens of the pass or before it, so it runs for all
    /// of them: attention, or a mean over the tokens. (An operator that takes a parameter of the
    /// pass, such as `:position`, runs for all as well; its sql_form says so.)
    bool sees_other_rows = false;
    /// Of locality cache: the number that says how many positions it looks back on, 0 for all; the
    /// cache keeps no more. attention's window, or the length of a short convolution.
    std::string_view looks_back = {};
    std::array<NumberRule, 4> numbers = {};
    DimensionRule dimensions = {};
    /// A statement is named after the operator of the most effort in it: what takes its time. Of
    /// equal ones the first in the text; none of -1 if there is another.
    int effort = 0;
};

/// The whole table, in the order of the documentation.
std::span<const Operator> operators();

/// By graph-language name or by SQL name; null if there is none.
const Operator* find_operator(std::string_view name);
const Operator* find_sql_operator(std::string_view sql_name);

/// What stands behind the sign, or in front of it, beside a tensor.
enum class InfixOperand : uint8_t {
    tensor,  // of the same shape
    number,
    vector,  // a parameter: one element for each of the last dimension
    column,  // a tensor whose last dimension is 1: one number for all of it
};

/// By its sign and the kind of its second operand; null if there is none.
const Operator* find_infix(std::string_view sign, InfixOperand second);
InfixOperand second_operand(const Operator& op);

/// The first operator that the compiler wraps around others for this. There is one for each but
/// `none`.
const Operator& wrapping(Wrap wrap);

/// An argument in an operator's sql_form.
struct FormArgument {
    enum class Source : uint8_t {
        operand,  // "x.data" or "base": a parameter of the signature
        pass,     // ":position": a parameter of the section
        cache,    // "kv.k": a column of the cache's row, where it holds the operand k
        chosen,   // "chosen.item": a column of `chosen`
    };
    Source source = Source::operand;
    std::string_view name;  // "x", "position", "k", "item"
    bool optional = false;  // in [brackets]: left out where not given, or where it is the default
};

/// The arguments of the sql_form, in their order.
std::vector<FormArgument> form_of(const Operator& op);

/// How few and how many arguments the SQL function takes.
int min_args(const Operator& op);
int max_args(const Operator& op);

/// Whether its sql_form has the pass's parameter of this name, without the colon.
bool takes_pass_parameter(const Operator& op, std::string_view name);

/// Whether a call in a statement has no argument for this parameter of the signature, as each call
/// finds it in the same place: `:tokens`, which the pass has, or `kv.k`, which the cache has.
bool is_supplied(const Operator& op, std::string_view parameter);

/// Whether its result for one token depends on more than that token's rows of its operands, so that
/// it has to run in `forward`, for every token of a pass.
bool sees_more_than_its_row(const Operator& op);

/// Whether it reads its operands as stored tensors, so that no expression nests in it.
bool reads_stored(const Operator& op);

}  // namespace llmsql
