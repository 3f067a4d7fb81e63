// SPDX-License-Identifier: MIT
// What --profile says of a run when it has ended.
#pragma once

#include <chrono>
#include <vector>

#include "runtime/cli/options.h"
#include "runtime/observe/run_profile.h"
#include "runtime/program/program.h"

namespace llmsql {

/// Fails where a file that the options ask for cannot be: before a run rather than after it.
void check_profile_paths(const Options& options);

/// Prints and writes what the options ask for; nothing where they don't.
void report_profile(const Program& program, const Options& options, std::vector<RunPhase> phases);

/// report_profile() for a run that is one phase and prints no statistics of its own: from this
/// object's making to report(). The run's passes are called `name`.
class OnePhase {
  public:
    OnePhase(const Program& program, const Options& options, const char* name);
    void report() const;

  private:
    const Program& program_;
    const Options& options_;
    const char* name_;
    const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace llmsql
