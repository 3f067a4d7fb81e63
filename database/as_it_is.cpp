// SPDX-License-Identifier: MIT
// Reading a database file without a trace. See as_it_is.h.
#include "database/as_it_is.h"

#include "common/files.h"

namespace llmsql {
namespace {

// A name for SQLite that has it read the file as it is.
std::string immutable_uri(const std::filesystem::path& path) {
    constexpr char kDigits[] = "0123456789ABCDEF";
    std::string uri = "file:";
    for (const unsigned char c : absolute_path(path).string()) {
        const bool plain = c == '/' || c == '.' || c == '-' || c == '_' || (c >= '0' && c <= '9') ||
                           (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (plain)
            uri += static_cast<char>(c);
        else
            uri += {'%', kDigits[c >> 4], kDigits[c & 15]};
    }
    return uri + "?immutable=1";
}

}  // namespace

AsItIs::AsItIs(const std::filesystem::path& path) {
    sqlite3* raw = nullptr;
    code = sqlite3_open_v2(immutable_uri(path).c_str(), &raw,
                           SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, nullptr);
    db_.reset(raw);
    if (raw) sqlite3_db_config(raw, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
}

AsItIs::Rows AsItIs::query(const char* sql) {
    sqlite3_stmt* statement = nullptr;
    if (code == SQLITE_OK) code = sqlite3_prepare_v2(db_.get(), sql, -1, &statement, nullptr);
    Rows rows(statement);
    if (code == SQLITE_OK) code = sqlite3_step(statement);
    return rows;
}

std::string AsItIs::message() const {
    return db_ ? sqlite3_errmsg(db_.get()) : sqlite3_errstr(code);
}

std::string AsItIs::text(const Rows& row, int column) {
    const auto* value = reinterpret_cast<const char*>(sqlite3_column_text(row.get(), column));
    return value ? std::string(value, static_cast<size_t>(sqlite3_column_bytes(row.get(), column)))
                 : std::string();
}

}  // namespace llmsql
