// SPDX-License-Identifier: MIT
// Reads the rows of GGUF tensors. See dequantize.h.
//
// The block layouts are those of GGUF's types, little-endian, written here from their description:
//
//   Q4_0  f16 d, 16 bytes q: weight j has the low nibble of byte j, weight 16 + j the high one;
//         w = d * (q - 8)
//   Q4_1  f16 d, f16 m, q as above: w = d * q + m
//   Q5_0  f16 d, u32 h, q as above: bit j of h is bit 4 of weight j's q; w = d * (q - 16)
//   Q5_1  f16 d, f16 m, h and q as above: w = d * q + m
//   Q8_0  f16 d, int8 q[32]: w = d * q
//   Q4_K  256 weights in 8 sub-blocks of 32: f16 d, f16 dmin, 12 bytes of 6-bit scales s and minima
//         m, 128 bytes q: byte 32 * c + j holds weight j of sub-blocks 2c (low) and 2c + 1 (high);
//         w = d * s * q - dmin * m
//   Q5_K  the same with 32 bytes h before q: bit b of byte j is bit 4 of weight j of sub-block b
//   Q6_K  256 weights in 16 sub-blocks of 16: 128 bytes of low 4 bits, 64 bytes of high 2 bits,
//         int8 s[16], f16 d; w = d * s * (q - 32)
#include "importer/dequantize.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "common/half.h"
#include "importer/quantize.h"

