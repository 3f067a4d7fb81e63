// Sandbox: what a plan's statements may do, by section. A plan is a program from somebody else.
#pragma once

#include <chrono>
#include <cstdint>
#include <new>
#include <string>

#include "runtime/storage/sqlite_api.h"

namespace llmsql {

/// Guards one connection. While statements are prepared on it, admits exactly what plans are made
/// of and refuses the rest; SQLite then fails the statement, and refusal() says why. While they
/// run, ends those that take far more steps, time or memory than a plan's could: a join of tables
/// with themselves need not end in anybody's lifetime. Sizes of values and texts are limited, too.
class Sandbox {
  public:
    enum class Phase {
        off,   // the runtime's own statements
        init,  // CREATE VIRTUAL TABLE of ours in temp, INSERT into them
        pass,  // forward and logits: SELECT from our tables, INSERT into slot and kv, our functions
        text,  // chat and stop: SELECT over `message` with SQLite's text functions
    };

    /// The connection must not outlive the sandbox. While `declaring` is set nothing is refused:
    /// SQLite asks also when a virtual table of ours declares its columns.
    Sandbox(sqlite3* db, const bool& declaring);
    Sandbox(const Sandbox&) = delete;
    Sandbox& operator=(const Sandbox&) = delete;

    void enter(Phase phase);

    /// A statement of this phase is about to run. The runtime's own are not watched.
    void begin(Phase phase);

    /// Why the last statement was refused, or ended; empty if it was not. Throws std::bad_alloc if
    /// there was no memory to decide.
    const std::string& refusal() const {
        if (no_memory_) throw std::bad_alloc();
        return refusal_;
    }

  private:
    static int authorize(void* self, int action, const char* a, const char* b, const char* database,
                         const char* trigger);
    int decide(int action, const char* a, const char* b, const char* database);
    bool admits(int action, const std::string& a, const std::string& b,
                const std::string& database) const;

    static int watch(void* self);
    bool goes_on();

    using Clock = std::chrono::steady_clock;

    sqlite3* const db_;
    const bool& declaring_;
    Phase phase_ = Phase::off;
    std::string refusal_;
    bool no_memory_ = false;
    // Of the statement that runs.
    Phase running_ = Phase::off;
    int64_t steps_ = 0;
    Clock::time_point started_;
    int64_t memory_before_ = 0;
};

}  // namespace llmsql
