// SPDX-License-Identifier: MIT
// The kernels for 64-bit Arm with NEON's products of matrices of int8: the NEON ones, that take two
// rows of x together.
#define LLMSQL_I8MM
#include "runtime/kernels/neon/kernels.cpp"
