// SPDX-License-Identifier: MIT
// How each weight format's codes and scales are got at, for every instruction set: written once in
// the vocabulary that driver.h explains. docs/model-db.md draws the layouts.
//
//   kBytes, kCodes, kGroup   of a block of a strip, where the codes begin, of a group of 32 columns
//   kGroups                  of 32 columns in a block
//   kMost, kBias             largest code as stored, and what is to be taken from it
//   Head, head(block)        what is decoded once for a block: scale[group], offset[group], …
//   code<k>(group)           16 rows' codes of the four columns from column(k) on, k = 0 … 7
//   kUnpacked, unpack(block, codes)   bytes that the block's codes are first unpacked to, if they
//                            are; groups then lie there
#pragma once

#include "runtime/kernels/driver.h"

namespace llmsql {
namespace {

template<WeightType Type>
struct Format {
    static constexpr WeightType kType = Type;
    static constexpr int64_t kBytes = kStripRows * format_of(Type).bytes;
    static constexpr int kTokens = kMostTokens;  // in a tile; fewer compile sooner
};

template<WeightType Type>
struct QuantizedFormat : Format<Type> {
    static constexpr int kGroups = static_cast<int>(format_of(Type).columns / kBlock);
    static constexpr bool kScalesOf16 = false;  // integers for each 16 columns, and one f16, head.d
    static constexpr bool kFloatsOf16 = false;  // a float for each 16 columns: head.scale
    static constexpr bool kMinimaOf16 = false;  // so, too: head.minimum and head.less
    static constexpr bool kOffsets = false;     // floats for each 32 columns: head.offset
    static constexpr int64_t kUnpacked = 0;     // codes lie as they are multiplied
    static constexpr int kBias = 0;
    static constexpr int column(int k) { return 4 * k; }
};

template<class I>
struct F32 : Format<WeightType::f32> {
    static LLMSQL_INLINE typename I::Sum weight(const std::byte* column) {
        return I::load(reinterpret_cast<const float*>(column));
    }
};

template<class I>
struct F16 : Format<WeightType::f16> {
    static LLMSQL_INLINE typename I::Sum weight(const std::byte* column) {
        return I::halves(column);
    }
};

// Code `k` of vectors that hold eight of them as nibbles: of vector v the low ones are code 2 v.
template<class I, int k>
LLMSQL_INLINE inline typename I::Bytes nibble(const std::byte* vectors) {
    const auto both = I::load_bytes(vectors + k / 2 * 64);
    return I::and_bytes(I::template shift<k % 2 * 4>(both), 15);
}

// Groups of 32 that stand alone: f16 scales of 16 rows come first.
template<class I, WeightType Type>
struct Scaled : QuantizedFormat<Type> {
    static constexpr int64_t kCodes = 32;
    struct Head {
        typename I::Sum scale[1];
    };
    static LLMSQL_INLINE Head head(const std::byte* block) { return {{I::halves(block)}}; }
};

// So do offsets of 16 rows behind them.
template<class I, WeightType Type>
struct ScaledAndOffset : QuantizedFormat<Type> {
    static constexpr int64_t kCodes = 64;
    static constexpr bool kOffsets = true;
    struct Head {
        typename I::Sum scale[1], offset[1];
    };
    static LLMSQL_INLINE Head head(const std::byte* block) {
        return {{I::halves(block)}, {I::halves(block + 32)}};
    }
};

template<class I>
struct Q8 : Scaled<I, WeightType::q8> {
    static constexpr int64_t kGroup = 512;
    static constexpr int kMost = kSigned;
    template<int k>
    static LLMSQL_INLINE auto code(const std::byte* group) {
        return I::signed_codes(I::load_bytes(group + 64 * k));
    }
};

// The high nibbles are of columns 16 to 31.
template<class I>
struct Q4 : ScaledAndOffset<I, WeightType::q4> {
    static constexpr int64_t kGroup = 256;
    static constexpr int kMost = 15;
    static constexpr int column(int k) { return k / 2 * 4 + k % 2 * 16; }
    template<int k>
    static LLMSQL_INLINE auto code(const std::byte* group) {
        return nibble<I, k>(group);
    }
};

// Eight codes of five bits: a vector of all their fifth bits, then the nibbles.
template<class I, int k>
LLMSQL_INLINE inline typename I::Bytes five_bits(const std::byte* vectors) {
    return I::and_or(I::template shift<k - 4>(I::load_bytes(vectors)), 16,
                     nibble<I, k>(vectors + 64));
}

template<class I>
struct Bf16 : Format<WeightType::bf16> {
    static LLMSQL_INLINE typename I::Sum weight(const std::byte* column) {
        return I::from_bits(I::template shift_ints<-16>(I::load_words(column)));
    }
};

template<class I>
struct Q4_0 : Scaled<I, WeightType::q4_0> {
    static constexpr int64_t kGroup = 256;
    static constexpr int kMost = 15, kBias = 8;
    template<int k>
    static LLMSQL_INLINE auto code(const std::byte* group) {
        return nibble<I, k>(group);
    }
};

template<class I>
struct Q5_0 : Scaled<I, WeightType::q5_0> {
    static constexpr int64_t kGroup = 320;
    static constexpr int kMost = 31, kBias = 16;
    template<int k>
    static LLMSQL_INLINE auto code(const std::byte* group) {
        return five_bits<I, k>(group);
    }
};

template<class I>
struct Q5_1 : ScaledAndOffset<I, WeightType::q5_1> {
    static constexpr int64_t kGroup = 320;
    static constexpr int kMost = 31;
    template<int k>
    static LLMSQL_INLINE auto code(const std::byte* group) {
        return five_bits<I, k>(group);
    }
};

template<class I, int K>
LLMSQL_INLINE inline typename I::Ints byte_of(const typename I::Bytes& a) {
    return I::and_ints(I::template shift_ints<8 * K>(I::as_ints(a)), 255);
}

template<class I, int K>
LLMSQL_INLINE inline typename I::Ints signed_byte_of(const typename I::Bytes& a) {
    return I::template shift_signed<24>(I::template shift_ints<8 * K - 24>(I::as_ints(a)));
}

// Scales and minima of six bits in twelve bytes a row: of the first four groups the low six bits of
// bytes 0 to 3 and 4 to 7; of the others a nibble each of bytes 8 to 11, and the top two bits from
// what the first four left over.
template<class I, bool Five>
struct KWithMinima : QuantizedFormat<Five ? WeightType::q5_k : WeightType::q4_k> {
    static constexpr int64_t kCodes = 256, kGroup = Five ? 320 : 256;
    static constexpr int kMost = Five ? 31 : 15;
    static constexpr bool kOffsets = true;
    struct Head {
        typename I::Sum scale[8], offset[8];
    };
    static LLMSQL_INLINE Head head(const std::byte* block) {
        const auto d = I::halves(block), less = I::mul(I::halves(block + 32), I::splat(-1));
        const auto a = I::load_bytes(block + 64), b = I::load_bytes(block + 128),
                   c = I::load_bytes(block + 192);
        const typename I::Bytes scales[2] = {
            I::and_bytes(a, 63), I::and_or(I::template shift<2>(a), 0x30, I::and_bytes(c, 15))};
        const typename I::Bytes minima[2] = {
            I::and_bytes(b, 63),
            I::and_or(I::template shift<2>(b), 0x30, I::and_bytes(I::template shift<4>(c), 15))};
        Head head;
        unroll<8>([&]<int g>() LLMSQL_INLINE {
            head.scale[g] = I::mul(d, I::to_f32(byte_of<I, g % 4>(scales[g / 4])));
            head.offset[g] = I::mul(less, I::to_f32(byte_of<I, g % 4>(minima[g / 4])));
        });
        return head;
    }
    template<int k>
    static LLMSQL_INLINE auto code(const std::byte* group) {
        if constexpr (Five)
            return five_bits<I, k>(group);
        else
            return nibble<I, k>(group);
    }
};
template<class I>
struct Q4K : KWithMinima<I, false> {};
template<class I>
struct Q5K : KWithMinima<I, true> {};

// For each 16 columns a vector of the upper two bits, then two of nibbles.
template<class I>
struct Q6K : QuantizedFormat<WeightType::q6_k> {
    static constexpr int64_t kCodes = 256, kGroup = 384;
    static constexpr int kMost = 63, kBias = 32;
    static constexpr bool kScalesOf16 = true;
    struct Head {
        typename I::Sum d;
        typename I::Ints scale[16];
    };
    static LLMSQL_INLINE Head head(const std::byte* block) {
        Head head;
        head.d = I::halves(block + 256 + 8 * 384);
        unroll<16>([&]<int g>() LLMSQL_INLINE {
            head.scale[g] = signed_byte_of<I, g % 4>(I::load_bytes(block + g / 4 * 64));
        });
        return head;
    }
    template<int k>
    static LLMSQL_INLINE auto code(const std::byte* group) {
        const std::byte* half = group + k / 4 * 192;
        return I::and_or(I::template shift<2 * (k % 4) - 4>(I::load_bytes(half)), 0x30,
                         nibble<I, k % 4>(half + 64));
    }
};

// Code `k` of the two vectors that hold those of 32 columns in two bits each.
template<class I, int k>
LLMSQL_INLINE inline typename I::Bytes two_bits(const std::byte* vectors) {
    return I::and_bytes(I::template shift<2 * (k % 4)>(I::load_bytes(vectors + k / 4 * 64)), 3);
}

// A vector of third bits, then two of the lower two.
template<class I, int k>
LLMSQL_INLINE inline typename I::Bytes three_bits(const std::byte* vectors) {
    return I::and_or(I::template shift<k - 2>(I::load_bytes(vectors)), 4,
                     two_bits<I, k>(vectors + 64));
}

// Twelve bytes of scales: a nibble each of the first eight, two bits each of the others.
template<class I>
struct Q3K : QuantizedFormat<WeightType::q3_k> {
    static constexpr int64_t kCodes = 192, kGroup = 192;
    static constexpr int kMost = 7, kBias = 4;
    static constexpr bool kScalesOf16 = true;
    struct Head {
        typename I::Sum d;
        typename I::Ints scale[16];
    };
    static LLMSQL_INLINE Head head(const std::byte* block) {
        Head head;
        head.d = I::halves(block + 192 + 8 * 192);
        const auto high = I::load_bytes(block + 128);
        unroll<4>([&]<int v>() LLMSQL_INLINE {
            const auto both = I::load_bytes(block + v % 2 * 64);
            const auto low = I::and_bytes(I::template shift<v / 2 * 4>(both), 15);
            const auto six = I::and_or(I::template shift<2 * v - 4>(high), 0x30, low);
            unroll<4>([&]<int i>() LLMSQL_INLINE {
                head.scale[4 * v + i] = I::add_ints(byte_of<I, i>(six), I::all_ints(-32));
            });
        });
        return head;
    }
    template<int k>
    static LLMSQL_INLINE auto code(const std::byte* group) {
        return three_bits<I, k>(group);
    }
};

// Sixteen bytes of a scale and a minimum each. Of a group of 32 two vectors of two bits.
template<class I>
struct Q2K : QuantizedFormat<WeightType::q2_k> {
    static constexpr int64_t kCodes = 320, kGroup = 128;
    static constexpr int kMost = 3;
    static constexpr bool kScalesOf16 = true, kMinimaOf16 = true;
    struct Head {
        typename I::Sum d, less;
        typename I::Ints scale[16], minimum[8];
    };
    static LLMSQL_INLINE Head head(const std::byte* block) {
        Head head;
        head.d = I::halves(block);
        head.less = I::mul(I::halves(block + 32), I::splat(-1));
        unroll<4>([&]<int v>() LLMSQL_INLINE {
            const auto both = I::load_bytes(block + 64 + v * 64);
            const auto scales = I::and_bytes(both, 15);
            const auto minima = I::as_ints(I::and_bytes(I::template shift<4>(both), 15));
            unroll<4>([&]<int i>()
                          LLMSQL_INLINE { head.scale[4 * v + i] = byte_of<I, i>(scales); });
            // Bytes 0 and 1, and 2 and 3, as pairs of int16.
            unroll<2>([&]<int i>() LLMSQL_INLINE {
                const auto pair = I::template shift_ints<16 * i>(minima);
                head.minimum[2 * v + i] = I::add_ints(
                    I::and_ints(pair, 15), I::template shift_ints<-8>(I::and_ints(pair, 15 << 8)));
            });
        });
        return head;
    }
    template<int k>
    static LLMSQL_INLINE auto code(const std::byte* group) {
        return two_bits<I, k>(group);
    }
};

template<class I>
struct Iq4Nl : Scaled<I, WeightType::iq4_nl> {
    static constexpr int64_t kGroup = 256;
    static constexpr int kMost = kSigned;
    template<int k>
    static LLMSQL_INLINE auto code(const std::byte* group) {
        return I::look_up(nibble<I, k>(group), kNonlinear);
    }
};

// Scales: a vector of their low nibbles, and behind d 16 bits a row of the upper two.
template<class I>
struct Iq4Xs : QuantizedFormat<WeightType::iq4_xs> {
    static constexpr int64_t kCodes = 128, kGroup = 256;
    static constexpr int kMost = kSigned;
    struct Head {
        typename I::Sum scale[8];
    };
    static LLMSQL_INLINE Head head(const std::byte* block) {
        const auto d = I::halves(block + 64);
        const auto low = I::as_ints(I::load_bytes(block)), high = I::load_words(block + 96);
        Head head;
        unroll<8>([&]<int g>() LLMSQL_INLINE {
            const auto four = I::and_ints(I::template shift_ints<4 * g>(low), 15);
            const auto two = I::and_ints(I::template shift_ints<2 * g - 4>(high), 0x30);
            head.scale[g] =
                I::mul(d, I::to_f32(I::add_ints(I::add_ints(four, two), I::all_ints(-32))));
        });
        return head;
    }
    template<int k>
    static LLMSQL_INLINE auto code(const std::byte* group) {
        return I::look_up(nibble<I, k>(group), kNonlinear);
    }
};

// A byte e a row: the scale is 2^(e - 128), as codes are doubled. For e = 0 the exponent's field
// gives no power of two: the subnormal of that value does.
template<class I>
struct Mxfp4 : QuantizedFormat<WeightType::mxfp4> {
    static constexpr int64_t kCodes = 16, kGroup = 256;
    static constexpr int kMost = kSigned;
    struct Head {
        typename I::Sum scale[1];
    };
    static LLMSQL_INLINE Head head(const std::byte* block) {
        const auto exponent = I::template shift_ints<-23>(I::load_octets(block));
        return {
            {I::mul(I::from_bits(I::max_ints(exponent, I::all_ints(0x400000))), I::splat(0.5f))}};
    }
    template<int k>
    static LLMSQL_INLINE auto code(const std::byte* group) {
        return I::look_up(nibble<I, k>(group), kFloat4);
    }
};

// What few files have is compiled in a third of the time so.
constexpr int kTokensOfRareTypes = kMostTokens / 2;

// A vector of bytes of e4m3 for 16 columns each. In the place of their signs, which they have not,
// are the bits of a float for the whole matrix. An exponent of 4 bits in the place of f32's is too
// small by 120, or by 119 for half the scale, as codes are doubled. Where it is 0, what is below
// the smallest normal number counts twice.
template<class I>
struct Nvfp4 : QuantizedFormat<WeightType::nvfp4> {
    static constexpr int kTokens = kTokensOfRareTypes;
    static constexpr int64_t kCodes = 64, kGroup = 256;
    static constexpr int kMost = kSigned;
    static constexpr bool kFloatsOf16 = true;
    struct Head {
        typename I::Sum scale[4];
    };
    static LLMSQL_INLINE Head head(const std::byte* block) {
        const auto both = I::load_bytes(block), scales = I::and_bytes(both, 0x7f);
        const auto times = I::splat(__builtin_bit_cast(float, I::signs(both))), one = I::splat(1);
        Head head;
        unroll<4>([&]<int g>() LLMSQL_INLINE {
            const auto half = I::from_bits(I::add_ints(
                I::template shift_ints<-20>(byte_of<I, g>(scales)), I::all_ints(119 << 23)));
            const auto below = I::lesser(I::fma(half, one, I::splat(-0x1p-7f)), I::zero());
            head.scale[g] = I::mul(I::fma(below, one, half), times);
        });
        return head;
    }
    template<int k>
    static LLMSQL_INLINE auto code(const std::byte* group) {
        return I::look_up(nibble<I, k>(group), kFloat4);
    }
};

// One f16 scale for all groups of a block, `At` bytes into it.
template<class I, WeightType Type, int64_t At>
struct OneScale : QuantizedFormat<Type> {
    static constexpr int kTokens = kTokensOfRareTypes;
    struct Scale {
        typename I::Sum d;
        LLMSQL_INLINE const typename I::Sum& operator[](int) const { return d; }
    };
    struct Head {
        Scale scale;
    };
    static LLMSQL_INLINE Head head(const std::byte* block) { return {{I::halves(block + At)}}; }
};

// Bits: 1 is the scale, 0 its negative.
template<class I>
struct Q1_0 : OneScale<I, WeightType::q1_0, 0> {
    static constexpr int64_t kCodes = 32, kGroup = 64;
    static constexpr int kMost = 2, kBias = 1;
    template<int k>
    static LLMSQL_INLINE auto code(const std::byte* group) {
        return I::and_bytes(I::template shift<k - 1>(I::load_bytes(group)), 2);
    }
};

// Two bits, less one.
template<class I, WeightType Type, int64_t Codes, int64_t At>
struct Ternary : OneScale<I, Type, At> {
    static constexpr int64_t kCodes = Codes, kGroup = 128;
    static constexpr int kMost = 3, kBias = 1;
    template<int k>
    static LLMSQL_INLINE auto code(const std::byte* group) {
        return two_bits<I, k>(group);
    }
};
template<class I>
struct Q2_0 : Ternary<I, WeightType::q2_0, 32, 0> {};
template<class I>
struct Tq2_0 : Ternary<I, WeightType::tq2_0, 0, 8 * 128> {};

// Thirteen vectors of bytes that have five codes each, in thirds, d behind them.
template<class I>
struct Tq1_0 : OneScale<I, WeightType::tq1_0, 13 * 64> {
    static constexpr int kTokens = kMostTokens;
    static constexpr int64_t kUnpacked = 65 * 64, kCodes = Tq1_0::kBytes, kGroup = 512;
    static constexpr int kMost = 3, kBias = 2;
    static LLMSQL_INLINE void unpack(const std::byte* block, std::byte* codes) {
#pragma GCC unroll 1
        for (int v = 0; v < 13; ++v, block += 64, codes += 5 * 64) {
            auto rest = I::load_bytes(block);
            unroll<5>([&]<int n>() LLMSQL_INLINE {
                I::store_bytes(codes + n * 64, I::thirds(rest));
                rest = I::triple(rest);
            });
        }
    }
    template<int k>
    static LLMSQL_INLINE auto code(const std::byte* group) {
        return I::load_bytes(group + 64 * k);
    }
};

// Scales of 16 columns are 2 s + 1, s in nibbles; d, times `Eighths` / 8, comes last.
template<class I, WeightType Type, int Eighths>
struct Levels : QuantizedFormat<Type> {
    static constexpr int kTokens = kTokensOfRareTypes;
    static constexpr int64_t kCodes = 128;
    static constexpr int kMost = kSigned;
    static constexpr bool kScalesOf16 = true;
    struct Head {
        typename I::Sum d;
        typename I::Ints scale[16];
    };
    static LLMSQL_INLINE Head head(const std::byte* block) {
        Head head;
        head.d = I::mul(I::halves(block + Levels::kBytes - 32), I::splat(Eighths / 8.0f));
        unroll<4>([&]<int v>() LLMSQL_INLINE {
            const auto four = nibble<I, v>(block);
            unroll<4>([&]<int i>() LLMSQL_INLINE {
                head.scale[4 * v + i] =
                    I::add_ints(I::template shift_ints<-1>(byte_of<I, i>(four)), I::all_ints(1));
            });
        });
        return head;
    }
};

template<class I, WeightType Type, const int8_t (&kLevels)[16]>
struct LevelsOf3 : Levels<I, Type, 1> {
    static constexpr int64_t kGroup = 192;
    template<int k>
    static LLMSQL_INLINE auto code(const std::byte* group) {
        return I::look_up(three_bits<I, k>(group), kLevels);
    }
};
template<class I>
struct Iq1 : LevelsOf3<I, WeightType::iq1, kLevelsOfIq1> {};
template<class I>
struct Iq2 : LevelsOf3<I, WeightType::iq2, kLevelsOfIq2> {};

template<class I, WeightType Type, int Eighths, const int8_t (&kLevels)[16]>
struct LevelsOf4 : Levels<I, Type, Eighths> {
    static constexpr int64_t kGroup = 256;
    template<int k>
    static LLMSQL_INLINE auto code(const std::byte* group) {
        return I::look_up(nibble<I, k>(group), kLevels);
    }
};
template<class I>
struct Iq3Xxs : LevelsOf4<I, WeightType::iq3_xxs, 2, kLevelsOfIq3Xxs> {};
template<class I>
struct Iq3S : LevelsOf4<I, WeightType::iq3_s, 8, kLevelsOfIq3S> {};

/// The kernels of all formats, in the order of WeightType.
template<class I>
struct Linears {
    LinearKernel of[kWeightFormats.size()];
};

template<class I, class F>
struct ByVectors {
    static constexpr LinearKernel kernel() {
        return {linear<I, F>, linear_part<I, F>, linear_cut<I, F>};
    }
};

template<class I, template<class, class> class By, template<class> class... Formats>
constexpr Linears<I> linears_of() {
    static_assert(sizeof...(Formats) == kWeightFormats.size(), "one for each format");
    Linears<I> all{};
    ((all.of[static_cast<int>(Formats<I>::kType)] = By<I, Formats<I>>::kernel()), ...);
    return all;
}

template<class I, template<class, class> class By = ByVectors>
constexpr Linears<I> kLinears =
    linears_of<I, By, F32, F16, Q8, Q4, Bf16, Q4_0, Q5_0, Q5_1, Q2K, Q3K, Q4K, Q5K, Q6K, Iq4Nl,
               Iq4Xs, Mxfp4, Nvfp4, Q1_0, Q2_0, Tq2_0, Iq1, Iq2, Iq3Xxs, Iq3S, Tq1_0>();

}  // namespace
}  // namespace llmsql
