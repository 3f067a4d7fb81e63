// SPDX-License-Identifier: MIT
// SessionFile: an SQLite database of sessions, opened to be written. docs/sessions.md has the
// format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "sqlite/statement.h"

namespace llmsql {

inline constexpr int64_t kSessionApplicationId = 0x6c6d7373;  // 'lmss'
inline constexpr int64_t kSessionFormatVersion = 1;

/// Not thread-safe. Errors name the file and say what to do; where memory ran out, std::bad_alloc.
class SessionFile {
  public:
    /// Opens the file, or makes it where `make` says so and there is none. Refuses what is no
    /// session file, one of another version, and one whose tables are not as they were made.
    SessionFile(const std::filesystem::path& path, bool make);
    SessionFile(const SessionFile&) = delete;
    SessionFile& operator=(const SessionFile&) = delete;

    std::string name() const { return path_.string(); }
    sqlite3* handle() const { return db_.get(); }

    /// Begins to write, unless that has begun; what is written stays when commit() says so, and
    /// goes when the file is closed or roll_back() is called.
    void begin();
    void commit();
    void roll_back() noexcept;

    /// Rows that the last statement changed, and the id of the row that it inserted.
    int64_t changed() const { return sqlite3_changes(db_.get()); }
    int64_t inserted() const { return sqlite3_last_insert_rowid(db_.get()); }

    /// Fails with what SQLite says of the last call.
    [[noreturn]] void fail_by_sqlite() const;

  private:
    friend class Query;
    void check(int code) const;
    void execute(std::string_view sql);
    int64_t pragma(const char* sql);
    void make_tables();
    void check_tables();

    std::filesystem::path path_;
    Connection db_;
    std::map<std::string_view, Statement> statements_;
};

/// One run of a statement, whose text must be a literal: it stays prepared. Values are bound in
/// the order of its parameters; texts and blobs must live as long as the Query does.
class Query {
  public:
    template<class... Values>
    Query(SessionFile& file, std::string_view sql, const Values&... values) : file_(file) {
        open(sql);
        int parameter = 0;
        (bind(++parameter, values), ...);
    }
    Query(const Query&) = delete;
    Query& operator=(const Query&) = delete;
    ~Query();

    /// Steps to the next row; false at the end.
    bool next();
    /// To the end.
    void run() {
        while (next()) {
        }
    }

    // Of the row, columns counted from 0. All but is_null() and those that begin with `find` fail,
    // naming the file and the column, where the value is of another type.
    bool is_null(int column) const;
    std::optional<int64_t> find_integer(int column) const;
    std::optional<std::span<const std::byte>> find_blob(int column) const;
    int64_t integer(int column) const;
    double real(int column) const;
    std::string text(int column) const;
    std::span<const std::byte> blob(int column) const;  // valid until the next step

  private:
    void open(std::string_view sql);
    void require_type(int column, int type) const;
    void bind(int parameter, int64_t value);
    void bind(int parameter, double value);
    void bind(int parameter, const std::string& value);
    void bind(int parameter, std::span<const std::byte> value);
    template<class Value>
    void bind(int parameter, const std::optional<Value>& value) {
        if (value) bind(parameter, *value);  // what is not bound is NULL
    }

    SessionFile& file_;
    sqlite3_stmt* statement_ = nullptr;
};

}  // namespace llmsql
