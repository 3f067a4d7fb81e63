// SPDX-License-Identifier: MIT
// Token ids in, logits out: to check a graph against another implementation.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

#include "common/files.h"
#include "runtime/cli/options.h"
#include "runtime/program/program.h"

namespace llmsql {

/// A NumPy file (.npy, format 1.0) of an f32 matrix, written row by row under a temporary name and
/// renamed when it is whole.
class NpyWriter {
  public:
    NpyWriter(const std::filesystem::path& path, int64_t rows, int64_t cols);

    void write(std::span<const float> values);

    /// All rows are written: flushes to the disk and renames.
    void commit();

  private:
    TemporaryFile file_;
};

/// Mode::logits: one sequence of the given ids from position 0, a row of logits for each. Returns
/// the exit status.
int run_logits(Program& program, const Options& options);

}  // namespace llmsql
