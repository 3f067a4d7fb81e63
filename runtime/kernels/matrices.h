// SPDX-License-Identifier: MIT
// Many rows of x by instructions that multiply matrices of int8: what driver.h does with vectors,
// to the same bits. An instruction set's vocabulary has further
//
//   kMatrixTokens   rows of x that are taken together
//   others()  kernels by vectors
//   Matrices<Parts>   set(tokens) says how many rows of x matrices have, and that a group's columns
//             are multiplied in one or two parts; what they have is lost then, and at its end
//   signed_code<B>(code)   64 int8, less the B by which they are stored raised
//   begin<Parts, N>(codes, x, stride)   begins products of a group: of two that are under way, the
//             N-th (0 or 1)
//   end<Parts, N>(dots)   stores them
//   dots(p)   16 of those as floats
#pragma once

#include "runtime/kernels/formats.h"

namespace llmsql {
namespace {

/// Fewer rows of x are not worth it, and of more a rest of less than three quarters of a matrix.
template<class I>
constexpr int64_t kFewestTokens = 2 * I::kMatrixTokens;

/// Blocks of a strip as products of matrices take them: heads, and of each group eight times 64
/// bytes of codes, signed: those of four columns, in the order of columns.
template<class I, class F>
struct UnpackedBlocks {
    static constexpr int64_t kMost = 24 / F::kGroups;  // with rows of x, what a first cache holds
    typename F::Head head[kMost];
    alignas(64) std::byte codes[kMost * F::kGroups][kBlock * kStripRows];

