// SPDX-License-Identifier: MIT
// The kernels for x86-64 with AVX2, FMA and F16C. Same results as the portable ones to rounding.
//
// This file alone is compiled with those instruction sets enabled, so it must not define or
// instantiate inline functions that other files share: it includes no standard containers.
#include "runtime/kernels/kernels.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>

#include "runtime/kernels/formats.h"
#include "runtime/kernels/scans.h"

namespace llmsql {
namespace {

// A strip's 16 rows are two vectors of 8.
static_assert(kStripRows == 16);

__m256 load_halves(const void* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(static_cast<const __m128i*>(p)));
}

// Four neighboring int8 codes in each of the eight lanes.
__m256i broadcast4(const int8_t* codes) {
    int32_t four;
    __builtin_memcpy(&four, codes, sizeof four);
    return _mm256_set1_epi32(four);
}

// The vocabulary (driver.h).
struct Avx2 {
    struct Sum {
        __m256 half[2];
    };
    struct Ints {
        __m256i half[2];
    };
    using Bytes = Ints;
#ifdef LLMSQL_AVX_VNNI
    using Signed = Ints;  // raised by 128
    static constexpr int kSignedBias = 128;
#else
    struct Signed {
        __m256i code[2], magnitude[2];
    };
    static constexpr int kSignedBias = 0;
#endif
    [[maybe_unused]] static constexpr int kTokensOfStrips = 4;
    static constexpr int kTokens = 4, kStrips = 1, kQueries = 4, kQueriesOfQ8 = 4;

    template<class Each>
    static LLMSQL_INLINE Ints of(Ints a, const Each& each) {
        return {{each(a.half[0]), each(a.half[1])}};
    }
    template<class Each>
    static LLMSQL_INLINE Ints of(Ints a, Ints b, const Each& each) {
        return {{each(a.half[0], b.half[0]), each(a.half[1], b.half[1])}};
    }

    static LLMSQL_INLINE Sum zero() {
        return splat(0);
    }
    static LLMSQL_INLINE Sum load(const float* p) {
        return {{_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}};
    }
    static LLMSQL_INLINE void store(float* p, Sum a) {
        _mm256_storeu_ps(p, a.half[0]);
        _mm256_storeu_ps(p + 8, a.half[1]);
    }
    static LLMSQL_INLINE Sum splat(float a) {
        return {{_mm256_set1_ps(a), _mm256_set1_ps(a)}};
    }
    static LLMSQL_INLINE Sum halves(const std::byte* p) {
        return {{load_halves(p), load_halves(p + 16)}};
    }
    static LLMSQL_INLINE Sum mul(Sum a, Sum b) {
        return {{_mm256_mul_ps(a.half[0], b.half[0]), _mm256_mul_ps(a.half[1], b.half[1])}};
    }
    static LLMSQL_INLINE Sum fma(Sum a, Sum b, Sum c) {
        return {{_mm256_fmadd_ps(a.half[0], b.half[0], c.half[0]),
                 _mm256_fmadd_ps(a.half[1], b.half[1], c.half[1])}};
    }
    static LLMSQL_INLINE Sum lesser(Sum a, Sum b) {
        return {{_mm256_min_ps(a.half[0], b.half[0]), _mm256_min_ps(a.half[1], b.half[1])}};
    }

    static LLMSQL_INLINE Ints both(__m256i a) {
        return {{a, a}};
    }
    static LLMSQL_INLINE Ints no_ints() {
        return both(_mm256_setzero_si256());
    }
    static LLMSQL_INLINE Ints add_ints(Ints a, Ints b) {
        return {{_mm256_add_epi32(a.half[0], b.half[0]), _mm256_add_epi32(a.half[1], b.half[1])}};
    }
    static LLMSQL_INLINE Ints mul_ints(Ints a, Ints b) {
        return {
            {_mm256_mullo_epi32(a.half[0], b.half[0]), _mm256_mullo_epi32(a.half[1], b.half[1])}};
    }
    static LLMSQL_INLINE Sum to_f32(Ints a) {
        return {{_mm256_cvtepi32_ps(a.half[0]), _mm256_cvtepi32_ps(a.half[1])}};
    }

