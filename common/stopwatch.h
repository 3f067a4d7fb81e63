// SPDX-License-Identifier: MIT
// Stopwatch: adds the time that a scope takes to a sum.
#pragma once

#include <chrono>

namespace llmsql {

/// `seconds` null: the scope isn't timed, and costs no look at the clock.
class Stopwatch {
  public:
    explicit Stopwatch(double* seconds) : seconds_(seconds) {
        if (seconds_) start_ = Clock::now();
    }
    Stopwatch(const Stopwatch&) = delete;
    Stopwatch& operator=(const Stopwatch&) = delete;
    ~Stopwatch() {
        if (seconds_) *seconds_ += std::chrono::duration<double>(Clock::now() - start_).count();
    }

  private:
    using Clock = std::chrono::steady_clock;
    double* seconds_;
    Clock::time_point start_;
};

}  // namespace llmsql
