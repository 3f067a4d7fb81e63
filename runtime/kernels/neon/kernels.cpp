// SPDX-License-Identifier: MIT
// The kernels for 64-bit Arm with NEON and its dot product (Armv8.2-A FEAT_DotProd). Same results
// as the portable ones to rounding. With LLMSQL_I8MM also those that multiply matrices of int8
// (FEAT_I8MM): same results to the bit.
//
// This file alone is compiled with the dot product enabled, so it must not define or instantiate
// inline functions that other files share: it includes no standard containers.
#include "runtime/kernels/kernels.h"

#if defined(__aarch64__)

#include <arm_neon.h>
#include <sys/auxv.h>

#include "runtime/kernels/formats.h"
#include "runtime/kernels/scans.h"

#ifndef HWCAP2_I8MM  // glibc has it since 2.32
#define HWCAP2_I8MM (1 << 13)
#endif

namespace llmsql {
namespace {

// A strip's 16 rows are four vectors of four lanes: one accumulator takes four outputs of a token.
static_assert(kStripRows == 16);
constexpr int kVectors = 4;

float32x4_t load_halves(const void* p) {
    uint16x4_t halves;
    __builtin_memcpy(&halves, p, sizeof halves);
    return vcvt_f32_f16(vreinterpret_f16_u16(halves));
}

// The vocabulary (driver.h).
struct Neon {
    struct Sum {
        float32x4_t part[kVectors];
    };
    struct Ints {
        int32x4_t part[kVectors];
    };
    struct Bytes {
        uint8x16_t part[kVectors];
    };
    struct Signed {
        int8x16_t part[kVectors];
    };
    [[maybe_unused]] static constexpr int kTokensOfStrips = 4;
    static constexpr int kTokens = 4, kStrips = 1, kSignedBias = 0, kQueries = 2, kQueriesOfQ8 = 4;

    // A vector of each of the four quarters: each(v), as parts of Result.
    template<class Result, class Each>
    static LLMSQL_INLINE Result quarters(const Each& each) {
        return {{each(0), each(1), each(2), each(3)}};
    }

    static LLMSQL_INLINE Sum zero() { return splat(0); }
    static LLMSQL_INLINE Sum load(const float* p) {
        return quarters<Sum>([&](int v) LLMSQL_INLINE { return vld1q_f32(p + 4 * v); });
    }
    static LLMSQL_INLINE void store(float* p, const Sum& a) {
        for (int v = 0; v < kVectors; ++v) vst1q_f32(p + 4 * v, a.part[v]);
    }
    static LLMSQL_INLINE Sum splat(float a) {
        return quarters<Sum>([&](int) LLMSQL_INLINE { return vdupq_n_f32(a); });
    }
    static LLMSQL_INLINE Sum halves(const std::byte* p) {
        return quarters<Sum>([&](int v) LLMSQL_INLINE { return load_halves(p + 8 * v); });
    }
    static LLMSQL_INLINE Sum mul(const Sum& a, const Sum& b) {
        return quarters<Sum>([&](int v) LLMSQL_INLINE { return vmulq_f32(a.part[v], b.part[v]); });
    }
    static LLMSQL_INLINE Sum fma(const Sum& a, const Sum& b, const Sum& c) {
        return quarters<Sum>(
            [&](int v) LLMSQL_INLINE { return vfmaq_f32(c.part[v], a.part[v], b.part[v]); });
    }
    static LLMSQL_INLINE Sum lesser(const Sum& a, const Sum& b) {
        return quarters<Sum>([&](int v) LLMSQL_INLINE { return vminq_f32(a.part[v], b.part[v]); });
    }

    static LLMSQL_INLINE Ints all_ints(int a) {
        return quarters<Ints>([&](int) LLMSQL_INLINE { return vdupq_n_s32(a); });
    }
    static LLMSQL_INLINE Ints no_ints() { return all_ints(0); }
    static LLMSQL_INLINE Ints add_ints(const Ints& a, const Ints& b) {
        return quarters<Ints>([&](int v) LLMSQL_INLINE { return vaddq_s32(a.part[v], b.part[v]); });
    }
    static LLMSQL_INLINE Ints mul_ints(const Ints& a, const Ints& b) {
        return quarters<Ints>([&](int v) LLMSQL_INLINE { return vmulq_s32(a.part[v], b.part[v]); });
    }
    static LLMSQL_INLINE Sum to_f32(const Ints& a) {
        return quarters<Sum>([&](int v) LLMSQL_INLINE { return vcvtq_f32_s32(a.part[v]); });
    }

