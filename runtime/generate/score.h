// SPDX-License-Identifier: MIT
// How likely a model finds a text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "runtime/generate/caller.h"

namespace llmsql {

/// log softmax of one row of logits at a token: a natural logarithm. Fails where it is not finite.
double log_probability(std::span<const float> logits, int32_t token);

/// Reads `tokens` and calls `take` with the logits after each from position `from` on, as
/// Request::Rows. False if interrupted.
bool read_rows(SharedScheduler& shared, const Tokenizer* tokenizer, std::span<const int32_t> tokens,
               size_t from, const GenerateOptions& options, const CallerOptions& how,
               std::function<void(size_t position, std::span<const float> logits)> take);

/// The sum of the logarithms of the probabilities of tokens `first` (1 at least) to the last, each
/// after those before it. Nothing if interrupted.
std::optional<double> log_probability_of(SharedScheduler& shared, const Tokenizer* tokenizer,
                                         std::span<const int32_t> tokens, size_t first,
                                         const GenerateOptions& options, const CallerOptions& how);

}  // namespace llmsql
