// SPDX-License-Identifier: MIT
// Query results as text, for tests.
#pragma once

#include <sqlite3.h>

#include <filesystem>
#include <stdexcept>
#include <string>

namespace llmsql::test {

class Sql {
  public:
    explicit Sql(const std::filesystem::path& path) { sqlite3_open(path.c_str(), &db_); }
    Sql(const Sql&) = delete;
    Sql& operator=(const Sql&) = delete;
    ~Sql() { sqlite3_close_v2(db_); }

    sqlite3* handle() const { return db_; }

    /// All rows: columns parted by |, rows by ;.
    std::string text(const std::string& query) const {
        return run(query, [](sqlite3_stmt* row) {
            std::string line;
            for (int c = 0; c < sqlite3_column_count(row); ++c) {
                if (c > 0) line += '|';
                const auto* value = reinterpret_cast<const char*>(sqlite3_column_text(row, c));
                line += value ? value : "NULL";
            }
            return line;
        });
    }

    /// The first column of the only row, as it is.
    std::string blob(const std::string& query) const {
        return run(query, [](sqlite3_stmt* row) {
            const auto* data = static_cast<const char*>(sqlite3_column_blob(row, 0));
            return std::string(data, static_cast<size_t>(sqlite3_column_bytes(row, 0)));
        });
    }

  private:
    template<class Line>
    std::string run(const std::string& query, Line line) const {
        sqlite3_stmt* statement = nullptr;
        if (sqlite3_prepare_v2(db_, query.c_str(), -1, &statement, nullptr) != SQLITE_OK)
            throw std::runtime_error(sqlite3_errmsg(db_));
        std::string result;
        bool first = true;
        while (sqlite3_step(statement) == SQLITE_ROW) {
            if (!first) result += ';';
            result += line(statement);
            first = false;
        }
        if (sqlite3_finalize(statement) != SQLITE_OK) throw std::runtime_error(sqlite3_errmsg(db_));
        return result;
    }

    sqlite3* db_ = nullptr;
};

}  // namespace llmsql::test