    static LLMSQL_INLINE Bytes load_bytes(const std::byte* p) {
        const auto* from = reinterpret_cast<const uint8_t*>(p);
        return quarters<Bytes>([&](int v) LLMSQL_INLINE { return vld1q_u8(from + 16 * v); });
    }
    static LLMSQL_INLINE Bytes and_bytes(const Bytes& a, int b) {
        const uint8x16_t mask = vdupq_n_u8(static_cast<uint8_t>(b));
        return quarters<Bytes>([&](int v) LLMSQL_INLINE { return vandq_u8(a.part[v], mask); });
    }
    static LLMSQL_INLINE Bytes and_or(const Bytes& a, int mask, const Bytes& b) {
        const uint8x16_t bits = vdupq_n_u8(static_cast<uint8_t>(mask));
        return quarters<Bytes>(
            [&](int v) LLMSQL_INLINE { return vorrq_u8(vandq_u8(a.part[v], bits), b.part[v]); });
    }
    template<int N>
    static LLMSQL_INLINE Bytes shift(const Bytes& a) {
        return quarters<Bytes>([&](int v)
                                   LLMSQL_INLINE { return vshlq_u8(a.part[v], vdupq_n_s8(-N)); });
    }
    static LLMSQL_INLINE void store_bytes(std::byte* p, const Bytes& a) {
        for (int v = 0; v < kVectors; ++v)
            vst1q_u8(reinterpret_cast<uint8_t*>(p) + 16 * v, a.part[v]);
    }
    static LLMSQL_INLINE Bytes triple(const Bytes& a) {
        return quarters<Bytes>([&](int v) LLMSQL_INLINE {
            return vaddq_u8(a.part[v], vaddq_u8(a.part[v], a.part[v]));
        });
    }
    // By means, which are rounded up.
    static LLMSQL_INLINE Bytes thirds(const Bytes& a) {
        return quarters<Bytes>([&](int v) LLMSQL_INLINE {
            const uint8x16_t half = vrhaddq_u8(a.part[v], vdupq_n_u8(252));
            return vshrq_n_u8(vrhaddq_u8(a.part[v], half), 6);
        });
    }
    // Of eight bytes each their bits, moved to their places, as a sum.
    static LLMSQL_INLINE uint32_t signs(const Bytes& a) {
        constexpr int8_t kPlaces[16] = {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7};
        uint32_t bits = 0;
        for (int v = 0; v < 2; ++v) {
            const uint8x16_t placed = vshlq_u8(vshrq_n_u8(a.part[v], 7), vld1q_s8(kPlaces));
            bits |= uint32_t{vaddv_u8(vget_low_u8(placed))} << (16 * v) |
                    uint32_t{vaddv_u8(vget_high_u8(placed))} << (16 * v + 8);
        }
        return bits;
    }
    static LLMSQL_INLINE Signed look_up(const Bytes& codes, const int8_t (&values)[16]) {
        const int8x16_t table = vld1q_s8(values);
        return quarters<Signed>([&](int v)
                                    LLMSQL_INLINE { return vqtbl1q_s8(table, codes.part[v]); });
    }

