// SPDX-License-Identifier: MIT
// Rows of GGUF tensors, as numbers and as the blocks that model.db stores.
//
// A row keeps its codes and scales where the target type can hold them (keeps_q4() tells of q4; q8
// holds 32 weights that have one scale, an f16, and no minimum; f16 F16); everything else goes
// through f32. What each way loses is stated in docs/model-db.md, "What import rounds".
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "importer/ggml_types.h"
#include "importer/pack.h"

namespace llmsql {

/// The values of a row of out.size() weights: whole blocks of the type.
void dequantize_row(GgmlType type, const std::byte* row, std::span<float> out);

/// The first weight of a row of scratch.size() whose value is infinite or no number.
std::optional<size_t> first_not_finite(GgmlType type, const std::byte* row,
                                       std::span<float> scratch);

/// Whether q4 has room for all levels of the type: then it keeps the codes, and scales as f16.
bool keeps_q4(GgmlType type);

/// A row of `cols` weights as the target type stores it: f32 and f16 `cols` values, q8 and q4
/// block_count(cols) blocks. False if the target cannot hold it: a value that is not finite, a
/// scale or value beyond f16. `scratch` has `cols` floats of room, no more.
bool convert_row(GgmlType type, const std::byte* row, std::span<float> scratch,
                 std::span<float> out);
bool convert_row(GgmlType type, const std::byte* row, std::span<float> scratch,
                 std::span<uint16_t> out);
bool convert_row(GgmlType type, const std::byte* row, std::span<float> scratch,
                 std::span<Q8Block> out);
bool convert_row(GgmlType type, const std::byte* row, std::span<float> scratch,
                 std::span<Q4Block> out);

}  // namespace llmsql
