// SPDX-License-Identifier: MIT
// Sequence: one text on its way: the tokens that it consists of, how many of them the model has
// read, what picks the next, and what ends it. A Scheduler (scheduler.h) makes passes for it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "runtime/generate/answer_text.h"
#include "runtime/generate/draft.h"
#include "runtime/generate/options.h"
#include "runtime/program/program.h"
#include "runtime/text/sampler.h"
#include "runtime/text/tokenizer.h"

namespace llmsql {

enum class Ending { end_token, stop_text, limit, context_full, interrupted };

/// A token that was picked.
struct Picked {
    int32_t token = 0;
    std::string text;      // what can be shown now: whole characters that begin no stop text
    double logprob = 0;    // of the model itself, before any sampling option: a natural logarithm;
                           // 0 where the request did not ask for it
    std::string thinking;  // of it, before the text: what is thought, not answered
};

/// Where an answer stands: what another process needs in order to go on with it, under the same
/// options, exactly as this one would.
struct AnswerState {
    std::vector<int32_t> tokens;  // what is read, and the token picked last; 1 at least
    std::vector<int32_t> answer;  // picked
    int64_t keep = 0;             // tokens to keep when the context is full
    std::string random;           // the random numbers to come
};

/// What a sequence is to do.
struct Request {
    std::vector<int32_t> tokens;  // 1 at least, at most the context
    GenerateOptions options;
    bool answered = true;       // false: the tokens are read, nothing is picked
    bool logprobs = false;      // of what is picked
    bool tells_passes = false;  // an event for each pass that has read some of it

    /// How the model marks what it thinks; null: all that it says is text.
    std::shared_ptr<const AnswerForm> form;

    /// The random numbers to come, as Sampler::state() writes them; absent: by the options' seed.
    std::optional<std::string> random;

    /// Goes on with this answer instead of beginning one to `tokens`: those are then its own, at
    /// most one more than the context.
    std::optional<AnswerState> resumed;

    /// Called within Scheduler::step() with the logits after each token at positions [from, to), in
    /// rising order: f32[vocabulary], valid during the call. What it throws ends the sequence. Of
    /// a Caller it may be another's thread that calls it, for as long as the pass under way lasts
    /// even when the Caller has gone.
    struct Rows {
        size_t from = 0, to = std::numeric_limits<size_t>::max();
        std::function<void(size_t position, std::span<const float> logits)> take;
    };
    std::optional<Rows> rows;
};

using SequenceId = int64_t;

/// Made by Scheduler::arrive(). Not thread-safe: it changes during Scheduler::step() alone.
class Sequence {
  public:
    /// Fails if the options ask for more context than the plan has, or for what cannot be.
    Sequence(const Program& program, const Tokenizer* tokenizer, const std::set<int32_t>& ends,
             Request request);

    const GenerateOptions& options() const { return request_.options; }
    size_t context() const { return context_; }  // most tokens that prompt and answer may take

    /// All its tokens, the one picked last included, but not one that ends a text; and how many of
    /// them the cache holds, in the sequence of that number: absent while it waits for a place.
    const std::vector<int32_t>& tokens() const { return tokens_; }
    size_t held() const { return held_; }
    std::optional<int> place() const { return place_; }
    /// How many of them had been read before, whether they are held or have to be read again.
    size_t known() const { return known_; }

    /// Tokens picked, the one that ended it included.
    const std::vector<int32_t>& answer() const { return answer_; }
    /// Tokens that were computed before the first was picked: not those that the cache had.
    size_t computed() const { return computed_; }
    /// Guesses that passes have checked, and those of them that were right.
    size_t drafted() const { return drafted_; }
    size_t accepted() const { return accepted_; }

    bool ended() const { return ended_; }
    /// Whether the next pass is to have rows of it.
    bool wants_rows() const { return !ended_ && !resting_ && place_; }
    Ending ending() const { return ending_; }  // once it has ended

    AnswerState state() const;
    /// What the answer that it was resumed with had shown.
    const Spoken& shown_before() const { return shown_before_; }

    /// The last of its text, at the end: what might have begun a stop text, but did not.
    Spoken finish() { return text_.finish(); }

  private:
    friend class Scheduler;

    size_t unread() const { return tokens_.size() - held_; }
    /// Whether it goes on with an answer: it wants a row, and others should not make it wait.
    bool is_running() const { return unread() == 1 && read_; }
    /// How many of its first tokens may be held already when it begins.
    size_t most_held() const;
    bool gives_row(size_t position) const;  // to request_.rows
    bool wants_row(size_t position) const;
    std::optional<Picked> pick(std::span<const float> logits, const Tokenizer& tokenizer,
                               Workers* workers);
    size_t most_drafts() const;
    Drafter& drafter(std::span<const int32_t> others);
    void end_if_due();
    bool make_room();
    void end(Ending ending);

    Request request_;
    const std::set<int32_t>& ends_;
    size_t context_ = 0, batch_ = 0, keep_ = 0, drafts_ = 0;
    Sampler sampler_;
    TokenText text_;
    std::vector<int32_t> tokens_, answer_;
    Spoken shown_before_;
    size_t held_ = 0, computed_ = 0;
    std::optional<int> place_;
    size_t known_ = 0;      // of its tokens, those that had been read when it was given its place
    bool told_ = false;     // and that some of them are read again has been counted
    bool read_ = false;     // its prompt is, or what make_room() has left
    bool begun_ = false;    // its prompt has been read
    size_t next_row_ = 0;   // the position after the last that request_.rows has been given
    bool resting_ = false;  // it is to have no rows now
    bool alone_ = false;    // a pass with others has failed: it gets one of its own
    std::unique_ptr<Drafter> drafter_;  // once its prompt has been read
    std::vector<int32_t> checked_;      // in this pass: the token picked last, and guesses
    size_t drafted_ = 0, accepted_ = 0;
    bool undrafted_ = false;  // a pass with guesses has failed: it gets one without
    bool ended_ = false;
    Ending ending_ = Ending::limit;
    uint64_t forgotten_ = 0;  // how often make_room() has changed its tokens
};

/// The tokens that end a text: the model's, and the plan's stop pieces. Fails if one of these is no
/// token of the model.
std::set<int32_t> end_tokens(Program& program, const Tokenizer& tokenizer);

/// Fails if that is more context than the plan has.
void require_context(const Program& program, int tokens);

// What options come to for a program: most tokens of a text, and of a pass; and what picks. The
// first fails as require_context does.
ContextLimit context_of(const Program& program, const GenerateOptions& options);
size_t batch_of(const Program& program, const GenerateOptions& options);
/// Most tokens that are guessed in a pass. Fails where that is more than the plan has room for.
size_t drafts_of(const Program& program, const GenerateOptions& options);
Sampler make_sampler(const GenerateOptions& options, const std::set<int32_t>& ends);
/// How many of a prompt's tokens, or of an answer's first, stay when the context is full.
size_t keep_of(const GenerateOptions& options, size_t prompt);

}  // namespace llmsql
