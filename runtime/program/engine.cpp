// SPDX-License-Identifier: MIT
// What the tables have declared, taken together. See engine.h.
#include "runtime/program/engine.h"

#include "common/process_memory.h"
#include "common/sizes.h"

namespace llmsql {

bool stands(const Engine& engine, const TableName& name) {
    return sqlite3_table_column_metadata(engine.connection, name.schema.c_str(), name.table.c_str(),
                                         nullptr, nullptr, nullptr, nullptr, nullptr,
                                         nullptr) == SQLITE_OK;
}

void check_budget(const Engine& engine, const std::string& where) {
    if (!engine.residency) return;
    const Budget& budget = engine.residency->budget;
    const int64_t process = process_bytes(budget.workers);
    const int64_t arena = engine.arena ? engine.arena->bytes() : 0;
    const int64_t cache = engine.cache ? engine.cache->bytes() : 0;
    const int64_t sum = size_sum(process, budget.pool, budget.windows, arena, cache);
    if (sum > budget.bytes)
        fail(
            "{}: the plan takes {} bytes at least, more than its budget of {}: process {}, held "
            "weights {}, windows {}, activations {}, cache {}",
            where, sum, budget.bytes, process, budget.pool, budget.windows, arena, cache);
}

void fit_cache(Engine& engine) {
    if (engine.cache && engine.arena && !engine.arena->places().empty())
        engine.cache->set_chunk(chunk_of(*engine.arena));
}

int workers_of(const Engine& engine, int threads) {
    if (threads <= 0) threads = usable_cores();
    return engine.residency ? std::min(threads, static_cast<int>(engine.residency->budget.workers))
                            : threads;
}

std::shared_ptr<Executor> make_executor(const Engine& engine, int threads, PoolOptions pool) {
    static const std::vector<Residency> kAllHeld;
    const auto& residency = engine.residency;
    if (residency) pool.windows = static_cast<uint64_t>(residency->budget.windows);
    auto made =
        std::make_unique<Executor>(*engine.params->db, residency ? residency->rows : kAllHeld, pool,
                                   workers_of(engine, threads));
    const auto end = [generation = fork_generation()](Executor* executor) {
        if (generation == fork_generation()) delete executor;
    };
    Executor* raw = made.release();
    return std::shared_ptr<Executor>(raw, end);
}

namespace {

// Where init has come to an end can't be told by hand: what computes is made when it is wanted.
void begin_by_hand(Engine& engine) {
    const auto& params = current(engine, engine.params);
    require_not_lost<Catalogue>(engine, params, params);
    if (!params || params->entries.empty())
        fail("nothing can be computed before the plan's init has declared its parameters");
    if (engine.executor && engine.executor == params->executor) return;
    engine.executor.reset();
    if (!params->executor) {
        const auto& residency = current(engine, engine.residency);
        require_not_lost<ResidencyPlan>(engine, residency, residency);
        if (residency && residency->of.get() != params.get())
            fail(
                "the rows of `residency` are of another table `param`, or there are none: DROP "
                "TABLE residency and declare it again");
        current(engine, engine.arena);
        current(engine, engine.cache);
        if (residency) {
            residency->require_covered(params->db->catalogue().size(), "residency");
            fit_cache(engine);
            check_budget(engine, "residency");
        }
        PoolOptions pool;
        pool.io.reset();
        params->executor = make_executor(engine, 0, pool);
        engine.operators.forget();  // what it keeps of other weights
    }
    // Kept with all that it needs: the database that it reads.
    engine.executor = {params, params->executor.get()};
}

}  // namespace

Executor& executor_of(Engine& engine) {
    if (engine.by_hand()) begin_by_hand(engine);
    if (!engine.executor) fail("nothing can be computed in init");
    return *engine.executor;
}

}  // namespace llmsql
