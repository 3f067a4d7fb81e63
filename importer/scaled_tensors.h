// SPDX-License-Identifier: MIT
// Tensors that safetensors keep in two parts, codes and scales, shown as one of a type of GGUF's.
//
//   FP8     X        F8_E4M3 [..., rows, cols]   X_scale_inv or X_scale, a number for all, for each
//           row, or for each block of rows and columns (quantization_config says how large). Shown
//           as BF16, code * scale rounded to nearest even: exact where scales are powers of two.
//   MXFP4   X_blocks U8 [..., cols / 32, 16]     X_scales U8 [..., cols / 32], exponents. Shown as
//           MXFP4 under the name X_blocks: the same codes and scales in another order.
//
// (DeepSeek V3's and Qwen3's FP8 folders; compressed-tensors' "float-quantized"; gpt-oss.)
#pragma once

#include <string>
#include <vector>

#include "importer/json.h"
#include "importer/source.h"

namespace llmsql {

/// How a folder's weights are kept, by its config.json's quantization_config.
struct ScaledWeights {
    bool scaled = false;                         // there are such tensors
    int64_t block_rows = 128, block_cols = 128;  // of FP8, where scales are a matrix
};

/// Fails, naming `where`, if the weights are kept in a way that cannot be read.
ScaledWeights scaled_weights_of(const Json& config, const std::string& where);

/// Makes one tensor of each two. Returns what was done, a line each, without the source's name.
/// Fails, by name, where a scale is missing or has a shape that does not go with its codes.
std::vector<std::string> join_scaled_tensors(std::vector<SourceTensor>& tensors,
                                             const ScaledWeights& weights);

}  // namespace llmsql
