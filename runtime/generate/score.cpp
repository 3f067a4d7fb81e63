// SPDX-License-Identifier: MIT
// Probabilities of tokens. See score.h.
#include "runtime/generate/score.h"

#include <algorithm>
#include <cmath>

#include "common/error.h"

namespace llmsql {

double log_probability(std::span<const float> logits, int32_t token) {
    const float most = *std::max_element(logits.begin(), logits.end());
    double sum = 0;
    for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - most);
    const double nats = logits[static_cast<size_t>(token)] - most - std::log(sum);
    if (!std::isfinite(nats))
        fail("a logit is not a number: the model's weights or the plan are broken");
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
