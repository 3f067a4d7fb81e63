// SPDX-License-Identifier: MIT
// The kernels for x86-64 with AVX-512 and AMX's products of matrices of int8 (Intel's servers since
// 2023): the AVX-512 ones, which multiply several rows of x by tiles.
#define LLMSQL_AMX
#include "runtime/kernels/avx512/kernels.cpp"
