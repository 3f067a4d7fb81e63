// SPDX-License-Identifier: MIT
// Plans that were installed in a model database (llmsqlc --install).
#pragma once

#include <string>
#include <vector>

#include "plan/plan_file.h"
#include "runtime/weights/model_db.h"

namespace llmsql {

/// Their names, sorted.
std::vector<std::string> installed_plans(const ModelDb& db);

/// The plan of a name; of an empty one the one called "default", or the only one. Errors of the
/// plan call it "model.db(name)". Fails, naming those there are, where it can't be told which.
PlanFile installed_plan(const ModelDb& db, const std::string& name);

}  // namespace llmsql
