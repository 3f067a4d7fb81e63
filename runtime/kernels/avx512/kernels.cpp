// SPDX-License-Identifier: MIT
// The kernels for x86-64 with AVX-512 F, BW, DQ, VL and VNNI. Same results as the portable ones to
// rounding.
//
// This file is compiled with those instruction sets enabled, so it must not define or instantiate
// inline functions that others share: it includes no standard containers.
#include "runtime/kernels/kernels.h"

#if defined(__x86_64__)

#include "runtime/kernels/avx512/vectors.h"
#include "runtime/kernels/formats.h"
#include "runtime/kernels/scans.h"

namespace llmsql {
namespace {

// The first `count` of sixteen lanes.
__mmask16 lanes(int64_t count) {
    return static_cast<__mmask16>(count >= 16 ? 0xffff : (1u << count) - 1);
}

// Sixteen lanes of which those in `mask` are the floats at p, the others 0.
__m512 load_some(__mmask16 mask, const float* p) {
    return _mm512_maskz_loadu_ps(mask, p);
}

void quantize(const float* x, int64_t n, const QuantizedRow& row) {
    for (int64_t b = 0; b * kBlock < n; ++b) {
        const float* in = x + b * kBlock;
        const int64_t filled = n - b * kBlock;
        const __m512 low = load_some(lanes(filled), in);
        const __m512 high =
            filled > 16 ? load_some(lanes(filled - 16), in + 16) : _mm512_setzero_ps();
        const __m512 magnitude[2] = {_mm512_abs_ps(low), _mm512_abs_ps(high)};
        const __m512 most = _mm512_set1_ps(__FLT_MAX__);
        const bool finite = (_mm512_cmp_ps_mask(magnitude[0], most, _CMP_NLE_UQ) |
                             _mm512_cmp_ps_mask(magnitude[1], most, _CMP_NLE_UQ)) == 0;
        const float max =
            finite ? _mm512_reduce_max_ps(_mm512_max_ps(magnitude[0], magnitude[1])) : 0.0f;
        const __m512 inverse = _mm512_set1_ps(max > kLeastCoded ? 127.0f / max : 0.0f);
        const __mmask16 coded = finite ? 0xffff : 0;
        const __m512i first = _mm512_maskz_cvtps_epi32(coded, _mm512_mul_ps(low, inverse));
        const __m512i second = _mm512_maskz_cvtps_epi32(coded, _mm512_mul_ps(high, inverse));
        auto* codes = reinterpret_cast<__m128i*>(row.codes + b * kBlock);
        _mm_storeu_si128(codes, _mm512_cvtsepi32_epi8(first));
        _mm_storeu_si128(codes + 1, _mm512_cvtsepi32_epi8(second));
        const int32_t sum = _mm512_reduce_add_epi32(_mm512_add_epi32(first, second));
        const float scale = finite ? max / 127.0f : __builtin_nanf("");
        row.scales[b] = scale;
        row.sums[b] = scale * static_cast<float>(sum);
        row.halves[2 * b] = static_cast<int16_t>(_mm512_reduce_add_epi32(first));
        row.halves[2 * b + 1] = static_cast<int16_t>(_mm512_reduce_add_epi32(second));
    }
}

// e^x as in kernels/math.h, sixteen at a time. Of a NaN and a number, min and max give their second
// operand: so NaN stays NaN.
__m512 exp16(__m512 x) {
    const __m512 clamped =
        _mm512_max_ps(_mm512_set1_ps(-87.0f), _mm512_min_ps(_mm512_set1_ps(88.0f), x));
    const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(clamped, _mm512_set1_ps(1.44269504f)),
                                          _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), clamped);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.0f / 5040);
    for (const float c : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f})
        p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(c));
    const __mmask16 tiny = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-87.0f), _CMP_LT_OQ);
    return _mm512_maskz_scalef_ps(static_cast<__mmask16>(~tiny), p, n);
}

// Which of a block's 32 positions are in [first, last).
struct Inside {
    __mmask16 low, high;
};
Inside inside(int64_t first, int64_t last) {
    const auto bits =
        static_cast<uint32_t>(((uint64_t{1} << last) - 1) & ~((uint64_t{1} << first) - 1));
    return {static_cast<__mmask16>(bits), static_cast<__mmask16>(bits >> 16)};
}

