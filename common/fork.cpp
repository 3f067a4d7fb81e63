// SPDX-License-Identifier: MIT
// Handlers that run around fork(). See fork.h.
#include "common/fork.h"

#include <pthread.h>

#include <atomic>

namespace llmsql {

struct ForkHandlers {
    // Neither is destroyed when the process exits: threads may still fork then.
    static std::mutex& list_mutex() {
        static std::mutex& mutex = *new std::mutex;
        return mutex;
    }
    static ForkMutex*& first() {
        static ForkMutex* first = nullptr;
        return first;
    }
    static std::atomic<uint32_t>& generation() {
        static std::atomic<uint32_t> generation{0};
        return generation;
    }

    static void unlock() {
        for (ForkMutex* each = first(); each; each = each->next_) each->mutex_.unlock();
        list_mutex().unlock();
    }
    static void prepare() {
        list_mutex().lock();
        for (ForkMutex* each = first(); each; each = each->next_) each->mutex_.lock();
    }
    static void in_child() {
        generation().fetch_add(1);
        unlock();
    }
    // Where memory for it is lacking, forks go unseen: nothing else can be done about that here.
    static void install() {
        static const int installed = pthread_atfork(prepare, unlock, in_child);
        static_cast<void>(installed);
    }
};

uint32_t fork_generation() {
    ForkHandlers::install();
    return ForkHandlers::generation().load(std::memory_order_relaxed);
}

ForkMutex::ForkMutex() {
    ForkHandlers::install();
    const std::lock_guard lock(ForkHandlers::list_mutex());
    next_ = ForkHandlers::first();
    ForkHandlers::first() = this;
}

}  // namespace llmsql
