// SPDX-License-Identifier: MIT
// The functions of the SQLite that a program or library is linked with, as a table.
#pragma once

#include <sqlite3ext.h>

namespace llmsql {

/// Of what sqlite/functions.h lists, and what tests call.
extern const sqlite3_api_routines kLinkedSqlite;

}  // namespace llmsql
