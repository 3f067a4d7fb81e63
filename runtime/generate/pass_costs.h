// SPDX-License-Identifier: MIT
// PassCosts: what passes of so many rows take on this machine, and what that makes of guesses.
//
// A pass of several rows reads the weights once, but computes more: where weights are streamed its
// rows are nearly free, in memory eight may cost twice as much as one, and of a mixture of experts
// each row brings others. None of that is asked for here: passes are timed, and guesses are checked
// as long as that has been worth its time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace llmsql {

/// Not thread-safe. Times are in any unit.
class PassCosts {
  public:
    /// Passes of more rows are taken to cost as much for each as those of so many.
    static constexpr size_t kMostRows = 64;

    PassCosts() { estimate(); }

    /// A pass of so many rows has taken so long.
    void note(size_t rows, double time);

    /// What one is expected to take: from 1 row on.
    double of(size_t rows) const;

    /// How many guesses to check beside `rows` rows that are to be computed anyway and give a token
    /// each: the first so many of `gains`, which are the tokens to be expected of each, and fall.
    size_t worth_checking(size_t rows, std::span<const double> gains) const;

  private:
    static constexpr size_t kKept = 4;
    static constexpr uint64_t kFirstLife = 16, kLongestLife = 256;
    struct Times {
        std::array<double, kKept> last{};
        size_t count = 0;            // noted
        uint64_t when = 0;           // the last
        uint64_t life = kFirstLife;  // passes after which they say nothing any more

        bool stale(uint64_t now) const { return now - when > life; }
    };
    void estimate();

    std::array<Times, kMostRows + 1> times_;  // by rows
    std::array<double, kMostRows + 1> expected_{};
    uint64_t passes_ = 0;
};

}  // namespace llmsql
