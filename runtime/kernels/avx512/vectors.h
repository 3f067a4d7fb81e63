// SPDX-License-Identifier: MIT
// The vocabulary of AVX-512 F, BW, DQ, VL and VNNI that driver.h explains.
#pragma once

#include <immintrin.h>

#include "runtime/kernels/driver.h"

namespace llmsql {
namespace {

// A vector is a strip's 16 rows: one accumulator takes 16 outputs of one token.
static_assert(kStripRows == 16);

__m512 load_halves(const void* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}

// The vocabulary (driver.h): a vector is a strip's 16 rows. `vpdpbusd` multiplies unsigned by
// signed, so signed codes are raised by 128.
struct Avx512 {
    using Sum = __m512;
    using Ints = __m512i;
    using Bytes = __m512i;
    struct Signed {
        __m512i raised;
    };
    static constexpr int kTokens = 8, kStrips = 4, kTokensOfStrips = 4, kSignedBias = 128;
    static constexpr int kQueries = static_cast<int>(kMostQueries), kQueriesOfQ8 = kQueries;

    static LLMSQL_INLINE Sum zero() { return _mm512_setzero_ps(); }
    static LLMSQL_INLINE Sum load(const float* p) { return _mm512_loadu_ps(p); }
    static LLMSQL_INLINE void store(float* p, Sum a) { _mm512_storeu_ps(p, a); }
    static LLMSQL_INLINE Sum splat(float a) { return _mm512_set1_ps(a); }
    static LLMSQL_INLINE Sum halves(const void* p) { return load_halves(p); }
    static LLMSQL_INLINE Sum mul(Sum a, Sum b) { return _mm512_mul_ps(a, b); }
    static LLMSQL_INLINE Sum fma(Sum a, Sum b, Sum c) { return _mm512_fmadd_ps(a, b, c); }
    static LLMSQL_INLINE Sum lesser(Sum a, Sum b) { return _mm512_min_ps(a, b); }

    static LLMSQL_INLINE Ints no_ints() { return _mm512_setzero_si512(); }
    static LLMSQL_INLINE Ints add_ints(Ints a, Ints b) { return _mm512_add_epi32(a, b); }
    static LLMSQL_INLINE Ints mul_ints(Ints a, Ints b) { return _mm512_mullo_epi32(a, b); }
    static LLMSQL_INLINE Sum to_f32(Ints a) { return _mm512_cvtepi32_ps(a); }

    static LLMSQL_INLINE Bytes load_bytes(const void* p) { return _mm512_loadu_si512(p); }
    static LLMSQL_INLINE Bytes and_bytes(Bytes a, int b) {
        return _mm512_and_si512(a, _mm512_set1_epi8(static_cast<char>(b)));
    }
    static LLMSQL_INLINE Bytes and_or(Bytes a, int mask, Bytes b) {
        return _mm512_ternarylogic_epi32(a, _mm512_set1_epi8(static_cast<char>(mask)), b, 0xEA);
    }
    template<int N>
    static LLMSQL_INLINE Bytes shift(Bytes a) {
        if constexpr (N < 0) return _mm512_slli_epi16(a, -N);
        if constexpr (N > 0) return _mm512_srli_epi16(a, N);
        return a;
    }
    static LLMSQL_INLINE uint32_t signs(Bytes a) {
        return static_cast<uint32_t>(_mm256_movemask_epi8(_mm512_castsi512_si256(a)));
    }
    static LLMSQL_INLINE void store_bytes(std::byte* p, Bytes a) { _mm512_store_si512(p, a); }
    static LLMSQL_INLINE Bytes triple(Bytes a) { return _mm512_add_epi8(a, _mm512_add_epi8(a, a)); }
    // By means, which are rounded up.
    static LLMSQL_INLINE Bytes thirds(Bytes a) {
        const __m512i half = _mm512_avg_epu8(a, _mm512_set1_epi8(static_cast<char>(252)));
        return and_bytes(shift<6>(_mm512_avg_epu8(a, half)), 3);
    }
    static LLMSQL_INLINE Signed look_up(Bytes codes, const int8_t (&values)[16]) {
        const __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(values));
        return signed_codes(_mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), codes));
    }

    static LLMSQL_INLINE Ints as_ints(Bytes a) { return a; }
    static LLMSQL_INLINE Sum from_bits(Ints a) { return _mm512_castsi512_ps(a); }
    static LLMSQL_INLINE Ints all_ints(int a) { return _mm512_set1_epi32(a); }
    static LLMSQL_INLINE Ints and_ints(Ints a, int b) {
        return _mm512_and_si512(a, _mm512_set1_epi32(b));
    }
    static LLMSQL_INLINE Ints max_ints(Ints a, Ints b) { return _mm512_max_epi32(a, b); }
    template<int N>
    static LLMSQL_INLINE Ints shift_ints(Ints a) {
        if constexpr (N < 0) return _mm512_slli_epi32(a, -N);
        if constexpr (N > 0) return _mm512_srli_epi32(a, N);
        return a;
    }
    template<int N>
    static LLMSQL_INLINE Ints shift_signed(Ints a) {
        return _mm512_srai_epi32(a, N);
    }
    static LLMSQL_INLINE Ints load_words(const void* p) {
        return _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
    }
    static LLMSQL_INLINE Ints load_octets(const void* p) {
        return _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
    }
    static LLMSQL_INLINE Ints dot_pairs(Ints pairs, int32_t pair) {
        return _mm512_madd_epi16(pairs, _mm512_set1_epi32(pair));
    }

    static LLMSQL_INLINE Signed signed_codes(Bytes a) {
        return {_mm512_xor_si512(a, _mm512_set1_epi8(-128))};
    }

    template<int B, Part P>
    static LLMSQL_INLINE Ints bias(int32_t halves) {
        constexpr uint32_t kLow = P == Part::second16 ? 0 : static_cast<uint16_t>(-B);
        constexpr uint32_t kHigh = P == Part::first16 ? 0 : static_cast<uint16_t>(-B);
        return _mm512_madd_epi16(_mm512_set1_epi32(halves),
                                 _mm512_set1_epi32(static_cast<int>(kHigh << 16 | kLow)));
    }

    template<int Most>
    struct Dot {
        __m512i sum;
        LLMSQL_INLINE void start(Ints from) { sum = from; }
        template<int, int>
        LLMSQL_INLINE void add(Bytes codes, const int8_t* x) {
            int32_t four;
            __builtin_memcpy(&four, x, sizeof four);
            sum = _mm512_dpbusd_epi32(sum, codes, _mm512_set1_epi32(four));
        }
        template<int K, int N>
        LLMSQL_INLINE void add(Signed codes, const int8_t* x) {
            add<K, N>(codes.raised, x);
        }
        LLMSQL_INLINE Ints result() const { return sum; }
    };

    template<int Most, int S, int T>
    using Dots = EachDot<Avx512, Most, S, T>;

    template<int Queries>
    static void attend_heads(const float* queries, int64_t width, const KvHead& head, int64_t first,
                             int64_t last, AttentionState* states);
    template<int Queries>
    static void attend_heads_q8(const int16_t* queries, const float* query_scales, int64_t width,
                                const KvHead& head, int64_t first, int64_t last,
                                AttentionState* states);
};

}  // namespace
}  // namespace llmsql
