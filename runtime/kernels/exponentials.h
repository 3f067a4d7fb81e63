// SPDX-License-Identifier: MIT
// The loop of Kernels::exponentials, which each instruction set's exponentials.cpp compiles for
// itself: with -ffp-contract=off, so that the results are those of all others.
#pragma once

#include <bit>
#include <cstdint>

namespace llmsql {
namespace {

// e^d = 2^n e^r with n = round(d / ln 2) and |r| <= ln(2) / 2, e^r by its Taylor polynomial, 2^n by
// the exponent field. What is below -40 is nothing: units are 2^-51 at least.
uint64_t exponentials(const float* x, int64_t n, float most, double per, int bits, uint64_t* out) {
    constexpr double kLog2e = 1.4426950408889634, kLn2 = 0.6931471805599453;
    constexpr double kRound = 0x1.8p52;  // adding it rounds to an integer
    constexpr double kInteger = 0x1p52;  // the same of numbers from 0 to 2^52
    const auto shift = static_cast<uint64_t>(1023 + bits);
    const double top = static_cast<float>(most * per);
    uint64_t sum = 0;
    for (int64_t i = 0; i < n; ++i) {
        const auto scaled = static_cast<float>(x[i] * per);
        const double below = static_cast<double>(scaled) - top;
        const double d = below > -40.0 ? below : -40.0;
        const double rounded = d * kLog2e + kRound;
        const double r = d - (rounded - kRound) * kLn2;
        double p = 1.0 / 39916800;
        p = p * r + 1.0 / 3628800;
        p = p * r + 1.0 / 362880;
        p = p * r + 1.0 / 40320;
        p = p * r + 1.0 / 5040;
        p = p * r + 1.0 / 720;
        p = p * r + 1.0 / 120;
        p = p * r + 1.0 / 24;
        p = p * r + 1.0 / 6;
        p = p * r + 0.5;
        p = p * r + 1.0;
        p = p * r + 1.0;
        const double power =
            std::bit_cast<double>((std::bit_cast<uint64_t>(rounded) + shift) << 52);
        out[i] = std::bit_cast<uint64_t>(p * power + kInteger) - std::bit_cast<uint64_t>(kInteger);
        sum += out[i];
    }
    return sum;
}

}  // namespace
}  // namespace llmsql
