// SPDX-License-Identifier: MIT
// Reads blocks of GGUF's quantised types. See blocks.h.
//
// The layouts are written here from ggml's ggml-common.h and the dequantize_row_* of ggml-quants.c
// (llama.cpp of autumn 2026); numbers are little-endian, d and m are f16, q are levels before an
// offset is taken off, "a nibble each" means: weight j of n the low half of byte j, weight n / 2 +
// j the high one.
//
//   Q4_0     d, 16 bytes a nibble each: d (q - 8)
//   Q4_1     d, m, 16 bytes a nibble each: d q + m
//   Q5_0     d, u32 h, 16 bytes as Q4_0, bit j of h is bit 4 of weight j: d (q - 16)
//   Q5_1     d, m, then as Q5_0: d q + m
//   Q8_0     d, int8 q[32]: d q.  Q8_1 has an f16 more before q, Q8_K an f32 d and int8 q[256]:
//   what
//            they hold besides are sums
//   Q1_0     d, 128 bits: d or -d
//   Q2_0     d, 64 times 2 bits: d (q - 1)
//   TQ2_0    64 bytes, d: of 32 bytes the lowest two bits are 32 weights, the next two the next 32,
//            and so on: d (q - 1)
//   TQ1_0    48 bytes of five trits, 4 of four, d. The first trit of a byte b is 3 b / 256, the
//            second that of 3 b mod 256, and so on. 32 bytes hold 5 runs of 32 weights, 16 hold 5
//            of 16, 4 hold 4 of 4: d (trit - 1)
//   MXFP4    a byte e, 16 bytes a nibble each: 2^(e - 127) times e2m1
//   NVFP4    4 bytes of e4m3 without sign, 4 times 8 bytes a nibble each: e4m3 times e2m1
//   IQ4_NL   d, 16 bytes a nibble each: d times a level of 16
//   IQ4_XS   d, u16 and 4 bytes of 6-bit scales s, 8 times as IQ4_NL: d (s - 32) times the level
//
//   of 256 weights in 8 sub-blocks of 32:
//   Q4_K     d, dmin, 12 bytes of 6-bit scales s and minima m, 128 bytes q: byte 32 c + j has
//   weight
//            j of sub-block 2c (low) and 2c + 1 (high): d s q - dmin m
//   Q5_K     the same with 32 bytes before q: bit b of byte j is bit 4 of weight j of sub-block b
//   of 256 weights in 16 sub-blocks of 16:
//   Q2_K     16 bytes with s (low) and m (high), 64 bytes q as TQ2_0, d, dmin: d s q - dmin m
//   Q3_K     32 bytes of third bits, 64 bytes q as TQ2_0, 12 bytes of 6-bit s, d: d (s - 32) (q -
//   4) Q6_K     128 bytes of low 4 bits, 64 of high 2 bits, int8 s[16], d: d s (q - 32)
//
//   with code books (code_books.h), s of 3 or 4 bits, and a sign a weight:
//   IQ2_XXS  d, for 32 weights: 4 bytes (points), u32 (4 times 7 signs, s): d/8 (2s + 1) level
//   IQ2_XS   d, 32 u16 (9 bits point, 7 signs), 8 bytes of two s: the same for 16 weights
//   IQ2_S    d, 32 bytes (points), 32 of signs, 8 of points' high bits, 8 of two s: the same
//   IQ3_XXS  d, 64 bytes (points), 8 u32 (4 times 7 signs, s): d/4 (2s + 1) level
//   IQ3_S    d, 64 bytes (points), 8 of their high bits, 32 of signs, 4 of two s: d (2s + 1) level
//            Seven signs are eight: the last makes their number even.
//   IQ1_S    d, 32 bytes (points), 8 u16 (4 times 3 high bits, s, the sign of a shift by 1/8):
//            d (2s + 1) (level + shift), held as d/8 (2s + 1) (8 level +- 1)
//   IQ1_M    32 bytes (points), 16 of their high bits and shifts, 4 u16 (4 s, 4 bits of d): the
//   same
#include "importer/blocks.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "common/half.h"
#include "importer/code_books.h"