    static LLMSQL_INLINE Bytes load_bytes(const std::byte* p) {
        const auto* from = reinterpret_cast<const __m256i*>(p);
        return {{_mm256_loadu_si256(from), _mm256_loadu_si256(from + 1)}};
    }
    static LLMSQL_INLINE Bytes and_bytes(Bytes a, int b) {
        const __m256i mask = _mm256_set1_epi8(static_cast<char>(b));
        return {{_mm256_and_si256(a.half[0], mask), _mm256_and_si256(a.half[1], mask)}};
    }
    static LLMSQL_INLINE Bytes and_or(Bytes a, int mask, Bytes b) {
        return of(a, b, [&](__m256i x, __m256i y) LLMSQL_INLINE {
            return _mm256_or_si256(_mm256_and_si256(x, _mm256_set1_epi8(static_cast<char>(mask))),
                                   y);
        });
    }
    template<int N>
    static LLMSQL_INLINE Bytes shift(Bytes a) {
        return of(a, [](__m256i x) LLMSQL_INLINE {
            if constexpr (N < 0) return _mm256_slli_epi16(x, -N);
            if constexpr (N > 0) return _mm256_srli_epi16(x, N);
            return x;
        });
    }
    static LLMSQL_INLINE uint32_t signs(Bytes a) {
        return static_cast<uint32_t>(_mm256_movemask_epi8(a.half[0]));
    }
    static LLMSQL_INLINE void store_bytes(std::byte* p, Bytes a) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(p), a.half[0]);
        _mm256_store_si256(reinterpret_cast<__m256i*>(p + 32), a.half[1]);
    }
    static LLMSQL_INLINE Bytes triple(Bytes a) {
        return of(
            a, [](__m256i x) LLMSQL_INLINE { return _mm256_add_epi8(x, _mm256_add_epi8(x, x)); });
    }
    // By means, which are rounded up.
    static LLMSQL_INLINE Bytes thirds(Bytes a) {
        const auto mean = [](__m256i x) LLMSQL_INLINE {
            return _mm256_avg_epu8(x, _mm256_avg_epu8(x, _mm256_set1_epi8(static_cast<char>(252))));
        };
        return and_bytes(shift<6>(of(a, mean)), 3);
    }
    static LLMSQL_INLINE Signed look_up(Bytes codes, const int8_t (&values)[16]) {
        const __m256i table =
            _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(values)));
        return signed_codes(
            of(codes, [&](__m256i x) LLMSQL_INLINE { return _mm256_shuffle_epi8(table, x); }));
    }

    static LLMSQL_INLINE Ints as_ints(Bytes a) {
        return a;
    }
    static LLMSQL_INLINE Sum from_bits(Ints a) {
        return {{_mm256_castsi256_ps(a.half[0]), _mm256_castsi256_ps(a.half[1])}};
    }
    static LLMSQL_INLINE Ints all_ints(int a) {
        return both(_mm256_set1_epi32(a));
    }
    static LLMSQL_INLINE Ints and_ints(Ints a, int b) {
        return of(
            a, [&](__m256i x) LLMSQL_INLINE { return _mm256_and_si256(x, _mm256_set1_epi32(b)); });
    }
    static LLMSQL_INLINE Ints max_ints(Ints a, Ints b) {
        return of(a, b, [](__m256i x, __m256i y) LLMSQL_INLINE { return _mm256_max_epi32(x, y); });
    }
    template<int N>
    static LLMSQL_INLINE Ints shift_ints(Ints a) {
        return of(a, [](__m256i x) LLMSQL_INLINE {
            if constexpr (N < 0) return _mm256_slli_epi32(x, -N);
            if constexpr (N > 0) return _mm256_srli_epi32(x, N);
            return x;
        });
    }
    template<int N>
    static LLMSQL_INLINE Ints shift_signed(Ints a) {
        return of(a, [](__m256i x) LLMSQL_INLINE { return _mm256_srai_epi32(x, N); });
    }
    static LLMSQL_INLINE Ints load_words(const std::byte* p) {
        const auto* from = reinterpret_cast<const __m128i*>(p);
        return {{_mm256_cvtepu16_epi32(_mm_loadu_si128(from)),
                 _mm256_cvtepu16_epi32(_mm_loadu_si128(from + 1))}};
    }
    static LLMSQL_INLINE Ints load_octets(const std::byte* p) {
        return {{_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))),
                 _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p + 8)))}};
    }
    static LLMSQL_INLINE Ints dot_pairs(Ints pairs, int32_t pair) {
        return of(pairs, [&](__m256i x) LLMSQL_INLINE {
            return _mm256_madd_epi16(x, _mm256_set1_epi32(pair));
        });
    }