namespace llmsql {
namespace {

uint16_t half_at(const uint8_t* bytes) {
    uint16_t half;
    std::memcpy(&half, bytes, 2);
    return half;
}

float float_at(const uint8_t* bytes) {
    return f16_to_f32(half_at(bytes));
}

bool is_finite(uint16_t half) {
    return (half & 0x7c00) != 0x7c00;
}

using Codes = std::array<uint8_t, 32>;

/// 32 nibbles of a block of the Q4_0 family.
Codes nibbles(const uint8_t* q) {
    Codes codes;
    for (size_t j = 0; j < 16; ++j) {
        codes[j] = q[j] & 15;
        codes[16 + j] = q[j] >> 4;
    }
    return codes;
}

/// 32 codes of five bits: the nibbles, and the fifth bits before them.
Codes five_bits(const uint8_t* h, const uint8_t* q) {
    uint32_t high;
    std::memcpy(&high, h, 4);
    Codes codes = nibbles(q);
    for (size_t j = 0; j < 32; ++j) codes[j] |= static_cast<uint8_t>((high >> j & 1) << 4);
    return codes;
}

/// The scale and minimum, six bits each, of sub-block `i` of a Q4_K or Q5_K block: the first four
/// take the low six bits of bytes 0-3 and 4-7; the others a nibble each of bytes 8-11, and their
/// top two bits from what the first four left over.
struct SubBlock {
    uint8_t scale = 0, minimum = 0;
};
SubBlock sub_block(const uint8_t* packed, size_t i) {
    if (i < 4)
        return {static_cast<uint8_t>(packed[i] & 63), static_cast<uint8_t>(packed[i + 4] & 63)};
    return {static_cast<uint8_t>((packed[i + 4] & 15) | (packed[i - 4] >> 6 << 4)),
            static_cast<uint8_t>((packed[i + 4] >> 4) | (packed[i] >> 6 << 4))};
}

/// The 32 nibbles of sub-block `i` of a Q4_K or Q5_K block's q.
Codes sub_block_nibbles(const uint8_t* q, size_t i) {
    Codes codes;
    for (size_t j = 0; j < 32; ++j) {
        const uint8_t both = q[i / 2 * 32 + j];
        codes[j] = i % 2 == 0 ? both & 15 : both >> 4;
    }
    return codes;
}

void dequantize_q4_k(const uint8_t* block, float* out) {
    const float d = float_at(block), dmin = float_at(block + 2);
    for (size_t i = 0; i < 8; ++i) {
        const SubBlock sub = sub_block(block + 4, i);
        const Codes codes = sub_block_nibbles(block + 16, i);
        const float scale = d * sub.scale, minimum = dmin * sub.minimum;
        for (size_t j = 0; j < 32; ++j) *out++ = scale * codes[j] - minimum;
    }
}

void dequantize_q5_k(const uint8_t* block, float* out) {
    const float d = float_at(block), dmin = float_at(block + 2);
    const uint8_t* high = block + 16;
    for (size_t i = 0; i < 8; ++i) {
        const SubBlock sub = sub_block(block + 4, i);
        const Codes codes = sub_block_nibbles(block + 48, i);
        const float scale = d * sub.scale, minimum = dmin * sub.minimum;
        for (size_t j = 0; j < 32; ++j) {
            const int code = codes[j] | (high[j] >> i & 1) << 4;
            *out++ = scale * static_cast<float>(code) - minimum;
        }
    }
}

void dequantize_q6_k(const uint8_t* block, float* out) {
    const uint8_t* low = block;
    const uint8_t* high = block + 128;
    const uint8_t* scales = block + 192;
    const float d = float_at(block + 208);
    // Each half of 128 weights has four runs of 32: the low bits of runs 0 and 1 are the low
    // nibbles of 64 bytes, those of runs 2 and 3 the high ones; 32 bytes hold two high bits of each
    // run.
    for (size_t w = 0; w < 256; ++w) {
        const size_t part = w / 128, run = w % 128 / 32, j = w % 32;
        const uint8_t nibble_pair = low[part * 64 + run % 2 * 32 + j];
        const int nibble = run < 2 ? nibble_pair & 15 : nibble_pair >> 4;
        const int two = high[part * 32 + j] >> (2 * run) & 3;
        const auto scale = static_cast<int8_t>(scales[w / 16]);
        *out++ = d * scale * static_cast<float>((nibble | two << 4) - 32);
    }
}

/// The values of one block of a quantised type.
void dequantize_block(GgmlType type, const uint8_t* block, float* out) {
    switch (type) {
        case GgmlType::q4_0: {
            const float d = float_at(block);
            for (const uint8_t code : nibbles(block + 2)) *out++ = d * static_cast<float>(code - 8);
            return;
        }
        case GgmlType::q4_1: {
            const float d = float_at(block), m = float_at(block + 2);
            for (const uint8_t code : nibbles(block + 4)) *out++ = d * code + m;
            return;
        }
        case GgmlType::q5_0: {
            const float d = float_at(block);
            for (const uint8_t code : five_bits(block + 2, block + 6))
                *out++ = d * static_cast<float>(code - 16);
            return;
        }
        case GgmlType::q5_1: {
            const float d = float_at(block), m = float_at(block + 2);
            for (const uint8_t code : five_bits(block + 4, block + 8)) *out++ = d * code + m;
            return;
        }
        case GgmlType::q8_0: {
            const float d = float_at(block);
            for (size_t j = 0; j < 32; ++j) *out++ = d * static_cast<int8_t>(block[2 + j]);
            return;
        }
        case GgmlType::q4_k:
            return dequantize_q4_k(block, out);
        case GgmlType::q5_k:
            return dequantize_q5_k(block, out);
        case GgmlType::q6_k:
            return dequantize_q6_k(block, out);
        case GgmlType::f32:
        case GgmlType::f16:
        case GgmlType::bf16:
            return;  // no blocks: dequantize_row reads them
    }
}

/// A block of 32 that q8 holds as it is; false if it doesn't.
bool exact_q8(GgmlType type, const uint8_t* block, Q8Block& out) {
    out.scale = half_at(block);
    switch (type) {
        case GgmlType::q4_0: {
            const Codes codes = nibbles(block + 2);
            for (size_t j = 0; j < 32; ++j) out.codes[j] = static_cast<int8_t>(codes[j] - 8);
            break;
        }
        case GgmlType::q5_0: {
            const Codes codes = five_bits(block + 2, block + 6);
            for (size_t j = 0; j < 32; ++j) out.codes[j] = static_cast<int8_t>(codes[j] - 16);
            break;
        }
        case GgmlType::q8_0:
            std::memcpy(out.codes.data(), block + 2, 32);
            break;
        default:
            return false;
    }
    // q8 has no -128: kernels may take a code's absolute value. Quantisers do not produce it.
    return is_finite(out.scale) && std::ranges::find(out.codes, -128) == out.codes.end();
}

/// A row of blocks whose scales and codes q4 takes over; false if scale or offset is beyond f16.
bool convert_q4_blocks(GgmlType type, const uint8_t* row, std::span<Q4Block> out) {
    bool good = true;
    for (size_t b = 0; b < out.size(); ++b) {
        Q4Block& block = out[b];
        if (type == GgmlType::q4_0) {
            const uint8_t* from = row + b * 18;
            block.scale = half_at(from);
            block.offset = f32_to_f16(-8 * float_at(from));  // exact: a power of two
            block.codes = nibbles(from + 2);
        } else if (type == GgmlType::q4_1) {
            const uint8_t* from = row + b * 20;
            block.scale = half_at(from);
            block.offset = half_at(from + 2);
            block.codes = nibbles(from + 4);
        } else {  // Q4_K
            const uint8_t* from = row + b / 8 * 144;
            const SubBlock sub = sub_block(from + 4, b % 8);
            block.scale = f32_to_f16(float_at(from) * sub.scale);
            block.offset = f32_to_f16(-(float_at(from + 2) * sub.minimum));
            block.codes = sub_block_nibbles(from + 16, b % 8);
        }
        good = good && is_finite(block.scale) && is_finite(block.offset);
    }
    return good;
}

const uint8_t* bytes_of(const std::byte* row) {
    return reinterpret_cast<const uint8_t*>(row);
}

std::span<const float> values_of_block(std::span<float> row, size_t block) {
    const size_t first = block * kBlock;
    return row.subspan(first, std::min<size_t>(kBlock, row.size() - first));
}

bool all_finite(std::span<const float> values) {
    return std::ranges::all_of(values, [](float x) { return std::isfinite(x); });
}

}  // namespace

void dequantize_row(GgmlType type, const std::byte* row, std::span<float> out) {
    const uint8_t* from = bytes_of(row);
    switch (type) {
        case GgmlType::f32:
            std::memcpy(out.data(), from, out.size_bytes());
            return;
        case GgmlType::f16:
            for (size_t i = 0; i < out.size(); ++i) out[i] = float_at(from + 2 * i);
            return;
        case GgmlType::bf16:
            for (size_t i = 0; i < out.size(); ++i) out[i] = bf16_to_f32(half_at(from + 2 * i));
            return;
        default:
            break;
    }
    const GgmlTypeInfo& info = info_of(type);
    const auto weights = static_cast<size_t>(info.block_weights);
    for (size_t first = 0; first + weights <= out.size(); first += weights) {
        dequantize_block(type, from, out.data() + first);
        from += info.block_bytes;
    }
}

bool convert_row(GgmlType type, const std::byte* row, std::span<float>, std::span<float> out) {
    dequantize_row(type, row, out);
    return all_finite(out);
}

bool convert_row(GgmlType type, const std::byte* row, std::span<float> scratch,
                 std::span<uint16_t> out) {
    if (type == GgmlType::f16) {
        std::memcpy(out.data(), row, out.size_bytes());
    } else {
        dequantize_row(type, row, scratch);
        for (size_t i = 0; i < out.size(); ++i) out[i] = f32_to_f16(scratch[i]);
    }
    return std::ranges::all_of(out, is_finite);
}

bool convert_row(GgmlType type, const std::byte* row, std::span<float> scratch,
                 std::span<Q8Block> out) {
    const GgmlTypeInfo& info = info_of(type);
    bool dequantized = false;
    for (size_t b = 0; b < out.size(); ++b) {
        if (info.block_weights == kBlock &&
            exact_q8(type, bytes_of(row) + b * static_cast<size_t>(info.block_bytes), out[b]))
            continue;
        if (!dequantized) dequantize_row(type, row, scratch);
        dequantized = true;
        const auto block = quantize_q8(values_of_block(scratch, b));
        if (!block) return false;
        out[b] = *block;
    }
    return true;
}

bool convert_row(GgmlType type, const std::byte* row, std::span<float> scratch,
                 std::span<Q4Block> out) {
    if (type == GgmlType::q4_0 || type == GgmlType::q4_1 || type == GgmlType::q4_k)
        return convert_q4_blocks(type, bytes_of(row), out);
    dequantize_row(type, row, scratch);
    for (size_t b = 0; b < out.size(); ++b) {
        const auto block = quantize_q4(values_of_block(scratch, b));
        if (!block) return false;
        out[b] = *block;
    }
    return true;
}

}  // namespace llmsql
