// SPDX-License-Identifier: MIT
// TableFunction: the face of virtual tables (virtual_table.h) that are calls:
// SELECT … FROM llm_stream('The river', '{…}').
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "sqlite/api.h"

namespace llmsql {

/// The rows of one call, made as they are read. Errors are exceptions.
class Rows {
  public:
    virtual ~Rows() = default;
    /// Goes to the next row, the first at first; false after the last.
    virtual bool next() = 0;
    virtual void column(int column, sqlite3_context* context) = 0;
};

class NoRows final : public Rows {
  public:
    bool next() override { return false; }
    void column(int, sqlite3_context*) override {}
};

struct TableFunction {
    static constexpr int kMostArguments = 5;

    const char* name;
    const char* declaration;  // "CREATE TABLE x(a, …, argument HIDDEN, …)"
    int columns;              // before the arguments; those behind them are hidden, too
    int least, most;          // arguments
};

/// Makes the rows of a call. An argument that was not given is a null pointer.
using TableCall = std::function<std::unique_ptr<Rows>(std::span<sqlite3_value*>)>;

/// Registers `function`, which must outlive the connection, on it. Fails if SQLite refuses.
void register_table_function(sqlite3* db, const TableFunction& function, TableCall call);

}  // namespace llmsql
