// SPDX-License-Identifier: MIT
// Packs rows into strips. See pack.h; docs/model-db.md draws the layouts.
#include "importer/pack.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "common/half.h"
#include "common/strips.h"
#include "common/weight_format.h"
#include "importer/blocks.h"

namespace llmsql {
namespace {

constexpr size_t kRows = kStripRows;
constexpr size_t kQ8BlockBytes = kRows * (2 + 32);
constexpr size_t kQ4BlockBytes = kRows * (2 + 2 + 16);

template<class T>
void interleave(std::span<const T> row, int64_t place, std::byte* strip) {
    std::byte* to = strip + static_cast<size_t>(place) * sizeof(T);
    for (const T& value : row) {
        std::memcpy(to, &value, sizeof(T));
        to += kRows * sizeof(T);
    }
}

template<class T>
void gather(const std::byte* strip, int64_t place, std::span<T> row) {
    const std::byte* from = strip + static_cast<size_t>(place) * sizeof(T);
    for (T& value : row) {
        std::memcpy(&value, from, sizeof(T));
        from += kRows * sizeof(T);
    }
}

// Of the source's blocks, all little-endian. importer/dequantize.cpp says what each field is.
using Octets = const uint8_t*;

// A row's place in a strip's block.
struct Place {
    std::byte* block;
    size_t row;

