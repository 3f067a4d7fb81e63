// SPDX-License-Identifier: MIT
// One statement of a plan as SQL, and as the comment above it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "compiler/ir/model.h"
#include "compiler/ir/plan.h"

namespace llmsql::compiler {

/// "INSERT INTO slot(id, data)\nSELECT … FROM … WHERE …;\n", as docs/plan-format.md has it.
std::string statement_sql(const Plan& plan, const std::vector<Param>& params,
                          const PlanInsert& statement);

/// What the statement computes, in the graph file's names: "x = x + linear(a, ffn_down)  f32[T,
/// 576], in place". Without the leading dashes; `rows` is what the section calls its rows.
std::string statement_comment(const Plan& plan, const std::vector<Param>& params,
                              const PlanInsert& statement, std::string_view rows);

}  // namespace llmsql::compiler
