// SPDX-License-Identifier: MIT
// Naming statements of a plan, as people do: by number, by line, by name.
#pragma once

#include <string>
#include <vector>

#include "plan/outline.h"

namespace llmsql {

/// "12": the statement of that number; ":345": the one on that line of the plan; "layer.3": all of
/// a layer; "layer.3.x#2": the one of that name; "attention": all that are called so, in any layer;
/// "all". In the order of the plan. Fails where there is none, saying what names there are.
std::vector<const OutlineStep*> select_steps(const Outline& outline, const std::string& which);

}  // namespace llmsql
