// SPDX-License-Identifier: MIT
// Sampler: picks the next token from a row of logits.
//
// Names, meanings, defaults and order are llama.cpp's: penalties, then top-k, top-p, min-p, and the
// temperature last.
//
// What that means: all tokens in order, the likelier first and at equal logits the lower id. Each
// of the three keeps some of the first of them; a random number then picks one. So nothing is ever
// sorted: a token's place in that order is found by counting, or by adding up probabilities, in
// buckets of logits, and again within the bucket where it lies. Probabilities are whole numbers
// (Kernels::exponentials), so that sums do not depend on the order in which they are taken. All of
// it is linear in the vocabulary, whatever the options and the logits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace llmsql {

class Workers;

struct SamplerOptions {
    double temperature = 0.8;     // 0: always the likeliest token
    int top_k = 40;               // only the k likeliest; 0 or less: all
    double top_p = 0.95;          // the likeliest until their probabilities reach p; 1: all
    double min_p = 0.05;          // those at least p times as likely as the likeliest; 0: all
    double repeat_penalty = 1.0;  // logits of recent tokens: divided by it if > 0, else multiplied
};

/// How many of the newest tokens the repeat penalty looks at.
inline constexpr size_t kPenaltyTokens = 64;

/// Picks tokens. Equal seeds and logits give equal tokens on every machine: the generator, its
/// conversion to a number in [0, 1) and the probabilities are fixed here. Not thread-safe.
class Sampler {
  public:
    /// `never` are tokens that are not to be picked.
    Sampler(const SamplerOptions& options, uint64_t seed, std::vector<int32_t> never = {});

    /// `logits` is one row, f32[vocabulary]; `history` what came before, of which the last
    /// kPenaltyTokens tokens count. Fails on a logit that is not a number or is infinite. At equal
    /// logits the lower id wins.
    /// `workers` that have nothing else to do share in it, or none do; the token is the same.
    int32_t sample(std::span<const float> logits, std::span<const int32_t> history,
                   Workers* workers = nullptr);

    /// The random numbers to come, as text; set_state fails on what state() has not written.
    std::string state() const;
    void set_state(const std::string& state);
    static bool is_state(const std::string& state);

  private:
    // A token in the order: where it lies in logits_, and the sum of weights up to it and with it.
    struct Rank {
        size_t at;
        uint64_t sum;
    };
    static constexpr int kBucketBits = 9;
    static constexpr size_t kMostParts = 16, kLanes = 4, kBuckets = size_t{1} << kBucketBits;
    // Of what lies in each bucket. Neighbours that are alike do not wait for each other: each is
    // added in a lane of its own.
    struct Histogram {
        uint64_t sums[kLanes][kBuckets];
    };
    template<class Part>
    size_t in_parts(const Part& of);
    size_t take(std::span<const float> logits, std::span<const int32_t> history);
    int32_t token_at(size_t at) const;
    std::optional<int32_t> likeliest_of(std::span<const float> logits) const;
    size_t likeliest() const;
    void keep_likeliest(size_t count);
    void keep_probable();
    void keep_from(float least, size_t last);
    uint64_t weigh(double per);
    template<class Weight>
    Rank rank_of(uint64_t sum, float range, const Weight& weight);
    Rank rank_by_weight(uint64_t sum);
    double uniform();

    SamplerOptions options_;
    std::mt19937_64 random_;
    std::vector<int32_t> never_;   // sorted
    std::vector<int32_t> recent_;  // sorted, without repeats

    Workers* workers_ = nullptr;  // of this token

    // Of one token: those that are kept so far, in the order of their ids. Vectors keep their
    // sizes.
    size_t count_ = 0;
    bool whole_ = true;              // nothing was left out: tokens_ is not filled in
    bool weighed_ = false;           // weights_ is
    double per_ = 1;                 // by weigh(per_)
    std::vector<float> logits_;      // with penalties; -inf: never to be picked
    std::vector<int32_t> tokens_;    // ids
    std::vector<uint64_t> weights_;  // see weigh()
    float most_ = 0, least_ = 0;     // bounds of all logits but -inf
    std::vector<float> maxima_;      // of each segment of logits_ before anything was left out
    std::vector<float> order_;       // of maxima_
    std::vector<uint16_t> buckets_;  // rank_of(): where each is
    std::vector<Histogram> histograms_ = std::vector<Histogram>(1);  // and of each part
    std::vector<uint32_t> within_;  // those of the bucket that is looked at
};

}  // namespace llmsql
