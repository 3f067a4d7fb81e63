// SPDX-License-Identifier: MIT
// The arena's bookkeeping, the cache's ring of blocks, and the workers.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <limits>
#include <thread>

#include "common/error.h"
#include "common/half.h"
#include "common/machine.h"
#include "common/workers.h"
#include "runtime/state/arena.h"
#include "runtime/state/kv_cache.h"
#include "tests/unit/error_of.h"
#include "tests/unit/runtime/tiny_model.h"
#include "tests/unit/sanitized.h"
#include "tests/unit/says.h"

namespace llmsql {
namespace {

using test::error_of;

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
    EXPECT_SAYS(error_of([&] { arena.rows_held(1); }), "tensor 1 't' … before … written …");
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
    EXPECT_NE(error_of([&] { arena.declare(slice(5, 192)); }), "");
    arena.note_written(1, 4);
    EXPECT_EQ(arena.rows_held(2), 4);
    EXPECT_EQ(arena.rows_held(3), 4);
    EXPECT_THROW(arena.rows_held(4), Error);
    arena.note_written(4, 4);
    EXPECT_EQ(arena.rows_held(3), 4);
    EXPECT_THROW(arena.rows_held(1), Error);
    EXPECT_THROW(arena.rows_held(2), Error);
}

TensorPlace placed(int64_t id, int64_t rows, int64_t width, int64_t stride, int64_t offset,
                   std::optional<int64_t> slice_of) {
    TensorPlace made;
    made.id = id;
    made.rows = rows;
    made.heads = 1;
    made.width = width;
    made.stride = stride;
    made.offset = offset;
    made.slice_of = slice_of;
    return made;
}

// As many as ids allow: each write looks at those around it alone.
TEST(Arena, ManyTensorsAreWrittenInTimeThatGrowsWithTheirNumber) {
    constexpr int64_t kCount = 65535;
    Arena arena(kCount * 64 + (kCount + 1) * 8);
    for (int64_t id = 1; id <= kCount; ++id)
        arena.declare(placed(id, 4, 4, 16, (id - 1) * 64, std::nullopt));
    for (int pass = 0; pass < 3; ++pass) {
        arena.begin_pass();
        for (int64_t id = 1; id <= kCount; ++id) arena.note_written(id, 4);
        for (int64_t id = 1; id <= kCount; ++id) ASSERT_EQ(arena.rows_held(id), 4);
    }
    // Of one that lies over a few, the others stay.
    Arena over(1 << 20);
    for (int64_t id = 1; id <= 100; ++id)
        over.declare(placed(id, 1, 16, 64, (id - 1) * 64, std::nullopt));
    over.declare(placed(101, 4, 16, 64, 10 * 64, std::nullopt));
    over.begin_pass();
    for (int64_t id = 1; id <= 100; ++id) over.note_written(id, 1);
    over.note_written(101, 4);
    for (int64_t id = 1; id <= 100; ++id)
        if (id >= 11 && id <= 14)
            EXPECT_THROW(over.rows_held(id), Error) << id;
        else
            EXPECT_EQ(over.rows_held(id), 1) << id;
    over.note_written(12, 1);
    EXPECT_THROW(over.rows_held(101), Error);
}

// Columns of one row lie across each other, so each has to be looked at: that has an end.
TEST(Arena, ColumnsWithoutEndAreRefused) {
    constexpr int64_t kCount = 20000;
    Arena arena(kCount * 4 * 2);
    for (int64_t id = 1; id <= kCount; ++id)
        arena.declare(placed(id, 2, 1, kCount * 4, (id - 1) * 4, std::nullopt));
    arena.begin_pass();
    EXPECT_THROW(for (int64_t id = 1; id <= kCount; ++id) arena.note_written(id, 2), Error);
}

TEST(Arena, LogitsWriteTensorsOfTheirOwn) {
    Arena arena(4096);
    arena.declare(placed(1, 2, 8, 64, 0, std::nullopt));
    arena.declare(placed(2, 2, 4, 64, 0, 1));
    arena.declare(placed(3, 2, 8, 64, 1024, std::nullopt));
    arena.declare(placed(4, 2, 8, 64, 1024, std::nullopt));
    arena.begin_pass();
    arena.note_written(2, 2);
    arena.note_written(3, 2);
    arena.require_writable(1);
    arena.begin_logits();
    EXPECT_THROW(arena.require_writable(1), Error) << "a part of it is forward's";
    EXPECT_THROW(arena.require_writable(2), Error);
    EXPECT_THROW(arena.require_writable(3), Error);
    arena.require_writable(4);
    arena.note_written(4, 2);
    arena.require_writable(4);
    arena.begin_pass();
    arena.require_writable(2);
}

TEST(Arena, RefusesPlacesThatDoNotFit) {
    Arena arena(1024);
    EXPECT_NE(error_of([&] { arena.declare(place(1, 64, 256, 64)); }), "");
    EXPECT_NE(error_of([&] { arena.declare(place(1, 64, 252, 0)); }), "");
    EXPECT_NE(error_of([&] { arena.declare(place(1, 64, 256, -64)); }), "");
    EXPECT_NE(error_of([&] { arena.declare(place(1, int64_t{1} << 61, 256, 0)); }), "");
    EXPECT_NE(error_of([&] { arena.declare(place(1, 64, int64_t{1} << 62, 0)); }), "");
    arena.declare(place(1, 64, 256, 0));
    EXPECT_NE(error_of([&] { arena.declare(place(1, 64, 256, 0)); }), "");
}

// What a block holds, by common/kv_layout.h.
float key_of(const KvBlock& block, int64_t head, int64_t p, int64_t d) {
    const KvHead held = block.head(head);
    if (block.type == KvType::f16)
        return f16_to_f32(reinterpret_cast<const uint16_t*>(held.keys)[d * 32 + p]);
    return f16_to_f32(reinterpret_cast<const uint16_t*>(held.key_scales)[d / 8 * 32 + p]) *
           reinterpret_cast<const int8_t*>(held.keys)[(d / 2 * 32 + p) * 2 + d % 2];
}

float value_of(const KvBlock& block, int64_t head, int64_t p, int64_t d) {
    const KvHead held = block.head(head);
    if (block.type == KvType::f16)
        return f16_to_f32(reinterpret_cast<const uint16_t*>(held.values)[p * block.width + d]);
    const int64_t columns = (block.width + 7) / 8 * 8;
    return f16_to_f32(reinterpret_cast<const uint16_t*>(held.value_scales)[d / 32 * 32 + p]) *
           reinterpret_cast<const int8_t*>(held.values)[(p / 2 * columns + d) * 2 + p % 2];
}

KvCache windowed_cache(KvType type = KvType::f16) {
    KvCache cache({.context = 1000, .chunk = 8, .sequences = 2, .type = type});
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
                EXPECT_EQ(key_of(block, head, p, d), expected);
                EXPECT_EQ(value_of(block, head, p, d), expected);
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
        EXPECT_EQ(value_of(block, 0, 0, 0), static_cast<float>(position));
    }
    EXPECT_EQ(cache.first_held(0, 0), 0);
    EXPECT_EQ(value_of(cache.block(0, 0, 0), 0, 0, 0), 0.0f);
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

TEST(KvCache, Q8StoresToHalfACode) {
    for (const int64_t width : {1, 4, 7, 8, 31, 32, 33, 64, 80, 100}) {
        KvCache cache({.context = 70, .chunk = 70, .sequences = 1, .type = KvType::q8});
        cache.declare(0, {.heads = 3, .width = width, .window = 0});
        cache.append(0, 0, 0, 70);
        const auto stored = [&](int64_t p, int64_t head) {
            return test::random_values(static_cast<size_t>(2 * width),
                                       static_cast<uint32_t>(p * 3 + head), 0.1f + p);
        };
        for (int64_t p = 0; p < 70; ++p)
            for (int64_t head = 0; head < 3; ++head) {
                const auto values = stored(p, head);
                cache.store_key(0, 0, p, head, values.data());
                cache.store_value(0, 0, p, head, values.data() + width);
            }
        for (int64_t p = 0; p < 70; ++p)
            for (int64_t head = 0; head < 3; ++head) {
                const auto values = stored(p, head);
                const KvBlock block = cache.block(0, 0, p / 32 * 32);
                const auto largest = [&](int64_t from, int64_t to) {
                    float most = 0;
                    for (int64_t i = from; i < to; ++i)
                        most = std::max(most, std::fabs(values[static_cast<size_t>(i)]));
                    return most;
                };
                for (int64_t d = 0; d < width; ++d) {
                    const int64_t k = d / 8 * 8, v = d / 32 * 32;
                    EXPECT_NEAR(key_of(block, head, p % 32, d), values[static_cast<size_t>(d)],
                                largest(k, std::min(width, k + 8)) / 253);
                    EXPECT_NEAR(value_of(block, head, p % 32, d),
                                values[static_cast<size_t>(width + d)],
                                largest(width + v, width + std::min(width, v + 32)) / 253);
                }
            }
    }
}

TEST(KvCache, Q8OfExtremeValues) {
    KvCache cache({.context = 32, .chunk = 32, .sequences = 1, .type = KvType::q8});
    cache.declare(0, {.heads = 1, .width = 8, .window = 0});
    cache.append(0, 0, 0, 32);
    const auto stored = [&](float size, float other) {
        const float values[8] = {size, -size, other, 0, size / 2, 0, 0, 0};
        cache.store_key(0, 0, 5, 0, values);
        cache.store_value(0, 0, 5, 0, values);
        const KvBlock block = cache.block(0, 0, 0);
        for (int64_t d = 0; d < 8; ++d) {
            const float key = key_of(block, 0, 5, d), value = value_of(block, 0, 5, d);
            EXPECT_TRUE(key == value || (std::isnan(key) && std::isnan(value)));
        }
        return std::vector{key_of(block, 0, 5, 0), key_of(block, 0, 5, 1), key_of(block, 0, 5, 4)};
    };
    const auto near = [&](float size) {
        const auto got = stored(size, 0);
        EXPECT_NEAR(got[0], size, size / 250);
        EXPECT_NEAR(got[1], -size, size / 250);
        EXPECT_NEAR(got[2], size / 2, size / 250);
    };
    for (const float size : {0.01f, 1.0f, 65000.0f, 8.3e6f}) near(size);
    EXPECT_EQ(stored(0, 0), (std::vector{0.0f, 0.0f, 0.0f}));
    EXPECT_EQ(stored(-0.0f, 0), (std::vector{0.0f, 0.0f, 0.0f}));
    // Below what an f16 scale can say: the error stays under the smallest scale's 127 codes.
    for (const float size : {1e-40f, 1e-20f, 1e-7f, 3.7e-6f, 7e-6f, 1e-5f})
        EXPECT_NEAR(stored(size, 0)[0], size, 127 * 0x1p-25f);
    for (const float bad :
         {1e7f, std::numeric_limits<float>::max(), std::numeric_limits<float>::infinity(),
          std::numeric_limits<float>::quiet_NaN()}) {
        EXPECT_TRUE(std::isnan(stored(1, bad)[0])) << bad;
        EXPECT_TRUE(std::isnan(stored(1, -bad)[2])) << bad;
    }
    near(1);  // and nothing of it stays
}

TEST(KvCache, StoringAPositionTouchesNoOther) {
    for (const KvType type : {KvType::f16, KvType::q8}) {
        KvCache cache({.context = 64, .chunk = 64, .sequences = 1, .type = type});
        cache.declare(0, {.heads = 2, .width = 20, .window = 0});
        cache.append(0, 0, 0, 64);
        const auto all = [&] {
            std::vector<float> held;
            for (int64_t p = 0; p < 64; ++p)
                for (int64_t head = 0; head < 2; ++head)
                    for (int64_t d = 0; d < 20; ++d) {
                        held.push_back(key_of(cache.block(0, 0, p / 32 * 32), head, p % 32, d));
                        held.push_back(value_of(cache.block(0, 0, p / 32 * 32), head, p % 32, d));
                    }
            return held;
        };
        for (int64_t step = 0; step < 128; ++step) {
            const int64_t p = step * 37 % 64;
            const auto before = all();
            for (int64_t head = 0; head < 2; ++head) {
                const auto values = test::random_values(40, static_cast<uint32_t>(step * 2 + head),
                                                        static_cast<float>(step + 1));
                cache.store_key(0, 0, p, head, values.data());
                cache.store_value(0, 0, p, head, values.data() + 20);
            }
            const auto after = all();
            for (size_t i = 0; i < before.size(); ++i) {
                if (i / 80 == static_cast<size_t>(p)) continue;
                ASSERT_EQ(before[i], after[i]) << "step " << step;
            }
            EXPECT_NE(before, after);
        }
    }
}

TEST(KvCache, Q8RingsRewindAndTruncateAsF16Do) {
    KvCache cache = windowed_cache(KvType::q8), reference = windowed_cache();
    const auto same = [&] {
        for (int64_t layer = 0; layer < 2; ++layer) {
            ASSERT_EQ(cache.length(0, layer), reference.length(0, layer));
            ASSERT_EQ(cache.first_held(0, layer), reference.first_held(0, layer));
            for (int64_t at = cache.first_held(0, layer); at < cache.length(0, layer); at += 32) {
                const KvBlock block = cache.block(0, layer, at);
                const KvBlock expected = reference.block(0, layer, at);
                ASSERT_EQ(block.rows, expected.rows);
                for (int64_t head = 0; head < block.heads; ++head)
                    for (int64_t p = 0; p < block.rows; ++p)
                        for (int64_t d = 0; d < 4; ++d) {
                            const float key = key_of(expected, head, p, d);
                            ASSERT_NEAR(key_of(block, head, p, d), key, key / 200 + 0.01);
                            ASSERT_NEAR(value_of(block, head, p, d), key, key / 200 + 0.01);
                        }
            }
        }
    };
    const auto both = [&](auto body) {
        body(cache);
        body(reference);
        same();
    };
    both([](KvCache& c) { fill(c, 0, 500); });
    for (const int64_t position : {500, 499, 300, 600})
        EXPECT_EQ(cache.rewind(0, position), reference.rewind(0, position));
    both([](KvCache& c) { c.truncate(0, 495); });
    both([](KvCache& c) { fill(c, 495, 540); });
    both([](KvCache& c) { fill(c, 0, 30); });
    EXPECT_EQ(reference.bytes_per_sequence(), (32 * 2 + 3 * 1) * 32 * 4 * 2 * 2);
    EXPECT_EQ(cache.bytes_per_sequence(), (32 * 2 + 3 * 1) * 32 * (8 * 2 + 2 + 2));
}

TEST(KvCache, RefusesGapsAndOverflow) {
    KvCache cache = windowed_cache();
    fill(cache, 0, 10);
    EXPECT_NE(error_of([&] { cache.append(0, 0, 11, 1); }), "");
    EXPECT_NE(error_of([&] { cache.append(0, 0, 10, 9); }), "");
    EXPECT_NE(error_of([&] { cache.append(2, 0, 0, 1); }), "");
    EXPECT_NE(error_of([&] { cache.append(0, 2, 0, 1); }), "");
    EXPECT_NE(error_of([&] { cache.append(0, 0, -1, 1); }), "");
    fill(cache, 10, 1000);
    EXPECT_SAYS(error_of([&] { cache.append(0, 0, 1000, 1); }),
                "the context is full … 1000 … 1001; … --context");
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

// As many as the system gives, but where somebody insists on more than there are cores.
TEST(Workers, FewerWillDoWhereThereAreNoMoreThreads) {
    if (test::kSanitized) GTEST_SKIP() << "the sanitizer itself needs address space";
    const pid_t child = ::fork();
    if (child == 0) {
        // Stacks of threads that earlier tests had are kept for new ones, of this size no more.
        pthread_attr_t larger;
        ::pthread_attr_init(&larger);
        ::pthread_attr_setstacksize(&larger, size_t{64} << 20);
        ::pthread_setattr_default_np(&larger);
        struct rlimit space {};
        ::getrlimit(RLIMIT_AS, &space);
        space.rlim_cur = std::min<rlim_t>(space.rlim_max, 1 << 20);  // no stack fits any more
        ::setrlimit(RLIMIT_AS, &space);
        int status = 0;
        try {
            Workers workers(0);
            std::atomic<int> items{0};
            workers.run(5, [&](int64_t, int) { ++items; });
            status = workers.count() == 1 && items == 5 ? 1 : 2;
            Workers more(usable_cores() + 1);
            status = 3;
        } catch (const Error&) {
        } catch (...) {
            status = 4;
        }
        ::_exit(status);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(WEXITSTATUS(status), 1);
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

TEST(Workers, JobsAreDoneInOrderAndTheirTasksLiveUntilThen) {
    for (const int threads : {1, 2, 3, 7}) {
        Workers workers(threads);
        constexpr int kRounds = 3000;
        std::atomic<int> done = 0;  // items of all jobs so far
        std::atomic<int> early = 0;
        int before = 0;
        for (int job = 0; job < kRounds; ++job) {
            const int items = 1 + job * 7 % 5;
            const auto all_before = std::make_shared<const int>(before);
            workers.add(items, [&done, &early, all_before](int64_t, int) {
                if (done < *all_before) ++early;
                ++done;
            });
            before += items;
        }
        workers.finish();
        EXPECT_EQ(done, before);
        EXPECT_EQ(early, 0) << threads << " threads";
    }
}

TEST(Workers, AfterAFailureLaterJobsAreSkippedAndTheFirstIsReported) {
    for (const int threads : {1, 3}) {
        Workers workers(threads);
        std::atomic<int> later = 0;
        workers.add(3, [](int64_t item, int) { fail("item {} of the first", item); });
        for (int job = 0; job < 20; ++job)
            workers.add(2, [&](int64_t, int) {
                ++later;
                fail("a later one");
            });
        workers.wait();
        EXPECT_TRUE(workers.failed());
        const std::string error = error_of([&] { workers.finish(); });
        EXPECT_EQ(error.substr(0, 5), "item ") << error;
        EXPECT_EQ(later, 0);
        EXPECT_FALSE(workers.failed());
        workers.run(2, [&](int64_t, int) { ++later; });
        EXPECT_EQ(later, 2);
    }
}

TEST(Workers, TimesAddUp) {
    for (const int threads : {1, 3}) {
        Workers workers(threads);
        const auto run = [&](int64_t items) {
            std::atomic<unsigned> seen{0};  // workers, one a bit
            workers.run(items, [&](int64_t, int worker) {
                seen |= 1u << worker;
                // Long enough for another worker to take part, where there is one.
                while (items >= 50 && threads > 1 && std::has_single_bit(seen.load()))
                    std::this_thread::yield();
            });
        };
        run(5);
        EXPECT_EQ(workers.time().busy, 0);
        workers.keep_time(true);
        for (const int64_t items : {0, 1, 2, 50}) run(items);
        workers.keep_time(false);
        const WorkTime time = workers.time();
        run(5);
        EXPECT_EQ(workers.time().busy, time.busy);
        EXPECT_GT(time.busy, 0);
        EXPECT_LE(time.owner_busy, time.busy);
        EXPECT_EQ(time.owner_busy == time.busy, threads == 1);
        EXPECT_GT(time.owner_waiting, 0);
    }
}

}  // namespace
}  // namespace llmsql
