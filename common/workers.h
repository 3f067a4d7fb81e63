// SPDX-License-Identifier: MIT
// Workers: the threads that compute a pass, made once.
//
// HOW IT WORKS. Jobs are numbered, and done one after the other; a job's items are shared out by
// one number, the claim: which job is being done, and its next item. Whoever raises it by one has
// that item; whoever does a job's last item moves the claim on to the next job. The owner adds jobs
// ahead of the one being done, and when it is far ahead it works too. With two workers, and jobs of
// 3 and 2 items:
//
//     owner (worker 0)            worker 1             claim
//     add(3)                      waits                job 0, item 0
//     add(2)                      item 0 of job 0      job 0, item 1
//     finish(): item 1 of job 0   item 2 of job 0      job 0, item 3: none is left
//     waits                       done, the last one   job 1, item 0
//     item 0 of job 1             item 1 of job 1      job 1, item 2
//
// A thread that finds nothing to take looks on for some tens of microseconds, then sleeps until the
// claim moves on or a job is added.
#pragma once

#include <csignal>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "common/fork.h"

namespace llmsql {

/// Fails: there is no thread to be had that does what is said ("watches statements").
[[noreturn]] void fail_without_thread(std::string_view what, const std::system_error& error);

/// Blocks all signals of the calling thread while it lives, so that threads made meanwhile take
/// none: one that such a thread took would not wake the thread that waits for it. Those that a
/// thread's own instructions raise stay: blocked, they would end the process.
class SignalsBlocked {
  public:
    SignalsBlocked();
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;
    ~SignalsBlocked();

  private:
    sigset_t before_;
};

/// Where the time of workers went, in seconds.
struct WorkTime {
    uint64_t jobs = 0;
    double busy = 0;           // with items, all workers together
    double owner_busy = 0;     // of this, the owner
    double owner_waiting = 0;  // the owner's in add(), wait() and finish(), but for items
};

/// What one worker has done of some job's items. A cache line each, so that none waits for another.
struct alignas(64) ItemTime {
    uint64_t items = 0;
    double seconds = 0;       // with them
    double reading = 0;       // of this, reading weights: counted by the items themselves
    uint64_t read_bytes = 0;  // that they read
};

/// One owner at a time: add(), finish() and run() are called by one thread, and not from a task. In
/// a process forked from the one that made them they fail: the threads are missing there.
class Workers {
  public:
    using Task = std::function<void(int64_t item, int worker)>;

    /// `threads` workers in all, the owner being worker 0; 0 means usable_cores() of
    /// common/machine.h. Fewer where the system has no more threads to give; fails so only where
    /// more than one a core were asked for.
    explicit Workers(int threads);
    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;
    ~Workers();

    int count() const { return static_cast<int>(threads_.size()) + 1; }

    /// Adds a job: task(item, worker) once for every item in [0, items), worker in [0, count()).
    /// It begins when all jobs added before it are done. May return before it is done, so that the
    /// owner can get the next one ready meanwhile; never more than a few jobs ahead. Items are
    /// taken in rising order, so a worker that is slow takes fewer, and one that sleeps between two
    /// items keeps nobody waiting. After a task has thrown, items not yet begun are skipped, those
    /// of later jobs too.
    ///
    /// `times`, one per worker, gets what its items take while keep_time() is on.
    void add(int64_t items, Task task, ItemTime* times = nullptr);

    /// Works until all jobs are done.
    void wait();

    /// Works until all jobs are done, and rethrows the first exception of a task since the last
    /// finish().
    void finish();

    /// Whether a task has thrown since the last finish().
    bool failed() const { return failed_.load(std::memory_order_relaxed); }

    /// One job, done on return.
    void run(int64_t items, Task task) {
        add(items, std::move(task));
        finish();
    }

    /// Whether work from now on is timed. Off by default. Call when all jobs are done.
    void keep_time(bool on) { timed_ = on; }
    WorkTime time() const;
    /// Like time(), without `busy`; may be called at any time.
    WorkTime owner_time() const;

  private:
    // Jobs are numbered from 0; job n stands in jobs_[n % kJobs].
    static constexpr uint32_t kJobs = 16;
    struct Job {
        std::atomic<uint32_t> items{0};
        Task task;
        ItemTime* times = nullptr;
    };

    class OwnerWatch;
    using Clock = std::chrono::steady_clock;
    // A worker's items of one job, one after the other: timed together, for a look at the clock
    // waits for all that is under way in the processor.
    struct alignas(64) Lap {
        Clock::time_point since;
        bool just_now = false;  // `since` need not be looked up again
        bool running = false;
        uint32_t job = 0;
        uint64_t items = 0;
        ItemTime* times = nullptr;
    };

    static uint32_t job_of(uint64_t claim) { return static_cast<uint32_t>(claim >> 32); }
    static uint32_t item_of(uint64_t claim) { return static_cast<uint32_t>(claim); }

    void serve(int worker);
    void stop();
    bool take_item(int worker);
    void do_item(uint32_t number, uint32_t item, int worker);
    void begin_lap(uint32_t number, int worker);
    void end_lap(int worker);
    void item_done(uint32_t job, uint32_t items);
    bool nothing_to_take() const;
    void wait_for_change(uint64_t seen_claim);
    void work_down_to(uint32_t jobs);
    void wake();
    uint32_t pending() const { return added_.load() - job_of(claim_.load()); }

    void require_own_process() const;

    const uint32_t generation_ = fork_generation();
    std::vector<std::thread> threads_;
    std::array<Job, kJobs> jobs_;
    int spins_ = 0;                     // how often a waiting thread looks before it sleeps
    std::atomic<uint32_t> added_{0};    // jobs so far
    std::atomic<uint64_t> claim_{0};    // the job that is being done, and its next item
    std::atomic<uint32_t> done_{0};     // items of that job
    std::atomic<uint32_t> changes_{0};  // what sleepers wait on
    std::atomic<uint32_t> sleepers_{0};
    std::atomic<bool> stopping_{false};
    std::atomic<bool> failed_{false};
    std::mutex failure_mutex_;
    std::exception_ptr failure_;
    bool timed_ = false;
    WorkTime time_;                          // but for `busy`
    std::vector<ItemTime> busy_times_;       // of all items: one per worker
    std::vector<Lap> laps_;                  // one per worker
    std::atomic<uint32_t> laps_running_{0};  // but for the owner's
};

}  // namespace llmsql
