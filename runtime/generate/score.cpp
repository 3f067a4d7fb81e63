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

double log_probability_of_next(Program& program, std::span<const int32_t> tokens, int position,
                               int rows, int first) {
    const int end = std::min(position + rows, static_cast<int>(tokens.size()) - 1);
    double sum = 0;
    for (int at = std::max(position, first); at < end;) {
        const int count = std::min(program.logits_rows(), end - at);
        const Logits logits = program.logits(at - position, count);
        for (int i = 0; i < count; ++i)
            sum += log_probability(logits.row(i), tokens[static_cast<size_t>(at + i + 1)]);
        at += count;
    }
    return sum;
}

}  // namespace llmsql
