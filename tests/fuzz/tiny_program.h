// SPDX-License-Identifier: MIT
// Running a plan over the tiny model of tests/unit/runtime/tiny_plan.h, through all that llmsql-run
// does with one.
#pragma once

#include <array>
#include <vector>

#include "runtime/program/program.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/runtime/tiny_plan.h"

namespace llmsql::fuzz {

using test::kPlanEnd;
using test::plan_start;
using test::tiny_model;

/// `plan` with the number of statements that it has: an edit is then not refused for that alone.
std::string with_its_count(const Folder& folder, std::string plan);

/// Opens a plan over the tiny model and runs it: two passes, logits, a chat. True if nothing of it
/// was refused.
bool run_plan(std::string_view plan);

}  // namespace llmsql::fuzz
