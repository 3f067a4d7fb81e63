// SPDX-License-Identifier: MIT
// Table: what SQLite's virtual table interface is reduced to here, and its registration.
//
// Every table of a plan is a set of rows with integer keys, read by equality or range on integer
// columns, written by INSERT alone.
//
// Where a plan is run by hand, tables come and go, and SQLite tells little of it: what a ROLLBACK
// of its CREATE takes away is disconnected when the last statement that knows it is finalised, if
// ever the host finalises it; and what any change of the schema disconnects is connected anew when
// it is next used. So what a table has declared is a state of its own, which PlanState, tables and
// cursors share: the plan has the present one, and asks the schema whether its table still stands
// there (current()); one that is connected anew goes on with it; and one that was taken away may be
// shown as long as some statement does, but nothing new is computed with it. INSERTs of rows go
// with a ROLLBACK, and of tensors and caches that were written to since, what they held.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/program/plan_state.h"
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
    /// Columns 0 … n - 1 hold integers that constraints may be pushed down on.
    virtual int integer_columns() const { return 1; }
    /// The keys of the rows within the ranges, in rising order.
    virtual Selected select(const Ranges& ranges) const = 0;
    virtual void column(const Selected& rows, int64_t key, int column,
                        sqlite3_context* context) const = 0;
    /// One value a declared column, NULL where the statement gave none.
    virtual void insert(std::span<sqlite3_value*> values) = 0;

    // By hand.
    /// DROP TABLE: what it has declared is no longer there.
    virtual void dropped() {}
    virtual Mark mark() const { return {}; }
    /// A transaction, or a part of it, is rolled back: what came since mark() was this goes.
    virtual void undo(const Mark&) {}
};

/// key=value arguments of CREATE VIRTUAL TABLE … USING module(key=value, …).
class ModuleArguments {
  public:
    /// As SQLite passes them; `created`: of CREATE, not of a table that is connected anew.
    ModuleArguments(int argc, const char* const* argv, bool created);

    const TableName& table() const { return table_; }
    bool created() const { return created_; }
    const std::string& all() const { return all_; }  // as they were written

    int64_t integer(const std::string& key) const;  // fails if absent or not an integer
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

/// Registers llm_param, llm_residency, llm_tensor, llm_slot, llm_chosen, llm_kv_layer and llm_kv on
/// a connection. The plan outlives the connection.
void register_tables(sqlite3* db, PlanState& plan);

// What the table files offer to table.cpp.
std::unique_ptr<Table> make_param_table(PlanState& plan, const ModuleArguments& arguments);
std::unique_ptr<Table> make_residency_table(PlanState& plan, const ModuleArguments& arguments);
std::unique_ptr<Table> make_tensor_table(PlanState& plan, const ModuleArguments& arguments);
std::unique_ptr<Table> make_slot_table(PlanState& plan, const ModuleArguments& arguments);
std::unique_ptr<Table> make_chosen_table(PlanState& plan, const ModuleArguments& arguments);
std::unique_ptr<Table> make_kv_layer_table(PlanState& plan, const ModuleArguments& arguments);
std::unique_ptr<Table> make_kv_table(PlanState& plan, const ModuleArguments& arguments);

/// The state that a table which is made now goes on with; null: it has to make one. Fails where
/// there is another such table.
template<class State>
std::shared_ptr<State> claim(PlanState& plan, Current<State>& state,
                             const ModuleArguments& arguments, const char* what) {
    if (!state) return nullptr;
    const bool own = state.owner == arguments.table();
    if (!own && plan.stands(state.owner))
        fail("the table {}.{} declares the plan's {} already: DROP TABLE it first",
             state.owner.schema, state.owner.table, what);
    if (arguments.created() || state.arguments != arguments.all()) return nullptr;
    state.owner = arguments.table();
    return state;
}

/// Makes a state that claim() did not find the plan's, once nothing can fail any more.
template<class State>
void install(PlanState& plan, Current<State>& state, std::shared_ptr<State> made,
             const ModuleArguments& arguments) {
    static_cast<std::shared_ptr<State>&>(state) = std::move(made);
    state.owner = arguments.table();
    state.arguments = arguments.all();
    state.number = ++plan.states;
    state.lost = !arguments.created();
}

// Values of an INSERT, checked; `what` names the column in errors.
int64_t integer_value(sqlite3_value* value, const char* what);
std::string text_value(sqlite3_value* value, const char* what);

}  // namespace llmsql
