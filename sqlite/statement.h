// SPDX-License-Identifier: MIT
// Statement, a prepared one; Query, one run of it with its values bound and its rows read; Blob,
// one value read and written by parts. See connection.h for how they go together.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "sqlite/connection.h"

namespace llmsql {

/// A prepared statement, finalized when this goes, which must be before its connection is closed by
/// anybody but its Connection. One Query at a time.
class Statement {
  public:
    Statement() = default;
    /// Takes one over that was prepared by other means: its errors are SQLite's own.
    explicit Statement(sqlite3_stmt* raw) : raw_(raw) {}

    explicit operator bool() const { return static_cast<bool>(raw_); }
    sqlite3_stmt* get() const { return raw_.get(); }
    void reset(sqlite3_stmt* raw = nullptr) { raw_.reset(raw); }

  private:
    friend class Connection;
    friend class Query;
    struct Finalizer {
        void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
    };

    std::unique_ptr<sqlite3_stmt, Finalizer> raw_;
    std::shared_ptr<const Connection::Words> words_;
};

namespace sqlite_detail {
struct Kept {
    std::map<std::string, Statement, std::less<>> statements;
};
}  // namespace sqlite_detail

/// Bytes of a value.
using Bytes = std::span<const std::byte>;
inline Bytes bytes_of(std::string_view text) {
    return std::as_bytes(std::span(text.data(), text.size()));
}

/// One run of a statement. Values are bound in the order of its parameters; texts and blobs must
/// live as long as the Query does, and so must the statement and the connection. Integers, reals,
/// texts (std::string_view), blobs (Bytes), and std::optional of these: without a value NULL.
class Query {
  public:
    /// The statement of that text, which stays prepared with the connection.
    template<class... Values>
    Query(const Connection& db, std::string_view sql, const Values&... values)
        : home_(&keep(db, sql)), taken_(std::move(*home_)), statement_(&taken_) {
        bind_all(values...);
    }
    template<class... Values>
    explicit Query(const Statement& statement, const Values&... values) : statement_(&statement) {
        bind_all(values...);
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
    int columns() const { return sqlite3_column_count(raw()); }
    sqlite3_stmt* raw() const { return statement_->get(); }

    // Of the row, columns counted from 0: values of the type that is asked for. These fail where it
    // is another, naming the database and the column; those that begin with `find` return nothing.
    int64_t integer(int column) const;
    double real(int column) const;
    std::string text(int column) const;
    Bytes blob(int column) const;  // valid until the next step
    std::optional<int64_t> find_integer(int column) const;
    std::optional<Bytes> find_blob(int column) const;

    // As SQLite converts them: 0 and nothing of NULL.
    bool is_null(int column) const;
    int64_t as_integer(int column) const { return sqlite3_column_int64(raw(), column); }
    double as_real(int column) const { return sqlite3_column_double(raw(), column); }
    std::string as_text(int column) const;
    Bytes as_bytes(int column) const;  // valid until the next step

    /// Fails with what SQLite says of the last call, which returned `code`.
    [[noreturn]] void fail_by_sqlite(int code) const;

  private:
    static Statement& keep(const Connection& db, std::string_view sql);
    void require_type(int column, int type) const;
    void check(int code) const {
        if (code != SQLITE_OK) fail_by_sqlite(code);
    }

    template<class... Values>
    void bind_all(const Values&... values) {
        int parameter = 0;
        (bind(++parameter, values), ...);
    }

    template<std::integral Value>
    void bind(int parameter, Value value) {
        check(sqlite3_bind_int64(raw(), parameter, static_cast<int64_t>(value)));
    }
    void bind(int parameter, double value) { check(sqlite3_bind_double(raw(), parameter, value)); }
    void bind(int parameter, std::string_view value);
    void bind(int parameter, Bytes value);
    template<class Value>
    void bind(int parameter, const std::optional<Value>& value) {
        if (value) bind(parameter, *value);  // what is not bound is NULL
    }

    Statement* home_ = nullptr;  // where it goes back to
    Statement taken_;
    const Statement* statement_;
};

/// One blob of a table, read and written by parts. Calls return SQLite's result code, so that their
/// callers may say in the connection's words which blob it was, or do without it.
class Blob {
  public:
    explicit operator bool() const { return static_cast<bool>(raw_); }
    int64_t bytes() const { return sqlite3_blob_bytes(raw_.get()); }

    /// The blob in `column` of a row of the main schema. SQLITE_ERROR: the value is none.
    [[nodiscard]] int open(const Connection& db, const char* table, const char* column,
                           int64_t rowid, Access access);
    /// That column of another row.
    [[nodiscard]] int reopen(int64_t rowid) { return sqlite3_blob_reopen(raw_.get(), rowid); }
    [[nodiscard]] int read(size_t at, std::span<std::byte> out) {
        return sqlite3_blob_read(raw_.get(), out.data(), static_cast<int>(out.size()),
                                 static_cast<int>(at));
    }
    [[nodiscard]] int write(size_t at, Bytes part) {
        return sqlite3_blob_write(raw_.get(), part.data(), static_cast<int>(part.size()),
                                  static_cast<int>(at));
    }
    void close() { raw_.reset(); }

  private:
    struct Closer {
        void operator()(sqlite3_blob* blob) const { sqlite3_blob_close(blob); }
    };
    std::unique_ptr<sqlite3_blob, Closer> raw_;
};

/// A column of a statement's row as text, nothing of NULL.
std::string column_text(sqlite3_stmt* statement, int column);

/// Resets a statement when a scope ends.
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
