// SPDX-License-Identifier: MIT
// What the tables have declared, taken together. See plan_state.h.
#include "runtime/program/plan_state.h"

#include "common/process_memory.h"
#include "common/sizes.h"

namespace llmsql {

void check_budget(const PlanState& state, const std::string& where) {
    if (!state.residency) return;
    const Budget& budget = state.residency->budget;
    const int64_t process = process_bytes(budget.workers);
    const int64_t arena = state.arena ? state.arena->bytes() : 0;
    const int64_t cache = state.cache ? state.cache->bytes() : 0;
    const int64_t states = state.recurrent ? state.recurrent->bytes() : 0;
    const int64_t sum = size_sum(process, budget.pool, budget.windows, arena, cache, states);
    if (sum > budget.bytes)
        fail(
            "{}: the plan takes {} bytes at least, more than its budget of {}: process {}, held "
            "weights {}, windows {}, activations {}, cache {}{}",
            where, sum, budget.bytes, process, budget.pool, budget.windows, arena, cache,
            states > 0 ? fmt::format(", recurrent state {}", states) : "");
}

void fit_cache(PlanState& state) {
    if (state.cache && state.arena && !state.arena->places().empty())
        state.cache->set_chunk(chunk_of(*state.arena));
}

int workers_of(const PlanState& state, int threads) {
    if (threads <= 0) threads = usable_cores();
    return state.residency ? std::min(threads, static_cast<int>(state.residency->budget.workers))
                           : threads;
}

std::shared_ptr<Compute> make_compute(const PlanState& state, int threads, PoolOptions pool) {
    static const std::vector<Residency> kAllHeld;
    const auto& residency = state.residency;
    if (residency) pool.windows = static_cast<uint64_t>(residency->budget.windows);
    auto made = std::make_unique<Compute>(*state.params->db, residency ? residency->rows : kAllHeld,
                                          pool, workers_of(state, threads));
    const auto end = [generation = fork_generation()](Compute* compute) {
        if (generation == fork_generation()) delete compute;
    };
    Compute* raw = made.release();
    return std::shared_ptr<Compute>(raw, end);
}

Compute& compute_of(PlanState& plan) {
    Compute* const compute = plan.ready();
    if (!compute) fail("nothing can be computed in init");
    return *compute;
}

}  // namespace llmsql
