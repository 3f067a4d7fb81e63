// SQLite's text functions whose time grows with the product of their arguments' lengths, made anew
// for a plan's connection: what is searched for may be short only.
#pragma once

#include "runtime/storage/sqlite_api.h"

namespace llmsql {

/// Registers instr, replace, trim, ltrim and rtrim on a connection, in place of SQLite's.
void register_text_functions(sqlite3* db);

}  // namespace llmsql
