// Prefill, decode, and shifting a full context.
#include "runtime/cli/generate.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "common/error.h"
#include "runtime/cli/console.h"
#include "runtime/cli/timing.h"
#include "runtime/text/stop_filter.h"
#include "runtime/text/utf8.h"

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

std::set<int32_t> end_tokens(Program& program, const Tokenizer& tokenizer) {
    std::set<int32_t> ends;
    if (tokenizer.end_token()) ends.insert(*tokenizer.end_token());
    for (const std::string& piece : program.stop_pieces()) {
        const auto token = tokenizer.find_piece(piece);
        if (!token) fail("the plan stops at '{}', which is no token of this model", piece);
        ends.insert(*token);
    }
    return ends;
}

uint64_t seed_of(const Options& options) {
    if (options.seed >= 0) return static_cast<uint64_t>(options.seed);
    std::random_device random;
    return (static_cast<uint64_t>(random()) << 32) | random();
}

/// Generated text on its way out: stop texts are cut off, characters stay whole.
class TextOut {
  public:
    explicit TextOut(const std::vector<std::string>& stops) : stops_(stops) {}

    void write(std::string_view bytes) { emit(characters_.push(stops_.push(bytes))); }
    void finish() { emit(characters_.push(stops_.finish()) + characters_.finish()); }
    bool stopped() const { return stops_.stopped(); }
    std::string& text() { return text_; }

  private:
    void emit(const std::string& text) {
        print(text);
        text_ += text;
    }

    StopFilter stops_;
    Utf8Stream characters_;
    std::string text_;
};

}  // namespace

void Statistics::print() const {
    report(fmt::format("prefill: {} tokens, {} tok/s\n", prefill_tokens,
                       speed(static_cast<double>(prefill_tokens), prefill_seconds)));
    report(fmt::format("decode: {} tokens, {} tok/s, {:.1f} GB/s, peak RSS {:.0f} MB\n",
                       decode_tokens, speed(static_cast<double>(decode_passes), decode_seconds),
                       rate(static_cast<double>(decode_bytes) / 1e9, decode_seconds),
                       static_cast<double>(peak_resident_bytes()) / 1e6));
    if (decode_streamed > 0 && decode_passes > 0)
        report(fmt::format("weights: {} bytes held, {} read per token (--io {})\n", held_bytes,
                           decode_streamed / decode_passes, name_of(io)));
    report(timing_text("prefill", prefill_times, prefill_seconds));
    report(timing_text("decode", decode_times, decode_seconds));
}

Generator::Generator(Program& program, Tokenizer& tokenizer, const Options& options)
    : program_(program),
      tokenizer_(tokenizer),
      options_(options),
      context_(options.context.value_or(program.context())),
      batch_(batch_size(program, options)),
      ends_(end_tokens(program, tokenizer)),
      sampler_(options.sampler, seed_of(options),
               options.ignore_end ? std::vector<int32_t>(ends_.begin(), ends_.end())
                                  : std::vector<int32_t>()) {
    if (context_ > program.context())
        fail("-c {}: the plan's context is {} tokens; llmsqlc --context {} makes a larger one",
             context_, program.context(), context_);
}

bool Generator::prefill(std::span<const int32_t> tokens) {
    const auto start = Clock::now();
    const auto [differs, unused] =
        std::mismatch(held_.begin(), held_.end(), tokens.begin(), tokens.end());
    // The last token is computed in any case, for its logits.
    const size_t same = std::min(static_cast<size_t>(differs - held_.begin()), tokens.size() - 1);
    held_.resize(static_cast<size_t>(program_.rewind(static_cast<int>(same))));
    const size_t reused = held_.size();
    const PassTimes before = program_.times();
    const bool whole = extend(tokens.subspan(reused));
    statistics_.prefill_times = statistics_.prefill_times + (program_.times() - before);
    statistics_.prefill_tokens += held_.size() - reused;
    statistics_.prefill_seconds += seconds_since(start);
    return whole;
}

/// Computes `tokens` after those held. False, with fewer of them held, if a signal came.
bool Generator::extend(std::span<const int32_t> tokens) {
    while (!tokens.empty()) {
        if (interrupt()) return false;
        const auto pass = tokens.first(std::min(batch_, tokens.size()));
        program_.forward(pass, static_cast<int>(held_.size()));
        held_.insert(held_.end(), pass.begin(), pass.end());
        tokens = tokens.subspan(pass.size());
        if (tokens.empty()) logits_ = program_.logits(static_cast<int>(pass.size()) - 1, 1).row(0);
    }
    return true;
}

