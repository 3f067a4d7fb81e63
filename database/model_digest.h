// SPDX-License-Identifier: MIT
// What the tables of a model database hash to, for the program that writes them and the one that
// verifies them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sqlite/connection.h"

namespace llmsql {

/// The tables that an import fills, llm_meta last; but for llm_tile, whose digest is taken while it
/// is written (importer/model_writer.cpp) and whenever it is opened (runtime/weights/tiles.cpp).
inline constexpr std::string_view kDigestedTables[] = {"llm_param", "llm_token", "llm_merge",
                                                       "llm_meta"};

/// Of all rows and columns of one of kDigestedTables, in the order of its key; of llm_meta, all
/// but its own digest. Fails in the connection's words.
std::string table_digest(const Connection& db, std::string_view table);

}  // namespace llmsql
