// SPDX-License-Identifier: MIT
// Elementary functions written so that compilers vectorise loops over them.
#pragma once

#include <bit>
#include <cstdint>

namespace llmsql {

/// e^x to about 1 ulp for x in [-87, 88]; 0 below, e^88 above. NaN stays NaN.
/// x = n ln 2 + r with |r| <= ln(2) / 2, e^r by its Taylor polynomial, 2^n by the exponent field.
inline float exp_f32(float x) {
    constexpr float kLog2e = 1.44269504f;
    constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
    constexpr float kRound = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    const float clamped = x > 88.0f ? 88.0f : x < -87.0f ? -87.0f : x;
    const float n = (clamped * kLog2e + kRound) - kRound;
    const float r = (clamped - n * kLn2High) - n * kLn2Low;
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const auto power = static_cast<uint32_t>(static_cast<int32_t>(n == n ? n : 0.0f) + 127) << 23;
    const float result = p * std::bit_cast<float>(power);
    return x < -87.0f ? 0.0f : result;
}

/// x / (1 + e^-x).
inline float silu_f32(float x) {
    return x / (1.0f + exp_f32(-x));
}

/// x / 2 * (1 + tanh(u)) with u = sqrt(2/pi) (x + 0.044715 x^3), as x / (1 + e^-2u).
inline float gelu_f32(float x) {
    constexpr float kSqrt2OverPi = 0.797884561f;
    const float u = kSqrt2OverPi * (x + 0.044715f * x * x * x);
    return x / (1.0f + exp_f32(-2.0f * u));
}

}  // namespace llmsql
