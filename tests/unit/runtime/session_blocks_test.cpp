// SPDX-License-Identifier: MIT
// Blocks of the key-value cache that are kept and brought back, and the keys that they are found
// by.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "common/error.h"
#include "runtime/session/block_store.h"
#include "runtime/state/kv_cache.h"
#include "tests/unit/runtime/tiny_model.h"

namespace llmsql {
namespace {

using test::random_values;

constexpr int64_t kChunk = 16, kContext = 256;

// Two layers: one that keeps everything, one with a window of 20.
KvCache make_cache(KvType type) {
    KvCache cache({.context = kContext, .chunk = kChunk, .sequences = 1, .type = type});
    cache.declare(0, {.heads = 2, .width = 12, .window = 0});
    cache.declare(1, {.heads = 1, .width = 8, .window = 20});
    return cache;
}

// Positions up to `end`; what is stored of one depends on it alone.
void extend(KvCache& cache, int64_t from, int64_t end) {
    for (int64_t at = from; at < end; at += kChunk)
        for (int64_t layer = 0; layer < 2; ++layer) {
            const KvLayer& shape = cache.layers()[static_cast<size_t>(layer)];
            const int64_t count = std::min(kChunk, end - at);
            cache.append(0, layer, at, count);
            for (int64_t p = at; p < at + count; ++p)
                for (int64_t head = 0; head < shape.heads; ++head) {
                    const auto seed = static_cast<uint32_t>(p * 16 + layer * 8 + head * 2);
                    const auto width = static_cast<size_t>(shape.width);
                    cache.store_key(0, layer, p, head, random_values(width, seed).data());
                    cache.store_value(0, layer, p, head, random_values(width, seed + 1).data());
                }
        }
}

class KeptBlocks : public ::testing::TestWithParam<KvType> {};

TEST_P(KeptBlocks, AreTheSameBytesInAnotherCache) {
    KvCache cache = make_cache(GetParam());
    std::vector<std::vector<std::byte>> kept[2];  // by layer and number
    for (int64_t end = 0; end < 192; end += kChunk) {
        extend(cache, end, end + kChunk);
        for (int64_t layer = 0; layer < 2; ++layer) {
            const auto number = static_cast<int64_t>(kept[layer].size());
            std::vector<std::byte> block;
            const bool whole = cache.copy_block(0, layer, number * kKvBlock, block);
            ASSERT_EQ(whole, (number + 1) * kKvBlock <= end + kChunk);
            if (whole) kept[layer].push_back(block);
        }
    }
    KvCache other = make_cache(GetParam());
    extend(other, 0, 200);  // something else was there
    other.begin_restore(0, 160);
    for (int64_t layer = 0; layer < 2; ++layer) {
        EXPECT_EQ(other.length(0, layer), 160);
        for (int64_t at = other.first_held(0, layer); at < 160; at += kKvBlock)
            other.restore_block(0, layer, at, kept[layer][static_cast<size_t>(at / kKvBlock)]);
    }
    // From there on it is as the first one was, and goes on as that did.
    EXPECT_EQ(other.rewind(0, 160), 160);
    extend(other, 160, 192);
    for (int64_t layer = 0; layer < 2; ++layer)
        for (int64_t at = other.first_held(0, layer); at < 192; at += kKvBlock) {
            std::vector<std::byte> expected, block;
            ASSERT_TRUE(cache.copy_block(0, layer, at, expected));
            ASSERT_TRUE(other.copy_block(0, layer, at, block));
            EXPECT_EQ(block, expected) << "layer " << layer << " at " << at;
        }
    EXPECT_GT(other.first_held(0, 1), 0);
}

TEST_P(KeptBlocks, AreRefusedOutOfBounds) {
    KvCache cache = make_cache(GetParam());
    std::vector<std::byte> block;
    EXPECT_FALSE(cache.copy_block(0, 0, 0, block));  // no such sequence yet
    extend(cache, 0, 150);
    EXPECT_TRUE(cache.copy_block(0, 0, 96, block));
    EXPECT_FALSE(cache.copy_block(0, 0, 128, block));  // not whole
    EXPECT_TRUE(cache.copy_block(0, 0, 128, block, 22));
    EXPECT_FALSE(cache.copy_block(0, 0, 128, block, 23));
    EXPECT_FALSE(cache.copy_block(0, 0, 33, block));
    EXPECT_FALSE(cache.copy_block(0, 0, -32, block));
    EXPECT_FALSE(cache.copy_block(0, 1, 0, block));  // its ring has let go of it
    EXPECT_THROW(cache.copy_block(0, 2, 0, block), Error);
    EXPECT_THROW(cache.begin_restore(0, -32), Error);
    EXPECT_THROW(cache.begin_restore(0, kContext + 32), Error);
    EXPECT_THROW(cache.begin_restore(1, 32), Error);
    ASSERT_TRUE(cache.copy_block(0, 0, 0, block));
    EXPECT_EQ(block.size(), static_cast<size_t>(cache.block_bytes(0)));
    cache.begin_restore(0, 64);
    cache.restore_block(0, 0, 32, block);
    EXPECT_THROW(cache.restore_block(0, 0, 64, block), Error);
    EXPECT_THROW(cache.restore_block(0, 0, 1, block), Error);
    EXPECT_THROW(cache.restore_block(0, 2, 0, block), Error);
    block.pop_back();
    EXPECT_THROW(cache.restore_block(0, 0, 32, block), Error);
}

INSTANTIATE_TEST_SUITE_P(Types, KeptBlocks, ::testing::Values(KvType::f16, KvType::q8),
                         [](const auto& type) { return std::string(name_of(type.param)); });

TEST(BlockKeys, AreOfAllThatCameBefore) {
    std::vector<int32_t> tokens(100);
    for (size_t i = 0; i < tokens.size(); ++i) tokens[i] = static_cast<int32_t>(i * 7);
    const Hash128 first = hash128("a", 1);
    const auto keys = block_keys(first, tokens);
    ASSERT_EQ(keys.size(), 3U);
    EXPECT_EQ(block_keys(first, std::span(tokens).first(31)).size(), 0U);
    EXPECT_EQ(block_keys(first, std::span(tokens).first(64)),
              std::vector(keys.begin(), keys.begin() + 2));
    // Another model, or a token before: other keys from there on.
    EXPECT_NE(block_keys(hash128("b", 1), tokens)[0], keys[0]);
    tokens[40] = 5;
    const auto changed = block_keys(first, tokens);
    EXPECT_EQ(changed[0], keys[0]);
    EXPECT_NE(changed[1], keys[1]);
    EXPECT_NE(changed[2], keys[2]);
    // Equal blocks at different places are different ones.
    const std::vector<int32_t> same(96, 1);
    const auto repeated = block_keys(first, same);
    EXPECT_NE(repeated[0], repeated[1]);
    EXPECT_NE(repeated[1], repeated[2]);
}

}  // namespace
}  // namespace llmsql
