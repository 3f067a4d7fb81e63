// Sampling from the likeliest candidates.
#include "runtime/text/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <sstream>

#include "common/error.h"

namespace llmsql {
namespace {

void sort_unique(std::vector<int32_t>& ids) {
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

constexpr size_t kBlock = 64;

// Whether all of a block are numbers, none of them above `limit`. Two sums without a branch, which
// compilers turn into vector instructions.
bool none_above(std::span<const float, kBlock> logits, float limit) {
    constexpr uint32_t kExponent = 0x7f800000;  // all of its bits are set where there is no number
    int above = 0, no_number = 0;
    for (const float logit : logits) {
        above += logit > limit ? 1 : 0;
        no_number += (std::bit_cast<uint32_t>(logit) & kExponent) == kExponent ? 1 : 0;
    }
    return above + no_number == 0;
}

}  // namespace

Sampler::Sampler(const SamplerOptions& options, uint64_t seed, std::vector<int32_t> never)
    : options_(options), random_(seed), never_(std::move(never)) {
    sort_unique(never_);
}

int32_t Sampler::sample(std::span<const float> logits, std::span<const int32_t> history) {
    collect(logits, history);
    if (options_.temperature <= 0 || candidates_.size() == 1) return candidates_.front().token;

    if (options_.top_p < 1) {
        softmax();
        double sum = 0;
        size_t kept = 0;
        while (kept < candidates_.size() && (kept == 0 || sum < options_.top_p))
            sum += candidates_[kept++].probability;
        candidates_.resize(kept);
    }
    if (options_.min_p > 0) {
        const double least = candidates_.front().logit + std::log(options_.min_p);
        size_t kept = 1;
        while (kept < candidates_.size() && candidates_[kept].logit >= least) ++kept;
        candidates_.resize(kept);
    }
    for (Candidate& candidate : candidates_)
        candidate.logit = static_cast<float>(candidate.logit / options_.temperature);
    softmax();

    double left = uniform();
    for (const Candidate& candidate : candidates_) {
        left -= candidate.probability;
        if (left < 0) return candidate.token;
    }
    return candidates_.back().token;  // rounding: the probabilities summed to a little less than 1
}

std::string Sampler::state() const {
    std::ostringstream out;
    out << random_;
    return out.str();
}

void Sampler::set_state(const std::string& state) {
    std::istringstream in(state);
    if (!(in >> random_)) fail("the state of the random numbers is not one");
}

/// Fills candidates_ with the top-k of the penalised logits, likeliest first.
void Sampler::collect(std::span<const float> logits, std::span<const int32_t> history) {
    recent_.clear();
    if (options_.repeat_penalty != 1.0) {
        const auto last = history.last(std::min(history.size(), kPenaltyWindow));
        recent_.assign(last.begin(), last.end());
        sort_unique(recent_);
    }
    size_t most = logits.size();
    if (options_.temperature <= 0)
        most = 1;
    else if (options_.top_k > 0)
        most = std::min(most, static_cast<size_t>(options_.top_k));

    const auto likelier = [](const Candidate& a, const Candidate& b) {
        return a.logit != b.logit ? a.logit > b.logit : a.token < b.token;
    };
    // Tokens come in order, so a place in a sorted list that only moves on finds them there.
    const auto listed = [](auto& place, const std::vector<int32_t>& list, int32_t token) {
        while (place != list.end() && *place < token) ++place;
        return place != list.end() && *place == token;
    };
    candidates_.clear();
    auto never = never_.cbegin();
    auto recent = recent_.cbegin();
    for (size_t i = 0; i < logits.size(); ++i) {
        // Most tokens are less likely than all of those kept: they are passed over a block at a
        // time.
        if (i % kBlock == 0 && candidates_.size() == most) {
            while (recent != recent_.end() && *recent < static_cast<int32_t>(i)) ++recent;
            while (i + kBlock <= logits.size() &&
                   (recent == recent_.end() || *recent >= static_cast<int32_t>(i + kBlock)) &&
                   none_above(logits.subspan(i).first<kBlock>(), candidates_.front().logit))
                i += kBlock;
            if (i == logits.size()) break;
        }
        const auto token = static_cast<int32_t>(i);
        float logit = logits[i];
        if (!std::isfinite(logit))
            fail("the logit of token {} is {}: the model's weights or the plan are broken", token,
                 logit);
        if (listed(never, never_, token)) continue;
        if (listed(recent, recent_, token)) {
            const auto penalty = static_cast<float>(options_.repeat_penalty);
            logit = logit > 0 ? logit / penalty : logit * penalty;
        }
        // A heap whose top is the least likely of those kept.
        if (candidates_.size() == most) {
            if (logit <= candidates_.front().logit)
                continue;  // at equal logits the earlier id stays
            std::pop_heap(candidates_.begin(), candidates_.end(), likelier);
            candidates_.pop_back();
        }
        candidates_.push_back({logit, token, 0});
        std::push_heap(candidates_.begin(), candidates_.end(), likelier);
    }
    if (candidates_.empty()) fail("there is no token to pick: the plan has an empty vocabulary");
    std::sort_heap(candidates_.begin(), candidates_.end(), likelier);
}

void Sampler::softmax() {
    double sum = 0;
    const double most = candidates_.front().logit;
    for (Candidate& candidate : candidates_)
        sum += candidate.probability = std::exp(candidate.logit - most);
    for (Candidate& candidate : candidates_) candidate.probability /= sum;
}

/// In [0, 1), 53 bits; std::uniform_real_distribution differs between standard libraries.
double Sampler::uniform() {
    return static_cast<double>(random_() >> 11) * 0x1p-53;
}

}  // namespace llmsql
