// SPDX-License-Identifier: MIT
// Printing generated text. See generate.h.
#include "runtime/cli/generate.h"

#include <algorithm>
#include <chrono>

#include "common/error.h"
#include "runtime/cli/console.h"
#include "runtime/cli/profile.h"
#include "runtime/cli/timing.h"
#include "runtime/generate/prompt.h"

namespace llmsql {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

double rate(double amount, double seconds) {
    return seconds > 0 ? amount / seconds : 0;
}

/// Three digits at least.
std::string speed(double amount, double seconds) {
    const double value = rate(amount, seconds);
    return fmt::format("{:.{}f}", value, value < 10 ? 2 : 1);
}

// An answer goes no further than it has been printed.
const CallerOptions kCaller{.interrupted = [] { return interrupt() != 0; }, .ahead = 0};

}  // namespace

void Statistics::print() const {
    if (prefill_tokens > 0)
        report(fmt::format("prefill: {}, {} tok/s\n", counted(prefill_tokens, "token"),
                           speed(static_cast<double>(prefill_tokens), prefill_seconds)));
    const double peak = static_cast<double>(peak_resident_bytes()) / 1e6;
    if (decode_passes > 0)
        report(fmt::format("decode: {}, {} tok/s, {:.1f} GB/s, peak RSS {:.0f} MB\n",
                           counted(decode_tokens, "token"),
                           speed(static_cast<double>(decode_passes), decode_seconds),
                           rate(static_cast<double>(decode_bytes) / 1e9, decode_seconds), peak));
    else if (decode_tokens > 0)  // that came with the prompt
        report(
            fmt::format("decode: {}, peak RSS {:.0f} MB\n", counted(decode_tokens, "token"), peak));
    if (decode_streamed > 0 && decode_passes > 0)
        report(fmt::format("weights: {} bytes held, {} read per token (--io {})\n", held_bytes,
                           decode_streamed / decode_passes, name_of(io)));
    report(timing_text("prefill", prefill_times, prefill_seconds));
    report(timing_text("decode", decode_times, decode_seconds));
}

std::vector<RunPhase> Statistics::phases() const {
    return {{"prefill", prefill_times, prefill_seconds}, {"decode", decode_times, decode_seconds}};
}

Printer::Printer(Program& program, Tokenizer& tokenizer, const Options& options)
    : program_(program),
      tokenizer_(tokenizer),
      options_(options),
      scheduler_(program, end_tokens(program, tokenizer)),
      generator_(scheduler_, &tokenizer, options, kCaller) {}

Session* Printer::open_session(std::optional<SessionKind> kind) {
    if (options_.session.empty()) return nullptr;
    const SessionChoice choice{.file = options_.session,
                               .name = options_.id,
                               .fork = options_.fork,
                               .commit_every = options_.commit_every,
                               .notice = print_notice};
    return &session_.emplace(choice, kind, program_, program_.chat(), tokenizer_, generator_);
}

bool Printer::prefill(std::span<const int32_t> tokens) {
    return prefill_by([&] { return generator_.prefill(tokens); });
}

bool Printer::prefill_by(const std::function<bool()>& steps) {
    const auto start = Clock::now();
    const PassTimes before = program_.stats().times;
    const bool whole = steps();
    statistics_.prefill_times = statistics_.prefill_times + (program_.stats().times - before);
    statistics_.prefill_tokens += generator_.computed();
    statistics_.prefill_seconds += seconds_since(start);
    return whole;
}

std::string Printer::print_answer(std::string text) {
    const auto start = Clock::now();
    const RunStats before = program_.stats();
    const auto show = [&](const std::string& piece) {
        print(piece);
        text += piece;
    };
    const auto next = [&] { return session_ ? session_->next() : generator_.next(); };
    while (const auto picked = next()) show(picked->text);
    show(session_ ? session_->finish() : generator_.finish());
    const size_t picked = generator_.picked();
    statistics_.decode_tokens += picked;
    // The first token comes from prefill.
    if (picked > 0) statistics_.decode_passes += picked - 1;
    statistics_.decode_seconds += seconds_since(start);
    const RunStats after = program_.stats();
    statistics_.decode_bytes += after.weight_bytes - before.weight_bytes;
    statistics_.decode_streamed += after.counters.streamed - before.counters.streamed;
    statistics_.decode_times = statistics_.decode_times + (after.times - before.times);
    statistics_.held_bytes = after.counters.loaded;
    statistics_.io = after.io;
    if (!text.ends_with('\n')) print("\n");
    if (generator_.ending() == Ending::context_full)
        print_notice(fmt::format("stopped: the context of {} is full{}",
                                 counted(generator_.context().tokens, "token"),
                                 options_.keep ? " and --keep leaves nothing to forget"
                                               : " (--keep N goes on by forgetting older text)"));
    return text;
}

void note_left_out(uint64_t bytes) {
    if (bytes > 0)
        print_notice(
            fmt::format("note: bytes left out because the model has no token for them: {}", bytes));
}

std::vector<int32_t> encode_noting(Tokenizer& tokenizer, std::string_view text) {
    return noting(tokenizer, [&] { return tokenizer.encode(text, true); });
}

int run_complete(Program& program, Tokenizer& tokenizer, const Options& options) {
    if (!options.session.empty()) return run_session(program, tokenizer, options);
    check_prompt(options.prompt, "the prompt");
    Printer printer(program, tokenizer, options);
    const auto tokens = noting(tokenizer, [&] {
        return text_prompt(tokenizer, options.prompt, printer.generator().context());
    });
    print(options.prompt);
    if (printer.prefill(tokens))
        printer.print_answer();
    else
        print("\n");
    return printer.end();
}

int Printer::end() const {
    statistics_.print();
    report_profile(program_, options_, statistics_.phases());
    return status_after_signals();
}

int status_after_signals() {
    return interrupt() ? 128 + interrupt() : 0;
}

}  // namespace llmsql
