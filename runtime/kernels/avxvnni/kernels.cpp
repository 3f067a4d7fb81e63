// SPDX-License-Identifier: MIT
// The kernels for x86-64 with AVX2 and AVX-VNNI, of laptops without AVX-512: the AVX2 ones, whose
// products of codes are `vpdpbusd`'s here.
#define LLMSQL_AVX_VNNI
#include "runtime/kernels/avx2/kernels.cpp"
