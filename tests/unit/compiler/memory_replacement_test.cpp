// SPDX-License-Identifier: MIT
// Bélády against everything that any policy could do; LRU and FIFO on cycles and by hand.
#include "bench/replacement/replacement.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include "tests/unit/compiler/memory_traces.h"

namespace llmsql::compiler::test {
namespace {

std::string text(const std::vector<bool>& hits) {
    std::string letters;
    for (const bool hit : hits) letters += hit ? 'h' : '.';
    return letters;
}

struct Trace {
    std::vector<int64_t> bytes;
    std::vector<int> uses;
    int64_t capacity = 0;
};

Trace random_trace(std::mt19937& random, bool equal) {
    const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % n); };
    Trace trace;
    const int64_t size = 1 + below(9);
    trace.bytes.resize(static_cast<size_t>(2 + below(5)));
    int64_t total = 0;
    for (int64_t& bytes : trace.bytes) total += bytes = equal ? size : 1 + below(12);
    trace.uses.resize(static_cast<size_t>(below(18)));
    for (int& tile : trace.uses)
        tile = static_cast<int>(below(static_cast<int64_t>(trace.bytes.size())));
    trace.capacity = below(total + 2);
    return trace;
}

TEST(Belady, NoPolicyReadsLessOfTilesOfOneSize) {
    std::mt19937 random(11);
    int between = 0;
    for (int round = 0; round < 600; ++round) {
        const Trace t = random_trace(random, true);
        const int64_t read = bytes_read(t.uses, t.bytes, belady_hits(t.uses, t.bytes, t.capacity));
        EXPECT_EQ(read, least_bytes(t.uses, t.bytes, t.capacity, true)) << "round " << round;
        const int64_t lru = bytes_read(t.uses, t.bytes, lru_hits(t.uses, t.bytes, t.capacity));
        EXPECT_LE(read, lru);
        between += read < lru;
    }
    EXPECT_GT(between, 100);
}

// Where sizes differ, only bounds are known: docs/memory.md.
TEST(Belady, GapToTheBoundWhereSizesDiffer) {
    std::mt19937 random(12);
    int64_t bound = 0, least = 0, read = 0, lru = 0, fifo = 0;
    for (int round = 0; round < 400; ++round) {
        const Trace t = random_trace(random, false);
        const int64_t below = interval_bound(t.uses, t.bytes, t.capacity);
        const int64_t optimum = least_bytes(t.uses, t.bytes, t.capacity, true);
        const int64_t here = bytes_read(t.uses, t.bytes, belady_hits(t.uses, t.bytes, t.capacity));
        EXPECT_LE(below, optimum) << "round " << round;
        EXPECT_LE(optimum, here) << "round " << round;
        bound += below;
        least += optimum;
        read += here;
        lru += bytes_read(t.uses, t.bytes, lru_hits(t.uses, t.bytes, t.capacity));
        fifo += bytes_read(t.uses, t.bytes, fifo_hits(t.uses, t.bytes, t.capacity));
    }
    EXPECT_LT(read, lru);
    fmt::print("tiles of unequal sizes: bound {}, optimum {}, Belady {}, LRU {}, FIFO {}\n", bound,
               least, read, lru, fifo);
}

TEST(Policies, ByHand) {
    const std::vector<int64_t> one(4, 1);
    const std::vector<int> uses{0, 1, 2, 0, 1, 3, 0, 2, 1};
    EXPECT_EQ(text(belady_hits(uses, one, 2)), "...hh.h.h");
    EXPECT_EQ(text(lru_hits(uses, one, 2)), ".........");
    EXPECT_EQ(text(lru_hits(uses, one, 3)), "...hh.h..");
    EXPECT_EQ(text(fifo_hits(uses, one, 3)), "...hh..h.");
    EXPECT_EQ(text(lru_hits(uses, one, 4)), "...hh.hhh");
    // A tile that never fits passes by and drives nobody out.
    const std::vector<int64_t> large{1, 9, 1};
    const std::vector<int> around{0, 1, 2, 1, 0, 2};
    for (const auto policy : {belady_hits, lru_hits, fifo_hits})
        EXPECT_EQ(text(policy(around, large, 2)), "....hh");
}

TEST(Policies, LruAndFifoReadAllOfACycleThatDoesNotFit) {
    std::mt19937 random(13);
    for (int round = 0; round < 200; ++round) {
        const PassScans pass = random_pass(random, 1 + round % 6, 8, 50);
        const int64_t total = total_bytes(pass);
        const std::vector<int64_t> bytes = sizes_of(pass);  // each of which must fit by itself
        const int64_t largest = *std::ranges::max_element(bytes);
        if (largest == total) continue;
        const int64_t capacity = largest + static_cast<int64_t>(random() % (total - largest));
        EXPECT_EQ(steady_bytes(pass, Policy::lru, capacity), total) << "round " << round;
        EXPECT_EQ(steady_bytes(pass, Policy::fifo, capacity), total) << "round " << round;
        EXPECT_EQ(steady_bytes(pass, Policy::lru, total), 0);
        EXPECT_EQ(steady_bytes(pass, Policy::fifo, total), 0);
    }
}

TEST(Policies, AFixedSetTiesWithBeladyOnACycleOfTilesOfOneSize) {
    std::mt19937 random(14);
    for (int round = 0; round < 200; ++round) {
        PassScans pass = random_pass(random, 1 + round % 6, 8, 50);
        for (PassScans::Tile& tile : pass.tiles) tile.bytes = 7;
        const int64_t capacity = static_cast<int64_t>(random() % (total_bytes(pass) + 7));
        EXPECT_EQ(steady_bytes(pass, Policy::belady, capacity),
                  choose_held(pass, capacity).read_bytes);
    }
}

}  // namespace
}  // namespace llmsql::compiler::test
