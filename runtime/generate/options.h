// GenerateOptions: how a text is to be gone on with. Names and meanings are llama.cpp's.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/text/sampler.h"

namespace llmsql {

struct GenerateOptions {
    int64_t predict = -1;         // most tokens to pick; -1: no limit
    std::optional<int> context;   // most tokens of prompt and answer; absent: the plan's
    std::optional<int> batch;     // most tokens a pass; absent: the plan's chunk
    std::optional<int64_t> keep;  // when the context is full, keep as many of the first tokens and
                                  // the newer half of the rest; -1: the prompt; absent: stop
    std::vector<std::string> stops;  // texts to stop at, not themselves part of the answer
    bool ignore_end = false;         // never pick the tokens that end a text
    SamplerOptions sampler;
    int64_t seed = -1;  // -1: a different one each time
};

/// Fails on a value that makes no sense, naming the option as llmsql-run does.
void check_options(const GenerateOptions& options);

}  // namespace llmsql
