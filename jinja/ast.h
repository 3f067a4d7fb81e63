// SPDX-License-Identifier: MIT
// A parsed template: statements and expressions, and where their variables are held.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "jinja/value.h"

namespace llmsql::jinja {

struct Expr;
struct Stmt;
using ExprPtr = std::unique_ptr<Expr>;
using StmtPtr = std::unique_ptr<Stmt>;
using Body = std::vector<StmtPtr>;

/// A variable: so many functions outwards, and the number of it there.
struct Slot {
    int up = 0;
    int index = -1;
};

/// What a scope's variable is when the scope is entered.
struct Load {
    enum class From { resolve, alias, unset } from = From::unset;
    int slot = -1;       // of the function that the scope belongs to
    std::string name{};  // resolve: of a variable that the template was given
    Slot source{};       // alias: of an outer variable
};

/// A scope (a loop's body, a `with`, …): Jinja decides when compiling which scope a name belongs
/// to.
struct Scope {
    std::vector<Load> loads;
};

struct Expr {
    enum class Kind {
        constant,
        name,
        attribute_target,  // ns.name = …; only assigned to
        list,
        tuple,
        dict,        // parts: key, value, key, value, …
        attribute,   // parts[0].name
        item,        // parts[0][parts[1]]
        slice,       // parts[0][parts[1]:parts[2]:parts[3]]; parts 1 to 3 may be null
        call,        // parts[0](arguments)
        filter,      // parts[0]|name(arguments); parts[0] is null in blocks
        test,        // parts[0] is name(arguments)
        condition,   // parts[0] if parts[1] else parts[2]; parts[2] may be null
        both,        // and
        either,      // or
        negation,    // not
        compare,     // parts[0] words[0] parts[1] words[1] parts[2] …
        arithmetic,  // parts[0] name parts[1]
        negative,
        positive,
        joined,  // ~
    };
    Kind kind = Kind::constant;
    int line = 0;
    bool stores = false;  // of names: they are assigned to
    bool known = true;    // of filters and tests
    std::string name{};   // also the sign of arithmetic
    Value constant{};
    Slot slot{};
    std::vector<ExprPtr> parts{};
    std::vector<std::string> words{};
    // Of calls, filters, tests.
    std::vector<ExprPtr> arguments{};
    std::vector<std::pair<std::string, ExprPtr>> by_name{};
    ExprPtr more_by_place{}, more_by_name{};  // *, **
};

struct Parameter {
    std::string name;
    ExprPtr fallback{};
    int slot = -1;
};

/// A macro, or the body of a call block: a function that gives a text.
struct MacroBody {
    std::string name;
    std::vector<Parameter> parameters;
    Body body;
    Scope scope;
    int slots = 0;
    int caller = -1, kwargs = -1, varargs = -1;  // slots of those that the body reads
    bool explicit_caller = false;
};

struct Stmt {
    enum class Kind {
        data,
        output,        // expressions: what is written
        set,           // target, value
        set_block,     // target, body, filter (value; may be null)
        loop,          // target, value (what is gone through), test, body, otherwise
        branch,        // conditions and bodies; `otherwise`
        with,          // targets, expressions, body
        macro,         // macro
        call_block,    // value (a call), macro
        filter_block,  // value (a filter), body
        generation,    // macro: a call block of transformers'
        block,         // name, macro
        leave,         // break
        skip,          // continue
        missing,       // include, import, extends: there are no other templates
    };
    Kind kind = Kind::data;
    int line = 0;
    Value data{};
    std::string name{};
    ExprPtr target{}, value{}, test{};
    std::vector<ExprPtr> targets{}, expressions{};
    Body body{}, otherwise{};
    std::vector<std::pair<ExprPtr, Body>> branches{};
    std::unique_ptr<MacroBody> macro{};
    bool recursive = false;
    // Filled in by resolve().
    Slot slot{};  // of a macro's name
    Scope scope{}, test_scope{}, else_scope{};
    ExprPtr test_target{};   // the target as the test sees it
    int loop_slot = -1;      // of `loop`; -1: nobody asks
    int slots = 0;           // of a recursive loop: it is a function
    bool top_level = false;  // its assignments are seen by blocks
};

struct Program {
    Body body;
    Scope scope;
    int slots = 0;
};

/// Parses a template. Fails with "line N: …".
Program parse(std::string_view source);

/// Decides where each variable is held, as Jinja does; refuses filters and tests that there aren't.
/// Called by parse().
void resolve(Program& program);

}  // namespace llmsql::jinja