// What `add` makes of the lanes of each of up to eight vectors: that of x[q] stands at place(q) of
// sixteen. Lanes 8 apart are added first, then those 4, 2 and 1 apart, as _mm512_reduce_add_ps
// does.
constexpr int place(int q) {
    return q % 4 * 4 + q / 4;
}
template<int N, class Add>
LLMSQL_INLINE inline __m512 across(const __m512 (&x)[N], const Add& add) {
    const auto at = [&](int q) LLMSQL_INLINE { return x[q < N ? q : N - 1]; };
    __m512 two[4], four[2];
    for (int i = 0; i < 4; ++i) {
        const __m512 a = at(2 * i), b = at(2 * i + 1);
        two[i] = add(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    }
    for (int i = 0; i < 2; ++i) {
        const __m512 a = two[2 * i], b = two[2 * i + 1];
        four[i] = add(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
    }
    const __m512 all =
        add(_mm512_shuffle_ps(four[0], four[1], 0x44), _mm512_shuffle_ps(four[0], four[1], 0xee));
    return add(_mm512_shuffle_ps(all, all, 0x88), _mm512_shuffle_ps(all, all, 0xdd));
}

// Takes the positions `in` into the states: scores become weights (those of others are 0), and
// `shrink` what older values shrink by.
template<int Queries>
LLMSQL_INLINE inline void soften(float (&score)[Queries][kKvBlock], Inside in,
                                 AttentionState* states, float (&shrink)[Queries]) {
    const __m512 none = _mm512_set1_ps(-__builtin_inff());
    const auto low = [&](int q)
                         LLMSQL_INLINE { return _mm512_mask_loadu_ps(none, in.low, score[q]); };
    const auto high = [&](int q) LLMSQL_INLINE {
        return _mm512_mask_loadu_ps(none, in.high, score[q] + 16);
    };
    __m512 each[Queries];
    for (int q = 0; q < Queries; ++q) {
        if (states[q].softcap > 0) soft_cap(score[q], kKvBlock, states[q].softcap);
        each[q] = _mm512_max_ps(low(q), high(q));
    }
    alignas(64) float largest[16], sum[16];
    _mm512_store_ps(largest, across(each, [](__m512 a, __m512 b)
                                              LLMSQL_INLINE { return _mm512_max_ps(a, b); }));
    for (int q = 0; q < Queries; ++q) {
        const float block_max = largest[place(q)], before = states[q].max;
        const float max = block_max > before ? block_max : before;
        const __m512 top = _mm512_set1_ps(max);
        shrink[q] =  // e^0 is 1, exactly
            max == before ? 1.0f : _mm512_cvtss_f32(exp16(_mm512_set1_ps(before - max)));
        states[q].max = max;
        const __m512 a = _mm512_maskz_mov_ps(in.low, exp16(_mm512_sub_ps(low(q), top)));
        const __m512 b = _mm512_maskz_mov_ps(in.high, exp16(_mm512_sub_ps(high(q), top)));
        _mm512_store_ps(score[q], a);
        _mm512_store_ps(score[q] + 16, b);
        each[q] = _mm512_add_ps(a, b);
    }
    _mm512_store_ps(
        sum, across(each, [](__m512 a, __m512 b) LLMSQL_INLINE { return _mm512_add_ps(a, b); }));
    for (int q = 0; q < Queries; ++q) states[q].sum = states[q].sum * shrink[q] + sum[place(q)];
}

// A float in all lanes, by the integers' instruction: the floats' takes, on Zen 4, turns with
// conversions and multiply-adds.
LLMSQL_INLINE inline __m512 broadcast(const float* x) {
    int32_t bits;
    __builtin_memcpy(&bits, x, sizeof bits);
    return _mm512_castsi512_ps(_mm512_set1_epi32(bits));
}

// Columns of the values that are computed together: two vectors of each query head.
constexpr int64_t kColumns = 32;

template<int Queries>
void Avx512::attend_heads(const float* queries, int64_t width, const KvHead& head, int64_t first,
                          int64_t last, AttentionState* states) {
    const auto* k = reinterpret_cast<const uint16_t*>(head.keys);
    const auto* v = reinterpret_cast<const uint16_t*>(head.values);
    __m512 sum[Queries][2];
    for (auto& of_query : sum) of_query[0] = of_query[1] = _mm512_setzero_ps();
    for (int64_t d = 0; d < width; ++d) {
        const __m512 low = load_halves(k + d * kKvBlock), high = load_halves(k + d * kKvBlock + 16);
        for (int q = 0; q < Queries; ++q) {
            const __m512 x = broadcast(&queries[q * width + d]);
            sum[q][0] = _mm512_fmadd_ps(x, low, sum[q][0]);
            sum[q][1] = _mm512_fmadd_ps(x, high, sum[q][1]);
        }
    }
    alignas(64) float weight[Queries][kKvBlock];
    for (int q = 0; q < Queries; ++q) {
        _mm512_store_ps(weight[q], sum[q][0]);
        _mm512_store_ps(weight[q] + 16, sum[q][1]);
    }
    float shrink[Queries];
    soften(weight, inside(first, last), states, shrink);
    const auto add_columns = [&]<bool Whole>(int64_t d, __mmask16 low,
                                             __mmask16 high) LLMSQL_INLINE {
        __m512 value[Queries][2];
        for (int q = 0; q < Queries; ++q) {
            const __m512 s = _mm512_set1_ps(shrink[q]);
            value[q][0] = _mm512_mul_ps(load_some(low, states[q].values + d), s);
            value[q][1] = _mm512_mul_ps(load_some(high, states[q].values + d + 16), s);
        }
        for (int64_t p = first; p < last; ++p) {
            const uint16_t* at = v + p * width + d;
            const __m512 a =
                Whole ? load_halves(at) : _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(low, at));
            const __m512 b = Whole ? load_halves(at + 16)
                                   : _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(high, at + 16));
            for (int q = 0; q < Queries; ++q) {
                const __m512 w = broadcast(&weight[q][p]);
                value[q][0] = _mm512_fmadd_ps(w, a, value[q][0]);
                value[q][1] = _mm512_fmadd_ps(w, b, value[q][1]);
            }
        }
        for (int q = 0; q < Queries; ++q) {
            _mm512_mask_storeu_ps(states[q].values + d, low, value[q][0]);
            _mm512_mask_storeu_ps(states[q].values + d + 16, high, value[q][1]);
        }
    };
    int64_t d = 0;
    for (; d + kColumns <= width; d += kColumns)
        add_columns.template operator()<true>(d, 0xffff, 0xffff);
    if (d < width)
        add_columns.template operator()<false>(d, lanes(width - d),
                                               width - d > 16 ? lanes(width - d - 16) : 0);
}