namespace llmsql {
namespace {

// Of MXFP4 and NVFP4 (OCP Microscaling Formats v1.0, "E2M1"), doubled: 0, 0.5, 1, 1.5, 2, 3, 4, 6.
// The second 0 is written as a negative one, and read by ggml as the first.
constexpr std::array<int8_t, 16> kE2m1{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// Of IQ4_NL and IQ4_XS (kvalues_iq4nl in ggml-common.h).
constexpr std::array<int8_t, 16> kIq4{-127, -104, -83, -65, -49, -35, -22, -10,
                                      1,    13,   25,  38,  53,  69,  89,  113};

uint16_t u16_at(const uint8_t* bytes) {
    uint16_t value;
    std::memcpy(&value, bytes, 2);
    return value;
}

uint32_t u32_at(const uint8_t* bytes) {
    uint32_t value;
    std::memcpy(&value, bytes, 4);
    return value;
}

float half_at(const uint8_t* bytes) {
    return f16_to_f32(u16_at(bytes));
}

/// 2 * count nibbles, each less `offset`.
void take_nibbles(const uint8_t* q, size_t count, int offset, int8_t* levels) {
    for (size_t j = 0; j < count; ++j) {
        levels[j] = static_cast<int8_t>((q[j] & 15) - offset);
        levels[count + j] = static_cast<int8_t>((q[j] >> 4) - offset);
    }
}

void take_nibbles(const uint8_t* q, size_t count, const std::array<int8_t, 16>& table,
                  int8_t* levels) {
    for (size_t j = 0; j < count; ++j) {
        levels[j] = table[q[j] & 15];
        levels[count + j] = table[q[j] >> 4];
    }
}

/// Bit i of a byte, 0 or 1, as byte i.
uint64_t spread_bits(uint8_t bits) {
    constexpr uint64_t kOnes = 0x0101010101010101;
    const uint64_t own = bits * kOnes & 0x8040201008040201;  // in byte i bit i alone
    return (own + 0x7f * kOnes) >> 7 & kOnes;
}

/// 32 codes of five bits, each less `offset`: the nibbles, and the fifth bits before them.
void take_five_bits(const uint8_t* h, int offset, int8_t* levels) {
    take_nibbles(h + 4, 16, 0, levels);
    for (size_t i = 0; i < 4; ++i) {
        uint64_t codes;
        std::memcpy(&codes, levels + 8 * i, 8);
        codes |= spread_bits(h[i]) << 4;
        std::memcpy(levels + 8 * i, &codes, 8);
    }
    for (size_t j = 0; j < 32; ++j) levels[j] = static_cast<int8_t>(levels[j] - offset);
}

/// 256 codes of two bits, each less `offset`: four a byte, 32 weights apart.
void take_two_bits(const uint8_t* q, int offset, int8_t* levels) {
    for (size_t half = 0; half < 2; ++half)
        for (size_t run = 0; run < 4; ++run)
            for (size_t j = 0; j < 32; ++j)
                *levels++ = static_cast<int8_t>((q[half * 32 + j] >> (2 * run) & 3) - offset);
}

/// One scale for the whole block.
void one_group(size_t weights, float scale, GgmlBlock& out) {
    out.group = weights;
    out.scale = scale;
    out.minimum = 0;
    out.scales[0] = 1;
    out.minima[0] = 0;
}

/// Integer scales times one number, without minima.
void groups_of(size_t group, float scale, GgmlBlock& out) {
    out.group = group;
    out.scale = scale;
    out.minimum = 0;
    out.minima.fill(0);
}

/// Gives a block one minimum for all its weights, which the file adds.
void add_minimum(float minimum, GgmlBlock& out) {
    out.minimum = -minimum;
    out.minima[0] = 1;
}

/// The scales and minima, six bits each, of Q4_K and Q5_K: the first four take the low six bits of
/// bytes 0-3 and 4-7; the others a nibble each of bytes 8-11, and their top two bits from what the
/// first four left over.
void take_six_bits(const uint8_t* block, GgmlBlock& out) {
    out.group = 32;
    out.scale = half_at(block);
    out.minimum = half_at(block + 2);
    const uint8_t* packed = block + 4;
    for (size_t i = 0; i < 4; ++i) {
        out.scales[i] = packed[i] & 63;
        out.minima[i] = packed[i + 4] & 63;
        out.scales[i + 4] = (packed[i + 8] & 15) | (packed[i] >> 6 << 4);
        out.minima[i + 4] = (packed[i + 8] >> 4) | (packed[i + 4] >> 6 << 4);
    }
}

void read_q2_k(const uint8_t* block, GgmlBlock& out) {
    out.group = 16;
    out.scale = half_at(block + 80);
    out.minimum = half_at(block + 82);
    for (size_t i = 0; i < 16; ++i) {
        out.scales[i] = block[i] & 15;
        out.minima[i] = block[i] >> 4;
    }
    take_two_bits(block + 16, 0, out.levels.data());
}

void read_q3_k(const uint8_t* block, GgmlBlock& out) {
    groups_of(16, half_at(block + 108), out);
    const uint8_t* packed = block + 96;
    for (size_t i = 0; i < 16; ++i) {
        const int low = i < 8 ? packed[i] & 15 : packed[i - 8] >> 4;
        const int high = packed[8 + i % 4] >> (2 * (i / 4)) & 3;
        out.scales[i] = (low | high << 4) - 32;
    }
    take_two_bits(block + 32, 4, out.levels.data());
    for (size_t run = 0; run < 8; ++run)
        for (size_t j = 0; j < 32; ++j) {
            int8_t& level = out.levels[32 * run + j];
            level = static_cast<int8_t>(level + (block[j] >> run & 1) * 4);
        }
}

void read_q4_k(const uint8_t* block, GgmlBlock& out) {
    take_six_bits(block, out);
    for (size_t i = 0; i < 4; ++i)
        take_nibbles(block + 16 + 32 * i, 32, 0, out.levels.data() + 64 * i);
}

void read_q5_k(const uint8_t* block, GgmlBlock& out) {
    take_six_bits(block, out);
    for (size_t i = 0; i < 4; ++i)
        take_nibbles(block + 48 + 32 * i, 32, 0, out.levels.data() + 64 * i);
    for (size_t run = 0; run < 8; ++run)
        for (size_t j = 0; j < 32; ++j) {
            int8_t& level = out.levels[32 * run + j];
            level = static_cast<int8_t>(level | (block[16 + j] >> run & 1) << 4);
        }
}

/// Each half of 128 weights has four runs of 32: the low bits of runs 0 and 1 are the low nibbles
/// of 64 bytes, those of runs 2 and 3 the high ones; 32 bytes hold two high bits of each run.
void read_q6_k(const uint8_t* block, GgmlBlock& out) {
    groups_of(16, half_at(block + 208), out);
    for (size_t i = 0; i < 16; ++i) out.scales[i] = static_cast<int8_t>(block[192 + i]);
    take_two_bits(block + 128, 2, out.levels.data());  // 16 times that is 32
    for (size_t half = 0; half < 2; ++half) {
        std::array<int8_t, 128> low;
        take_nibbles(block + half * 64, 64, 0, low.data());
        for (size_t j = 0; j < 128; ++j) {
            int8_t& level = out.levels[half * 128 + j];
            level = static_cast<int8_t>(level * 16 + low[j]);
        }
    }
}

void read_q1_0(const uint8_t* block, GgmlBlock& out) {
    one_group(128, half_at(block), out);
    for (size_t i = 0; i < 16; ++i) {
        const uint64_t bits = spread_bits(block[2 + i]);
        std::memcpy(out.levels.data() + 8 * i, &bits, 8);
    }
    for (size_t i = 0; i < 128; ++i) out.levels[i] = static_cast<int8_t>(out.levels[i] * 2 - 1);
}

void read_q2_0(const uint8_t* block, GgmlBlock& out) {
    one_group(64, half_at(block), out);
    for (size_t i = 0; i < 64; ++i)
        out.levels[i] = static_cast<int8_t>((block[2 + i / 4] >> (2 * (i % 4)) & 3) - 1);
}

void read_tq1_0(const uint8_t* block, GgmlBlock& out) {
    one_group(256, half_at(block + 52), out);
    int8_t* levels = out.levels.data();
    const auto take = [&](size_t first, size_t bytes, size_t trits) {
        for (size_t trit = 0, power = 1; trit < trits; ++trit, power *= 3)
            for (size_t j = 0; j < bytes; ++j) {
                const size_t rest = block[first + j] * power & 255;
                *levels++ = static_cast<int8_t>(static_cast<int>(rest * 3 >> 8) - 1);
            }
    };
    take(0, 32, 5);
    take(32, 16, 5);
    take(48, 4, 4);
}

/// 2^(exponent - 127), which the levels' doubling makes 2^(exponent - 128); 255 is NaN.
void read_mxfp4(const uint8_t* block, GgmlBlock& out) {
    const float scale = block[0] == 255 ? std::numeric_limits<float>::quiet_NaN()
                                        : std::ldexp(1.0f, block[0] - 128);
    one_group(32, scale, out);
    take_nibbles(block + 1, 16, kE2m1, out.levels.data());
}

/// e4m3 without its sign: 2^-9 mantissa where the exponent is 0, else 2^(exponent - 10) (8 +
/// mantissa), all multiples of 2^-9; the last is NaN in the format, and 0 to ggml.
int32_t e4m3_times_512(uint8_t bits) {
    if (bits == 0x7f) return 0;
    const int exponent = bits >> 3 & 15, mantissa = bits & 7;
    return exponent == 0 ? mantissa : (8 + mantissa) << (exponent - 1);
}

void read_nvfp4(const uint8_t* block, GgmlBlock& out) {
    groups_of(16, 0x1p-10f, out);
    for (size_t i = 0; i < 4; ++i) {
        out.scales[i] = e4m3_times_512(block[i]);
        take_nibbles(block + 4 + 8 * i, 8, kE2m1, out.levels.data() + 16 * i);
    }
}

void read_iq4_xs(const uint8_t* block, GgmlBlock& out) {
    groups_of(32, half_at(block), out);
    const uint32_t high = u16_at(block + 2);
    for (size_t i = 0; i < 8; ++i) {
        const int low = block[4 + i / 2] >> (4 * (i % 2)) & 15;
        out.scales[i] = (low | static_cast<int>(high >> (2 * i) & 3) << 4) - 32;
        take_nibbles(block + 8 + 16 * i, 16, kIq4, out.levels.data() + 32 * i);
    }
}

/// A point of a code book with its signs, bit j set for a negative level j.
template<size_t kSize, size_t kWidth>
void take_point(const CodeBook<kSize, kWidth>& book, size_t index, unsigned signs, int8_t* levels) {
    for (size_t j = 0; j < kWidth; ++j) {
        const int8_t level = book[index][j];
        levels[j] = signs >> j & 1 ? static_cast<int8_t>(-level) : level;
    }
}

/// Seven signs and the eighth, which makes their number even.
unsigned eight_signs(unsigned seven) {
    seven &= 127;
    return seven | (static_cast<unsigned>(std::popcount(seven)) & 1) << 7;
}

void read_iq2_xxs(const uint8_t* block, GgmlBlock& out) {
    groups_of(32, half_at(block) / 8, out);
    for (size_t i = 0; i < 8; ++i) {
        const uint8_t* points = block + 2 + 8 * i;
        const uint32_t rest = u32_at(points + 4);
        out.scales[i] = static_cast<int32_t>(2 * (rest >> 28) + 1);
        for (size_t l = 0; l < 4; ++l)
            take_point(kIq2XxsBook, points[l], eight_signs(rest >> (7 * l)),
                       out.levels.data() + 32 * i + 8 * l);
    }
}

/// The s of 16 groups, a nibble each.
void take_odd_scales(const uint8_t* nibbles, size_t count, GgmlBlock& out) {
    for (size_t i = 0; i < count; ++i)
        out.scales[i] = 2 * (nibbles[i / 2] >> (4 * (i % 2)) & 15) + 1;
}

void read_iq2_xs(const uint8_t* block, GgmlBlock& out) {
    groups_of(16, half_at(block) / 8, out);
    take_odd_scales(block + 66, 16, out);
    for (size_t l = 0; l < 32; ++l) {
        const unsigned both = u16_at(block + 2 + 2 * l);
        take_point(kIq2XsBook, both & 511, eight_signs(both >> 9), out.levels.data() + 8 * l);
    }
}

void read_iq2_s(const uint8_t* block, GgmlBlock& out) {
    groups_of(16, half_at(block) / 8, out);
    take_odd_scales(block + 74, 16, out);
    for (size_t l = 0; l < 32; ++l) {
        const size_t high = block[66 + l / 4] >> (2 * (l % 4)) & 3;
        take_point(kIq2SBook, block[2 + l] | high << 8, block[34 + l], out.levels.data() + 8 * l);
    }
}

void read_iq3_xxs(const uint8_t* block, GgmlBlock& out) {
    groups_of(32, half_at(block) / 4, out);
    for (size_t i = 0; i < 8; ++i) {
        const uint32_t rest = u32_at(block + 66 + 4 * i);
        out.scales[i] = static_cast<int32_t>(2 * (rest >> 28) + 1);
        for (size_t l = 0; l < 8; ++l)
            take_point(kIq3XxsBook, block[2 + 8 * i + l],
                       eight_signs(rest >> (7 * (l / 2))) >> (4 * (l % 2)),
                       out.levels.data() + 32 * i + 4 * l);
    }
}

void read_iq3_s(const uint8_t* block, GgmlBlock& out) {
    groups_of(32, half_at(block), out);
    take_odd_scales(block + 106, 8, out);
    for (size_t l = 0; l < 64; ++l) {
        const size_t high = block[66 + l / 8] >> (l % 8) & 1;
        take_point(kIq3SBook, block[2 + l] | high << 8,
                   static_cast<unsigned>(block[74 + l / 2]) >> (4 * (l % 2)),
                   out.levels.data() + 4 * l);
    }
}

/// Eight levels of IQ1's book, in eighths, each shifted by an eighth up or down.
void take_shifted(size_t index, bool down, int8_t* levels) {
    for (size_t j = 0; j < 8; ++j)
        levels[j] = static_cast<int8_t>(8 * kIq1Book[index][j] + (down ? -1 : 1));
}

void read_iq1_s(const uint8_t* block, GgmlBlock& out) {
    groups_of(32, half_at(block) / 8, out);
    for (size_t i = 0; i < 8; ++i) {
        const size_t rest = u16_at(block + 34 + 2 * i);
        out.scales[i] = static_cast<int32_t>(2 * (rest >> 12 & 7) + 1);
        for (size_t l = 0; l < 4; ++l)
            take_shifted(block[2 + 4 * i + l] | (rest >> (3 * l) & 7) << 8, rest >> 15 != 0,
                         out.levels.data() + 32 * i + 8 * l);
    }
}

void read_iq1_m(const uint8_t* block, GgmlBlock& out) {
    unsigned half = 0;
    for (size_t i = 0; i < 4; ++i) {
        const unsigned both = u16_at(block + 48 + 2 * i);
        half |= both >> 12 << (4 * i);
        for (size_t s = 0; s < 4; ++s)
            out.scales[4 * i + s] = static_cast<int32_t>(2 * (both >> (3 * s) & 7) + 1);
    }
    groups_of(16, f16_to_f32(static_cast<uint16_t>(half)) / 8, out);
    for (size_t l = 0; l < 32; ++l) {
        const size_t nibble = block[32 + l / 2] >> (4 * (l % 2)) & 15;
        take_shifted(block[l] | (nibble & 7) << 8, nibble >> 3 != 0, out.levels.data() + 8 * l);
    }
}

}  // namespace

void read_block(GgmlType type, const uint8_t* bytes, GgmlBlock& out) {
    int8_t* const levels = out.levels.data();
    switch (type) {
        case GgmlType::q4_0:
            one_group(32, half_at(bytes), out);
            return take_nibbles(bytes + 2, 16, 8, levels);
        case GgmlType::q4_1:
            one_group(32, half_at(bytes), out);
            add_minimum(half_at(bytes + 2), out);
            return take_nibbles(bytes + 4, 16, 0, levels);
        case GgmlType::q5_0:
            one_group(32, half_at(bytes), out);
            return take_five_bits(bytes + 2, 16, levels);
        case GgmlType::q5_1:
            one_group(32, half_at(bytes), out);
            add_minimum(half_at(bytes + 2), out);
            return take_five_bits(bytes + 4, 0, levels);
        case GgmlType::q8_0:
            one_group(32, half_at(bytes), out);
            std::memcpy(levels, bytes + 2, 32);
            return;
        case GgmlType::q8_1:
            one_group(32, half_at(bytes), out);
            std::memcpy(levels, bytes + 4, 32);
            return;
        case GgmlType::q8_k:
            one_group(256, std::bit_cast<float>(u32_at(bytes)), out);
            std::memcpy(levels, bytes + 4, 256);
            return;
        case GgmlType::q2_k:
            return read_q2_k(bytes, out);
        case GgmlType::q3_k:
            return read_q3_k(bytes, out);
        case GgmlType::q4_k:
            return read_q4_k(bytes, out);
        case GgmlType::q5_k:
            return read_q5_k(bytes, out);
        case GgmlType::q6_k:
            return read_q6_k(bytes, out);
        case GgmlType::iq1_s:
            return read_iq1_s(bytes, out);
        case GgmlType::iq1_m:
            return read_iq1_m(bytes, out);
        case GgmlType::iq2_xxs:
            return read_iq2_xxs(bytes, out);
        case GgmlType::iq2_xs:
            return read_iq2_xs(bytes, out);
        case GgmlType::iq2_s:
            return read_iq2_s(bytes, out);
        case GgmlType::iq3_xxs:
            return read_iq3_xxs(bytes, out);
        case GgmlType::iq3_s:
            return read_iq3_s(bytes, out);
        case GgmlType::iq4_nl:
            one_group(32, half_at(bytes), out);
            return take_nibbles(bytes + 2, 16, kIq4, levels);
        case GgmlType::iq4_xs:
            return read_iq4_xs(bytes, out);
        case GgmlType::tq1_0:
            return read_tq1_0(bytes, out);
        case GgmlType::tq2_0:
            one_group(256, half_at(bytes + 64), out);
            return take_two_bits(bytes, 1, levels);
        case GgmlType::mxfp4:
            return read_mxfp4(bytes, out);
        case GgmlType::nvfp4:
            return read_nvfp4(bytes, out);
        case GgmlType::q1_0:
            return read_q1_0(bytes, out);
        case GgmlType::q2_0:
            return read_q2_0(bytes, out);
        case GgmlType::f32:
        case GgmlType::f16:
        case GgmlType::bf16:
        case GgmlType::f64:
        case GgmlType::i8:
        case GgmlType::i16:
        case GgmlType::i32:
        case GgmlType::i64:
            return;  // no blocks: dequantize_row reads them
    }
}

void values_of(const GgmlBlock& block, size_t weights, float* out) {
    for (size_t g = 0; g < weights / block.group; ++g) {
        const float scale = block.scale * static_cast<float>(block.scales[g]);
        const float minimum = block.minimum * static_cast<float>(block.minima[g]);
        const int8_t* const levels = block.levels.data() + g * block.group;
        float* const to = out + g * block.group;
        for (size_t i = 0; i < block.group; ++i)
            to[i] = scale * static_cast<float>(levels[i]) - minimum;
    }
}

}  // namespace llmsql
