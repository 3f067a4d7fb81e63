// SPDX-License-Identifier: MIT
// The tiny model, open, with what generates from it.
#pragma once

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
        : db(folder / "model.db"),
          program(folder / "plan.sql", db, {.threads = 1}),
          tokenizer(db),
          generator(program, tokenizer, tiny_options(36), [] { return false; }) {}

    ModelDb db;
    Program program;
    Tokenizer tokenizer;
    Generator generator;
};

}  // namespace llmsql::faults
