// SPDX-License-Identifier: MIT
// The one bridge from SQLite's virtual tables to C++. It has two faces: table.h, whose tables are
// made by CREATE VIRTUAL TABLE and hold rows, and table_function.h, whose rows are the result of a
// call. Here is what they have in common: registration, connecting, cursors, and the guard that
// makes a statement's error of each exception.
//
// HOW IT WORKS. A module makes VirtualTables; a VirtualTable opens VirtualCursors, and says in
// best_index() which constraints it takes; a VirtualCursor is given their values by filter() and
// then goes over the rows. SQLite calls, in this order: (make, best_index, open_cursor, filter,
// {at_end, column, row_id, next}*)*. Both classes begin with the structs that SQLite wants.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "sqlite/api.h"

namespace llmsql {

/// A pass over the rows of a table. Errors are exceptions; the statement reports their text.
class VirtualCursor : public sqlite3_vtab_cursor {
  public:
    VirtualCursor() : sqlite3_vtab_cursor{} {}
    virtual ~VirtualCursor() = default;

    /// Begins, or begins anew, with what best_index() has left and the values of the constraints.
    virtual void filter(int number, const char* text, std::span<sqlite3_value*> values) = 0;
    virtual bool at_end() const = 0;
    virtual void next() = 0;
    virtual int64_t row_id() const = 0;
    virtual void column(int column, sqlite3_context* context) = 0;
};

/// A table that a connection has. Used by one thread at a time, as its connection is.
class VirtualTable : public sqlite3_vtab {
  public:
    VirtualTable() : sqlite3_vtab{} {}
    virtual ~VirtualTable() = default;

    /// "CREATE TABLE x(…)", for sqlite3_declare_vtab.
    virtual const char* declaration() const = 0;
    /// Chooses how a statement's constraints are used; returns a result code.
    virtual int best_index(sqlite3_index_info* info) = 0;
    /// Null: memory ran out.
    virtual VirtualCursor* open_cursor() = 0;

    /// An INSERT: a value a declared column, NULL where the statement gave none.
    virtual void insert(std::span<sqlite3_value*>) {}
    virtual void destroyed() {}
    virtual void renamed(const char*) {}

    // Of transactions, where the module has them; savepoints by their number.
    virtual void begin() {}
    virtual void save(int) {}
    virtual void release(int) {}
    virtual void roll_back_to(int) {}
    virtual void roll_back() {}

  private:
    friend class VirtualTables;
    bool interrupted_ = false;  // while it was connected: its first use ends with that
};

/// What is asked when a module is registered.
struct VirtualModule {
    /// A table: the arguments are SQLite's, and `created` says that it is made by a CREATE, not
    /// connected anew.
    std::function<std::unique_ptr<VirtualTable>(std::span<const char* const> arguments,
                                                bool created)>
        make;
    bool is_function = false;   // never made by CREATE: its name is a table of each connection
    bool transactions = false;  // its tables are told of them
    bool* declaring = nullptr;  // set while one of its tables tells SQLite its columns
};

/// Registers a module on a connection, which keeps it. Fails if SQLite refuses.
void register_module(sqlite3* db, const char* name, VirtualModule module);

}  // namespace llmsql