    static LLMSQL_INLINE Ints as_ints(const Bytes& a) {
        return quarters<Ints>([&](int v) LLMSQL_INLINE { return vreinterpretq_s32_u8(a.part[v]); });
    }
    static LLMSQL_INLINE Sum from_bits(const Ints& a) {
        return quarters<Sum>([&](int v) LLMSQL_INLINE { return vreinterpretq_f32_s32(a.part[v]); });
    }
    static LLMSQL_INLINE Ints and_ints(const Ints& a, int b) {
        return quarters<Ints>([&](int v)
                                  LLMSQL_INLINE { return vandq_s32(a.part[v], vdupq_n_s32(b)); });
    }
    static LLMSQL_INLINE Ints max_ints(const Ints& a, const Ints& b) {
        return quarters<Ints>([&](int v) LLMSQL_INLINE { return vmaxq_s32(a.part[v], b.part[v]); });
    }
    // Zeros come in, whichever way.
    template<int N>
    static LLMSQL_INLINE Ints shift_ints(const Ints& a) {
        return quarters<Ints>([&](int v) LLMSQL_INLINE {
            return vreinterpretq_s32_u32(
                vshlq_u32(vreinterpretq_u32_s32(a.part[v]), vdupq_n_s32(-N)));
        });
    }
    template<int N>
    static LLMSQL_INLINE Ints shift_signed(const Ints& a) {
        return quarters<Ints>([&](int v) LLMSQL_INLINE { return vshrq_n_s32(a.part[v], N); });
    }
    static LLMSQL_INLINE Ints load_words(const std::byte* p) {
        const auto* from = reinterpret_cast<const uint16_t*>(p);
        return quarters<Ints>([&](int v) LLMSQL_INLINE {
            return vreinterpretq_s32_u32(vmovl_u16(vld1_u16(from + 4 * v)));
        });
    }
    static LLMSQL_INLINE Ints load_octets(const std::byte* p) {
        const uint8x16_t all = vld1q_u8(reinterpret_cast<const uint8_t*>(p));
        const uint16x8_t low = vmovl_u8(vget_low_u8(all)), high = vmovl_u8(vget_high_u8(all));
        return {{vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(low))),
                 vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(low))),
                 vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(high))),
                 vreinterpretq_s32_u32(vmovl_u16(vget_high_u16(high)))}};
    }
    static LLMSQL_INLINE Ints dot_pairs(const Ints& pairs, int32_t pair) {
        const int16x8_t by = vreinterpretq_s16_s32(vdupq_n_s32(pair));
        return quarters<Ints>([&](int v) LLMSQL_INLINE {
            const int16x8_t x = vreinterpretq_s16_s32(pairs.part[v]);
            return vpaddq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(by)), vmull_high_s16(x, by));
        });
    }
    static LLMSQL_INLINE Signed signed_codes(const Bytes& a) {
        return quarters<Signed>([&](int v)
                                    LLMSQL_INLINE { return vreinterpretq_s8_u8(a.part[v]); });
    }

    template<int B, Part P>
    static LLMSQL_INLINE Ints bias(int32_t halves) {
        const int low = static_cast<int16_t>(halves), high = halves >> 16;
        return all_ints(-B * (P == Part::first16 ? low : P == Part::second16 ? high : low + high));
    }

    template<int Most>
    struct Dot {
        static_assert(Most <= kSigned);
        Ints sum;
        LLMSQL_INLINE void start(const Ints& from) { sum = from; }
        template<int, int>
        LLMSQL_INLINE void add(const Signed& codes, const int8_t* x) {
            int32_t four;
            __builtin_memcpy(&four, x, sizeof four);
            const int8x16_t all = vreinterpretq_s8_s32(vdupq_n_s32(four));
            for (int v = 0; v < kVectors; ++v)
                sum.part[v] = vdotq_s32(sum.part[v], codes.part[v], all);
        }
        template<int K, int N>
        LLMSQL_INLINE void add(const Bytes& codes, const int8_t* x) {
            add<K, N>(signed_codes(codes), x);
        }
        LLMSQL_INLINE Ints result() const { return sum; }
    };