#ifdef LLMSQL_AVX_VNNI
    static LLMSQL_INLINE Signed signed_codes(Bytes a) {
        return of(
            a, [](__m256i x) LLMSQL_INLINE { return _mm256_xor_si256(x, _mm256_set1_epi8(-128)); });
    }
#else
    static LLMSQL_INLINE Signed signed_codes(Bytes a) {
        return {{a.half[0], a.half[1]}, {_mm256_abs_epi8(a.half[0]), _mm256_abs_epi8(a.half[1])}};
    }
#endif

    template<int B, Part P>
    static LLMSQL_INLINE Ints bias(int32_t halves) {
        constexpr uint32_t kLow = P == Part::second16 ? 0 : static_cast<uint16_t>(-B);
        constexpr uint32_t kHigh = P == Part::first16 ? 0 : static_cast<uint16_t>(-B);
        return both(_mm256_madd_epi16(_mm256_set1_epi32(halves),
                                      _mm256_set1_epi32(static_cast<int>(kHigh << 16 | kLow))));
    }

#ifdef LLMSQL_AVX_VNNI
    template<int>
    struct Dot {
        Ints sum;
        LLMSQL_INLINE void start(Ints from) { sum = from; }
        template<int, int>
        LLMSQL_INLINE void add(Bytes codes, const int8_t* x) {
            const __m256i four = broadcast4(x);
            for (int h = 0; h < 2; ++h)
                sum.half[h] = _mm256_dpbusd_avx_epi32(sum.half[h], codes.half[h], four);
        }
        LLMSQL_INLINE Ints result() const { return sum; }
    };
#else
    // `vpmaddubsw` gives sums of two products in 16 bits, of which as many are added as surely fit.
    template<int Most>
    struct Dot {
        static constexpr int kFit = 32767 / (2 * 127 * Most);
        static_assert(kFit > 0);
        Ints sum;
        __m256i pairs[2];

        LLMSQL_INLINE void start(Ints from) { sum = from; }
        template<int K, int N>
        LLMSQL_INLINE void add(Bytes codes, const int8_t* x) {
            const __m256i four = broadcast4(x);
            for (int h = 0; h < 2; ++h) take<K, N>(h, _mm256_maddubs_epi16(codes.half[h], four));
        }
        template<int K, int N>
        LLMSQL_INLINE void add(Signed codes, const int8_t* x) {
            const __m256i four = broadcast4(x);
            for (int h = 0; h < 2; ++h)
                take<K, N>(h, _mm256_maddubs_epi16(codes.magnitude[h],
                                                   _mm256_sign_epi8(four, codes.code[h])));
        }
        template<int K, int N>
        LLMSQL_INLINE void take(int h, __m256i products) {
            pairs[h] = K % kFit == 0 ? products : _mm256_add_epi16(pairs[h], products);
            if constexpr (K % kFit == kFit - 1 || K == N - 1)
                sum.half[h] = _mm256_add_epi32(sum.half[h],
                                               _mm256_madd_epi16(pairs[h], _mm256_set1_epi16(1)));
        }
        LLMSQL_INLINE Ints result() const { return sum; }
    };
#endif

    template<int Most, int S, int T>
    using Dots = EachDot<Avx2, Most, S, T>;

    template<int Queries>
    static void attend_heads(const float* queries, int64_t width, const KvHead& head, int64_t first,
                             int64_t last, AttentionState* states);
    template<int Queries>
    static void attend_heads_q8(const int16_t* queries, const float* query_scales, int64_t width,
                                const KvHead& head, int64_t first, int64_t last,
                                AttentionState* states);
};

float horizontal_max(__m256 v) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    m = _mm_max_ss(m, _mm_movehdup_ps(m));
    return _mm_cvtss_f32(m);
}

