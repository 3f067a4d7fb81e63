// SPDX-License-Identifier: MIT
// Packs rows into strips. See pack.h; docs/model-db.md draws the layouts.
#include "importer/pack.h"

#include <cstring>

#include "common/half.h"

namespace llmsql {
namespace {

constexpr size_t kRows = kStripRows;
constexpr size_t kQ8BlockBytes = kRows * (2 + 32);
constexpr size_t kQ4BlockBytes = kRows * (2 + 2 + 16);

template<class T>
void interleave(std::span<const T> row, int64_t place, std::byte* strip) {
    std::byte* to = strip + static_cast<size_t>(place) * sizeof(T);
    for (const T& value : row) {
        std::memcpy(to, &value, sizeof(T));
        to += kRows * sizeof(T);
    }
}

template<class T>
void gather(const std::byte* strip, int64_t place, std::span<T> row) {
    const std::byte* from = strip + static_cast<size_t>(place) * sizeof(T);
    for (T& value : row) {
        std::memcpy(&value, from, sizeof(T));
        from += kRows * sizeof(T);
    }
}

}  // namespace

void pack_row(std::span<const float> row, int64_t place, std::byte* strip) {
    interleave(row, place, strip);
}

void pack_row(std::span<const uint16_t> row, int64_t place, std::byte* strip) {
    interleave(row, place, strip);
}

void pack_row(std::span<const Q8Block> row, int64_t place, std::byte* strip) {
    const auto r = static_cast<size_t>(place);
    for (const Q8Block& block : row) {
        std::memcpy(strip + 2 * r, &block.scale, 2);
        std::byte* codes = strip + 2 * kRows + 4 * r;
        for (size_t j = 0; j < 8; ++j)
            std::memcpy(codes + j * 4 * kRows, block.codes.data() + 4 * j, 4);
        strip += kQ8BlockBytes;
    }
}

void pack_row(std::span<const Q4Block> row, int64_t place, std::byte* strip) {
    const auto r = static_cast<size_t>(place);
    for (const Q4Block& block : row) {
        std::memcpy(strip + 2 * r, &block.scale, 2);
        std::memcpy(strip + 2 * (kRows + r), &block.offset, 2);
        std::byte* codes = strip + 4 * kRows + 4 * r;
        for (size_t j = 0; j < 4; ++j)
            for (size_t i = 0; i < 4; ++i)
                codes[j * 4 * kRows + i] = static_cast<std::byte>(
                    block.codes[4 * j + i] | (block.codes[16 + 4 * j + i] << 4));
        strip += kQ4BlockBytes;
    }
}

void unpack_row(const std::byte* strip, int64_t place, std::span<float> row) {
    gather(strip, place, row);
}

void unpack_row(const std::byte* strip, int64_t place, std::span<uint16_t> row) {
    gather(strip, place, row);
}

void unpack_row(const std::byte* strip, int64_t place, std::span<Q8Block> row) {
    const auto r = static_cast<size_t>(place);
    for (Q8Block& block : row) {
        std::memcpy(&block.scale, strip + 2 * r, 2);
        const std::byte* codes = strip + 2 * kRows + 4 * r;
        for (size_t j = 0; j < 8; ++j)
            std::memcpy(block.codes.data() + 4 * j, codes + j * 4 * kRows, 4);
        strip += kQ8BlockBytes;
    }
}

void unpack_row(const std::byte* strip, int64_t place, std::span<Q4Block> row) {
    const auto r = static_cast<size_t>(place);
    for (Q4Block& block : row) {
        std::memcpy(&block.scale, strip + 2 * r, 2);
        std::memcpy(&block.offset, strip + 2 * (kRows + r), 2);
        const std::byte* codes = strip + 4 * kRows + 4 * r;
        for (size_t j = 0; j < 4; ++j) {
            for (size_t i = 0; i < 4; ++i) {
                const auto both = std::to_integer<uint8_t>(codes[j * 4 * kRows + i]);
                block.codes[4 * j + i] = both & 15;
                block.codes[16 + 4 * j + i] = both >> 4;
            }
        }
        strip += kQ4BlockBytes;
    }
}

std::vector<float> unpack_values(WeightType type, const std::byte* strip, int64_t cols,
                                 int64_t place) {
    std::vector<float> values(static_cast<size_t>(cols));
    const auto blocks = static_cast<size_t>(block_count(cols));
    switch (type) {
        case WeightType::f32:
            unpack_row(strip, place, std::span(values));
            break;
        case WeightType::f16: {
            std::vector<uint16_t> halves(values.size());
            unpack_row(strip, place, std::span(halves));
            for (size_t i = 0; i < values.size(); ++i) values[i] = f16_to_f32(halves[i]);
            break;
        }
        case WeightType::q8: {
            std::vector<Q8Block> row(blocks);
            unpack_row(strip, place, std::span(row));
            for (size_t i = 0; i < values.size(); ++i)
                values[i] = f16_to_f32(row[i / kBlock].scale) *
                            static_cast<float>(row[i / kBlock].codes[i % kBlock]);
            break;
        }
        case WeightType::q4: {
            std::vector<Q4Block> row(blocks);
            unpack_row(strip, place, std::span(row));
            for (size_t i = 0; i < values.size(); ++i)
                values[i] = f16_to_f32(row[i / kBlock].scale) *
                                static_cast<float>(row[i / kBlock].codes[i % kBlock]) +
                            f16_to_f32(row[i / kBlock].offset);
            break;
        }
    }
    return values;
}

}  // namespace llmsql