#ifdef LLMSQL_I8MM
    // `smmla` multiplies two rows of eight columns by two rows of x: of a strip's rows four columns
    // and the next four are put side by side. Its vectors of sums have two rows of a strip by two
    // of x. A row of x that is left alone takes the dot product. The integers are the same.
    template<int Most, int S, int T>
    struct Dots {
        static constexpr int kPairs = T / 2, kHeld = kPairs > 0 ? kPairs : 1;
        int32x4_t of[S][kHeld][2 * kVectors];
        Dot<Most> alone[S];  // of the last of an odd number of rows
        Ints first;          // what the first of a pair begins with
        Signed before[S];    // codes of the first four columns

        LLMSQL_INLINE void start(int t, const Ints& from) {
            if (t == 2 * kPairs) {
                for (int s = 0; s < S; ++s) alone[s].start(from);
            } else if (t % 2 == 0) {
                first = from;
            } else {  // all rows of the strip begin alike
                const int32x4_t both = vtrn1q_s32(first.part[0], from.part[0]);
                for (int s = 0; s < S; ++s)
                    for (int i = 0; i < 2 * kVectors; ++i) of[s][t / 2][i] = both;
            }
        }

        template<class F, int k, int N, class Code>
        LLMSQL_INLINE void add(const Code (&code)[S], const ActivationRows<T>& x, int64_t group) {
            static_assert(N % 2 == 0);
            if constexpr (T % 2 == 1)
                for (int s = 0; s < S; ++s)
                    alone[s].template add<k % N, N>(code[s], x.codes(T - 1, group, F::column(k)));
            if constexpr (kPairs > 0 && k % 2 == 0)
                for (int s = 0; s < S; ++s) before[s] = as_signed(code[s]);
            if constexpr (kPairs > 0 && k % 2 == 1) {
                int8x16_t pair[kHeld];
                for (int p = 0; p < kPairs; ++p)
                    pair[p] = vcombine_s8(eight<F, k - 1>(2 * p, x, group),
                                          eight<F, k - 1>(2 * p + 1, x, group));
                for (int s = 0; s < S; ++s) multiply(s, as_signed(code[s]), pair);
            }
        }

        LLMSQL_INLINE Ints result(int s, int t) const {
            if (t == 2 * kPairs) return alone[s].result();
            return quarters<Ints>([&](int v) LLMSQL_INLINE {
                const int32x4_t low = of[s][t / 2][2 * v], high = of[s][t / 2][2 * v + 1];
                return t % 2 == 0 ? vuzp1q_s32(low, high) : vuzp2q_s32(low, high);
            });
        }

      private:
        static LLMSQL_INLINE Signed as_signed(const Signed& codes) { return codes; }
        static LLMSQL_INLINE Signed as_signed(const Bytes& codes) { return signed_codes(codes); }

        // Row t's codes of steps k and k + 1.
        template<class F, int k>
        static LLMSQL_INLINE int8x8_t eight(int t, const ActivationRows<T>& x, int64_t group) {
            const int8_t* const low = x.codes(t, group, F::column(k));
            if constexpr (F::column(k + 1) == F::column(k) + 4) return vld1_s8(low);
            uint32_t four[2];
            __builtin_memcpy(&four[0], low, 4);
            __builtin_memcpy(&four[1], x.codes(t, group, F::column(k + 1)), 4);
            return vcreate_s8(four[0] | static_cast<uint64_t>(four[1]) << 32);
        }

        LLMSQL_INLINE void multiply(int s, const Signed& codes, const int8x16_t (&pair)[kHeld]) {
            for (int v = 0; v < kVectors; ++v) {
                const int32x4_t low = vreinterpretq_s32_s8(before[s].part[v]),
                                high = vreinterpretq_s32_s8(codes.part[v]);
                const int8x16_t rows[2] = {vreinterpretq_s8_s32(vzip1q_s32(low, high)),
                                           vreinterpretq_s8_s32(vzip2q_s32(low, high))};
                for (int p = 0; p < kPairs; ++p)
                    for (int h = 0; h < 2; ++h)
                        of[s][p][2 * v + h] = vmmlaq_s32(of[s][p][2 * v + h], rows[h], pair[p]);
            }
        }
    };
#else
    template<int Most, int S, int T>
    using Dots = EachDot<Neon, Most, S, T>;
#endif

    template<int Queries>
    static void attend_heads(const float* queries, int64_t width, const KvHead& head, int64_t first,
                             int64_t last, AttentionState* states);
    template<int Queries>
    static void attend_heads_q8(const int16_t* queries, const float* query_scales, int64_t width,
                                const KvHead& head, int64_t first, int64_t last,
                                AttentionState* states);
};

// Four lanes of which the first `count` are the floats at p, the others 0.
float32x4_t load_some(int64_t count, const float* p) {
    if (count >= 4) return vld1q_f32(p);
    float held[4] = {};
    for (int64_t i = 0; i < count; ++i) held[i] = p[i];
    return vld1q_f32(held);
}

void store_some(int64_t count, float* p, float32x4_t value) {
    if (count >= 4) return vst1q_f32(p, value);
    float held[4];
    vst1q_f32(held, value);
    for (int64_t i = 0; i < count; ++i) p[i] = held[i];
}

// Of four lanes, numbered from `at` on, those in [first, last): all bits set.
uint32x4_t lanes_in(int64_t at, int64_t first, int64_t last) {
    const int32x4_t lane = vaddq_s32(int32x4_t{0, 1, 2, 3}, vdupq_n_s32(static_cast<int32_t>(at)));
    return vandq_u32(vcgeq_s32(lane, vdupq_n_s32(static_cast<int32_t>(first))),
                     vcltq_s32(lane, vdupq_n_s32(static_cast<int32_t>(last))));
}

