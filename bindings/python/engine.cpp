// SPDX-License-Identifier: MIT
// libllmsql_engine: a SQLite connection with llmsql's functions, for languages that call C. It
// brings a SQLite of its own, so that it needs nothing of the program's.
//
// HOW IT WORKS. There is no logic here: whoever opens a connection asks it in SQL
// (docs/sql-reference.md).
//
//     llmsql_open(&db, &error)                            error: a line, for llmsql_free()
//     llmsql_prepare(db, "SELECT llm_generate(?)", -1, &statement)
//     llmsql_bind_text(statement, 1, prompt, bytes)
//     llmsql_step(statement)                              100: a row; 101: the end; else wrong
//     llmsql_error(db)                                    what is wrong
//     llmsql_column_text(statement, 0, &bytes)            valid until the next call for it
//     llmsql_finalize(statement), llmsql_close(db)
//
// Codes and types are SQLite's. A connection is used by one thread at a time, but for
// llmsql_interrupt().
#define SQLITE_CORE  // names are functions of the SQLite that is linked in
#include "sqlite/linked.h"

extern "C" int sqlite3_llmsql_init(sqlite3*, char**, const sqlite3_api_routines*);

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT int llmsql_open(sqlite3** db, char** error) {
    *error = nullptr;
    int code = sqlite3_open_v2(":memory:", db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
    if (code != SQLITE_OK) {
        *error = sqlite3_mprintf("%s", sqlite3_errstr(code));
    } else {
        code = sqlite3_llmsql_init(*db, error, &llmsql::kLinkedSqlite);
        if (code == SQLITE_OK_LOAD_PERMANENTLY) code = SQLITE_OK;
    }
    if (code != SQLITE_OK) {
        sqlite3_close_v2(*db);
        *db = nullptr;
    }
    return code;
}

EXPORT void llmsql_free(void* memory) {
    sqlite3_free(memory);
}

EXPORT void llmsql_close(sqlite3* db) {
    sqlite3_close_v2(db);
}

EXPORT void llmsql_interrupt(sqlite3* db) {
    sqlite3_interrupt(db);
}

/// Has `ask` called every so many steps of the connection's statements, which end where it returns
/// anything but 0. A null pointer: nobody is asked.
EXPORT void llmsql_ask(sqlite3* db, int steps, int (*ask)(void*), void* argument) {
    sqlite3_progress_handler(db, steps, ask, argument);
}

EXPORT const char* llmsql_error(sqlite3* db) {
    return sqlite3_errmsg(db);
}

EXPORT int llmsql_prepare(sqlite3* db, const char* sql, int bytes, sqlite3_stmt** statement) {
    return sqlite3_prepare_v2(db, sql, bytes, statement, nullptr);
}

EXPORT int llmsql_bind_null(sqlite3_stmt* statement, int index) {
    return sqlite3_bind_null(statement, index);
}

EXPORT int llmsql_bind_integer(sqlite3_stmt* statement, int index, long long value) {
    return sqlite3_bind_int64(statement, index, value);
}

EXPORT int llmsql_bind_text(sqlite3_stmt* statement, int index, const char* text,
                            unsigned long long bytes) {
    return sqlite3_bind_text64(statement, index, text, bytes, SQLITE_TRANSIENT, SQLITE_UTF8);
}

EXPORT int llmsql_step(sqlite3_stmt* statement) {
    return sqlite3_step(statement);
}

EXPORT int llmsql_column_count(sqlite3_stmt* statement) {
    return sqlite3_column_count(statement);
}

EXPORT int llmsql_column_type(sqlite3_stmt* statement, int column) {
    return sqlite3_column_type(statement, column);
}

EXPORT long long llmsql_column_integer(sqlite3_stmt* statement, int column) {
    return sqlite3_column_int64(statement, column);
}

EXPORT double llmsql_column_real(sqlite3_stmt* statement, int column) {
    return sqlite3_column_double(statement, column);
}

EXPORT const void* llmsql_column_text(sqlite3_stmt* statement, int column, int* bytes) {
    const unsigned char* const text = sqlite3_column_text(statement, column);
    *bytes = sqlite3_column_bytes(statement, column);
    return text;
}

EXPORT int llmsql_finalize(sqlite3_stmt* statement) {
    return sqlite3_finalize(statement);
}