    // `count` of what an array of one value of `size` bytes a row has, from byte `at` on.
    void put(size_t at, const void* value, size_t size) const {
        std::memcpy(block + at + row * size, value, size);
    }
    // The four bytes of vector `v` of those from `at` on.
    std::byte* four(size_t at, size_t v) const { return block + at + (v * kRows + row) * 4; }
    // 4 * count bytes, a dword to a vector.
    void put_dwords(size_t at, Octets from, size_t count) const {
        for (size_t v = 0; v < count; ++v) std::memcpy(four(at, v), from + 4 * v, 4);
    }
};

using Codes = std::array<uint8_t, kMostColumns>;

// `width` bits of `count` codes from bit `from` on, in vectors that hold 8 / width of each byte: of
// four codes the lowest bits, of the next four the next. Four codes are one number here.
void put_bits(const Place& to, size_t at, const uint8_t* codes, size_t count, int from, int width) {
    const uint32_t mask = 0x01010101U * ((1U << width) - 1);
    for (size_t v = 0, c = 0; c < count; ++v) {
        uint32_t word = 0;
        for (int shift = 0; shift < 8 && c < count; shift += width, c += 4) {
            uint32_t four;
            std::memcpy(&four, codes + c, 4);
            word |= (four >> from & mask) << shift;
        }
        std::memcpy(to.four(at, v), &word, 4);
    }
}

// Sixteen bytes of nibbles, the low ones first: the codes of 32 columns.
void nibbles_of(Octets q, uint8_t* codes) {
    for (size_t j = 0; j < 16; ++j) {
        codes[j] = q[j] & 15;
        codes[16 + j] = q[j] >> 4;
    }
}

void fifth_bits_of(Octets h, uint8_t* codes) {
    for (size_t j = 0; j < 32; ++j) codes[j] |= static_cast<uint8_t>((h[j / 8] >> j % 8 & 1) << 4);
}

bool finite_half(Octets at) {
    uint16_t half;
    std::memcpy(&half, at, 2);
    return is_finite(half);
}

bool pack_bf16(Octets from, const Place& to) {
    uint16_t value;
    std::memcpy(&value, from, 2);
    to.put(0, from, 2);
    return (value & 0x7f80) != 0x7f80;
}

// f16 scale and nibbles.
bool pack_4(Octets from, const Place& to) {
    Codes codes;
    nibbles_of(from + 2, codes.data());
    to.put(0, from, 2);
    put_bits(to, 32, codes.data(), 32, 0, 4);
    return finite_half(from);
}

void put_five(const Place& to, size_t at, const uint8_t* codes) {
    put_bits(to, at, codes, 32, 4, 1);
    put_bits(to, at + 64, codes, 32, 0, 4);
}

void put_three(const Place& to, size_t at, const uint8_t* codes) {
    put_bits(to, at, codes, 32, 2, 1);
    put_bits(to, at + 64, codes, 32, 0, 2);
}

bool pack_q5_0(Octets from, const Place& to) {
    Codes codes;
    nibbles_of(from + 6, codes.data());
    fifth_bits_of(from + 2, codes.data());
    to.put(0, from, 2);
    put_five(to, 32, codes.data());
    return finite_half(from);
}

bool pack_q5_1(Octets from, const Place& to) {
    Codes codes;
    nibbles_of(from + 8, codes.data());
    fifth_bits_of(from + 4, codes.data());
    to.put(0, from, 2);
    to.put(32, from + 2, 2);
    put_five(to, 64, codes.data());
    return finite_half(from) && finite_half(from + 2);
}

bool pack_mxfp4(Octets from, const Place& to) {
    Codes codes;
    nibbles_of(from + 1, codes.data());
    to.put(0, from, 1);
    put_bits(to, 16, codes.data(), 32, 0, 4);
    return *from != 255;  // not a number
}

// Two bits each of 256 codes: byte 32 n + j has column 128 n + 32 i + j at bits 2 i.
void two_bits_of(Octets q, uint8_t* codes) {
    for (size_t n = 0; n < 2; ++n)
        for (size_t i = 0; i < 4; ++i)
            for (size_t j = 0; j < 32; ++j)
                codes[128 * n + 32 * i + j] = q[32 * n + j] >> 2 * i & 3;
}

// One bit each of 256 codes, which becomes their bit `at`: byte j has column 32 i + j at bit i.
void top_bits_of(Octets h, int at, uint8_t* codes) {
    for (size_t i = 0; i < 8; ++i)
        for (size_t j = 0; j < 32; ++j)
            codes[32 * i + j] |= static_cast<uint8_t>((h[j] >> i & 1) << at);
}

bool pack_q2_k(Octets from, const Place& to) {
    Codes codes;
    two_bits_of(from + 16, codes.data());
    to.put(0, from + 80, 2);
    to.put(32, from + 82, 2);
    to.put_dwords(64, from, 4);
    for (size_t g = 0; g < 8; ++g) put_bits(to, 320 + g * 128, &codes[g * 32], 32, 0, 2);
    return finite_half(from + 80) && finite_half(from + 82);
}

bool pack_q3_k(Octets from, const Place& to) {
    Codes codes;
    two_bits_of(from + 32, codes.data());
    top_bits_of(from, 2, codes.data());
    to.put_dwords(0, from + 96, 3);
    for (size_t g = 0; g < 8; ++g) put_three(to, 192 + g * 192, &codes[g * 32]);
    to.put(192 + 8 * 192, from + 108, 2);
    return finite_half(from + 108);
}

// Byte 32 n + j has column 64 n + j in its low nibble, 64 n + 32 + j in its high one.
void k_nibbles_of(Octets q, uint8_t* codes) {
    for (size_t n = 0; n < 4; ++n)
        for (size_t j = 0; j < 32; ++j) {
            codes[64 * n + j] = q[32 * n + j] & 15;
            codes[64 * n + 32 + j] = q[32 * n + j] >> 4;
        }
}

bool pack_q4_k(Octets from, const Place& to) {
    Codes codes;
    k_nibbles_of(from + 16, codes.data());
    to.put(0, from, 2);
    to.put(32, from + 2, 2);
    to.put_dwords(64, from + 4, 3);
    for (size_t g = 0; g < 8; ++g) put_bits(to, 256 + g * 256, &codes[g * 32], 32, 0, 4);
    return finite_half(from) && finite_half(from + 2);
}

bool pack_q5_k(Octets from, const Place& to) {
    Codes codes;
    k_nibbles_of(from + 48, codes.data());
    top_bits_of(from + 16, 4, codes.data());
    to.put(0, from, 2);
    to.put(32, from + 2, 2);
    to.put_dwords(64, from + 4, 3);
    for (size_t g = 0; g < 8; ++g) put_five(to, 256 + g * 320, &codes[g * 32]);
    return finite_half(from) && finite_half(from + 2);
}

bool pack_q6_k(Octets from, const Place& to) {
    Codes codes;
    for (size_t n = 0; n < 2; ++n)
        for (size_t run = 0; run < 4; ++run)
            for (size_t j = 0; j < 32; ++j) {
                const int low = from[64 * n + run % 2 * 32 + j] >> (run < 2 ? 0 : 4) & 15;
                const int high = from[128 + 32 * n + j] >> 2 * run & 3;
                codes[128 * n + 32 * run + j] = static_cast<uint8_t>(low | high << 4);
            }
    to.put_dwords(0, from + 192, 4);
    for (size_t half = 0; half < 16; ++half) {
        put_bits(to, 256 + half * 192, &codes[half * 16], 16, 4, 2);
        put_bits(to, 256 + half * 192 + 64, &codes[half * 16], 16, 0, 4);
    }
    to.put(256 + 16 * 192, from + 208, 2);
    return finite_half(from + 208);
}

bool pack_iq4_xs(Octets from, const Place& to) {
    to.put_dwords(0, from + 4, 1);
    to.put(64, from, 2);
    to.put(96, from + 2, 2);
    for (size_t g = 0; g < 8; ++g) {
        Codes codes;
        nibbles_of(from + 8 + g * 16, codes.data());
        put_bits(to, 128 + g * 256, codes.data(), 32, 0, 4);
    }
    return finite_half(from);
}

constexpr float kLargestE4m3 = 480;  // 0xff, as ggml reads it

bool pack_nvfp4(Octets from, const Place& to) {
    // The last number is none in the format, and 0 to ggml, which else passes over the sign.
    for (size_t i = 0; i < 4; ++i)
        to.four(0, 0)[i] = from[i] == 0x7f ? std::byte{0} : static_cast<std::byte>(from[i] & 0x7f);
    for (size_t half = 0; half < 2; ++half) {
        Codes codes;
        for (size_t j = 0; j < 16; ++j) {
            const uint8_t both = from[4 + half * 16 + j];
            codes[j / 8 * 16 + j % 8] = both & 15;
            codes[j / 8 * 16 + 8 + j % 8] = both >> 4;
        }
        put_bits(to, 64 + half * 256, codes.data(), 32, 0, 4);
    }
    return true;
}

// What the whole matrix is multiplied by: of an nvfp4 block's scales, which have no sign, the bits
// in its place, the first byte's the lowest. Rows that are missing have theirs, too.
bool put_times(std::byte* block, float times) {
    const auto bits = std::bit_cast<uint32_t>(times);
    for (size_t i = 0; i < 32; ++i)
        block[i] = (block[i] & std::byte{0x7f}) | static_cast<std::byte>((bits >> i & 1) << 7);
    return std::isfinite(times * kLargestE4m3 * 6);
}

bool pack_q1_0(Octets from, const Place& to) {
    Codes codes;
    for (size_t c = 0; c < 128; ++c) codes[c] = from[2 + c / 8] >> c % 8 & 1;
    to.put(0, from, 2);
    for (size_t g = 0; g < 4; ++g) put_bits(to, 32 + g * 64, &codes[g * 32], 32, 0, 1);
    return finite_half(from);
}

bool pack_q2_0(Octets from, const Place& to) {
    Codes codes;
    for (size_t c = 0; c < 64; ++c) codes[c] = from[2 + c / 4] >> 2 * (c % 4) & 3;
    to.put(0, from, 2);
    for (size_t g = 0; g < 2; ++g) put_bits(to, 32 + g * 128, &codes[g * 32], 32, 0, 2);
    return finite_half(from);
}

// Byte 32 n + j has column 128 n + 32 i + j at bits 2 i.
bool pack_tq2_0(Octets from, const Place& to) {
    Codes codes;
    two_bits_of(from, codes.data());
    for (size_t g = 0; g < 8; ++g) put_bits(to, g * 128, &codes[g * 32], 32, 0, 2);
    to.put(8 * 128, from + 64, 2);
    return finite_half(from + 64);
}

// Of four neighboring columns and the next sixteen the trits, five in each of four bytes: the first
// counts most, and all of them, as 243rds, are rounded up to 256ths, 0 to 1.
bool pack_tq1_0(GgmlType type, Octets from, const Place& to) {
    GgmlBlock block;
    read_block(type, from, block);
    for (size_t v = 0; v < 13; ++v)
        for (size_t i = 0; i < 4; ++i) {
            int trits = 0;
            for (size_t n = 0; n < 5; ++n) {
                const size_t c = 20 * v + 4 * n + i;
                trits = 3 * trits + (c < 256 ? block.levels[c] + 1 : 0);
            }
            to.four(0, v)[i] = static_cast<std::byte>(trits * 256 / 243 + 1);
        }
    const Octets d = from + info_of(type).block_bytes - 2;
    to.put(13 * 64, d, 2);
    return finite_half(d);
}

// Of the code books' types: points' levels one by one, and scales of 16 columns.
bool pack_levels(GgmlType type, const int8_t (&levels)[16], int width, Octets from,
                 const Place& to) {
    GgmlBlock block;
    read_block(type, from, block);
    Codes codes, scales;
    for (size_t c = 0; c < 256; ++c)
        codes[c] = static_cast<uint8_t>(std::ranges::find(levels, block.levels[c]) - levels);
    for (size_t g = 0; g < 16; ++g)
        scales[g] = static_cast<uint8_t>((block.scales[g * 16 / block.group] - 1) / 2);
    put_bits(to, 0, scales.data(), 16, 0, 4);
    const size_t group = width == 4 ? 256 : 192;
    for (size_t g = 0; g < 8; ++g) {
        if (width == 4)
            put_bits(to, 128 + g * group, &codes[g * 32], 32, 0, 4);
        else
            put_three(to, 128 + g * group, &codes[g * 32]);
    }
    uint16_t d;
    std::memcpy(&d, from, 2);
    if (type == GgmlType::iq1_m) {  // a nibble each at the ends of four words
        d = 0;
        for (size_t i = 0; i < 4; ++i)
            d = static_cast<uint16_t>(d | (from[48 + 2 * i + 1] >> 4) << (4 * i));
    }
    to.put(128 + 8 * group, &d, 2);
    return is_finite(d);
}

// How a block of one row goes to its place. False if a scale is not finite.
using Pack = bool (*)(Octets from, const Place& to);

Pack pack_of(WeightType type) {
    switch (type) {
        case WeightType::bf16:
            return pack_bf16;
        case WeightType::q4_0:
        case WeightType::iq4_nl:
            return pack_4;
        case WeightType::q5_0:
            return pack_q5_0;
        case WeightType::q5_1:
            return pack_q5_1;
        case WeightType::q2_k:
            return pack_q2_k;
        case WeightType::q3_k:
            return pack_q3_k;
        case WeightType::q4_k:
            return pack_q4_k;
        case WeightType::q5_k:
            return pack_q5_k;
        case WeightType::q6_k:
            return pack_q6_k;
        case WeightType::iq4_xs:
            return pack_iq4_xs;
        case WeightType::mxfp4:
            return pack_mxfp4;
        case WeightType::nvfp4:
            return pack_nvfp4;
        case WeightType::q1_0:
            return pack_q1_0;
        case WeightType::q2_0:
            return pack_q2_0;
        case WeightType::tq2_0:
            return pack_tq2_0;
        default:
            return nullptr;  // rows of numbers, or of blocks that any type is converted to
    }
}

// A block of a type that has another layout than its format.
bool pack_other(GgmlType from, WeightType type, Octets block, const Place& to) {
    switch (type) {
        case WeightType::tq1_0:
            return pack_tq1_0(from, block, to);
        case WeightType::iq1:
            return pack_levels(from, kLevelsOfIq1, 3, block, to);
        case WeightType::iq2:
            return pack_levels(from, kLevelsOfIq2, 3, block, to);
        case WeightType::iq3_xxs:
            return pack_levels(from, kLevelsOfIq3Xxs, 4, block, to);
        case WeightType::iq3_s:
            return pack_levels(from, kLevelsOfIq3S, 4, block, to);
        default:
            return false;
    }
}

}  // namespace

bool pack_blocks(GgmlType from, WeightType type, std::span<const std::byte> row, int64_t place,
                 std::byte* strip, float times) {
    const WeightFormat& format = format_of(type);
    const Pack pack = pack_of(type);
    const auto each = static_cast<size_t>(info_of(from).block_bytes) *
                      static_cast<size_t>(format.columns / info_of(from).block_weights);
    bool good = format.keeps.has(static_cast<uint32_t>(from));
    for (size_t b = 0; good && (b + 1) * each <= row.size(); ++b) {
        const auto block = reinterpret_cast<Octets>(row.data()) + b * each;
        const Place to{strip + b * format.block_bytes(), static_cast<size_t>(place)};
        good = pack ? pack(block, to) : pack_other(from, type, block, to);
        if (type == WeightType::nvfp4) good = good && put_times(to.block, times);
    }
    return good;
}

void pack_row(std::span<const float> row, int64_t place, std::byte* strip) {
    interleave(row, place, strip);
}

void pack_row(std::span<const uint16_t> row, int64_t place, std::byte* strip) {
    interleave(row, place, strip);
}

void pack_row(std::span<const Q8Block> row, int64_t place, std::byte* strip) {
    const auto r = static_cast<size_t>(place);
    for (const Q8Block& block : row) {
        std::memcpy(strip + 2 * r, &block.scale, 2);
        std::byte* codes = strip + 2 * kRows + 4 * r;
        for (size_t j = 0; j < 8; ++j)
            std::memcpy(codes + j * 4 * kRows, block.codes.data() + 4 * j, 4);
        strip += kQ8BlockBytes;
    }
}

void pack_row(std::span<const Q4Block> row, int64_t place, std::byte* strip) {
    const auto r = static_cast<size_t>(place);
    for (const Q4Block& block : row) {
        std::memcpy(strip + 2 * r, &block.scale, 2);
        std::memcpy(strip + 2 * (kRows + r), &block.offset, 2);
        std::byte* codes = strip + 4 * kRows + 4 * r;
        for (size_t j = 0; j < 4; ++j)
            for (size_t i = 0; i < 4; ++i)
                codes[j * 4 * kRows + i] = static_cast<std::byte>(
                    block.codes[4 * j + i] | (block.codes[16 + 4 * j + i] << 4));
        strip += kQ4BlockBytes;
    }
}

void unpack_row(const std::byte* strip, int64_t place, std::span<float> row) {
    gather(strip, place, row);
}

void unpack_row(const std::byte* strip, int64_t place, std::span<uint16_t> row) {
    gather(strip, place, row);
}

void unpack_row(const std::byte* strip, int64_t place, std::span<Q8Block> row) {
    const auto r = static_cast<size_t>(place);
    for (Q8Block& block : row) {
        std::memcpy(&block.scale, strip + 2 * r, 2);
        const std::byte* codes = strip + 2 * kRows + 4 * r;
        for (size_t j = 0; j < 8; ++j)
            std::memcpy(block.codes.data() + 4 * j, codes + j * 4 * kRows, 4);
        strip += kQ8BlockBytes;
    }
}

void unpack_row(const std::byte* strip, int64_t place, std::span<Q4Block> row) {
    const auto r = static_cast<size_t>(place);
    for (Q4Block& block : row) {
        std::memcpy(&block.scale, strip + 2 * r, 2);
        std::memcpy(&block.offset, strip + 2 * (kRows + r), 2);
        const std::byte* codes = strip + 4 * kRows + 4 * r;
        for (size_t j = 0; j < 4; ++j) {
            for (size_t i = 0; i < 4; ++i) {
                const auto both = std::to_integer<uint8_t>(codes[j * 4 * kRows + i]);
                block.codes[4 * j + i] = both & 15;
                block.codes[16 + 4 * j + i] = both >> 4;
            }
        }
        strip += kQ4BlockBytes;
    }
}

std::vector<float> unpack_values(WeightType type, const std::byte* strip, int64_t cols,
                                 int64_t place) {
    std::vector<float> values(static_cast<size_t>(cols));
    read_strip(type, strip, place, 0, values);
    return values;
}

}  // namespace llmsql
