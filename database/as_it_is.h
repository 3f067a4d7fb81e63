// SPDX-License-Identifier: MIT
// AsItIs: a database file read as it lies there: no lock, no log, no file beside it is made or
// looked at. For files that nobody is writing to.
#pragma once

#include <sqlite3.h>

#include <filesystem>
#include <memory>
#include <string>

namespace llmsql {

/// Nothing throws: `code` is that of the last step, and what follows an error is not done.
/// Not thread-safe.
class AsItIs {
  public:
    struct Finalizer {
        void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
    };
    using Rows = std::unique_ptr<sqlite3_stmt, Finalizer>;

    explicit AsItIs(const std::filesystem::path& path);

    /// Prepares a statement and goes to its first row: `code` is SQLITE_ROW if there is one.
    Rows query(const char* sql);
    std::string message() const;

    static std::string text(const Rows& row, int column);

    int code = SQLITE_OK;

  private:
    struct Closer {
        void operator()(sqlite3* db) const { sqlite3_close(db); }
    };
    std::unique_ptr<sqlite3, Closer> db_;
};

}  // namespace llmsql
