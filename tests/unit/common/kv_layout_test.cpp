// SPDX-License-Identifier: MIT
// The key-value cache's types, and the sizes that the compiler counts and the runtime allocates.
#include "common/kv_layout.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace llmsql {
namespace {

TEST(KvLayout, NamesGoBothWays) {
    for (const KvType type : {KvType::f16, KvType::q8})
        EXPECT_EQ(kv_type_named(name_of(type)), type);
    EXPECT_EQ(name_of(KvType::q8), "q8");
    EXPECT_EQ(kv_type_named("q4"), std::nullopt);
    EXPECT_EQ(kv_type_named("Q8"), std::nullopt);
    EXPECT_EQ(kv_type_named(""), std::nullopt);
}

TEST(KvLayout, PartsFollowEachOther) {
    for (const int64_t width : {1, 7, 8, 32, 33, 64, 80, 256}) {
        const KvHeadLayout f16 = kv_head_layout(KvType::f16, width);
        EXPECT_EQ(f16.values, 32 * width * 2);
        EXPECT_EQ(f16.bytes, 2 * f16.values);
        const KvHeadLayout q8 = kv_head_layout(KvType::q8, width);
        const int64_t columns = (width + 7) / 8 * 8;
        EXPECT_EQ(q8.key_scales, 32 * columns);
        EXPECT_EQ(q8.values - q8.key_scales, 32 * columns / 8 * 2);
        EXPECT_EQ(q8.value_scales - q8.values, 32 * columns);
        EXPECT_EQ(q8.bytes - q8.value_scales, 32 * ((columns + 31) / 32) * 2);
        // Values in keys: what one of the two takes.
        EXPECT_EQ(kv_head_layout(KvType::f16, width, true).bytes, f16.values);
        const KvHeadLayout shared = kv_head_layout(KvType::q8, width, true);
        EXPECT_EQ(shared.value_scales, 32 * columns);
        EXPECT_EQ(shared.bytes, q8.bytes - q8.values);
    }
    // Of what real models have, 64 to 256: "58 %".
    EXPECT_EQ(kv_head_layout(KvType::f16, 64).bytes * 37,
              kv_head_layout(KvType::q8, 64).bytes * 64);
}

TEST(KvLayout, BlocksOfAContextAndOfAWindow) {
    EXPECT_EQ(kv_blocks_kept(1, 1, 0), 1);
    EXPECT_EQ(kv_blocks_kept(1024, 64, 0), 32);
    EXPECT_EQ(kv_blocks_kept(1025, 64, 0), 33);
    EXPECT_EQ(kv_blocks_kept(4096, 64, 512), 19);
    EXPECT_EQ(kv_blocks_kept(4096, 1, 1), 1);
    EXPECT_EQ(kv_blocks_kept(4096, 1, 2), 2);
    EXPECT_EQ(kv_blocks_kept(100, 64, 512), 4);
    // By counting: the most blocks that any pass of a chunk touches.
    for (const int64_t window : {1, 2, 31, 32, 33, 34, 100})
        for (const int64_t chunk : {1, 2, 32, 33, 64}) {
            int64_t most = 0;
            for (int64_t position = 0; position < 200; ++position) {
                const int64_t first = std::max<int64_t>(0, position - window + 1);
                most = std::max(most, (position + chunk - 1) / 32 - first / 32 + 1);
            }
            EXPECT_EQ(kv_blocks_kept(100000, chunk, window), most) << window << ' ' << chunk;
        }
}

}  // namespace
}  // namespace llmsql
