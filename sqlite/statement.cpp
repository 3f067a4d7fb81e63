// SPDX-License-Identifier: MIT
// Running statements. See statement.h.
#include "sqlite/statement.h"

#include "common/error.h"

namespace llmsql {
namespace {

Bytes bytes_at(const void* data, sqlite3_stmt* statement, int column) {
    if (!data) return {};
    return {static_cast<const std::byte*>(data),
            static_cast<size_t>(sqlite3_column_bytes(statement, column))};
}

}  // namespace

std::string column_text(sqlite3_stmt* statement, int column) {
    const Bytes text = bytes_at(sqlite3_column_text(statement, column), statement, column);
    return {reinterpret_cast<const char*>(text.data()), text.size()};
}

// A statement that is in use is not there: then it is prepared once more, and the one that comes
// back last stays.
Statement& Query::keep(const Connection& db, std::string_view sql) {
    auto& statements = db.kept_->statements;
    auto found = statements.find(sql);
    if (found == statements.end()) found = statements.emplace(sql, Statement()).first;
    if (!found->second) found->second = db.prepare(sql);
    return found->second;
}

Query::~Query() {
    sqlite3_reset(raw());
    sqlite3_clear_bindings(raw());
    if (home_) *home_ = std::move(taken_);
}

bool Query::next() {
    const int code = sqlite3_step(raw());
    if (code == SQLITE_ROW) return true;
    if (code != SQLITE_DONE) fail_by_sqlite(code);
    return false;
}

void Query::fail_by_sqlite(int code) const {
    static const Connection::Words kUnnamed{"SQLite"};
    Connection::fail_in(statement_->words_ ? *statement_->words_ : kUnnamed,
                        sqlite3_db_handle(raw()), code, {});
}

bool Query::is_null(int column) const {
    return sqlite3_column_type(raw(), column) == SQLITE_NULL;
}

// Columns keep values of any type, whatever they are declared: a file may have been edited.
void Query::require_type(int column, int type) const {
    const int found = sqlite3_column_type(raw(), column);
    if (found == type || (type == SQLITE_FLOAT && found == SQLITE_INTEGER)) return;
    fail("{}: a value of '{}' is of another type than was written: the file has been changed",
         statement_->words_ ? statement_->words_->name : "SQLite",
         sqlite3_column_name(raw(), column));
}

std::optional<int64_t> Query::find_integer(int column) const {
    if (sqlite3_column_type(raw(), column) != SQLITE_INTEGER) return std::nullopt;
    return as_integer(column);
}

std::optional<Bytes> Query::find_blob(int column) const {
    if (sqlite3_column_type(raw(), column) != SQLITE_BLOB) return std::nullopt;
    return as_bytes(column);
}

int64_t Query::integer(int column) const {
    require_type(column, SQLITE_INTEGER);
    return as_integer(column);
}

double Query::real(int column) const {
    require_type(column, SQLITE_FLOAT);
    return as_real(column);
}

std::string Query::text(int column) const {
    require_type(column, SQLITE_TEXT);
    return as_text(column);
}

Bytes Query::blob(int column) const {
    require_type(column, SQLITE_BLOB);
    return as_bytes(column);
}

std::string Query::as_text(int column) const {
    return column_text(raw(), column);
}

Bytes Query::as_bytes(int column) const {
    return bytes_at(sqlite3_column_blob(raw(), column), raw(), column);
}

// To SQLite a null pointer is NULL, however many bytes.
void Query::bind(int parameter, std::string_view value) {
    check(sqlite3_bind_text64(raw(), parameter, value.data() ? value.data() : "", value.size(),
                              SQLITE_STATIC, SQLITE_UTF8));
}

void Query::bind(int parameter, Bytes value) {
    const void* data = value.data();
    check(sqlite3_bind_blob64(raw(), parameter, data ? data : "", value.size(), SQLITE_STATIC));
}

int Blob::open(const Connection& db, const char* table, const char* column, int64_t rowid,
               Access access) {
    raw_.reset();
    sqlite3_blob* raw = nullptr;
    const int code = sqlite3_blob_open(db.get(), "main", table, column, rowid,
                                       access == Access::write ? 1 : 0, &raw);
    raw_.reset(raw);
    return code;
}

}  // namespace llmsql
