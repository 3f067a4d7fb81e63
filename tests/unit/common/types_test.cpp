// SPDX-License-Identifier: MIT
// Names and sizes of the number types: what importer, compiler and runtime agree on.
#include "common/types.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "common/weight_format.h"

namespace llmsql {
namespace {

TEST(Types, NamesGoBothWays) {
    for (const WeightFormat& format : kWeightFormats) {
        EXPECT_EQ(name_of(format.type), format.name);
        EXPECT_EQ(weight_type_named(format.name), format.type);
    }
    for (const auto type : {TensorType::f32, TensorType::q8})
        EXPECT_EQ(tensor_type_named(name_of(type)), type);
    EXPECT_EQ(name_of(WeightType::q4), "q4");
    EXPECT_EQ(weight_type_named("Q4"), std::nullopt);
    EXPECT_EQ(weight_type_named(""), std::nullopt);
    EXPECT_EQ(tensor_type_named("q4"), std::nullopt);
}

TEST(Types, CountsRoundUp) {
    EXPECT_EQ(strip_count(1), 1);
    EXPECT_EQ(strip_count(16), 1);
    EXPECT_EQ(strip_count(17), 2);
    EXPECT_EQ(block_count(32), 1);
    EXPECT_EQ(block_count(33), 2);
}

TEST(Types, StripsHaveTheDocumentedSizes) {
    EXPECT_EQ(strip_bytes(WeightType::f32, 100), 100u * 16 * 4);
    EXPECT_EQ(strip_bytes(WeightType::f16, 100), 100u * 16 * 2);
    EXPECT_EQ(strip_bytes(WeightType::q8, 32), 544u);
    EXPECT_EQ(strip_bytes(WeightType::q8, 100), 4u * 544);
    EXPECT_EQ(strip_bytes(WeightType::q4, 32), 320u);
    EXPECT_EQ(strip_bytes(WeightType::q4, 33), 2u * 320);
}

TEST(Types, EveryFormatIsFoundByWhatItKeeps) {
    for (const WeightFormat& format : kWeightFormats)
        for (const uint32_t number : format.keeps.number)
            EXPECT_EQ(format_keeping(number)->type, format.type) << format.name;
    EXPECT_EQ(format_keeping(5), nullptr);
    EXPECT_EQ(weight_format_names(true), "f32, f16, q8 and q4");
    EXPECT_LE(format_of(WeightType::q6_k).block_bytes(), kLargestBlock);
}

// Bytes of a file for each byte of a tile of `strips`, by SQLite's file format: whole overflow
// pages of 65532 bytes, and in the leaf what is over if it fits there, else the least.
double share_of_file(double strips, double strip_size) {
    const double payload = strips * (strip_size + 8) + 16;
    double local = payload;
    if (payload > 65501) local = 8199 + std::fmod(payload - 8199, 65532);
    if (local > 65501) local = 8199;
    const double pages =
        std::ceil((payload - local) / 65532) + 1 / std::floor(65528 / (local + 12));
    return 65536 * pages / (strips * strip_size);
}

TEST(Types, TilesOfKeptFormatsFilledTheirPagesBeforeFormat4) {
    double sum = 0, count = 0;
    for (const WeightFormat& format : kWeightFormats)
        for (const int64_t cols : {512, 768, 1024, 1536, 2048, 2560, 3072, 4096, 4864, 8960}) {
            if (!format.fills) continue;
            const auto strips = static_cast<size_t>(
                tile_rows(format.type, {100000, cols}, TileCut::format_1) / kStripRows);
            const size_t size = strip_bytes(format.type, cols);
            EXPECT_TRUE(strips * size <= kTileBytes || strips == 1);
            const double share =
                share_of_file(static_cast<double>(strips), static_cast<double>(size));
            const double most = std::max(
                1.0, std::floor(static_cast<double>(kTileBytes) / static_cast<double>(size)));
            EXPECT_LE(share, share_of_file(most, static_cast<double>(size)));
            sum += share;
            ++count;
        }
    EXPECT_LT(sum / count, 1.025);
}

// Widths of published models: hidden sizes, feed-forwards, embeddings a layer.
constexpr int64_t kWidths[] = {256,   512,   576,   768,   896,   960,   1024,  1152,  1536,  2048,
                               2304,  2560,  2688,  2880,  3072,  3584,  3840,  4096,  4304,  4608,
                               4864,  5120,  5376,  5632,  6144,  6912,  7168,  8192,  8960,  9216,
                               9728,  10240, 10752, 11008, 11520, 12288, 13824, 14336, 15360, 16384,
                               17408, 18432, 18944, 20480, 21504, 22016, 24576, 25600, 27648, 28672,
                               29568, 32768, 33792, 36864, 53248};

TEST(Types, TilesFillTheirPagesWhereAnyCutUpToAMebibyteDoes) {
    size_t filled = 0, others = 0;
    for (const WeightFormat& format : kWeightFormats)
        for (const int64_t cols : kWidths) {
            const ParamShape shape{100000, cols};
            const size_t size = strip_bytes(format.type, cols);
            const auto share = [&](size_t strips) {
                return share_of_file(static_cast<double>(strips), static_cast<double>(size));
            };
            const auto strips_by = [&](TileCut cut) {
                return static_cast<size_t>(tile_rows(format.type, shape, cut) / kStripRows);
            };
            const size_t strips = strips_by(TileCut::format_4),
                         before = strips_by(TileCut::format_1);
            SCOPED_TRACE(fmt::format("{} {}: {} strips", format.name, cols, strips));
            EXPECT_TRUE(strips * size <= kMostTileBytes || strips == 1);
            EXPECT_EQ(is_cut_alike(format.type, shape), strips == before);
            // What was good enough is as it was: older databases and plans go on together.
            if (share(before) <= 1.025) {
                EXPECT_EQ(strips, before);
            }
            if (share(strips) <= 1.025) {
                ++filled;
                // No larger than it must be.
                for (size_t fewer = kTileBytes / size + 1; fewer < strips; ++fewer)
                    EXPECT_GT(share(fewer), 1.025);
                continue;
            }
            ++others;
            for (size_t other = 1; other * size <= kMostTileBytes; ++other)
                if (2 * other >= kTileBytes / size) {
                    EXPECT_GE(share(other), share(strips) - 1e-9);
                }
        }
    EXPECT_GT(filled, 25 * others);
}

TEST(Types, TilesOfTheWidestMatricesOfPublishedModelsFillTheirPages) {
    const struct {
        WeightType type;
        int64_t cols;
        double before;  // what was unused of format 1's pages
    } kCases[] = {{WeightType::q4_k, 9728, 0.12},  {WeightType::q4_k, 18944, 0.15},
                  {WeightType::q4_k, 25600, 0.13}, {WeightType::q6_k, 8960, 0.11},
                  {WeightType::q8, 9728, 0.18},    {WeightType::mxfp4, 14336, 0.07},
                  {WeightType::q6_k, 18944, 0.05}, {WeightType::q6_k, 14336, 0.04}};
    for (const auto& [type, cols, before] : kCases) {
        const ParamShape shape{4096, cols};
        const auto size = static_cast<double>(strip_bytes(type, cols));
        const auto share = [&](TileCut cut) {
            return share_of_file(static_cast<double>(tile_rows(type, shape, cut) / kStripRows),
                                 size);
        };
        EXPECT_GT(share(TileCut::format_1), 1 + before) << name_of(type) << " " << cols;
        EXPECT_LE(share(TileCut::format_4), 1.025) << name_of(type) << " " << cols;
        // Of a matrix that is one tile either way nothing has changed.
        EXPECT_FALSE(is_cut_alike(type, shape));
        EXPECT_TRUE(is_cut_alike(type, {16, cols}));
        EXPECT_EQ(tile_bytes(type, {16, cols}, 0), strip_bytes(type, cols));
    }
}

TEST(Types, ParametersAreStripsOrPlainVectors) {
    EXPECT_EQ(param_bytes(WeightType::f32, {{}, 7}), 28u);
    EXPECT_EQ(param_bytes(WeightType::q8, {17, 64}), 2u * 2 * 544);
    // Larger than 32 bits can count.
    EXPECT_EQ(param_bytes(WeightType::f32, {262144, 8192}), 8589934592u);
}

TEST(Types, TensorRowsAreAligned) {
    EXPECT_EQ(tensor_row_bytes(TensorType::f32, 16), 64u);
    EXPECT_EQ(tensor_row_bytes(TensorType::f32, 17), 128u);
    EXPECT_EQ(tensor_row_bytes(TensorType::q8, 32), 64u);    // 32 + 4 + 4 + 4
    EXPECT_EQ(tensor_row_bytes(TensorType::q8, 576), 832u);  // 18 * 44 = 792
    for (int64_t n = 1; n < 2000; n += 37) {
        EXPECT_EQ(tensor_row_bytes(TensorType::f32, n) % 64, 0u);
        EXPECT_EQ(tensor_row_bytes(TensorType::q8, n) % 64, 0u);
    }
}

TEST(Types, ImpossibleShapesAreNotPlausible) {
    EXPECT_TRUE(is_plausible({{}, 1}));
    EXPECT_TRUE(is_plausible({262144, 16384}));
    EXPECT_FALSE(is_plausible({{}, 0}));
    EXPECT_FALSE(is_plausible({0, 5}));
    EXPECT_FALSE(is_plausible({-1, 5}));
    EXPECT_FALSE(is_plausible({int64_t{1} << 40, int64_t{1} << 40}));
}

}  // namespace
}  // namespace llmsql
