// SPDX-License-Identifier: MIT
// Table: the face of virtual tables (virtual_table.h) that are sets of rows with integer keys, read
// by equality or range on integer columns, written by INSERT alone.
//
// HOW IT WORKS. A table says which rows it has within ranges, and what is in their columns:
//
//     SELECT data FROM tensor WHERE id = ?1 AND column BETWEEN 3 AND 5
//
// becomes select({{?1, ?1}, {3, 5}, …}), whose keys SQLite then asks column() about, one after the
// other. Where the host may roll back what its INSERTs did, mark() says how far the table has been
// written, and undo() takes back what came since.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sqlite/api.h"

namespace llmsql {

/// What a statement asks of a table's integer columns: a closed range each.
struct Ranges {
    struct Range {
        int64_t low = std::numeric_limits<int64_t>::min();
        int64_t high = std::numeric_limits<int64_t>::max();
        bool contains(int64_t value) const { return low <= value && value <= high; }
    };
    static constexpr int kColumns = 8;
    std::array<Range, kColumns> columns;
    const Range& operator[](int column) const { return columns[static_cast<size_t>(column)]; }
};

/// The rows that a cursor goes over.
struct Selected {
    std::vector<int64_t> keys;
    std::shared_ptr<const void>
        of;  // what they are rows of, where the table alone does not keep it
};

/// How far a table has been written, for undo().
struct Mark {
    uint64_t state = 0;  // whose rows
    uint64_t rows = 0;   // or writes
};

/// One virtual table. Errors are exceptions; the statement reports their text.
class Table {
  public:
    virtual ~Table() = default;

    /// "CREATE TABLE x(…)", for sqlite3_declare_vtab.
    virtual const char* declaration() const = 0;
    /// Columns 0 … n - 1 hold integers that constraints may be pushed down on; n is at most
    /// Ranges::kColumns.
    virtual int integer_columns() const { return 1; }
    /// The keys of the rows within the ranges, in rising order.
    virtual Selected select(const Ranges& ranges) const = 0;
    virtual void column(const Selected& rows, int64_t key, int column,
                        sqlite3_context* context) const = 0;
    /// One value a declared column, NULL where the statement gave none.
    virtual void insert(std::span<sqlite3_value*> values) = 0;

    /// DROP TABLE: what it has declared is no longer there.
    virtual void dropped() {}
    // Where transactions are told of.
    virtual Mark mark() const { return {}; }
    /// A transaction, or a part of it, is rolled back: what came since mark() was this goes.
    virtual void undo(const Mark&) {}
};

/// Where a table stands in its connection's schema.
struct TableName {
    std::string schema, table;
    bool operator==(const TableName&) const = default;
};

/// key=value arguments of CREATE VIRTUAL TABLE … USING module(key=value, …).
class ModuleArguments {
  public:
    /// As SQLite passes them; `created`: of CREATE, not of a table that is connected anew.
    ModuleArguments(std::span<const char* const> arguments, bool created);

    const TableName& table() const { return table_; }
    bool created() const { return created_; }
    const std::string& all() const { return all_; }  // as they were written

    int64_t integer(const std::string& key) const;  // fails if absent or not an integer
    int64_t integer_or(const std::string& key, int64_t absent) const;
    std::string text(const std::string& key) const;
    /// Fails on a key that has not been asked for.
    void require_all_used() const;

  private:
    const std::string& value(const std::string& key) const;
    std::string module_, all_;
    TableName table_;
    bool created_;
    std::map<std::string, std::string> values_;
    mutable std::map<std::string, bool> used_;
};

struct TableModule {
    std::function<std::unique_ptr<Table>(const ModuleArguments&)> make;
    bool transactions = false;  // and DROP, RENAME: somebody else's statements use the tables
    bool* declaring = nullptr;  // set while one of its tables tells SQLite its columns
    std::function<void(const TableName& before, const TableName& now)> renamed = nullptr;
};

/// Registers a module of tables on a connection. Fails if SQLite refuses.
void register_table(sqlite3* db, const char* name, TableModule module);

// Values of an INSERT, checked; `what` names the column in errors.
int64_t integer_value(sqlite3_value* value, const char* what);
/// What a value is, for an error's "not …": a number as it is, else its type.
std::string described(sqlite3_value* value);
std::string text_value(sqlite3_value* value, const char* what);

}  // namespace llmsql
