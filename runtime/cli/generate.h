// SPDX-License-Identifier: MIT
// Printing what a model generates, and the figures at the end.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/cli/options.h"
#include "runtime/generate/generator.h"
#include "runtime/observe/run_profile.h"
#include "runtime/program/program.h"
#include "runtime/session/session.h"
#include "runtime/text/tokenizer.h"

namespace llmsql {

/// What a run computed, for its last lines on stderr.
struct Statistics {
    uint64_t prefill_tokens = 0;  // computed, not those reused
    double prefill_seconds = 0;
    uint64_t decode_tokens = 0;  // picked
    uint64_t decode_behind = 0;  // one fewer an answer: the first comes from prefill
    uint64_t decode_passes = 0;  // as many, where no guess was right
    uint64_t drafted = 0,
             accepted = 0;  // guesses that passes have checked, and those of them right
    double decode_seconds = 0;
    uint64_t decode_bytes = 0;     // of weights used
    uint64_t decode_streamed = 0;  // of them, read from the database again
    uint64_t held_bytes = 0;       // of weights, read so far
    IoMode io = IoMode::read;
    PassTimes prefill_times, decode_times;  // with --profile

    /// What there was of
    /// prefill: 12 tokens, 85.3 tok/s
    /// decode: 32 tokens, 23.1 tok/s, 12.2 GB/s, peak RSS 68.2 MiB
    /// and, where weights are streamed,
    /// weights: 27262976 bytes held, 498021376 read per token (--io read)
    /// (a pass, where one may have made several tokens), and, with --profile, where the time went
    /// (timing.h) and what came of drafts:
    /// drafts: 120 checked, 97 right; 3.10 tokens a pass
    /// Decode's rates are of the tokens behind the first, and all the time from that to the last.
    void print() const;

    std::vector<RunPhase> phases() const;
};

/// Prints an answer as it comes. What is thought before it is dim on a terminal, else it stands
/// between <think> and </think>, whatever the model's own marks are.
class AnswerPrinter {
  public:
    AnswerPrinter() = default;
    AnswerPrinter(const AnswerPrinter&) = delete;
    AnswerPrinter& operator=(const AnswerPrinter&) = delete;
    /// A terminal is left as it was, even where an answer ends by an error.
    ~AnswerPrinter();

    void show(const Spoken& said);
    /// The end of its last line, if it has none.
    void end();
    const Spoken& said() const { return said_; }

  private:
    Spoken said_;
    bool thinking_ = false, dim_ = false;
};

/// A generator whose text goes to standard output, and which counts. Not thread-safe.
class Printer {
  public:
    Printer(Program& program, Tokenizer& tokenizer, const Options& options);

    Generator& generator() { return generator_; }

    /// Opens the session that the options name, and takes answers from it from then on; null where
    /// they name none. Without a kind: to resume.
    Session* open_session(std::optional<SessionKind> kind);

    /// Generator::prefill, counted.
    bool prefill(std::span<const int32_t> tokens);
    /// Whatever makes the generator prefill, counted likewise.
    bool prefill_by(const std::function<bool()>& steps);

    /// Prints the tokens of an answer as they are picked, behind `before`, then a newline if the
    /// text doesn't end with one. Says on stderr if it was the context that ended it. Returns it
    /// all.
    Spoken print_answer(const Spoken& before = {});

    /// The last lines of a run, and the profile that the options ask for. Returns the exit status.
    int end() const;

  private:
    Program& program_;
    Tokenizer& tokenizer_;
    const Options& options_;
    SharedScheduler scheduler_;
    Generator generator_;
    std::optional<Session> session_;
    Statistics statistics_;
};

/// Says on stderr that `bytes` bytes of a text were left out, if any.
void note_left_out(uint64_t bytes);

/// What make() returns, tokens; and such a note if the tokenizer left bytes out meanwhile.
template<class Make>
std::vector<int32_t> noting(const Tokenizer& tokenizer, Make make) {
    const uint64_t before = tokenizer.bytes_left_out();
    std::vector<int32_t> tokens = make();
    note_left_out(tokenizer.bytes_left_out() - before);
    return tokens;
}

/// Session::say, and such a note.
bool say_noting(Tokenizer& tokenizer, Session& session, const std::string& content);

/// A text's tokens, and such a note.
std::vector<int32_t> encode_noting(Tokenizer& tokenizer, std::string_view text);

/// Mode::complete: prints the prompt and its continuation. Returns the exit status.
int run_complete(Program& program, Tokenizer& tokenizer, const Options& options);

/// Modes complete, answer and resume within a session. Returns the exit status.
int run_session(Program& program, Tokenizer& tokenizer, const Options& options);

/// The exit status after the last line: 128 + the signal that came, or 0.
int status_after_signals();

}  // namespace llmsql
