// Engine: the state behind a running plan's tables.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/error.h"
#include "common/machine.h"
#include "runtime/ops/functions.h"
#include "runtime/program/executor.h"
#include "runtime/storage/arena.h"
#include "runtime/storage/kv_cache.h"
#include "runtime/storage/model_db.h"

namespace llmsql {

/// What llm_residency says: the plan was compiled for a budget.
struct Budget {
    int64_t bytes = 0;    // of the whole process's peak resident set
    int64_t pool = 0;     // the most bytes of tiles that are held
    int64_t workers = 0;  // the most threads that compute
    int64_t windows = 0;  // bytes for reading: of the file, mapped, or of a ring
    int64_t covered = 0;  // parameters whose tiles the residency rows cover
    uint64_t held = 0;    // bytes of the tiles that they hold
};

/// The rows of a pass that the tables show while a statement runs for one sequence of several.
struct RowWindow {
    int64_t first = 0, rows = 0;  // of the pass's tokens
    int64_t of = 0;               // the pass's tokens
    bool last() const { return first + rows == of; }
};

/// One plan over one model. Used by one thread at a time; evaluation shares work out by itself.
struct Engine {
    const ModelDb* db = nullptr;
    std::shared_ptr<Executor> executor;  // once the plan has been found to match the database
    OperatorState operators;
    std::optional<Arena> arena;           // made by llm_tensor
    std::optional<KvCache> cache;         // made by llm_kv
    std::string model;                    // the plan's name of the model, from llm_param
    std::string catalogue;                // and its catalogue checksum
    std::optional<Budget> budget;         // made by llm_residency
    std::vector<Residency> residency;     // its rows
    std::vector<ParamEntry> declared;     // rows inserted into `param`: the plan's catalogue
    std::optional<RowWindow> window;      // absent: all rows
    uint64_t writes = 0;                  // rows that `slot` and `kv` have taken
    std::optional<uint64_t> most_writes;  // once the statement that runs has stored its share
    bool declaring = false;               // a virtual table is telling SQLite its columns
    bool shapes_only = false;             // reading `tensor.data` yields shapes, nothing computed

    /// Where a person runs the plan, statement by statement, on a connection of their own: open()
    /// opens the database when `param` is made, begin() makes the executor when it is first needed,
    /// and what a statement stores is computed when it ends. Empty on a program's own connection.
    std::function<void()> open, begin;
    bool by_hand() const { return static_cast<bool>(begin); }
};

/// The most tokens that a tensor of the plan, which declares one at least, has room for: a pass's.
inline int64_t chunk_of(const Arena& arena) {
    int64_t most = 0;
    for (const auto& [id, place] : arena.places()) most = std::max(most, place.tokens());
    return most;
}

/// Counts a row that `slot` or `kv` takes; fails where a statement stores more than there is room
/// for.
inline void count_write(Engine& engine) {
    if (engine.most_writes && engine.writes >= *engine.most_writes)
        fail("the statement stores more rows than there are tensors and cache layers");
    ++engine.writes;
}

/// The workers that a plan's budget leaves of those that are asked for.
inline int workers_of(const Engine& engine, int threads) {
    if (threads <= 0) threads = usable_cores();
    return engine.budget ? std::min(threads, static_cast<int>(engine.budget->workers)) : threads;
}

/// The executor of what a plan's init has declared: its model, its residency, within its budget.
/// `threads` 0: as many as the process may use physical cores. Of `pool`, what the budget leaves
/// for reading is filled in.
///
/// A process forked from this one never takes it apart: locks and conditions of threads that are
/// missing there cannot be.
inline std::shared_ptr<Executor> make_executor(const Engine& engine, int threads,
                                               PoolOptions pool) {
    if (engine.budget) pool.windows = static_cast<uint64_t>(engine.budget->windows);
    auto made =
        std::make_unique<Executor>(*engine.db, engine.residency, pool, workers_of(engine, threads));
    const auto end = [generation = fork_generation()](Executor* executor) {
        if (generation == fork_generation()) delete executor;
    };
    Executor* raw = made.release();
    return std::shared_ptr<Executor>(raw, end);
}

/// The engine's executor; fails where there is none yet.
inline Executor& executor_of(Engine& engine) {
    if (!engine.executor && engine.begin) engine.begin();
    if (!engine.executor) fail("nothing can be computed in init");
    return *engine.executor;
}

}  // namespace llmsql
