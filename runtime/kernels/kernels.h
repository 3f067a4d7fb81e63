// SPDX-License-Identifier: MIT
// The arithmetic that takes the time, one implementation an instruction set.
//
// kernels/portable is plain C++ and the reference; the others are tested against it, to rounding.
// Within one instruction set every result is bitwise independent of what is computed beside it
// (tokens of a pass, strips, query heads): each value's sums are taken over the same blocks in the
// same order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "common/kv_layout.h"

namespace llmsql {

enum class WeightType : uint8_t;  // common/types.h

/// Where one row of a q8 tensor, or a part of it from some block on, has its codes, scales, sums
/// and sums of codes (layout and meaning: tensor_row_bytes in common/types.h).
struct QuantizedRow {
    int8_t* codes;
    float* scales;
    float* sums;
    int16_t* halves;  // two a block
};

/// The parts of a row of `blocks` blocks at `row`, from block `first` on.
QuantizedRow quantized_row(std::byte* row, int64_t blocks, int64_t first);

/// One query head's running softmax over cache blocks (Milakov and Gimelshein, 2018): the largest
/// score so far, the sum of exp(score - max), and the values weighted alike. Start: max = -inf,
/// sum = 0, values all 0. Result: values / sum.
struct AttentionState {
    float max;
    float sum;
    float* values;      // [width]
    float softcap = 0;  // above 0: each score s counts as softcap * tanh(s / softcap)
};

/// In place over scores[n], cap > 0: cap * tanh(score / cap).
void soft_cap(float* scores, int64_t n, float cap);

/// Blocks of x that are no larger have codes 0: not far below, 127 / max|x| is infinite.
inline constexpr float kLeastCoded = 1e-36f;

/// Most query heads that the attention kernels take at a time.
inline constexpr int64_t kMostQueries = 8;

/// Rows of a tensor x, of the type that a weight format takes, and where outputs go: of a strip, 16
/// floats for each row.
struct LinearRows {
    const std::byte* x;
    int64_t x_stride;  // bytes
    int64_t tokens;    // rows, at least one
    float* out;
    int64_t out_stride;  // floats
};

/// How a matrix of one weight format is multiplied.
struct LinearKernel {
    /// 16 outputs of each of `strips` neighboring strips for each row: out[t * out_stride + r] =
    /// sum over columns of weight[r] * x[t]. A strip has `blocks` blocks of the format's (layout:
    /// strip_bytes in common/types.h).
    void (*strips)(const std::byte* weights, int64_t strips, int64_t blocks,
                   const LinearRows& rows);

    /// One strip's blocks [first, first + count), which lie at `weights`; it has `blocks` in all.
    /// Outputs are their sums, those of the parts before among them (first = 0 begins anew). All
    /// parts in order give bitwise what the whole gives: so a strip that a file's pages cut can be
    /// used where it lies.
    void (*part)(const std::byte* weights, int64_t first, int64_t count, int64_t blocks,
                 const LinearRows& rows);

    /// The part that is block `at` alone, of which all behind the first `cut` bytes (0 < cut < its
    /// size) lies `gap` bytes farther from `block` on.
    void (*cut)(const std::byte* block, int64_t cut, int64_t gap, int64_t at, int64_t blocks,
                const LinearRows& rows);
};

/// One token of one head's recurrence: what its state becomes, and what is read from it.
struct Recurrence {
    const float* q;  // [keys]
    const float* k;  // [keys]
    int64_t keys;
    float decay;     // that the state is multiplied by
    float rate;      // that what is added is multiplied by
    bool corrected;  // what k reads from the decayed state is taken off v first: the delta rule
};

struct Kernels {
    std::string_view name;

    /// By format, in the order of WeightType: see kernel_of().
    const LinearKernel* linear;

    /// x[n] to int8 codes in blocks of 32, the last padded with zeros. scale = max|x| / 127; codes
    /// round half to even; they are 0 where max|x| is kLeastCoded or less. A block that is not
    /// finite gets the scale NaN and codes 0.
    void (*quantize)(const float* x, int64_t n, const QuantizedRow& out);

    /// Adds positions first … last - 1 (0 <= first < last <= 32) of one cache block to the states
    /// of `count` query heads, 1 to kMostQueries, that share its key-value head. `head` is that of
    /// a KvBlock (layout: common/kv_layout.h); queries f32[count][width], already scaled.
    void (*attend_f16)(const float* queries, int64_t count, int64_t width, const KvHead& head,
                       int64_t first, int64_t last, AttentionState* states);
    /// Adds positions of a q8 block to the states of `count` query heads, as attend_f16 does; each
    /// query is what quantize_query made of it, one behind the other. Products are sums of
    /// integers: a group's score is (sum of key code * query code) * (key scale * query scale). A
    /// group's values are weighted by weight
    /// * value scale, rounded to integers of which the largest in the block is 32767.
    void (*attend_q8)(const int16_t* queries, const float* query_scales, int64_t count,
                      int64_t width, const KvHead& head, int64_t first, int64_t last,
                      AttentionState* states);

