// SPDX-License-Identifier: MIT
// What a Sampler is to pick, by sorting all tokens and adding up their probabilities.
#pragma once

#include <algorithm>
#include <cmath>
#include <random>
#include <span>
#include <vector>

#include "runtime/text/sampler.h"

namespace llmsql::test {

class ReferenceSampler {
  public:
    ReferenceSampler(const SamplerOptions& options, uint64_t seed, std::vector<int32_t> never)
        : options_(options), random_(seed), never_(std::move(never)) {}

    int32_t sample(std::span<const float> logits, std::span<const int32_t> history) {
        std::vector<Candidate> kept;
        for (size_t i = 0; i < logits.size(); ++i) {
            const auto token = static_cast<int32_t>(i);
            const auto penalty = static_cast<float>(options_.repeat_penalty);
            float logit = logits[i];
            if (std::ranges::count(never_, token)) continue;
            if (std::ranges::count(history.last(std::min(history.size(), kPenaltyTokens)), token))
                logit = logit > 0 ? logit / penalty : logit * penalty;
            kept.push_back({logit, token, 0});
        }
        std::ranges::stable_sort(kept, std::greater<>(), &Candidate::logit);
        if (options_.temperature <= 0) return kept.front().token;
        if (options_.top_k > 0)
            kept.resize(std::min(kept.size(), static_cast<size_t>(options_.top_k)));
        if (kept.size() == 1) return kept.front().token;
        if (options_.top_p < 1) {
            softmax(kept);
            double sum = 0;
            size_t count = 0;
            while (count < kept.size() && (count == 0 || sum < options_.top_p))
                sum += kept[count++].probability;
            kept.resize(count);
        }
        const double least = kept.front().logit + std::log(options_.min_p);
        while (kept.back().logit < least) kept.pop_back();
        for (Candidate& each : kept)
            each.logit = static_cast<float>(each.logit / options_.temperature);
        softmax(kept);
        double left = static_cast<double>(random_() >> 11) * 0x1p-53;
        for (const Candidate& each : kept) {
            left -= each.probability;
            if (left < 0) return each.token;
        }
        return kept.back().token;
    }

  private:
    struct Candidate {
        float logit;
        int32_t token;
        double probability;
    };
    static void softmax(std::vector<Candidate>& kept) {
        double sum = 0;
        for (Candidate& each : kept)
            sum += each.probability = std::exp(double{each.logit} - kept.front().logit);
        for (Candidate& each : kept) each.probability /= sum;
    }

    SamplerOptions options_;
    std::mt19937_64 random_;
    std::vector<int32_t> never_;
};

}  // namespace llmsql::test
