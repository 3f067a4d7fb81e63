// SPDX-License-Identifier: MIT
// Whether rows share bytes. See strided.h.
#include "runtime/state/strided.h"

#include <algorithm>
#include <utility>

namespace llmsql {
namespace {

__extension__ using Wide = __int128;

int64_t floor_divide(int64_t a, int64_t b) {
    return a / b - (a % b < 0 ? 1 : 0);
}
int64_t ceiling_divide(int64_t a, int64_t b) {
    return -floor_divide(-a, b);
}

// The least i >= 0 such that low <= a * i mod m <= high, or -1. 0 <= a < m, 0 <= low <= high < m.
// Steps as Euclid's algorithm does: in terms of how often a * i has gone around m.
int64_t first_within(int64_t a, int64_t m, int64_t low, int64_t high) {
    if (low == 0) return 0;
    if (a == 0) return -1;
    const int64_t i = ceiling_divide(low, a);
    if (i * a <= high) return i;
    // No multiple of a lies between: a * i - m * j is there for the least j for which m * j mod a
    // is in the range below.
    const int64_t j = first_within(m % a, a, ((-high) % a + a) % a, ((-low) % a + a) % a);
    return j < 0 ? -1 : static_cast<int64_t>((Wide{m} * j + low + a - 1) / a);
}

}  // namespace

// Rows i of a and j of b share a byte where low <= i * a.stride - j * b.stride <= high.
bool share_bytes(const Strided& a, const Strided& b) {
    if (a.begin >= b.end() || b.begin >= a.end()) return false;
    const int64_t low = b.begin - a.begin - a.row_bytes + 1;
    const int64_t high = b.begin - a.begin + b.row_bytes - 1;
    // Only rows of a that begin before b ends, and end behind where it begins.
    const int64_t last_b = (b.rows - 1) * b.stride;
    const int64_t first = std::max<int64_t>(0, ceiling_divide(low, a.stride));
    const int64_t last = std::min(a.rows - 1, floor_divide(high + last_b, a.stride));
    if (first > last) return false;
    // Such a row shares a byte with the last of b's rows that begins before its end, or with none.
    const auto touches = [&](int64_t i) {
        const int64_t j = std::min(b.rows - 1, floor_divide(i * a.stride - low, b.stride));
        return i * a.stride - j * b.stride <= high;
    };
    if (touches(first) || touches(last)) return true;
    // Between them: i such that (i * a.stride - low) mod b.stride is at most high - low.
    const int64_t window = high - low;
    if (window >= b.stride) return true;
    const auto modulo = [&](int64_t x) { return x - floor_divide(x, b.stride) * b.stride; };
    const int64_t step = modulo(a.stride), start = modulo(first * a.stride - low);
    // start + step * i mod b.stride in [0, window]: step * i mod b.stride in [-start, window -
    // start].
    const int64_t from = modulo(-start), to = modulo(window - start);
    const int64_t i = from <= to ? first_within(step, b.stride, from, to) : 0;
    return i >= 0 && first + i <= last;
}

}  // namespace llmsql
