// SPDX-License-Identifier: MIT
// What all instruction sets do alike: which rows of x are taken together, in which order products
// are summed, how a strip goes on from one part to the next, which query heads go together.
//
// An instruction set brings a vocabulary, a struct `I` of small functions, and no loops over blocks
// or rows of x; portable/kernels.cpp has it in plain C++:
//
//   Sum       16 floats, one for each row of a strip
//   Ints      16 int32, as Sum
//   Bytes     64 bytes, four for each row of a strip; also seen as a dword for each
//   Signed    64 int8 codes in the form in which products take them
//   Dot<M>    sums of products of codes of at most M (or Signed, where M is kSigned) with int8
//             activations, started with Ints; `add<K, N>` is the K-th of N steps
//   Dots<M, S, T>   those of S strips and T rows of x: EachDot, or what takes rows together
//   bias<B, H>(pair)   -B times the sum of a group's activations, of all 32 columns or of 16 of
//             them: what takes back that codes are stored raised by B
//   kTokens   rows of x in a tile, so that sums and products find registers
//   kStrips, kTokensOfStrips   the same of several strips that are taken together; 1: never
//   kQueries, attend_heads<N>   the same of attention: query heads that are taken together
//   kQueriesOfQ8, attend_heads_q8<N>   and over a cache of q8
//
// Everything here is in an unnamed namespace and uses no standard library: a file that includes
// this is compiled for its instruction set alone, so it may share no inline function with another.
#pragma once

#include "common/types.h"
#include "common/weight_format.h"
#include "runtime/kernels/kernels.h"

#define LLMSQL_INLINE __attribute__((always_inline))

namespace llmsql {
namespace {

/// Which columns of a group of 32.
enum class Part { first16, second16, all };

/// `most` of a Dot whose codes are Signed.
constexpr int kSigned = 128;

/// The most rows of x in a tile. Under the sanitizers, who make a function many times as long, a
/// compiler takes minutes for large ones.
#ifdef LLMSQL_SMALL_TILES
constexpr int kMostTokens = 2;
#else
constexpr int kMostTokens = 8;
#endif

/// Calls body.operator()<0>() … <N - 1>(), written out.
template<int N, int At = 0, class Body>
LLMSQL_INLINE inline void unroll(const Body& body) {
    if constexpr (At < N) {
        body.template operator()<At>();
        unroll<N, At + 1>(body);
    }
}

/// Calls each.operator()<Count>(first) for `Most` of `count` things at a time, then for the rest.
template<int Most, class Each>
LLMSQL_INLINE inline void in_tiles(int64_t count, const Each& each) {
    int64_t first = 0;
    for (; first + Most <= count; first += Most) each.template operator()<Most>(first);
    unroll<Most>([&]<int Rest>() LLMSQL_INLINE {
        if constexpr (Rest > 0)
            if (count - first == Rest) each.template operator()<Rest>(first);
    });
}

/// x, of which a compiler knows no more: else it makes a pointer of each sum with it before a loop,
/// and those are more than there are registers.
template<class X>
LLMSQL_INLINE inline X unknown(X x) {
    asm volatile("" : "+r"(x));
    return x;
}

/// `T` rows of x, all as tensor_row_bytes in common/types.h says.
template<int T>
struct ActivationRows {
    const std::byte* row[T];
    int64_t groups;  // of 32 columns, in a row

    LLMSQL_INLINE ActivationRows(const std::byte* x, int64_t x_stride, int64_t groups_of_row)
        : groups(groups_of_row) {
        for (int t = 0; t < T; ++t) row[t] = x + t * x_stride;
    }
    /// `tokens` rows: the last stands for those that are missing.
    LLMSQL_INLINE ActivationRows(const std::byte* x, int64_t x_stride, int64_t groups_of_row,
                                 int64_t tokens)
        : groups(groups_of_row) {
        for (int t = 0; t < T; ++t) row[t] = x + (t < tokens ? t : tokens - 1) * x_stride;
    }
    LLMSQL_INLINE const int8_t* codes(int t, int64_t group, int64_t column) const {
        return reinterpret_cast<const int8_t*>(row[t]) + group * kBlock + column;
    }
    LLMSQL_INLINE float scale(int t, int64_t group) const { return number(t, groups * 32, group); }
    LLMSQL_INLINE float sum(int t, int64_t group) const { return number(t, groups * 36, group); }
    /// Two int16: the sums of the codes of the first 16 columns and of the others.
    LLMSQL_INLINE int32_t halves(int t, int64_t group) const {
        return reinterpret_cast<const int32_t*>(row[t] + groups * 40)[group];
    }
    LLMSQL_INLINE float plain(int t, int64_t column) const { return number(t, 0, column); }

