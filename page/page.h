// SPDX-License-Identifier: MIT
// A plan, and what was measured of a run of it, as one page that a browser opens from disk.
#pragma once

#include <nlohmann/json.hpp>

#include <string>

#include "plan/outline.h"
#include "plan/plan_file.h"

namespace llmsql {

using Json = nlohmann::ordered_json;

/// What the page shows of any plan. To this a compiler may add "compiled" and a runner "run":
/// docs/seeing.md says what is in them.
Json plan_json(const PlanFile& plan, const Outline& outline);

/// The whole page: template, style, script and data in one file that needs no other.
std::string page_html(const Json& data);

/// What the page's first line starts with, by which an earlier one is recognised.
inline constexpr const char* kPageStart = "<!doctype html>\n<!-- llmsql page";

}  // namespace llmsql
