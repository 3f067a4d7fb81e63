// SPDX-License-Identifier: MIT
// From a source to what llmsql-run needs: a model database and a plan, made or found in the cache.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "driver/arguments.h"
#include "driver/cache.h"
#include "driver/processes.h"

namespace llmsql::driver {

/// Ends the command with a status, when a program that it started has told what was wrong.
struct EndedBy {
    int status;
};

struct ReadyModel {
    std::optional<UsedEntry> entry;  // of the cache; none: nothing of it is used
    std::filesystem::path plan;      // empty: the one that is installed in the database
    std::filesystem::path database;

    /// What llmsql-run is called with: plan, database, then `options`.
    std::vector<std::string> arguments(const std::vector<std::string>& options) const;
};

/// Throws EndedBy where llmsql-run does not take these options, having passed on what it says; of
/// files that they name it sees whether they are there.
void check_run_options(const RunRequest& request, const std::vector<std::string>& options);

/// The database of a request's source, imported unless it is in the cache or is one. Writes lines
/// to standard error. Throws Error or EndedBy.
ReadyModel prepare_database(const RunRequest& request);

/// That and its plan; options of a plan are looked at first. Says what the run takes, and where
/// memory is short within what it is to run.
ReadyModel prepare(const RunRequest& request);

/// Whether what `llmsql-run --verify` has said on ending is that a database is not what was
/// imported, and not that it could not be read, or told about.
bool tells_of_damage(const Ended& verified);

/// "llmsql: LINE" to standard error.
void say(const std::string& line);

/// What a run of a model file's plan would take, part by part, as text. Throws Error or EndedBy.
std::string memory_page(const RunRequest& request, const std::filesystem::path& model);

/// Of what `llmsqlc --emit=memory` says a run takes, a part, in bytes, or the "sum"; fails where it
/// does not.
int64_t bytes_on_page(const std::string& page, std::string_view part);

/// The budget for a process that has so much memory free: some is left to others, and so coarse
/// that what was compiled once is found again. A whole number of MiB.
int64_t budget_within(uint64_t free);

}  // namespace llmsql::driver
