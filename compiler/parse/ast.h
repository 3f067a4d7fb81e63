// SPDX-License-Identifier: MIT
// The graph file as a tree: what the parser makes and the checker, the model loader and the
// lowering read. Plain values; each carries its place in the file.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "compiler/parse/source.h"

namespace llmsql::compiler::ast {

struct Name {
    std::string text;
    Position at;
};

struct Expr {
    enum class Kind {
        number,       // number
        text,         // text: only in annotations
        truth,        // number: 0 or 1
        name,         // text
        member,       // text . field
        call,         // text(operands), each with its name in `labels`, empty where positional
        unary,        // text: "-" or "!"
        binary,       // text: the operator
        conditional,  // operands: condition, then, else
    };
    Kind kind = Kind::number;
    Position at;  // a binary operator's or conditional's sign; else the first character
    std::string text;
    std::string field;
    double number = 0;
    std::vector<Expr> operands;
    std::vector<Name> labels;
};

/// @format(args): where a source file keeps this.
struct Annotation {
    Name format;  // "gguf" or "hf", once checked
    std::vector<Expr> args;
};

/// `dim` or `const`; in a block one a repetition.
struct Number {
    bool is_dim = false;
    Name name;
    std::optional<Expr> value;  // the default
    std::vector<Annotation> annotations;
};

struct Let {
    Name name;
    Expr value;
    std::vector<Annotation> annotations;  // where a source says the same
};

struct Require {
    Position at;
    Expr condition;
    std::string reason;
};

/// Keys of a source that change nothing in what this graph computes, whatever they say, and
/// tensors that it leaves out: tensors("pattern", …).
struct Ignore {
    Position at;
    std::vector<Annotation> annotations;
};

struct Parameter {
    Name name;
    bool optional = false;
    std::vector<Expr> shape;
    std::optional<Name> tied;  // the parameter that stands in where the model lacks this one
    std::optional<Expr> when;  // models for which it does not hold are without the parameter
    std::vector<Annotation> annotations;
};

/// What a sequence carries from token to token, of fixed shape: zeros before the first.
struct State {
    Name name;
    std::vector<Expr> shape;
};

struct Block {
    Name name;
    Expr count;
    std::vector<std::variant<Parameter, State, Let, Number>> items;
};

struct Statement;

/// One arm of a branch; `if` and each `else if` has a condition, a final `else` none.
struct Arm {
    std::optional<Expr> condition;
    std::vector<Statement> body;
};

struct Statement {
    enum class Kind {
        assign,  // name = value
        loop,    // for name in block { body of the only arm }
        branch,  // arms
        give,    // return value
    };
    Kind kind = Kind::assign;
    Position at;
    Name name;
    Name block;
    std::optional<Expr> value;
    std::vector<Arm> arms;
};

/// A name for an expression of forward that stands in several places.
struct Define {
    Name name;
    std::vector<Name> parameters;
    Expr body;
};

struct Forward {
    Position at;
    Name tokens;
    Name token_type;   // "i32", once checked
    Name count;        // the symbolic number of tokens: T
    Name result_type;  // "f32", once checked
    std::vector<Expr> result;
    std::vector<Statement> body;
};

struct Graph {
    Name name;
    std::vector<Annotation> annotations;
    std::vector<
        std::variant<Number, Let, Require, Ignore, Parameter, State, Block, Define, Forward>>
        items;
};

/// The graph file that means this tree, laid out in one fixed way, every operator in parentheses.
std::string to_text(const Graph& graph);

/// One expression, laid out like a graph file's.
std::string to_text(const Expr& expr);

/// An expression without parentheses around the whole, for messages.
std::string bare_text(const Expr& expr);

}  // namespace llmsql::compiler::ast
