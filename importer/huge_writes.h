// SPDX-License-Identifier: MIT
// A VFS of SQLite's for a file that is written from front to back: what SQLite writes page by page
// goes to the system 2 MiB at a time. The page cache is then made of huge pages at once, where the
// file system has them, from which weights are streamed up to twice as fast (docs/memory.md,
// "Reading"); otherwise the file would have to be read again from the disk for that.
#pragma once

#include <cstddef>

#include "sqlite/api.h"

namespace llmsql {

/// The name of the VFS, to open a database with. It does as the default one does until
/// write_hugely().
const char* huge_writes_vfs();

/// From now on what is written to the database's file is kept in up to `stretches` stretches of 2
/// MiB, each written through `descriptor`, by a thread of its own, when it is whole or another is
/// to be begun; all of them by the end of a transaction. Errors of writing are those of what is
/// written later, or of the transaction's end. The descriptor must stay open as long as the
/// connection, and is not closed with it: closing a descriptor drops the process's locks on its
/// file. Returns SQLite's code: SQLITE_OK, or SQLITE_NOMEM, or that the connection was not opened
/// with this VFS.
int write_hugely(sqlite3* db, int descriptor, size_t stretches);

/// The system's error behind the last write that failed on this thread since a database was opened
/// so; 0: none. SQLite does not ask for it where a commit fails.
int huge_writes_errno();

}  // namespace llmsql
