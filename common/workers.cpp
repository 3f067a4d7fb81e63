// SPDX-License-Identifier: MIT
// The worker threads. See workers.h.
#include "common/workers.h"

#include <pthread.h>

#include <csignal>

#include <algorithm>
#include <system_error>
#include <utility>

#include "common/error.h"
#include "common/machine.h"

namespace llmsql {
namespace {

// How often a waiting thread looks before it sleeps: some tens of microseconds, longer than another
// takes for an item that is the last of its job, far shorter than a pass.
constexpr int kSpins = 4000;

void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// Jobs that the owner keeps ahead of the one that is being done: enough that no worker waits for
// the next, few enough that the owner works too.
constexpr uint32_t kAhead = 6;

}  // namespace

void fail_without_thread(std::string_view what, const std::system_error& error) {
    fail(
        "cannot start a thread that {}: {}; raise what limits memory or threads (ulimit -v, "
        "ulimit -u)",
        what, error.what());
}

SignalsBlocked::SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    for (const int own : {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&all, own);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
}

SignalsBlocked::~SignalsBlocked() {
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

Workers::Workers(int threads) {
    const int cores = usable_cores();
    const int wanted = threads > 0 ? threads : cores;
    // More threads than cores: one that spins only keeps another from working.
    spins_ = wanted <= cores ? kSpins : 0;
    busy_times_.resize(static_cast<size_t>(wanted));
    laps_.resize(static_cast<size_t>(wanted));
    const SignalsBlocked blocked;
    try {
        for (int worker = 1; worker < wanted; ++worker)
            threads_.emplace_back([this, worker] { serve(worker); });
    } catch (const std::system_error& error) {
        if (wanted <= cores) return;  // those that there are will do
        stop();
        fail("cannot start {} threads: {}; use fewer (-t)", wanted, error.what());
    } catch (...) {  // threads that are not joined would end the process
        stop();
        throw;
    }
}

Workers::~Workers() {
    stop();
}

// Adds what a scope takes of the owner's time, but for items, to its waiting.
class Workers::OwnerWatch {
  public:
    explicit OwnerWatch(Workers& workers) : workers_(workers) {
        if (!workers_.timed_) return;
        Lap& lap = workers_.laps_[0];
        busy_ = workers_.busy_times_[0].seconds;
        lap.since = start_ = Clock::now();
        lap.just_now = true;
    }
    OwnerWatch(const OwnerWatch&) = delete;
    OwnerWatch& operator=(const OwnerWatch&) = delete;
    ~OwnerWatch() {
        if (!workers_.timed_) return;
        Lap& lap = workers_.laps_[0];
        workers_.end_lap(0);
        const Clock::time_point end = lap.just_now && lap.since > start_ ? lap.since : Clock::now();
        lap.just_now = false;
        workers_.time_.owner_waiting += std::chrono::duration<double>(end - start_).count() -
                                        (workers_.busy_times_[0].seconds - busy_);
    }

  private:
    Workers& workers_;
    Clock::time_point start_;
    double busy_ = 0;
};

void Workers::require_own_process() const {
    if (generation_ != fork_generation())
        fail("this model was opened before fork(), by another process: open it in this one");
}

void Workers::stop() {
    if (generation_ != fork_generation()) {  // there is nothing to stop, nor anybody to wait for
        new std::vector<std::thread>(std::move(threads_));
        return;
    }
    stopping_ = true;
    wake();
    for (std::thread& thread : threads_) thread.join();
}

void Workers::serve(int worker) {
    pthread_setname_np(pthread_self(), ("worker " + std::to_string(worker)).c_str());
    while (!stopping_) {
        const uint64_t seen = claim_.load();
        if (take_item(worker)) continue;
        end_lap(worker);
        laps_[static_cast<size_t>(worker)].just_now = false;
        wait_for_change(seen);
    }
}

bool Workers::nothing_to_take() const {
    const uint64_t claim = claim_.load();
    const uint32_t job = job_of(claim);
    return job == added_.load() || item_of(claim) >= jobs_[job % kJobs].items.load();
}

// Takes one item of the job that is being done, if one is left. What is read of a job is right if
// the claim still stands: its place is given to another only when all its items are done.
bool Workers::take_item(int worker) {
    uint64_t claim = claim_.load();
    for (;;) {
        const uint32_t job = job_of(claim);
        if (job == added_.load()) return false;
        const uint32_t items = jobs_[job % kJobs].items.load();
        if (item_of(claim) >= items) {
            const uint64_t now = claim_.load();
            if (now == claim) return false;
            claim = now;
            continue;
        }
        if (!claim_.compare_exchange_weak(claim, claim + 1)) continue;
        do_item(job, item_of(claim), worker);
        item_done(job, items);
        return true;
    }
}

void Workers::do_item(uint32_t number, uint32_t item, int worker) {
    if (failed()) return;
    if (timed_) begin_lap(number, worker);
    try {
        jobs_[number % kJobs].task(item, worker);
    } catch (...) {
        const std::lock_guard lock(failure_mutex_);
        if (!failure_) failure_ = std::current_exception();
        failed_ = true;
    }
}

void Workers::begin_lap(uint32_t number, int worker) {
    Lap& lap = laps_[static_cast<size_t>(worker)];
    if (!lap.running || lap.job != number) {
        end_lap(worker);
        if (!lap.just_now) lap.since = Clock::now();
        lap = {lap.since, false, true, number, 0, jobs_[number % kJobs].times};
        if (worker > 0) ++laps_running_;
    }
    ++lap.items;
}

void Workers::end_lap(int worker) {
    Lap& lap = laps_[static_cast<size_t>(worker)];
    if (!lap.running) return;
    const Clock::time_point end = Clock::now();
    const double seconds = std::chrono::duration<double>(end - lap.since).count();
    busy_times_[static_cast<size_t>(worker)].seconds += seconds;
    if (lap.times) {
        lap.times[worker].items += lap.items;
        lap.times[worker].seconds += seconds;
    }
    lap.since = end;
    lap.just_now = true;
    lap.running = false;
    if (worker > 0) --laps_running_;
}

// Whoever does a job's last item begins the next one.
void Workers::item_done(uint32_t job, uint32_t items) {
    if (done_.fetch_add(1) + 1 < items) return;
    done_ = 0;
    claim_ = uint64_t{job + 1} << 32;
    wake();
}

// Returns when the claim is not the one that was seen any more, or there is something to take; it
// may return sooner.
void Workers::wait_for_change(uint64_t seen_claim) {
    const auto same = [&] {
        return claim_.load() == seen_claim && nothing_to_take() && !stopping_;
    };
    for (int spin = 0; spin < spins_; ++spin) {
        if (!same()) return;
        pause();
    }
    ++sleepers_;
    const uint32_t seen = changes_.load();
    if (same()) changes_.wait(seen);
    --sleepers_;
}

void Workers::wake() {
    ++changes_;
    if (sleepers_.load() > 0) changes_.notify_all();
}

// The owner works until no more than `jobs` are not done.
void Workers::work_down_to(uint32_t jobs) {
    require_own_process();
    for (;;) {
        const uint64_t seen = claim_.load();
        if (added_.load() - job_of(seen) <= jobs) return;
        if (take_item(0)) continue;
        end_lap(0);
        laps_[0].just_now = false;
        wait_for_change(seen);
    }
}

void Workers::add(int64_t items, Task task, ItemTime* times) {
    if (items <= 0) return;
    const OwnerWatch watch(*this);
    ++time_.jobs;
    work_down_to(kJobs - 1);
    const uint32_t number = added_.load();
    Job& job = jobs_[number % kJobs];
    job.items = static_cast<uint32_t>(items);
    job.task = std::move(task);
    job.times = times;
    added_ = number + 1;
    if (!threads_.empty()) wake();
    while (pending() >= (threads_.empty() ? 1 : kAhead) && take_item(0)) {
    }
}

void Workers::wait() {
    const OwnerWatch watch(*this);
    work_down_to(0);
    // Who has done the last item of a job may still have its time to write down.
    while (laps_running_.load() > 0) std::this_thread::yield();
    for (Job& job : jobs_) job.task = nullptr;  // and what it holds
}

void Workers::finish() {
    wait();
    failed_ = false;
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

WorkTime Workers::owner_time() const {
    WorkTime time = time_;
    time.owner_busy = busy_times_[0].seconds;
    return time;
}

WorkTime Workers::time() const {
    WorkTime time = owner_time();
    for (const ItemTime& busy : busy_times_) time.busy += busy.seconds;
    return time;
}

}  // namespace llmsql
