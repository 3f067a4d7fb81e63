// SPDX-License-Identifier: MIT
// The SQLite library that has loaded the extension: its table of functions, checked once, and what
// stands in for functions that it was built without.
#pragma once

#include <string>

#include "sqlite/api.h"

namespace llmsql {

/// Takes the functions that the extension calls from `api`; from then on sqlite3_…() are these.
/// Returns nothing, or one line that says why that cannot be: the library is too old, it was built
/// without a function that cannot be done without, or another one has loaded the extension before.
/// What was taken before then stays. Thread-safe.
///
/// Without sqlite3_progress_handler(), a thread looks after statements in its place: what the
/// handler would be asked is asked every 20 ms, by that thread, while sqlite3_step() is under way.
/// Without sqlite3_blob_open() and its like, what needs them fails, saying so. Where SQLite does
/// not count its memory, sqlite3_memory_used() is a quarter of what the process has allocated.
std::string adopt_sqlite(const sqlite3_api_routines* api);

}  // namespace llmsql
