// SPDX-License-Identifier: MIT
// The command line of `llmsql run` and its like, sorted by which program an option is for.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/error.h"

namespace llmsql::driver {

/// A mistake on the command line: status 2.
class Misuse : public Error {
  public:
    using Error::Error;
};

/// A second source, which may be what stands behind an option that does not exist.
class TwoSources : public Misuse {
  public:
    TwoSources(const std::string& message, std::vector<std::string> taken)
        : Misuse(message), options(std::move(taken)) {}
    std::vector<std::string> options;  // of llmsql-run, as far as they were read
};

struct RunRequest {
    std::filesystem::path source;
    std::filesystem::path model_file;          // --model; empty: none
    std::vector<std::string> import_options;   // for llmsql-import, --model among them
    std::vector<std::string> compile_options;  // for llmsqlc, but context, budget and threads
    std::optional<int64_t> context;            // -c
    std::optional<std::string> budget;         // --budget, as it was written
    std::optional<std::string> threads;        // -t, which is among run_options too
    std::vector<std::string> run_options;      // for llmsql-run: all others
    bool help = false;                         // -h or --help, wherever it stands

    /// Whether how a plan is compiled was asked for.
    bool compiles() const { return context || budget || !compile_options.empty(); }
};

/// What stands behind `llmsql run`. An option that is not known here is llmsql-run's, which knows
/// what to say of it. Throws Misuse.
RunRequest read_request(std::span<const std::string> arguments);

/// Throws Misuse where options of llmsql-run were given to a command that runs nothing; --threads
/// is a plan's, too.
void refuse_run_options(const RunRequest& request, const char* command, bool threads = true);

}  // namespace llmsql::driver
