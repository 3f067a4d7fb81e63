// SPDX-License-Identifier: MIT
// Quantises blocks of 32. See quantize.h.
#include "importer/quantize.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>

#include "common/half.h"

namespace llmsql {
namespace {

/// The nearest integer, ties to even, for |x| < 2^22: adding 1.5 * 2^23 leaves it in the mantissa.
int32_t nearest(float x) {
    return std::bit_cast<int32_t>(x + 0x1.8p23f) - 0x4b400000;
}

/// The next f16 towards plus or minus infinity; `half` is finite.
uint16_t next_up(uint16_t half) {
    if (half == 0x8000) return 0x0001;
    return static_cast<uint16_t>(half & 0x8000 ? half - 1 : half + 1);
}
uint16_t next_down(uint16_t half) {
    if (half == 0x0000) return 0x8001;
    return static_cast<uint16_t>(half & 0x8000 ? half + 1 : half - 1);
}

/// A block on its way to q4: values and what an error of each weighs. Past the values' end weights
/// are 0.
struct Weighted {
    alignas(64) std::array<float, kBlock> x{}, w{};
    float sum_w = 0, sum_wx = 0, sum_wxx = 0;
    size_t count = 0;
};

// Four numbers at a time, which every machine that this runs on has instructions for; compilers
// find no vectors in clamping by themselves. The order of additions is fixed, so results are
// everywhere the same.
using Four = float __attribute__((vector_size(16)));
constexpr size_t kLanes = 4;

Four four(const float* from) {
    Four values;
    std::memcpy(&values, from, sizeof values);
    return values;
}

float total(Four lanes) {
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

/// Without knowing what a weight is multiplied with, the large ones count for more: |x| plus the
/// root of the mean square, so that the small ones are not forgotten.
Weighted weighted(std::span<const float> values) {
    Weighted block;
    block.count = values.size();
    float squares = 0;
    for (const float x : values) squares += x * x;
    const float usual = std::sqrt(squares / static_cast<float>(values.size()));
    for (size_t i = 0; i < values.size(); ++i) {
        const float x = values[i];
        block.x[i] = x;
        block.w[i] = std::fabs(x) + usual;
        block.sum_w += block.w[i];
        block.sum_wx += block.w[i] * x;
        block.sum_wxx += block.w[i] * x * x;
    }
    return block;
}

/// The codes of q4 nearest to t, as floats.
Four codes_of(Four t) {
    t = t > 0.0f ? t : Four{};
    t = t < 15.0f ? t : Four{} + 15.0f;
    return (t + 0x1.8p23f) - 0x1.8p23f;
}

/// A way of storing a block: w = scale * code + offset.
struct Line {
    float scale = 0, offset = 0;
};

/// The line that fits the values best if they keep the codes that `line` gives them, by weighted
/// least squares; its error is below. Nothing if all codes are the same.
struct Refit {
    Line line;
    float error = 0;
};
std::optional<Refit> refit(const Weighted& block, const Line& line) {
    Four wc{}, wcc{}, wcx{};
    const float inverse = 1 / line.scale;
    for (size_t i = 0; i < kBlock; i += kLanes) {
        const Four x = four(&block.x[i]);
        const Four codes = codes_of((x - line.offset) * inverse);
        const Four weighted_codes = four(&block.w[i]) * codes;
        wc += weighted_codes;
        wcc += weighted_codes * codes;
        wcx += weighted_codes * x;
    }
    const float c = total(wc), cc = total(wcc), cx = total(wcx);
    const float determinant = block.sum_w * cc - c * c;
    if (!(determinant > 0)) return std::nullopt;
    Refit fit;
    fit.line.scale = (block.sum_w * cx - block.sum_wx * c) / determinant;
    fit.line.offset = (cc * block.sum_wx - c * cx) / determinant;
    fit.error = block.sum_wxx - fit.line.scale * cx - fit.line.offset * block.sum_wx;
    if (!(fit.line.scale > 0)) return std::nullopt;
    return fit;
}

/// The block with scale and offset as f16 and the nearest codes.
Q4Block stored(const Weighted& values, const Line& line) {
    Q4Block block;
    block.scale = f32_to_f16(line.scale);
    block.offset = f32_to_f16(line.offset);
    const float inverse = 1 / f16_to_f32(block.scale), offset = f16_to_f32(block.offset);
    for (size_t i = 0; i < kBlock; i += kLanes) {
        const Four codes = codes_of((four(&values.x[i]) - offset) * inverse);
        for (size_t k = 0; k < kLanes && i + k < values.count; ++k)
            block.codes[i + k] = static_cast<uint8_t>(codes[k]);
    }
    return block;
}

float error_of(const Weighted& values, const Q4Block& block) {
    const float scale = f16_to_f32(block.scale), offset = f16_to_f32(block.offset);
    float sum = 0;
    for (size_t i = 0; i < values.count; ++i) {
        const float miss = scale * block.codes[i] + offset - values.x[i];
        sum += values.w[i] * (miss * miss);
    }
    return sum;
}

// How far, as a part of the range, the ends of a line are moved inwards on the search for the best.
constexpr std::array kShifts{-0.05f, -0.025f, 0.0f, 0.025f, 0.05f, 0.075f, 0.1f};
constexpr int kRefits = 8;

}  // namespace

bool all_finite(std::span<const float> values) {
    // A NaN or infinity makes x * 0 something other than 0, and the sum keeps it.
    float sum = 0;
    for (const float x : values) sum += x * 0.0f;
    return sum == 0.0f;
}

std::optional<Q8Block> quantize_q8(std::span<const float> values) {
    Q8Block block;
    if (!all_finite(values)) return std::nullopt;
    float largest = 0;
    for (const float x : values) largest = std::max(largest, std::fabs(x));
    if (largest == 0) return block;
    block.scale = f32_to_f16(largest / 127);
    // Rounding the scale down may push the largest value half a code past 127 only where f16 is
    // subnormal and coarse.
    if (largest > 127.5f * f16_to_f32(block.scale)) block.scale = next_up(block.scale);
    if (!is_finite(block.scale)) return std::nullopt;
    const float scale = f16_to_f32(block.scale);
    for (size_t i = 0; i < values.size(); ++i)
        block.codes[i] = static_cast<int8_t>(std::clamp(nearest(values[i] / scale), -127, 127));
    return block;
}

std::optional<Q4Block> quantize_q4_minmax(std::span<const float> values) {
    Q4Block block;
    if (!all_finite(values)) return std::nullopt;
    const auto [lowest, highest] = std::ranges::minmax(values);
    block.offset = f32_to_f16(lowest);
    if (!is_finite(block.offset)) return std::nullopt;
    if (f16_to_f32(block.offset) > lowest) block.offset = next_down(block.offset);
    const float offset = f16_to_f32(block.offset);
    const float range = highest - offset;
    block.scale = f32_to_f16(range / 15);
    if (f16_to_f32(block.scale) * 15 < range) block.scale = next_up(block.scale);
    if (!is_finite(block.scale) || !is_finite(block.offset)) return std::nullopt;
    const float scale = f16_to_f32(block.scale);
    if (scale == 0) return block;
    for (size_t i = 0; i < values.size(); ++i)
        block.codes[i] =
            static_cast<uint8_t>(std::clamp(nearest((values[i] - offset) / scale), 0, 15));
    return block;
}

std::optional<Q4Block> quantize_q4(std::span<const float> values) {
    const std::optional<Q4Block> plain = quantize_q4_minmax(values);
    if (!plain) return std::nullopt;
    const Weighted block = weighted(values);
    const auto [lowest, highest] = std::ranges::minmax(values);
    const float range = highest - lowest;
    if (!std::isnormal(range) || !std::isnormal(block.sum_wxx)) return plain;

    // Lines through ranges somewhat wider and narrower at both ends than the values, each refitted.
    std::optional<Refit> best;
    for (const float low : kShifts) {
        for (const float high : kShifts) {
            const float scale = range * (1 - low - high) / 15;
            const auto fit = refit(block, {scale, lowest + range * low});
            if (fit && (!best || fit->error < best->error)) best = fit;
        }
    }
    if (!best) return plain;
    for (int i = 0; i < kRefits; ++i) {
        const auto fit = refit(block, best->line);
        if (!fit || !(fit->error < best->error)) break;
        best = fit;
    }
    const Q4Block searched = stored(block, best->line);
    const bool good = is_finite(searched.scale) && is_finite(searched.offset) &&
                      (searched.scale & 0x7fff) >= 0x0400;
    return good && error_of(block, searched) < error_of(block, *plain) ? searched : plain;
}

}  // namespace llmsql
