// SPDX-License-Identifier: MIT
// Registering the tables of a plan. See table.h.
#include "runtime/program/table.h"

#include <utility>

namespace llmsql {

// A program's tables are made once, by its init, and what fails there ends it: its statements are
// spared the calls for transactions.
void register_tables(sqlite3* db, PlanState& state) {
    using MakeTable = std::unique_ptr<Table> (*)(PlanState&, const ModuleArguments&);
    constexpr std::pair<const char*, MakeTable> kTables[] = {
        {"llm_param", make_param_table},       {"llm_residency", make_residency_table},
        {"llm_tensor", make_tensor_table},     {"llm_slot", make_slot_table},
        {"llm_kv_layer", make_kv_layer_table}, {"llm_kv", make_kv_table},
        {"llm_chosen", make_chosen_table},     {"llm_state", make_state_table},
        {"llm_scan", make_scan_table},
    };
    const auto renamed = [&state](const TableName& before, const TableName& now) {
        for (TableName* owner : {&state.params.owner, &state.residency.owner, &state.arena.owner,
                                 &state.cache.owner, &state.recurrent.owner})
            if (*owner == before) *owner = now;
    };
    for (const auto& [name, make] : kTables)
        register_table(
            db, name,
            {.make = [&state, make = make](
                         const ModuleArguments& arguments) { return make(state, arguments); },
             .transactions = state.hears_transactions(),
             .declaring = &state.declaring,
             .renamed = renamed});
}

}  // namespace llmsql
