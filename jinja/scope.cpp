// SPDX-License-Identifier: MIT
// Which variable a name means.
//
// Jinja compiles templates to Python functions, and decides when compiling which scope a name
// belongs to: from all that a scope's statements read and write, whether they come to be run or
// not. What seems odd in templates (a name that is undefined in a loop because it is set behind the
// loop) is this. So the same is done here: `Symbols` collects what a scope reads and writes, and
// then each name is given a place in the function (the template, a macro, a recursive loop) that
// holds it.
#include <algorithm>
#include <map>
#include <set>

#include "common/error.h"
#include "jinja/ast.h"
#include "jinja/builtins.h"

namespace llmsql::jinja {
namespace {

using Kind = Expr::Kind;

enum class Role { load, store, parameter };

/// Calls visit(name, role) for each variable's name, in the order in which Jinja's nodes have them.
/// Does not look into blocks.
template<class Visit>
struct Names {
    Visit visit;

    void in(const ExprPtr& expr) const {
        if (!expr) return;
        if (expr->kind == Kind::name)
            visit(expr->name, expr->stores ? Role::store : Role::load, expr->line);
        for (const ExprPtr& part : expr->parts) in(part);
        for (const ExprPtr& argument : expr->arguments) in(argument);
        for (const auto& [name, argument] : expr->by_name) in(argument);
        in(expr->more_by_place);
        in(expr->more_by_name);
    }
    void in(const Body& body) const {
        for (const StmtPtr& stmt : body) in(*stmt);
    }
    void in(const MacroBody& macro) const {
        for (const Parameter& parameter : macro.parameters)
            visit(parameter.name, Role::parameter, 0);
        for (const Parameter& parameter : macro.parameters) in(parameter.fallback);
        in(macro.body);
    }
    void in(const Stmt& stmt) const {
        switch (stmt.kind) {
            case Stmt::Kind::data:
            case Stmt::Kind::leave:
            case Stmt::Kind::skip:
            case Stmt::Kind::missing:
            case Stmt::Kind::block:
                break;
            case Stmt::Kind::output:
                for (const ExprPtr& each : stmt.expressions) in(each);
                break;
            case Stmt::Kind::set:
            case Stmt::Kind::set_block:
                in(stmt.target);
                in(stmt.value);
                in(stmt.body);
                break;
            case Stmt::Kind::loop:
                in(stmt.target);
                in(stmt.value);
                in(stmt.body);
                in(stmt.otherwise);
                in(stmt.test);
                break;
            case Stmt::Kind::branch:
                for (const auto& [condition, body] : stmt.branches) {
                    in(condition);
                    in(body);
                }
                in(stmt.otherwise);
                break;
            case Stmt::Kind::with:
                for (const ExprPtr& each : stmt.targets) in(each);
                for (const ExprPtr& each : stmt.expressions) in(each);
                in(stmt.body);
                break;
            case Stmt::Kind::macro:
            case Stmt::Kind::generation:
                in(*stmt.macro);
                break;
            case Stmt::Kind::call_block:
                in(stmt.value);
                in(*stmt.macro);
                break;
            case Stmt::Kind::filter_block:
                in(stmt.body);
                in(stmt.value);
                break;
        }
    }
};

template<class Where, class Visit>
void each_name(const Where& where, Visit visit) {
    Names<Visit>{visit}.in(where);
}

/// Which of the names are read in a body before they are written there.
std::set<std::string> undeclared(const Body& body, std::set<std::string> names) {
    std::set<std::string> found;
    each_name(body, [&](const std::string& name, Role role, int) {
        if (role == Role::load && names.contains(name))
            found.insert(name);
        else if (role != Role::load)
            names.erase(name);
    });
    return found;
}

struct Holder {
    int level;
    int slots = 0;
};

/// What a scope reads and writes. Copies (of branches) share the places that names have.
class Symbols {
  public:
    Symbols(Symbols* parent, Holder& function)
        : parent_(parent),
          function_(&function),
          places_(std::make_shared<std::map<std::string, int>>()) {}

    Holder& function() const { return *function_; }

    void load(const std::string& name) {
        if (!find(name)) define(name, {.from = Load::From::resolve, .slot = -1, .name = name});
    }
    void store(const std::string& name) {
        stores_.insert(name);
        if (refs_.contains(name)) return;
        if (const auto outer = parent_ ? parent_->find(name) : std::nullopt)
            define(name, alias(*outer));
        else
            define(name, {});
    }
    int declare(const std::string& name) {  // a parameter
        stores_.insert(name);
        const int slot = place(name);
        refs_[name] = slot;
        loads_.erase(slot);
        return slot;
    }

