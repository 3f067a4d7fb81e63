// The arithmetic that takes the time, one implementation an instruction set.
//
// kernels/portable is plain C++ and the reference; the others are tested against it, to rounding.
// Within one instruction set every result is bitwise independent of how many tokens are computed
// together: each token's sums are taken over the same blocks in the same order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "common/kv_layout.h"

namespace llmsql {

/// One query head's running softmax over cache blocks (Milakov and Gimelshein, 2018): the largest
/// score so far, the sum of exp(score - max), and the values weighted alike. Start: max = -inf,
/// sum = 0, values all 0. Result: values / sum.
struct AttentionState {
    float max;
    float sum;
    float* values;  // [width]
};

struct Kernels {
    std::string_view name;

    /// 16 outputs for each of `tokens` rows x: out[t * out_stride + r] = sum over columns of
    /// weight[r] * x[t]. `x` is a q8 tensor's first row, rows `x_stride` bytes apart (layout: see
    /// tensor_row_bytes in common/types.h); `strip` has `blocks` blocks (layout: strip_bytes).
    using LinearQuantized = void (*)(const std::byte* strip, int64_t blocks, const std::byte* x,
                                     int64_t x_stride, int64_t tokens, float* out,
                                     int64_t out_stride);
    LinearQuantized linear_q8;
    LinearQuantized linear_q4;

    /// The same for weights that are not quantised: x is f32, rows `x_stride` floats apart.
    using LinearFloat = void (*)(const std::byte* strip, int64_t cols, const float* x,
                                 int64_t x_stride, int64_t tokens, float* out, int64_t out_stride);
    LinearFloat linear_f16;
    LinearFloat linear_f32;

    /// x[n] to int8 codes in blocks of 32, the last padded with zeros: codes[32 * blocks],
    /// scales[blocks], sums[blocks]. scale = max|x| / 127; codes round half to even.
    void (*quantize)(const float* x, int64_t n, int8_t* codes, float* scales, float* sums);

    /// Adds positions first … last - 1 (0 <= first < last <= 32) of one cache block to a query
    /// head's state. `head` is that of a KvBlock (layout: common/kv_layout.h); query f32[width],
    /// already scaled.
    void (*attend_f16)(const float* query, int64_t width, const KvHead& head, int64_t first,
                       int64_t last, AttentionState& state);
    /// The same over a q8 block; the query is what quantize_query made of it. Products are sums of
    /// integers: a group's score is (sum of key code * query code) * (key scale * query scale). A
    /// group's values are weighted by weight * value scale, rounded to integers of which the
    /// largest in the block is 32767.
    void (*attend_q8)(const int16_t* query, const float* query_scales, int64_t width,
                      const KvHead& head, int64_t first, int64_t last, AttentionState& state);

    /// In place over x[n]: x / (1 + exp(-x)).
    void (*silu)(float* x, int64_t n);
    /// In place over x[n]: the tanh form of GELU.
    void (*gelu)(float* x, int64_t n);
};

/// A query for attend_q8: x[n] to int16 codes in groups of 8, the last padded with zeros:
/// codes[8 * groups], scales[groups]. scale = max|x| / 32767; codes round half to even. A group
/// that is not finite gets the scale NaN. One for all instruction sets: it is run once for many
/// blocks.
void quantize_query(const float* x, int64_t n, int16_t* codes, float* scales);

/// The implementations this build has, portable first.
const Kernels& portable_kernels();
const Kernels* avx2_kernels();  // null unless the processor has AVX2, FMA and F16C

/// The best that this processor can run, chosen once.
const Kernels& kernels();

}  // namespace llmsql
