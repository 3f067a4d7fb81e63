// SPDX-License-Identifier: MIT
// PlanState: the state behind a running plan's tables: what init declares, what statements see.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/error.h"
#include "common/machine.h"
#include "runtime/compute/compute.h"
#include "runtime/compute/functions.h"
#include "runtime/state/arena.h"
#include "runtime/state/kv_cache.h"
#include "runtime/state/recurrent.h"
#include "runtime/weights/model_db.h"
#include "sqlite/table.h"

namespace llmsql {

/// What llm_residency says: the plan was compiled for a budget.
struct Budget {
    int64_t bytes = 0;                // of the whole process's peak resident set
    int64_t pool = 0;                 // the most bytes of tiles that are held
    int64_t workers = 0;              // the most threads that compute
    int64_t windows = 0;              // bytes for reading: of the file, mapped, or of a ring
    TileCut cut = TileCut::format_1;  // of the tiles that `residency` numbers
};

/// The rows of a pass that the tables show while a statement runs for one sequence of several.
struct SequenceRows {
    int64_t first = 0, rows = 0;  // of the pass's tokens
    int64_t of = 0;               // the pass's tokens
    bool last() const { return first + rows == of; }
};

/// Guessed tokens of a sequence that a plan may have room for in a pass.
inline constexpr int64_t kMostDrafts = 4095;

/// Snapshots of recurrent states that a plan may have room for.
inline constexpr int64_t kMostSnapshots = 4096;

/// A scan of a pass that may be cut, for RecurrentStates::go_back() to be followed by it.
struct CutScan {
    int64_t sequence = 0, state = 0;
    ExprPtr again;  // evaluate_scan_again()
};

/// What `param` declares: the plan's catalogue.
struct Catalogue {
    std::shared_ptr<const ModelDb> db;  // whose parameters they are
    std::string model;                  // the plan's name of the model
    std::string checksum;               // and of its catalogue
    std::vector<ParamEntry> entries;    // the rows
    std::shared_ptr<Compute> compute;   // by hand: what its rows' data belong to, once made
};

/// What `residency` declares, of the parameters of one catalogue.
struct ResidencyPlan {
    Budget budget;
    std::shared_ptr<const Catalogue> of;  // that the rows were checked against; null: none yet
    std::vector<Residency> rows;
    int64_t covered = 0;     // parameters whose tiles the rows cover
    int64_t held = 0;        // bytes of the tiles that they hold
    std::vector<bool> seen;  // by parameter: it has a row
    int64_t next_tile = 0;   // of the last row's parameter; 0: all its tiles are covered

    /// Adds a row. Each parameter's come together, from the first tile to the last, without a gap;
    /// parameters in the order in which a pass reads them, as reading goes ahead by it.
    void add(const Residency& row);
    /// Fails where the database cuts a parameter into other tiles than the plan's rows number.
    void require_cut(const ParamEntry& entry) const;
    /// Takes back all but the first `count` rows.
    void keep(size_t count);
    /// Fails unless all tiles of `parameters` parameters are covered.
    void require_covered(size_t parameters, const std::string& where) const;
};

/// What a table of a plan has declared, shared with the tables and cursors that show it: it is
/// what a statement that begins now works with.
template<class State>
struct Current : std::shared_ptr<State> {
    TableName owner;        // the table
    std::string arguments;  // that it was created with
    uint64_t number = 0;    // differs from every other state's, those before it too
    bool lost = false;      // the table stands in a schema, but its rows were another's
};

/// One plan over one model, as its program runs it: init declares everything once, then passes are
/// made. PlanByHand (plan_by_hand.h) overrides what differs where a person runs the statements.
/// Used by one thread at a time; evaluation shares work out by itself.
struct PlanState {
    PlanState() = default;
    PlanState(const PlanState&) = delete;
    PlanState& operator=(const PlanState&) = delete;
    virtual ~PlanState() = default;