void quantize(const float* x, int64_t n, const QuantizedRow& row) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    for (int64_t b = 0; b * kBlock < n; ++b) {
        alignas(32) float padded[kBlock];
        const float* in = x + b * kBlock;
        if (n - b * kBlock < kBlock) {
            for (int64_t i = 0; i < kBlock; ++i) padded[i] = b * kBlock + i < n ? in[i] : 0.0f;
            in = padded;
        }
        __m256 largest = _mm256_setzero_ps();
        __m256 unbounded = _mm256_setzero_ps();  // set where x is infinite or not a number
        for (int64_t i = 0; i < kBlock; i += 8) {
            const __m256 magnitude = _mm256_andnot_ps(sign, _mm256_loadu_ps(in + i));
            largest = _mm256_max_ps(largest, magnitude);
            unbounded = _mm256_or_ps(
                unbounded, _mm256_cmp_ps(magnitude, _mm256_set1_ps(__FLT_MAX__), _CMP_NLE_UQ));
        }
        const bool finite = _mm256_movemask_ps(unbounded) == 0;
        const float max = horizontal_max(largest);
        const float scale = finite ? max / 127.0f : __builtin_nanf("");
        const __m256 inverse = _mm256_set1_ps(finite && max > kLeastCoded ? 127.0f / max : 0.0f);
        __m256i code[4];
        for (int64_t i = 0; i < 4; ++i) {
            const __m256 scaled = _mm256_mul_ps(_mm256_loadu_ps(in + 8 * i), inverse);
            code[i] = finite ? _mm256_cvtps_epi32(scaled) : _mm256_setzero_si256();
        }
        // Packing works within 128-bit lanes; the permutation puts the groups of four in order.
        const __m256i words01 = _mm256_packs_epi32(code[0], code[1]);
        const __m256i words23 = _mm256_packs_epi32(code[2], code[3]);
        const __m256i bytes = _mm256_permutevar8x32_epi32(
            _mm256_packs_epi16(words01, words23), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(row.codes + b * kBlock), bytes);
        const auto sum_of = [](__m256i eight) {
            __m128i sum =
                _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
            sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
            return _mm_cvtsi128_si32(_mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1)));
        };
        const int first = sum_of(_mm256_add_epi32(code[0], code[1]));
        const int second = sum_of(_mm256_add_epi32(code[2], code[3]));
        row.scales[b] = scale;
        row.sums[b] = scale * static_cast<float>(first + second);
        row.halves[2 * b] = static_cast<int16_t>(first);
        row.halves[2 * b + 1] = static_cast<int16_t>(second);
    }
}

// e^x as in kernels/math.h, eight at a time. Of a NaN and a number, min and max give their second
// operand: so NaN stays NaN.
__m256 exp8(__m256 x) {
    const __m256 clamped =
        _mm256_max_ps(_mm256_set1_ps(-87.0f), _mm256_min_ps(_mm256_set1_ps(88.0f), x));
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(clamped, _mm256_set1_ps(1.44269504f)),
                                     _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693359375f), clamped);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(-2.12194440e-4f), r);
    __m256 p = _mm256_set1_ps(1.0f / 5040);
    for (const float c : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f})
        p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(c));
    const __m256i power =
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    const __m256 result = _mm256_mul_ps(p, _mm256_castsi256_ps(power));
    const __m256 tiny = _mm256_cmp_ps(x, _mm256_set1_ps(-87.0f), _CMP_LT_OQ);
    return _mm256_andnot_ps(tiny, result);
}

// All bits set in the lanes of positions 8 * i … 8 * i + 7 that are in [first, last).
__m256 inside(int i, int64_t first, int64_t last) {
    const __m256i position =
        _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(8 * i));
    return _mm256_castsi256_ps(_mm256_andnot_si256(
        _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(first)), position),
        _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(last)), position)));
}

// Takes positions first … last - 1 into the state: their weights (those of others are 0), and what
// older values shrink by.
float soften(__m256* score, int64_t first, int64_t last, AttentionState& state, float* weight) {
    if (state.softcap > 0) {
        alignas(32) float all[kKvBlock];
        for (int i = 0; i < 4; ++i) _mm256_store_ps(all + 8 * i, score[i]);
        soft_cap(all, kKvBlock, state.softcap);
        for (int i = 0; i < 4; ++i) score[i] = _mm256_load_ps(all + 8 * i);
    }
    const __m256 minus_infinity = _mm256_set1_ps(-__builtin_inff());
    __m256 best = minus_infinity;
    for (int i = 0; i < 4; ++i) {
        score[i] = _mm256_blendv_ps(minus_infinity, score[i], inside(i, first, last));
        best = _mm256_max_ps(best, score[i]);
    }
    const float block_max = horizontal_max(best);
    const float max = block_max > state.max ? block_max : state.max;
    const __m256 top = _mm256_set1_ps(max);
    const float shrink = _mm256_cvtss_f32(exp8(_mm256_set1_ps(state.max - max)));
    state.max = max;

    for (int i = 0; i < 4; ++i) _mm256_store_ps(weight + 8 * i, exp8(_mm256_sub_ps(score[i], top)));
    return shrink;
}

