// The worker threads. See workers.h.
#include "runtime/workers/workers.h"

#include <pthread.h>
#include <sched.h>

#include <csignal>

#include <algorithm>
#include <fstream>
#include <set>
#include <string>
#include <system_error>
#include <utility>

#include "common/error.h"
#include "runtime/workers/stopwatch.h"

namespace llmsql {
namespace {

// How often a waiting thread looks before it sleeps: some tens of microseconds, longer than the
// single-threaded statements between two parallel ones, far shorter than a pass.
constexpr int kSpins = 4000;

void pause() {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

template<class T>
void wait_while_equal(const std::atomic<T>& value, T old, int spins) {
    for (int spin = 0; spin < spins; ++spin) {
        if (value.load(std::memory_order_acquire) != old) return;
        pause();
    }
    value.wait(old, std::memory_order_acquire);
}

template<class T>
T read_number(const std::string& path, T fallback) {
    std::ifstream file(path);
    T value{};
    return file >> value ? value : fallback;
}

// CPUs that the cgroup's quota pays for (v2, then v1), or `fallback` without a quota.
int quota_cores(int fallback) {
    std::ifstream v2("/sys/fs/cgroup/cpu.max");
    double quota = 0, period = 0;
    if (!(v2 >> quota >> period)) {
        quota = read_number("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", -1.0);
        period = read_number("/sys/fs/cgroup/cpu/cpu.cfs_period_us", 0.0);
    }
    if (quota <= 0 || period <= 0) return fallback;
    return std::max(1, static_cast<int>(quota / period + 0.5));
}

}  // namespace

SignalsBlocked::SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    for (const int own : {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) sigdelset(&all, own);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
}

SignalsBlocked::~SignalsBlocked() {
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

int usable_cores() {
    cpu_set_t mask;
    CPU_ZERO(&mask);
    if (sched_getaffinity(0, sizeof mask, &mask) != 0)
        return std::max(1u, std::thread::hardware_concurrency());
    std::set<std::pair<int, int>> cores;  // (package, core): hyper-threads of a core count once
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (!CPU_ISSET(cpu, &mask)) continue;
        const std::string topology =
            "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/";
        cores.emplace(read_number(topology + "physical_package_id", 0),
                      read_number(topology + "core_id", cpu));
    }
    const int physical = std::max(1, static_cast<int>(cores.size()));
    return std::min(physical, quota_cores(physical));
}

Workers::Workers(int threads) {
    const int wanted = threads > 0 ? threads : usable_cores();
    // More threads than cores: one that spins only keeps another from working.
    spins_ = wanted <= usable_cores() ? kSpins : 0;
    busy_times_.resize(static_cast<size_t>(wanted));
    const SignalsBlocked blocked;
    try {
        for (int worker = 1; worker < wanted; ++worker)
            threads_.emplace_back([this, worker] { serve(worker); });
    } catch (const std::system_error& error) {
        stop();
        fail("cannot start {} threads: {}; use fewer (-t)", wanted, error.what());
    }
}

Workers::~Workers() {
    stop();
}

void Workers::stop() {
    stopping_ = true;
    round_.fetch_add(1, std::memory_order_release);
    round_.notify_all();
    for (std::thread& thread : threads_) thread.join();
}

void Workers::serve(int worker) {
    pthread_setname_np(pthread_self(), ("worker " + std::to_string(worker)).c_str());
    uint32_t seen = 0;
    for (;;) {
        wait_while_equal(round_, seen, spins_);
        ++seen;  // run() waits for every worker, so rounds are never skipped
        if (stopping_) return;
        take_share(worker);
        if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) busy_.notify_one();
    }
}

void Workers::take_share(int worker) {
    const Stopwatch busy(timed_ ? &busy_times_[static_cast<size_t>(worker)].seconds : nullptr);
    take_items(worker);
}

void Workers::take_items(int worker) {
    try {
        for (;;) {
            const int64_t item = next_.fetch_add(1, std::memory_order_relaxed);
            if (item >= items_) return;
            (*task_)(item, worker);
        }
    } catch (...) {
        next_.store(items_, std::memory_order_relaxed);
        const std::lock_guard lock(failure_mutex_);
        if (!failure_) failure_ = std::current_exception();
    }
}

void Workers::run(int64_t items, const std::function<void(int64_t, int)>& task) {
    task_ = &task;
    items_ = items;
    next_.store(0, std::memory_order_relaxed);
    const bool shared = items > 1 && !threads_.empty();
    if (timed_) ++(shared ? time_.shared_runs : time_.alone_runs);
    const Stopwatch watch(!timed_ ? nullptr : shared ? &time_.shared : &time_.alone);
    if (shared) {
        busy_.store(static_cast<int>(threads_.size()), std::memory_order_relaxed);
        round_.fetch_add(1, std::memory_order_release);
        round_.notify_all();
    }
    shared ? take_share(0) : take_items(0);
    if (shared)
        for (int left = busy_.load(std::memory_order_acquire); left != 0;
             left = busy_.load(std::memory_order_acquire))
            wait_while_equal(busy_, left, spins_);
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

WorkTime Workers::time() const {
    WorkTime time = time_;
    for (const Busy& busy : busy_times_) time.busy += busy.seconds / count();
    return time;
}

}  // namespace llmsql
