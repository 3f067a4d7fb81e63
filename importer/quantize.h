// SPDX-License-Identifier: MIT
// Up to 32 numbers to one block of q8 or q4.
#pragma once

#include <optional>
#include <span>

#include "importer/pack.h"

namespace llmsql {

bool all_finite(std::span<const float> values);

/// scale = max|x| / 127 as f16, codes the nearest. Nothing if a value is not finite or the scale is
/// beyond f16. Error of a value: at most half the scale. Codes past the values' end are 0.
std::optional<Q8Block> quantize_q8(std::span<const float> values);

/// offset = min x and scale = (max x - offset) / 15 as f16, the offset rounded down and the scale
/// up so that every value lies in the codes' range; codes the nearest. Nothing if a value is not
/// finite or scale or offset is beyond f16. Error of a value: at most half the scale. Codes past
/// the values' end are 0.
std::optional<Q4Block> quantize_q4_minmax(std::span<const float> values);

/// The block of quantize_q4_minmax(), or one of less error where a search finds it: scale and
/// offset by weighted least squares from a grid of starts, codes the nearest. The error that counts
/// is the sum of
/// (|x| + root of the mean square) * miss^2; it is never more than quantize_q4_minmax's.
std::optional<Q4Block> quantize_q4(std::span<const float> values);

}  // namespace llmsql