    void merge(const std::vector<Symbols>& branches) {
        std::set<std::string> stores;
        for (const Symbols& branch : branches)
            for (const std::string& name : branch.stores_)
                if (!stores_.contains(name)) stores.insert(name);
        for (const Symbols& branch : branches) {
            for (const auto& [name, slot] : branch.refs_) refs_[name] = slot;
            for (const auto& [slot, load] : branch.loads_) loads_[slot] = load;
            stores_.insert(branch.stores_.begin(), branch.stores_.end());
        }
        for (const std::string& name : stores) {
            const int slot = refs_.at(name);
            const auto outer = parent_ ? parent_->find(name) : std::nullopt;
            loads_[slot] =
                outer ? alias(*outer) : Load{.from = Load::From::resolve, .slot = -1, .name = name};
            loads_[slot].slot = slot;
        }
    }

    /// Where a name is held, seen from a function.
    std::optional<std::pair<Holder*, int>> find(const std::string& name) const {
        if (const auto ref = refs_.find(name); ref != refs_.end())
            return std::pair(function_, ref->second);
        return parent_ ? parent_->find(name) : std::nullopt;
    }
    Slot slot_of(const std::string& name) const {
        const auto found = find(name);
        if (!found) fail("'{}' was not resolved", name);  // never
        return {function_->level - found->first->level, found->second};
    }

    Scope scope() const {
        Scope scope;
        for (const auto& [slot, load] : loads_) scope.loads.push_back(load);
        return scope;
    }

  private:
    int place(const std::string& name) {
        const auto [at, is_new] = places_->try_emplace(name, function_->slots);
        if (is_new) ++function_->slots;
        return at->second;
    }
    void define(const std::string& name, Load load) {
        const int slot = place(name);
        refs_[name] = slot;
        load.slot = slot;
        loads_[slot] = std::move(load);
    }
    Load alias(const std::pair<Holder*, int>& outer) const {
        return {.from = Load::From::alias,
                .slot = -1,
                .name = {},
                .source = {function_->level - outer.first->level, outer.second}};
    }

    Symbols* parent_;
    Holder* function_;
    std::shared_ptr<std::map<std::string, int>> places_;
    std::map<std::string, int> refs_;
    std::map<int, Load> loads_;
    std::set<std::string> stores_;
};

// What a scope's own statements do to its symbols; scopes within are not looked into.

void collect(const ExprPtr& expr, Symbols& symbols, bool as_parameter = false) {
    if (!expr) return;
    if (expr->kind == Kind::name) {
        if (as_parameter)
            symbols.declare(expr->name);
        else if (expr->stores)
            symbols.store(expr->name);
        else
            symbols.load(expr->name);
        return;
    }
    if (expr->kind == Kind::attribute_target) return symbols.load(expr->name);
    for (const ExprPtr& part : expr->parts) collect(part, symbols, as_parameter);
    for (const ExprPtr& argument : expr->arguments) collect(argument, symbols);
    for (const auto& [name, argument] : expr->by_name) collect(argument, symbols);
    collect(expr->more_by_place, symbols);
    collect(expr->more_by_name, symbols);
}

void collect(const Body& body, Symbols& symbols);

// {% elif %} is an {% if %} of its own within the branches' second part.
void collect_branches(const Stmt& stmt, size_t first, Symbols& symbols) {
    collect(stmt.branches[first].first, symbols);
    std::vector<Symbols> parts(3, symbols);
    collect(stmt.branches[first].second, parts[0]);
    if (first == 0)
        for (size_t i = 1; i < stmt.branches.size(); ++i) collect_branches(stmt, i, parts[1]);
    if (first == 0) collect(stmt.otherwise, parts[2]);
    symbols.merge(parts);
}

void collect(const Stmt& stmt, Symbols& symbols) {
    switch (stmt.kind) {
        case Stmt::Kind::output:
            for (const ExprPtr& each : stmt.expressions) collect(each, symbols);
            break;
        case Stmt::Kind::set:
            collect(stmt.value, symbols);
            collect(stmt.target, symbols);
            break;
        case Stmt::Kind::set_block:
            collect(stmt.target, symbols);
            break;
        case Stmt::Kind::loop:
        case Stmt::Kind::call_block:
        case Stmt::Kind::filter_block:
            collect(stmt.value, symbols);
            break;
        case Stmt::Kind::branch:
            collect_branches(stmt, 0, symbols);
            break;
        case Stmt::Kind::with:
            for (const ExprPtr& each : stmt.expressions) collect(each, symbols);
            break;
        case Stmt::Kind::macro:
            symbols.store(stmt.name);
            break;
        default:
            break;
    }
}

void collect(const Body& body, Symbols& symbols) {
    for (const StmtPtr& stmt : body) collect(*stmt, symbols);
}

ExprPtr copy_of_target(const Expr& target) {
    auto copy = std::make_unique<Expr>();
    copy->kind = target.kind;
    copy->line = target.line;
    copy->stores = true;
    copy->name = target.name;
    for (const ExprPtr& part : target.parts) copy->parts.push_back(copy_of_target(*part));
    return copy;
}

struct Frame {
    Symbols& symbols;
    bool soft = false;     // within an {% if %}: unknown filters matter only once they are called
    bool in_loop = false;  // break and continue have something to leave
    bool top_level = false;
};

class Resolver {
  public:
    explicit Resolver(bool has_blocks) : has_blocks_(has_blocks) {}

