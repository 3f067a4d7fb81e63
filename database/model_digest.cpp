// SPDX-License-Identifier: MIT
// Hashing tables row by row. See model_digest.h.
#include "database/model_digest.h"

#include <memory>

#include "common/error.h"
#include "common/row_digest.h"

namespace llmsql {
namespace {

std::string query_of(std::string_view table) {
    if (table == "llm_param")
        return "SELECT id, name, type, rows, cols, tile_rows FROM llm_param ORDER BY id";
    if (table == "llm_token") return "SELECT id, piece, kind, score FROM llm_token ORDER BY id";
    if (table == "llm_merge")
        return "SELECT left, right, rank, merged FROM llm_merge ORDER BY left, right";
    return "SELECT key, value FROM llm_meta WHERE key <> 'digest.llm_meta' ORDER BY key";
}

std::string_view bytes_of(sqlite3_stmt* row, int column, const void* data) {
    const auto bytes = static_cast<size_t>(sqlite3_column_bytes(row, column));
    return bytes == 0 ? std::string_view()
                      : std::string_view(static_cast<const char*>(data), bytes);
}

void add_value(RowDigest& digest, sqlite3_stmt* row, int column) {
    switch (sqlite3_column_type(row, column)) {
        case SQLITE_INTEGER:
            return digest.add_integer(sqlite3_column_int64(row, column));
        case SQLITE_FLOAT:
            return digest.add_real(sqlite3_column_double(row, column));
        case SQLITE_TEXT:
            return digest.add_text(bytes_of(row, column, sqlite3_column_text(row, column)));
        case SQLITE_BLOB:
            return digest.add_blob(bytes_of(row, column, sqlite3_column_blob(row, column)));
        default:
            return digest.add_null();
    }
}

}  // namespace

std::string table_digest(sqlite3* db, std::string_view table, std::string_view where) {
    sqlite3_stmt* raw = nullptr;
    int code = sqlite3_prepare_v2(db, query_of(table).c_str(), -1, &raw, nullptr);
    const std::unique_ptr<sqlite3_stmt, int (*)(sqlite3_stmt*)> query(raw, sqlite3_finalize);
    RowDigest digest;
    while (code == SQLITE_OK || code == SQLITE_ROW) {
        code = sqlite3_step(raw);
        if (code != SQLITE_ROW) break;
        for (int column = 0; column < sqlite3_column_count(raw); ++column)
            add_value(digest, raw, column);
    }
    if (code != SQLITE_DONE) fail("{}: {}: {}", where, table, sqlite3_errmsg(db));
    return digest.hex();
}

}  // namespace llmsql
