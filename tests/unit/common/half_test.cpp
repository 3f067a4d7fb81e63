// SPDX-License-Identifier: MIT
// The 16-bit float conversions, over all their values.
#include "common/half.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace llmsql {
namespace {

/// binary16 by its definition: sign, exponent and fraction as a sum of powers of two.
double value_of(uint16_t half) {
    const double sign = half & 0x8000 ? -1 : 1;
    const int exponent = half >> 10 & 31;
    const int fraction = half & 1023;
    if (exponent == 31) return fraction ? std::nan("") : sign * INFINITY;
    if (exponent == 0) return sign * std::ldexp(fraction, -24);
    return sign * std::ldexp(1024 + fraction, exponent - 25);
}

TEST(Half, EveryValueReadsAsDefined) {
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
        const auto half = static_cast<uint16_t>(bits);
        const double expected = value_of(half);
        const float value = f16_to_f32(half);
        if (std::isnan(expected)) {
            ASSERT_TRUE(std::isnan(value)) << bits;
        } else {
            ASSERT_EQ(static_cast<double>(value), expected) << bits;
            ASSERT_EQ(std::signbit(value), (half & 0x8000) != 0) << bits;
        }
    }
}

TEST(Half, EveryValueComesBack) {
    for (uint32_t bits = 0; bits < 0x10000; ++bits) {
        const auto half = static_cast<uint16_t>(bits);
        const uint16_t back = f32_to_f16(f16_to_f32(half));
        if (std::isnan(value_of(half)))
            ASSERT_TRUE(std::isnan(value_of(back))) << bits;
        else
            ASSERT_EQ(back, half);
    }
}

// Between two neighbours: the nearer one, and in the middle the even one.
TEST(Half, RoundsToNearestEven) {
    for (uint16_t low = 0; low < 0x7bff; ++low) {
        const auto high = static_cast<uint16_t>(low + 1);
        const auto middle = static_cast<float>((value_of(low) + value_of(high)) / 2);  // exact
        const uint16_t even = low % 2 == 0 ? low : high;
        ASSERT_EQ(f32_to_f16(middle), even) << low;
        ASSERT_EQ(f32_to_f16(std::nextafter(middle, 0.0f)), low) << low;
        ASSERT_EQ(f32_to_f16(std::nextafter(middle, 1e9f)), high) << low;
        ASSERT_EQ(f32_to_f16(-middle), even | 0x8000) << low;
    }
}

TEST(Half, OverflowIsInfinity) {
    EXPECT_EQ(f32_to_f16(65504), 0x7bff);
    EXPECT_EQ(f32_to_f16(std::nextafter(65520.0f, 0.0f)), 0x7bff);
    EXPECT_EQ(f32_to_f16(65520), 0x7c00);
    EXPECT_EQ(f32_to_f16(-1e30f), 0xfc00);
    EXPECT_EQ(f32_to_f16(std::numeric_limits<float>::infinity()), 0x7c00);
    EXPECT_EQ(f32_to_f16(1e-30f), 0);
    EXPECT_EQ(f32_to_f16(-1e-30f), 0x8000);
}

TEST(Half, Bfloat16IsTheUpperHalf) {
    EXPECT_EQ(bf16_to_f32(0x3f80), 1);
    EXPECT_EQ(bf16_to_f32(0xc040), -3);
    EXPECT_EQ(bf16_to_f32(0x0001), 0x1p-133f);
    EXPECT_TRUE(std::isinf(bf16_to_f32(0x7f80)));
}

}  // namespace
}  // namespace llmsql
