// SPDX-License-Identifier: MIT
// From graph-language text to its tree.
#pragma once

#include <optional>
#include <string_view>

#include "compiler/parse/ast.h"

namespace llmsql::compiler {

/// Parses a graph file. Syntax errors go to `errors`, several if there are several, and then there
/// is no tree. Nesting is limited (64 brackets deep, 1000 tokens a statement), so that no input can
/// exhaust the stack here or in any later pass.
std::optional<ast::Graph> parse_graph(const SourceFile& source, Diagnostics& errors);

/// Only what stands before its declarations: name and annotations. Takes a tenth of a millisecond,
/// where all of a file takes ten. Nothing where that has errors.
std::optional<ast::Graph> parse_graph_head(const SourceFile& source);

/// Parses one expression of this project's own, such as a default in the operator table; throws
/// Error if it is none.
ast::Expr parse_expression(std::string_view text);

}  // namespace llmsql::compiler