    /// In place over x[n]: x / sqrt(mean of x^2 + eps) * weight (Zhang and Sennrich, 2019).
    void (*rms_norm)(float* x, const float* weight, int64_t n, float eps);
    /// In place over the pairs (x[i], x[half + i]), i in [0, half): turned by the angle whose
    /// cosine and sine are given (Su et al., 2021).
    void (*rope)(float* x, const float* cosine, const float* sine, int64_t half);

    /// In place over x[n]: x / (1 + exp(-x)).
    void (*silu)(float* x, int64_t n);
    /// In place over x[n]: the tanh form of GELU.
    void (*gelu)(float* x, int64_t n);

    /// A token of a causal convolution of `count` taps for each column: out[c] = sum over j of
    /// weight[j * stride + c] * rows[j][c], from the oldest row to the newest.
    void (*convolve)(const float* const* rows, int64_t count, const float* weight, int64_t stride,
                     int64_t columns, float* out);
    /// A token of a linear recurrence, of some columns of a head's state S[keys][stride]:
    ///   d[c] = rate * (v[c] - (corrected ? decay * sum over i of k[i] S[i][c] : 0))
    ///   S[i][c] = decay * S[i][c] + k[i] * d[c]
    ///   out[c] = sum over i of q[i] S[i][c]
    /// Corrected it is the gated delta rule (Yang, Kautz and Hatamizadeh, 2024, equation 10), else
    /// Mamba-2's (Dao and Gu, 2024, equation 1 with a scalar times identity for A).
    void (*recur)(float* state, int64_t stride, int64_t columns, const Recurrence& step,
                  const float* v, float* out);

    /// What a softmax sums, in whole units of 2^-bits: out[i] = e^(x[i] * per - most * per), where
    /// products are rounded to f32. Returns the sum. `most` is the largest of x[n], which may hold
    /// -inf; products are finite else, bits <= 51, n < 2^(63 - bits). The same numbers on all
    /// instruction sets; sums of them do not depend on the order.
    uint64_t (*exponentials)(const float* x, int64_t n, float most, double per, int bits,
                             uint64_t* out);
};

// Of an instruction set that has files of its own for it. Call only where that can be run.
uint64_t portable_exponentials(const float* x, int64_t n, float most, double per, int bits,
                               uint64_t* out);
uint64_t avx2_exponentials(const float* x, int64_t n, float most, double per, int bits,
                           uint64_t* out);
uint64_t avx512_exponentials(const float* x, int64_t n, float most, double per, int bits,
                             uint64_t* out);

/// A query for attend_q8: x[n] to int16 codes in groups of 8, the last padded with zeros:
/// codes[8 * groups], scales[groups]. scale = max|x| / 32767; codes round half to even. A group
/// that is not finite gets the scale NaN. One for all instruction sets: it is run once for many
/// blocks.
void quantize_query(const float* x, int64_t n, int16_t* codes, float* scales);

/// The implementations of this build. Null where the processor cannot run one.
const Kernels& portable_kernels();
const Kernels* avx2_kernels();     // AVX2, FMA and F16C
const Kernels* avxvnni_kernels();  // those, and AVX-VNNI
const Kernels* avx512_kernels();   // AVX-512 F, BW, DQ, VL and VNNI
const Kernels* neon_kernels();     // 64-bit Arm with the dot product
const Kernels* i8mm_kernels();     // that, and products of matrices of int8
// AVX-512 as above and AMX's tiles of int8. Linux lends these to a process that asks, which this
// does; from then on stacks for the process's signals (sigaltstack) have to have 11 KB.
const Kernels* amx_kernels();
/// Whether the processor has them and the system does not lend them to this process.
bool amx_is_withheld();

/// The kernel of a weight format.
inline const LinearKernel& kernel_of(const Kernels& kernels, WeightType type) {
    return kernels.linear[static_cast<size_t>(type)];
}

/// How the weights of one row of x, or a few, are asked for ahead of use (docs/performance.md has
/// what each gains and costs where).
enum class Ahead : uint8_t {
    long_blocks,  // into the first cache, where blocks are of several groups of 32 columns
    into_first,   // into the first cache, whatever the blocks
    into_second,  // into the second
};

/// What suits this processor: Intel's the second cache, as few lines can be under way to the first;
/// AMD's the first, before Zen 5 for long blocks alone.
Ahead ahead_of_use();

/// The kernels that this processor can run, from the portable one to the best.
std::span<const Kernels* const> usable_kernels();

/// The one that is used: the best, unless use_kernels() or the environment's LLMSQL_KERNELS names
/// another. Fails at the first call, naming those there are, if the latter is none of them.
const Kernels& kernels();

/// Has kernels() give the one called `name`. Call before any plan is opened, from one thread.
/// Fails, naming those there are, if this processor or this build has none of that name.
void use_kernels(std::string_view name);

}  // namespace llmsql
