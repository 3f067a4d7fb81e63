// SPDX-License-Identifier: MIT
// Profiler: what each statement of a pass takes.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "common/stopwatch.h"
#include "runtime/compute/compute.h"
#include "runtime/program/pass_times.h"

namespace llmsql {

/// Statements are stepped while those before them are computed, so a statement has no beginning
/// and no end of its own. What it has is work: the items that its jobs gave the workers, and the
/// owner's time in SQLite. Both are counted where they are done, by the worker that does them.
///
/// Owned by the thread that steps; times() when all jobs are done.
class Profiler {
  public:
    Profiler(size_t statements, int workers);

    /// While it lives, evaluations are those of one statement. Nothing without a profiler.
    class Step {
      public:
        Step(std::optional<Profiler>& profiler, size_t statement, Compute& compute);
        Step(const Step&) = delete;
        Step& operator=(const Step&) = delete;
        ~Step();

      private:
        Profiler* const profiler_;
        const size_t statement_;
        Compute& compute_;
        WorkTime before_;
        uint64_t weight_bytes_ = 0;
        double seconds_ = 0;
        std::optional<Stopwatch> watch_;
    };

    /// By statement.
    std::vector<StatementTime> times() const;

  private:
    struct Stepped {
        uint64_t runs = 0, weight_bytes = 0;
        double sql = 0;
    };
    size_t workers_;
    std::vector<ItemTime> items_;  // a statement's are beside each other, one per worker
    std::vector<Stepped> stepped_;
};

}  // namespace llmsql
