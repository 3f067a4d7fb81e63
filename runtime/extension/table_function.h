// SPDX-License-Identifier: MIT
// Table-valued functions: what SQLite's interface for them is reduced to here.
#pragma once

#include <memory>
#include <span>

#include "runtime/extension/call.h"

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
    const char* name;
    const char* declaration;  // "CREATE TABLE x(a, …, argument HIDDEN, …)"
    int columns;              // before the arguments; those behind them are hidden, too
    int least, most;          // arguments
    /// An argument that was not given is a null pointer.
    std::unique_ptr<Rows> (*call)(const std::shared_ptr<Host>&, std::span<sqlite3_value*>);
};

/// Registers `function`, which must outlive the connection.
void register_table_function(const std::shared_ptr<Host>& host, const TableFunction& function);

}  // namespace llmsql