void quantize(const float* x, int64_t n, const QuantizedRow& row) {
    constexpr int kParts = kBlock / 4;
    for (int64_t b = 0; b * kBlock < n; ++b) {
        float32x4_t value[kParts];
        float32x4_t largest = vdupq_n_f32(0.0f);
        uint32x4_t finite = vdupq_n_u32(~0u);
        for (int i = 0; i < kParts; ++i) {
            const int64_t at = b * kBlock + i * 4;
            value[i] = load_some(n - at > 0 ? n - at : 0, x + at);
            const float32x4_t magnitude = vabsq_f32(value[i]);
            largest = vmaxq_f32(largest, magnitude);
            finite = vandq_u32(finite, vcleq_f32(magnitude, vdupq_n_f32(__FLT_MAX__)));
        }
        int8_t* codes = row.codes + b * kBlock;
        if (vminvq_u32(finite) == 0) {
            vst1q_s8(codes, vdupq_n_s8(0));
            vst1q_s8(codes + 16, vdupq_n_s8(0));
            row.scales[b] = row.sums[b] = __builtin_nanf("");
            row.halves[2 * b] = row.halves[2 * b + 1] = 0;
            continue;
        }
        const float max = vmaxvq_f32(largest);
        const float inverse = max > kLeastCoded ? 127.0f / max : 0.0f;
        int32x4_t total[2] = {vdupq_n_s32(0), vdupq_n_s32(0)};
        int16x4_t narrow[kParts];
        for (int i = 0; i < kParts; ++i) {
            const int32x4_t code = vcvtnq_s32_f32(vmulq_n_f32(value[i], inverse));
            total[i / 4] = vaddq_s32(total[i / 4], code);
            narrow[i] = vqmovn_s32(code);
        }
        for (int i = 0; i < kParts; i += 2)
            vst1_s8(codes + i * 4, vqmovn_s16(vcombine_s16(narrow[i], narrow[i + 1])));
        const int32_t first = vaddvq_s32(total[0]), second = vaddvq_s32(total[1]);
        row.scales[b] = max / 127.0f;
        row.sums[b] = row.scales[b] * static_cast<float>(first + second);
        row.halves[2 * b] = static_cast<int16_t>(first);
        row.halves[2 * b + 1] = static_cast<int16_t>(second);
    }
}

// e^x as in kernels/math.h, four at a time. NaN stays NaN.
float32x4_t exp4(float32x4_t x) {
    const float32x4_t clamped = vmaxq_f32(vminq_f32(x, vdupq_n_f32(88.0f)), vdupq_n_f32(-87.0f));
    const float32x4_t n = vrndnq_f32(vmulq_n_f32(clamped, 1.44269504f));
    float32x4_t r = vfmsq_n_f32(clamped, n, 0.693359375f);
    r = vfmsq_n_f32(r, n, -2.12194440e-4f);
    float32x4_t p = vdupq_n_f32(1.0f / 5040);
    for (const float c : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f})
        p = vfmaq_f32(vdupq_n_f32(c), p, r);
    const int32x4_t power = vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23);
    const float32x4_t result = vmulq_f32(p, vreinterpretq_f32_s32(power));
    const uint32x4_t tiny = vcltq_f32(x, vdupq_n_f32(-87.0f));
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(result), tiny));
}

float32x4_t only(uint32x4_t in, float32x4_t value) {
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(value), in));
}

// Scores or weights of a block's 32 positions.
constexpr int kParts = 8;
struct Positions {
    float32x4_t part[kParts];
};

// Takes the positions [first, last) into the state: their weights (those of others are 0), and what
// older values shrink by.
float soften(Positions score, int64_t first, int64_t last, AttentionState& state,
             Positions& weight) {
    if (state.softcap > 0) {
        float all[kKvBlock];
        for (int i = 0; i < kParts; ++i) vst1q_f32(all + 4 * i, score.part[i]);
        soft_cap(all, kKvBlock, state.softcap);
        for (int i = 0; i < kParts; ++i) score.part[i] = vld1q_f32(all + 4 * i);
    }
    float32x4_t largest = vdupq_n_f32(-__builtin_inff());
    for (int i = 0; i < kParts; ++i) {
        score.part[i] =
            vbslq_f32(lanes_in(i * 4, first, last), score.part[i], vdupq_n_f32(-__builtin_inff()));
        largest = vmaxq_f32(largest, score.part[i]);
    }
    const float block_max = vmaxvq_f32(largest);
    const float max = block_max > state.max ? block_max : state.max;
    const float shrink =  // e^0 is 1, exactly
        max == state.max ? 1.0f : vgetq_lane_f32(exp4(vdupq_n_f32(state.max - max)), 0);
    state.max = max;
    float32x4_t sum = vdupq_n_f32(0.0f);
    for (int i = 0; i < kParts; ++i) {
        weight.part[i] =
            only(lanes_in(i * 4, first, last), exp4(vsubq_f32(score.part[i], vdupq_n_f32(max))));
        sum = vaddq_f32(sum, weight.part[i]);
    }
    state.sum = state.sum * shrink + vaddvq_f32(sum);
    return shrink;
}