// Thirty-two int8 codes as sixteen lanes of two int16.
__m512i load_codes(const int8_t* codes) {
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes)));
}

// The products of two in each lane, added.
LLMSQL_INLINE inline __m512i add_products(__m512i sum, __m512i codes, __m512i pair) {
    sum = _mm512_dpwssd_epi32(sum, codes, pair);
    asm("" : "+v"(sum));  // else a compiler moves sums from register to register
    return sum;
}

__m512i broadcast2(const int16_t* codes) {
    int32_t two;
    __builtin_memcpy(&two, codes, sizeof two);
    return _mm512_set1_epi32(two);
}

LLMSQL_INLINE inline __m512 larger_bits(__m512 a, __m512 b) {
    return _mm512_castsi512_ps(_mm512_max_epu32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
}

// The weights of a group's 32 values, weight * scale, as int16 codes, and the factors that take
// them back: NaN where a weight is not finite. As the portable to_int16().
template<int Queries>
LLMSQL_INLINE inline void weigh(const float (&weight)[Queries][kKvBlock], const uint16_t* scales,
                                Inside in, int16_t (&codes)[Queries][kKvBlock],
                                float (&factor)[16]) {
    const __m512 scale[2] = {load_halves(scales), load_halves(scales + 16)};
    __m512 scaled[Queries][2], each[Queries];
    for (int q = 0; q < Queries; ++q) {
        // What is stored at positions outside may be anything, NaN too.
        scaled[q][0] = _mm512_maskz_mul_ps(in.low, scale[0], _mm512_load_ps(weight[q]));
        scaled[q][1] = _mm512_maskz_mul_ps(in.high, scale[1], _mm512_load_ps(weight[q] + 16));
        each[q] = larger_bits(scaled[q][0], scaled[q][1]);
    }
    // None is below 0: the largest bits are those of the largest number, or of none.
    const __m512 max = across(each, larger_bits);
    const __mmask16 finite = _mm512_cmp_ps_mask(max, _mm512_set1_ps(__FLT_MAX__), _CMP_LE_OQ);
    const __mmask16 coded =
        _mm512_mask_cmp_ps_mask(finite, max, _mm512_set1_ps(1e-30f), _CMP_GT_OQ);
    const __m512 most = _mm512_set1_ps(32767.0f);
    alignas(64) float inverse[16];
    _mm512_store_ps(inverse, _mm512_maskz_div_ps(coded, most, max));
    _mm512_store_ps(factor,
                    _mm512_mask_div_ps(_mm512_set1_ps(__builtin_nanf("")), finite, max, most));
    for (int q = 0; q < Queries; ++q)
        for (int i = 0; i < 2; ++i) {
            const __m512i code =
                _mm512_cvtps_epi32(_mm512_mul_ps(scaled[q][i], _mm512_set1_ps(inverse[place(q)])));
            _mm256_store_si256(reinterpret_cast<__m256i*>(codes[q] + 16 * i),
                               _mm512_cvtsepi32_epi16(code));
        }
}

template<int Queries>
void Avx512::attend_heads_q8(const int16_t* queries, const float* query_scales, int64_t width,
                             const KvHead& head, int64_t first, int64_t last,
                             AttentionState* states) {
    const auto* k = reinterpret_cast<const int8_t*>(head.keys);
    const auto* v = reinterpret_cast<const int8_t*>(head.values);
    const auto* k_scales = reinterpret_cast<const uint16_t*>(head.key_scales);
    const auto* v_scales = reinterpret_cast<const uint16_t*>(head.value_scales);
    const int64_t groups = (width + kKvKeyGroup - 1) / kKvKeyGroup;
    const int64_t columns = groups * kKvKeyGroup;
    // Sums of integers and scores in registers: of up to four queries for all positions, of more
    // for sixteen at a time.
    constexpr int kVectors = Queries <= 4 ? 2 : 1;
    alignas(64) float score[Queries][kKvBlock];
    for (int64_t at = 0; at < kKvBlock; at += 16 * kVectors) {
        __m512 sum[Queries][kVectors];
        for (auto& of_query : sum)
            for (__m512& s : of_query) s = _mm512_setzero_ps();
        for (int64_t g = 0; g < groups; ++g) {
            const int64_t stride = unknown(groups);
            __m512i dot[Queries][kVectors];
            for (auto& of_query : dot)
                for (__m512i& d : of_query) d = _mm512_setzero_si512();
            const int8_t* keys = k + g * kKvKeyGroup * kKvBlock + 2 * at;
            const int16_t* query = queries + g * kKvKeyGroup;
            unroll<kKvKeyGroup / 2>([&]<int Pair>() LLMSQL_INLINE {
                __m512i codes[kVectors];
                for (int i = 0; i < kVectors; ++i)
                    codes[i] = load_codes(keys + Pair * 2 * kKvBlock + 32 * i);
                for (int q = 0; q < Queries; ++q) {
                    const __m512i two = broadcast2(query + q * stride * kKvKeyGroup + 2 * Pair);
                    for (int i = 0; i < kVectors; ++i)
                        dot[q][i] = add_products(dot[q][i], codes[i], two);
                }
            });
            for (int i = 0; i < kVectors; ++i) {
                const __m512 scale = load_halves(k_scales + g * kKvBlock + at + 16 * i);
                for (int q = 0; q < Queries; ++q) {
                    const __m512 by = _mm512_set1_ps(query_scales[q * stride + g]);
                    sum[q][i] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[q][i]),
                                                _mm512_mul_ps(scale, by), sum[q][i]);
                }
            }
        }
        for (int q = 0; q < Queries; ++q)
            for (int i = 0; i < kVectors; ++i) _mm512_store_ps(score[q] + at + 16 * i, sum[q][i]);
    }
    float shrink[Queries];
    const Inside in = inside(first, last);
    soften(score, in, states, shrink);

    const auto add_columns = [&]<bool Whole>(int64_t d) LLMSQL_INLINE {
        alignas(64) int16_t codes[Queries][kKvBlock];
        alignas(64) float factor[16];
        weigh(score, v_scales + d / kKvValueGroup * kKvBlock, in, codes, factor);
        // A row of pairs ends at `columns`: what would be read beyond is masked.
        const auto held = [&](const int8_t* at, int64_t column) LLMSQL_INLINE {
            if constexpr (Whole) return load_codes(at);
            const int64_t left = columns - column;
            const uint32_t bytes = left >= 16 ? ~0u : (1u << 2 * (left > 0 ? left : 0)) - 1;
            return _mm512_cvtepi8_epi16(_mm256_maskz_loadu_epi8(bytes, at));
        };
        __m512i sum[Queries][2];
        for (int q = 0; q < Queries; ++q) sum[q][0] = sum[q][1] = _mm512_setzero_si512();
        for (int64_t pair = first / 2; 2 * pair < last; ++pair) {
            const int8_t* at = v + 2 * (pair * columns + d);
            const __m512i a = held(at, d), b = held(at + 32, d + 16);
            for (int q = 0; q < Queries; ++q) {
                const __m512i two = broadcast2(codes[q] + 2 * pair);
                sum[q][0] = add_products(sum[q][0], a, two);
                sum[q][1] = add_products(sum[q][1], b, two);
            }
        }
        for (int half = 0; half < 2; ++half) {
            const int64_t left = width - d - 16 * half;
            const __mmask16 filled = Whole ? 0xffff : lanes(left > 0 ? left : 0);
            for (int q = 0; q < Queries; ++q) {
                float* values = states[q].values + d + 16 * half;
                const __m512 before =
                    _mm512_mul_ps(load_some(filled, values), _mm512_set1_ps(shrink[q]));
                _mm512_mask_storeu_ps(values, filled,
                                      _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[q][half]),
                                                      _mm512_set1_ps(factor[place(q)]), before));
            }
        }
    };
    int64_t d = 0;
    for (; d + kColumns <= width; d += kColumns) add_columns.template operator()<true>(d);
    if (d < width) add_columns.template operator()<false>(d);
}

