// SPDX-License-Identifier: MIT
// Reading weights out of strips: what each format's bytes mean, one row at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "common/types.h"

namespace llmsql {

/// The values of columns first … first + values.size() - 1 of the row at `place`, 0 to 15, of a
/// strip (layout: strip_bytes in common/types.h).
void read_strip(WeightType type, const std::byte* strip, int64_t place, int64_t first,
                std::span<float> values);

}  // namespace llmsql
