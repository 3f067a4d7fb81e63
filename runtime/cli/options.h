// SPDX-License-Identifier: MIT
// llmsql-run's command line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "runtime/generate/options.h"
#include "runtime/weights/tile_reader.h"

namespace llmsql {

enum class Mode {
    complete,    // -p or -f: go on with a text
    answer,      // --chat with -p or -f: one answer
    chat,        // neither: a conversation
    resume,      // --continue: the rest of a session's last answer
    perplexity,  // --perplexity FILE
    divergence,  // --divergence FILE
    logits,      // --tokens IDS --logits FILE
    tokenize,    // --tokenize FILE
    render,      // --render FILE
    verify,      // --verify with a database alone
};

struct Options : GenerateOptions {
    Mode mode = Mode::chat;
    std::filesystem::path plan;  // empty for tokenize and verify, and for one that is installed
    std::string installed;       // --plan: its name; empty for the default one
    std::filesystem::path db;

    std::string prompt;                 // of -p or -f
    std::optional<std::string> system;  // --system
    std::filesystem::path file;         // of --perplexity, --divergence, --tokenize or --render
    std::string variables;              // of chat templates, a JSON object; empty: none
    std::string date;                   // what chat templates are told; empty: the clock's
    std::vector<int32_t> tokens;        // --tokens
    std::filesystem::path logits;       // --logits

    std::filesystem::path session;     // --session; empty: none
    std::optional<int64_t> snapshots;  // --snapshots: bytes
    std::string id = "default";        // --id
    std::optional<std::string> fork;   // --fork
    int64_t commit_every = 64;         // --commit-every

    int threads = 0;                     // 0: Program's choice
    std::optional<IoMode> io;            // --io; absent: auto
    bool verify = false;                 // --verify
    bool check = false;                  // --check-options: nothing is run
    bool timing = false;                 // --profile=passes or =text
    bool profile = false;                // --profile: print it
    std::filesystem::path profile_db;    // --profile=db:FILE
    std::filesystem::path profile_html;  // --profile=html:FILE
    bool profiles() const { return profile || !profile_db.empty() || !profile_html.empty(); }

    std::string trace;               // --trace STEP
    int trace_passes = 1;            // --trace-passes
    std::filesystem::path trace_db;  // --trace db:FILE
    std::filesystem::path compare;   // --trace compare:FILE
    double tolerance = 1e-3;         // --tolerance
    bool watches() const { return !trace.empty() || !trace_db.empty() || !compare.empty(); }
};

/// Where main() goes after the command line was read: with options, or out with a status.
struct CommandLine {
    std::optional<Options> options;
    int status = 0;
};

/// Prints help and version to stdout; what is wrong with the command line as one line to stderr,
/// with status 2. Reads the file of -f, but not with --check-options; a file that can't be read is
/// an Error.
CommandLine read_command_line(int argc, char** argv);

}  // namespace llmsql
