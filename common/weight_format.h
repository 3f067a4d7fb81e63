// SPDX-License-Identifier: MIT
// The table of weight formats: how parameters are stored in model.db.
//
// Importer, compiler, runtime, verification, page and benchmarks all read these rows, and kernels
// are found by them. A new format is a row here, a value of WeightType, how a block is read
// (common/strips.cpp), how it is packed (importer/pack.cpp), and how its codes are got at, for all
// instruction sets alike (runtime/kernels/formats.h). docs/model-db.md draws the layouts.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "common/types.h"

namespace llmsql {

/// Numbers that GGUF has for its types: those that a format holds exactly, at most three.
struct KeptTypes {
    uint32_t number[3];
    constexpr KeptTypes(uint32_t a) : KeptTypes(a, a, a) {}
    constexpr KeptTypes(uint32_t a, uint32_t b) : KeptTypes(a, b, b) {}
    constexpr KeptTypes(uint32_t a, uint32_t b, uint32_t c) : number{a, b, c} {}
    constexpr bool has(uint32_t type) const {
        return type == number[0] || type == number[1] || type == number[2];
    }
};

/// A matrix is stored in strips of 16 rows, a strip in blocks of `columns` columns, one after the
/// other, each block 16 * `bytes` bytes: what follows from a format's layout, but nothing of the
/// layout itself.
struct WeightFormat {
    WeightType type;
    std::string_view name;   // in model.db, in plans and in model files
    int64_t columns;         // weights of a row in a block; a row's last block may be padded
    int64_t bytes;           // a row's share of a block
    TensorType activations;  // how a row that it is multiplied by is stored
    KeptTypes keeps;         // types of GGUF that it holds exactly, by their numbers
    bool takes_anything;     // import converts any type to it, too
    bool fills;              // TileCut::format_1 cuts tiles so that they fill pages, too
    int64_t since = 1;       // the format of model.db (common/model_format.h) that lays it out so

