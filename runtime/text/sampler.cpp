// SPDX-License-Identifier: MIT
// Ranks in the order of likelihood, found without sorting. See sampler.h.
#include "runtime/text/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <sstream>

#include "common/error.h"
#include "common/workers.h"
#include "runtime/kernels/kernels.h"

namespace llmsql {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();
constexpr float kMost = std::numeric_limits<float>::max();

void sort_unique(std::vector<int32_t>& ids) {
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
}

constexpr size_t kSegment = 64;

struct SegmentFacts {
    float most, least;
    bool numbers;  // all of them are finite
};

// Lanes beside each other, without a branch: compilers turn them into vector instructions.
SegmentFacts facts_of(const float* logits, size_t count) {
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

// The facts of those logits that lie in one bucket; all of them are numbers.
SegmentFacts facts_within(const float* logits, const uint16_t* buckets, uint16_t bucket,
                          size_t count) {
    constexpr size_t kLanes = 16;
    float most[kLanes], least[kLanes];
    std::fill_n(most, kLanes, -kMost);
    std::fill_n(least, kLanes, kMost);
    const auto look = [&](size_t at, size_t lane) {
        const float x = logits[at];
        const bool in = buckets[at] == bucket;
        const float high = in ? x : -kMost, low = in ? x : kMost;
        most[lane] = high > most[lane] ? high : most[lane];
        least[lane] = low < least[lane] ? low : least[lane];
    };
    size_t at = 0;
    for (; at + kLanes <= count; at += kLanes)
        for (size_t lane = 0; lane < kLanes; ++lane) look(at + lane, lane);
    for (; at < count; ++at) look(at, at % kLanes);
    return {*std::max_element(most, most + kLanes), *std::min_element(least, least + kLanes), true};
}

bool none_equal(const uint16_t* values, uint16_t value) {
    uint16_t equal = 0;
    for (size_t i = 0; i < kSegment; ++i) equal |= values[i] == value ? 1 : 0;
    return equal == 0;
}

SegmentFacts both(const SegmentFacts& a, const SegmentFacts& b) {
    return {std::max(a.most, b.most), std::min(a.least, b.least), a.numbers && b.numbers};
}

constexpr size_t kFew = 32;  // are sorted

// Tokens that are worth another worker: they take longer than it does to be woken.
constexpr size_t kPart = 16 * 1024;

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

// False if that is none. Streams keep what goes wrong within to themselves, lack of memory too,
// unless they are told otherwise.
bool read_state(const std::string& state, std::mt19937_64& random) {
    std::istringstream in(state);
    in.exceptions(std::ios::badbit);
    return in >> random && (in >> std::ws).eof();
}

}  // namespace

Sampler::Sampler(const SamplerOptions& options, uint64_t seed, std::vector<int32_t> never)
    : options_(options), random_(seed), never_(std::move(never)) {
    sort_unique(never_);
}

int32_t Sampler::sample(std::span<const float> logits, std::span<const int32_t> history,
                        Workers* workers) {
    workers_ = workers;
    const bool as_they_are = options_.repeat_penalty == 1 || history.empty();
    if ((options_.temperature <= 0 || options_.top_k == 1) && as_they_are)
        if (const auto token = likeliest_of(logits)) return *token;
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
            const Rank last = rank_by_weight(wanted);
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
    return token_at(rank_by_weight(std::min(drawn + 1, sum)).at);
}

std::string Sampler::state() const {
    std::ostringstream out;
    out.exceptions(std::ios::badbit);
    out << random_;
    return out.str();
}

void Sampler::set_state(const std::string& state) {
    decltype(random_) random;
    if (!read_state(state, random)) fail("this is no state of random numbers");
    random_ = random;
}

bool Sampler::is_state(const std::string& state) {
    decltype(random_) random;
    return read_state(state, random);
}

/// Calls of(part, begin, end) for the parts of all tokens that are kept, at the same time where
/// there are workers. Whole segments lie in one part. Returns how many parts there are.
template<class Part>
size_t Sampler::in_parts(const Part& of) {
    const size_t workers = workers_ ? static_cast<size_t>(workers_->count()) : 1;
    const size_t parts = std::clamp<size_t>(count_ / kPart, 1, std::min(workers, kMostParts));
    const size_t each = ((count_ + parts - 1) / parts + kSegment - 1) / kSegment * kSegment;
    const auto take = [&](size_t part) {
        of(part, std::min(count_, part * each), std::min(count_, (part + 1) * each));
    };
    if (parts == 1)
        take(0);
    else
        workers_->run(static_cast<int64_t>(parts),
                      [&](int64_t part, int) { take(static_cast<size_t>(part)); });
    return parts;
}

/// Takes all tokens in. Returns how many of them may be picked.
size_t Sampler::take(std::span<const float> logits, std::span<const int32_t> history) {
    count_ = logits.size();
    whole_ = true;
    weighed_ = false;
    if (workers_) histograms_.resize(std::min(kMostParts, static_cast<size_t>(workers_->count())));
    if (logits_.size() < count_) {
        logits_.resize(count_);
        tokens_.resize(count_);
        weights_.resize(count_);
        within_.resize(count_);
        buckets_.resize(count_);
    }
    const auto last = history.last(std::min(history.size(), kPenaltyTokens));
    recent_.assign(last.begin(), last.end());
    sort_unique(recent_);
    if (options_.repeat_penalty == 1.0) recent_.clear();
    maxima_.resize((count_ + kSegment - 1) / kSegment);
    SegmentFacts facts[kMostParts];
    const size_t parts = in_parts([&](size_t part, size_t begin, size_t end) {
        facts[part] = {-kMost, kMost, true};
        auto recent = std::ranges::lower_bound(recent_, static_cast<int32_t>(begin));
        for (; begin < end; begin += kSegment) {
            const size_t size = std::min(kSegment, end - begin);
            float* const segment =
                std::copy_n(logits.data() + begin, size, logits_.data() + begin) - size;
            for (; recent != recent_.end() && static_cast<size_t>(*recent) < begin + size; ++recent)
                penalise(logits_[static_cast<size_t>(*recent)], options_.repeat_penalty);
            const SegmentFacts found = facts_of(segment, size);
            maxima_[begin / kSegment] = found.most;
            facts[part] = both(facts[part], found);
        }
    });
    const SegmentFacts all = std::accumulate(facts + 1, facts + parts, facts[0], both);
    if (!all.numbers) refuse(logits);
    most_ = all.most;
    least_ = all.least;
    size_t possible = count_;
    const auto known = [&](int32_t token) {
        return token >= 0 && static_cast<size_t>(token) < count_;
    };
    for (const int32_t token : never_) {
        if (!known(token)) continue;
        --possible;
        const size_t at = static_cast<size_t>(token), first = at / kSegment * kSegment;
        logits_[at] = kNever;
        maxima_[at / kSegment] = *std::max_element(
            logits_.begin() + static_cast<ptrdiff_t>(first),
            logits_.begin() + static_cast<ptrdiff_t>(std::min(count_, first + kSegment)));
    }
    if (!never_.empty()) most_ = maxima_.empty() ? -kMost : *std::ranges::max_element(maxima_);
    return possible;
}

/// The likeliest token, found without taking all in; none where that one is never picked. By one
/// thread: to wake another takes longer.
std::optional<int32_t> Sampler::likeliest_of(std::span<const float> logits) const {
    if (logits.empty()) return std::nullopt;
    float most = -kMost;
    size_t segment = 0;  // where it first is
    bool numbers = true;
    for (size_t begin = 0; begin < logits.size(); begin += kSegment) {
        const SegmentFacts facts =
            facts_of(logits.data() + begin, std::min(kSegment, logits.size() - begin));
        numbers &= facts.numbers;
        if (facts.most <= most) continue;
        most = facts.most;
        segment = begin;
    }
    if (!numbers) refuse(logits);
    const auto first = logits.begin() + static_cast<ptrdiff_t>(segment);
    const auto token = static_cast<int32_t>(std::find(first, logits.end(), most) - logits.begin());
    if (std::ranges::binary_search(never_, token)) return std::nullopt;
    return token;
}

int32_t Sampler::token_at(size_t at) const {
    return whole_ ? static_cast<int32_t>(at) : tokens_[at];
}

/// While nothing has been left out.
size_t Sampler::likeliest() const {
    const auto segment = std::ranges::find(maxima_, most_) - maxima_.begin();
    const auto first = logits_.begin() + segment * static_cast<ptrdiff_t>(kSegment);
    return static_cast<size_t>(std::find(first, logits_.end(), most_) - logits_.begin());
}

void Sampler::keep_likeliest(size_t count) {
    // As many segments as that have a token of at least this logit each.
    if (count < maxima_.size() / 2) {
        order_ = maxima_;
        const auto nth = order_.begin() + static_cast<ptrdiff_t>(count) - 1;
        std::nth_element(order_.begin(), nth, order_.end(), std::greater<>());
        keep_from(*nth, count_);
    }
    if (count == count_) return;
    const Rank last = rank_of(count, 2 * kMost,
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
    uint32_t counts[kMostParts] = {};
    const size_t parts = in_parts([&](size_t part, size_t first, size_t last_of_part) {
        uint32_t many = 0;
        in_both(first, last_of_part, [&](size_t begin, size_t end, float bound) {
            for (size_t at = begin; at < end; ++at) many += logits_[at] >= bound ? 1 : 0;
        });
        counts[part] = many;
    });
    // To move most of them would take longer than to look at all of them again.
    if (std::accumulate(counts, counts + parts, size_t{0}) > count_ / 4) {
        in_parts([&](size_t, size_t first, size_t last_of_part) {
            in_both(first, last_of_part, [&](size_t begin, size_t end, float bound) {
                if (weighed_)
                    for (size_t at = begin; at < end; ++at)
                        weights_[at] = logits_[at] >= bound ? weights_[at] : 0;
                for (size_t at = begin; at < end; ++at)
                    logits_[at] = logits_[at] >= bound ? logits_[at] : kNever;
            });
        });
        return;
    }
    size_t kept = 0;
    for (size_t begin = 0; begin < count_; begin += kSegment) {
        if (whole_ && maxima_[begin / kSegment] < least) continue;
        in_both(begin, std::min(count_, begin + kSegment),
                [&](size_t from, size_t end, float bound) {
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
    uint64_t sums[kMostParts];
    const size_t parts = in_parts([&](size_t part, size_t begin, size_t end) {
        sums[part] =
            kernels().exponentials(logits_.data() + begin, static_cast<int64_t>(end - begin), most_,
                                   per, bits, weights_.data() + begin);
    });
    return std::accumulate(sums, sums + parts, uint64_t{0});
}

/// The first in the order at which the weights sum to `sum` or more. That is 1 or more, and no more
/// than all weights; what is more than `range` below the largest logit weighs nothing.
template<class Weight>
Sampler::Rank Sampler::rank_of(uint64_t sum, float range, const Weight& weight) {
    if (most_ == least_)
        for (uint64_t before = 0, at = 0;; ++at) {
            before += weight(at);
            if (before >= sum) return {at, before};
        }
    // Buckets of the same width first: most are nearly empty or far from where the sum is reached.
    const float per = kBuckets / std::min(most_ - least_, range);
    const size_t parts = in_parts([&](size_t part, size_t begin, size_t end) {
        Histogram& histogram = histograms_[part];
        histogram = {};
        for (size_t at = begin; at < end; ++at) {
            const float bucket = (most_ - logits_[at]) * per;
            buckets_[at] = static_cast<uint16_t>(
                static_cast<int32_t>(bucket < kBuckets - 1 ? bucket : kBuckets - 1));
        }
        for (size_t at = begin; at < end; ++at)
            histogram.sums[at % kLanes][buckets_[at]] += weight(at);
    });
    uint64_t before = 0;  // the weights of what is likelier than those in within_
    const auto bucket_of_sum = [&](size_t histograms) {
        for (uint32_t bucket = 0;; ++bucket) {
            uint64_t all = 0;
            for (size_t i = 0; i < histograms; ++i)
                for (const auto& lane : histograms_[i].sums) all += lane[bucket];
            if (before + all >= sum) return bucket;
            before += all;
        }
    };
    const auto first = static_cast<uint16_t>(bucket_of_sum(parts));
    // Where many lie in it (by every 61st), they may be ties, which need no more than a look at
    // them in the order of ids.
    size_t looked = 0, within = 0;
    for (size_t at = 0; at < count_; at += 61, ++looked) within += buckets_[at] == first ? 1 : 0;
    if (within > looked / 8) {
        SegmentFacts facts[kMostParts];
        in_parts([&](size_t part, size_t begin, size_t end) {
            facts[part] =
                facts_within(logits_.data() + begin, buckets_.data() + begin, first, end - begin);
        });
        const SegmentFacts all = std::accumulate(facts + 1, facts + parts, facts[0], both);
        const auto weight_in = [&](size_t at) {
            return buckets_[at] == first ? weight(at) : uint64_t{0};
        };
        for (size_t begin = 0; all.most == all.least; begin += kSegment) {
            const size_t end = std::min(count_, begin + kSegment);
            uint64_t of_segment = 0;
            for (size_t at = begin; at < end; ++at) of_segment += weight_in(at);
            for (size_t at = begin; before + of_segment >= sum; ++at) {
                of_segment -= weight_in(at);
                before += weight_in(at);
                if (before >= sum) return {at, before};
            }
            before += of_segment;
        }
    }
    size_t count = 0;
    for (size_t begin = 0; begin < count_; begin += kSegment) {
        const size_t end = std::min(count_, begin + kSegment);
        if (end - begin == kSegment && none_equal(buckets_.data() + begin, first)) continue;
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
        auto& sums = (histograms_[0] = {}).sums;
        for (size_t i = 0; i < count; ++i)
            sums[i % kLanes][bucket_of(within_[i])] += weight(within_[i]);
        const uint32_t bucket = bucket_of_sum(1);
        size_t kept = 0;
        for (size_t i = 0; i < count; ++i) {
            const uint32_t at = within_[i];
            within_[kept] = at;
            kept += bucket_of(at) == bucket ? 1 : 0;
        }
        count = kept;
    }
}

Sampler::Rank Sampler::rank_by_weight(uint64_t sum) {
    return rank_of(sum, kWeightless / static_cast<float>(per_),
                   [&](size_t at) { return weights_[at]; });
}

/// In [0, 1), 53 bits; std::uniform_real_distribution differs between standard libraries.
double Sampler::uniform() {
    return static_cast<double>(random_() >> 11) * 0x1p-53;
}

}  // namespace llmsql
