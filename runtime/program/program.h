// SPDX-License-Identifier: MIT
// Program: a plan.sql opened over a model.db, ready to run. The runtime's front door: behind it are
// a connection with the plan's tables (PlanConnection, PlanState), what steps its sections (Pass)
// and its chat sections (ChatTemplate).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "plan/plan_file.h"
#include "runtime/compute/compute.h"
#include "runtime/program/chat_template.h"
#include "runtime/program/observer.h"
#include "runtime/program/pass.h"
#include "runtime/program/pass_times.h"
#include "runtime/state/kv_cache.h"
#include "runtime/state/recurrent.h"
#include "runtime/weights/model_db.h"
#include "runtime/weights/tile_reader.h"
#include "runtime/weights/weights.h"

namespace llmsql {

struct ProgramOptions {
    int threads = 0;  // workers that compute; 0: as many as the process may use physical cores.
                      // A plan compiled for a budget sets a limit.
    std::optional<IoMode> io = IoMode::read;  // how tiles are read; absent: the faster way
    bool may_map = false;  // the faster way may be a mapping: guard_mappings() has been called
    bool timing = false;   // keep times()
    bool profile = false;  // and those of each statement
    PassObserver* observer = nullptr;  // sees what passes store; outlives the program
    /// Where weights and workers are shared with other programs of this plan and model: given how
    /// many threads these options come to, and what makes a Compute of them, returns the one to
    /// use. Absent: this program makes its own.
    using Make = std::function<std::shared_ptr<Compute>()>;
    std::function<std::shared_ptr<Compute>(int threads, const Make& make)> share = nullptr;
    /// Asked now and then while the program is opened: true throws Interrupted.
    std::function<bool()> interrupted = nullptr;
    /// Called now and then while the program is opened, by its chat section, and by a statement of
    /// a pass that takes longer than any plan's should; it may throw, to stop.
    std::function<void()> progress = nullptr;
};

/// What keys and values are a function of, besides the tokens: the budget, the chunk, the context,
/// threads and the way of reading are not among it.
struct ProgramIdentity {
    std::string model;    // its name, for people
    std::string weights;  // hash of what they are
    std::string
        forward;     // hash of the statements of the forward section, and of the cache's layers
    std::string kv;  // how keys and values are stored: "f16" or "q8"
    std::string kernels;  // that compute: different ones agree to a tolerance, not to the bit
};

/// What passes have taken so far.
struct RunStats {
    PassTimes times;            // zero without ProgramOptions::timing
    PoolCounters counters;      // bytes of tiles read from the database, and by which way
    uint64_t weight_bytes = 0;  // of weights that passes have used, for GB/s
    IoMode io = IoMode::read;
    int threads = 0;  // that compute
};

/// Not thread-safe: one thread at a time; programs that share a Compute may run at once, and take
/// turns, a pass each. Every error is an llmsql::Error; one that comes from a
/// statement starts with the plan's name and line.
class Program {
  public:
    /// Reads and checks the plan, runs its init section, prepares every statement.
    Program(PlanFile plan, const ModelDb& db, const ProgramOptions& options);
    Program(const std::filesystem::path& plan, const ModelDb& db, const ProgramOptions& options);
    Program(Program&&) noexcept;
    ~Program();

    std::string name() const;  // the plan's, as errors call it
    const PlanFile& plan() const;
    int context() const;      // positions the cache can hold
    int chunk() const;        // the most tokens one pass takes
    int logits_rows() const;  // the most rows one call of logits() takes
    int64_t vocabulary() const;
    int sequences() const;  // that the cache has room for, numbered from 0
    int drafts() const;     // the most guessed tokens of a sequence in a pass, for a Scheduler

    /// What is asked now and then while a pass is under way, or waits for its turn: true throws
    /// Interrupted (sqlite/callbacks.h). What the cache then holds of the pass is to be
    /// computed anew. Null: nothing is asked, as at first.
    void on_interrupt(std::function<bool()> interrupted);

    /// One pass: computes `tokens` (1 to chunk() ids) at positions position, position + 1, … of a
    /// sequence and appends them to its cache. `position` is at most the sequence's length so far;
    /// what the cache held from there on is forgotten.
    void forward(std::span<const int32_t> tokens, int position, int sequence = 0);

    /// One pass of several sequences, chunk() tokens at most in all, whose rows follow each other
    /// in the order of `runs`. Each token's values are those of a pass of its own, to the last bit.
    void forward(std::span<const Run> runs);

    /// Logits of rows first … first + rows - 1 of the last pass; valid until the next call of
    /// forward or logits.
    Logits logits(int first, int rows);

    /// Of the last pass, which said of a sequence that it may be cut there, only the rows before
    /// `position` count: states are again as if it had had no others. False, and nothing done,
    /// where that is not to be had. Keys and values need nothing of it, logits stay.
    bool cut(int position, int sequence = 0);

    /// The largest position <= `position` from which forward may continue: `position` itself, or 0
    /// where a windowed layer no longer holds what a pass from there would need. Where recurrent
    /// states are another position's, that of their last snapshot before it, or 0.
    int rewind(int position, int sequence = 0) const;

    /// Makes sequence `to` hold what `from` holds of its first `length` positions, as keys and
    /// values and states, from which a pass may then go on; false, and nothing done, where that is
    /// not to be had: rewind(length, from) is less.
    bool copy(int from, int to, int length);
    /// Whether sequences carry anything from token to token that another could begin with.
    bool remembers() const;
    /// Whether it can be had at the end of what they have read alone, and where snapshots are:
    /// recurrent states.
    bool remembers_ends_only() const;

    /// The rows of llm_meta whose keys begin with "sampling.": how the model's makers would have
    /// tokens picked.
    const std::map<std::string, std::string>& sampling() const;

    /// The budget that the plan was compiled for, in bytes; absent: for none.
    std::optional<uint64_t> budget() const;

    /// The plan's chat and stop sections.
    ChatTemplate& chat();
    const ChatTemplate& chat() const;

    /// What passes have taken so far. Waits for a pass under way of a program that shares threads
    /// and weights with this one.
    RunStats stats() const;
    /// How many threads compute, and how weights are read: neither changes.
    int threads() const;
    IoMode io() const;
    /// Calls `work` with the threads that compute, which until its end are this program's alone;
    /// with null where another program that shares them computes, or waits to: what is done
    /// between passes waits for nobody.
    void with_idle_workers(const std::function<void(Workers*)>& work);

    /// The key-value cache, whose blocks may be kept and restored between passes; null where the
    /// plan has none.
    KvCache* cache() const;
    /// The sequences' recurrent states; null where the plan has none.
    RecurrentStates* states() const;

    ProgramIdentity identity() const;

    /// Keys of the model's source that import was told to pass over, with their values; or empty.
    std::string ignored_keys() const;

    /// What the plan calls its model.
    const std::string& model() const;

    /// To share with another program; see ProgramOptions.
    std::shared_ptr<Compute> compute() const;

    /// Verifies all weights against their checksums; without this, each is when it is first read.
    void verify_weights();

  private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace llmsql