void rms_norm(float* x, const float* weight, int64_t n, float eps) {
    __m512 squares = _mm512_setzero_ps();
    for (int64_t i = 0; i < n; i += 16) {
        const __m512 value = load_some(lanes(n - i), x + i);
        squares = _mm512_fmadd_ps(value, value, squares);
    }
    const float mean = _mm512_reduce_add_ps(squares) / static_cast<float>(n);
    const __m512 scale = _mm512_set1_ps(1.0f / __builtin_sqrtf(mean + eps));
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes(n - i);
        const __m512 value = _mm512_mul_ps(load_some(mask, x + i), scale);
        _mm512_mask_storeu_ps(x + i, mask, _mm512_mul_ps(value, load_some(mask, weight + i)));
    }
}

void rope(float* x, const float* cosine, const float* sine, int64_t half) {
    for (int64_t i = 0; i < half; i += 16) {
        const __mmask16 mask = lanes(half - i);
        const __m512 a = load_some(mask, x + i), b = load_some(mask, x + half + i);
        const __m512 c = load_some(mask, cosine + i), s = load_some(mask, sine + i);
        _mm512_mask_storeu_ps(x + i, mask, _mm512_sub_ps(_mm512_mul_ps(a, c), _mm512_mul_ps(b, s)));
        _mm512_mask_storeu_ps(x + half + i, mask,
                              _mm512_add_ps(_mm512_mul_ps(a, s), _mm512_mul_ps(b, c)));
    }
}

