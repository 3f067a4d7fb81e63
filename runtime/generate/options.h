// SPDX-License-Identifier: MIT
// GenerateOptions: how a text is to be continued. Names and meanings are llama.cpp's.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
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

/// Numbers that an option takes. Bounds are among them.
struct Whole {
    int64_t least, most;
};
struct Real {
    double least, most;
};

/// `given`, as it was written, as such a number. Fails in one line that names the option as it is
/// `called`, says what numbers it takes, and what was given.
int64_t number_of(std::string_view called, std::string_view given, const Whole& range);
double number_of(std::string_view called, std::string_view given, const Real& range);

inline constexpr int64_t kMostCount = INT32_MAX;
inline constexpr Whole kThreadCounts{1, 256};

/// An option whose value is a number, under its name in SQL and its flag of llmsql-run. Whatever
/// takes options goes by these.
struct NumberOption {
    const char* name;
    const char* flag;
    bool whole;
    Whole counts;  // if whole
    Real reals;    // if not
    void (*set_count)(GenerateOptions& to, int64_t value);
    void (*set_real)(GenerateOptions& to, double value);
    std::optional<double> (*get)(const GenerateOptions& from);
};
std::span<const NumberOption> number_options();

/// Sets an option to what was given for it.
void set_number(GenerateOptions& to, const NumberOption& option, std::string_view called,
                std::string_view given);

/// Fails on options, from a file perhaps, that have a number beyond what its option takes.
void check_options(const GenerateOptions& options);

/// A message of this library with options called by their flags: it speaks of "option 'keep'".
std::string with_flags(std::string message);

/// Most tokens that prompt and answer may take: the plan's context, or less where option `context`
/// says so.
struct ContextLimit {
    size_t tokens = 0, plan = 0;

    /// What to do about a text that is longer.
    std::string advice() const;
};

}  // namespace llmsql
