// SPDX-License-Identifier: MIT
// A graph file read, parsed and checked.
#pragma once

#include <filesystem>

#include "compiler/parse/ast.h"

namespace llmsql::compiler {

struct GraphFile {
    SourceFile source;
    ast::Graph graph;
};

/// Throws Error with the file's errors, if there are any. `checked` false stops after the syntax.
GraphFile read_graph_file(const std::filesystem::path& path, bool checked = true);

}  // namespace llmsql::compiler
