// SPDX-License-Identifier: MIT
// Hashing tables row by row. See model_digest.h.
#include "database/model_digest.h"

#include "common/row_digest.h"
#include "sqlite/statement.h"

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

std::string_view text_of(Bytes bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void add_value(RowDigest& digest, const Query& row, int column) {
    switch (sqlite3_column_type(row.raw(), column)) {
        case SQLITE_INTEGER:
            return digest.add_integer(row.as_integer(column));
        case SQLITE_FLOAT:
            return digest.add_real(row.as_real(column));
        case SQLITE_TEXT:
            return digest.add_text(text_of(row.as_bytes(column)));
        case SQLITE_BLOB:
            return digest.add_blob(text_of(row.as_bytes(column)));
        default:
            return digest.add_null();
    }
}

}  // namespace

std::string table_digest(const Connection& db, std::string_view table) {
    const Statement rows = db.prepare(query_of(table));
    Query row(rows);
    RowDigest digest;
    while (row.next())
        for (int column = 0; column < row.columns(); ++column) add_value(digest, row, column);
    return digest.hex();
}

}  // namespace llmsql
