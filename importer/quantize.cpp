// Quantises blocks of 32. See quantize.h.
#include "importer/quantize.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "common/half.h"

namespace llmsql {
namespace {

constexpr uint16_t kInfinity = 0x7c00;

/// The nearest integer, ties to even, for |x| < 2^22: adding 1.5 * 2^23 leaves it in the mantissa.
int32_t nearest(float x) {
    return std::bit_cast<int32_t>(x + 0x1.8p23f) - 0x4b400000;
}

bool all_finite(std::span<const float> values) {
    // A NaN or infinity makes x * 0 something other than 0, and the sum keeps it.
    float sum = 0;
    for (const float x : values) sum += x * 0.0f;
    return sum == 0.0f;
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

bool is_finite(uint16_t half) {
    return (half & kInfinity) != kInfinity;
}

}  // namespace

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

std::optional<Q4Block> quantize_q4(std::span<const float> values) {
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

}  // namespace llmsql
