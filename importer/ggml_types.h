// SPDX-License-Identifier: MIT
// The tensor types of GGUF files: names and block sizes.
//
// Numbers and sizes are those of the GGUF specification (ggml's docs/gguf.md, enum ggml_type of
// ggml.h and the blocks of ggml-common.h). What a block says is blocks.h's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace llmsql {

/// The types that can be stored, under GGUF's own numbers. Those that are missing were removed.
enum class GgmlType : uint32_t {
    f32 = 0,
    f16 = 1,
    q4_0 = 2,
    q4_1 = 3,
    q5_0 = 6,
    q5_1 = 7,
    q8_0 = 8,
    q8_1 = 9,
    q2_k = 10,
    q3_k = 11,
    q4_k = 12,
    q5_k = 13,
    q6_k = 14,
    q8_k = 15,
    iq2_xxs = 16,
    iq2_xs = 17,
    iq3_xxs = 18,
    iq1_s = 19,
    iq4_nl = 20,
    iq3_s = 21,
    iq2_s = 22,
    iq4_xs = 23,
    i8 = 24,
    i16 = 25,
    i32 = 26,
    i64 = 27,
    f64 = 28,
    iq1_m = 29,
    bf16 = 30,
    tq1_0 = 34,
    tq2_0 = 35,
    mxfp4 = 39,
    nvfp4 = 40,
    q1_0 = 41,
    q2_0 = 42,
};

struct GgmlTypeInfo {
    uint32_t number = 0;
    std::string_view name;
    int64_t block_weights = 1;  // weights in a block, along a row
    int64_t block_bytes = 1;
    bool readable = false;  // is it one of enum GgmlType?

    bool has_blocks() const { return block_weights > 1; }
};

/// What is known of a type number; null if it is not a type of GGUF's, or none any more.
const GgmlTypeInfo* find_ggml_type(uint32_t number);

/// The name of a type that files of 2023 and 2024 may have, and that nothing reads now; else "".
std::string_view removed_ggml_type(uint32_t number);

const GgmlTypeInfo& info_of(GgmlType type);

/// Bytes of a row of `weights`, a multiple of the type's block.
int64_t ggml_row_bytes(GgmlType type, int64_t weights);

/// "F32, F16, Q4_0, …": the readable types, for error messages.
std::string readable_ggml_types();

}  // namespace llmsql
