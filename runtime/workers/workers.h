// Workers: the threads that compute a pass, made once.
#pragma once

#include <csignal>

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace llmsql {

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

/// Physical cores that this process may run on: its affinity mask and its cgroup's CPU quota
/// respected, never less than 1.
int usable_cores();

/// Where the time in run() went, in seconds.
struct WorkTime {
    uint64_t alone_runs = 0, shared_runs = 0;
    double alone = 0;   // in runs that the caller did by itself: of one item, or of one worker
    double shared = 0;  // in the others
    double busy = 0;  // of `shared`: the workers' mean time with items; what is left are hand-offs,
                      // until a worker has begun and until the last one has ended
};

/// One caller at a time: run() must not be called from two threads at once, nor from a task.
class Workers {
  public:
    /// `threads` workers in all, the caller of run() being one of them; 0 means usable_cores().
    explicit Workers(int threads);
    Workers(const Workers&) = delete;
    Workers& operator=(const Workers&) = delete;
    ~Workers();

    int count() const { return static_cast<int>(threads_.size()) + 1; }

    /// Calls task(item, worker) once for every item in [0, items), worker in [0, count()). Items
    /// are taken in rising order from one counter, so a worker that is slow takes fewer. Returns
    /// when all are done; rethrows the first exception, after which items not yet begun are
    /// skipped.
    void run(int64_t items, const std::function<void(int64_t item, int worker)>& task);

    /// Whether the runs from now on are timed. Not at first.
    void keep_time(bool on) { timed_ = on; }
    WorkTime time() const;

  private:
    // A worker's time with items of shared runs; a cache line each, so that none waits for another.
    struct alignas(64) Busy {
        double seconds = 0;
    };

    void serve(int worker);
    void stop();
    void take_share(int worker);
    void take_items(int worker);

    std::vector<std::thread> threads_;
    const std::function<void(int64_t, int)>* task_ = nullptr;
    int64_t items_ = 0;
    int spins_ = 0;  // how often a waiting thread looks before it sleeps
    std::atomic<int64_t> next_{0};
    std::atomic<uint32_t> round_{0};  // rises by one for each run; workers wait on it
    std::atomic<int> busy_{0};        // workers still in the current round
    std::atomic<bool> stopping_{false};
    std::mutex failure_mutex_;
    std::exception_ptr failure_;
    bool timed_ = false;
    WorkTime time_;                 // but for `busy`
    std::vector<Busy> busy_times_;  // one a worker
};

}  // namespace llmsql