    /// Blocks in a row of `cols` weights.
    constexpr int64_t blocks(int64_t cols) const { return (cols + columns - 1) / columns; }
    /// Bytes of one block of a strip.
    constexpr size_t block_bytes() const { return static_cast<size_t>(kStripRows * bytes); }
    /// Whether products with it are sums of integers, of codes with codes.
    constexpr bool quantized() const { return activations == TensorType::q8; }
};

/// In the order of WeightType.
inline constexpr std::array kWeightFormats{
    // type, name, columns, bytes, activations, GGUF's numbers, takes anything, fills pages, since
    WeightFormat{WeightType::f32, "f32", 1, 4, TensorType::f32, 0, true, false},
    WeightFormat{WeightType::f16, "f16", 1, 2, TensorType::f32, 1, true, false},
    WeightFormat{WeightType::q8, "q8", 32, 2 + 32, TensorType::q8, 8, true, false},
    WeightFormat{WeightType::q4, "q4", 32, 2 + 2 + 16, TensorType::q8, 3, true, false},
    WeightFormat{WeightType::bf16, "bf16", 1, 2, TensorType::f32, 30, false, true},
    WeightFormat{WeightType::q4_0, "q4_0", 32, 2 + 16, TensorType::q8, 2, false, true},
    WeightFormat{WeightType::q5_0, "q5_0", 32, 2 + 4 + 16, TensorType::q8, 6, false, true},
    WeightFormat{WeightType::q5_1, "q5_1", 32, 2 + 2 + 4 + 16, TensorType::q8, 7, false, true},
    WeightFormat{WeightType::q2_k, "q2_k", 256, 2 + 2 + 16 + 64, TensorType::q8, 10, false, true},
    WeightFormat{WeightType::q3_k, "q3_k", 256, 12 + 32 + 64 + 2, TensorType::q8, 11, false, true},
    WeightFormat{WeightType::q4_k, "q4_k", 256, 2 + 2 + 12 + 128, TensorType::q8, 12, false, true},
    WeightFormat{WeightType::q5_k, "q5_k", 256, 2 + 2 + 12 + 32 + 128, TensorType::q8, 13, false,
                 true},
    WeightFormat{WeightType::q6_k, "q6_k", 256, 16 + 64 + 128 + 2, TensorType::q8, 14, false, true},
    WeightFormat{WeightType::iq4_nl, "iq4_nl", 32, 2 + 16, TensorType::q8, 20, false, true},
    WeightFormat{WeightType::iq4_xs, "iq4_xs", 256, 2 + 2 + 4 + 128, TensorType::q8, 23, false,
                 true},
    WeightFormat{WeightType::mxfp4, "mxfp4", 32, 1 + 16, TensorType::q8, 39, false, true},
    WeightFormat{WeightType::nvfp4, "nvfp4", 64, 4 + 32, TensorType::q8, 40, false, true, 3},
    WeightFormat{WeightType::q1_0, "q1_0", 128, 2 + 16, TensorType::q8, 41, false, true},
    WeightFormat{WeightType::q2_0, "q2_0", 64, 2 + 16, TensorType::q8, 42, false, true},
    WeightFormat{WeightType::tq2_0, "tq2_0", 256, 64 + 2, TensorType::q8, 35, false, true},
    WeightFormat{
        WeightType::iq1, "iq1", 256, 8 + 32 + 64 + 2, TensorType::q8, {19, 29}, false, true},
    WeightFormat{
        WeightType::iq2, "iq2", 256, 8 + 32 + 64 + 2, TensorType::q8, {16, 17, 22}, false, true},
    WeightFormat{WeightType::iq3_xxs, "iq3_xxs", 256, 8 + 128 + 2, TensorType::q8, 18, false, true},
    WeightFormat{WeightType::iq3_s, "iq3_s", 256, 8 + 128 + 2, TensorType::q8, 21, false, true},
    WeightFormat{WeightType::tq1_0, "tq1_0", 256, 52 + 2, TensorType::q8, 34, false, true, 3},
};

constexpr size_t index_of(WeightType type) {
    return static_cast<size_t>(type);
}
/// The format that holds a type of GGUF's exactly; null if none does.
constexpr const WeightFormat* format_keeping(uint32_t gguf_type) {
    for (const WeightFormat& format : kWeightFormats)
        if (format.keeps.has(gguf_type)) return &format;
    return nullptr;
}
constexpr const WeightFormat& format_of(WeightType type) {
    return kWeightFormats[index_of(type)];
}

/// The most columns that a block has.
inline constexpr int64_t kMostColumns = 256;

/// Values of 4-bit codes that are not evenly spaced: of iq4_nl and iq4_xs, and of mxfp4 and nvfp4,
/// doubled.
inline constexpr int8_t kNonlinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};
inline constexpr int8_t kFloat4[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/// What the points of GGUF's code books are made of (importer/code_books.h), the upper half of the
/// codes negative: three bits of iq1 and iq2, four of the iq3s.
inline constexpr int8_t kLevelsOfIq1[16] = {1, 7, 9, 0, -1, -7, -9, 0};
inline constexpr int8_t kLevelsOfIq2[16] = {8, 25, 43, 0, -8, -25, -43, 0};
inline constexpr int8_t kLevelsOfIq3Xxs[16] = {4,  12,  20,  28,  36,  44,  52,  62,
                                               -4, -12, -20, -28, -36, -44, -52, -62};
inline constexpr int8_t kLevelsOfIq3S[16] = {1,  3,  5,  7,  9,  11,  13,  15,
                                             -1, -3, -5, -7, -9, -11, -13, -15};

/// Bytes of the largest block of a strip.
inline constexpr size_t kLargestBlock = [] {
    size_t most = 0;
    for (const WeightFormat& format : kWeightFormats)
        most = format.block_bytes() > most ? format.block_bytes() : most;
    return most;
}();

static_assert(
    [] {
        for (size_t i = 0; i < kWeightFormats.size(); ++i)
            if (index_of(kWeightFormats[i].type) != i) return false;
        return true;
    }(),
    "format_of finds rows by their place");

/// "f32, f16, q8 and q4": the names of all formats, or of those that take anything.
std::string weight_format_names(bool takes_anything);

}  // namespace llmsql
