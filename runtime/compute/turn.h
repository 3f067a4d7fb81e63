// SPDX-License-Identifier: MIT
// TurnLock: programs that share threads and weights take turns, a pass each.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <set>

#include "common/error.h"
#include "common/fork.h"

namespace llmsql {

/// A lock that is given in the order in which it was asked for, so that programs that share a
/// Compute take turns, a pass each. Fails in a process forked from the one that made it: who has
/// the turn there will never give it back.
class TurnLock {
  public:
    /// `waiting`, if given, is called now and then while another has the turn; what it throws ends
    /// the wait.
    void lock(const std::function<void()>& waiting = nullptr) {
        if (generation_ != fork_generation())
            fail("this model was opened before fork(), by another process: open it in this one");
        std::unique_lock guard(mutex_);
        const uint64_t turn = next_++;
        while (serving_ != turn) {
            if (!waiting) {
                turned_.wait(guard);
                continue;
            }
            if (turned_.wait_for(guard, kPatience) == std::cv_status::no_timeout) continue;
            guard.unlock();
            try {
                waiting();
            } catch (...) {
                guard.lock();
                gone_.insert(turn);
                if (serving_ == turn) serve_next();
                throw;
            }
            guard.lock();
        }
    }
    /// Takes it where nobody has it or waits for it; false elsewhere, and after a fork.
    bool try_lock() {
        if (generation_ != fork_generation()) return false;
        const std::lock_guard guard(mutex_);
        if (serving_ != next_) return false;
        ++next_;
        return true;
    }
    void unlock() {
        const std::lock_guard guard(mutex_);
        ++serving_;
        serve_next();
    }

  private:
    static constexpr std::chrono::milliseconds kPatience{20};

    // Passes over those who no longer wait.
    void serve_next() {
        while (gone_.erase(serving_) > 0) ++serving_;
        turned_.notify_all();
    }

    const uint32_t generation_ = fork_generation();
    std::mutex mutex_;
    std::condition_variable turned_;
    uint64_t next_ = 0, serving_ = 0;
    std::set<uint64_t> gone_;  // turns that are not waited for any more
};

/// Has the turn while it lives.
class Turn {
  public:
    explicit Turn(TurnLock& lock, const std::function<void()>& waiting = nullptr) : lock_(lock) {
        lock_.lock(waiting);
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    ~Turn() { lock_.unlock(); }

  private:
    TurnLock& lock_;
};

}  // namespace llmsql
