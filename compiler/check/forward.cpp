// SPDX-License-Identifier: MIT
// Checking the forward pass: statements in order, with what is assigned where.
#include <fmt/core.h>

#include "compiler/check/declarations.h"

namespace llmsql::compiler {
namespace {

using StatementKind = ast::Statement::Kind;

/// Every variable that statements assign, with one place where they do.
void collect_assigned(const std::vector<ast::Statement>& body,
                      std::map<std::string, Position>& assigned) {
    for (const ast::Statement& statement : body) {
        if (statement.kind == StatementKind::assign)
            assigned[statement.name.text] = statement.name.at;
        for (const ast::Arm& arm : statement.arms) collect_assigned(arm.body, assigned);
    }
}

class ForwardChecker {
  public:
    ForwardChecker(Scope scope, ExpressionChecker& expressions, Diagnostics& errors)
        : scope_(std::move(scope)), expressions_(expressions), errors_(errors) {}

    void run(const ast::Forward& forward) {
        scope_.in_forward = true;
        if (forward.token_type.text != "i32")
            errors_.error(forward.token_type.at,
                          fmt::format("tokens are i32, not {}", forward.token_type.text));
        if (forward.result_type.text != "f32")
            errors_.error(forward.result_type.at,
                          fmt::format("the result is f32, not {}", forward.result_type.text));
        may_name(forward.count, "the number of tokens");
        const Dimension count = Dimension::named(forward.count.text, -1);
        const std::optional<Shape> result = declared_result(forward, count);
        if (may_name(forward.tokens, "the tokens"))
            scope_.variables.insert_or_assign(
                forward.tokens.text, Named{Type{Type::Kind::tokens, std::nullopt, {count}, false},
                                           forward.tokens.at, "tokens"});
        tokens_ = forward.tokens.text;
        statements(forward.body, &forward, result);
        if (forward.body.empty() || forward.body.back().kind != StatementKind::give)
            errors_.error(forward.at, "forward must end with a return");
    }

  private:
    std::optional<Shape> declared_result(const ast::Forward& forward, const Dimension& count) {
        Scope with_count = scope_;
        with_count.globals.insert_or_assign(
            forward.count.text, Named{Type::number(count), forward.count.at, "number of tokens"});
        Shape shape;
        for (const ast::Expr& dim : forward.result) {
            const auto size = expressions_.dimension(dim, with_count);
            if (!size) return std::nullopt;
            shape.push_back(*size);
        }
        if (shape.size() == 2 && shape[0] == count) return shape;
        errors_.error(forward.result_type.at,
                      fmt::format("forward returns one row per token: f32[{}, width], not f32{}",
                                  forward.count.text, shape_text(shape)));
        return std::nullopt;
    }

    /// A name for forward itself: none that is declared outside.
    bool may_name(const ast::Name& name, std::string_view what) {
        std::optional<Position> taken;
        if (const auto found = scope_.globals.find(name.text); found != scope_.globals.end())
            taken = found->second.at;
        if (const auto found = scope_.blocks.find(name.text); found != scope_.blocks.end())
            taken = found->second.at;
        if (taken)
            errors_.error(name.at, fmt::format("'{}' is declared in line {} and cannot be {} too",
                                               name.text, taken->line, what));
        return !taken;
    }

    void statements(const std::vector<ast::Statement>& body, const ast::Forward* forward,
                    const std::optional<Shape>& result) {
        for (size_t i = 0; i < body.size(); ++i) {
            const ast::Statement& statement = body[i];
            switch (statement.kind) {
                case StatementKind::assign:
                    assign(statement);
                    break;
                case StatementKind::loop:
                    loop(statement);
                    break;
                case StatementKind::branch:
                    branch(statement);
                    break;
                case StatementKind::give:
                    if (forward == nullptr || i + 1 != body.size())
                        errors_.error(statement.at, "return must be forward's last statement");
                    give(statement, result);
                    break;
            }
        }
    }

    void give(const ast::Statement& statement, const std::optional<Shape>& result) {
        const Type type = expressions_.check(*statement.value, scope_);
        if (type.kind == Type::Kind::unknown) return;
        if (type.kind != Type::Kind::tensor) {
            errors_.error(statement.value->at,
                          fmt::format("forward returns a tensor, not {}", describe(type)));
        } else if (result && type.shape != *result) {
            errors_.error(statement.value->at,
                          fmt::format("forward is declared to return {}, but this is {}",
                                      shape_text(*result), shape_text(type.shape)));
        }
    }

