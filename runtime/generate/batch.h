// SPDX-License-Identifier: MIT
// Batch: answers to many prompts in their order, several at a time: a caller with as many sequences
// as there is room for.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/generate/caller.h"

namespace llmsql {

struct BatchAnswer {
    std::string text, thinking;
    std::vector<TokenMarks> marks;  // of calls in the text
    int64_t tokens = 0;             // picked, with the one that ended it
    Ending ending = Ending::limit;
};

/// Answers are those that a Generator gives for each prompt alone, to the last bit. Not
/// thread-safe.
class Batch {
  public:
    /// The next prompt's tokens (at most the context), or nothing after the last. None: there may
    /// be more, but not before next() has returned.
    using NextPrompt = std::function<std::optional<std::vector<int32_t>>()>;

    /// Goes on with at most `most` texts at a time. Fails as a Sequence does on its options.
    Batch(SharedScheduler& shared, const Tokenizer* tokenizer, const GenerateOptions& options,
          int most, NextPrompt prompts, CallerOptions how,
          std::shared_ptr<const AnswerForm> form = nullptr);

    /// The answer to the next prompt, in their order; nothing where there is none yet, after the
    /// last, as at_end() then says, or where interrupted, as interrupted() says.
    std::optional<BatchAnswer> next();
    bool at_end() const { return last_taken_ && !next_ && given_ == taken_; }
    bool interrupted() const { return interrupted_; }

  private:
    struct Text {
        int64_t number = 0;  // of its prompt
        BatchAnswer answer;
    };

    void take_prompts();
    void note(const Event& event);

    Caller caller_;
    GenerateOptions options_;
    const std::shared_ptr<const AnswerForm> form_;
    size_t most_;
    const NextPrompt prompts_;
    std::optional<Request> next_;             // taken, and has no place yet
    std::map<SequenceId, Text> texts_;        // on their way
    std::map<int64_t, BatchAnswer> answers_;  // that are whole, until those before are
    int64_t taken_ = 0, given_ = 0;           // prompts taken, answers given
    bool last_taken_ = false, interrupted_ = false;
};

}  // namespace llmsql
