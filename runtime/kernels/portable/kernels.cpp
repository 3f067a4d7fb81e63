// SPDX-License-Identifier: MIT
// The portable kernels: plain C++, the reference that the others are compared with.
#include "runtime/kernels/kernels.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "common/half.h"
#include "runtime/kernels/formats.h"
#include "runtime/kernels/math.h"
#include "runtime/kernels/scans.h"

namespace llmsql {
namespace {

uint16_t load_u16(const std::byte* p) {
    uint16_t value;
    std::memcpy(&value, p, sizeof value);
    return value;
}

// The vocabulary (driver.h), as loops over a strip's 16 rows.
struct Portable {
    static constexpr int kRows = static_cast<int>(kStripRows), kVector = 4 * kRows;
    struct Sum {
        float row[kRows];
    };
    struct Ints {
        int32_t row[kRows];
    };
    struct Bytes {
        uint8_t byte[kVector];
    };
    struct Signed {
        int8_t code[kVector];
    };
    [[maybe_unused]] static constexpr int kTokensOfStrips = 1;
    static constexpr int kTokens = 1, kStrips = 1, kSignedBias = 0, kQueries = 1, kQueriesOfQ8 = 1;

    // each(row), of all.
    template<class Result, class Each>
    static Result rows(const Each& each) {
        Result result;
        for (int r = 0; r < kRows; ++r) result.row[r] = each(r);
        return result;
    }
    template<class Each>
    static Bytes bytes(const Each& each) {
        Bytes result;
        for (int i = 0; i < kVector; ++i) result.byte[i] = static_cast<uint8_t>(each(i));
        return result;
    }

    static Sum zero() { return {}; }
    // Weights in a mapped file lie where SQLite has put them, not on a multiple of 4.
    static Sum load(const float* p) {
        Sum result;
        std::memcpy(result.row, static_cast<const void*>(p), sizeof(result.row));
        return result;
    }
    static void store(float* p, const Sum& a) { std::copy_n(a.row, kRows, p); }
    static Sum splat(float a) {
        return rows<Sum>([&](int) { return a; });
    }
    static Sum halves(const std::byte* p) {
        return rows<Sum>([&](int r) { return f16_to_f32(load_u16(p + 2 * r)); });
    }
    static Sum mul(const Sum& a, const Sum& b) {
        return rows<Sum>([&](int r) { return a.row[r] * b.row[r]; });
    }
    static Sum fma(const Sum& a, const Sum& b, const Sum& c) {
        return rows<Sum>([&](int r) { return a.row[r] * b.row[r] + c.row[r]; });
    }
    static Sum lesser(const Sum& a, const Sum& b) {
        return rows<Sum>([&](int r) { return std::min(a.row[r], b.row[r]); });
    }

    static Ints no_ints() { return {}; }
    static Ints add_ints(const Ints& a, const Ints& b) {
        return rows<Ints>([&](int r) { return a.row[r] + b.row[r]; });
    }
    static Ints mul_ints(const Ints& a, const Ints& b) {
        return rows<Ints>([&](int r) { return a.row[r] * b.row[r]; });
    }
    static Sum to_f32(const Ints& a) {
        return rows<Sum>([&](int r) { return static_cast<float>(a.row[r]); });
    }

    static Bytes load_bytes(const std::byte* p) {
        Bytes result;
        std::memcpy(result.byte, p, kVector);
        return result;
    }
    static Bytes and_bytes(const Bytes& a, int b) {
        return bytes([&](int i) { return a.byte[i] & b; });
    }
    static Bytes and_or(const Bytes& a, int mask, const Bytes& b) {
        return bytes([&](int i) { return (a.byte[i] & mask) | b.byte[i]; });
    }
    /// The highest bits of the first 32 bytes, the first one's the lowest.
    static uint32_t signs(const Bytes& a) {
        uint32_t bits = 0;
        for (int i = 0; i < 32; ++i) bits |= static_cast<uint32_t>(a.byte[i] >> 7) << i;
        return bits;
    }
    static void store_bytes(std::byte* p, const Bytes& a) { std::memcpy(p, a.byte, kVector); }
    /// Of each byte y 3 y, modulo 256; and 3 y / 256, rounded up.
    static Bytes triple(const Bytes& a) {
        return bytes([&](int i) { return 3 * a.byte[i]; });
    }
    static Bytes thirds(const Bytes& a) {
        return bytes([&](int i) { return (3 * a.byte[i] + 255) / 256; });
    }
    /// To the right, or, of a negative N, to the left. What comes in is masked before it is used.
    template<int N>
    static Bytes shift(const Bytes& a) {
        return bytes([&](int i) { return N < 0 ? a.byte[i] << -N : a.byte[i] >> std::max(N, 0); });
    }
    /// The values of 16 codes, each below 16.
    static Signed look_up(const Bytes& codes, const int8_t (&values)[16]) {
        Signed result;
        for (int i = 0; i < kVector; ++i) result.code[i] = values[codes.byte[i]];
        return result;
    }

