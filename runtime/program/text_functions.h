// SPDX-License-Identifier: MIT
// SQLite's text functions whose time grows with the product of their arguments' lengths, made anew
// for a plan's connection: what is searched for may be short only, and a call can be ended.
#pragma once

#include <functional>

#include "sqlite/api.h"

namespace llmsql {

/// Registers instr, replace, trim, ltrim, rtrim and like (with it the operator LIKE) on a
/// connection, in place of SQLite's. They call `pulse` between pieces of work, which throws where a
/// call must end.
void register_text_functions(
    sqlite3* db, std::function<void()> pulse = [] {});

}  // namespace llmsql
