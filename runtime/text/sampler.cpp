// SPDX-License-Identifier: MIT
// Places in the order of likelihood, found without sorting. See sampler.h.
#include "runtime/text/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <sstream>

#include "common/error.h"
#include "runtime/kernels/kernels.h"

namespace llmsql {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr float kMost = std::numeric_limits<float>::max();

void sort_unique(std::vector<int32_t>& ids) {
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

constexpr size_t kBlock = 64;

struct BlockFacts {
    float most, least;
    bool numbers;  // all of them are finite
};

// Lanes beside each other, without a branch: compilers turn them into vector instructions.
BlockFacts facts_of(const float* logits, size_t count) {
    constexpr uint32_t kExponent = 0x7f800000;  // all of its bits are set where there is no number
    constexpr size_t kLanes = 16;
    float most[kLanes], least[kLanes];
    uint32_t no_number[kLanes] = {};
    std::fill_n(most, kLanes, -kMost);
    std::fill_n(least, kLanes, kMost);
    const auto look = [&](size_t at, size_t lane) {
        const float x = logits[at];
        most[lane] = x > most[lane] ? x : most[lane];
        least[lane] = x < least[lane] ? x : least[lane];
        no_number[lane] |= (std::bit_cast<uint32_t>(x) & kExponent) == kExponent ? 1u : 0u;
    };
    size_t at = 0;
    for (; at + kLanes <= count; at += kLanes)
        for (size_t lane = 0; lane < kLanes; ++lane) look(at + lane, lane);
    for (; at < count; ++at) look(at, at % kLanes);
    return {*std::max_element(most, most + kLanes), *std::min_element(least, least + kLanes),
            std::accumulate(no_number, no_number + kLanes, 0u) == 0};
}

bool none_equal(const uint16_t* values, uint16_t value) {
    uint16_t equal = 0;
    for (size_t i = 0; i < kBlock; ++i) equal |= values[i] == value ? 1 : 0;
    return equal == 0;
}

constexpr int kBucketBits = 9;
constexpr size_t kBuckets = size_t{1} << kBucketBits, kLanes = 4;
constexpr size_t kFew = 32;  // are sorted

// e^-36 is less than half of the smallest unit of weights.
constexpr float kWeightless = 36;

// Whole numbers in the order of logits; both zeros are one.
uint32_t key_of(float logit) {
    const auto bits = std::bit_cast<uint32_t>(logit + 0.0f);
    const uint32_t negative = 0u - (bits >> 31);
    return bits ^ (negative | 0x80000000u);
}

// As far as floats go.
void penalise(float& logit, double penalty) {
    const auto by = static_cast<float>(penalty);
    logit = std::clamp(logit > 0 ? logit / by : logit * by, -kMost, kMost);
}

[[noreturn]] void refuse(std::span<const float> logits) {
    const auto broken = std::ranges::find_if(logits, [](float x) { return !std::isfinite(x); });
    fail("the logit of token {} is {}: the model's weights or the plan are broken",
         broken - logits.begin(), *broken);
}

}  // namespace

Sampler::Sampler(const SamplerOptions& options, uint64_t seed, std::vector<int32_t> never)
    : options_(options), random_(seed), never_(std::move(never)) {
    sort_unique(never_);
}

int32_t Sampler::sample(std::span<const float> logits, std::span<const int32_t> history) {
    const size_t possible = take(logits, history);
    if (possible == 0) fail("there is no token to pick: the plan has an empty vocabulary");
    // A temperature so low that logits divided by it are infinite is 0.
    const double per = 1 / options_.temperature;
    const bool greedy =
        options_.temperature <= 0 || !(std::max(std::abs(most_), std::abs(least_)) * per <= kMost);
    if (greedy || possible == 1 || options_.top_k == 1) return token_at(likeliest());

    if (options_.top_k > 0) keep_likeliest(std::min(possible, static_cast<size_t>(options_.top_k)));
    uint64_t sum = 0;
    if (options_.top_p < 1) {
        sum = weigh(1);
        const double share = std::ceil(options_.top_p * static_cast<double>(sum));
        const auto wanted = std::max<uint64_t>(1, static_cast<uint64_t>(share));
        if (options_.min_p > 0) {
            keep_probable();
            const auto end = weights_.begin() + static_cast<ptrdiff_t>(count_);
            sum = std::accumulate(weights_.begin(), end, uint64_t{0});
        }
        if (wanted <= sum) {
            const Place last = place_by_weight(wanted);
            sum = last.sum;
            // If these weights stay, nothing beyond that sum can be drawn.
            weighed_ = options_.temperature == 1;
            if (!weighed_) keep_from(logits_[last.at], last.at);
        }
    } else if (options_.min_p > 0) {
        keep_probable();
    }
    if (!weighed_ || per_ != per) sum = weigh(per);
    const auto drawn = static_cast<uint64_t>(uniform() * static_cast<double>(sum));
    return token_at(place_by_weight(std::min(drawn + 1, sum)).at);
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

/// Takes all tokens in. Returns how many of them may be picked.
size_t Sampler::take(std::span<const float> logits, std::span<const int32_t> history) {
    count_ = logits.size();
    whole_ = true;
    weighed_ = false;
    if (logits_.size() < count_) {
        logits_.resize(count_);
        tokens_.resize(count_);
        weights_.resize(count_);
        within_.resize(count_);
        buckets_.resize(count_);
    }
    std::copy(logits.begin(), logits.end(), logits_.begin());
    const auto last = history.last(std::min(history.size(), kPenaltyWindow));
    recent_.assign(last.begin(), last.end());
    sort_unique(recent_);
    const auto known = [&](int32_t token) {
        return token >= 0 && static_cast<size_t>(token) < count_;
    };
    if (options_.repeat_penalty != 1.0)
        for (const int32_t token : recent_)
            if (known(token))
                penalise(logits_[static_cast<size_t>(token)], options_.repeat_penalty);
    size_t possible = count_;
    most_ = -kMost;
    least_ = kMost;
    maxima_.resize((count_ + kBlock - 1) / kBlock);
    for (size_t block = 0; block < maxima_.size(); ++block) {
        const size_t first = block * kBlock, end = std::min(count_, first + kBlock);
        const BlockFacts facts = facts_of(logits_.data() + first, end - first);
        if (!facts.numbers) refuse(logits);
        maxima_[block] = facts.most;
        most_ = std::max(most_, facts.most);
        least_ = std::min(least_, facts.least);
    }
    for (const int32_t token : never_) {
        if (!known(token)) continue;
        --possible;
        const size_t at = static_cast<size_t>(token), first = at / kBlock * kBlock;
        logits_[at] = kNever;
        maxima_[at / kBlock] = *std::max_element(
            logits_.begin() + static_cast<ptrdiff_t>(first),
            logits_.begin() + static_cast<ptrdiff_t>(std::min(count_, first + kBlock)));
    }
    if (!never_.empty()) most_ = maxima_.empty() ? -kMost : *std::ranges::max_element(maxima_);
    return possible;
}

int32_t Sampler::token_at(size_t at) const {
    return whole_ ? static_cast<int32_t>(at) : tokens_[at];
}

/// While nothing has been left out.
size_t Sampler::likeliest() const {
    const auto block = std::ranges::find(maxima_, most_) - maxima_.begin();
    const auto first = logits_.begin() + block * static_cast<ptrdiff_t>(kBlock);
    return static_cast<size_t>(std::find(first, logits_.end(), most_) - logits_.begin());
}

void Sampler::keep_likeliest(size_t count) {
    // As many blocks as that have a token of at least this logit each.
    if (count < maxima_.size() / 2) {
        order_ = maxima_;
        const auto nth = order_.begin() + static_cast<ptrdiff_t>(count) - 1;
        std::nth_element(order_.begin(), nth, order_.end(), std::greater<>());
        keep_from(*nth, count_);
    }
    if (count == count_) return;
    const Place last = place_of(count, 2 * kMost,
                                [&](size_t at) { return logits_[at] == kNever ? uint64_t{0} : 1; });
    keep_from(logits_[last.at], last.at);
}

void Sampler::keep_probable() {
    const double least = most_ + std::log(options_.min_p);
    auto rounded = static_cast<float>(least);
    if (rounded < least) rounded = std::nextafter(rounded, kMost);
    keep_from(rounded, count_);
}

/// Keeps what is above `least`, and of what is equal to it what lies at `last` or before.
void Sampler::keep_from(float least, size_t last) {
    if (least_ > least) return;
    const size_t border = std::min(count_, last + (last < count_ ? 1 : 0));
    const float above = std::nextafter(least, std::numeric_limits<float>::infinity());
    // Up to the border and behind it, each with a bound of its own.
    const auto in_both = [&](size_t begin, size_t end, const auto& look) {
        const size_t middle = std::clamp(border, begin, end);
        look(begin, middle, least);
        look(middle, end, above);
    };
    uint32_t many = 0;
    in_both(0, count_, [&](size_t begin, size_t end, float bound) {
        for (size_t at = begin; at < end; ++at) many += logits_[at] >= bound ? 1 : 0;
    });
    // To move most of them would take longer than to look at all of them again.
    if (many > count_ / 4) {
        in_both(0, count_, [&](size_t begin, size_t end, float bound) {
            if (weighed_)
                for (size_t at = begin; at < end; ++at)
                    weights_[at] = logits_[at] >= bound ? weights_[at] : 0;
            for (size_t at = begin; at < end; ++at)
                logits_[at] = logits_[at] >= bound ? logits_[at] : kNever;
        });
        return;
    }
    size_t kept = 0;
    for (size_t begin = 0; begin < count_; begin += kBlock) {
        if (whole_ && maxima_[begin / kBlock] < least) continue;
        in_both(begin, std::min(count_, begin + kBlock), [&](size_t from, size_t end, float bound) {
            for (size_t at = from; at < end; ++at) {  // without a branch
                const size_t next = logits_[at] >= bound ? 1 : 0;
                tokens_[kept] = token_at(at);
                logits_[kept] = logits_[at];
                if (weighed_) weights_[kept] = weights_[at];
                kept += next;
            }
        });
    }
    whole_ = false;
    count_ = kept;
}

/// Makes weights_ what the probabilities at temperature 1 / per are as fractions of their sum,
/// which it returns.
uint64_t Sampler::weigh(double per) {
    const int bits = std::min(51, 63 - static_cast<int>(std::bit_width(count_)));
    weighed_ = true;
    per_ = per;
    return kernels().exponentials(logits_.data(), static_cast<int64_t>(count_), most_, per, bits,
                                  weights_.data());
}

/// The first in the order at which the weights sum to `sum` or more. That is 1 or more, and no more
/// than all weights; what is more than `range` below the largest logit weighs nothing.
template<class Weight>
Sampler::Place Sampler::place_of(uint64_t sum, float range, const Weight& weight) {
    uint64_t sums[kLanes][kBuckets] = {};  // neighbours that are alike do not wait for each other
    uint64_t before = 0;                   // the weights of what is likelier than those in within_
    const auto bucket_of_sum = [&] {
        for (uint32_t bucket = 0;; ++bucket) {
            uint64_t all = 0;
            for (const auto& lane : sums) all += lane[bucket];
            if (before + all >= sum) return bucket;
            before += all;
        }
    };
    if (most_ == least_)
        for (size_t at = 0;; ++at) {
            before += weight(at);
            if (before >= sum) return {at, before};
        }
    // Buckets of the same width first: most are nearly empty or far from where the sum is reached.
    const float per = kBuckets / std::min(most_ - least_, range);
    for (size_t at = 0; at < count_; ++at) {
        const float bucket = (most_ - logits_[at]) * per;
        buckets_[at] = static_cast<uint16_t>(
            static_cast<int32_t>(bucket < kBuckets - 1 ? bucket : kBuckets - 1));
    }
    for (size_t at = 0; at < count_; ++at) sums[at % kLanes][buckets_[at]] += weight(at);
    const uint32_t first = bucket_of_sum();
    size_t count = 0;
    for (size_t begin = 0; begin < count_; begin += kBlock) {
        const size_t end = std::min(count_, begin + kBlock);
        if (end - begin == kBlock &&
            none_equal(buckets_.data() + begin, static_cast<uint16_t>(first)))
            continue;
        for (size_t at = begin; at < end; ++at) {
            within_[count] = static_cast<uint32_t>(at);
            count += buckets_[at] == first ? 1 : 0;
        }
    }
    // Then by the bits of logits, nine at a time: at most four times.
    while (true) {
        uint32_t low = std::numeric_limits<uint32_t>::max(), high = 0;
        for (size_t i = 0; i < count; ++i) {
            const uint32_t key = key_of(logits_[within_[i]]);
            low = std::min(low, key);
            high = std::max(high, key);
        }
        const auto end = within_.begin() + static_cast<ptrdiff_t>(count);
        if (count <= kFew)
            std::sort(within_.begin(), end, [&](uint32_t a, uint32_t b) {
                return logits_[a] != logits_[b] ? logits_[a] > logits_[b] : a < b;
            });
        if (count <= kFew || low == high)
            for (auto at = within_.begin();; ++at) {
                before += weight(*at);
                if (before >= sum) return {*at, before};
            }
        const int shift = std::max(0, static_cast<int>(std::bit_width(high - low)) - kBucketBits);
        const auto bucket_of = [&](uint32_t at) { return (high - key_of(logits_[at])) >> shift; };
        std::fill_n(sums[0], kLanes * kBuckets, 0);
        for (size_t i = 0; i < count; ++i)
            sums[i % kLanes][bucket_of(within_[i])] += weight(within_[i]);
        const uint32_t bucket = bucket_of_sum();
        size_t kept = 0;
        for (size_t i = 0; i < count; ++i) {
            const uint32_t at = within_[i];
            within_[kept] = at;
            kept += bucket_of(at) == bucket ? 1 : 0;
        }
        count = kept;
    }
}

Sampler::Place Sampler::place_by_weight(uint64_t sum) {
    return place_of(sum, kWeightless / static_cast<float>(per_),
                    [&](size_t at) { return weights_[at]; });
}

/// In [0, 1), 53 bits; std::uniform_real_distribution differs between standard libraries.
double Sampler::uniform() {
    return static_cast<double>(random_() >> 11) * 0x1p-53;
}

}  // namespace llmsql
