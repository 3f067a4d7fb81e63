// Sampler: picks the next token from a row of logits.
//
// Names, meanings, defaults and order are llama.cpp's: penalties, then top-k, top-p, min-p, and the
// temperature last.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace llmsql {

struct SamplerOptions {
    double temperature = 0.8;     // 0: always the likeliest token
    int top_k = 40;               // only the k likeliest; 0 or less: all
    double top_p = 0.95;          // the likeliest until their probabilities reach p; 1: all
    double min_p = 0.05;          // those at least p times as likely as the likeliest; 0: all
    double repeat_penalty = 1.0;  // logits of recent tokens: divided by it if > 0, else multiplied
};

/// How many of the newest tokens the repeat penalty looks at.
inline constexpr size_t kPenaltyWindow = 64;

/// The same seed and logits give the same tokens on every machine: the generator and its conversion
/// to a number in [0, 1) are fixed here. Not thread-safe.
class Sampler {
  public:
    /// `never` are tokens that are not to be picked.
    Sampler(const SamplerOptions& options, uint64_t seed, std::vector<int32_t> never = {});

    /// `logits` is one row, f32[vocabulary]; `history` what came before, of which the last
    /// kPenaltyWindow tokens count. Fails on a logit that is not a number or is infinite. At equal
    /// logits the lower id wins.
    int32_t sample(std::span<const float> logits, std::span<const int32_t> history);

    /// The random numbers to come, as text; set_state fails on what state() has not written.
    std::string state() const;
    void set_state(const std::string& state);

  private:
    struct Candidate {
        float logit;
        int32_t token;
        double probability;
    };
    void collect(std::span<const float> logits, std::span<const int32_t> history);
    void softmax();
    double uniform();

    SamplerOptions options_;
    std::mt19937_64 random_;
    std::vector<int32_t> never_;         // sorted
    std::vector<int32_t> recent_;        // sorted, without repeats
    std::vector<Candidate> candidates_;  // likeliest first
};

}  // namespace llmsql
