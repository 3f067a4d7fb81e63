// SPDX-License-Identifier: MIT
// The table of functions of api.h for programs: of the SQLite they are linked with, before anything
// calls one.
#define SQLITE_CORE
#include "sqlite/linked.h"

extern "C" {
extern const sqlite3_api_routines* sqlite3_api;
constinit const sqlite3_api_routines* sqlite3_api = &llmsql::kLinkedSqlite;
}