// Adds those weights to the sums of their states, which are begun together as each is a chain.
template<int Queries>
LLMSQL_INLINE inline void add_weights(const float (&weight)[Queries][kKvBlock], int64_t first,
                                      int64_t last, const float (&shrink)[Queries],
                                      AttentionState* states) {
    float sum[Queries];
    for (int q = 0; q < Queries; ++q) sum[q] = states[q].sum * shrink[q];
    for (int64_t p = first; p < last; ++p)
        for (int q = 0; q < Queries; ++q) sum[q] += weight[q][p];
    for (int q = 0; q < Queries; ++q) states[q].sum = sum[q];
}

// A float in all lanes, by the integers' instruction: the floats' takes, on Zen 4, turns with
// conversions and multiply-adds.
LLMSQL_INLINE inline __m256 broadcast(const float* x) {
    int32_t bits;
    __builtin_memcpy(&bits, x, sizeof bits);
    return _mm256_castsi256_ps(_mm256_set1_epi32(bits));
}

// Vectors, of positions or of columns, that are taken together for so many query heads: there are
// eight sums then, as many as keep multiply-adds busy, and registers for what is multiplied.
constexpr int vectors_for(int queries) {
    return queries <= 2 ? 4 : 2;
}

template<int Queries>
void Avx2::attend_heads(const float* queries, int64_t width, const KvHead& head, int64_t first,
                        int64_t last, AttentionState* states) {
    constexpr int kVectors = vectors_for(Queries);
    const auto* k = reinterpret_cast<const uint16_t*>(head.keys);
    const auto* v = reinterpret_cast<const uint16_t*>(head.values);
    __m256 score[Queries][4];
    for (int first_vector = 0; first_vector < 4; first_vector += kVectors) {
        __m256 sum[Queries][kVectors];
        for (auto& of_query : sum)
            for (__m256& s : of_query) s = _mm256_setzero_ps();
        for (int64_t d = 0; d < width; ++d) {
            __m256 keys[kVectors];
            for (int i = 0; i < kVectors; ++i)
                keys[i] = load_halves(k + d * kKvBlock + 8 * (first_vector + i));
            for (int q = 0; q < Queries; ++q) {
                const __m256 x = broadcast(&queries[q * width + d]);
                for (int i = 0; i < kVectors; ++i)
                    sum[q][i] = _mm256_fmadd_ps(x, keys[i], sum[q][i]);
            }
        }
        for (int q = 0; q < Queries; ++q)
            for (int i = 0; i < kVectors; ++i) score[q][first_vector + i] = sum[q][i];
    }
    alignas(32) float weight[Queries][kKvBlock];
    float shrink[Queries];
    for (int q = 0; q < Queries; ++q)
        shrink[q] = soften(score[q], first, last, states[q], weight[q]);
    add_weights(weight, first, last, shrink, states);

    int64_t d = 0;
    for (; d < width / 32 * 32; d += 8 * kVectors) {
        __m256 value[Queries][kVectors];
        for (int q = 0; q < Queries; ++q)
            for (int i = 0; i < kVectors; ++i)
                value[q][i] = _mm256_mul_ps(_mm256_loadu_ps(states[q].values + d + 8 * i),
                                            _mm256_set1_ps(shrink[q]));
        for (int64_t p = first; p < last; ++p) {
            __m256 held[kVectors];
            for (int i = 0; i < kVectors; ++i) held[i] = load_halves(v + p * width + d + 8 * i);
            for (int q = 0; q < Queries; ++q) {
                const __m256 w = broadcast(&weight[q][p]);
                for (int i = 0; i < kVectors; ++i)
                    value[q][i] = _mm256_fmadd_ps(w, held[i], value[q][i]);
            }
        }
        for (int q = 0; q < Queries; ++q)
            for (int i = 0; i < kVectors; ++i)
                _mm256_storeu_ps(states[q].values + d + 8 * i, value[q][i]);
    }
    for (; d < width; ++d)
        for (int q = 0; q < Queries; ++q) {
            float value = states[q].values[d] * shrink[q];
            for (int64_t p = first; p < last; ++p)
                value += weight[q][p] * _cvtsh_ss(v[p * width + d]);
            states[q].values[d] = value;
        }
}

