// SPDX-License-Identifier: MIT
// What one statement of a pass names: see OutlineStep.
#pragma once

#include "plan/outline.h"

namespace llmsql {

/// Fills in operators, operation, what is written and what is read, from the step's SQL. `outline`
/// has the catalogue.
void read_statement(OutlineStep& step, const Outline& outline);

/// "layer.3.ffn_gate" of "layer.3.ffn_gate.17", a matrix of a table; other names as they are.
std::string table_of(const std::string& param);

}  // namespace llmsql
