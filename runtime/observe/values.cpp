// SPDX-License-Identifier: MIT
// Reading what is stored. See values.h; common/types.h and common/kv_layout.h have the layouts.
#include "runtime/observe/values.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/error.h"
#include "common/half.h"

namespace llmsql {
namespace {

constexpr size_t kFirst = 6;

// One element of a key: f16[width][32 positions], or codes [columns / 2][32][2] with a scale for
// each 8 columns.
float key_at(const KvBlock& block, const KvHead& head, int64_t row, int64_t column) {
    if (block.type == KvType::f16) return f16_at(head.keys, column * kKvBlock + row);
    const auto code = load<int8_t>(head.keys + (column / 2 * kKvBlock + row) * 2 + column % 2);
    return f16_at(head.key_scales, column / kKvKeyGroup * kKvBlock + row) *
           static_cast<float>(code);
}

// One element of a value: f16[32 positions][width], or codes [16][columns][2 positions] with a
// scale for each 32 columns.
float value_at(const KvBlock& block, const KvHead& head, int64_t row, int64_t column) {
    if (block.type == KvType::f16) return f16_at(head.values, row * block.width + column);
    const int64_t columns = (block.width + kKvKeyGroup - 1) / kKvKeyGroup * kKvKeyGroup;
    const auto code = load<int8_t>(head.values + (row / 2 * columns + column) * 2 + row % 2);
    return f16_at(head.value_scales, column / kKvValueGroup * kKvBlock + row) *
           static_cast<float>(code);
}

}  // namespace

std::string StoredValues::shape_text() const {
    std::string text = fmt::format("{}[{}", type, tokens);
    for (const int64_t size : shape) text += fmt::format(", {}", size);
    return text + "]";
}

StoredValues tensor_values(const Arena& arena, int64_t id) {
    const TensorPlace& place = arena.place(id);
    const int64_t rows = arena.rows_held(id), columns = place.elements();
    StoredValues stored{std::string(name_of(place.type)), rows / place.choices, {}, {}};
    if (place.choices > 1) stored.shape.push_back(place.choices);
    if (place.heads > 1) stored.shape.push_back(place.heads);
    stored.shape.push_back(place.width);
    stored.values.resize(static_cast<size_t>(rows * columns));
    for (int64_t r = 0; r < rows; ++r) {
        const std::byte* row = arena.data(place) + r * place.stride;
        float* out = stored.values.data() + r * columns;
        if (place.type == TensorType::f32) {
            std::memcpy(out, row, static_cast<size_t>(columns) * sizeof(float));
            continue;
        }
        const std::byte* scales = row + block_count(columns) * kBlock;
        for (int64_t c = 0; c < columns; ++c)
            out[c] = load<float>(scales + c / kBlock * static_cast<int64_t>(sizeof(float))) *
                     static_cast<float>(load<int8_t>(row + c));
    }
    return stored;
}

StoredValues cache_values(const KvCache& cache, int64_t sequence, int64_t layer, int64_t first,
                          int64_t count, bool keys) {
    const KvLayer& shape = cache.layers().at(static_cast<size_t>(layer));
    StoredValues stored{
        std::string(name_of(cache.config().type)), count, {shape.heads, shape.width}, {}};
    stored.values.reserve(static_cast<size_t>(count * shape.heads * shape.width));
    for (int64_t position = first; position < first + count; ++position) {
        const int64_t row = position % kKvBlock;
        const KvBlock block = cache.block(sequence, layer, position - row);
        for (int64_t h = 0; h < shape.heads; ++h) {
            const KvHead head = block.head(h);
            for (int64_t c = 0; c < shape.width; ++c)
                stored.values.push_back(keys && !block.shared ? key_at(block, head, row, c)
                                                              : value_at(block, head, row, c));
        }
    }
    return stored;
}

std::string summary_text(std::span<const float> values) {
    double sum = 0, squares = 0;
    float low = INFINITY, high = -INFINITY;
    size_t finite = 0;
    for (const float value : values) {
        if (!std::isfinite(value)) continue;
        ++finite;
        sum += value;
        squares += static_cast<double>(value) * value;
        low = std::min(low, value);
        high = std::max(high, value);
    }
    std::string text;
    if (finite > 0) {
        const auto n = static_cast<double>(finite);
        text = fmt::format("min {:.4g} max {:.4g} mean {:.4g} rms {:.4g}", low, high, sum / n,
                           std::sqrt(squares / n));
    }
    if (finite < values.size())
        text += fmt::format("{}{} not finite", text.empty() ? "" : ", ", values.size() - finite);
    text += ", first";
    for (const float value : values.first(std::min(kFirst, values.size())))
        text += fmt::format(" {:.5g}", value);
    return text;
}

}  // namespace llmsql
