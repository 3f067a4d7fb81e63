// SPDX-License-Identifier: MIT
// Strips: every byte where docs/model-db.md says, and rows come back as they went in.
#include "importer/pack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <set>

#include "common/half.h"
#include "common/strips.h"
#include "common/weight_format.h"
#include "importer/dequantize.h"
#include "importer/ggml_types.h"

namespace llmsql::test {
namespace {

template<class T>
T at(const std::vector<std::byte>& strip, size_t offset) {
    T value;
    std::memcpy(&value, strip.data() + offset, sizeof value);
    return value;
}

std::vector<std::byte> empty_strip(WeightType type, int64_t cols) {
    return std::vector<std::byte>(strip_bytes(type, cols));
}

TEST(Pack, PlainValuesAreColumnByColumn) {
    auto floats = empty_strip(WeightType::f32, 5);
    auto halves = empty_strip(WeightType::f16, 5);
    const std::vector<float> row{1, 2, 3, 4, 5};
    const std::vector<uint16_t> half_row{11, 12, 13, 14, 15};
    pack_row(std::span(row), 7, floats.data());
    pack_row(std::span(half_row), 15, halves.data());
    for (size_t c = 0; c < 5; ++c) {
        EXPECT_EQ(at<float>(floats, (c * 16 + 7) * 4), row[c]);
        EXPECT_EQ(at<uint16_t>(halves, (c * 16 + 15) * 2), half_row[c]);
    }
    // The other rows keep their zeros.
    for (size_t c = 0; c < 5; ++c)
        for (size_t r = 0; r < 16; ++r)
            if (r != 7) {
                EXPECT_EQ(at<float>(floats, (c * 16 + r) * 4), 0);
            }
}

TEST(Pack, Q8BlocksLieAsDocumented) {
    auto strip = empty_strip(WeightType::q8, 64);
    ASSERT_EQ(strip.size(), 2u * 544);
    std::vector<Q8Block> row(2);
    row[0].scale = 0x1234;
    row[1].scale = 0x4321;
    for (int i = 0; i < 32; ++i) {
        row[0].codes[i] = static_cast<int8_t>(i - 100);
        row[1].codes[i] = static_cast<int8_t>(i + 60);
    }
    constexpr size_t r = 9;
    pack_row(std::span<const Q8Block>(row), r, strip.data());
    for (size_t b = 0; b < 2; ++b) {
        EXPECT_EQ(at<uint16_t>(strip, b * 544 + 2 * r), row[b].scale);
        for (size_t c = 0; c < 32; ++c)  // code[8][16 rows][4 columns] behind 16 scales
            EXPECT_EQ(at<int8_t>(strip, b * 544 + 32 + c / 4 * 64 + r * 4 + c % 4),
                      row[b].codes[c]);
    }
}

TEST(Pack, Q4BlocksLieAsDocumented) {
    auto strip = empty_strip(WeightType::q4, 33);  // one column in the second block
    ASSERT_EQ(strip.size(), 2u * 320);
    std::vector<Q4Block> row(2);
    row[0] = {0x1234, 0xabcd, {}};
    row[1] = {0x0101, 0x8202, {}};
    for (size_t i = 0; i < 32; ++i) row[0].codes[i] = static_cast<uint8_t>(i * 7 % 16);
    row[1].codes[0] = 13;
    constexpr size_t r = 3;
    pack_row(std::span<const Q4Block>(row), r, strip.data());
    for (size_t b = 0; b < 2; ++b) {
        EXPECT_EQ(at<uint16_t>(strip, b * 320 + 2 * r), row[b].scale);
        EXPECT_EQ(at<uint16_t>(strip, b * 320 + 32 + 2 * r), row[b].offset);
        for (size_t j = 0; j < 4; ++j) {
            for (size_t i = 0; i < 4; ++i) {
                const auto byte = at<uint8_t>(strip, b * 320 + 64 + j * 64 + r * 4 + i);
                EXPECT_EQ(byte & 15, row[b].codes[4 * j + i]);
                EXPECT_EQ(byte >> 4, row[b].codes[16 + 4 * j + i]);
            }
        }
    }
}

template<class Element, class Make>
void round_trip(WeightType type, size_t elements, int64_t cols, Make make) {
    std::vector<std::vector<Element>> rows(16, std::vector<Element>(elements));
    auto strip = empty_strip(type, cols);
    for (auto& row : rows) std::ranges::generate(row, make);
    // In any order: a row leaves the others alone.
    for (int r = 15; r >= 0; --r) pack_row(std::span<const Element>(rows[r]), r, strip.data());
    for (int r = 0; r < 16; ++r) {
        std::vector<Element> back(elements);
        unpack_row(strip.data(), r, std::span(back));
        ASSERT_EQ(back, rows[r]) << name_of(type) << " cols " << cols << " row " << r;
    }
}

TEST(Pack, RoundTripsRowsOfAnyLength) {
    std::mt19937 random(1);
    for (const int64_t cols : {1, 31, 32, 33, 100, 576}) {
        const auto blocks = static_cast<size_t>(block_count(cols));
        round_trip<float>(WeightType::f32, cols, cols,
                          [&] { return float(random() % 1000) - 500; });
        round_trip<uint16_t>(WeightType::f16, cols, cols,
                             [&] { return static_cast<uint16_t>(random()); });
        round_trip<Q8Block>(WeightType::q8, blocks, cols, [&] {
            Q8Block block{.scale = static_cast<uint16_t>(random())};
            for (auto& code : block.codes) code = static_cast<int8_t>(random());
            return block;
        });
        round_trip<Q4Block>(WeightType::q4, blocks, cols, [&] {
            Q4Block block{static_cast<uint16_t>(random()), static_cast<uint16_t>(random()), {}};
            for (auto& code : block.codes) code = random() % 16;
            return block;
        });
    }
}

TEST(Pack, ValuesAreScaleTimesCodePlusOffset) {
    auto strip = empty_strip(WeightType::q4, 40);
    std::vector<Q4Block> row(2, Q4Block{f32_to_f16(0.5f), f32_to_f16(-4), {}});
    row[0].codes[17] = 15;
    row[1].codes[7] = 1;
    pack_row(std::span<const Q4Block>(row), 2, strip.data());
    const auto values = unpack_values(WeightType::q4, strip.data(), 40, 2);
    ASSERT_EQ(values.size(), 40u);
    EXPECT_EQ(values[0], -4);
    EXPECT_EQ(values[17], 3.5f);
    EXPECT_EQ(values[39], -3.5f);

    auto q8 = empty_strip(WeightType::q8, 40);
    std::vector<Q8Block> q8_row(2, Q8Block{f32_to_f16(0.25f), {}});
    q8_row[1].codes[7] = -127;
    pack_row(std::span<const Q8Block>(q8_row), 0, q8.data());
    EXPECT_EQ(unpack_values(WeightType::q8, q8.data(), 40, 0)[39], -31.75f);
}

/// Random blocks of a type of GGUF's, `weights` of them in all, with nothing that is not finite.
std::vector<std::byte> random_row(GgmlType type, size_t weights, std::mt19937& random) {
    const auto bytes = static_cast<size_t>(ggml_row_bytes(type, static_cast<int64_t>(weights)));
    const auto each = static_cast<size_t>(info_of(type).block_bytes);
    std::vector<std::byte> row(bytes);
    for (size_t at = 0; at < bytes; at += each) {
        std::vector<float> values(static_cast<size_t>(info_of(type).block_weights));
        do {
            for (size_t i = at; i < at + each; ++i) row[i] = static_cast<std::byte>(random());
            dequantize_row(type, row.data() + at, values);
        } while ((type == GgmlType::mxfp4 && row[at] == std::byte{0xff}) ||
                 !std::ranges::all_of(values, [](float x) { return std::isfinite(x); }));
    }
    return row;
}

/// The formats that keep a source's blocks, with each type whose blocks they are.
std::vector<std::pair<WeightFormat, GgmlType>> kept_formats() {
    std::vector<std::pair<WeightFormat, GgmlType>> all;
    for (const WeightFormat& format : kWeightFormats)
        for (const uint32_t number : std::set(format.keeps.number, std::end(format.keeps.number)))
            if (!format.takes_anything) all.emplace_back(format, static_cast<GgmlType>(number));
    return all;
}

TEST(Pack, BlocksOfASourceKeepEveryValue) {
    // Of points of code books what the points are made of.
    const std::set larger{GgmlType::iq1_s, GgmlType::iq1_m,   GgmlType::iq2_xxs, GgmlType::iq2_xs,
                          GgmlType::iq2_s, GgmlType::iq3_xxs, GgmlType::iq3_s};
    std::mt19937 random(1);
    EXPECT_EQ(kept_formats().size(), 24u);
    for (const auto& [format, type] : kept_formats()) {
        SCOPED_TRACE(info_of(type).name);
        const GgmlTypeInfo& info = info_of(type);
        const int64_t held = format.bytes * info.block_weights,
                      read = info.block_bytes * format.columns;
        if (larger.contains(type))
            ASSERT_GT(held, read);
        else
            ASSERT_EQ(held, read);
        const int64_t cols = 3 * format.columns;
        auto strip = empty_strip(format.type, cols);
        std::vector<std::vector<std::byte>> rows;
        for (int r = 0; r < 16; ++r) rows.push_back(random_row(type, cols, random));
        for (int r = 15; r >= 0; --r)
            ASSERT_TRUE(pack_blocks(type, format.type, rows[r], r, strip.data()));
        for (int r = 0; r < 16; ++r) {
            std::vector<float> expected(cols);
            dequantize_row(type, rows[r].data(), expected);
            const auto values = unpack_values(format.type, strip.data(), cols, r);
            for (int64_t c = 0; c < cols; ++c)
                ASSERT_EQ(std::bit_cast<uint32_t>(values[c]), std::bit_cast<uint32_t>(expected[c]))
                    << "row " << r << " column " << c;
        }
    }
}

TEST(Pack, ReadsFromAnyColumnOn) {
    std::mt19937 random(2);
    for (const auto& [format, type] : kept_formats()) {
        const int64_t cols = 2 * format.columns;
        auto strip = empty_strip(format.type, cols);
        const auto row = random_row(type, cols, random);
        ASSERT_TRUE(pack_blocks(type, format.type, row, 5, strip.data()));
        const auto whole = unpack_values(format.type, strip.data(), cols, 5);
        for (int64_t first = 0; first < cols; first += 1 + cols / 9) {
            std::vector<float> part(static_cast<size_t>(std::min<int64_t>(cols - first, 40)));
            read_strip(format.type, strip.data(), 5, first, part);
            EXPECT_TRUE(std::ranges::equal(part, std::span(whole).subspan(first, part.size())));
        }
    }
}

TEST(Pack, AScaleThatIsNotFiniteIsRefused) {
    for (const auto& [format, type] : kept_formats()) {
        const auto bytes = static_cast<size_t>(ggml_row_bytes(type, format.columns));
        auto strip = empty_strip(format.type, format.columns);
        const auto packs = [&](std::byte fill, float times) {
            return pack_blocks(type, format.type, std::vector(bytes, fill), 0, strip.data(), times);
        };
        SCOPED_TRACE(info_of(type).name);
        // All bits set: every f16 in it, and every exponent, is not a number. NVFP4's are numbers,
        // but not what some scales make of them.
        if (type == GgmlType::nvfp4)
            EXPECT_FALSE(packs(std::byte{0}, 1e36f));
        else
            EXPECT_FALSE(packs(std::byte{0xff}, 1));
        EXPECT_TRUE(packs(std::byte{0}, 1));
    }
}

TEST(Pack, NumbersThatMultiplyAMatrixAreKeptInItsBlocks) {
    std::mt19937 random(3);
    // Of all bits; and of one row of a strip, of several in any order.
    for (const float times : {0.37f, -0.37f, 0.0f, -0.0f, 0x1p-149f, 0x1p100f, 0x1.fffffep-40f})
        for (const std::vector<int64_t>& places :
             {std::vector<int64_t>{3}, {0, 1, 2}, {15, 9, 8, 7, 0}, {12}}) {
            auto strip = empty_strip(WeightType::nvfp4, 128);
            const auto row = random_row(GgmlType::nvfp4, 128, random);
            for (const int64_t place : places)
                ASSERT_TRUE(pack_blocks(GgmlType::nvfp4, WeightType::nvfp4, row, place,
                                        strip.data(), times));
            std::vector<float> expected(128);
            dequantize_row(GgmlType::nvfp4, row.data(), expected);
            for (const int64_t place : places) {
                const auto values = unpack_values(WeightType::nvfp4, strip.data(), 128, place);
                for (size_t c = 0; c < 128; ++c)
                    ASSERT_EQ(std::bit_cast<uint32_t>(values[c]),
                              std::bit_cast<uint32_t>(expected[c] * times))
                        << times << " " << place << " " << c;
            }
            const auto missing = unpack_values(WeightType::nvfp4, strip.data(), 128, 14);
            EXPECT_TRUE(std::ranges::all_of(missing, [](float value) { return value == 0; }));
        }
}

TEST(Pack, ATypeThatAFormatDoesNotKeepIsRefused) {
    auto strip = empty_strip(WeightType::iq2, 256);
    EXPECT_FALSE(pack_blocks(GgmlType::iq1_s, WeightType::iq2, std::vector(50, std::byte{0}), 0,
                             strip.data()));
}

}  // namespace
}  // namespace llmsql::test