    void body(Body& body, const Frame& frame) {
        for (const StmtPtr& stmt : body) statement(*stmt, frame);
    }

  private:
    void expression(const ExprPtr& expr, Frame frame) {
        if (!expr) return;
        if (expr->kind == Kind::name || expr->kind == Kind::attribute_target)
            expr->slot = frame.symbols.slot_of(expr->name);
        if (expr->kind == Kind::condition) frame.soft = true;
        if (expr->kind == Kind::filter || expr->kind == Kind::test) {
            const bool filter = expr->kind == Kind::filter;
            expr->known = filter ? is_filter(expr->name) : is_test(expr->name);
            if (!expr->known && !frame.soft)
                fail("line {}: no {} named '{}'", expr->line, filter ? "filter" : "test",
                     printable(expr->name));
        }
        for (const ExprPtr& part : expr->parts) expression(part, frame);
        for (const ExprPtr& argument : expr->arguments) expression(argument, frame);
        for (const auto& [name, argument] : expr->by_name) expression(argument, frame);
        expression(expr->more_by_place, frame);
        expression(expr->more_by_name, frame);
    }

    void statement(Stmt& stmt, const Frame& frame) {
        stmt.top_level = has_blocks_ && frame.top_level;
        switch (stmt.kind) {
            case Stmt::Kind::data:
            case Stmt::Kind::missing:
                break;
            case Stmt::Kind::leave:
            case Stmt::Kind::skip:
                if (!frame.in_loop)
                    fail("line {}: '{}' outside of a loop", stmt.line,
                         stmt.kind == Stmt::Kind::leave ? "break" : "continue");
                break;
            case Stmt::Kind::output:
                for (const ExprPtr& each : stmt.expressions) expression(each, frame);
                break;
            case Stmt::Kind::set:
                expression(stmt.value, frame);
                expression(stmt.target, frame);
                break;
            case Stmt::Kind::branch: {
                Frame soft = frame;
                soft.soft = true;
                for (auto& [condition, branch] : stmt.branches) {
                    expression(condition, soft);
                    body(branch, soft);
                }
                body(stmt.otherwise, soft);
                break;
            }
            case Stmt::Kind::set_block:
            case Stmt::Kind::filter_block: {
                Symbols symbols(&frame.symbols, frame.symbols.function());
                collect(stmt.body, symbols);
                if (stmt.kind == Stmt::Kind::filter_block || stmt.value)
                    collect_filter(stmt.value, symbols, stmt.kind);
                const Frame inner{symbols, false, frame.in_loop, false};
                body(stmt.body, inner);
                expression(stmt.value, inner);
                expression(stmt.target, frame);
                stmt.scope = symbols.scope();
                break;
            }
            case Stmt::Kind::with: {
                Symbols symbols(&frame.symbols, frame.symbols.function());
                for (const ExprPtr& target : stmt.targets) collect(target, symbols, true);
                collect(stmt.body, symbols);
                const Frame inner{symbols, false, frame.in_loop, false};
                for (const ExprPtr& each : stmt.expressions) expression(each, frame);
                for (const ExprPtr& target : stmt.targets) expression(target, inner);
                body(stmt.body, inner);
                stmt.scope = symbols.scope();
                break;
            }
            case Stmt::Kind::loop:
                loop(stmt, frame);
                break;
            case Stmt::Kind::macro:
                macro(stmt, frame);
                stmt.slot = frame.symbols.slot_of(stmt.name);
                break;
            case Stmt::Kind::call_block:
                macro(stmt, frame);
                expression(stmt.value, frame);
                break;
            case Stmt::Kind::generation:
                macro(stmt, frame);
                break;
            case Stmt::Kind::block: {
                Holder function{0};
                Symbols symbols(nullptr, function);
                collect(stmt.macro->body, symbols);
                body(stmt.macro->body, {symbols});
                stmt.macro->scope = symbols.scope();
                stmt.macro->slots = function.slots;
                break;
            }
        }
    }

