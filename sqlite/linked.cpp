// SPDX-License-Identifier: MIT
// The table of functions of api.h for programs: those of the SQLite they are linked with.
#define SQLITE_CORE  // names are functions here, not members of the table
#include <sqlite3ext.h>

#include "sqlite/functions.h"

namespace {

// What the table calls otherwise than the library does.
constexpr auto& sqlite3_interruptx = sqlite3_interrupt;
constexpr auto& sqlite3_xthreadsafe = sqlite3_threadsafe;

constinit const sqlite3_api_routines linked = [] {
    sqlite3_api_routines table{};
#define FUNCTION(name) table.name = sqlite3_##name;
#define OMITTED(name, option) FUNCTION(name)
    LLMSQL_SQLITE_FUNCTIONS(FUNCTION, OMITTED, OMITTED)
    // These only tests call.
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
}();

}  // namespace

extern "C" {
extern const sqlite3_api_routines* sqlite3_api;
const sqlite3_api_routines* sqlite3_api = &linked;
}
