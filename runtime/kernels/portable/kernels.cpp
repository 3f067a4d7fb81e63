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

// A q8 row of activations: where its codes, scales and sums lie.
struct QuantizedRow {
    const int8_t* codes;
    const float* scales;
    const float* sums;

    QuantizedRow(const std::byte* row, int64_t blocks)
        : codes(reinterpret_cast<const int8_t*>(row)),
          scales(reinterpret_cast<const float*>(row + blocks * kBlock)),
          sums(scales + blocks) {}
};

void linear_q8(const std::byte* strip, int64_t blocks, const std::byte* x, int64_t x_stride,
               int64_t tokens, float* out, int64_t out_stride) {
    constexpr int64_t kBlockBytes = kStripRows * (2 + kBlock);
    for (int64_t t = 0; t < tokens; ++t) {
        const QuantizedRow row(x + t * x_stride, blocks);
        float sum[kStripRows] = {};
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
        std::copy_n(sum, kStripRows, out + t * out_stride);
    }
}

void linear_q4(const std::byte* strip, int64_t blocks, const std::byte* x, int64_t x_stride,
               int64_t tokens, float* out, int64_t out_stride) {
    constexpr int64_t kBlockBytes = kStripRows * (2 + 2 + kBlock / 2);
    for (int64_t t = 0; t < tokens; ++t) {
        const QuantizedRow row(x + t * x_stride, blocks);
        float sum[kStripRows] = {};
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
        std::copy_n(sum, kStripRows, out + t * out_stride);
    }
}

template<class Load>
void linear_float(Load load, int64_t cols, const float* x, int64_t x_stride, int64_t tokens,
                  float* out, int64_t out_stride) {
    for (int64_t t = 0; t < tokens; ++t) {
        float sum[kStripRows] = {};
        for (int64_t c = 0; c < cols; ++c)
            for (int64_t r = 0; r < kStripRows; ++r)
                sum[r] += load(c * kStripRows + r) * x[t * x_stride + c];
        std::copy_n(sum, kStripRows, out + t * out_stride);
    }
}

void linear_f16(const std::byte* strip, int64_t cols, const float* x, int64_t x_stride,
                int64_t tokens, float* out, int64_t out_stride) {
    linear_float([strip](int64_t i) { return f16_to_f32(load_u16(strip + 2 * i)); }, cols, x,
                 x_stride, tokens, out, out_stride);
}

void linear_f32(const std::byte* strip, int64_t cols, const float* x, int64_t x_stride,
                int64_t tokens, float* out, int64_t out_stride) {
    const auto* weights = reinterpret_cast<const float*>(strip);
    linear_float([weights](int64_t i) { return weights[i]; }, cols, x, x_stride, tokens, out,
                 out_stride);
}

void quantize(const float* x, int64_t n, int8_t* codes, float* scales, float* sums) {
    for (int64_t b = 0; b < block_count(n); ++b) {
        const int64_t filled = std::min(kBlock, n - b * kBlock);
        const float* in = x + b * kBlock;
        int8_t* out = codes + b * kBlock;
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
        scales[b] = scale;
        sums[b] = scale * static_cast<float>(sum);
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

void attend_f16(const float* query, int64_t width, const KvHead& head, int64_t first, int64_t last,
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

void silu(float* x, int64_t n) {
    for (int64_t i = 0; i < n; ++i) x[i] = silu_f32(x[i]);
}

void gelu(float* x, int64_t n) {
    for (int64_t i = 0; i < n; ++i) x[i] = gelu_f32(x[i]);
}

}  // namespace

void quantize_query(const float* x, int64_t n, int16_t* codes, float* scales) {
    for (int64_t g = 0; g * kKvKeyGroup < n; ++g) {
        const int64_t filled = std::min(kKvKeyGroup, n - g * kKvKeyGroup);
        scales[g] = to_int16(x + g * kKvKeyGroup, filled, codes + g * kKvKeyGroup);
        std::fill(codes + g * kKvKeyGroup + filled, codes + (g + 1) * kKvKeyGroup, int16_t{0});
    }
}

const Kernels& portable_kernels() {
    static const Kernels table{"portable", linear_q8,  linear_q4, linear_f16, linear_f32,
                               quantize,   attend_f16, attend_q8, silu,       gelu};
    return table;
}

}  // namespace llmsql
