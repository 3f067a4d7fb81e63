// SPDX-License-Identifier: MIT
// What fork() does to a process with threads: the child has none of them, and whatever lock one of
// them held stays held for good.
#pragma once

#include <cstdint>
#include <mutex>

namespace llmsql {

/// A number that is another in a process than in the one that it was forked from. What has threads
/// of its own keeps it from when it was made, and compares: in a child they are missing.
/// Thread-safe, and cheap.
uint32_t fork_generation();

/// A mutex of what the whole process shares. fork() waits for it, so that a child finds it free and
/// what it protects whole. Lives as long as the process (a static that is never destroyed, or a
/// global), and nothing that takes another lock, or long, is done while it is held.
class ForkMutex {
  public:
    ForkMutex();
    ForkMutex(const ForkMutex&) = delete;
    ForkMutex& operator=(const ForkMutex&) = delete;

    void lock() { mutex_.lock(); }
    void unlock() { mutex_.unlock(); }

  private:
    friend struct ForkHandlers;
    std::mutex mutex_;
    ForkMutex* next_ = nullptr;
};

}  // namespace llmsql
