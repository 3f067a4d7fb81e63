// SPDX-License-Identifier: MIT
// Names and sizes of the number types: what importer, compiler and runtime agree on.
#include "common/types.h"

#include <gtest/gtest.h>

namespace llmsql {
namespace {

TEST(Types, NamesGoBothWays) {
    for (const auto type : {WeightType::f32, WeightType::f16, WeightType::q8, WeightType::q4})
        EXPECT_EQ(weight_type_named(name_of(type)), type);
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