// x / (1 + e^-u) over x[n], where u is a function of x.
template<class Exponent>
void gate(float* x, int64_t n, Exponent exponent) {
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 mask = lanes(n - i);
        const __m512 v = load_some(mask, x + i);
        const __m512 e = exp16(_mm512_sub_ps(_mm512_setzero_ps(), exponent(v)));
        _mm512_mask_storeu_ps(x + i, mask,
                              _mm512_div_ps(v, _mm512_add_ps(_mm512_set1_ps(1.0f), e)));
    }
}

void silu(float* x, int64_t n) {
    gate(x, n, [](__m512 v) { return v; });
}

void gelu(float* x, int64_t n) {
    gate(x, n, [](__m512 v) {
        const __m512 cube = _mm512_mul_ps(_mm512_mul_ps(v, v), v);
        const __m512 u = _mm512_fmadd_ps(_mm512_set1_ps(0.044715f), cube, v);
        return _mm512_mul_ps(u, _mm512_set1_ps(2.0f * 0.797884561f));
    });
}

}  // namespace

const Kernels* avx512_kernels() {
    static const Kernels table{"avx512",
                               kLinears<Avx512>.of,
                               quantize,
                               attend_f16<Avx512>,
                               attend_q8<Avx512>,
                               rms_norm,
                               rope,
                               silu,
                               gelu,
                               convolve<Avx512>,
                               recur<Avx512>,
                               avx512_exponentials};
    __builtin_cpu_init();
    const bool able = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512vnni");
    return able ? &table : nullptr;
}

}  // namespace llmsql

#else

namespace llmsql {

const Kernels* avx512_kernels() {
    return nullptr;
}

}  // namespace llmsql

#endif
