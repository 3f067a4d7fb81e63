// SPDX-License-Identifier: MIT
// Sums, products and multiples of sizes that come from files, plans and SQL: none wraps around.
//
// What does not fit in 63 bits, and what is computed from a negative number, is kTooLarge, and so
// is all that is computed from that. It is larger than any limit, so that the one check of a size
// against its limit refuses it too.
#pragma once

#include <cstdint>
#include <limits>
#include <numeric>

namespace llmsql {

inline constexpr int64_t kTooLarge = std::numeric_limits<int64_t>::max();

constexpr bool is_size(int64_t value) {
    return value >= 0 && value < kTooLarge;
}

template<class... More>
constexpr int64_t size_sum(int64_t a, int64_t b, More... more) {
    if constexpr (sizeof...(more) > 0) {
        return size_sum(size_sum(a, b), more...);
    } else {
        int64_t sum = 0;
        return is_size(a) && is_size(b) && !__builtin_add_overflow(a, b, &sum) ? sum : kTooLarge;
    }
}

template<class... More>
constexpr int64_t size_product(int64_t a, int64_t b, More... more) {
    if constexpr (sizeof...(more) > 0) {
        return size_product(size_product(a, b), more...);
    } else {
        int64_t product = 0;
        return is_size(a) && is_size(b) && !__builtin_mul_overflow(a, b, &product) ? product
                                                                                   : kTooLarge;
    }
}

/// The least common multiple; that of 0 and anything is 0.
constexpr int64_t size_multiple(int64_t a, int64_t b) {
    if (!is_size(a) || !is_size(b)) return kTooLarge;
    if (a == 0 || b == 0) return 0;
    return size_product(a / std::gcd(a, b), b);
}

}  // namespace llmsql
