// SPDX-License-Identifier: MIT
// What identifies a model database file, for the program that writes it and the one that reads it.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/types.h"

namespace llmsql {

inline constexpr int64_t kModelApplicationId = 0x6c6d7371;  // 'lmsq'
/// What import writes, and the oldest that is still read. 2: more weight formats
/// (common/weight_format.h), whose tiles are cut by the pages. 3: nvfp4 in 4.5 bits a weight,
/// tq1_0. 4: tiles of wide matrices, and of all types, fill the pages (TileCut).
inline constexpr int64_t kModelFormatVersion = 4, kOldestModelFormat = 1;
inline constexpr int64_t kCutSince = 4;
constexpr TileCut cut_of_format(int64_t version) {
    return version < kCutSince ? TileCut::format_1 : TileCut::format_4;
}
inline constexpr int64_t kModelPageBytes = 65536;

/// What each message has in it of a database that is not what was imported.
inline constexpr std::string_view kImportAgain = "import the model";

/// Where plans are installed: one a name. Made by the first that is.
inline constexpr char kPlanTable[] =
    "CREATE TABLE IF NOT EXISTS llm_plan(name TEXT PRIMARY KEY, sql TEXT NOT NULL)";
inline constexpr char kDefaultPlan[] = "default";

}  // namespace llmsql
