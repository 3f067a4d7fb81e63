// SPDX-License-Identifier: MIT
// Strided: the bytes of some rows, each as far from the one before as the next is from it, and
// whether two such share any. What is written in place, and what writing takes the place of, is
// decided by this alone.
#pragma once

#include <cstdint>

namespace llmsql {

/// Of one row or more, each of one byte or more, not overlapping each other: stride >= row_bytes.
/// `begin` counts from the same byte for all that are compared; all ends are below 2^62.
struct Strided {
    int64_t begin = 0;      // of the first row
    int64_t rows = 1;       // each:
    int64_t row_bytes = 1;  // so many bytes,
    int64_t stride = 1;     // so many behind the one before

    int64_t end() const { return begin + (rows - 1) * stride + row_bytes; }
};

/// Whether some byte is in both, exactly; as fast for many rows as for few.
bool share_bytes(const Strided& a, const Strided& b);

}  // namespace llmsql