/// Forgets the older half of what comes after the first `keep` tokens. False if there is nothing to
/// forget.
bool Generator::make_room(size_t keep) {
    if (held_.size() < keep + 2) return false;
    const size_t forget = (held_.size() - keep + 1) / 2;
    std::vector<int32_t> tokens(held_.begin(), held_.begin() + static_cast<ptrdiff_t>(keep));
    tokens.insert(tokens.end(), held_.begin() + static_cast<ptrdiff_t>(keep + forget), held_.end());
    held_.resize(static_cast<size_t>(program_.rewind(static_cast<int>(keep))));
    extend(std::span(tokens).subspan(held_.size()));
    return true;
}

Answer Generator::generate() {
    const auto start = Clock::now();
    const uint64_t bytes_before = program_.weight_bytes_used();
    const uint64_t streamed_before = program_.counters().streamed;
    const PassTimes times_before = program_.times();
    const size_t keep = !options_.keep       ? 0
                        : *options_.keep < 0 ? held_.size()
                                             : static_cast<size_t>(*options_.keep);
    TextOut out(options_.stops);
    Answer answer;
    for (int64_t picked = 0; options_.predict < 0 || picked < options_.predict;) {
        if (interrupt()) {
            answer.ending = Ending::interrupted;
            break;
        }
        const int32_t token = sampler_.sample(logits_, held_);
        ++picked;
        ++statistics_.decode_tokens;
        if (!options_.ignore_end && ends_.contains(token)) {
            answer.ending = Ending::end_token;
            break;
        }
        if (!tokenizer_.is_control(token)) out.write(tokenizer_.text_of(token));
        if (out.stopped()) {
            answer.ending = Ending::stop_text;
            break;
        }
        if (picked == options_.predict) break;

        if (held_.size() == static_cast<size_t>(context_) && !(options_.keep && make_room(keep))) {
            answer.ending = Ending::context_full;
            break;
        }
        if (extend(std::span(&token, 1))) ++statistics_.decode_passes;
    }
    out.finish();
    answer.text = std::move(out.text());
    statistics_.decode_seconds += seconds_since(start);
    statistics_.decode_bytes += program_.weight_bytes_used() - bytes_before;
    statistics_.decode_streamed += program_.counters().streamed - streamed_before;
    statistics_.decode_times = statistics_.decode_times + (program_.times() - times_before);
    statistics_.held_bytes = program_.counters().loaded;
    statistics_.io = program_.io();
    if (!answer.text.ends_with('\n')) print("\n");
    if (answer.ending == Ending::context_full)
        print_notice(fmt::format("stopped: the context of {} tokens is full{}", context_,
                                 options_.keep ? " and --keep leaves nothing to forget"
                                               : " (--keep N goes on by forgetting older text)"));
    return answer;
}

void check_prompt(const std::string& text, const char* name) {
    if (text.empty()) fail("{} is empty: there is nothing to go on from", name);
    if (const auto at = first_invalid_utf8(text))
        fail("{} is not valid UTF-8: byte 0x{:02X} at offset {}", name,
             static_cast<unsigned char>(text[*at]), *at);
}

std::vector<int32_t> encode_noting(Tokenizer& tokenizer, std::span<const Fragment> fragments) {
    const uint64_t before = tokenizer.bytes_left_out();
    std::vector<int32_t> tokens = tokenizer.encode(fragments, true);
    if (const uint64_t count = tokenizer.bytes_left_out() - before)
        print_notice(
            fmt::format("note: bytes left out because the model has no token for them: {}", count));
    return tokens;
}

size_t batch_size(const Program& program, const Options& options) {
    return static_cast<size_t>(std::min(options.batch.value_or(program.chunk()), program.chunk()));
}

int run_complete(Program& program, Tokenizer& tokenizer, const Options& options) {
    check_prompt(options.prompt, "the prompt");
    Generator generator(program, tokenizer, options);
    const Fragment fragment{options.prompt, false};
    const std::vector<int32_t> tokens = encode_noting(tokenizer, std::span(&fragment, 1));
    if (tokens.empty()) fail("the model has no token for anything in the prompt");
    if (tokens.size() > static_cast<size_t>(generator.context()))
        fail(
            "the prompt is {} tokens, the context holds {}: shorten it, or compile the plan with a "
            "larger --context",
            tokens.size(), generator.context());
    print(options.prompt);
    if (generator.prefill(tokens))
        generator.generate();
    else
        print("\n");
    generator.statistics().print();
    return status_after_signals();
}

int status_after_signals() {
    return interrupt() ? 128 + interrupt() : 0;
}

}  // namespace llmsql
