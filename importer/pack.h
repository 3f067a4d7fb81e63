// SPDX-License-Identifier: MIT
// Strips: how a matrix lies in model.db (docs/model-db.md), one row at a time, in and out.
//
// A strip holds 16 rows interleaved. Packing writes one row's share of a strip and leaves the other
// rows alone, so a strip that starts as zeros ends padded with zero rows.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/types.h"
#include "importer/ggml_types.h"

namespace llmsql {

/// 32 weights of a row: w = scale * code.
struct Q8Block {
    uint16_t scale = 0;  // f16
    std::array<int8_t, kBlock> codes{};
    bool operator==(const Q8Block&) const = default;
};

/// 32 weights of a row: w = scale * code + offset, codes in [0, 15].
struct Q4Block {
    uint16_t scale = 0, offset = 0;  // f16
    std::array<uint8_t, kBlock> codes{};
    bool operator==(const Q4Block&) const = default;
};

/// Writes a row (of as many values or blocks as the span has) into its place, 0 to 15, in a strip
/// of strip_bytes(type, cols) bytes.
void pack_row(std::span<const float> row, int64_t place, std::byte* strip);
void pack_row(std::span<const uint16_t> row, int64_t place, std::byte* strip);
void pack_row(std::span<const Q8Block> row, int64_t place, std::byte* strip);
void pack_row(std::span<const Q4Block> row, int64_t place, std::byte* strip);

/// Packs a row of a source's own blocks, as a GGUF has them, for a format that keeps them
/// (WeightFormat::keeps has `from`, takes_anything is false): not a value of them changed. False,
/// and what is in the strip undefined, if a scale is not a finite number. `row` is whole blocks;
/// `times`, which only nvfp4 has a place for, multiplies all values.
bool pack_blocks(GgmlType from, WeightType type, std::span<const std::byte> row, int64_t place,
                 std::byte* strip, float times = 1);

/// The inverse of pack_row: reads the row at `place` of a strip.
void unpack_row(const std::byte* strip, int64_t place, std::span<float> row);
void unpack_row(const std::byte* strip, int64_t place, std::span<uint16_t> row);
void unpack_row(const std::byte* strip, int64_t place, std::span<Q8Block> row);
void unpack_row(const std::byte* strip, int64_t place, std::span<Q4Block> row);

/// The values of the row at `place` of a strip of rows of `cols` weights.
std::vector<float> unpack_values(WeightType type, const std::byte* strip, int64_t cols,
                                 int64_t place);

}  // namespace llmsql
