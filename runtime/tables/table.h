// Table: what SQLite's virtual table interface is reduced to here, and its registration.
//
// Every table of a plan is a set of rows with integer keys, read by equality or range on integer
// columns, written by INSERT alone.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/storage/sqlite_api.h"

namespace llmsql {

struct Engine;

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

/// One virtual table. Errors are exceptions; the statement reports their text.
class Table {
  public:
    virtual ~Table() = default;

    /// "CREATE TABLE x(…)", for sqlite3_declare_vtab.
    virtual const char* declaration() const = 0;
    /// Columns 0 … n - 1 hold integers that constraints may be pushed down on.
    virtual int integer_columns() const { return 1; }
    /// The keys of the rows within the ranges, in rising order.
    virtual std::vector<int64_t> select(const Ranges& ranges) const = 0;
    virtual void column(int64_t row, int column, sqlite3_context* context) const = 0;
    /// One value a declared column, NULL where the statement gave none.
    virtual void insert(std::span<sqlite3_value*> values) = 0;
};

/// key=value arguments of CREATE VIRTUAL TABLE … USING module(key=value, …).
class ModuleArguments {
  public:
    ModuleArguments(int argc, const char* const* argv);  // as SQLite passes them

    int64_t integer(const std::string& key) const;  // fails if absent or not an integer
    std::string text(const std::string& key) const;
    /// Fails on a key that has not been asked for.
    void require_all_used() const;

  private:
    const std::string& value(const std::string& key) const;
    std::string module_;
    std::map<std::string, std::string> values_;
    mutable std::map<std::string, bool> used_;
};

/// Registers llm_param, llm_residency, llm_tensor, llm_slot, llm_chosen, llm_kv_layer and llm_kv on
/// a connection. The engine outlives the connection.
void register_tables(sqlite3* db, Engine& engine);

// What the table files offer to table.cpp.
std::unique_ptr<Table> make_param_table(Engine& engine, const ModuleArguments& arguments);
std::unique_ptr<Table> make_residency_table(Engine& engine, const ModuleArguments& arguments);
std::unique_ptr<Table> make_tensor_table(Engine& engine, const ModuleArguments& arguments);
std::unique_ptr<Table> make_slot_table(Engine& engine, const ModuleArguments& arguments);
std::unique_ptr<Table> make_chosen_table(Engine& engine, const ModuleArguments& arguments);
std::unique_ptr<Table> make_kv_layer_table(Engine& engine, const ModuleArguments& arguments);
std::unique_ptr<Table> make_kv_table(Engine& engine, const ModuleArguments& arguments);

// Values of an INSERT, checked; `what` names the column in errors.
int64_t integer_value(sqlite3_value* value, const char* what);
std::string text_value(sqlite3_value* value, const char* what);

}  // namespace llmsql
