// SPDX-License-Identifier: MIT
// Pass: a plan's forward and logits sections, stepped over tokens.
//
// How it works. Statements are stepped while those before them are computed: a statement builds
// deferred values, `slot` and `kv` take them and give the computing to a queue of jobs, which is
// drained at the end of the pass. A pass may be of several sequences. Statements that mention
// neither :position nor :sequence are stepped once over all rows; the others once for each
// sequence, whose rows alone it is shown. For example, with runs of 3 and 1 tokens:
//
//   INSERT INTO slot … llm_embed(w.data, :tokens) …         once, 4 rows
//   INSERT INTO slot … llm_rope(x.data, :position, …) …     twice, rows 0 to 2, then row 3
//   SELECT logits                                           of rows 2 and 3, when asked for
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/program/interruption.h"
#include "runtime/program/observer.h"
#include "runtime/program/pass_times.h"
#include "runtime/program/plan_connection.h"
#include "runtime/program/plan_state.h"
#include "runtime/program/profiler.h"

namespace llmsql {

/// Tokens that one sequence adds in a pass.
struct Run {
    std::span<const int32_t> tokens;
    int position = 0;  // of the first; at most the sequence's length so far
    int sequence = 0;
    bool may_be_cut = false;  // by cut(): what it takes is kept
    // Of recurrent states, the position at which a snapshot is to be kept, where there is room for
    // it (RecurrentStates::keep); 0: none.
    int snapshot = 0;
    bool question = false;  // which is where what is asked ends
};

/// Rows of logits, as they lie in the plan's arena.
struct Logits {
    const float* values = nullptr;
    int64_t stride = 0;  // floats from one row to the next
    int64_t vocabulary = 0;
    int rows = 0;

    /// f32[vocabulary]
    std::span<const float> row(int index) const {
        return {values + index * stride, static_cast<size_t>(vocabulary)};
    }
};

/// Not thread-safe. What is given to it outlives it.
class Pass {
  public:
    /// Prepares the sections, and finds how many rows and columns they have: init has run.
    Pass(const PlanFile& plan, PlanConnection& connection, PlanState& state,
         Interruption& interruption);

    /// What computes, and what is counted; before the first pass. `profile`: by statement, too.
    void start(bool timing, bool profile, PassObserver* observer);

    int chunk() const { return chunk_; }              // the most tokens that one pass takes
    int logits_rows() const { return logits_rows_; }  // the most rows of one call of logits()
    int64_t vocabulary() const { return vocabulary_; }
    const std::string& logits_where() const { return logits_.back().where; }

    // See Program.
    void forward(std::span<const Run> runs);
    Logits logits(int first, int rows);
    bool cut(int position, int sequence);

    /// Of all passes so far; zero without timing.
    PassTimes times() const;

  private:
    template<class Steps>
    void turn(Steps steps);
    void run(const Prepared& prepared);
    void run_for(const Prepared& prepared, std::span<const Run> runs);
    ExprPtr run_query();
    int64_t width_of_query();
    void observe(void (PassObserver::*look)(const PassView&));
    Workers& workers() const { return state_.compute->workers; }
    size_t index_of(const Prepared& prepared) const;

    const PlanFile& plan_;
    PlanConnection& connection_;
    PlanState& state_;
    Interruption& interruption_;
    std::vector<Prepared> forward_, logits_;
    int chunk_ = 0, logits_rows_ = 0;
    int64_t vocabulary_ = 0;
    std::vector<int32_t> all_tokens_;  // of the last pass
    int64_t rows_ = 0;                 // of the last pass, once it is whole
    bool timing_ = false;
    PassTimes times_;  // but for what the workers know
    std::optional<Profiler> profiler_;
    PassObserver* observer_ = nullptr;
    PassView seen_;  // what it is told of the present pass
};

}  // namespace llmsql
