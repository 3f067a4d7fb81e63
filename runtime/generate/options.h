// SPDX-License-Identifier: MIT
// GenerateOptions: how a text is to be continued. Names and meanings are llama.cpp's.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
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
    std::optional<int> drafts;    // most tokens guessed and checked in a pass; absent: the plan's
    std::vector<std::string> stops;  // texts to stop at, not themselves part of the answer
    bool ignore_end = false;         // never pick the tokens that end a text
    SamplerOptions sampler;
    int64_t seed = -1;                 // -1: a different one each time
    std::set<std::string_view> named;  // of number_options(), those that somebody has given
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

/// Sets an option to what was given for it, and notes it as named.
void set_number(GenerateOptions& to, const NumberOption& option, std::string_view called,
                std::string_view given);

/// Options as llm_meta has them, "sampling." and an option's name; a value is text.
using ModelSampling = std::map<std::string, std::string>;

/// With the model's own where nobody has named another. Fails on values that are none, calling
/// them by their keys.
GenerateOptions with_model_sampling(GenerateOptions options, const ModelSampling& own);
/// What of the model's holds then: "temperature 0.6, top_k 20"; empty: nothing.
std::string model_sampling_text(const GenerateOptions& options, const ModelSampling& own);
/// Names all that there are: the model's have been settled already.
void name_all(GenerateOptions& options);

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
