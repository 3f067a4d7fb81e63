// SPDX-License-Identifier: MIT
// Probabilities of tokens. See score.h.
#include "runtime/generate/score.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/error.h"
#include "runtime/kernels/kernels.h"

namespace llmsql {
namespace {

[[noreturn]] void refuse() {
    fail("a logit is not a number: the model's weights or the plan are broken");
}

}  // namespace

double log_probability(std::span<const float> logits, int32_t token) {
    constexpr float kMost = std::numeric_limits<float>::max();
    constexpr int kBits = 50;
    constexpr size_t kPart = 4096;
    bool broken = false;
    for (const float logit : logits) broken |= !(logit <= kMost);
    if (broken) refuse();
    const float most = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    uint64_t weights[kPart];
    for (std::span left = logits; !left.empty();) {
        const auto part = left.first(std::min(left.size(), kPart));
        sum += static_cast<double>(kernels().exponentials(
            part.data(), static_cast<int64_t>(part.size()), most, 1, kBits, weights));
        left = left.subspan(part.size());
    }
    sum = std::ldexp(sum, -kBits);
    const double nats = logits[static_cast<size_t>(token)] - most - std::log(sum);
    if (!std::isfinite(nats)) refuse();
    return nats;
}

bool read_rows(SharedScheduler& shared, const Tokenizer* tokenizer, std::span<const int32_t> tokens,
               size_t from, const GenerateOptions& options, const CallerOptions& how,
               std::function<void(size_t position, std::span<const float> logits)> take) {
    Caller caller(shared, tokenizer, how);
    Request request;
    request.tokens.assign(tokens.begin(), tokens.end());
    request.options = options;
    request.answered = false;
    request.rows = Request::Rows{.from = from, .take = std::move(take)};
    caller.arrive(std::move(request));
    const std::vector<Event> events = caller.wait(Caller::Until::an_end);
    if (events.empty()) return false;
    if (events.back().kind == Event::Kind::failed) std::rethrow_exception(events.back().error);
    return true;
}

std::optional<double> log_probability_of(SharedScheduler& shared, const Tokenizer* tokenizer,
                                         std::span<const int32_t> tokens, size_t first,
                                         const GenerateOptions& options, const CallerOptions& how) {
    if (tokens.size() <= first) return 0;
    // What is told by the last token's logits is not among them. Kept for as long as a pass may
    // need it: see Request::Rows.
    struct Scored {
        std::vector<int32_t> tokens;
        double sum = 0;
    };
    const auto scored = std::make_shared<Scored>();
    scored->tokens.assign(tokens.begin(), tokens.end());
    const bool whole =
        read_rows(shared, tokenizer, tokens.first(tokens.size() - 1), first - 1, options, how,
                  [scored](size_t position, std::span<const float> logits) {
                      scored->sum += log_probability(logits, scored->tokens[position + 1]);
                  });
    if (!whole) return std::nullopt;
    return scored->sum;
}

}  // namespace llmsql
