// SPDX-License-Identifier: MIT
// A whole import: a GGUF or a Hugging Face folder, and a graph or model file in, a model database
// out.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/types.h"
#include "importer/tokenizer.h"

namespace llmsql {

/// How matrices are stored whose name `pattern` matches, in which `*` is any run of characters;
/// those that no rule matches, and where the type is absent, by their type in the source.
struct WeightRule {
    std::string pattern = "*";
    std::optional<WeightType> type;
};

struct ImportOptions {
    std::filesystem::path source;
    std::filesystem::path output;

    // What to make of the source; or a graph to instantiate from its metadata; or neither, and the
    // graph is the one for the source's architecture.
    std::optional<std::filesystem::path> model_file;
    std::optional<std::filesystem::path> graph_file;

    // Where graphs are looked for; that of a model file after its own folder and ../graphs.
    std::vector<std::filesystem::path> graph_dirs;

    // Without a model file.
    std::vector<WeightRule> weights;  // how matrices are stored: the first that matches counts
    std::vector<std::string> ignored_keys;  // of the source's metadata: as if they were not there
    std::string name;                       // empty: from the source's file name
    std::optional<std::filesystem::path> write_model;

    // All is checked and nothing stored: no output is needed, and write_model is all that is
    // written. What the tensors' values are is not looked at.
    bool dry_run = false;
    bool for_cache = false;  // what is written is nobody's to edit
};

struct ImportResult {
    std::string name;
    int64_t parameters = 0;
    uint64_t bytes_in = 0, bytes_out = 0;
    std::string chat = {};  // what the chat template makes of "Hi"; empty where there is none
    std::string description = {};  // of a dry run: lines "architecture: llama", the last "bytes: …"
};

struct ImportWatcher {
    std::function<void(const std::string&)> note;                 // one line worth telling
    std::function<void(uint64_t done, uint64_t total)> progress;  // bytes of tensors
    const std::atomic<bool>* canceled = nullptr;                  // set: stop and leave nothing
};

/// Writes options.output (and options.write_model) or throws an Error and leaves no file behind.
ImportResult import_model(const ImportOptions& options, const ImportWatcher& watcher);

/// "smollm2-135m-instruct" of "SmolLM2-135M-Instruct.Q4_1.gguf": the file's name in lower case,
/// without extension and quantisation. Of a folder the same.
std::string model_name_of(const std::filesystem::path& source);

}  // namespace llmsql
