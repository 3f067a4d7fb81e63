// SPDX-License-Identifier: MIT
// OpenModel: a model with a plan, ready to generate; and what a process shares of those that are
// alike.
//
// How it works. What calls have to themselves is an OpenModel: a tokenizer and a chat template, on
// connections of their own. Weights and the threads that compute (Compute) are shared by all
// programs of one plan over one model file in the process. And where the plan has room for several
// sequences, so is the program, with its scheduler: calls that come at once, on several threads,
// have a place in it each and share its passes; those that find none wait until one ends. A plan
// for one sequence is opened for each OpenModel, and their programs take turns, a pass each.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "runtime/generate/caller.h"
#include "runtime/program/program.h"
#include "runtime/text/tokenizer.h"
#include "runtime/weights/model_db.h"

namespace llmsql {

/// Which model to use, and how.
struct ModelChoice {
    std::string model;  // a model database
    std::string plan;   // one installed in it, or a file that ends in .sql; empty: the default one
    int threads = 0;    // 0, or more than that: as many as the process may use physical cores
    auto operator<=>(const ModelChoice&) const = default;
};

/// As many threads as that comes to: more than cores would only take each other's time.
int sensible_threads(int threads);

/// For one call at a time, on one thread at a time; calls of different ones may run at once.
class OpenModel {
  public:
    /// `interrupted` is asked while it is opened; true fails, somehow. A call has begun with it.
    OpenModel(const ModelChoice& choice, const std::function<bool()>& interrupted);
    OpenModel(const OpenModel&) = delete;
    OpenModel& operator=(const OpenModel&) = delete;

    /// Whether the path leads to another file by now.
    bool is_replaced() const;

    /// Begins a call, during which `interrupted` is asked by all that takes long.
    void begin_call(const std::function<bool()>& interrupted);
    void end_call();

    /// The part of a call that is under way while this lives, where a call is made of parts: rows
    /// that the host asks for one by one.
    class Working {
      public:
        explicit Working(OpenModel& model) : model_(model) {
            if (model_.seat_) model_.seat_->work();
        }
        Working(const Working&) = delete;
        Working& operator=(const Working&) = delete;
        ~Working() {
            if (model_.seat_) model_.seat_->rest();
        }

      private:
        OpenModel& model_;
    };

    const ModelDb& db() const { return *db_; }
    Tokenizer& tokenizer() { return *tokenizer_; }
    ChatTemplate& chat();
    /// How its answers in a conversation are to be read.
    const std::shared_ptr<const AnswerForm>& form();
    /// The scheduler makes the passes of it.
    Program& program() const;
    SharedScheduler& scheduler() const;

    /// Takes a seat for the call, which is to make passes, until its end: waits, and fails, as Seat
    /// does. What its Caller is like, or (Generator, Batch) the one that they have.
    CallerOptions join();

  private:
    struct Loaded;
    using Identity = std::pair<dev_t, ino_t>;
    static Identity identity(const std::string& path);
    void ask(const std::function<bool()>& interrupted);

    const Identity file_;  // looked up before it was opened
    std::shared_ptr<ModelDb> db_;
    std::shared_ptr<Loaded> loaded_;
    std::optional<Tokenizer> tokenizer_;
    std::optional<ChatTemplate> chat_;        // absent: the program's, which nobody else uses
    std::shared_ptr<const AnswerForm> form_;  // once it is asked for
    std::optional<Seat> seat_;                // in a call that makes passes
    std::function<bool()> interrupted_;
};

}  // namespace llmsql
