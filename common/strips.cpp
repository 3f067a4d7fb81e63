// SPDX-License-Identifier: MIT
// What the bytes of each format mean. See strips.h; docs/model-db.md draws the layouts.
#include "common/strips.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "common/half.h"
#include "common/weight_format.h"

namespace llmsql {
namespace {

constexpr int64_t kRows = kStripRows;

// Byte `i` of those that row `place` has of vector `v`: a vector has four bytes of each row.
int byte_of(const std::byte* vectors, int64_t v, int64_t place, int64_t i) {
    return load<uint8_t>(vectors + (v * kRows + place) * 4 + i);
}

// One row's values of a block.
using Read = void (*)(const std::byte* block, int64_t place, float* values);

void read_f32(const std::byte* block, int64_t place, float* values) {
    *values = load<float>(block + 4 * place);
}

void read_f16(const std::byte* block, int64_t place, float* values) {
    *values = f16_at(block, place);
}

void read_q8(const std::byte* block, int64_t place, float* values) {
    const float scale = f16_at(block, place);
    for (int64_t c = 0; c < kBlock; ++c)
        values[c] = scale * static_cast<float>(
                                static_cast<int8_t>(byte_of(block + 32, c / 4, place, c % 4)));
}

void read_q4(const std::byte* block, int64_t place, float* values) {
    const float scale = f16_at(block, place), offset = f16_at(block + 32, place);
    for (int64_t c = 0; c < kBlock; ++c) {
        const int both = byte_of(block + 64, c % 16 / 4, place, c % 4);
        values[c] = scale * static_cast<float>(c < 16 ? both & 15 : both >> 4) + offset;
    }
}

void read_bf16(const std::byte* block, int64_t place, float* values) {
    *values = bf16_to_f32(load<uint16_t>(block + 2 * place));
}

// The code of column `c` of 32, from four vectors of nibbles: vector v has columns 8 v to 8 v + 3
// in its low nibbles, the next four in its high ones.
int nibble(const std::byte* vectors, int64_t place, int64_t c) {
    const int both = byte_of(vectors, c / 8, place, c % 4);
    return c % 8 < 4 ? both & 15 : both >> 4;
}

// `width` bits of the code of column `c`, from vectors that hold those of 32 / width columns each:
// of four columns the lowest bits, of the next four the next.
int bits(const std::byte* vectors, int64_t place, int64_t c, int width) {
    const int64_t each = 32 / width;
    const int byte = byte_of(vectors, c / each, place, c % 4);
    return byte >> (c % each / 4 * width) & ((1 << width) - 1);
}

void read_q4_0(const std::byte* block, int64_t place, float* values) {
    const float scale = f16_at(block, place);
    for (int64_t c = 0; c < kBlock; ++c)
        values[c] = scale * static_cast<float>(nibble(block + 32, place, c) - 8);
}

// A vector of fifth bits, then the nibbles.
int five_bits(const std::byte* vectors, int64_t place, int64_t c) {
    return nibble(vectors + 64, place, c) | bits(vectors, place, c, 1) << 4;
}

void read_q5_0(const std::byte* block, int64_t place, float* values) {
    const float scale = f16_at(block, place);
    for (int64_t c = 0; c < kBlock; ++c)
        values[c] = scale * static_cast<float>(five_bits(block + 32, place, c) - 16);
}

void read_q5_1(const std::byte* block, int64_t place, float* values) {
    const float scale = f16_at(block, place), offset = f16_at(block + 32, place);
    for (int64_t c = 0; c < kBlock; ++c)
        values[c] = scale * static_cast<float>(five_bits(block + 64, place, c)) + offset;
}

void read_q2_k(const std::byte* block, int64_t place, float* values) {
    const float d = f16_at(block, place), least = f16_at(block + 32, place);
    for (int64_t c = 0; c < 256; ++c) {
        const int both = byte_of(block + 64, c / 64, place, c / 16 % 4);
        const int code = bits(block + 320 + c / 32 * 128, place, c % 32, 2);
        values[c] = d * static_cast<float>(both & 15) * static_cast<float>(code) -
                    least * static_cast<float>(both >> 4);
    }
}

// A vector of third bits, then two of the lower two.
int three_bits(const std::byte* vectors, int64_t place, int64_t c) {
    return bits(vectors + 64, place, c, 2) | bits(vectors, place, c, 1) << 2;
}

void read_q3_k(const std::byte* block, int64_t place, float* values) {
    const float d = f16_at(block + 192 + 8 * 192, place);
    for (int64_t c = 0; c < 256; ++c) {
        const int64_t g = c / 16, low = byte_of(block, g / 4 % 2, place, g % 4);
        const int high = byte_of(block, 2, place, g % 4) >> (g / 4 * 2) & 3;
        const auto scale = static_cast<int>((g < 8 ? low & 15 : low >> 4) | high << 4) - 32;
        const int code = three_bits(block + 192 + c / 32 * 192, place, c % 32);
        values[c] = d * static_cast<float>(scale) * static_cast<float>(code - 4);
    }
}

// The six bits of scale and minimum of group `g` of q4_k and q5_k.
struct SixBits {
    int scale, minimum;
};
SixBits six_bits(const std::byte* block, int64_t place, int64_t g) {
    const auto packed = [&](int64_t i) { return byte_of(block + 64, i / 4, place, i % 4); };
    if (g < 4) return {packed(g) & 63, packed(g + 4) & 63};
    return {(packed(g + 4) & 15) | packed(g - 4) >> 6 << 4,
            packed(g + 4) >> 4 | packed(g) >> 6 << 4};
}

template<class Code>
void read_with_minima(const std::byte* block, int64_t place, float* values, Code code) {
    const float d = f16_at(block, place), least = f16_at(block + 32, place);
    for (int64_t c = 0; c < 256; ++c) {
        const auto [scale, minimum] = six_bits(block, place, c / 32);
        values[c] = d * static_cast<float>(scale) * static_cast<float>(code(c)) -
                    least * static_cast<float>(minimum);
    }
}

void read_q4_k(const std::byte* block, int64_t place, float* values) {
    read_with_minima(block, place, values,
                     [&](int64_t c) { return nibble(block + 256 + c / 32 * 256, place, c % 32); });
}

void read_q5_k(const std::byte* block, int64_t place, float* values) {
    read_with_minima(block, place, values, [&](int64_t c) {
        return five_bits(block + 256 + c / 32 * 320, place, c % 32);
    });
}

void read_q6_k(const std::byte* block, int64_t place, float* values) {
    const float d = f16_at(block + 256 + 16 * 192, place);
    for (int64_t c = 0; c < 256; ++c) {
        const auto scale = static_cast<int8_t>(byte_of(block, c / 64, place, c / 16 % 4));
        const std::byte* half = block + 256 + c / 16 * 192;
        const int code = nibble(half + 64, place, c % 16) | bits(half, place, c % 16, 2) << 4;
        values[c] = d * static_cast<float>(scale) * static_cast<float>(code - 32);
    }
}

void read_iq4_nl(const std::byte* block, int64_t place, float* values) {
    const float scale = f16_at(block, place);
    for (int64_t c = 0; c < kBlock; ++c)
        values[c] = scale * static_cast<float>(kNonlinear[nibble(block + 32, place, c)]);
}

void read_iq4_xs(const std::byte* block, int64_t place, float* values) {
    const float d = f16_at(block + 64, place);
    const auto high = load<uint16_t>(block + 96 + 2 * place);
    for (int64_t c = 0; c < 256; ++c) {
        const int64_t g = c / 32;
        const int low = byte_of(block, 0, place, g / 2) >> (g % 2 * 4) & 15;
        const int scale = (low | (high >> (2 * g) & 3) << 4) - 32;
        values[c] = d * static_cast<float>(scale) *
                    static_cast<float>(kNonlinear[nibble(block + 128 + g * 256, place, c % 32)]);
    }
}

void read_mxfp4(const std::byte* block, int64_t place, float* values) {
    const float scale = std::ldexp(1.0f, load<uint8_t>(block + place) - 128);
    for (int64_t c = 0; c < kBlock; ++c)
        values[c] = scale * static_cast<float>(kFloat4[nibble(block + 16, place, c)]);
}

void read_nvfp4(const std::byte* block, int64_t place, float* values) {
    // What all are multiplied by, a bit in the place of each scale's sign.
    uint32_t signs = 0;
    for (uint32_t i = 0; i < 32; ++i) signs |= (load<uint8_t>(block + i) >> 7 & 1u) << i;
    const auto times = std::bit_cast<float>(signs);
    for (int64_t c = 0; c < 64; ++c) {
        const int bits = byte_of(block, 0, place, c / 16), exponent = bits >> 3 & 15;
        // e4m3 without its sign, halved, as the levels are doubled.
        const float scale = std::ldexp(static_cast<float>((exponent > 0 ? 8 : 0) + (bits & 7)),
                                       std::max(exponent, 1) - 11);
        const int code = nibble(block + 64 + c / 32 * 256, place, c % 32);
        values[c] = scale * static_cast<float>(kFloat4[code]) * times;
    }
}

void read_q1_0(const std::byte* block, int64_t place, float* values) {
    const float scale = f16_at(block, place);
    for (int64_t c = 0; c < 128; ++c)
        values[c] = bits(block + 32 + c / 32 * 64, place, c % 32, 1) ? scale : -scale;
}

// Two bits, less one, for groups of 32 from `codes` on.
void read_ternary(const std::byte* codes, float scale, int64_t place, int64_t count,
                  float* values) {
    for (int64_t c = 0; c < count; ++c)
        values[c] = scale * static_cast<float>(bits(codes + c / 32 * 128, place, c % 32, 2) - 1);
}

void read_q2_0(const std::byte* block, int64_t place, float* values) {
    read_ternary(block + 32, f16_at(block, place), place, 64, values);
}

void read_tq2_0(const std::byte* block, int64_t place, float* values) {
    read_ternary(block, f16_at(block + 8 * 128, place), place, 256, values);
}

// Five codes in a byte, in thirds: 3 y / 256, rounded up, is the first, and y times 3, modulo 256,
// has the next. Of 65 that thirteen vectors have so the last is none's.
void read_tq1_0(const std::byte* block, int64_t place, float* values) {
    constexpr int kPowers[5] = {1, 3, 9, 27, 81};
    const float scale = f16_at(block + 13 * 64, place);
    for (int64_t c = 0; c < 256; ++c) {
        const int y = byte_of(block, c / 20, place, c % 4) * kPowers[c / 4 % 5] & 255;
        values[c] = scale * static_cast<float>((3 * y + 255) / 256 - 2);
    }
}

// Of the code books' formats: scales of 16 columns, 2 s + 1, in two vectors of nibbles.
template<class Code>
void read_levels(const std::byte* block, float d, int64_t place, const int8_t (&levels)[16],
                 Code code, float* values) {
    for (int64_t c = 0; c < 256; ++c) {
        const int scale = 2 * nibble(block, place, c / 16) + 1;
        values[c] = d * static_cast<float>(scale) * static_cast<float>(levels[code(c)]);
    }
}

void read_levels_of_3(const std::byte* block, int64_t place, const int8_t (&levels)[16],
                      float* values) {
    const float d = f16_at(block + 128 + 8 * 192, place) / 8;
    const auto code = [&](int64_t c) {
        return three_bits(block + 128 + c / 32 * 192, place, c % 32);
    };
    read_levels(block, d, place, levels, code, values);
}

void read_iq1(const std::byte* block, int64_t place, float* values) {
    read_levels_of_3(block, place, kLevelsOfIq1, values);
}

void read_iq2(const std::byte* block, int64_t place, float* values) {
    read_levels_of_3(block, place, kLevelsOfIq2, values);
}

void read_levels_of_4(const std::byte* block, float times, int64_t place,
                      const int8_t (&levels)[16], float* values) {
    const float d = f16_at(block + 128 + 8 * 256, place) * times;
    const auto code = [&](int64_t c) { return nibble(block + 128 + c / 32 * 256, place, c % 32); };
    read_levels(block, d, place, levels, code, values);
}

void read_iq3_xxs(const std::byte* block, int64_t place, float* values) {
    read_levels_of_4(block, 0.25f, place, kLevelsOfIq3Xxs, values);
}

void read_iq3_s(const std::byte* block, int64_t place, float* values) {
    read_levels_of_4(block, 1, place, kLevelsOfIq3S, values);
}

// In the order of WeightType.
constexpr std::array<Read, kWeightFormats.size()> kReads{
    read_f32,    read_f16,     read_q8,    read_q4,   read_bf16, read_q4_0,  read_q5_0,
    read_q5_1,   read_q2_k,    read_q3_k,  read_q4_k, read_q5_k, read_q6_k,  read_iq4_nl,
    read_iq4_xs, read_mxfp4,   read_nvfp4, read_q1_0, read_q2_0, read_tq2_0, read_iq1,
    read_iq2,    read_iq3_xxs, read_iq3_s, read_tq1_0};

}  // namespace

void read_strip(WeightType type, const std::byte* strip, int64_t place, int64_t first,
                std::span<float> values) {
    const WeightFormat& format = format_of(type);
    const Read read = kReads[index_of(type)];
    std::array<float, kMostColumns> block;
    const auto end = first + static_cast<int64_t>(values.size());
    for (int64_t column = first; column < end;) {
        const int64_t in = column % format.columns;
        const int64_t count = std::min(format.columns - in, end - column);
        read(strip + static_cast<size_t>(column / format.columns) * format.block_bytes(), place,
             block.data());
        std::copy_n(block.data() + in, count, values.data() + (column - first));
        column += count;
    }
}

}  // namespace llmsql
