// SPDX-License-Identifier: MIT
// What of a statement's result a trace holds: values under names.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "plan/outline.h"
#include "runtime/observe/values.h"
#include "runtime/program/observer.h"

namespace llmsql {

/// Names under which a step's result is recorded: its own; "NAME.q", … for the slices of what it
/// writes, where there are some; "NAME.k" and "NAME.v" for what it appends to the cache.
std::vector<std::string> recorded_names(const Outline& outline, const OutlineStep& step);

/// Calls `take` with each name and its values, whose first token stands at `position`.
void for_each_recorded(const Outline& outline, const PassView& view,
                       const std::function<void(const std::string& name, const StoredValues&,
                                                int64_t position)>& take);

}  // namespace llmsql
