// Generating text: prefill with reuse, the decode loop, and the figures printed at the end.
#pragma once

#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "runtime/cli/options.h"
#include "runtime/program/program.h"
#include "runtime/text/sampler.h"
#include "runtime/text/tokenizer.h"

namespace llmsql {

/// What a run computed, for its last lines on stderr.
struct Statistics {
    uint64_t prefill_tokens = 0;  // computed, not those reused
    double prefill_seconds = 0;
    uint64_t decode_tokens = 0;  // picked
    uint64_t decode_passes = 0;  // one fewer than tokens an answer: the first comes from prefill
    double decode_seconds = 0;
    uint64_t decode_bytes = 0;     // of weights used
    uint64_t decode_streamed = 0;  // of them, read from the database again
    uint64_t held_bytes = 0;       // of weights, read so far
    IoMode io = IoMode::read;
    PassTimes prefill_times, decode_times;  // with --timing

    /// prefill: 12 tokens, 85.3 tok/s
    /// decode: 32 tokens, 23.1 tok/s, 12.2 GB/s, peak RSS 71 MB
    /// and, where weights are streamed,
    /// weights: 27262976 bytes held, 498021376 read per token (--io read)
    /// and, with --timing, where the time went (timing.h).
    /// Decode's rates count passes, and all the time between the first token and the last.
    void print() const;
};

enum class Ending { end_token, stop_text, limit, context_full, interrupted };

struct Answer {
    std::string text;  // as it was printed
    Ending ending = Ending::limit;
};

/// Holds the tokens whose keys and values the program's cache holds. Not thread-safe.
class Generator {
  public:
    /// Fails if the options ask for more context than the plan has, or if a stop piece of the plan
    /// is no token of the model.
    Generator(Program& program, Tokenizer& tokenizer, const Options& options);

    /// Most tokens that prompt and answer may take together.
    int context() const { return context_; }

    /// Makes `tokens` (1 to context() of them) what the model has read, computing only what differs
    /// from what it had. False if a signal came.
    bool prefill(std::span<const int32_t> tokens);

    /// Picks and prints tokens after a prefill until something ends the text, then a newline if the
    /// text doesn't end with one. Says on stderr if it was the context that ended it.
    Answer generate();

    const Statistics& statistics() const { return statistics_; }

  private:
    bool extend(std::span<const int32_t> tokens);
    bool make_room(size_t keep);

    Program& program_;
    Tokenizer& tokenizer_;
    const Options& options_;
    int context_ = 0;
    size_t batch_ = 0;
    std::set<int32_t> ends_;
    Sampler sampler_;
    std::vector<int32_t> held_;      // the tokens in the cache
    std::span<const float> logits_;  // of the last one
    Statistics statistics_;
};

/// Fails if `text`, called `name`, is empty or not valid UTF-8.
void check_prompt(const std::string& text, const char* name);

/// Encodes, and says on stderr if the model has no token for some bytes.
std::vector<int32_t> encode_noting(Tokenizer& tokenizer, std::span<const Fragment> fragments);

/// Tokens a pass: -b, at most the plan's chunk.
size_t batch_size(const Program& program, const Options& options);

/// Mode::complete: prints the prompt and its continuation. Returns the exit status.
int run_complete(Program& program, Tokenizer& tokenizer, const Options& options);

/// The exit status after the last line: 128 + the signal that came, or 0.
int status_after_signals();

}  // namespace llmsql
