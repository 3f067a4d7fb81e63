// SPDX-License-Identifier: MIT
// The code books of GGUF's types IQ1, IQ2 and IQ3: points of a lattice, eight or four levels each,
// that a block names by their number.
//
// Which points are in a book, and their levels, are facts of the types: ggml-common.h of llama.cpp,
// iq2xxs_grid and so on. Points stand there in rising order, the first level the least significant
// digit of a number, so that a map of the numbers that are in says it all (code_books.cpp).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace llmsql {

template<size_t kSize, size_t kWidth>
using CodeBook = std::array<std::array<int8_t, kWidth>, kSize>;

extern const CodeBook<256, 8> kIq2XxsBook;
extern const CodeBook<512, 8> kIq2XsBook;
extern const CodeBook<1024, 8> kIq2SBook;
extern const CodeBook<256, 4> kIq3XxsBook;
extern const CodeBook<512, 4> kIq3SBook;
extern const CodeBook<2048, 8> kIq1Book;  // of IQ1_S and IQ1_M, before their shifts

}  // namespace llmsql