    void assign(const ast::Statement& statement) {
        Type type = expressions_.check(*statement.value, scope_);
        const std::string& name = statement.name.text;
        if (type.kind == Type::Kind::tokens) {
            errors_.error(statement.value->at, "the tokens cannot be assigned to a variable");
            type = {};
        }
        if (name == tokens_ || scope_.loops.contains(name)) {
            errors_.error(statement.name.at, fmt::format("'{}' cannot be assigned to", name));
            return;
        }
        if (!may_name(statement.name, "a variable")) return;
        scope_.uncertain.erase(name);
        scope_.variables.insert_or_assign(name,
                                          Named{std::move(type), statement.name.at, "variable"});
    }

    void loop(const ast::Statement& statement) {
        const std::string& name = statement.name.text;
        if (!scope_.blocks.contains(statement.block.text)) {
            std::vector<std::string> blocks;
            for (const auto& [block, symbols] : scope_.blocks) blocks.push_back(block);
            errors_.error(statement.block.at,
                          fmt::format("there is no block '{}'{}", statement.block.text,
                                      suggestion(statement.block.text, blocks)));
        }
        const bool taken = scope_.variables.contains(name) || scope_.loops.contains(name) ||
                           scope_.uncertain.contains(name);
        if (taken)
            errors_.error(statement.name.at, fmt::format("'{}' is already a variable", name));
        const bool fresh = !taken && may_name(statement.name, "a variable");

        // What a repetition changes is, at its start, what the one before left. (A block has at
        // least one repetition, so what the body assigns is assigned after it.)
        std::map<std::string, Position> assigned;
        const std::vector<ast::Statement>& body = statement.arms.front().body;
        collect_assigned(body, assigned);
        std::map<std::string, Type> before;
        for (const auto& [variable, at] : assigned) {
            const auto found = scope_.variables.find(variable);
            if (found == scope_.variables.end()) continue;
            found->second.type.dim.reset();
            before.emplace(variable, found->second.type);
        }
        if (fresh) scope_.loops.emplace(name, statement.block.text);
        statements(body, nullptr, std::nullopt);
        if (fresh) scope_.loops.erase(name);
        for (const auto& [variable, old] : before) {
            const auto found = scope_.variables.find(variable);
            if (found == scope_.variables.end()) continue;
            found->second.type.dim.reset();
            if (merged(old, found->second.type)) continue;
            errors_.error(assigned.at(variable),
                          fmt::format("'{}' is {} before the loop, but {} after a repetition",
                                      variable, describe(old), describe(found->second.type)));
            found->second.type = {};
        }
    }

    void branch(const ast::Statement& statement) {
        const Scope before = scope_;
        std::set<std::string> facts = before.facts;
        std::vector<Scope> ends;
        bool has_else = false;
        for (const ast::Arm& arm : statement.arms) {
            scope_ = before;
            scope_.facts = facts;
            if (arm.condition) {
                expressions_.need_truth(*arm.condition, scope_);
                scope_.facts.merge(facts_of(*arm.condition, true));
                facts.merge(facts_of(*arm.condition, false));
            } else {
                has_else = true;
            }
            statements(arm.body, nullptr, std::nullopt);
            ends.push_back(std::move(scope_));
        }
        if (!has_else) ends.push_back(before);
        scope_ = before;
        join(statement, ends);
    }

    /// What holds after a branch is what holds after each of its arms.
    void join(const ast::Statement& statement, const std::vector<Scope>& ends) {
        std::map<std::string, Position> names = scope_.uncertain;
        for (const Scope& end : ends) {
            for (const auto& [name, symbol] : end.variables) names.emplace(name, statement.at);
            names.insert(end.uncertain.begin(), end.uncertain.end());
        }
        for (const auto& [name, at] : names) {
            std::optional<Named> joined;
            bool everywhere = true;
            for (const Scope& end : ends) {
                const auto found = end.variables.find(name);
                if (found == end.variables.end()) {
                    everywhere = false;
                } else if (!joined) {
                    joined = found->second;
                } else if (const auto both = merged(joined->type, found->second.type)) {
                    joined->type = *both;
                } else {
                    errors_.error(
                        statement.at,
                        fmt::format("'{}' is {} after one arm of this if and {} after "
                                    "another",
                                    name, describe(joined->type), describe(found->second.type)));
                    joined->type = {};
                }
            }
            if (everywhere && joined) {
                scope_.variables.insert_or_assign(name, *joined);
                scope_.uncertain.erase(name);
            } else {
                scope_.variables.erase(name);
                scope_.uncertain.emplace(name, at);
            }
        }
    }

    Scope scope_;
    ExpressionChecker& expressions_;
    Diagnostics& errors_;
    std::string tokens_;
};

}  // namespace

void check_forward(const ast::Forward& forward, Scope scope, ExpressionChecker& expressions,
                   Diagnostics& errors) {
    ForwardChecker(std::move(scope), expressions, errors).run(forward);
}

}  // namespace llmsql::compiler
