// SPDX-License-Identifier: MIT
// Making what computes when a person wants it. See plan_by_hand.h.
#include "runtime/program/plan_by_hand.h"

#include "common/error.h"

namespace llmsql {

bool PlanByHand::stands(const TableName& name) const {
    return sqlite3_table_column_metadata(connection_, name.schema.c_str(), name.table.c_str(),
                                         nullptr, nullptr, nullptr, nullptr, nullptr,
                                         nullptr) == SQLITE_OK;
}

Compute* PlanByHand::ready() {
    const auto& declared = current(*this, params);
    require_not_lost<Catalogue>(*this, declared, declared);
    if (!declared || declared->entries.empty())
        fail("nothing can be computed before the plan's init has declared its parameters");
    if (compute && compute == declared->compute) return compute.get();
    compute.reset();
    if (!declared->compute) {
        const auto& rows = current(*this, residency);
        require_not_lost<ResidencyPlan>(*this, rows, rows);
        if (rows && rows->of.get() != declared.get())
            fail(
                "the rows of `residency` are of another table `param`, or there are none: DROP "
                "TABLE residency and declare it again");
        current(*this, arena);
        current(*this, cache);
        current(*this, recurrent);
        if (rows) {
            rows->require_covered(declared->db->catalogue().size(), "residency");
            fit_cache(*this);
            check_budget(*this, "residency");
        }
        PoolOptions pool;
        pool.io.reset();
        declared->compute = make_compute(*this, 0, pool);
        operators.forget();  // what it keeps of other weights
    }
    // Kept with all that it needs: the database that it reads.
    compute = {declared, declared->compute.get()};
    return compute.get();
}

void PlanByHand::before_append() {
    current(*this, arena);
    fit_cache(*this);
}

}  // namespace llmsql
