// SPDX-License-Identifier: MIT
// The tensor types of GGUF files: names, block sizes, and which of them the importer can read.
//
// Numbers and sizes are those of the GGUF specification (ggml's docs/gguf.md and enum ggml_type).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace llmsql {

/// The types whose values the importer can read, under GGUF's own numbers.
enum class GgmlType : uint32_t {
    f32 = 0,
    f16 = 1,
    q4_0 = 2,
    q4_1 = 3,
    q5_0 = 6,
    q5_1 = 7,
    q8_0 = 8,
    q4_k = 12,
    q5_k = 13,
    q6_k = 14,
    bf16 = 30,
};

struct GgmlTypeInfo {
    uint32_t number = 0;
    std::string_view name;
    int64_t block_weights = 1;  // weights in a block, along a row
    int64_t block_bytes = 1;
    bool readable = false;  // is it one of enum GgmlType?
};

/// What is known of a type number; null if it is not a type of GGUF's.
const GgmlTypeInfo* find_ggml_type(uint32_t number);
const GgmlTypeInfo& info_of(GgmlType type);

/// Bytes of a row of `weights`, a multiple of the type's block.
int64_t ggml_row_bytes(GgmlType type, int64_t weights);

/// "F32, F16, Q4_0, …": the readable types, for error messages.
std::string readable_ggml_types();

}  // namespace llmsql
