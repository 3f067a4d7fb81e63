// SPDX-License-Identifier: MIT
// Divergence from a base. See divergence.h.
#include "runtime/cli/divergence.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <span>
#include <vector>

#include "common/error.h"
#include "common/shared_file.h"
#include "runtime/cli/console.h"
#include "runtime/cli/generate.h"
#include "runtime/cli/profile.h"
#include "runtime/generate/score.h"

namespace llmsql {
namespace {

/// What llama-perplexity has saved. All numbers are little-endian, as they are in memory here:
///
///   "_logits_", i32 window, i32 vocabulary, i32 windows, i32[windows, window] tokens,
///   then for each window, for tokens window/2 … window - 2, what follows it:
///   f32 scale, f32 least, u16[vocabulary, to an even number] steps: log p = scale steps + least
class Base {
  public:
    explicit Base(const std::filesystem::path& path) : file_(SharedFile::of(path)) {
        std::array<char, 8> mark{};
        std::array<int32_t, 3> sizes{};
        if (file_->read(0, mark.data(), mark.size()) < mark.size() ||
            std::string_view(mark.data(), mark.size()) != "_logits_" ||
            file_->read(mark.size(), sizes.data(), sizeof sizes) < sizeof sizes)
            fail(
                "{}: is no file of log probabilities, as llama-perplexity --save-all-logits "
                "writes it",
                file_->path());
        size = sizes[0], vocabulary = sizes[1], spans = sizes[2];
        if (size < 4 || vocabulary < 1 || spans < 1)
            fail("{}: has {} windows of {} tokens of {}", file_->path(), spans, size, vocabulary);
        row_ = kHead + 2 * ((static_cast<uint64_t>(vocabulary) + 1) / 2) * sizeof(uint16_t);
        tokens_at_ = mark.size() + sizeof sizes;
        const auto all = static_cast<uint64_t>(spans) * static_cast<uint64_t>(size);
        rows_at_ = tokens_at_ + all * sizeof(int32_t);
        const uint64_t rows = static_cast<uint64_t>(spans) * static_cast<uint64_t>(rows_of());
        // What is too large to count is larger than any file.
        const uint64_t wanted = rows > UINT64_MAX / 2 / row_ ? UINT64_MAX : rows_at_ + rows * row_;
        if (file_->size() < wanted)
            fail("{}: is cut short: {} bytes, {} windows of {} tokens take {}", file_->path(),
                 file_->size(), spans, size, wanted);
        steps_.resize((row_ - kHead) / sizeof(uint16_t));
    }

    int size = 0, vocabulary = 0, spans = 0;
    int first() const { return size / 2; }  // the first token after which there is a row
    int rows_of() const { return size - 1 - first(); }

    std::vector<int32_t> tokens(int of) const {
        std::vector<int32_t> tokens(static_cast<size_t>(size));
        take(tokens_at_ + static_cast<uint64_t>(of) * tokens.size() * sizeof(int32_t),
             std::as_writable_bytes(std::span(tokens)));
        for (const int32_t token : tokens)
            if (token < 0 || token >= vocabulary)
                fail("{}: token {} of a vocabulary of {}", file_->path(), token, vocabulary);
        return tokens;
    }

    /// log p after token `position` of window `of`: f32[vocabulary].
    void read(int of, size_t position, std::vector<float>& to) {
        const auto row = static_cast<uint64_t>(of) * static_cast<uint64_t>(rows_of()) + position -
                         static_cast<uint64_t>(first());
        std::array<float, 2> line{};
        take(rows_at_ + row * row_, std::as_writable_bytes(std::span(line)));
        take(rows_at_ + row * row_ + kHead, std::as_writable_bytes(std::span(steps_)));
        if (!std::isfinite(line[0]) || !std::isfinite(line[1]))
            fail("{}: window {}: a log probability is not a number", file_->path(), of + 1);
        to.resize(static_cast<size_t>(vocabulary));
        for (size_t i = 0; i < to.size(); ++i)
            to[i] = line[0] * static_cast<float>(steps_[i]) + line[1];
    }

  private:
    static constexpr uint64_t kHead = 4 * sizeof(uint16_t);

    void take(uint64_t at, std::span<std::byte> to) const {
        if (file_->read(at, to.data(), to.size()) < to.size())
            fail("{}: is cut short at byte {}", file_->path(), at);
    }

