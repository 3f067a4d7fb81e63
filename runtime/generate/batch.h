// SPDX-License-Identifier: MIT
// Batch: several texts at once, each pass over the weights a step of all of them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "runtime/generate/generator.h"

namespace llmsql {

struct BatchAnswer {
    std::string text;
    int64_t tokens = 0;  // picked, with the one that ended it
    Ending ending = Ending::limit;
};

/// Answers are those that a Generator gives for each prompt alone, to the last bit. Not
/// thread-safe. Owns the program's cache, all sequences of it.
class Batch {
  public:
    /// The next prompt's tokens (at most the context), or nothing after the last. None: there may
    /// be more, but not before next() has returned.
    using NextPrompt = std::function<std::optional<std::vector<int32_t>>()>;

    /// Goes on with at most `most` texts at a time, and no more than the program has sequences.
    /// Fails on options that no batch has: `keep`.
    Batch(Program& program, Tokenizer& tokenizer, const GenerateOptions& options, int most,
          NextPrompt prompts, std::function<bool()> interrupted);

    /// The answer to the next prompt, in their order; nothing where there is none yet, after the
    /// last, as at_end() then says, or where interrupted, as interrupted() says.
    std::optional<BatchAnswer> next();
    bool at_end() const { return last_taken_ && given_ == taken_; }
    bool interrupted() const { return stopped_; }

  private:
    struct Text {
        bool busy = false;
        int64_t number = 0;           // of its prompt
        std::vector<int32_t> tokens;  // prompt and answer
        size_t held = 0;              // of them, in the cache
        std::optional<Sampler> sampler;
        std::optional<AnswerText> out;
        BatchAnswer answer;
    };

    void take_prompts();
    void pass();
    void pick(Text& text, std::span<const float> logits);
    void end(Text& text, Ending ending);

    Program& program_;
    Tokenizer& tokenizer_;
    const GenerateOptions options_;
    const NextPrompt prompts_;
    const std::function<bool()> interrupted_;
    const std::set<int32_t> ends_;
    size_t context_ = 0, batch_ = 0;
    std::vector<Text> texts_;                 // one a sequence
    std::map<int64_t, BatchAnswer> answers_;  // that are whole, until those before are
    int64_t taken_ = 0, given_ = 0;           // prompts taken, answers given
    bool last_taken_ = false, stopped_ = false;
};

}  // namespace llmsql
