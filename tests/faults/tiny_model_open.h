// SPDX-License-Identifier: MIT
// The tiny model, open, with what generates from it.
#pragma once

#include <optional>

#include "runtime/generate/generator.h"
#include "runtime/program/program.h"
#include "runtime/text/tokenizer.h"
#include "tests/faults/tiny_files.h"

namespace llmsql::faults {

inline GenerateOptions tiny_options(int64_t predict) {
    GenerateOptions options;
    options.predict = predict;
    options.ignore_end = true;
    options.keep = 4;
    options.seed = 11;
    options.stops = {"never this text"};
    return options;
}

/// Of a folder that has the files of write_tiny_files().
struct OpenTinyModel {
    explicit OpenTinyModel(const std::filesystem::path& folder)
        : db(folder / "model.db"), program(folder / "plan.sql", db, {.threads = 1}), tokenizer(db) {
        forget();
    }

    /// From here on nothing is known of what the cache holds.
    void forget() {
        generator.reset();
        scheduler.emplace(program, end_tokens(program, tokenizer));
        generator.emplace(*scheduler, &tokenizer, tiny_options(36), CallerOptions{.ahead = 0});
    }

    ModelDb db;
    Program program;
    Tokenizer tokenizer;
    std::optional<SharedScheduler> scheduler;
    std::optional<Generator> generator;
};

}  // namespace llmsql::faults
