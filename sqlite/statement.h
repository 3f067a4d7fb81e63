// SPDX-License-Identifier: MIT
// RAII for the SQLite C API, and its errors as Errors.
#pragma once

#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <string_view>

#include "common/error.h"
#include "sqlite/api.h"

namespace llmsql {

struct StatementFinalizer {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Statement = std::unique_ptr<sqlite3_stmt, StatementFinalizer>;

struct ConnectionCloser {
    void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
using Connection = std::unique_ptr<sqlite3, ConnectionCloser>;

struct BlobCloser {
    void operator()(sqlite3_blob* blob) const { sqlite3_blob_close(blob); }
};
using Blob = std::unique_ptr<sqlite3_blob, BlobCloser>;

/// What SQLite says of the last call on a connection; where it speaks of itself, of the statement.
inline std::string message_of(sqlite3* db) {
    const std::string message = sqlite3_errmsg(db);
    if (message != "parser stack overflow") return message;
    return "brackets, expressions or subqueries are nested too deeply for SQLite (" + message + ")";
}

/// Fails with what SQLite says of the last call on a connection, and, of a database file that is
/// not as it was imported, what to do. `what` starts the error's text. Lack of memory is
/// std::bad_alloc.
[[noreturn]] inline void fail_by(sqlite3* db, std::string_view what) {
    const int code = sqlite3_errcode(db) & 0xff;
    if (code == SQLITE_NOMEM) throw std::bad_alloc();
    const char* message = sqlite3_errmsg(db);
    const char* file = sqlite3_db_filename(db, "main");
    if (std::string_view(message).starts_with("no such table: pragma_"))
        fail("{}: this SQLite was built with SQLITE_OMIT_SCHEMA_PRAGMAS: llmsql cannot do without",
             what);
    if (!file || !*file) fail("{}: {}", what, message);  // a plan's tables
    if (code == SQLITE_INTERRUPT)  // only what watches over the database does that
        fail("{}: the database file is damaged (a table does not end); import the model again",
             what);
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
        fail("{}: the database file is damaged ({}); import the model again", what, message);
    if (code == SQLITE_ERROR || code == SQLITE_ABORT)
        fail("{}: not what was imported ({}); import the model again", what, message);
    fail("{}: {}", what, message);
}

/// Prepares one statement that stays for long; `where` starts the error's text.
inline Statement prepare(sqlite3* db, std::string_view sql, std::string_view where) {
    sqlite3_stmt* raw = nullptr;
    if (sqlite3_prepare_v3(db, sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT,
                           &raw, nullptr) != SQLITE_OK)
        fail_by(db, where);
    return Statement(raw);
}

/// Steps to the next row: true if there is one. Errors start with `where`.
inline bool step(sqlite3_stmt* statement, std::string_view where) {
    const int code = sqlite3_step(statement);
    if (code == SQLITE_ROW) return true;
    if (code == SQLITE_DONE) return false;
    fail_by(sqlite3_db_handle(statement), where);
}

inline std::string column_text(sqlite3_stmt* statement, int column) {
    const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, column));
    const int bytes = sqlite3_column_bytes(statement, column);
    return text ? std::string(text, static_cast<size_t>(bytes)) : std::string();
}

/// What SQLite says that a table of the main schema is: "table", "view", "virtual"; empty if there
/// is none. In place of a table that is read, the others would run what a stranger wrote.
inline std::string table_type(sqlite3* db, std::string_view table, std::string_view where) {
    // Before 3.37 it says that nowhere. But it opens no schema whose rows do not say of what their
    // texts create whether it is a table or a view; the texts of tables begin alike, and no other
    // does.
    const Statement type = prepare(
        db,
        sqlite3_libversion_number() >= 3037000
            ? "SELECT type FROM pragma_table_list(?) WHERE schema = 'main'"
            : "SELECT CASE WHEN type = 'table' AND substr(sql, 1, 13) <> 'CREATE TABLE ' THEN "
              "'virtual' ELSE type END "
              "FROM main.sqlite_master WHERE name = ? COLLATE nocase AND type IN ('table', 'view')",
        where);
    sqlite3_bind_text(type.get(), 1, table.data(), static_cast<int>(table.size()), SQLITE_STATIC);
    return step(type.get(), where) ? column_text(type.get(), 0) : std::string();
}

/// Resets a statement and its bindings when a scope ends.
class ResetAtExit {
  public:
    explicit ResetAtExit(sqlite3_stmt* statement) : statement_(statement) {}
    ResetAtExit(const ResetAtExit&) = delete;
    ResetAtExit& operator=(const ResetAtExit&) = delete;
    ~ResetAtExit() { sqlite3_reset(statement_); }

  private:
    sqlite3_stmt* statement_;
};

}  // namespace llmsql