    // A set block's filter is looked at in the scope of its body, where no name of it was
    // collected; Jinja fails at those that are not known there.
    static void collect_filter(const ExprPtr& filter, Symbols& symbols, Stmt::Kind kind) {
        if (kind == Stmt::Kind::filter_block) return collect(filter, symbols);
        each_name(filter, [&](const std::string& name, Role, int line) {
            if (!symbols.find(name))
                fail("line {}: '{}' is not known in the filter of a set block", line,
                     printable(name));
        });
    }

    void loop(Stmt& stmt, const Frame& frame) {
        each_name(stmt, [&](const std::string& name, Role role, int line) {
            if (role == Role::store && name == "loop")
                fail("line {}: can't assign to the special variable 'loop' in a for loop", line);
        });
        Holder own{frame.symbols.function().level + 1};
        Holder& function = stmt.recursive ? own : frame.symbols.function();
        Symbols within(&frame.symbols, function), otherwise(&frame.symbols, function),
            test(&frame.symbols, function);
        if (stmt.recursive || undeclared(stmt.body, {"loop"}).contains("loop"))
            stmt.loop_slot = within.declare("loop");
        collect(stmt.target, within, true);
        collect(stmt.body, within);
        collect(stmt.otherwise, otherwise);
        if (stmt.test) {
            stmt.test_target = copy_of_target(*stmt.target);
            collect(stmt.test_target, test, true);
            collect(stmt.test, test);
            expression(stmt.test_target, {test});
            expression(stmt.test, {test});
            stmt.test_scope = test.scope();
        }
        expression(stmt.target, {within});
        expression(stmt.value, frame);
        body(stmt.body, {within, false, true, false});
        body(stmt.otherwise, {otherwise, false, stmt.recursive ? false : frame.in_loop, false});
        stmt.scope = within.scope();
        stmt.else_scope = otherwise.scope();
        stmt.slots = own.slots;
    }

    void macro(Stmt& stmt, const Frame& frame) {
        MacroBody& macro = *stmt.macro;
        Holder function{frame.symbols.function().level + 1};
        Symbols symbols(&frame.symbols, function);
        const auto analyze = [&] {
            for (Parameter& parameter : macro.parameters)
                parameter.slot = symbols.declare(parameter.name);
            for (const Parameter& parameter : macro.parameters)
                collect(parameter.fallback, symbols);
            collect(macro.body, symbols);
        };
        const auto has_parameter = [&](std::string_view name) {
            return std::ranges::find(macro.parameters, name, &Parameter::name) !=
                   macro.parameters.end();
        };
        analyze();
        const std::set<std::string> special =
            undeclared(macro.body, {"caller", "kwargs", "varargs"});
        macro.explicit_caller = has_parameter("caller");
        if (special.contains("caller")) {
            const auto explicit_one =
                std::ranges::find(macro.parameters, "caller", &Parameter::name);
            if (explicit_one == macro.parameters.end())
                macro.caller = symbols.declare("caller");
            else if (!explicit_one->fallback)
                fail(
                    "line {}: the argument 'caller' of a macro must be omitted or be given a "
                    "default",
                    stmt.line);
            else
                macro.caller = explicit_one->slot;
        }
        if (special.contains("kwargs") && !has_parameter("kwargs"))
            macro.kwargs = symbols.declare("kwargs");
        if (special.contains("varargs") && !has_parameter("varargs"))
            macro.varargs = symbols.declare("varargs");
        analyze();
        const Frame inner{symbols};
        for (const Parameter& parameter : macro.parameters) expression(parameter.fallback, inner);
        body(macro.body, inner);
        macro.scope = symbols.scope();
        macro.slots = function.slots;
    }

    bool has_blocks_;
};

bool has_blocks(const Body& body) {
    return std::ranges::any_of(body, [](const StmtPtr& stmt) {
        return stmt->kind == Stmt::Kind::block || has_blocks(stmt->body) ||
               has_blocks(stmt->otherwise) || (stmt->macro && has_blocks(stmt->macro->body)) ||
               std::ranges::any_of(stmt->branches,
                                   [](const auto& branch) { return has_blocks(branch.second); });
    });
}

}  // namespace

void resolve(Program& program) {
    Holder function{0};
    Symbols symbols(nullptr, function);
    collect(program.body, symbols);
    Resolver(has_blocks(program.body)).body(program.body, {symbols, false, false, true});
    program.scope = symbols.scope();
    program.slots = function.slots;
}

}  // namespace llmsql::jinja
