// SPDX-License-Identifier: MIT
// Printing generated text. See generate.h.
#include "runtime/cli/generate.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "common/byte_size.h"
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
    const std::string peak = mib_text(static_cast<int64_t>(peak_resident_bytes()));
    if (decode_behind > 0)
        report(fmt::format("decode: {}, {} tok/s, {:.1f} GB/s, peak RSS {}\n",
                           counted(decode_tokens, "token"),
                           speed(static_cast<double>(decode_behind), decode_seconds),
                           rate(static_cast<double>(decode_bytes) / 1e9, decode_seconds), peak));
    else if (decode_tokens > 0)  // that came with the prompt
        report(fmt::format("decode: {}, peak RSS {}\n", counted(decode_tokens, "token"), peak));
    if (decode_streamed > 0 && decode_passes > 0)
        report(fmt::format("weights: {} bytes held, {} read per {} (--io {})\n", held_bytes,
                           decode_streamed / decode_passes, drafted > 0 ? "pass" : "token",
                           name_of(io)));
    report(timing_text("prefill", prefill_times, prefill_seconds));
    report(timing_text("decode", decode_times, decode_seconds));
    if (decode_times.passes > 0 && drafted > 0)
        report(fmt::format(
            "drafts: {} checked, {} right; {:.2f} tokens a pass\n", drafted, accepted,
            rate(static_cast<double>(decode_behind), static_cast<double>(decode_passes))));
}

std::vector<RunPhase> Statistics::phases() const {
    return {{"prefill", prefill_times, prefill_seconds},
            {"decode", decode_times, decode_seconds, drafted, accepted}};
}

AnswerPrinter::~AnswerPrinter() {
    try {
        if (dim_) print_dim(false);
    } catch (const std::exception&) {  // nobody is there to see it
    }
}

void AnswerPrinter::show(const Spoken& said) {
    if (!said.thinking.empty()) {
        if (!std::exchange(thinking_, true)) {
            if (!said_.text.empty() && !said_.text.ends_with('\n')) print("\n");
            dim_ = print_dim(true);
            if (!dim_) print("<think>\n");
        }
        print(said.thinking);
        said_.thinking += said.thinking;
    }
    if (said.text.empty()) return;
    if (std::exchange(thinking_, false)) {
        if (std::exchange(dim_, false))
            print_dim(false);
        else
            print("\n</think>");
        print("\n\n");
    }
    print(said.text);
    said_.text += said.text;
}

void AnswerPrinter::end() {
    if (std::exchange(dim_, false)) print_dim(false);
    if (thinking_ || !said_.text.ends_with('\n')) print("\n");
}

Printer::Printer(Program& program, Tokenizer& tokenizer, const Options& options)
    : program_(program),
      tokenizer_(tokenizer),
      options_(options),
      scheduler_(program, end_tokens(program, tokenizer)),
      generator_(scheduler_, &tokenizer, options, kCaller) {
    if (options.mode == Mode::answer || options.mode == Mode::chat)
        generator_.set_form(form_of(program.chat(), tokenizer));
}

Session* Printer::open_session(std::optional<SessionKind> kind) {
    if (options_.session.empty()) return nullptr;
    const SessionChoice choice{.file = options_.session,
                               .name = options_.id,
                               .fork = options_.fork,
                               .commit_every = options_.commit_every,
                               .snapshots = options_.snapshots,
                               .variables = options_.variables,
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

Spoken Printer::print_answer(const Spoken& before_it) {
    const auto start = Clock::now();
    const RunStats before = program_.stats();
    const Scheduler::Carried carried = scheduler_.carried();
    AnswerPrinter printer;
    printer.show(before_it);
    const auto next = [&] { return session_ ? session_->next() : generator_.next(); };
    while (const auto picked = next()) printer.show({picked->thinking, picked->text});
    const size_t told = generator_.thinking().size();
    const std::string last = session_ ? session_->finish() : generator_.finish();
    printer.show({generator_.thinking().substr(told), last});
    const size_t picked = generator_.picked();
    statistics_.decode_tokens += picked;
    // The first token comes from prefill.
    if (picked > 0) statistics_.decode_behind += picked - 1;
    const Scheduler::Carried now = scheduler_.carried();
    statistics_.decode_passes += now.passes - carried.passes;
    statistics_.drafted += now.drafted - carried.drafted;
    statistics_.accepted += now.accepted - carried.accepted;
    statistics_.decode_seconds += seconds_since(start);
    const RunStats after = program_.stats();
    statistics_.decode_bytes += after.weight_bytes - before.weight_bytes;
    statistics_.decode_streamed += after.counters.streamed - before.counters.streamed;
    PassTimes times = after.times - before.times;
    const uint64_t refused = (now.drafted - carried.drafted) - (now.accepted - carried.accepted);
    times.tokens -= std::min(refused, times.tokens);  // rows that are no tokens of the text
    statistics_.decode_times = statistics_.decode_times + times;
    statistics_.held_bytes = after.counters.loaded;
    statistics_.io = after.io;
    printer.end();
    if (generator_.ending() == Ending::context_full)
        print_notice(fmt::format("stopped: the context of {} is full{}",
                                 counted(generator_.context().tokens, "token"),
                                 options_.keep ? " and --keep leaves nothing to forget"
                                               : " (--keep N goes on by forgetting older text)"));
    return printer.said();
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
    const Scheduler::Carried carried = scheduler_.carried();
    if (options_.timing && carried.reread > 0)
        report(fmt::format(
            "rewound: {} to a snapshot of the recurrent state, {} to the start; {} read "
            "again\n",
            counted(carried.from_snapshot, "time"), counted(carried.from_start, "time"),
            counted(carried.reread, "token")));
    report_profile(program_, options_, statistics_.phases());
    return status_after_signals();
}

int status_after_signals() {
    return interrupt() ? 128 + interrupt() : 0;
}

}  // namespace llmsql
