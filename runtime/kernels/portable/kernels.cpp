// SPDX-License-Identifier: MIT
// The portable kernels: plain C++, the reference that the others are compared with.
#include "runtime/kernels/kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "common/half.h"
#include "common/types.h"
#include "runtime/kernels/math.h"

namespace llmsql {
namespace {

uint16_t load_u16(const std::byte* p) {
    uint16_t value;
    std::memcpy(&value, p, sizeof value);
    return value;
}

// What is read of a row of a q8 tensor.
struct Activations {
    const int8_t* codes;
    const float* scales;
    const float* sums;

    // From block `first` on.
    Activations(const std::byte* row, int64_t blocks, int64_t first = 0)
        : codes(reinterpret_cast<const int8_t*>(row) + first * kBlock),
          scales(reinterpret_cast<const float*>(row + blocks * kBlock) + first),
          sums(scales + blocks) {}
};

// Calls `each` for every strip and token: each(strip, its first block, x's row, out).
template<class X, class Each>
void for_strips(const std::byte* weights, int64_t strips, int64_t strip_size, const X* x,
                int64_t x_stride, int64_t tokens, float* out, int64_t out_stride, Each each) {
    for (int64_t s = 0; s < strips; ++s)
        for (int64_t t = 0; t < tokens; ++t)
            each(weights + s * strip_size, x + t * x_stride, out + t * out_stride + s * kStripRows);
}

struct Q8 {
    static constexpr int64_t kBlockBytes = kStripRows * (2 + kBlock);

    // Adds `blocks` blocks of a strip to sum[16].
    static void add(const std::byte* strip, int64_t blocks, const Activations& row, float* sum) {
        for (int64_t b = 0; b < blocks; ++b) {
            const std::byte* block = strip + b * kBlockBytes;
            const auto* codes = reinterpret_cast<const int8_t*>(block + 2 * kStripRows);
            const int8_t* a = row.codes + b * kBlock;
            int32_t dot[kStripRows] = {};
            for (int64_t j = 0; j < kBlock / 4; ++j)
                for (int64_t r = 0; r < kStripRows; ++r)
                    for (int64_t i = 0; i < 4; ++i)
                        dot[r] += codes[(j * kStripRows + r) * 4 + i] * a[4 * j + i];
            for (int64_t r = 0; r < kStripRows; ++r)
                sum[r] += static_cast<float>(dot[r]) *
                          (f16_to_f32(load_u16(block + 2 * r)) * row.scales[b]);
        }
    }
};

struct Q4 {
    static constexpr int64_t kBlockBytes = kStripRows * (2 + 2 + kBlock / 2);

