// SPDX-License-Identifier: MIT
// Generator: one text at a time, token by token: prefill with reuse of what the cache holds,
// decode, and what ends it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "runtime/generate/answer_text.h"
#include "runtime/generate/options.h"
#include "runtime/program/program.h"
#include "runtime/text/sampler.h"
#include "runtime/text/tokenizer.h"

namespace llmsql {

enum class Ending { end_token, stop_text, limit, context_full, interrupted };

/// A token that was picked.
struct Picked {
    int32_t token = 0;
    std::string text;  // what can be shown now: whole characters that begin no stop text
};

/// Where keys and values of sequences are kept beyond this process (runtime/session/).
class CacheStore {
  public:
    virtual ~CacheStore() = default;
    /// Puts into the program's cache what is kept of the first positions of `tokens`, which `held`
    /// of them are in already. Returns how many of them the cache then holds: `held` or more.
    virtual size_t restore(Program& program, std::span<const int32_t> tokens, size_t held) = 0;
    /// A pass has appended to the cache, which now holds `tokens`.
    virtual void extended(Program& program, std::span<const int32_t> tokens) = 0;
};

/// Not thread-safe. Owns sequence 0 of the program's cache: nothing else may extend that.
class Generator {
  public:
    /// Fails if the options ask for more context than the plan has, or if a stop piece of the plan
    /// is no token of the model. `interrupted` is asked before each pass; true ends what goes on.
    Generator(Program& program, Tokenizer& tokenizer, const GenerateOptions& options,
              std::function<bool()> interrupted);

    /// From the next prefill on; with random numbers that begin anew.
    void set_options(const GenerateOptions& options);
    void set_store(CacheStore* store) { store_ = store; }

    /// Most tokens that prompt and answer may take together.
    int context() const { return context_; }

    /// Makes `tokens` (1 to context() of them) what the model has read, computing only what differs
    /// from what it had, and begins an answer. False if interrupted.
    bool prefill(std::span<const int32_t> tokens);

    /// Picks the next token of the answer; nothing when it has ended.
    std::optional<Picked> next();

    /// Why it ended, and the last of its text: what might have begun a stop text, but did not.
    Ending ending() const { return ending_; }
    std::string finish() { return text_.finish(); }

    /// The program has been used by somebody else: nothing is held any more.
    void forget();

    /// Natural logarithm of the probability of a token where the last one was picked, or after the
    /// prefill: of the model itself, before any sampling option.
    double logprob(int32_t token) const;

    /// The tokens that the cache holds, how many of them the last prefill computed, and those
    /// picked since: the last of these is not held until the next is asked for.
    const std::vector<int32_t>& held() const { return held_; }
    size_t computed() const { return computed_; }
    const std::vector<int32_t>& answer() const { return answer_; }

    /// Where an answer stands: what another process needs in order to go on with it, under the
    /// same options, exactly as this one would.
    struct State {
        std::vector<int32_t> tokens;  // held, and the one picked last, if it is to be; 1 at least
        std::vector<int32_t> answer;  // picked
        int64_t keep = 0;             // tokens to keep when the context is full
        std::string random;           // the random numbers to come
    };
    State state() const;
    /// The state before the answer to `tokens` is begun.
    State state_before(std::span<const int32_t> tokens) const;

    /// Goes on from there: at least one token, at most one more than the context. The text so far,
    /// or nothing if interrupted before all was computed.
    std::optional<std::string> resume(const State& state);

    const GenerateOptions& options() const { return options_; }

  private:
    bool extend(std::span<const int32_t> tokens);
    bool make_room();
    void stop(Ending ending);
    size_t keep_of(size_t prompt) const;
    std::string take_text(int32_t token);

    Program& program_;
    Tokenizer& tokenizer_;
    const std::function<bool()> interrupted_;
    CacheStore* store_ = nullptr;
    GenerateOptions options_;
    int context_ = 0;
    size_t batch_ = 0;
    std::set<int32_t> ends_;
    std::optional<Sampler> sampler_;
    AnswerText text_{{}};
    std::vector<int32_t> held_;       // the tokens in the cache
    std::span<const float> logits_;   // after the last of them
    std::vector<int32_t> answer_;     // picked since the prefill
    std::optional<int32_t> pending_;  // picked, not yet in the cache
    size_t keep_ = 0, computed_ = 0;
    bool ended_ = true;
    Ending ending_ = Ending::limit;
};

/// The tokens that end a text: the model's, and the plan's stop pieces.
std::set<int32_t> end_tokens(Program& program, const Tokenizer& tokenizer);

/// Fails if that is more context than the plan has.
void require_context(const Program& program, int tokens);

// What options come to for a program: most tokens of a text, and of a pass; and what picks. The
// first fails as require_context does.
int context_of(const Program& program, const GenerateOptions& options);
size_t batch_of(const Program& program, const GenerateOptions& options);
Sampler make_sampler(const GenerateOptions& options, const std::set<int32_t>& ends);

}  // namespace llmsql