// Columns of the values that are computed together: eight vectors of each query head.
constexpr int64_t kColumns = 32;

// Two query heads at a time: 16 accumulators.
template<int Queries>
void Neon::attend_heads(const float* queries, int64_t width, const KvHead& head, int64_t first,
                        int64_t last, AttentionState* states) {
    const auto* k = reinterpret_cast<const uint16_t*>(head.keys);
    const auto* v = reinterpret_cast<const uint16_t*>(head.values);
    Positions score[Queries] = {};
    for (int64_t d = 0; d < width; ++d)
        for (int i = 0; i < kParts; ++i) {
            const float32x4_t keys = load_halves(k + d * kKvBlock + i * 4);
            for (int q = 0; q < Queries; ++q)
                score[q].part[i] = vfmaq_n_f32(score[q].part[i], keys, queries[q * width + d]);
        }
    float weight[Queries][kKvBlock];
    float shrink[Queries];
    for (int q = 0; q < Queries; ++q) {
        Positions weights;
        shrink[q] = soften(score[q], first, last, states[q], weights);
        for (int i = 0; i < kParts; ++i) vst1q_f32(weight[q] + i * 4, weights.part[i]);
    }
    int64_t d = 0;
    for (; d + kColumns <= width; d += kColumns) {
        float32x4_t value[Queries][kParts];
        for (int q = 0; q < Queries; ++q)
            for (int i = 0; i < kParts; ++i)
                value[q][i] = vmulq_n_f32(vld1q_f32(states[q].values + d + i * 4), shrink[q]);
        for (int64_t p = first; p < last; ++p)
            for (int i = 0; i < kParts; ++i) {
                const float32x4_t held = load_halves(v + p * width + d + i * 4);
                for (int q = 0; q < Queries; ++q)
                    value[q][i] = vfmaq_n_f32(value[q][i], held, weight[q][p]);
            }
        for (int q = 0; q < Queries; ++q)
            for (int i = 0; i < kParts; ++i) vst1q_f32(states[q].values + d + i * 4, value[q][i]);
    }
    for (; d + 4 <= width; d += 4)
        for (int q = 0; q < Queries; ++q) {
            float32x4_t value = vmulq_n_f32(vld1q_f32(states[q].values + d), shrink[q]);
            for (int64_t p = first; p < last; ++p)
                value = vfmaq_n_f32(value, load_halves(v + p * width + d), weight[q][p]);
            vst1q_f32(states[q].values + d, value);
        }
    for (; d < width; ++d)
        for (int q = 0; q < Queries; ++q) {
            float value = states[q].values[d] * shrink[q];
            for (int64_t p = first; p < last; ++p) {
                __fp16 half;
                __builtin_memcpy(&half, v + p * width + d, sizeof half);
                value = __builtin_fmaf(weight[q][p], static_cast<float>(half), value);
            }
            states[q].values[d] = value;
        }
}

// Eight pairs of int8 codes: the first of each, and the second.
struct CodePairs {
    int16x8_t first, second;
};

LLMSQL_INLINE inline CodePairs load_codes(const int8_t* codes) {
    const int8x8x2_t both = vld2_s8(codes);
    return {vmovl_s8(both.val[0]), vmovl_s8(both.val[1])};
}

// To eight sums the products with the `Pair`-th pair of `by`.
template<int Pair>
LLMSQL_INLINE inline void add_products(int32x4_t (&sum)[2], const CodePairs& codes, int16x8_t by) {
    sum[0] = vmlal_laneq_s16(sum[0], vget_low_s16(codes.first), by, 2 * Pair);
    sum[1] = vmlal_high_laneq_s16(sum[1], codes.first, by, 2 * Pair);
    sum[0] = vmlal_laneq_s16(sum[0], vget_low_s16(codes.second), by, 2 * Pair + 1);
    sum[1] = vmlal_high_laneq_s16(sum[1], codes.second, by, 2 * Pair + 1);
}

