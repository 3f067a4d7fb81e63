// SPDX-License-Identifier: MIT
// Interruption: asking, now and then, whether what is under way is to end.
#pragma once

#include <chrono>
#include <functional>
#include <utility>

#include "sqlite/callbacks.h"

namespace llmsql {

/// Not thread-safe.
class Interruption {
  public:
    /// What is asked; null: nothing.
    void ask(std::function<bool()> wanted) { wanted_ = std::move(wanted); }

    /// Throws Interrupted where it is wanted. Asks every kBetween at most: a question is a call of
    /// the host's, which takes microseconds.
    void end_if_wanted() {
        if (!wanted_) return;
        const auto now = std::chrono::steady_clock::now();
        if (now - asked_ < kBetween) return;
        asked_ = now;
        if (wanted_()) throw Interrupted();
    }

  private:
    static constexpr std::chrono::milliseconds kBetween{20};
    std::function<bool()> wanted_;
    std::chrono::steady_clock::time_point asked_;
};

}  // namespace llmsql