  private:
    LLMSQL_INLINE float number(int t, int64_t offset, int64_t index) const {
        return reinterpret_cast<const float*>(row[t] + offset)[index];
    }
};

/// The sums of products of `S` strips with `T` rows of x, one by one.
template<class I, int Most, int S, int T>
struct EachDot {
    typename I::template Dot<Most> of[S][T];

    LLMSQL_INLINE void start(int t, const typename I::Ints& from) {
        for (int s = 0; s < S; ++s) of[s][t].start(from);
    }
    /// The codes of step `k` of a format's group, in sums of `N` steps.
    template<class F, int k, int N, class Code>
    LLMSQL_INLINE void add(const Code (&code)[S], const ActivationRows<T>& x, int64_t group) {
        for (int t = 0; t < T; ++t)
            for (int s = 0; s < S; ++s)
                of[s][t].template add<k % N, N>(code[s], x.codes(t, group, F::column(k)));
    }
    LLMSQL_INLINE typename I::Ints result(int s, int t) const { return of[s][t].result(); }
};

/// Weights are asked for so many bytes before they are multiplied, so that memory is never idle.
constexpr int64_t kAhead = 8192;

template<int64_t Bytes>
LLMSQL_INLINE inline void prefetch(const std::byte* at, Ahead ahead) {
    if (ahead == Ahead::into_second)
        for (int64_t i = 0; i < Bytes; i += 64) __builtin_prefetch(at + kAhead + i, 0, 2);
    else
        for (int64_t i = 0; i < Bytes; i += 64) __builtin_prefetch(at + kAhead + i);
}

/// Where a block's bytes are: behind one another.
struct InOnePiece {
    LLMSQL_INLINE const std::byte* head(const std::byte* block) { return block; }
    LLMSQL_INLINE const std::byte* group(const std::byte* block, int64_t at) { return block + at; }
};

/// Or those behind the first `cut` lie `gap` bytes farther on. A group is taken from where it lies,
/// so that memory is read on without a hole; the one that is cut is put together, and what a head
/// is decoded from.
template<class F>
class InTwoPieces {
  public:
    LLMSQL_INLINE InTwoPieces(int64_t cut, int64_t gap) : cut_(cut), gap_(gap) {}

    LLMSQL_INLINE const std::byte* head(const std::byte* block) {
        constexpr int64_t kTail = F::kCodes + F::kGroups * F::kGroup;
        put_together(block, 0, F::kCodes);
        if constexpr (kTail < F::kBytes) put_together(block, kTail, F::kBytes);
        return joined_;
    }
    LLMSQL_INLINE const std::byte* group(const std::byte* block, int64_t at) {
        if (at + F::kGroup <= cut_) return block + at;
        if (at >= cut_) return block + gap_ + at;
        return put_together(block, at, at + F::kGroup);
    }
    LLMSQL_INLINE const std::byte* whole(const std::byte* block) {
        return put_together(block, 0, F::kBytes);
    }

  private:
    LLMSQL_INLINE const std::byte* put_together(const std::byte* block, int64_t from, int64_t to) {
        const int64_t middle = cut_ < from ? from : cut_ < to ? cut_ : to;
        copy(block, from, middle);
        copy(block + gap_, middle, to);
        return joined_ + from;
    }
    LLMSQL_INLINE void copy(const std::byte* block, int64_t from, int64_t to) {
        __builtin_memcpy(joined_ + from, block + from, static_cast<size_t>(to - from));
    }

    const int64_t cut_, gap_;
    alignas(64) std::byte joined_[F::kBytes];
};

/// What is done with products of a group, of one strip with row `t` of x. The order of sums:
/// integers over a group of 32 columns, then floats group by group. A group's sum is multiplied by
/// the weights' scale times the activations'; where each 16 columns have an integer scale, by those
/// first, and the f16 that covers the block comes in when the block has been summed; where their
/// scales are floats, each 16 are a group.
template<class I, class F>
struct Sums {
    static constexpr int kParts = F::kScalesOf16 || F::kFloatsOf16 ? 2 : 1;

