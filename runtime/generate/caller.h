// SPDX-License-Identifier: MIT
// Callers: threads that have sequences of one scheduler, and make its passes in turn.
//
// How it works. A caller that waits for its sequences while nobody makes a pass makes one itself,
// for everybody's sequences; the others that wait meanwhile sleep until something of theirs has
// come. When a caller has what it waited for, it wakes another that still waits, which goes on
// making passes. So there is no thread of the scheduler's own, and one caller alone is as quick as
// if it called Scheduler::step() itself.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <limits>
#include <list>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "runtime/generate/scheduler.h"

namespace llmsql {

class Caller;

/// A scheduler that several threads use, each through a Caller of its own. Thread-safe.
class SharedScheduler {
  public:
    /// As Scheduler's.
    SharedScheduler(Program& program, std::set<int32_t> ends)
        : scheduler_(program, std::move(ends)) {}

    /// Whether another caller would find a place for a sequence.
    bool has_room() const;

  private:
    friend class Caller;

    size_t reserved() const;
    void wake_one();

    mutable std::mutex mutex_;  // of all that follows
    std::condition_variable passed_, entered_;
    Scheduler scheduler_;  // while `making_` its maker's alone
    bool making_ = false;  // somebody makes a pass
    size_t entering_ = 0;  // callers that wait for its end, to use the scheduler
    std::list<Caller*> callers_;
    std::vector<SequenceId> leaving_;  // of callers that have gone while a pass was made
};

/// What a caller is like.
struct CallerOptions {
    /// Asked now and then, by the caller's own thread: true ends what it waits for.
    std::function<bool()> interrupted = [] { return false; };
    /// Whether it is asked within passes, too: a pass that ends so throws Interrupted, and is made
    /// again for the others.
    bool within_passes = false;
    /// Tokens that sequences of this caller may be ahead of what it has taken: those of a reader
    /// that is slow rest meanwhile. 0: they get rows only while it waits.
    size_t ahead = std::numeric_limits<size_t>::max();
};

/// One thread's. `tokenizer` is its own, of the scheduler's model, and null only where it asks for
/// no answers; it outlives the caller, as the scheduler does. What it makes passes for may be
/// answers of other callers, of which all have a tokenizer then.
class Caller {
  public:
    Caller(SharedScheduler& shared, const Tokenizer* tokenizer, CallerOptions options);
    Caller(const Caller&) = delete;
    Caller& operator=(const Caller&) = delete;
    /// Removes its sequences.
    ~Caller();

    /// How many sequences more could arrive and get places: one at least where it has none.
    size_t room() const;

    /// See Scheduler. Waits while a pass is made.
    SequenceId arrive(Request request);
    void remove(SequenceId id);

    /// Has `use(Scheduler&)` called while no pass is made.
    template<class Use>
    auto with_scheduler(Use use) {
        std::unique_lock lock(shared_.mutex_);
        wait_for_pass(lock);
        return use(shared_.scheduler_);
    }

    enum class Until {
        something,  // some event has come
        an_end,     // one that ends a sequence, ended or failed
    };
    /// Waits, making passes; all that has come since the last call. Nothing where it has no
    /// sequence that wants rows, or was interrupted: interrupted() says so.
    std::vector<Event> wait(Until until);
    bool interrupted() const { return interrupted_; }

  private:
    friend class SharedScheduler;

    void wait_for_pass(std::unique_lock<std::mutex>& lock);
    bool has(Until until) const;
    bool asked_to_end();
    void make_pass(std::unique_lock<std::mutex>& lock);
    void let_rest();
    void deliver(std::vector<Event>& events);

    SharedScheduler& shared_;
    const Tokenizer* const tokenizer_;
    const CallerOptions options_;
    // Under the shared mutex.
    std::condition_variable changed_;
    std::vector<SequenceId> sequences_;
    std::vector<Event> events_;  // not yet taken
    bool waiting_ = false, interrupted_ = false;
    Until until_ = Until::something;
};

}  // namespace llmsql