    static Ints as_ints(const Bytes& a) {
        Ints result;
        std::memcpy(result.row, a.byte, kVector);
        return result;
    }
    static Sum from_bits(const Ints& a) {
        return rows<Sum>([&](int r) { return std::bit_cast<float>(a.row[r]); });
    }
    static Ints all_ints(int a) {
        return rows<Ints>([&](int) { return a; });
    }
    static Ints and_ints(const Ints& a, int b) {
        return rows<Ints>([&](int r) { return a.row[r] & b; });
    }
    static Ints max_ints(const Ints& a, const Ints& b) {
        return rows<Ints>([&](int r) { return std::max(a.row[r], b.row[r]); });
    }
    /// As shift, of dwords: zeros come in.
    template<int N>
    static Ints shift_ints(const Ints& a) {
        return rows<Ints>([&](int r) {
            const auto bits = static_cast<uint32_t>(a.row[r]);
            return static_cast<int32_t>(N < 0 ? bits << -N : bits >> std::max(N, 0));
        });
    }
    /// To the right: the sign comes in.
    template<int N>
    static Ints shift_signed(const Ints& a) {
        return rows<Ints>([&](int r) { return a.row[r] >> N; });
    }
    /// 16 bits of each row, and eight.
    static Ints load_words(const std::byte* p) {
        return rows<Ints>([&](int r) { return load_u16(p + 2 * r); });
    }
    static Ints load_octets(const std::byte* p) {
        return rows<Ints>([&](int r) { return std::to_integer<int>(p[r]); });
    }
    /// Of two int16 in each row and two in `pair`: the sum of products.
    static Ints dot_pairs(const Ints& pairs, int32_t pair) {
        const auto low = [](int32_t x) { return static_cast<int16_t>(x); };
        return rows<Ints>([&](int r) {
            return low(pairs.row[r]) * low(pair) + (pairs.row[r] >> 16) * (pair >> 16);
        });
    }
    static Signed signed_codes(const Bytes& a) {
        Signed result;
        std::memcpy(result.code, a.byte, kVector);
        return result;
    }

    template<int B, Part P>
    static Ints bias(int32_t halves) {
        const int low = static_cast<int16_t>(halves), high = halves >> 16;
        const int sum = P == Part::first16 ? low : P == Part::second16 ? high : low + high;
        return rows<Ints>([&](int) { return -B * sum; });
    }

    template<int Most>
    struct Dot {
        Ints sum;
        void start(const Ints& from) { sum = from; }
        template<int, int>
        void add(const Bytes& codes, const int8_t* x) {
            multiply(codes.byte, x);
        }
        template<int, int>
        void add(const Signed& codes, const int8_t* x) {
            multiply(codes.code, x);
        }
        template<class Code>
        void multiply(const Code* codes, const int8_t* x) {
            for (int r = 0; r < kRows; ++r)
                for (int i = 0; i < 4; ++i) sum.row[r] += codes[4 * r + i] * x[i];
        }
        Ints result() const { return sum; }
    };

    template<int Most, int S, int T>
    using Dots = EachDot<Portable, Most, S, T>;

    template<int>
    static void attend_heads(const float* query, int64_t width, const KvHead& head, int64_t first,
                             int64_t last, AttentionState* state);
    template<int>
    static void attend_heads_q8(const int16_t* query, const float* query_scales, int64_t width,
                                const KvHead& head, int64_t first, int64_t last,
                                AttentionState* states);
};

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
        const float inverse = finite && largest > kLeastCoded ? 127.0f / largest : 0.0f;
        int16_t* sum = row.halves + 2 * b;
        sum[0] = sum[1] = 0;
        for (int64_t i = 0; i < kBlock; ++i) {
            const bool coded = finite && i < filled;
            out[i] = coded ? static_cast<int8_t>(std::nearbyint(in[i] * inverse)) : int8_t{0};
            sum[i / 16] = static_cast<int16_t>(sum[i / 16] + out[i]);
        }
        row.scales[b] = scale;
        row.sums[b] = scale * static_cast<float>(sum[0] + sum[1]);
    }
}

// Takes positions first … last - 1 into the state: their weights, and what older values shrink by.
float soften(float* score, int64_t first, int64_t last, AttentionState& state, float* weight) {
    if (state.softcap > 0) soft_cap(score + first, last - first, state.softcap);
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

template<int>
void Portable::attend_heads(const float* query, int64_t width, const KvHead& head, int64_t first,
                            int64_t last, AttentionState* one) {
    AttentionState& state = *one;
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

template<int>
void Portable::attend_heads_q8(const int16_t* query, const float* query_scales, int64_t width,
                               const KvHead& head, int64_t first, int64_t last,
                               AttentionState* states) {
    AttentionState& state = *states;
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
            .halves = reinterpret_cast<int16_t*>(scales + 2 * blocks) + 2 * first};
}

void soft_cap(float* scores, int64_t n, float cap) {
    for (int64_t i = 0; i < n; ++i) scores[i] = cap * std::tanh(scores[i] / cap);
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
                               kLinears<Portable>.of,
                               quantize,
                               attend_f16<Portable>,
                               attend_q8<Portable>,
                               rms_norm,
                               rope,
                               silu,
                               gelu,
                               convolve<Portable>,
                               recur<Portable>,
                               portable_exponentials};
    return table;
}

}  // namespace llmsql
