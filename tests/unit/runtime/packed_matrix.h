// SPDX-License-Identifier: MIT
// Matrices packed into strips, for tests: restates docs/model-db.md on its own.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "common/half.h"
#include "common/strips.h"
#include "common/types.h"
#include "common/weight_format.h"

namespace llmsql::test {

inline std::vector<float> random_values(size_t count, uint32_t seed, float scale = 1.0f) {
    std::mt19937 generator(seed);
    std::uniform_real_distribution<float> uniform(-scale, scale);
    std::vector<float> values(count);
    for (float& value : values) value = uniform(generator);
    return values;
}

/// A matrix packed into strips, and the values that its codes stand for.
struct PackedMatrix {
    std::vector<std::byte> bytes;
    std::vector<float> values;  // [rows][cols]
};

inline PackedMatrix pack_matrix(WeightType type, int64_t rows, int64_t cols,
                                const std::vector<float>& values) {
    PackedMatrix packed{{}, values};
    const size_t strip = strip_bytes(type, cols);
    packed.bytes.resize(static_cast<size_t>(strip_count(rows)) * strip);
    const auto put16 = [&](size_t at, float value) {
        const uint16_t half = f32_to_f16(value);
        std::memcpy(packed.bytes.data() + at, &half, 2);
        return f16_to_f32(half);
    };
    for (int64_t r = 0; r < rows; ++r) {
        const size_t base = static_cast<size_t>(r / 16) * strip;
        const auto lane = static_cast<size_t>(r % 16);
        for (int64_t c = 0; c < cols; ++c) {
            const size_t plain = static_cast<size_t>(c) * 16 + lane;
            float& value = packed.values[static_cast<size_t>(r * cols + c)];
            if (type == WeightType::f32) std::memcpy(&packed.bytes[base + plain * 4], &value, 4);
            if (type == WeightType::f16) value = put16(base + plain * 2, value);
        }
        if (!format_of(type).quantized()) continue;
        for (int64_t b = 0; b < block_count(cols); ++b) {
            float low = 1e30f, high = -1e30f, largest = 0;
            for (int64_t c = b * 32; c < std::min(cols, b * 32 + 32); ++c) {
                const float value = values[static_cast<size_t>(r * cols + c)];
                low = std::min(low, value);
                high = std::max(high, value);
                largest = std::max(largest, std::fabs(value));
            }
            const bool q8 = type == WeightType::q8;
            const size_t block = base + static_cast<size_t>(b) * (q8 ? 544 : 320);
            const float scale = put16(block + 2 * lane, q8 ? largest / 127 : (high - low) / 15);
            const float offset = q8 ? 0 : put16(block + 32 + 2 * lane, low);
            for (int64_t c = b * 32; c < std::min(cols, b * 32 + 32); ++c) {
                float& value = packed.values[static_cast<size_t>(r * cols + c)];
                const auto in = static_cast<size_t>(c % 32);
                const float ideal = scale > 0 ? std::round((value - offset) / scale) : 0;
                const int code = static_cast<int>(q8 ? std::clamp(ideal, -127.0f, 127.0f)
                                                     : std::clamp(ideal, 0.0f, 15.0f));
                value = scale * static_cast<float>(code) + offset;
                if (q8) {
                    packed.bytes[block + 32 + (in / 4 * 16 + lane) * 4 + in % 4] =
                        static_cast<std::byte>(code);
                } else {
                    std::byte& byte =
                        packed.bytes[block + 64 + (in % 16 / 4 * 16 + lane) * 4 + in % 4];
                    byte |= static_cast<std::byte>(in < 16 ? code : code << 4);
                }
            }
        }
    }
    return packed;
}

/// A matrix of random blocks of a format that keeps its source's: any codes and scales, f16 ones
/// small. `values` are what read_strip() makes of it. `fill`: what all other bytes are, if not
/// random.
inline PackedMatrix random_blocks(WeightType type, int64_t rows, int64_t cols, uint32_t seed,
                                  std::optional<int> fill = std::nullopt) {
    std::mt19937 random(seed);
    PackedMatrix packed;
    const size_t strip = strip_bytes(type, cols);
    packed.bytes.resize(static_cast<size_t>(strip_count(rows)) * strip);
    for (std::byte& byte : packed.bytes)
        byte = static_cast<std::byte>(fill ? static_cast<uint32_t>(*fill) : random());
    const WeightFormat& format = format_of(type);
    const auto tame = [&](size_t block, size_t at, int count) {
        for (int i = 0; i < count; ++i) {
            const uint16_t half = f32_to_f16(static_cast<float>(random() % 200 + 1) *
                                             (random() % 8 ? 1e-4f : -1e-4f));
            std::memcpy(packed.bytes.data() + block + at + 2 * static_cast<size_t>(i), &half, 2);
        }
    };
    for (size_t block = 0; block < packed.bytes.size(); block += format.block_bytes())
        switch (type) {
            case WeightType::bf16:
                for (size_t i = 0; i < 16; ++i)  // exponents that are near 1
                    packed.bytes[block + 2 * i + 1] =
                        static_cast<std::byte>((random() & 0x80) | 0x3e);
                break;
            case WeightType::q5_1:
            case WeightType::q2_k:
            case WeightType::q4_k:
            case WeightType::q5_k:
                tame(block, 0, 32);
                break;
            case WeightType::nvfp4: {
                const float times = static_cast<float>(random() % 200 + 1) * 1e-4f;
                const auto bits = std::bit_cast<uint32_t>(times);
                for (size_t i = 0; i < 32; ++i) {
                    std::byte& scale = packed.bytes[block + i];
                    scale =
                        (scale & std::byte{0x7f}) | static_cast<std::byte>((bits >> i & 1) << 7);
                }
                break;
            }
            case WeightType::q3_k:
            case WeightType::q6_k:
            case WeightType::tq1_0:
            case WeightType::tq2_0:
            case WeightType::iq1:
            case WeightType::iq2:
            case WeightType::iq3_xxs:
            case WeightType::iq3_s:
                tame(block, format.block_bytes() - 32, 16);
                break;
            case WeightType::iq4_xs:
                tame(block, 64, 16);
                break;
            case WeightType::mxfp4:
                for (size_t i = 0; i < 16; ++i)
                    packed.bytes[block + i] = static_cast<std::byte>(110 + random() % 20);
                break;
            default:
                tame(block, 0, 16);
        }
    packed.values.resize(static_cast<size_t>(rows * cols));
    for (int64_t r = 0; r < rows; ++r)
        read_strip(type, packed.bytes.data() + static_cast<size_t>(r / 16) * strip, r % 16, 0,
                   std::span(packed.values)
                       .subspan(static_cast<size_t>(r * cols), static_cast<size_t>(cols)));
    return packed;
}

/// Of random values where a type takes any, else of random blocks.
inline PackedMatrix random_matrix(WeightType type, int64_t rows, int64_t cols, uint32_t seed) {
    return format_of(type).takes_anything
               ? pack_matrix(type, rows, cols,
                             random_values(static_cast<size_t>(rows * cols), seed))
               : random_blocks(type, rows, cols, seed);
}

}  // namespace llmsql::test
