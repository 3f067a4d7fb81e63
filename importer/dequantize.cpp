// SPDX-License-Identifier: MIT
// Reads the rows of GGUF tensors. See dequantize.h; what a block says is blocks.cpp's.
#include "importer/dequantize.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/half.h"
#include "importer/blocks.h"
#include "importer/quantize.h"

namespace llmsql {
namespace {

template<class T>
void take_numbers(const uint8_t* from, std::span<float> out) {
    for (size_t i = 0; i < out.size(); ++i) {
        T value;
        std::memcpy(&value, from + i * sizeof value, sizeof value);
        out[i] = static_cast<float>(value);
    }
}

template<auto kValueOf>
void take_halves(const uint8_t* from, std::span<float> out) {
    for (size_t i = 0; i < out.size(); ++i) {
        uint16_t half;
        std::memcpy(&half, from + 2 * i, 2);
        out[i] = kValueOf(half);
    }
}

const uint8_t* bytes_of(const std::byte* row) {
    return reinterpret_cast<const uint8_t*>(row);
}

std::span<const float> values_of_block(std::span<float> row, size_t block) {
    const size_t first = block * kBlock;
    return row.subspan(first, std::min<size_t>(kBlock, row.size() - first));
}

/// Calls visit(block, first weight) for each block of a row until it returns false; whether it
/// never did.
template<class Visit>
bool for_each_block(GgmlType type, const std::byte* row, size_t weights, Visit&& visit) {
    const GgmlTypeInfo& info = info_of(type);
    const auto step = static_cast<size_t>(info.block_weights);
    const uint8_t* from = bytes_of(row);
    GgmlBlock block;
    for (size_t first = 0; first + step <= weights; first += step) {
        read_block(type, from, block);
        if (!visit(block, first)) return false;
        from += info.block_bytes;
    }
    return true;
}

/// 32 weights of a block that q8 holds as they are; false if it doesn't.
bool exact_q8(const GgmlBlock& block, size_t first, Q8Block& out) {
    if (block.group % kBlock != 0) return false;
    const size_t group = first / block.group;
    const float scale = block.scale * static_cast<float>(block.scales[group]);
    if (block.minimum * static_cast<float>(block.minima[group]) != 0) return false;
    out.scale = f32_to_f16(scale);
    if (!is_finite(out.scale) || f16_to_f32(out.scale) != scale) return false;
    std::memcpy(out.codes.data(), block.levels.data() + first, kBlock);
    return true;
}

/// The lowest level of a type whose levels are at most 16 and whose scales are for 32 weights or
/// more, so that q4 takes codes and scales over; nothing for others.
std::optional<int> lowest_of_q4(GgmlType type) {
    switch (type) {
        case GgmlType::q4_0:
            return -8;
        case GgmlType::q4_1:
        case GgmlType::q4_k:
            return 0;
        case GgmlType::q1_0:
        case GgmlType::q2_0:
        case GgmlType::tq1_0:
        case GgmlType::tq2_0:
            return -1;
        default:
            return std::nullopt;
    }
}

/// 32 weights whose scale and codes q4 takes over; false if scale or offset is beyond f16.
bool convert_q4_block(const GgmlBlock& block, size_t first, int lowest, Q4Block& out) {
    const size_t group = first / block.group;
    const float scale = block.scale * static_cast<float>(block.scales[group]);
    float offset = -(block.minimum * static_cast<float>(block.minima[group]));
    if (lowest != 0) offset = static_cast<float>(lowest) * scale;  // there is no minimum
    out.scale = f32_to_f16(scale);
    out.offset = f32_to_f16(offset);
    for (size_t j = 0; j < kBlock; ++j)
        out.codes[j] = static_cast<uint8_t>(block.levels[first + j] - lowest);
    return is_finite(out.scale) && is_finite(out.offset);
}

}  // namespace

bool keeps_q4(GgmlType type) {
    return lowest_of_q4(type).has_value();
}

void dequantize_row(GgmlType type, const std::byte* row, std::span<float> out) {
    const uint8_t* from = bytes_of(row);
    switch (type) {
        case GgmlType::f32:
            std::memcpy(out.data(), from, out.size_bytes());
            return;
        case GgmlType::f16:
            return take_halves<f16_to_f32>(from, out);
        case GgmlType::bf16:
            return take_halves<bf16_to_f32>(from, out);
        case GgmlType::f64:
            return take_numbers<double>(from, out);
        case GgmlType::i8:
            return take_numbers<int8_t>(from, out);
        case GgmlType::i16:
            return take_numbers<int16_t>(from, out);
        case GgmlType::i32:
            return take_numbers<int32_t>(from, out);
        case GgmlType::i64:
            return take_numbers<int64_t>(from, out);
        default:
            break;
    }
    const auto weights = static_cast<size_t>(info_of(type).block_weights);
    for_each_block(type, row, out.size(), [&](const GgmlBlock& block, size_t first) {
        values_of(block, weights, out.data() + first);
        return true;
    });
}

std::optional<size_t> first_not_finite(GgmlType type, const std::byte* row,
                                       std::span<float> scratch) {
    dequantize_row(type, row, scratch);
    const auto bad = std::ranges::find_if(scratch, [](float x) { return !std::isfinite(x); });
    if (bad == scratch.end()) return std::nullopt;
    return static_cast<size_t>(bad - scratch.begin());
}

bool convert_row(GgmlType type, const std::byte* row, std::span<float>, std::span<float> out) {
    dequantize_row(type, row, out);
    return all_finite(out);
}

bool convert_row(GgmlType type, const std::byte* row, std::span<float> scratch,
                 std::span<uint16_t> out) {
    if (type == GgmlType::f16) {
        std::memcpy(out.data(), row, out.size_bytes());
    } else {
        dequantize_row(type, row, scratch);
        for (size_t i = 0; i < out.size(); ++i) out[i] = f32_to_f16(scratch[i]);
    }
    return std::ranges::all_of(out, is_finite);
}

bool convert_row(GgmlType type, const std::byte* row, std::span<float> scratch,
                 std::span<Q8Block> out) {
    const auto quantize = [&](size_t b) {
        const auto block = quantize_q8(values_of_block(scratch, b));
        if (block) out[b] = *block;
        return block.has_value();
    };
    if (!info_of(type).has_blocks()) {
        dequantize_row(type, row, scratch);
        for (size_t b = 0; b < out.size(); ++b)
            if (!quantize(b)) return false;
        return true;
    }
    const auto weights = static_cast<size_t>(info_of(type).block_weights);
    return for_each_block(type, row, scratch.size(), [&](const GgmlBlock& block, size_t first) {
        bool has_values = false;
        for (size_t at = 0; at < weights; at += kBlock) {
            const size_t b = (first + at) / kBlock;
            if (exact_q8(block, at, out[b])) continue;
            if (!has_values) values_of(block, weights, scratch.data() + first);
            has_values = true;
            if (!quantize(b)) return false;
        }
        return true;
    });
}

bool convert_row(GgmlType type, const std::byte* row, std::span<float> scratch,
                 std::span<Q4Block> out) {
    const auto weights = static_cast<size_t>(info_of(type).block_weights);
    if (const std::optional<int> lowest = lowest_of_q4(type))
        return for_each_block(type, row, scratch.size(), [&](const GgmlBlock& block, size_t first) {
            for (size_t at = 0; at < weights; at += kBlock)
                if (!convert_q4_block(block, at, *lowest, out[(first + at) / kBlock])) return false;
            return true;
        });
    dequantize_row(type, row, scratch);
    for (size_t b = 0; b < out.size(); ++b) {
        const auto block = quantize_q4(values_of_block(scratch, b));
        if (!block) return false;
        out[b] = *block;
    }
    return true;
}

}  // namespace llmsql
