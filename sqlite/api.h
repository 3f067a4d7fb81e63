// SPDX-License-Identifier: MIT
// SQLite's interface, through a table of functions: in the loadable extension that of the SQLite
// that has loaded it and no other, as two in one process would lose each other's locks on a file
// (runtime/extension/sqlite_library.h); in programs that of the library they are linked with
// (linked.cpp). So the runtime is compiled once for both.
#pragma once

#include <sqlite3ext.h>

extern "C" {
SQLITE_EXTENSION_INIT3
}