// Sixteen int8 codes as eight lanes of two int16.
__m256i load_codes(const int8_t* codes) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(codes)));
}

// The products of two in each lane, added.
__m256i add_products(__m256i sum, __m256i codes, __m256i pair) {
#ifdef LLMSQL_AVX_VNNI
    return _mm256_dpwssd_avx_epi32(sum, codes, pair);
#else
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(codes, pair));
    asm("" : "+x"(sum));  // else products are added up first, of which too many wait in memory
    return sum;
#endif
}

__m256i broadcast2(const int16_t* codes) {
    int32_t two;
    __builtin_memcpy(&two, codes, sizeof two);
    return _mm256_set1_epi32(two);
}

// The weights of a group's 32 values, weight * scale, as int16 codes; the factor that takes them
// back is NaN if one of them is not finite. As the portable to_int16().
float weigh(const float* weight, const uint16_t* scales, int64_t first, int64_t last,
            int16_t* codes) {
    __m256 scaled[4];
    __m256 largest = _mm256_setzero_ps(), unbounded = _mm256_setzero_ps();
    for (int i = 0; i < 4; ++i) {
        // What is stored at positions outside may be anything, NaN too.
        scaled[i] = _mm256_and_ps(
            inside(i, first, last),
            _mm256_mul_ps(_mm256_load_ps(weight + 8 * i), load_halves(scales + 8 * i)));
        largest = _mm256_max_ps(largest, scaled[i]);
        unbounded = _mm256_or_ps(
            unbounded, _mm256_cmp_ps(scaled[i], _mm256_set1_ps(__FLT_MAX__), _CMP_NLE_UQ));
    }
    if (_mm256_movemask_ps(unbounded) != 0) {
        for (int i = 0; i < kKvBlock; ++i) codes[i] = 0;
        return __builtin_nanf("");
    }
    const float max = horizontal_max(largest);
    const __m256 inverse = _mm256_set1_ps(max > 1e-30f ? 32767.0f / max : 0.0f);
    for (int i = 0; i < 4; i += 2) {
        const __m256i low = _mm256_cvtps_epi32(_mm256_mul_ps(scaled[i], inverse));
        const __m256i high = _mm256_cvtps_epi32(_mm256_mul_ps(scaled[i + 1], inverse));
        // Packing works within 128-bit lanes; the permutation puts the quarters in order.
        _mm256_store_si256(reinterpret_cast<__m256i*>(codes + 8 * i),
                           _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8));
    }
    return max / 32767.0f;
}

// Adds the block's weighted values to columns d … d + 8 * Vectors - 1, of which the last vector may
// end beyond the width.
template<int Vectors, int Queries>
LLMSQL_INLINE inline void add_values(const int8_t* v, int64_t columns,
                                     const int16_t (&weights)[Queries][kKvBlock], int64_t first,
                                     int64_t last, const float (&shrink)[Queries],
                                     const float (&factor)[Queries], int64_t d, int64_t width,
                                     AttentionState* states) {
    __m256i sum[Queries][Vectors];
    for (auto& of_query : sum)
        for (__m256i& s : of_query) s = _mm256_setzero_si256();
    for (int64_t pair = first / 2; 2 * pair < last; ++pair) {
        __m256i codes[Vectors];
        for (int i = 0; i < Vectors; ++i)
            codes[i] = load_codes(v + 2 * (pair * columns + d) + 16 * i);
        for (int q = 0; q < Queries; ++q) {
            const __m256i two = broadcast2(weights[q] + 2 * pair);
            for (int i = 0; i < Vectors; ++i) sum[q][i] = add_products(sum[q][i], codes[i], two);
        }
    }
    for (int q = 0; q < Queries; ++q)
        for (int i = 0; i < Vectors; ++i) {
            float* values = states[q].values + d + 8 * i;
            const auto add = [&](__m256 before) LLMSQL_INLINE {
                return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[q][i]), _mm256_set1_ps(factor[q]),
                                       _mm256_mul_ps(before, _mm256_set1_ps(shrink[q])));
            };
            const int64_t here = width - d - 8 * i;
            if (here >= 8) {
                _mm256_storeu_ps(values, add(_mm256_loadu_ps(values)));
            } else {
                const __m256i filled = _mm256_castps_si256(inside(0, 0, here));
                _mm256_maskstore_ps(values, filled, add(_mm256_maskload_ps(values, filled)));
            }
        }
}

