// SPDX-License-Identifier: MIT
// What a block of a quantised GGUF type says: levels, which are small integers, and what each group
// of them is multiplied with and lessened by.
//
// All of GGUF's types are of one form, those with code books too:
//
//   weight i = (scale * scales[g]) * levels[i] - minimum * minima[g],    g = i / group
//
// scale and minimum are the block's own numbers (f16 in the file, or what stands for it there), the
// others integers. In f32 both products before the last are exact, so that the value is that of
// ggml's dequantize_row_* to the bit, in whatever order that multiplies.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "importer/ggml_types.h"

namespace llmsql {

inline constexpr size_t kMostBlockWeights = 256;  // weights
inline constexpr size_t kSmallestGroup = 16;

struct GgmlBlock {
    float scale = 0, minimum = 0;
    size_t group = 0;  // weights, a multiple of kSmallestGroup that divides the block
    std::array<int32_t, kMostBlockWeights / kSmallestGroup> scales{}, minima{};
    alignas(64) std::array<int8_t, kMostBlockWeights> levels{};
};

/// Reads a block of block_bytes bytes. `type` has blocks; levels past the block stay as they were.
/// A scale that is infinite or NaN is read as it is.
void read_block(GgmlType type, const uint8_t* bytes, GgmlBlock& out);

/// The values of a block that was read: `weights` of them, as many as the type's blocks have.
void values_of(const GgmlBlock& block, size_t weights, float* out);

}  // namespace llmsql