    LLMSQL_INLINE void unpack(const std::byte* block, int64_t count) {
        constexpr bool kUnpacks = F::kUnpacked > 0;
        alignas(kUnpacks ? 64 : 1) std::byte first[kUnpacks ? F::kUnpacked : 1];
        const Ahead ahead = ahead_of_use();
#pragma GCC unroll 1
        for (int64_t b = 0; b < count; ++b, block += F::kBytes) {
            head[b] = F::head(block);
            prefetch<F::kBytes>(block, ahead);
            if constexpr (kUnpacks) F::unpack(block, first);
            const std::byte* group = kUnpacks ? first : block + F::kCodes;
#pragma GCC unroll 1
            for (int g = 0; g < F::kGroups; ++g, group += F::kGroup)
                unroll<8>([&]<int k>() LLMSQL_INLINE {
                    I::store_bytes(codes[b * F::kGroups + g] + 16 * F::column(k),
                                   I::template signed_code<F::kBias>(F::template code<k>(group)));
                });
        }
    }
};

/// The products of a strip's blocks [first, first + count) with up to `T` rows of x, added to `out`
/// unless first is 0. While those of a group are taken, those of the next two are made.
template<class I, class F, int T>
__attribute__((noinline)) void multiply_matrices(const UnpackedBlocks<I, F>& blocks, int64_t first,
                                                 int64_t count, const ActivationRows<T>& rows,
                                                 int64_t x_stride, int64_t tokens, float* out,
                                                 int64_t out_stride) {
    using Sum = typename I::Sum;
    using Take = Sums<I, F>;
    constexpr int kParts = Take::kParts;
    static_assert(!F::kFloatsOf16, "of a format that few files have");
    Sum sum[T], whole[T], least[T];
    unroll<T>([&]<int t>() LLMSQL_INLINE {
        sum[t] = first == 0 || t >= tokens ? I::zero() : I::load(out + t * out_stride);
    });
    const int64_t from = first * F::kGroups, groups = count * F::kGroups;
    const int8_t* const codes = rows.codes(0, from, 0);
    alignas(64) int32_t dots[2][kParts][T][kStripRows];
    if (tokens < T) __builtin_memset(dots, 0, sizeof dots);  // rows that are missing stay so
    I::template begin<kParts, 0>(blocks.codes[0], codes, x_stride);
    I::template end<kParts, 0>(dots[0]);
    if (groups > 1) I::template begin<kParts, 1>(blocks.codes[1], codes + kBlock, x_stride);
    const auto step = [&]<int N>(int64_t at) LLMSQL_INLINE {
        if (at + 2 < groups)
            I::template begin<kParts, N>(blocks.codes[at + 2], codes + (at + 2) * kBlock, x_stride);
        if (at + 1 < groups) I::template end<kParts, 1 - N>(dots[1 - N]);
        // Held in registers, the rows' addresses would leave too few for sums.
        const ActivationRows<T>& x = *unknown(&rows);
        const int64_t group = from + at;
        const typename F::Head& head = blocks.head[at / F::kGroups];
        const int g = static_cast<int>(at % F::kGroups);
        if (g == 0)
            unroll<T>([&]<int t>() LLMSQL_INLINE { Take::begin_block(whole[t], least[t]); });
        unroll<T>([&]<int t>() LLMSQL_INLINE {
            const Sum dot = I::dots(dots[N][0][t]);
            if constexpr (F::kScalesOf16) {
                // Whole numbers below 2^24, so floats have their sum exactly.
                const Sum other = I::mul(I::dots(dots[N][1][t]), I::to_f32(head.scale[2 * g + 1]));
                Take::take_group(head, g, I::fma(dot, I::to_f32(head.scale[2 * g]), other), x, t,
                                 group, sum[t], whole[t], least[t]);
            } else {
                Take::take_group(head, g, dot, x, t, group, sum[t], whole[t], least[t]);
            }
        });
        if (g == F::kGroups - 1)
            unroll<T>([&]<int t>()
                          LLMSQL_INLINE { Take::take_block(head, whole[t], least[t], sum[t]); });
    };
    int64_t at = 0;
#pragma GCC unroll 1
    for (; at + 2 <= groups; at += 2) {
        step.template operator()<0>(at);
        step.template operator()<1>(at + 1);
    }
    if (at < groups) step.template operator()<0>(at);
    unroll<T>([&]<int t>() LLMSQL_INLINE {
        if (t < tokens) I::store(out + t * out_stride, sum[t]);
    });
}

/// Blocks [first, first + count) of strips one behind the other, times as many rows of x as are
/// worth it. Returns how many rows.
template<class I, class F>
int64_t multiply_many(const std::byte* weights, int64_t strips, int64_t first, int64_t count,
                      int64_t blocks, const LinearRows& rows) {
    constexpr int64_t kTokens = I::kMatrixTokens;
    if (rows.tokens < kFewestTokens<I>) return 0;
    const int64_t rest = rows.tokens % kTokens;
    const int64_t taken = rows.tokens - (4 * rest < 3 * kTokens ? rest : 0);
    using Blocks = UnpackedBlocks<I, F>;
    Blocks unpacked;
    const typename I::template Matrices<Sums<I, F>::kParts> matrices;
    matrices.set(kTokens);
    for (int64_t s = 0; s < strips; ++s)
        for (int64_t b = first, here; b < first + count; b += here, weights += here * F::kBytes) {
            here = least(Blocks::kMost, first + count - b);
            unpacked.unpack(weights, here);
            for (int64_t t = 0; t < taken; t += kTokens) {
                const int64_t tokens = least(kTokens, taken - t);
                if (tokens < kTokens) matrices.set(tokens);
                multiply_matrices<I, F, kTokens>(
                    unpacked, b, here,
                    {rows.x + t * rows.x_stride, rows.x_stride, blocks * F::kGroups, tokens},
                    rows.x_stride, tokens, rows.out + t * rows.out_stride + s * kStripRows,
                    rows.out_stride);
                if (tokens < kTokens) matrices.set(kTokens);
            }
        }
    return taken;
}

/// A format's kernel, which leaves few rows to I::others(); null for formats that few files have,
/// or that are not quantized.
template<class I, class F>
struct ByMatrices {
    static const LinearKernel& others() { return I::others().linear[static_cast<int>(F::kType)]; }

    static void strips(const std::byte* weights, int64_t strips, int64_t blocks,
                       const LinearRows& rows) {
        const int64_t taken = multiply_many<I, F>(weights, strips, 0, blocks, blocks, rows);
        if (taken < rows.tokens) others().strips(weights, strips, blocks, from_row(rows, taken));
    }
    static void part(const std::byte* weights, int64_t first, int64_t count, int64_t blocks,
                     const LinearRows& rows) {
        const int64_t taken = multiply_many<I, F>(weights, 1, first, count, blocks, rows);
        if (taken < rows.tokens)
            others().part(weights, first, count, blocks, from_row(rows, taken));
    }
    static void cut(const std::byte* block, int64_t cut, int64_t gap, int64_t at, int64_t blocks,
                    const LinearRows& rows) {
        if (rows.tokens < kFewestTokens<I>) return others().cut(block, cut, gap, at, blocks, rows);
        InTwoPieces<F> place(cut, gap);
        part(place.whole(block), at, 1, blocks, rows);
    }

    static constexpr LinearKernel kernel() {
        if constexpr (!format_of(F::kType).quantized() || F::kTokens < kMostTokens)
            return {};
        else
            return {strips, part, cut};
    }
};

}  // namespace
}  // namespace llmsql
