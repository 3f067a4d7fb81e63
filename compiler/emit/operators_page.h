// SPDX-License-Identifier: MIT
// docs/operators.md, made from the operator table.
#pragma once

#include <string>

namespace llmsql::compiler {

/// The reference page of all operators as Markdown: what `llmsqlc --emit=operators` prints.
std::string operators_page();

/// The graph language's operators in short, for docs/graph-language.md.
std::string operators_summary();

}  // namespace llmsql::compiler
