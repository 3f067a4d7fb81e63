// Executor: what computes. The weights of one plan over one model, and the threads that use them,
// shared by all programs that run it in this process.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <vector>

#include "runtime/ops/evaluate.h"
#include "runtime/storage/weights.h"

namespace llmsql {

/// A lock that is given in the order in which it was asked for, so that programs that share an
/// executor take turns, a pass each. For std::lock_guard.
class TurnLock {
  public:
    void lock() {
        std::unique_lock guard(mutex_);
        const uint64_t turn = next_++;
        turned_.wait(guard, [&] { return serving_ == turn; });
    }
    void unlock() {
        {
            const std::lock_guard guard(mutex_);
            ++serving_;
        }
        turned_.notify_all();
    }

  private:
    std::mutex mutex_;
    std::condition_variable turned_;
    uint64_t next_ = 0, serving_ = 0;
};

/// Whoever evaluates, or has the workers do anything, holds `turn` from the first statement of a
/// pass until the workers have finished.
struct Executor {
    /// Arguments as WeightPool's; `threads` 0: as many as the process may use physical cores.
    Executor(const ModelDb& db, const std::vector<Residency>& residency, const PoolOptions& options,
             int threads)
        : evaluator(threads), weights(db, residency, options, evaluator.workers) {
        evaluator.in_memory = residency.empty() || weights.io() == IoMode::map;
    }

    Evaluator evaluator;
    WeightPool weights;
    TurnLock turn;
};

}  // namespace llmsql