template<int Queries>
void Avx2::attend_heads_q8(const int16_t* queries, const float* query_scales, int64_t width,
                           const KvHead& head, int64_t first, int64_t last,
                           AttentionState* states) {
    constexpr int kVectors = vectors_for(Queries);
    const auto* k = reinterpret_cast<const int8_t*>(head.keys);
    const auto* v = reinterpret_cast<const int8_t*>(head.values);
    const auto* k_scales = reinterpret_cast<const uint16_t*>(head.key_scales);
    const auto* v_scales = reinterpret_cast<const uint16_t*>(head.value_scales);
    const int64_t groups = (width + kKvKeyGroup - 1) / kKvKeyGroup;
    const int64_t columns = groups * kKvKeyGroup;
    __m256 score[Queries][4];
    for (int first_vector = 0; first_vector < 4; first_vector += kVectors) {
        __m256 sum[Queries][kVectors];
        for (auto& of_query : sum)
            for (__m256& s : of_query) s = _mm256_setzero_ps();
        for (int64_t g = 0; g < groups; ++g) {
            const int64_t stride = unknown(groups);
            __m256i dot[Queries][kVectors];
            for (auto& of_query : dot)
                for (__m256i& d : of_query) d = _mm256_setzero_si256();
            const int8_t* keys = k + g * kKvKeyGroup * kKvBlock + 16 * first_vector;
            const int16_t* query = queries + g * kKvKeyGroup;
            unroll<kKvKeyGroup / 2>([&]<int Pair>() LLMSQL_INLINE {
                __m256i codes[kVectors];
                for (int i = 0; i < kVectors; ++i)
                    codes[i] = load_codes(keys + Pair * 2 * kKvBlock + 16 * i);
                for (int q = 0; q < Queries; ++q) {
                    const __m256i two = broadcast2(query + q * stride * kKvKeyGroup + 2 * Pair);
                    for (int i = 0; i < kVectors; ++i)
                        dot[q][i] = add_products(dot[q][i], codes[i], two);
                }
            });
            for (int i = 0; i < kVectors; ++i) {
                const __m256 scale = load_halves(k_scales + g * kKvBlock + 8 * (first_vector + i));
                for (int q = 0; q < Queries; ++q) {
                    const __m256 by = _mm256_set1_ps(query_scales[q * stride + g]);
                    sum[q][i] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[q][i]),
                                                _mm256_mul_ps(scale, by), sum[q][i]);
                }
            }
        }
        for (int q = 0; q < Queries; ++q)
            for (int i = 0; i < kVectors; ++i) score[q][first_vector + i] = sum[q][i];
    }
    alignas(32) float weight[Queries][kKvBlock];
    float shrink[Queries], factor[Queries];
    for (int q = 0; q < Queries; ++q)
        shrink[q] = soften(score[q], first, last, states[q], weight[q]);
    add_weights(weight, first, last, shrink, states);

    alignas(32) int16_t codes[Queries][kKvBlock];
    for (int64_t from = 0; from < width; from += kKvValueGroup) {
        const uint16_t* scales = v_scales + from / kKvValueGroup * kKvBlock;
        for (int q = 0; q < Queries; ++q)
            factor[q] = weigh(weight[q], scales, first, last, codes[q]);
        // A row of pairs has whole groups of eight columns.
        const int64_t end = from + kKvValueGroup < columns ? from + kKvValueGroup : columns;
        int64_t d = from;
        for (; d + 8 * kVectors <= end; d += 8 * kVectors)
            add_values<kVectors>(v, columns, codes, first, last, shrink, factor, d, width, states);
        for (; d < end; d += 8)
            add_values<1>(v, columns, codes, first, last, shrink, factor, d, width, states);
    }
}

float horizontal_sum(__m256 v) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    s = _mm_add_ss(s, _mm_movehdup_ps(s));
    return _mm_cvtss_f32(s);
}