// The weights of a group's 32 values, weight * scale, as int16 codes; the factor that takes them
// back is NaN if one of them is not finite. As the portable to_int16().
float weigh(const Positions& weight, const uint16_t* scales, int64_t first, int64_t last,
            int16_t* codes) {
    float32x4_t scaled[kParts];
    float32x4_t largest = vdupq_n_f32(0.0f);
    uint32x4_t finite = vdupq_n_u32(~0u);
    for (int i = 0; i < kParts; ++i) {
        // What is stored at positions outside may be anything, NaN too.
        scaled[i] = only(lanes_in(i * 4, first, last),
                         vmulq_f32(weight.part[i], load_halves(scales + i * 4)));
        largest = vmaxq_f32(largest, scaled[i]);
        finite = vandq_u32(finite, vcleq_f32(scaled[i], vdupq_n_f32(__FLT_MAX__)));
    }
    if (vminvq_u32(finite) == 0) {
        for (int i = 0; i < kParts; ++i) vst1_s16(codes + i * 4, vdup_n_s16(0));
        return __builtin_nanf("");
    }
    const float max = vmaxvq_f32(largest);
    const float inverse = max > 1e-30f ? 32767.0f / max : 0.0f;
    for (int i = 0; i < kParts; ++i)
        vst1_s16(codes + i * 4, vqmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(scaled[i], inverse))));
    return max / 32767.0f;
}

// Four query heads by eight positions, then by eight columns: eight sums.
template<int Queries>
void Neon::attend_heads_q8(const int16_t* queries, const float* query_scales, int64_t width,
                           const KvHead& head, int64_t first, int64_t last,
                           AttentionState* states) {
    const auto* k = reinterpret_cast<const int8_t*>(head.keys);
    const auto* v = reinterpret_cast<const int8_t*>(head.values);
    const auto* k_scales = reinterpret_cast<const uint16_t*>(head.key_scales);
    const auto* v_scales = reinterpret_cast<const uint16_t*>(head.value_scales);
    const int64_t groups = (width + kKvKeyGroup - 1) / kKvKeyGroup;
    const int64_t columns = groups * kKvKeyGroup;
    Positions score[Queries];
    for (int i = 0; i < kParts; i += 2) {
        float32x4_t sum[Queries][2] = {};
        for (int64_t g = 0; g < groups; ++g) {
            int32x4_t dot[Queries][2] = {};
            int16x8_t by[Queries];
            for (int q = 0; q < Queries; ++q)
                by[q] = vld1q_s16(queries + q * columns + g * kKvKeyGroup);
            const int8_t* at = k + g * kKvKeyGroup * kKvBlock + i * 8;
            unroll<kKvKeyGroup / 2>([&]<int Pair>() LLMSQL_INLINE {
                const CodePairs codes = load_codes(at + Pair * 2 * kKvBlock);
                for (int q = 0; q < Queries; ++q) add_products<Pair>(dot[q], codes, by[q]);
            });
            const uint16_t* scales = k_scales + g * kKvBlock + i * 4;
            const float32x4_t scale[2] = {load_halves(scales), load_halves(scales + 4)};
            for (int q = 0; q < Queries; ++q)
                for (int j = 0; j < 2; ++j)
                    sum[q][j] = vfmaq_f32(sum[q][j], vcvtq_f32_s32(dot[q][j]),
                                          vmulq_n_f32(scale[j], query_scales[q * groups + g]));
        }
        for (int q = 0; q < Queries; ++q)
            for (int j = 0; j < 2; ++j) score[q].part[i + j] = sum[q][j];
    }
    Positions weight[Queries];
    float shrink[Queries], factor[Queries];
    for (int q = 0; q < Queries; ++q)
        shrink[q] = soften(score[q], first, last, states[q], weight[q]);

    int16_t codes[Queries][kKvBlock];
    for (int64_t from = 0; from < width; from += kKvValueGroup) {
        const uint16_t* scales = v_scales + from / kKvValueGroup * kKvBlock;
        for (int q = 0; q < Queries; ++q)
            factor[q] = weigh(weight[q], scales, first, last, codes[q]);
        // A row of pairs has whole groups of eight columns: vectors of eight never leave it.
        for (int64_t d = from; d < from + kKvValueGroup && d < width; d += 8) {
            int32x4_t sum[Queries][2] = {};
            // Eight positions at a time: weights of those outside are 0.
            for (int64_t p = first / 8 * 8; p < last; p += 8) {
                int16x8_t by[Queries];
                for (int q = 0; q < Queries; ++q) by[q] = vld1q_s16(codes[q] + p);
                const int8_t* at = v + p * columns + 2 * d;
                unroll<4>([&]<int Pair>() LLMSQL_INLINE {
                    const CodePairs held = load_codes(at + Pair * 2 * columns);
                    for (int q = 0; q < Queries; ++q) add_products<Pair>(sum[q], held, by[q]);
                });
            }
            for (int q = 0; q < Queries; ++q)
                for (int j = 0; j < 2; ++j) {
                    const int64_t here = width - d - 4 * j;
                    float* values = states[q].values + d + 4 * j;
                    if (here <= 0) continue;
                    const float32x4_t before = vmulq_n_f32(load_some(here, values), shrink[q]);
                    store_some(here, values,
                               vfmaq_n_f32(before, vcvtq_f32_s32(sum[q][j]), factor[q]));
                }
        }
    }
}

