// SPDX-License-Identifier: MIT
// Taking SQLite's functions, and doing without some. See sqlite_library.h.
#include "runtime/extension/sqlite_library.h"

#include <malloc.h>
#include <pthread.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstring>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "common/error.h"
#include "common/fork.h"
#include "common/workers.h"
#include "sqlite/functions.h"

extern "C" {
SQLITE_EXTENSION_INIT1
}

namespace llmsql {
namespace {

// SQLite 3.31 brought SQLITE_DIRECTONLY; a library older than this one's headers lacks later calls,
// of which none is made.
constexpr int kOldestSqlite = 3031000;

// A function that the extension calls, by its place in the table, which only ever grows at its end.
struct LibraryFunction {
    const char* name;
    size_t at;
    const char* option;  // what SQLite is built with if it lacks it; null: no such option is known
    bool dispensable = false;
};

#define FUNCTION(name) \
    LibraryFunction{"sqlite3_" #name, offsetof(sqlite3_api_routines, name), nullptr},
#define OMITTED(name, option) \
    LibraryFunction{"sqlite3_" #name, offsetof(sqlite3_api_routines, name), option},
#define DISPENSABLE(name, option) \
    LibraryFunction{"sqlite3_" #name, offsetof(sqlite3_api_routines, name), option, true},
constexpr LibraryFunction kLibraryFunctions[] = {
    LLMSQL_SQLITE_FUNCTIONS(FUNCTION, OMITTED, DISPENSABLE)};
#undef FUNCTION
#undef OMITTED
#undef DISPENSABLE

// The bytes of the table up to the last of these: an older library's ends soon after.
constexpr size_t kTable = [] {
    size_t end = 0;
    for (const LibraryFunction& function : kLibraryFunctions)
        end = std::max(end, function.at + sizeof(void (*)()));
    return end;
}();

using Pointer = void (*)();

Pointer pointer(const sqlite3_api_routines* api, const LibraryFunction& function) {
    Pointer found;
    std::memcpy(&found, reinterpret_cast<const std::byte*>(api) + function.at, sizeof found);
    return found;
}

// The library's functions, as it gave them, and as they are called: with what stands in for some.
sqlite3_api_routines given, called;

// Asks what a progress handler would be asked, of statements that are being stepped.
class Watcher {
  public:
    // One a process; never destroyed, as its thread goes on to the end.
    static Watcher& of_process() {
        static std::atomic<Watcher*> watcher{nullptr};
        Watcher* found = watcher.load();
        if (found && found->generation_ == fork_generation()) return *found;
        static ForkMutex& mutex = *new ForkMutex;
        const std::lock_guard lock(mutex);
        found = watcher.load();
        if (!found || found->generation_ != fork_generation()) {
            found = new Watcher;
            watcher.store(found);
        }
        return *found;
    }

    void handle(sqlite3* db, int (*ask)(void*), void* argument) {
        const std::lock_guard lock(mutex_);
        if (!ask) {
            handlers_.erase(db);
            return;
        }
        const auto found = handlers_.find(db);
        const int steps = found == handlers_.end() ? 0 : found->second.stepping;
        handlers_[db] = {ask, argument, steps, Clock::now()};
    }

    void begin(sqlite3* db) {
        std::unique_lock lock(mutex_);
        const auto found = handlers_.find(db);
        if (found == handlers_.end()) return;
        if (!running_) {
            const SignalsBlocked blocked;
            try {
                std::thread([this] { run(); }).detach();
            } catch (const std::system_error& error) {
                fail_without_thread("watches statements", error);
            }
            running_ = true;
        }
        if (found->second.stepping++ == 0) found->second.since = Clock::now();
        idle_rounds_ = 0;
        const bool wake = asleep_;
        lock.unlock();
        if (wake) awake_.notify_one();
    }

    void end(sqlite3* db) {
        const std::lock_guard lock(mutex_);
        if (const auto found = handlers_.find(db); found != handlers_.end())
            found->second.stepping = std::max(0, found->second.stepping - 1);
    }

    void forget(sqlite3* db) { handle(db, nullptr, nullptr); }

  private:
    using Clock = std::chrono::steady_clock;
    static constexpr std::chrono::milliseconds kRound{20};
    static constexpr int kIdleRounds = 50;

    struct Handler {
        int (*ask)(void*);
        void* argument;
        int stepping = 0;  // statements
        Clock::time_point since;
    };

    void run() {
        pthread_setname_np(pthread_self(), "llmsql watch");
        std::unique_lock lock(mutex_);
        for (;;) {
            if (++idle_rounds_ > kIdleRounds) {
                asleep_ = true;
                awake_.wait(lock, [&] { return idle_rounds_ == 0; });
                asleep_ = false;
            }
            awake_.wait_for(lock, kRound);
            const auto now = Clock::now();
            for (auto& [db, handler] : handlers_) {
                if (handler.stepping == 0) continue;
                idle_rounds_ = 0;
                if (now - handler.since >= kRound && handler.ask(handler.argument) != 0)
                    given.interruptx(db);
            }
        }
    }

    const uint32_t generation_ = fork_generation();
    std::mutex mutex_;  // of all below; held while a handler is asked
    std::condition_variable awake_;
    std::map<sqlite3*, Handler> handlers_;
    bool running_ = false, asleep_ = false;
    int idle_rounds_ = 0;
};

void handle_progress(sqlite3* db, int, int (*ask)(void*), void* argument) {
    Watcher::of_process().handle(db, ask, argument);
}

int watched_step(sqlite3_stmt* statement) {
    sqlite3* const db = given.db_handle(statement);
    Watcher& watcher = Watcher::of_process();
    watcher.begin(db);
    const int code = given.step(statement);
    watcher.end(db);
    return code;
}

int watched_close(sqlite3* db) {
    if (db) Watcher::of_process().forget(db);
    return given.close_v2(db);
}

[[noreturn]] void fail_without_blobs() {
    fail(
        "this SQLite was built with SQLITE_OMIT_INCRBLOB: conversations in files (option "
        "'sessions'), and reading weights through SQLite, need what that leaves out");
}
int no_blob_open(sqlite3*, const char*, const char*, const char*, sqlite3_int64, int,
                 sqlite3_blob**) {
    fail_without_blobs();
}
int no_blob_read(sqlite3_blob*, void*, int, int) {
    fail_without_blobs();
}
int no_blob_write(sqlite3_blob*, const void*, int, int) {
    fail_without_blobs();
}
int no_blob_reopen(sqlite3_blob*, sqlite3_int64) {
    fail_without_blobs();
}
int no_blob_bytes(sqlite3_blob*) {
    fail_without_blobs();
}
// Of nothing, as none is opened.
int no_blob_close(sqlite3_blob*) {
    return SQLITE_OK;
}

// Bytes that the process has allocated, a quarter of them: other threads allocate too, and what is
// made of it here is how much they grow while a statement runs. Looked up now and then, as that
// takes long.
sqlite3_int64 process_memory() {
#if defined(__GLIBC__) && __GLIBC_PREREQ(2, 33)
    using Clock = std::chrono::steady_clock;
    static std::atomic<int64_t> looked{0}, bytes{0};
    const int64_t now =
        std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now().time_since_epoch())
            .count();
    int64_t before = looked.load();
    if (now - before >= 10 && looked.compare_exchange_strong(before, now)) {
        const struct mallinfo2 info = mallinfo2();
        bytes.store(static_cast<int64_t>((info.uordblks + info.hblkhd) / 4));
    }
    return bytes.load();
#else
    return 0;
#endif
}

void complete() {
    if (!called.progress_handler) {
        called.progress_handler = handle_progress;
        called.step = watched_step;
        called.close_v2 = watched_close;
    }
    if (!called.blob_open || !called.blob_read || !called.blob_write || !called.blob_reopen ||
        !called.blob_bytes || !called.blob_close) {
        called.blob_open = no_blob_open;
        called.blob_read = no_blob_read;
        called.blob_write = no_blob_write;
        called.blob_reopen = no_blob_reopen;
        called.blob_bytes = no_blob_bytes;
        called.blob_close = no_blob_close;
    }
    // A connection is open: what counts its memory has some by now.
    if (!called.memory_used || called.memory_used() == 0) called.memory_used = process_memory;
}

// SQLite's own mutexes that all connections share, in an order in which it takes them itself. A
// child of a process whose other threads were inside SQLite would find them locked, and wait for
// good in its first call.
std::vector<sqlite3_mutex*>& shared_mutexes() {
    static auto& mutexes = *new std::vector<sqlite3_mutex*>;
    return mutexes;
}

// How many of them, from the first on, this thread has for a fork.
thread_local size_t locked_mutexes = 0;

// SQLite has them for moments. One that does not come free is this thread's already: another copy
// of this library that was loaded by the same SQLite has taken it, and all others, for the same
// fork.
void lock_shared_mutexes() {
    using Clock = std::chrono::steady_clock;
    const auto end = Clock::now() + std::chrono::milliseconds(500);
    for (locked_mutexes = 0; locked_mutexes < shared_mutexes().size(); ++locked_mutexes)
        while (given.mutex_try(shared_mutexes()[locked_mutexes]) != SQLITE_OK) {
            if (Clock::now() > end) return;
            std::this_thread::sleep_for(std::chrono::microseconds(50));
        }
}

void unlock_shared_mutexes() {
    while (locked_mutexes > 0) given.mutex_leave(shared_mutexes()[--locked_mutexes]);
}

void guard_forks() {
    if (!given.mutex_alloc || !given.mutex_try || !given.mutex_leave) return;
    for (const int each :
         {SQLITE_MUTEX_STATIC_VFS1, SQLITE_MUTEX_STATIC_VFS2, SQLITE_MUTEX_STATIC_VFS3,
          SQLITE_MUTEX_STATIC_OPEN, SQLITE_MUTEX_STATIC_MASTER, SQLITE_MUTEX_STATIC_LRU,
          SQLITE_MUTEX_STATIC_PMEM, SQLITE_MUTEX_STATIC_PRNG, SQLITE_MUTEX_STATIC_MEM})
        if (sqlite3_mutex* mutex = given.mutex_alloc(each)) shared_mutexes().push_back(mutex);
    pthread_atfork(lock_shared_mutexes, unlock_shared_mutexes, unlock_shared_mutexes);
}

bool is_adopted(const sqlite3_api_routines* api) {
    return std::ranges::all_of(kLibraryFunctions, [&](const LibraryFunction& function) {
        const Pointer here = pointer(api, function), there = pointer(&given, function);
        return !here || !there || here == there;
    });
}

// What is wrong with a library; of its version first, as an older one's table may end sooner.
std::string fault_of(const sqlite3_api_routines* api) {
    if (!api || !api->libversion_number || !api->libversion)
        return "this SQLite does not say its version: llmsql needs 3.31 or later";
    if (api->libversion_number() < kOldestSqlite)
        return fmt::format("llmsql needs SQLite 3.31 or later, this is {}", api->libversion());
    for (const LibraryFunction& function : kLibraryFunctions)
        if (!function.dispensable && !pointer(api, function))
            return function.option
                       ? fmt::format(
                             "this SQLite ({}) was built with {}: llmsql cannot do without {}()",
                             api->libversion(), function.option, function.name)
                       : fmt::format("this SQLite ({}) lacks {}(), which llmsql cannot do without",
                                     api->libversion(), function.name);
    return "";
}

}  // namespace

std::string adopt_sqlite(const sqlite3_api_routines* api) {
    if (std::string fault = fault_of(api); !fault.empty()) return fault;
    static ForkMutex& mutex = *new ForkMutex;
    const std::lock_guard lock(mutex);
    if (!sqlite3_api) {
        std::memcpy(&given, api, kTable);
        called = given;
        complete();
        sqlite3_api = &called;
        guard_forks();
    } else if (!is_adopted(api)) {
        return fmt::format(
            "another SQLite library in this process ({}) has loaded llmsql before this one ({}): "
            "load a copy of the file for each",
            given.libversion(), api->libversion());
    }
    return "";
}

}  // namespace llmsql
