// docs/operators.md, made from the operator table.
#pragma once

#include <string>

namespace llmsql {

/// The reference page of all operators as Markdown: what `llmsqlc --emit=operators` prints.
std::string operators_page();

}  // namespace llmsql
