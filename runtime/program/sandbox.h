// SPDX-License-Identifier: MIT
// Sandbox: what a plan's statements may do, by section. A plan is a program from somebody else.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <string>

#include "sqlite/api.h"

namespace llmsql {

/// What a connection is for.
enum class SandboxKind {
    passes,  // init, forward and logits
    text,    // chat and stop
};

/// Guards one connection. While statements are prepared on it, admits exactly what plans are made
/// of and refuses the rest; SQLite then fails the statement, and refusal() says why. While they
/// run, ends those that take far more steps, time or memory than a plan's could: a join of tables
/// with themselves need not end in anybody's lifetime. Sizes of values and texts are limited, too.
///
/// First admit() each section and prepare its statements, then seal(); begin() before each
/// statement of a plan is prepared or stepped.
class Sandbox {
  public:
    enum class Section {
        init,     // CREATE VIRTUAL TABLE of ours in temp, INSERT into them
        forward,  // SELECT from our tables, INSERT into slot and kv, our functions
        logits,   // as forward, but for INSERT into kv: keys and values are forward's to say
        text,     // chat and stop: SELECT over `message` with SQLite's text functions
    };

    /// The connection must not outlive the sandbox. While `declaring` is set nothing is refused:
    /// SQLite asks also when a virtual table of ours declares its columns. Null: it has none.
    Sandbox(sqlite3* db, SandboxKind kind, const bool* declaring);
    Sandbox(const Sandbox&) = delete;
    Sandbox& operator=(const Sandbox&) = delete;

    /// What is prepared from now on is of this section.
    void admit(Section section);
    /// Everything is prepared, and has been looked at: nothing is asked any more.
    void seal();

    /// A statement of the plan is about to run, or to be prepared: it is watched.
    void begin();
    /// What comes now are statements of the runtime's own, which are not watched.
    void rest();

    /// Called from our functions that take long, between their pieces of work: throws where the
    /// statement must end.
    void check();

    /// Asked every hundredth of a second at most while a statement of a plan is watched; it may
    /// throw, and so ends the statement. A pass's, once all are sealed, is left alone for a second,
    /// which none takes: a pass is not cut short.
    void on_progress(std::function<void()> progress) { progress_ = std::move(progress); }

    /// Why the last statement was refused, or ended; empty if it was not. Throws what on_progress()
    /// threw, and std::bad_alloc if there was no memory to decide.
    const std::string& refusal() const {
        if (thrown_) std::rethrow_exception(thrown_);
        return refusal_;
    }

  private:
    static int authorize(void* self, int action, const char* a, const char* b, const char* database,
                         const char* trigger);
    int decide(int action, const char* a, const char* b, const char* database);
    bool admits(int action, const std::string& a, const std::string& b,
                const std::string& database) const;

    static int watch(void* self);
    bool goes_on(int64_t steps);

    using Clock = std::chrono::steady_clock;

    sqlite3* const db_;
    const bool text_;
    const bool* const declaring_;
    Section section_ = Section::init;
    bool sealed_ = false;
    std::string refusal_;
    std::exception_ptr thrown_;  // within SQLite, whose frames nothing may pass through
    std::function<void()> progress_;
    // Of the statement that runs.
    bool watched_ = false;
    int64_t steps_ = 0;
    Clock::time_point started_, asked_;
    int64_t memory_before_ = 0;
};

}  // namespace llmsql