    /// `dot` is that of part `P` of kParts of group `g` in a block, the `group`-th of the row.
    template<int P, int T>
    static LLMSQL_INLINE void take_part(const typename F::Head& head, int g,
                                        const typename I::Ints& dot, const ActivationRows<T>& x,
                                        int t, int64_t group, typename I::Ints& products,
                                        typename I::Sum& sum) {
        if constexpr (F::kFloatsOf16) {
            sum = I::fma(I::to_f32(dot), I::mul(head.scale[2 * g + P], I::splat(x.scale(t, group))),
                         sum);
        } else if constexpr (!F::kScalesOf16) {
            products = dot;
        } else {
            const auto scaled = I::mul_ints(dot, head.scale[2 * g + P]);
            products = P == 0 ? scaled : I::add_ints(products, scaled);
        }
    }

    /// All parts of a group: `whole` and `least` are of the block, before its f16 scale and that of
    /// its minima.
    template<int T>
    static LLMSQL_INLINE void take_group(const typename F::Head& head, int g,
                                         const typename I::Sum& product, const ActivationRows<T>& x,
                                         int t, int64_t group, typename I::Sum& sum,
                                         typename I::Sum& whole, typename I::Sum& least) {
        const typename I::Sum by = I::splat(x.scale(t, group));
        if constexpr (F::kScalesOf16)
            whole = I::fma(product, by, whole);
        else
            sum = I::fma(product, I::mul(head.scale[g], by), sum);
        if constexpr (F::kOffsets) sum = I::fma(head.offset[g], I::splat(x.sum(t, group)), sum);
        if constexpr (F::kMinimaOf16)
            least = I::fma(I::to_f32(I::dot_pairs(head.minimum[g], x.halves(t, group))), by, least);
    }

