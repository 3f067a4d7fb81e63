// SPDX-License-Identifier: MIT
// Looking at a run while it runs: what a statement reads and writes, every step's values in a
// database, and the first step at which two runs part. docs/seeing.md says how to use them.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "plan/outline.h"
#include "runtime/program/observer.h"

namespace llmsql {

/// Tells `say`, a line at a time, what the statements that `which` selects (plan/select.h) read and
/// write, in the first `passes` passes. Fails if there are no such statements.
std::unique_ptr<PassObserver> make_printer(const Outline& outline, const std::string& which,
                                           int passes, std::function<void(const std::string&)> say);

/// An observer that has something to do when the run has ended.
class RunObserver : public PassObserver {
  public:
    /// Once, at the end. True unless two runs were found to part.
    virtual bool finish() = 0;
};

/// Writes the values of all steps to an SQLite file, which is there when finish() has returned.
std::unique_ptr<RunObserver> make_trace_writer(const Outline& outline,
                                               const std::filesystem::path& path);

/// Compares the values of all steps with those in a trace database, where that has them. finish()
/// says on stderr how many agree to `tolerance` and which is the first, in the order of the plan,
/// that does not. The difference of two rows is that of their elements' root mean squares:
/// rms(a - b) / rms(b). Fails on a file that is no trace, and in finish() if no step was compared.
std::unique_ptr<RunObserver> make_comparer(const Outline& outline,
                                           const std::filesystem::path& path, double tolerance);

}  // namespace llmsql
