// SPDX-License-Identifier: MIT
// Generator: one text at a time, token by token: a caller with one sequence.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/generate/caller.h"

namespace llmsql {

/// Not thread-safe. What its last text has left in the cache is there for the next to begin with.
class Generator {
  public:
    /// Fails if the options ask for more context than the plan has.
    Generator(SharedScheduler& shared, const Tokenizer* tokenizer, const GenerateOptions& options,
              CallerOptions how);

    /// From the next text on; with random numbers that begin anew.
    void set_options(const GenerateOptions& options);
    const GenerateOptions& options() const { return options_; }

    /// How the model marks what it thinks; from the next text on. Null: all is text.
    void set_form(std::shared_ptr<const AnswerForm> form) { form_ = std::move(form); }

    /// Whether what is picked comes with its Picked::logprob; from the next text on.
    void want_logprobs(bool wanted) { logprobs_ = wanted; }

    /// Most tokens that prompt and answer may take together.
    const ContextLimit& context() const { return context_; }

    /// Begins an answer to `tokens` (1 to context() of them); passes come by pass() or next().
    /// `tells_passes`: pass() returns after each, not only when there is something to take.
    void begin(std::span<const int32_t> tokens, bool tells_passes = false);
    /// Goes on with an answer, under the present options. Returns its text so far.
    std::string resume(const AnswerState& state, bool tells_passes = false);

    /// Reads on: to the next token, the end, or (tells_passes) the end of a pass. False if
    /// interrupted.
    bool pass(Caller::Until until = Caller::Until::something);
    /// Whether next() returns without a pass: the prompt has been read at least.
    bool is_ready() const { return !picked_.empty() || ended_; }

    /// Whether tokens have been picked that next() has not returned.
    bool has_more() const { return !picked_.empty(); }

    /// begin(), and all passes until is_ready(). False if interrupted.
    bool prefill(std::span<const int32_t> tokens);

    /// The next token of the answer; nothing when it has ended.
    std::optional<Picked> next();
    /// The rest of the answer's text. Its ending may be that it was interrupted.
    std::string rest();

    /// Why it ended, and the last of its text: what might have begun a stop text, but did not.
    Ending ending() const { return ending_; }
    std::string finish();
    /// What was thought in the answer, as far as next(), rest(), finish() and resume() have told.
    const std::string& thinking() const { return thought_; }
    /// Of calls in the answer's text, once it has ended.
    const std::vector<TokenMarks>& marks() const { return marks_; }

    /// How many tokens of the last prompt were computed, and how many were picked since, as far as
    /// next() has told: with one that ended it.
    size_t computed();
    size_t picked() const {
        return taken_ + (ended_ && picked_.empty() && ending_ == Ending::end_token ? 1 : 0);
    }

    AnswerState state();
    /// What state() would be before an answer to `tokens` is begun.
    AnswerState state_before(std::span<const int32_t> tokens);

    bool has_text() const { return id_.has_value(); }
    /// Has `use(Scheduler&, Sequence&)` called between passes, of the present text.
    template<class Use>
    auto with_sequence(Use use) {
        return caller_.with_scheduler(
            [&](Scheduler& scheduler) { return use(scheduler, scheduler.at(*id_)); });
    }
    /// Of the present text, for Scheduler::restored().
    SequenceId id() const { return *id_; }

  private:
    void arrive(Request request);

    Caller caller_;
    GenerateOptions options_;
    ContextLimit context_;
    std::optional<SequenceId> id_;
    bool logprobs_ = false;
    std::deque<Picked> picked_;  // not yet taken
    std::string last_;           // of its text
    std::string last_thought_;   // and of what was thought
    std::string thought_;
    std::vector<TokenMarks> marks_;
    std::shared_ptr<const AnswerForm> form_;
    size_t taken_ = 0;
    bool ended_ = true;
    Ending ending_ = Ending::limit;
    std::optional<std::string> random_;  // the random numbers that the next text begins with
};

}  // namespace llmsql
