// llmsql-run's command line.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "runtime/storage/tile_reader.h"
#include "runtime/text/sampler.h"

namespace llmsql {

enum class Mode {
    complete,    // -p or -f: go on with a text
    answer,      // --chat with -p or -f: one answer
    chat,        // neither: a conversation
    perplexity,  // --perplexity FILE
    logits,      // --tokens IDS --logits FILE
    tokenize,    // --tokenize FILE
    verify,      // --verify with a database alone
};

struct Options {
    Mode mode = Mode::chat;
    std::filesystem::path plan;  // empty for tokenize and verify
    std::filesystem::path db;

    std::string prompt;                 // of -p or -f
    std::optional<std::string> system;  // --system
    std::filesystem::path file;         // of --perplexity or --tokenize
    std::vector<int32_t> tokens;        // --tokens
    std::filesystem::path logits;       // --logits

    int64_t predict = -1;            // most tokens to generate; -1: no limit
    std::optional<int> context;      // -c
    std::optional<int> batch;        // -b: most tokens a pass
    int threads = 0;                 // 0: Program's choice
    std::optional<IoMode> io;        // --io; absent: auto
    std::string kernels;             // empty: the best
    bool verify = false;             // --verify
    bool timing = false;             // --timing
    std::optional<int64_t> keep;     // --keep: -1 keeps the whole prompt
    std::vector<std::string> stops;  // --stop
    bool ignore_end = false;         // --ignore-eos
    SamplerOptions sampler;
    int64_t seed = -1;  // -1: a different one each time
};

/// Where main() goes after the command line was read: with options, or out with a status.
struct CommandLine {
    std::optional<Options> options;
    int status = 0;
};

/// Prints help and version to stdout; what is wrong with the command line as one line to stderr,
/// with status 2. Reads the file of -f; a file that can't be read is an Error.
CommandLine read_command_line(int argc, char** argv);

}  // namespace llmsql