    static LLMSQL_INLINE void begin_block(typename I::Sum& whole, typename I::Sum& least) {
        if constexpr (F::kScalesOf16) whole = I::zero();
        if constexpr (F::kMinimaOf16) least = I::zero();
    }
    static LLMSQL_INLINE void take_block(const typename F::Head& head, const typename I::Sum& whole,
                                         const typename I::Sum& least, typename I::Sum& sum) {
        if constexpr (F::kScalesOf16) sum = I::fma(whole, head.d, sum);
        if constexpr (F::kMinimaOf16) sum = I::fma(least, head.less, sum);
    }
};

/// Adds to sum[16 rows] of `S` strips and each row of x the products with blocks
/// [first, first + count) of those strips, the first of which lies at `block`, the others at
/// distances of `strip` bytes.
template<class I, class F, int S, int T, class Place = InOnePiece>
LLMSQL_INLINE inline void add_blocks(const std::byte* block, int64_t strip, int64_t first,
                                     int64_t count, const ActivationRows<T>& x,
                                     typename I::Sum (&sum)[S][T], Place&& place = {}) {
    using Sum = typename I::Sum;
    using Take = Sums<I, F>;
    constexpr int kParts = Take::kParts, kSteps = 8 / kParts;
    const Ahead ahead = F::kGroups > 1 || S == 1 ? ahead_of_use() : Ahead::long_blocks;
    for (int64_t b = first; b < first + count; ++b, block += F::kBytes) {
        typename F::Head head[S];
        for (int s = 0; s < S; ++s) head[s] = F::head(place.head(block + s * strip));
        if constexpr (F::kGroups > 1)
            prefetch<F::kCodes>(block, ahead);
        else if (ahead != Ahead::long_blocks)
            prefetch<F::kBytes>(block, ahead);
        constexpr bool kUnpacks = F::kUnpacked > 0;
        alignas(kUnpacks ? 64 : 1) std::byte unpacked[kUnpacks ? S * F::kUnpacked : 1];
        if constexpr (kUnpacks)
            for (int s = 0; s < S; ++s) F::unpack(block + s * strip, unpacked + s * F::kUnpacked);
        const int64_t next = kUnpacks ? F::kUnpacked : strip;
        Sum whole[S][T], least[S][T];
        for (int s = 0; s < S; ++s)
            for (int t = 0; t < T; ++t) Take::begin_block(whole[s][t], least[s][t]);
#pragma GCC unroll 1
        for (int g = 0; g < F::kGroups; ++g) {
            const int64_t offset = g * F::kGroup, group = b * F::kGroups + g;
            const std::byte* at =
                kUnpacks ? unpacked + offset : place.group(block, F::kCodes + offset);
            if constexpr (F::kGroups > 1 && !kUnpacks)
                prefetch<F::kGroup>(block + F::kCodes + offset, ahead);
            typename I::Ints products[S][T];
            unroll<kParts>([&]<int P>() LLMSQL_INLINE {
                constexpr Part part = kParts == 1 ? Part::all : static_cast<Part>(P);
                typename I::template Dots<F::kMost, S, T> dots;
                for (int t = 0; t < T; ++t) {
                    constexpr int kRaised = F::kMost == kSigned ? I::kSignedBias : F::kBias;
                    typename I::Ints start = I::no_ints();
                    if constexpr (kRaised != 0)
                        start = I::template bias<kRaised, part>(x.halves(t, group));
                    dots.start(t, start);
                }
                unroll<kSteps>([&]<int K>() LLMSQL_INLINE {
                    constexpr int k = P * kSteps + K;
                    decltype(F::template code<k>(at)) code[S];
                    for (int s = 0; s < S; ++s) code[s] = F::template code<k>(at + s * next);
                    dots.template add<F, k, kSteps>(code, x, group);
                });
                for (int s = 0; s < S; ++s)
                    for (int t = 0; t < T; ++t)
                        Take::template take_part<P>(head[s], g, dots.result(s, t), x, t, group,
                                                    products[s][t], sum[s][t]);
            });
            for (int s = 0; s < S && !F::kFloatsOf16; ++s)
                for (int t = 0; t < T; ++t)
                    Take::take_group(head[s], g, I::to_f32(products[s][t]), x, t, group, sum[s][t],
                                     whole[s][t], least[s][t]);
        }
        for (int s = 0; s < S; ++s)
            for (int t = 0; t < T; ++t)
                Take::take_block(head[s], whole[s][t], least[s][t], sum[s][t]);
    }
}

/// Weights that are not quantized: a block is a column, and x has floats.
template<class I, class F, int S, int T>
LLMSQL_INLINE inline void add_columns(const std::byte* column, int64_t strip, int64_t first,
                                      int64_t count, const ActivationRows<T>& x,
                                      typename I::Sum (&sum)[S][T]) {
    for (int64_t c = first; c < first + count; ++c, column += F::kBytes)
        for (int s = 0; s < S; ++s) {
            const typename I::Sum weight = F::weight(column + s * strip);
            for (int t = 0; t < T; ++t)
                sum[s][t] = I::fma(weight, I::splat(x.plain(t, c)), sum[s][t]);
        }
}

/// Blocks [first, first + count) of `S` strips that follow each other, of all `blocks` of a row,
/// times `T` rows of x: from the first on sums begin at 0, from another on at what is in `out`.
template<class I, class F, int S, int T>
__attribute__((noinline)) void tile(const std::byte* weights, int64_t first, int64_t count,
                                    int64_t blocks, const std::byte* x, int64_t x_stride,
                                    float* out, int64_t out_stride) {
    typename I::Sum sum[S][T];
    for (int s = 0; s < S; ++s)
        for (int t = 0; t < T; ++t)
            sum[s][t] = first == 0 ? I::zero() : I::load(out + t * out_stride + s * kStripRows);
    const int64_t strip = blocks * F::kBytes;
    if constexpr (format_of(F::kType).quantized())
        add_blocks<I, F, S, T>(weights, strip, first, count, {x, x_stride, blocks * F::kGroups},
                               sum);
    else
        add_columns<I, F, S, T>(weights, strip, first, count, {x, x_stride, 0}, sum);
    for (int s = 0; s < S; ++s)
        for (int t = 0; t < T; ++t) I::store(out + t * out_stride + s * kStripRows, sum[s][t]);
}

constexpr int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/// Groups that stand alone have few scales to hold; blocks of several leave no registers.
template<class I, class F>
constexpr int strips_together() {
    if constexpr (!format_of(F::kType).quantized())
        return I::kStrips;
    else
        return F::kGroups == 1 ? I::kStrips : 1;
}

template<class F>
constexpr bool takes_cut_blocks() {
    if constexpr (!format_of(F::kType).quantized())
        return false;
    else
        return F::kGroups > 1 && F::kUnpacked == 0;
}

/// `rows` from row `first` on, and their outputs from strip `strip` on.
LLMSQL_INLINE inline LinearRows from_row(const LinearRows& rows, int64_t first, int64_t strip = 0) {
    return {rows.x + first * rows.x_stride, rows.x_stride, rows.tokens - first,
            rows.out + first * rows.out_stride + strip * kStripRows, rows.out_stride};
}

/// The rows of x in tiles of up to `Tokens`, each with the same blocks.
template<class I, class F, int S, int Tokens>
LLMSQL_INLINE inline void tiles(const std::byte* weights, int64_t first, int64_t count,
                                int64_t blocks, const LinearRows& rows) {
    in_tiles<Tokens>(rows.tokens, [&]<int T>(int64_t t) LLMSQL_INLINE {
        tile<I, F, S, T>(weights, first, count, blocks, rows.x + t * rows.x_stride, rows.x_stride,
                         rows.out + t * rows.out_stride, rows.out_stride);
    });
}

template<class I, class F>
constexpr int kTokensOfStrip = static_cast<int>(least(I::kTokens, F::kTokens));

/// Few rows of x take strips one by one, as they lie in memory; many take several at a time where
/// a code is cheaply got at, so that an activation that is loaded serves them all.
template<class I, class F>
void linear(const std::byte* weights, int64_t strips, int64_t blocks, const LinearRows& rows) {
    constexpr int kStrips = strips_together<I, F>();
    int64_t s = 0;
    if constexpr (kStrips > 1)
        if (rows.tokens > kTokensOfStrip<I, F>)
            for (; s + kStrips <= strips; s += kStrips)
                tiles<I, F, kStrips, static_cast<int>(least(I::kTokensOfStrips, kMostTokens))>(
                    weights + s * blocks * F::kBytes, 0, blocks, blocks, from_row(rows, 0, s));
    for (; s < strips; ++s)
        tiles<I, F, 1, kTokensOfStrip<I, F>>(weights + s * blocks * F::kBytes, 0, blocks, blocks,
                                             from_row(rows, 0, s));
}

template<class I, class F>
void linear_part(const std::byte* weights, int64_t first, int64_t count, int64_t blocks,
                 const LinearRows& rows) {
    tiles<I, F, 1, kTokensOfStrip<I, F>>(weights, first, count, blocks, rows);
}

/// Where a block is short, or not multiplied as it lies, or by several rows, it is put together.
template<class I, class F>
void linear_cut(const std::byte* block, int64_t cut, int64_t gap, int64_t at, int64_t blocks,
                const LinearRows& rows) {
    InTwoPieces<F> place(cut, gap);
    if constexpr (takes_cut_blocks<F>())
        if (rows.tokens == 1) {
            typename I::Sum sum[1][1] = {{at == 0 ? I::zero() : I::load(rows.out)}};
            add_blocks<I, F, 1, 1>(block, 0, at, 1, {rows.x, 0, blocks * F::kGroups}, sum, place);
            return I::store(rows.out, sum[0][0]);
        }
    linear_part<I, F>(place.whole(block), at, 1, blocks, rows);
}

template<class I>
void attend_f16(const float* queries, int64_t count, int64_t width, const KvHead& head,
                int64_t first, int64_t last, AttentionState* states) {
    in_tiles<I::kQueries>(count, [&]<int N>(int64_t q) LLMSQL_INLINE {
        I::template attend_heads<N>(queries + q * width, width, head, first, last, states + q);
    });
}

template<class I>
void attend_q8(const int16_t* queries, const float* query_scales, int64_t count, int64_t width,
               const KvHead& head, int64_t first, int64_t last, AttentionState* states) {
    const int64_t groups = (width + kKvKeyGroup - 1) / kKvKeyGroup;
    in_tiles<I::kQueriesOfQ8>(count, [&]<int N>(int64_t q) LLMSQL_INLINE {
        I::template attend_heads_q8<N>(queries + q * groups * kKvKeyGroup,
                                       query_scales + q * groups, width, head, first, last,
                                       states + q);
    });
}

}  // namespace
}  // namespace llmsql
