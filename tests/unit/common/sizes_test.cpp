// SPDX-License-Identifier: MIT
// Arithmetic over sizes: what fits is right, what does not is kTooLarge and stays so.
#include "common/sizes.h"

#include <gtest/gtest.h>

#include <vector>

namespace llmsql {
namespace {

// With 128 bits nothing overflows.
__extension__ using Wide = __int128;

int64_t narrowed(Wide value) {
    return value < kTooLarge ? static_cast<int64_t>(value) : kTooLarge;
}

const std::vector<int64_t> kEdges{0,
                                  1,
                                  2,
                                  3,
                                  569,
                                  (int64_t{1} << 31) - 1,
                                  int64_t{1} << 31,
                                  int64_t{1} << 32,
                                  3037000500,
                                  (int64_t{1} << 61) - 1,
                                  int64_t{1} << 62,
                                  kTooLarge - 1,
                                  kTooLarge,
                                  -1,
                                  std::numeric_limits<int64_t>::min()};

TEST(Sizes, AgreeWithWiderNumbersOrAreTooLarge) {
    for (const int64_t a : kEdges)
        for (const int64_t b : kEdges) {
            const bool sizes = is_size(a) && is_size(b);
            EXPECT_EQ(size_sum(a, b), sizes ? narrowed(Wide{a} + b) : kTooLarge) << a << ' ' << b;
            EXPECT_EQ(size_product(a, b), sizes ? narrowed(Wide{a} * b) : kTooLarge);
            const Wide common = !sizes || a == 0 || b == 0 ? Wide{0} : Wide{a} / std::gcd(a, b) * b;
            EXPECT_EQ(size_multiple(a, b), sizes ? narrowed(common) : kTooLarge);
        }
}

TEST(Sizes, TooLargeStaysTooLarge) {
    EXPECT_EQ(size_product(int64_t{1} << 40, int64_t{1} << 40, 0), kTooLarge);
    EXPECT_EQ(size_sum(1, 2, kTooLarge, 3), kTooLarge);
    EXPECT_EQ(size_product(2, 3, 5, 7), 210);
    // The product of these primes is 1 modulo 2^64.
    int64_t common = 1;
    for (const int64_t prime :
         {101, 103, 107, 109, 131, 149, 157, 163, 173, 191, 193, 197, 211, 223,
          227, 239, 251, 263, 271, 283, 293, 317, 349, 359, 383, 397, 409, 419,
          421, 431, 443, 463, 467, 487, 491, 503, 521, 523, 541, 547, 563, 569})
        common = size_multiple(common, prime);
    EXPECT_EQ(common, kTooLarge);
}

}  // namespace
}  // namespace llmsql