void rms_norm(float* x, const float* weight, int64_t n, float eps) {
    float32x4_t squares[kVectors] = {};
    for (int64_t i = 0; i < n; i += 4) {
        const float32x4_t value = load_some(n - i, x + i);
        float32x4_t& sum = squares[i / 4 % kVectors];
        sum = vfmaq_f32(sum, value, value);
    }
    const float32x4_t all =
        vaddq_f32(vaddq_f32(squares[0], squares[2]), vaddq_f32(squares[1], squares[3]));
    const float mean = vaddvq_f32(all) / static_cast<float>(n);
    const float scale = 1.0f / __builtin_sqrtf(mean + eps);
    for (int64_t i = 0; i < n; i += 4) {
        const float32x4_t value = vmulq_n_f32(load_some(n - i, x + i), scale);
        store_some(n - i, x + i, vmulq_f32(value, load_some(n - i, weight + i)));
    }
}

void rope(float* x, const float* cosine, const float* sine, int64_t half) {
    for (int64_t i = 0; i < half; i += 4) {
        const int64_t here = half - i;
        const float32x4_t a = load_some(here, x + i), b = load_some(here, x + half + i);
        const float32x4_t c = load_some(here, cosine + i), s = load_some(here, sine + i);
        store_some(here, x + i, vsubq_f32(vmulq_f32(a, c), vmulq_f32(b, s)));
        store_some(here, x + half + i, vaddq_f32(vmulq_f32(a, s), vmulq_f32(b, c)));
    }
}

// x / (1 + e^-u) over x[n], where u is a function of x.
template<class Exponent>
void gate(float* x, int64_t n, Exponent exponent) {
    for (int64_t i = 0; i < n; i += 4) {
        const float32x4_t v = load_some(n - i, x + i);
        const float32x4_t e = exp4(vnegq_f32(exponent(v)));
        store_some(n - i, x + i, vdivq_f32(v, vaddq_f32(vdupq_n_f32(1.0f), e)));
    }
}

void silu(float* x, int64_t n) {
    gate(x, n, [](float32x4_t v) { return v; });
}

void gelu(float* x, int64_t n) {
    gate(x, n, [](float32x4_t v) {
        const float32x4_t cube = vmulq_f32(vmulq_f32(v, v), v);
        return vmulq_n_f32(vfmaq_n_f32(v, cube, 0.044715f), 2.0f * 0.797884561f);
    });
}

}  // namespace

#ifdef LLMSQL_I8MM
const Kernels* i8mm_kernels() {
    constexpr const char* kName = "i8mm";
    const bool can_run =
        (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0 && (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0;
#else
const Kernels* neon_kernels() {
    constexpr const char* kName = "neon";
    const bool can_run = (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#endif
    static const Kernels table{kName,
                               kLinears<Neon>.of,
                               quantize,
                               attend_f16<Neon>,
                               attend_q8<Neon>,
                               rms_norm,
                               rope,
                               silu,
                               gelu,
                               convolve<Neon>,
                               recur<Neon>,
                               portable_exponentials};
    return can_run ? &table : nullptr;
}

}  // namespace llmsql

#else

namespace llmsql {

#ifdef LLMSQL_I8MM
const Kernels* i8mm_kernels() {
#else
const Kernels* neon_kernels() {
#endif
    return nullptr;
}

}  // namespace llmsql

#endif
