// SPDX-License-Identifier: MIT
// The tables of a plan (sqlite/table.h), and what they have declared.
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

#include <functional>
#include <memory>
#include <utility>

#include "runtime/compute/evaluate.h"
#include "runtime/program/plan_state.h"
#include "sqlite/table.h"

namespace llmsql {

/// Registers llm_param, llm_residency, llm_tensor, llm_slot, llm_chosen, llm_kv_layer, llm_kv,
/// llm_state and llm_scan on a connection. The plan outlives the connection.
void register_tables(sqlite3* db, PlanState& plan);

// What the table files offer to table.cpp.
std::unique_ptr<Table> make_param_table(PlanState& plan, const ModuleArguments& arguments);
std::unique_ptr<Table> make_residency_table(PlanState& plan, const ModuleArguments& arguments);
std::unique_ptr<Table> make_tensor_table(PlanState& plan, const ModuleArguments& arguments);
std::unique_ptr<Table> make_slot_table(PlanState& plan, const ModuleArguments& arguments);
std::unique_ptr<Table> make_chosen_table(PlanState& plan, const ModuleArguments& arguments);
std::unique_ptr<Table> make_state_table(PlanState& plan, const ModuleArguments& arguments);
std::unique_ptr<Table> make_scan_table(PlanState& plan, const ModuleArguments& arguments);

/// Has `evaluate(place, data, rows around)` called for tensor `id`, which `expr` is to be stored
/// in; and notes that it holds that. Fails where it may not be written, or has no room.
void store_in_tensor(
    PlanState& plan, int64_t id, const ExprPtr& expr,
    const std::function<void(const TensorPlace&, std::byte*, const RowsAround&)>& evaluate);
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

}  // namespace llmsql
