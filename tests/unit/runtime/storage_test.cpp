// The arena's bookkeeping, the cache's ring of blocks, and the workers.
#include <gtest/gtest.h>

#include <atomic>

#include "common/error.h"
#include "common/half.h"
#include "runtime/storage/arena.h"
#include "runtime/storage/kv_cache.h"
#include "runtime/workers/workers.h"

namespace llmsql {
namespace {

template<class Body>
std::string error_of(Body body) {
    try {
        body();
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

TensorPlace place(int64_t id, int64_t width, int64_t stride, int64_t offset) {
    return {.id = id,
            .name = "t",
            .rows = 4,
            .heads = 1,
            .width = width,
            .stride = stride,
            .offset = offset,
            .slice_of = std::nullopt};
}

TEST(Arena, WritingATensorTakesItsPlaceFromOthers) {
    Arena arena(4096);
    arena.declare(place(1, 64, 256, 0));
    arena.declare(place(2, 64, 256, 1024));
    arena.declare(place(3, 16, 64, 960));  // overlaps the ends of 1 and the start of 2
    EXPECT_EQ(error_of([&] { arena.rows_held(1); }),
              "tensor 1 't' is read before this pass has written it, or after its place was given "
              "to another");
    arena.note_written(1, 4);
    arena.note_written(2, 3);
    EXPECT_EQ(arena.rows_held(1), 4);
    EXPECT_EQ(arena.rows_held(2), 3);
    arena.note_written(3, 1);
    EXPECT_THROW(arena.rows_held(1), Error);
    EXPECT_THROW(arena.rows_held(2), Error);
    EXPECT_EQ(arena.rows_held(3), 1);
    arena.begin_pass();
    EXPECT_THROW(arena.rows_held(3), Error);
}

TEST(Arena, ColumnSlicesAreWrittenWithTheirParentAndBesideEachOther) {
    Arena arena(4096);
    arena.declare(place(1, 64, 256, 0));
    const auto slice = [](int64_t id, int64_t offset) {
        TensorPlace made = place(id, 32, 256, offset);
        made.slice_of = 1;
        return made;
    };
    arena.declare(slice(2, 0));
    arena.declare(slice(3, 128));
    arena.declare(place(4, 32, 256, 0));  // made from 2, in its place
    EXPECT_NE(error_of([&] { arena.declare(slice(5, 192)); }), "no error");
    arena.note_written(1, 4);
    EXPECT_EQ(arena.rows_held(2), 4);
    EXPECT_EQ(arena.rows_held(3), 4);
    EXPECT_THROW(arena.rows_held(4), Error);
    arena.note_written(4, 4);
    EXPECT_EQ(arena.rows_held(3), 4);
    EXPECT_THROW(arena.rows_held(1), Error);
    EXPECT_THROW(arena.rows_held(2), Error);
}

TEST(Arena, RefusesPlacesThatDoNotFit) {
    Arena arena(1024);
    EXPECT_NE(error_of([&] { arena.declare(place(1, 64, 256, 64)); }), "no error");
    EXPECT_NE(error_of([&] { arena.declare(place(1, 64, 252, 0)); }), "no error");
    EXPECT_NE(error_of([&] { arena.declare(place(1, 64, 256, -64)); }), "no error");
    EXPECT_NE(error_of([&] { arena.declare(place(1, int64_t{1} << 61, 256, 0)); }), "no error");
    EXPECT_NE(error_of([&] { arena.declare(place(1, 64, int64_t{1} << 62, 0)); }), "no error");
    arena.declare(place(1, 64, 256, 0));
    EXPECT_NE(error_of([&] { arena.declare(place(1, 64, 256, 0)); }), "no error");
}

KvCache windowed_cache() {
    KvCache cache({.context = 1000, .chunk = 8, .sequences = 2});
    cache.declare(0, {.heads = 2, .width = 4, .window = 0});
    cache.declare(1, {.heads = 1, .width = 4, .window = 40});
    return cache;
}

void fill(KvCache& cache, int64_t from, int64_t to) {
    for (int64_t position = from; position < to; ++position)
        for (int64_t layer = 0; layer < 2; ++layer) {
            cache.append(0, layer, position, 1);
            const auto value = static_cast<float>(position);
            const float key[] = {value, value + 0.25f, value + 0.5f, value + 0.75f};
            for (int64_t head = 0; head < cache.layers()[static_cast<size_t>(layer)].heads;
                 ++head) {
                cache.store_key(0, layer, position, head, key);
                cache.store_value(0, layer, position, head, key);
            }
        }
}

TEST(KvCache, BlocksHoldWhatWasStored) {
    KvCache cache = windowed_cache();
    fill(cache, 0, 70);
    const KvBlock block = cache.block(0, 0, 64);
    EXPECT_EQ(block.rows, 6);
    for (int64_t head = 0; head < 2; ++head)
        for (int64_t p = 0; p < 6; ++p)
            for (int64_t d = 0; d < 4; ++d) {
                const float expected = static_cast<float>(64 + p) + 0.25f * static_cast<float>(d);
                EXPECT_EQ(f16_to_f32(block.k[head * block.head_stride + d * 32 + p]), expected);
                EXPECT_EQ(f16_to_f32(block.v[head * block.head_stride + p * 4 + d]), expected);
            }
}

TEST(KvCache, AWindowedLayerKeepsItsWindowAndAChunk) {
    KvCache cache = windowed_cache();
    fill(cache, 0, 500);
    EXPECT_EQ(cache.length(0, 1), 500);
    const int64_t first = cache.first_held(0, 1);
    EXPECT_LE(first, 500 - 40 - 8);
    EXPECT_GT(first, 0);
    for (int64_t position = first; position < 500; position += 32) {
        const KvBlock block = cache.block(0, 1, position);
        EXPECT_EQ(f16_to_f32(block.v[0]), static_cast<float>(position));
    }
    EXPECT_EQ(cache.first_held(0, 0), 0);
    EXPECT_EQ(f16_to_f32(cache.block(0, 0, 0).v[0]), 0.0f);
}

TEST(KvCache, RewindsWhereItsWindowsStillReach) {
    KvCache cache = windowed_cache();
    fill(cache, 0, 500);
    EXPECT_EQ(cache.rewind(0, 500), 500);
    EXPECT_EQ(cache.rewind(0, 499), 499);
    EXPECT_EQ(cache.rewind(0, 300), 0);
    EXPECT_EQ(cache.rewind(0, 600), 0);
    fill(cache, 0, 30);
    EXPECT_EQ(cache.rewind(0, 20), 20);
    EXPECT_EQ(cache.length(0, 1), 30);
}

TEST(KvCache, RefusesGapsAndOverflow) {
    KvCache cache = windowed_cache();
    fill(cache, 0, 10);
    EXPECT_NE(error_of([&] { cache.append(0, 0, 11, 1); }), "no error");
    EXPECT_NE(error_of([&] { cache.append(0, 0, 10, 9); }), "no error");
    EXPECT_NE(error_of([&] { cache.append(2, 0, 0, 1); }), "no error");
    EXPECT_NE(error_of([&] { cache.append(0, 2, 0, 1); }), "no error");
    EXPECT_NE(error_of([&] { cache.append(0, 0, -1, 1); }), "no error");
    fill(cache, 10, 1000);
    EXPECT_EQ(error_of([&] { cache.append(0, 0, 1000, 1); }),
              "the context is full: it holds 1000 positions, and this pass would need 1001; "
              "compile the plan with a larger --context");
}

TEST(Workers, EveryItemOnceOnEveryNumberOfThreads) {
    for (const int threads : {1, 2, 3, 7}) {
        Workers workers(threads);
        EXPECT_EQ(workers.count(), threads);
        for (const int64_t items : {0, 1, 2, 5, 1000}) {
            std::vector<std::atomic<int>> seen(static_cast<size_t>(items));
            workers.run(items, [&](int64_t item, int worker) {
                EXPECT_LT(worker, threads);
                ++seen[static_cast<size_t>(item)];
            });
            for (const auto& count : seen) EXPECT_EQ(count, 1);
        }
    }
}

TEST(Workers, AFailureReachesTheCallerAndTheNextRunWorks) {
    Workers workers(3);
    EXPECT_EQ(error_of([&] {
                  workers.run(100, [](int64_t item, int) {
                      if (item == 17) fail("item {}", item);
                  });
              }),
              "item 17");
    std::atomic<int> done = 0;
    workers.run(10, [&](int64_t, int) { ++done; });
    EXPECT_EQ(done, 10);
}

}  // namespace
}  // namespace llmsql
