// SPDX-License-Identifier: MIT
// Kernels of scans, in the vocabulary of driver.h: each column's sums go in one order, whatever
// columns are taken beside it.
#pragma once

#include "runtime/kernels/driver.h"

namespace llmsql {
namespace {

constexpr int64_t kLanes16 = 16;  // columns of a vector

/// Columns that fill no vector, in one of their own.
template<class I>
struct Tail {
    alignas(64) float values[kLanes16] = {};

    LLMSQL_INLINE typename I::Sum load(const float* from, int64_t count) {
        for (int64_t i = 0; i < count; ++i) values[i] = from[i];
        return I::load(values);
    }
    LLMSQL_INLINE void store(float* to, int64_t count, typename I::Sum sum) {
        I::store(values, sum);
        for (int64_t i = 0; i < count; ++i) to[i] = values[i];
    }
};

template<class I>
void convolve(const float* const* rows, int64_t count, const float* weight, int64_t stride,
              int64_t columns, float* out) {
    Tail<I> tail;
    for (int64_t c = 0; c < columns; c += kLanes16) {
        const int64_t here = columns - c < kLanes16 ? columns - c : kLanes16;
        typename I::Sum sum = I::zero();
        for (int64_t j = 0; j < count; ++j) {
            const float* w = weight + j * stride + c;
            if (here == kLanes16)
                sum = I::fma(I::load(w), I::load(rows[j] + c), sum);
            else {
                const typename I::Sum x = tail.load(rows[j] + c, here);
                sum = I::fma(tail.load(w, here), x, sum);
            }
        }
        if (here == kLanes16)
            I::store(out + c, sum);
        else
            tail.store(out + c, here, sum);
    }
}

/// `N` vectors of columns, all of them filled.
template<class I, int N>
LLMSQL_INLINE inline void recur_tile(float* state, int64_t stride, const Recurrence& step,
                                     const float* v, float* out) {
    using Sum = typename I::Sum;
    const Sum decay = I::splat(step.decay);
    Sum added[N], sum[N];
    for (int n = 0; n < N; ++n) added[n] = I::load(v + n * kLanes16);
    if (step.corrected) {
        for (int n = 0; n < N; ++n) sum[n] = I::zero();
        for (int64_t i = 0; i < step.keys; ++i)
            for (int n = 0; n < N; ++n)
                sum[n] =
                    I::fma(I::splat(step.k[i]), I::load(state + i * stride + n * kLanes16), sum[n]);
        const Sum minus = I::splat(-step.decay);
        for (int n = 0; n < N; ++n) added[n] = I::fma(minus, sum[n], added[n]);
    }
    for (int n = 0; n < N; ++n) {
        added[n] = I::mul(I::splat(step.rate), added[n]);
        sum[n] = I::zero();
    }
    for (int64_t i = 0; i < step.keys; ++i)
        for (int n = 0; n < N; ++n) {
            float* at = state + i * stride + n * kLanes16;
            const Sum held = I::fma(I::splat(step.k[i]), added[n], I::mul(decay, I::load(at)));
            I::store(at, held);
            sum[n] = I::fma(I::splat(step.q[i]), held, sum[n]);
        }
    for (int n = 0; n < N; ++n) I::store(out + n * kLanes16, sum[n]);
}

template<class I>
void recur(float* state, int64_t stride, int64_t columns, const Recurrence& step, const float* v,
           float* out) {
    int64_t c = 0;
    for (; c + 4 * kLanes16 <= columns; c += 4 * kLanes16)
        recur_tile<I, 4>(state + c, stride, step, v + c, out + c);
    for (; c + kLanes16 <= columns; c += kLanes16)
        recur_tile<I, 1>(state + c, stride, step, v + c, out + c);
    if (c == columns) return;
    // The rest in vectors that are filled up: a row of the state after the other, twice.
    const int64_t rest = columns - c;
    Tail<I> tail;
    using Sum = typename I::Sum;
    const Sum decay = I::splat(step.decay);
    Sum added = tail.load(v + c, rest), sum = I::zero();
    if (step.corrected) {
        for (int64_t i = 0; i < step.keys; ++i)
            sum = I::fma(I::splat(step.k[i]), tail.load(state + i * stride + c, rest), sum);
        added = I::fma(I::splat(-step.decay), sum, added);
    }
    added = I::mul(I::splat(step.rate), added);
    sum = I::zero();
    for (int64_t i = 0; i < step.keys; ++i) {
        float* at = state + i * stride + c;
        const Sum held = I::fma(I::splat(step.k[i]), added, I::mul(decay, tail.load(at, rest)));
        tail.store(at, rest, held);
        sum = I::fma(I::splat(step.q[i]), held, sum);
    }
    tail.store(out + c, rest, sum);
}

}  // namespace
}  // namespace llmsql