    std::shared_ptr<SharedFile> file_;
    uint64_t tokens_at_ = 0, rows_at_ = 0, row_ = 0;
    std::vector<uint16_t> steps_;
};

/// Of values that come one by one, the mean and its standard error.
struct Mean {
    double sum = 0, squares = 0;
    int64_t count = 0;

    void add(double value) {
        sum += value;
        squares += value * value;
        ++count;
    }
    double value() const { return sum / static_cast<double>(count); }
    double error() const {
        const double spread = squares / static_cast<double>(count) - value() * value();
        return count > 1 ? std::sqrt(std::max(0.0, spread) / static_cast<double>(count - 1)) : 0;
    }
};

struct Result {
    Mean surprise, base_surprise;  // -log of the probability of the token that comes, in nats
    Mean divergence, difference;   // of each row; and squares of p - p_base of that token
    std::vector<double> divergences;
    int64_t same_top = 0;

    void add(std::span<const float> logits, std::span<const float> base, int32_t next) {
        const auto at = static_cast<size_t>(next);
        const double own = log_probability(logits, next);
        const double whole = logits[at] - own;  // log of the sum of exponentials
        double sum = 0;
        for (size_t i = 0; i < base.size(); ++i)
            if (base[i] > -16)
                sum += std::exp(base[i]) * (base[i] - (static_cast<double>(logits[i]) - whole));
        surprise.add(-own);
        base_surprise.add(-base[at]);
        divergence.add(sum);
        divergences.push_back(sum);
        const double off = std::exp(own) - std::exp(static_cast<double>(base[at]));
        difference.add(off * off);
        same_top += std::ranges::max_element(logits) - logits.begin() ==
                    std::ranges::max_element(base) - base.begin();
    }

    std::string text() {
        std::ranges::sort(divergences);
        const auto part = [&](double share) {
            return divergences[static_cast<size_t>(share *
                                                   static_cast<double>(divergences.size() - 1))];
        };
        const double perplexity = std::exp(surprise.value());
        const double same = static_cast<double>(same_top) / static_cast<double>(divergence.count);
        return fmt::format(
            "perplexity: {:.4f} ± {:.4f}\n"
            "base perplexity: {:.4f}\n"
            "divergence: {:.6f} ± {:.6f}\n"
            "divergence, median: {:.6f}\n"
            "divergence, 99 %: {:.6f}\n"
            "divergence, most: {:.6f}\n"
            "same likeliest token: {:.3f} %\n"
            "probability off by: {:.3f} % (root mean square)\n",
            perplexity, perplexity * surprise.error(), std::exp(base_surprise.value()),
            divergence.value(), divergence.error(), part(0.5), part(0.99), part(1), 100 * same,
            100 * std::sqrt(difference.value()));
    }
};

}  // namespace

int run_divergence(Program& program, const Tokenizer& tokenizer, const Options& options) {
    // Used by whichever thread makes the passes: see Request::Rows.
    struct Work {
        Base base;
        Result result;
        std::vector<int32_t> tokens;
        std::vector<float> row;
        int span = 0;
    };
    const auto work = std::make_shared<Work>(Work{Base(options.file), {}, {}, {}, 0});
    const Base& base = work->base;
    if (base.vocabulary != program.vocabulary())
        fail("{}: is of a model of {} tokens, this one has {}", options.file.string(),
             base.vocabulary, program.vocabulary());
    require_context(program, base.size);

    SharedScheduler scheduler(program, {});
    const CallerOptions how{.interrupted = [] { return interrupt() != 0; }};
    const OnePhase phase(program, options, "divergence");
    for (; work->span < base.spans; ++work->span) {
        work->tokens = base.tokens(work->span);
        std::vector<int32_t> read(work->tokens.begin(), work->tokens.end() - 1);
        if (tokenizer.adds_start_token()) read.front() = *tokenizer.start_token();
        const bool whole =
            read_rows(scheduler, &tokenizer, read, static_cast<size_t>(base.first()), options, how,
                      [work](size_t position, std::span<const float> logits) {
                          work->base.read(work->span, position, work->row);
                          work->result.add(logits, work->row, work->tokens[position + 1]);
                      });
        if (!whole) {
            report("\n");
            return status_after_signals();
        }
        report(fmt::format("[{}]{:.5f},", work->span + 1, work->result.divergence.value()));
    }
    report("\n");
    print(work->result.text());
    phase.report();
    return 0;
}

}  // namespace llmsql
