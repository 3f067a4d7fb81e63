// SPDX-License-Identifier: MIT
// A run's profile as the page of its plan, with the times laid over it.
#pragma once

#include <string>

#include "plan/plan_file.h"
#include "runtime/observe/run_profile.h"

namespace llmsql {

/// HTML; see page/page.h.
std::string profile_page(const PlanFile& plan, const RunProfile& run);

}  // namespace llmsql
