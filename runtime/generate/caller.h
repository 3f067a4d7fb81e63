// SPDX-License-Identifier: MIT
// Callers: threads that have sequences of one scheduler, and make its passes in turn.
//
// How it works. A caller that waits for its sequences while nobody makes a pass makes one itself,
// for everybody's sequences; the others that wait meanwhile sleep until something of theirs has
// come. When a caller has what it waited for, it wakes another that still waits, which goes on
// making passes. So there is no thread of the scheduler's own, and one caller alone is as quick as
// if it called Scheduler::step() itself.
//
// More calls than the plan has sequences: each takes a Seat before its Caller, and waits for one in
// the order of asking, so that no sequence of a Caller waits for a place, and no memory is needed
// beyond what the plan was compiled for.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <limits>
#include <list>
#include <mutex>
#include <optional>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "common/fork.h"
#include "runtime/generate/scheduler.h"

namespace llmsql {

class Caller;

/// A scheduler that several threads use, each through a Caller of its own. Thread-safe.
class SharedScheduler {
  public:
    /// As Scheduler's.
    SharedScheduler(Program& program, std::set<int32_t> ends, Scheduler::Clock clock = nullptr)
        : scheduler_(program, std::move(ends), std::move(clock)), places_(scheduler_.places()) {}

    size_t places() const { return places_; }

    /// See Scheduler: as far as passes have ended.
    Scheduler::Carried carried() const;

    /// Has `use(Scheduler&)` called while no pass is made: waits for the one under way.
    template<class Use>
    auto between_passes(Use use) {
        std::unique_lock lock(mutex_);
        wait_for_pass(lock);
        return use(scheduler_);
    }

  private:
    friend class Caller;
    friend class Seat;
    using Time = std::chrono::steady_clock::time_point;
    struct Taken {
        std::thread::id by;   // whose call works, or was the last to
        bool working = true;  // its call is under way
    };
    struct Waiting {
        std::thread::id by;
        std::list<Taken> seat;  // until it is given
    };

    size_t reserved() const;
    void give_seats();
    bool may_come_free() const;
    void wait_for_pass(std::unique_lock<std::mutex>& lock);
    void wake_one();

    const uint32_t generation_ = fork_generation();
    mutable std::mutex mutex_;  // of all that follows
    std::condition_variable passed_, entered_, seated_;
    Scheduler scheduler_;  // while `making_` its maker's alone
    bool making_ = false;  // somebody makes a pass
    size_t entering_ = 0;  // callers that wait for its end, to use the scheduler
    Scheduler::Carried carried_;
    std::list<Taken> seats_;
    std::list<Waiting> waiting_;  // for seats, the first to ask in front
    Time worked_;                 // when a call with a seat last worked
    std::list<Caller*> callers_;
    const size_t places_;              // not under it
    std::vector<SequenceId> leaving_;  // of callers that have gone while a pass was made
};

/// A place that is kept for one call: its Caller then finds one at once. A call works on one thread
/// at a time.
class Seat {
  public:
    /// Waits while others have all places. Fails where no call seems to come to its end: all are of
    /// this thread, or rest, and have for a while. Throws Interrupted (sqlite/callbacks.h) when
    /// `interrupted` says so.
    Seat(SharedScheduler& shared, const std::function<bool()>& interrupted);
    Seat(const Seat&) = delete;
    Seat& operator=(const Seat&) = delete;
    ~Seat();

    /// The call has returned to its host, which may go on with it sometime, or never; and works
    /// again.
    void rest() { set_working(false); }
    void work() { set_working(true); }

  private:
    void set_working(bool working);

    SharedScheduler& shared_;
    std::list<SharedScheduler::Taken>::iterator taken_;
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
    /// Removes its sequences. In a process forked since, nothing: a thread that is missing there
    /// may hold the lock.
    ~Caller();

    /// See Scheduler. Waits while a pass is made.
    SequenceId arrive(Request request);
    /// Only if it gets a place at once, which its first does: `request` is left as it is otherwise.
    std::optional<SequenceId> arrive_if_room(Request& request);
    void remove(SequenceId id);

    /// Has `use(Scheduler&)` called while no pass is made.
    template<class Use>
    auto with_scheduler(Use use) {
        return shared_.between_passes(use);
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

    bool has_room() const;
    SequenceId add(Request request);
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
