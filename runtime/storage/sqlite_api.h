// SPDX-License-Identifier: MIT
// SQLite's interface, as what includes it is built: for our own programs, which link the library,
// or for the loadable extension, which calls the SQLite that has loaded it and no other: two in one
// process would lose each other's locks on a file.
#pragma once

#ifdef LLMSQL_WITHOUT_SQLITE
#error \
    "this file is compiled once for programs and extension (runtime/engine.cmake), so it may not call SQLite"
#elif defined(LLMSQL_EXTENSION)
#include <sqlite3ext.h>
extern "C" {
SQLITE_EXTENSION_INIT3
}
#else
#include <sqlite3.h>
#endif