    std::shared_ptr<const ModelDb> db;  // whose parameters `param` declares
    std::shared_ptr<Compute> compute;   // once the plan has been found to match the database
    OperatorState operators;
    Current<Catalogue> params;            // made by llm_param
    Current<ResidencyPlan> residency;     // made by llm_residency
    Current<Arena> arena;                 // made by llm_tensor
    Current<KvCache> cache;               // made by llm_kv
    Current<RecurrentStates> recurrent;   // made by llm_state
    std::vector<CutScan> cut_scans;       // of the last pass
    std::optional<SequenceRows> shown;    // absent: all rows
    uint64_t writes = 0;                  // rows that `slot`, `scan` and `kv` have taken
    std::optional<uint64_t> most_writes;  // once the statement that runs has stored its share
    bool declaring = false;               // a virtual table is telling SQLite its columns
    uint64_t states = 0;                  // that tables have made so far

    /// The database of a `param` that is made now.
    virtual std::shared_ptr<const ModelDb> model_db() { return db; }
    /// Whether a table of that name is in the schema: it may have gone with a ROLLBACK, of which
    /// tables are not told.
    virtual bool stands(const TableName&) const { return true; }
    /// Whether tables come and go, so that they have to hear of transactions. Fixed before
    /// register_tables().
    virtual bool hears_transactions() const { return false; }
    /// Whether what a statement stores is computed when it ends.
    virtual bool computes_at_once() const { return false; }
    /// What computes; null where init still declares.
    virtual Compute* ready() { return compute.get(); }
    /// `kv` is about to make room for what a statement stores.
    virtual void before_append() {}
    /// A row has been stored; its values may still have to be computed.
    virtual void after_store(Compute&) {}
};

/// What the tables have declared, as far as they are still there.
template<class State>
Current<State>& current(const PlanState& plan, Current<State>& state) {
    if (state && !plan.stands(state.owner)) state = {};
    return state;
}

/// What a table has declared goes with its DROP; should that be rolled back, the rows are lost.
template<class State>
void drop(Current<State>& state) {
    static_cast<std::shared_ptr<State>&>(state).reset();
    state.lost = true;
}

/// Fails where a table that stands in the schema again, or still, has lost its rows. `shown` is
/// what is about to be used: nothing is wrong with what is older than the present state.
template<class State>
void require_not_lost(const PlanState& plan, const Current<State>& state,
                      const std::shared_ptr<State>& shown) {
    if (!state.lost || shown != state || (!state && !plan.stands(state.owner))) return;
    fail(
        "the rows of the table {} are gone, by a DROP TABLE or CREATE that was rolled back, or "
        "with another connection: DROP TABLE it, create it again and declare its rows",
        state.owner.table);
}

/// The most tokens that a tensor of the plan, which declares one at least, has room for: a pass's.
inline int64_t chunk_of(const Arena& arena) {
    int64_t most = 0;
    for (const auto& [id, place] : arena.places()) most = std::max(most, place.tokens());
    return most;
}

/// Counts a row that `slot`, `scan` or `kv` takes; fails where a statement stores more than there
/// is room for.
inline void count_write(PlanState& plan) {
    if (plan.most_writes && plan.writes >= *plan.most_writes)
        fail("the statement stores more rows than there are tensors and cache layers");
    ++plan.writes;
}

/// The workers that a plan's budget leaves of those that are asked for.
int workers_of(const PlanState& plan, int threads);

/// Fails where what the tables have declared takes more than the budget that they name, as far as
/// that can be told from them: `where` is what the message begins with. The compiler counts more
/// (docs/memory.md); this holds for every process.
void check_budget(const PlanState& plan, const std::string& where);

/// Tells the cache how long the passes are that the tensors have room for.
void fit_cache(PlanState& plan);

/// The Compute of what a plan's init has declared: its model, its residency, within its budget.
/// `threads` 0: as many as the process may use physical cores. Of `pool`, what the budget leaves
/// for reading is filled in.
///
/// A process forked from this one never takes it apart: locks and conditions of threads that are
/// missing there cannot be.
std::shared_ptr<Compute> make_compute(const PlanState& plan, int threads, PoolOptions pool);

/// What computes the plan; fails where nothing does yet.
Compute& compute_of(PlanState& plan);

}  // namespace llmsql
