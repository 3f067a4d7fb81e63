// SPDX-License-Identifier: MIT
// Conversions between f32 and the 16-bit formats, exact and portable (no F16C needed).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace llmsql {

/// Whether a binary16 is neither an infinity nor a NaN.
constexpr bool is_finite(uint16_t half) {
    return (half & 0x7c00u) != 0x7c00u;
}

/// IEEE 754 binary16 to binary32: exact for every value, NaNs stay NaN.
constexpr float f16_to_f32(uint16_t h) {
    const uint32_t sign = static_cast<uint32_t>(h & 0x8000u) << 16;
    const uint32_t exponent = (h >> 10) & 0x1fu;
    const uint32_t mantissa = h & 0x3ffu;
    if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
    if (exponent == 0) {  // zero or subnormal: mantissa * 2^-24
        const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
        return sign ? -magnitude : magnitude;
    }
    return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

/// binary32 to binary16, round to nearest even; overflow becomes infinity.
constexpr uint16_t f32_to_f16(float f) {
    const uint32_t bits = std::bit_cast<uint32_t>(f);
    const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000u);
    const uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7e00u);  // NaN
    if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
    if (magnitude <
        0x38800000u) {  // subnormal result: adding 0.5 leaves 2^-24 units in the mantissa
        const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
        return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
    }
    const uint32_t rounded = magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u);
    return static_cast<uint16_t>(sign | (rounded >> 13));
}

/// What lies at `p`, however it is aligned.
template<class T>
T load(const std::byte* p) {
    T value;
    std::memcpy(&value, p, sizeof value);
    return value;
}

/// The f16 at `index` of an array.
inline float f16_at(const std::byte* halves, int64_t index) {
    return f16_to_f32(load<uint16_t>(halves + 2 * index));
}

/// bfloat16 is the upper half of a binary32.
constexpr float bf16_to_f32(uint16_t b) {
    return std::bit_cast<float>(static_cast<uint32_t>(b) << 16);
}

}  // namespace llmsql
