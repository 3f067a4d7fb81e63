// SPDX-License-Identifier: MIT
// Stored values read back as f32, and the files that runs write.
#include "runtime/observe/values.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>

#include "common/error.h"
#include "runtime/kernels/kernels.h"
#include "runtime/observe/result_file.h"
#include "tests/unit/runtime/tiny_model.h"

namespace llmsql {
namespace {

using test::random_values;
using test::TemporaryFolder;

TEST(TensorValues, OfF32InItsStride) {
    Arena arena(4096);
    arena.declare(
        {.id = 1, .name = "x", .rows = 4, .heads = 2, .width = 3, .stride = 64, .slice_of = {}});
    EXPECT_THROW(tensor_values(arena, 1), Error) << "nothing is written yet";
    const auto values = random_values(3 * 6, 1);
    for (int64_t r = 0; r < 3; ++r)
        std::memcpy(arena.data(arena.place(1)) + r * 64, values.data() + r * 6, 6 * sizeof(float));
    arena.note_written(1, 3);
    const StoredValues stored = tensor_values(arena, 1);
    EXPECT_EQ(stored.tokens, 3);
    EXPECT_EQ(stored.values, values);
    EXPECT_EQ(stored.shape_text(), "f32[3, 2, 3]");
    EXPECT_EQ(stored.token(2)[0], values[12]);
}

TEST(TensorValues, OfQ8AreMultipliedOut) {
    constexpr int64_t kColumns = 70;
    const auto stride = static_cast<int64_t>(tensor_row_bytes(TensorType::q8, kColumns));
    Arena arena(2 * stride);
    arena.declare({.id = 7,
                   .name = "h",
                   .type = TensorType::q8,
                   .rows = 2,
                   .heads = 1,
                   .width = kColumns,
                   .stride = stride,
                   .slice_of = {}});
    const auto values = random_values(2 * kColumns, 2);
    for (int64_t r = 0; r < 2; ++r)
        kernels().quantize(
            values.data() + r * kColumns, kColumns,
            quantized_row(arena.data(arena.place(7)) + r * stride, block_count(kColumns), 0));
    arena.note_written(7, 2);
    const StoredValues stored = tensor_values(arena, 7);
    ASSERT_EQ(stored.values.size(), values.size());
    for (size_t i = 0; i < values.size(); ++i)
        EXPECT_NEAR(stored.values[i], values[i], 0.5 / 127 + 1e-6);
    EXPECT_EQ(stored.shape_text(), "q8[2, 70]");
}

TEST(CacheValues, OfBothTypesAcrossBlocks) {
    for (const KvType type : {KvType::f16, KvType::q8})
        for (const int64_t width : {8, 20, 64}) {
            KvCache cache({.context = 128, .type = type});
            cache.set_chunk(40);
            cache.declare(0, {.heads = 2, .width = width});
            cache.append(0, 0, 0, 40);
            const auto keys = random_values(static_cast<size_t>(40 * 2 * width), 3);
            const auto values = random_values(static_cast<size_t>(40 * 2 * width), 4);
            for (int64_t p = 0; p < 40; ++p)
                for (int64_t h = 0; h < 2; ++h) {
                    cache.store_key(0, 0, p, h, keys.data() + (p * 2 + h) * width);
                    cache.store_value(0, 0, p, h, values.data() + (p * 2 + h) * width);
                }
            const double bound = type == KvType::f16 ? 1e-3 : 0.5 / 127 + 1e-3;
            for (const bool key : {true, false}) {
                const StoredValues stored = cache_values(cache, 0, 0, 29, 8, key);
                EXPECT_EQ(stored.tokens, 8);
                ASSERT_EQ(stored.each(), static_cast<size_t>(2 * width));
                for (size_t i = 0; i < stored.values.size(); ++i)
                    ASSERT_NEAR(stored.values[i],
                                (key ? keys : values)[static_cast<size_t>(29 * 2 * width) + i],
                                bound)
                        << name_of(type) << " width " << width << " at " << i;
            }
        }
}

TEST(SummaryText, CountsWhatIsNotFinite) {
    const float nan = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(summary_text(std::vector<float>{1, -3, 2}),
              "min -3 max 2 mean 0 rms 2.16, first 1 -3 2");
    EXPECT_EQ(summary_text(std::vector<float>{nan, 2, 2}),
              "min 2 max 2 mean 2 rms 2, 1 not finite, first nan 2 2");
    EXPECT_EQ(summary_text(std::vector<float>{nan}), "1 not finite, first nan");
}

TEST(ResultFile, IsThereWholeOrNotAtAll) {
    const TemporaryFolder folder;
    const auto path = folder / "run.db";
    const auto files = [&] {
        return std::distance(std::filesystem::directory_iterator(path.parent_path()), {});
    };
    {
        const ResultFile file(path, kTraceDatabase);
        file.db().execute("CREATE TABLE trace_step(y)");
        EXPECT_FALSE(std::filesystem::exists(path));
    }
    EXPECT_EQ(files(), 0);
    for (int twice = 0; twice < 2; ++twice) {
        ResultFile file(path, kTraceDatabase);
        file.db().execute("CREATE TABLE trace_step(y)");
        file.commit();
    }
    EXPECT_EQ(files(), 1);
    EXPECT_THROW(ResultFile(path, kProfileDatabase), Error);
    test::write_text(folder / "text", "dear");
    EXPECT_THROW(ResultFile(folder / "text", kTraceDatabase), Error);
    EXPECT_THROW(ResultFile(folder / "no/where", kTraceDatabase), Error);
    EXPECT_EQ(files(), 2);
}

}  // namespace
}  // namespace llmsql