    static void add(const std::byte* strip, int64_t blocks, const Activations& row, float* sum) {
        for (int64_t b = 0; b < blocks; ++b) {
            const std::byte* block = strip + b * kBlockBytes;
            const auto* codes = reinterpret_cast<const uint8_t*>(block + 4 * kStripRows);
            const int8_t* a = row.codes + b * kBlock;
            int32_t dot[kStripRows] = {};
            for (int64_t j = 0; j < kBlock / 8; ++j)
                for (int64_t r = 0; r < kStripRows; ++r)
                    for (int64_t i = 0; i < 4; ++i) {
                        const int code = codes[(j * kStripRows + r) * 4 + i];
                        dot[r] += (code & 15) * a[4 * j + i] + (code >> 4) * a[16 + 4 * j + i];
                    }
            for (int64_t r = 0; r < kStripRows; ++r) {
                const float scale = f16_to_f32(load_u16(block + 2 * r));
                const float offset = f16_to_f32(load_u16(block + 2 * kStripRows + 2 * r));
                sum[r] += static_cast<float>(dot[r]) * (scale * row.scales[b]);
                sum[r] += offset * row.sums[b];
            }
        }
    }
};

template<class Type>
void linear_quantized(const std::byte* weights, int64_t strips, int64_t blocks, const std::byte* x,
                      int64_t x_stride, int64_t tokens, float* out, int64_t out_stride) {
    const auto each = [&](const std::byte* strip, const std::byte* row, float* to) {
        float sum[kStripRows] = {};
        Type::add(strip, blocks, Activations(row, blocks), sum);
        std::copy_n(sum, kStripRows, to);
    };
    for_strips(weights, strips, blocks * Type::kBlockBytes, x, x_stride, tokens, out, out_stride,
               each);
}

template<class Type>
void linear_part(const std::byte* weights, int64_t first, int64_t count, int64_t blocks,
                 const std::byte* x, float* out) {
    if (first == 0) std::fill_n(out, kStripRows, 0.0f);
    Type::add(weights, count, Activations(x, blocks, first), out);
}

// Weights that are not quantised: `load` gives the one at a place of a strip.
template<class Load>
void linear_float(Load load, int64_t bytes_each, const std::byte* weights, int64_t strips,
                  int64_t cols, const float* x, int64_t x_stride, int64_t tokens, float* out,
                  int64_t out_stride) {
    const auto each = [&](const std::byte* strip, const float* row, float* to) {
        float sum[kStripRows] = {};
        for (int64_t c = 0; c < cols; ++c)
            for (int64_t r = 0; r < kStripRows; ++r)
                sum[r] += load(strip + (c * kStripRows + r) * bytes_each) * row[c];
        std::copy_n(sum, kStripRows, to);
    };
    for_strips(weights, strips, cols * kStripRows * bytes_each, x, x_stride, tokens, out,
               out_stride, each);
}

void linear_f16(const std::byte* weights, int64_t strips, int64_t cols, const float* x,
                int64_t x_stride, int64_t tokens, float* out, int64_t out_stride) {
    linear_float([](const std::byte* at) { return f16_to_f32(load_u16(at)); }, 2, weights, strips,
                 cols, x, x_stride, tokens, out, out_stride);
}

void linear_f32(const std::byte* weights, int64_t strips, int64_t cols, const float* x,
                int64_t x_stride, int64_t tokens, float* out, int64_t out_stride) {
    linear_float([](const std::byte* at) { return *reinterpret_cast<const float*>(at); }, 4,
                 weights, strips, cols, x, x_stride, tokens, out, out_stride);
}

void quantize(const float* x, int64_t n, const QuantizedRow& row) {
    for (int64_t b = 0; b < block_count(n); ++b) {
        const int64_t filled = std::min(kBlock, n - b * kBlock);
        const float* in = x + b * kBlock;
        int8_t* out = row.codes + b * kBlock;
        float largest = 0;
        bool finite = true;
        for (int64_t i = 0; i < filled; ++i) {
            largest = std::max(largest, std::fabs(in[i]));
            finite = finite && std::isfinite(in[i]);
        }
        const float scale = finite ? largest / 127.0f : std::numeric_limits<float>::quiet_NaN();
        const float inverse = finite && largest > 0 ? 127.0f / largest : 0.0f;
        int32_t sum = 0;
        for (int64_t i = 0; i < kBlock; ++i) {
            const bool coded = finite && i < filled;
            out[i] = coded ? static_cast<int8_t>(std::nearbyint(in[i] * inverse)) : int8_t{0};
            sum += out[i];
        }
        row.scales[b] = scale;
        row.sums[b] = scale * static_cast<float>(sum);
        row.biases[b] = -128 * sum;
    }
}

// Takes positions first … last - 1 into the state: their weights, and what older values shrink by.
float soften(const float* score, int64_t first, int64_t last, AttentionState& state,
             float* weight) {
    float max = state.max;
    for (int64_t p = first; p < last; ++p) max = std::max(max, score[p]);
    const float shrink = exp_f32(state.max - max);
    state.max = max;
    state.sum *= shrink;
    for (int64_t p = first; p < last; ++p) {
        weight[p] = exp_f32(score[p] - max);
        state.sum += weight[p];
    }
    return shrink;
}

void attend_one(const float* query, int64_t width, const KvHead& head, int64_t first, int64_t last,
                AttentionState& state) {
    const auto* k = reinterpret_cast<const uint16_t*>(head.keys);
    const auto* v = reinterpret_cast<const uint16_t*>(head.values);
    float score[kKvBlock] = {}, weight[kKvBlock] = {};
    for (int64_t d = 0; d < width; ++d)
        for (int64_t p = 0; p < kKvBlock; ++p)
            score[p] += query[d] * f16_to_f32(k[d * kKvBlock + p]);
    const float shrink = soften(score, first, last, state, weight);
    for (int64_t d = 0; d < width; ++d) state.values[d] *= shrink;
    for (int64_t p = first; p < last; ++p)
        for (int64_t d = 0; d < width; ++d)
            state.values[d] += weight[p] * f16_to_f32(v[p * width + d]);
}

void attend_f16(const float* queries, int64_t count, int64_t width, const KvHead& head,
                int64_t first, int64_t last, AttentionState* states) {
    for (int64_t q = 0; q < count; ++q)
        attend_one(queries + q * width, width, head, first, last, states[q]);
}

// x[n] >= 0 or of any sign to codes of at most kMostCode: the factor that takes them back, NaN if x
// is not finite. What is too small for an f32 reciprocal counts as zero.
constexpr float kMostCode = 32767, kLeast = 1e-30f;

float to_int16(const float* x, int64_t n, int16_t* codes) {
    float largest = 0;
    bool finite = true;
    for (int64_t i = 0; i < n; ++i) {
        largest = std::max(largest, std::fabs(x[i]));
        finite = finite && std::isfinite(x[i]);
    }
    const float inverse = finite && largest > kLeast ? kMostCode / largest : 0.0f;
    for (int64_t i = 0; i < n; ++i)
        codes[i] = finite ? static_cast<int16_t>(std::nearbyint(x[i] * inverse)) : int16_t{0};
    return finite ? largest / kMostCode : std::numeric_limits<float>::quiet_NaN();
}

void attend_q8(const int16_t* query, const float* query_scales, int64_t width, const KvHead& head,
               int64_t first, int64_t last, AttentionState& state) {
    const auto* k = reinterpret_cast<const int8_t*>(head.keys);
    const auto* v = reinterpret_cast<const int8_t*>(head.values);
    const int64_t columns = (width + kKvKeyGroup - 1) / kKvKeyGroup * kKvKeyGroup;
    const auto scale = [](const std::byte* scales, int64_t group, int64_t p) {
        return f16_to_f32(load_u16(scales + 2 * (group * kKvBlock + p)));
    };
    float score[kKvBlock] = {}, weight[kKvBlock] = {};
    for (int64_t g = 0; g * kKvKeyGroup < width; ++g) {
        int32_t dot[kKvBlock] = {};
        for (int64_t d = g * kKvKeyGroup; d < std::min(width, (g + 1) * kKvKeyGroup); ++d)
            for (int64_t p = 0; p < kKvBlock; ++p)
                dot[p] += k[(d / 2 * kKvBlock + p) * 2 + d % 2] * query[d];
        for (int64_t p = 0; p < kKvBlock; ++p)
            score[p] +=
                static_cast<float>(dot[p]) * (scale(head.key_scales, g, p) * query_scales[g]);
    }
    const float shrink = soften(score, first, last, state, weight);
    for (int64_t g = 0; g * kKvValueGroup < width; ++g) {
        float scaled[kKvBlock] = {};
        for (int64_t p = first; p < last; ++p)
            scaled[p] = weight[p] * scale(head.value_scales, g, p);
        int16_t codes[kKvBlock];
        const float factor = to_int16(scaled, kKvBlock, codes);
        for (int64_t d = g * kKvValueGroup; d < std::min(width, (g + 1) * kKvValueGroup); ++d) {
            int32_t sum = 0;
            for (int64_t p = first; p < last; ++p)
                sum += v[(p / 2 * columns + d) * 2 + p % 2] * codes[p];
            state.values[d] = state.values[d] * shrink + static_cast<float>(sum) * factor;
        }
    }
}

// Sixteen partial sums in a fixed order.
void rms_norm(float* x, const float* weight, int64_t n, float eps) {
    constexpr int64_t kLanes = 16;
    float lanes[kLanes] = {};
    for (int64_t i = 0; i < n; ++i) lanes[i % kLanes] += x[i] * x[i];
    for (int64_t half = kLanes / 2; half > 0; half /= 2)
        for (int64_t lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
    const float scale = 1.0f / std::sqrt(lanes[0] / static_cast<float>(n) + eps);
    for (int64_t i = 0; i < n; ++i) x[i] = x[i] * scale * weight[i];
}

void rope(float* x, const float* cosine, const float* sine, int64_t half) {
    for (int64_t i = 0; i < half; ++i) {
        const float a = x[i], b = x[half + i];
        x[i] = a * cosine[i] - b * sine[i];
        x[half + i] = a * sine[i] + b * cosine[i];
    }
}

void silu(float* x, int64_t n) {
    for (int64_t i = 0; i < n; ++i) x[i] = silu_f32(x[i]);
}

void gelu(float* x, int64_t n) {
    for (int64_t i = 0; i < n; ++i) x[i] = gelu_f32(x[i]);
}

}  // namespace

QuantizedRow quantized_row(std::byte* row, int64_t blocks, int64_t first) {
    auto* scales = reinterpret_cast<float*>(row + blocks * kBlock);
    return {.codes = reinterpret_cast<int8_t*>(row) + first * kBlock,
            .scales = scales + first,
            .sums = scales + blocks + first,
            .biases = reinterpret_cast<int32_t*>(scales + 2 * blocks) + first};
}

void quantize_query(const float* x, int64_t n, int16_t* codes, float* scales) {
    for (int64_t g = 0; g * kKvKeyGroup < n; ++g) {
        const int64_t filled = std::min(kKvKeyGroup, n - g * kKvKeyGroup);
        scales[g] = to_int16(x + g * kKvKeyGroup, filled, codes + g * kKvKeyGroup);
        std::fill(codes + g * kKvKeyGroup + filled, codes + (g + 1) * kKvKeyGroup, int16_t{0});
    }
}

const Kernels& portable_kernels() {
    static const Kernels table{"portable",
                               linear_quantized<Q8>,
                               linear_quantized<Q4>,
                               linear_part<Q8>,
                               linear_part<Q4>,
                               linear_f16,
                               linear_f32,
                               quantize,
                               attend_f16,
                               attend_q8,
                               rms_norm,
                               rope,
                               silu,
                               gelu,
                               portable_exponentials};
    return table;
}

}  // namespace llmsql
