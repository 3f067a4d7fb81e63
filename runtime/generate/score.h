// SPDX-License-Identifier: MIT
// How likely a model finds a text.
#pragma once

#include <cstdint>
#include <span>

#include "runtime/program/program.h"

namespace llmsql {

/// log softmax of one row of logits at a token: a natural logarithm. Fails where it is not finite.
double log_probability(std::span<const float> logits, int32_t token);

/// The sum over the rows of the program's last pass, which held positions [position, position +
/// rows) of `tokens`, that predict a token: of positions `first` to the last but one of `tokens`.
double log_probability_of_next(Program& program, std::span<const int32_t> tokens, int position,
                               int rows, int first);

}  // namespace llmsql
