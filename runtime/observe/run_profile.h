// SPDX-License-Identifier: MIT
// What a run took, statement by statement: as a table to read, and as a database to query.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "plan/outline.h"
#include "runtime/program/pass_times.h"

namespace llmsql {

/// Passes that belong together: "prefill" or "decode".
struct RunPhase {
    std::string name;
    PassTimes times;     // with by_statement
    double seconds = 0;  // all the time that they lie in: what is not of passes is sampling, text
    uint64_t drafted = 0, accepted = 0;  // tokens guessed; and those that were right, which are of
                                         // times.tokens, as the others are not
};

struct RunProfile {
    Outline outline;
    std::string plan, model_db;  // files
    std::string ignored;         // keys of the model's source that import was told to pass over
    std::string kernels, io;
    int threads = 1;
    uint64_t held_bytes = 0, peak_rss = 0;
    std::vector<RunPhase> phases;
};

/// Tables of each phase: by kind of operator, by layer, and the statements that took most. Empty
/// where there was no pass.
std::string profile_text(const RunProfile& run);

/// Writes an SQLite file: tables `run`, `phase`, `statement`, `statement_time`, and the views
/// slowest_operator, layer_time and io_wait. An earlier profile at `path` is replaced; anything
/// else there is left alone, with an Error.
void write_profile_db(const RunProfile& run, const std::filesystem::path& path);

/// Fails as that would, as far as can be told before the run.
void check_profile_db(const std::filesystem::path& path);

}  // namespace llmsql