void rms_norm(float* x, const float* weight, int64_t n, float eps) {
    __m256 squares[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int v = 0; v < 2; ++v) {
            const __m256 value = _mm256_loadu_ps(x + i + 8 * v);
            squares[v] = _mm256_fmadd_ps(value, value, squares[v]);
        }
    float sum = horizontal_sum(_mm256_add_ps(squares[0], squares[1]));
    for (; i < n; ++i) sum += x[i] * x[i];
    const float scale = 1.0f / __builtin_sqrtf(sum / static_cast<float>(n) + eps);
    for (i = 0; i + 8 <= n; i += 8)
        _mm256_storeu_ps(x + i,
                         _mm256_mul_ps(_mm256_mul_ps(_mm256_loadu_ps(x + i), _mm256_set1_ps(scale)),
                                       _mm256_loadu_ps(weight + i)));
    for (; i < n; ++i) x[i] = x[i] * scale * weight[i];
}

void rope(float* x, const float* cosine, const float* sine, int64_t half) {
    int64_t i = 0;
    for (; i + 8 <= half; i += 8) {
        const __m256 a = _mm256_loadu_ps(x + i), b = _mm256_loadu_ps(x + half + i);
        const __m256 c = _mm256_loadu_ps(cosine + i), s = _mm256_loadu_ps(sine + i);
        _mm256_storeu_ps(x + i, _mm256_sub_ps(_mm256_mul_ps(a, c), _mm256_mul_ps(b, s)));
        _mm256_storeu_ps(x + half + i, _mm256_add_ps(_mm256_mul_ps(a, s), _mm256_mul_ps(b, c)));
    }
    for (; i < half; ++i) {
        const float a = x[i], b = x[half + i];
        x[i] = a * cosine[i] - b * sine[i];
        x[half + i] = a * sine[i] + b * cosine[i];
    }
}

// x / (1 + e^-u) over x[n], where u is a function of x.
template<class Exponent>
void gate(float* x, int64_t n, Exponent exponent) {
    const __m256 one = _mm256_set1_ps(1.0f);
    int64_t i = 0;
    const auto eight = [&](__m256 v) {
        const __m256 e = exp8(_mm256_xor_ps(exponent(v), _mm256_set1_ps(-0.0f)));
        return _mm256_div_ps(v, _mm256_add_ps(one, e));
    };
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(x + i, eight(_mm256_loadu_ps(x + i)));
    if (i < n) {
        alignas(32) float rest[8] = {};
        for (int64_t r = i; r < n; ++r) rest[r - i] = x[r];
        _mm256_store_ps(rest, eight(_mm256_load_ps(rest)));
        for (int64_t r = i; r < n; ++r) x[r] = rest[r - i];
    }
}

void silu(float* x, int64_t n) {
    gate(x, n, [](__m256 v) { return v; });
}

void gelu(float* x, int64_t n) {
    gate(x, n, [](__m256 v) {
        const __m256 cube = _mm256_mul_ps(_mm256_mul_ps(v, v), v);
        const __m256 u = _mm256_fmadd_ps(_mm256_set1_ps(0.044715f), cube, v);
        return _mm256_mul_ps(u, _mm256_set1_ps(2.0f * 0.797884561f));
    });
}

// Clang's __builtin_cpu_supports() does not know it by name.
bool has_f16c() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}

bool has_avx2() {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c();
}

constexpr Kernels kTable{
#ifdef LLMSQL_AVX_VNNI
    "avxvnni",
#else
    "avx2",
#endif
    kLinears<Avx2>.of, quantize,    attend_f16<Avx2>, attend_q8<Avx2>, rms_norm, rope, silu, gelu,
    convolve<Avx2>,    recur<Avx2>, avx2_exponentials};

}  // namespace

#ifdef LLMSQL_AVX_VNNI
const Kernels* avxvnni_kernels() {
    unsigned a = 0, b = 0, c = 0, d = 0;
    const bool able = has_avx2() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1u << 4) != 0;
    return able ? &kTable : nullptr;
}
#else
const Kernels* avx2_kernels() {
    return has_avx2() ? &kTable : nullptr;
}
#endif

}  // namespace llmsql

#else

namespace llmsql {

#ifdef LLMSQL_AVX_VNNI
const Kernels* avxvnni_kernels() {
#else
const Kernels* avx2_kernels() {
#endif
    return nullptr;
}

}  // namespace llmsql

#endif
