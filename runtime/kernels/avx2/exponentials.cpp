// SPDX-License-Identifier: MIT
// Kernels::exponentials for AVX2.
#include "runtime/kernels/exponentials.h"

#include "runtime/kernels/kernels.h"

namespace llmsql {

uint64_t avx2_exponentials(const float* x, int64_t n, float most, double per, int bits,
                           uint64_t* out) {
    return exponentials(x, n, most, per, bits, out);
}

}  // namespace llmsql
