// SPDX-License-Identifier: MIT
// The functions of the SQLite that is linked in. See linked.h.
#define SQLITE_CORE  // names are functions here, not members of the table
#include "sqlite/linked.h"

#include "sqlite/functions.h"

namespace llmsql {
namespace {

// What the table calls otherwise than the library does.
constexpr auto& sqlite3_interruptx = sqlite3_interrupt;
constexpr auto& sqlite3_xthreadsafe = sqlite3_threadsafe;

constexpr sqlite3_api_routines table_of_linked() {
    sqlite3_api_routines table{};
#define FUNCTION(name) table.name = sqlite3_##name;
#define OMITTED(name, option) FUNCTION(name)
    LLMSQL_SQLITE_FUNCTIONS(FUNCTION, OMITTED, OMITTED)
    // These only programs call, or tests.
    FUNCTION(bind_int)
    FUNCTION(bind_null)
    FUNCTION(bind_text)
    FUNCTION(bind_zeroblob)
    FUNCTION(close)
    FUNCTION(column_int)
    FUNCTION(db_filename)
    FUNCTION(errcode)
    FUNCTION(open)
    FUNCTION(result_blob)
    FUNCTION(result_null)
    FUNCTION(status)
    FUNCTION(status64)
    FUNCTION(vfs_find)
    FUNCTION(vfs_register)
#undef FUNCTION
#undef OMITTED
    return table;
}

}  // namespace

constinit const sqlite3_api_routines kLinkedSqlite = table_of_linked();

}  // namespace llmsql
