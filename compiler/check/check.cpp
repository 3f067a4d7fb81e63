// SPDX-License-Identifier: MIT
// The checker's order of work. See check.h.
#include "compiler/check/check.h"

#include <fmt/core.h>

#include "compiler/check/declarations.h"

namespace llmsql::compiler {
namespace {

void check_used(const ast::Name& name, const char* what, const std::string& block,
                const std::set<std::string>& used, Diagnostics& errors) {
    if (!used.contains(block.empty() ? name.text : block + "." + name.text))
        errors.error(name.at, fmt::format("{} '{}' is never used in forward", what, name.text));
}

/// What forward must use of the items of a graph or of a block.
template<class Item>
void check_used(const Item& item, const std::string& block, const std::set<std::string>& used,
                Diagnostics& errors) {
    if (const auto* param = std::get_if<ast::Parameter>(&item))
        check_used(param->name, "parameter", block, used, errors);
    if (const auto* state = std::get_if<ast::State>(&item))
        check_used(state->name, "state", block, used, errors);
}

}  // namespace

void check_graph(const ast::Graph& graph, Diagnostics& errors) {
    Scope scope;
    ExpressionChecker expressions(errors);
    check_declarations(graph, scope, expressions, errors);
    const ast::Forward* forward = nullptr;
    for (const auto& item : graph.items) {
        const auto* found = std::get_if<ast::Forward>(&item);
        if (found == nullptr) continue;
        if (forward != nullptr) {
            errors.error(found->at, fmt::format("a second forward; the first is in line {}",
                                                forward->at.line));
            continue;
        }
        forward = found;
    }
    if (forward == nullptr) {
        errors.error(graph.name.at, fmt::format("graph '{}' has no forward", graph.name.text));
        return;
    }
    check_forward(*forward, scope, expressions, errors);
    if (!errors.empty()) return;  // what is misspelt elsewhere would seem unused
    for (const auto& item : graph.items) {
        check_used(item, "", expressions.used(), errors);
        if (const auto* block = std::get_if<ast::Block>(&item))
            for (const auto& inner : block->items)
                check_used(inner, block->name.text, expressions.used(), errors);
    }
}

}  // namespace llmsql::compiler
