// SPDX-License-Identifier: MIT
// Whether two tensors share bytes, and what follows for storing in place: against marking each
// byte.
#include "runtime/state/strided.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <vector>

#include "common/error.h"
#include "runtime/compute/evaluate.h"
#include "runtime/state/arena.h"

namespace llmsql {
namespace {

bool share_by_bytes(const Strided& a, const Strided& b) {
    std::set<int64_t> bytes;
    for (int64_t r = 0; r < a.rows; ++r)
        for (int64_t i = 0; i < a.row_bytes; ++i) bytes.insert(a.begin + r * a.stride + i);
    for (int64_t r = 0; r < b.rows; ++r)
        for (int64_t i = 0; i < b.row_bytes; ++i)
            if (bytes.contains(b.begin + r * b.stride + i)) return true;
    return false;
}

// The rows that a tensor holds; 0 where it holds nothing.
int64_t held(const Arena& arena, int64_t id) {
    try {
        return arena.rows_held(id);
    } catch (const Error&) {
        return 0;
    }
}

TEST(Strided, SharesBytesExactlyWhereSomeByteIsInBoth) {
    std::mt19937 random(1);
    const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % n); };
    int shared = 0, apart = 0;
    for (int i = 0; i < 60000; ++i) {
        const auto make = [&](int64_t widest) {
            Strided made;
            made.begin = below(60) - 20;
            made.rows = 1 + below(9);
            made.row_bytes = 1 + below(widest);
            made.stride = made.row_bytes + below(30);
            return made;
        };
        const Strided a = make(1 + below(12)), b = make(1 + below(12));
        const bool expected = share_by_bytes(a, b);
        (expected ? shared : apart)++;
        ASSERT_EQ(share_bytes(a, b), expected)
            << a.begin << ' ' << a.rows << ' ' << a.row_bytes << ' ' << a.stride << " and "
            << b.begin << ' ' << b.rows << ' ' << b.row_bytes << ' ' << b.stride;
        ASSERT_EQ(share_bytes(b, a), expected);
    }
    EXPECT_GT(shared, 1000);
    EXPECT_GT(apart, 1000);
}

TEST(Strided, ManyRowsAreDecidedAsFastAsFew) {
    // Neither of them has a byte in common: rows of an even number beside rows of an odd one.
    const int64_t rows = 1 << 20;
    for (int64_t more = 2; more < 2000; more += 2) {
        const Strided a{0, rows, 1, 1000}, b{1, rows, 1, 1000 + more};
        EXPECT_FALSE(share_bytes(a, b));
        EXPECT_FALSE(share_bytes({0, rows, 1, (1 << 20) - more}, {1, rows, 1, 1 << 20}));
    }
    EXPECT_TRUE(share_bytes({0, rows, 1, 1 << 19}, {(int64_t{1} << 39) - (1 << 19), 1, 1, 1}));
}

// Two tensors of an arena, B stored from A, for all small layouts: refused, or right.
TEST(Overlap, StoringIsRefusedOrRight) {
    std::mt19937 random(2);
    const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % n); };
    int stored = 0, refused = 0;
    for (int i = 0; i < 4000; ++i) {
        Arena arena(4096);
        const int64_t width = 1 + below(4), rows = 2 + below(5);
        const auto place = [&](int64_t id) {
            TensorPlace made;
            made.id = id;
            made.name = "t";
            made.rows = rows;
            made.heads = 1;
            made.width = width;
            made.stride = 4 * (width + below(4));
            made.offset = 4 * below(24);
            return made;
        };
        TensorPlace a = place(1), b = place(2);
        if (below(2)) b.stride = a.stride;
        arena.declare(a);
        arena.declare(b);
        const TensorPlace &from = arena.place(1), &to = arena.place(2);
        const auto value = [&](const TensorPlace& of, int64_t r, int64_t c) -> float& {
            return reinterpret_cast<float*>(arena.data(of) + r * of.stride)[c];
        };
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t c = 0; c < width; ++c) value(from, r, c) = static_cast<float>(r * 10 + c);
        const auto x = std::make_shared<TensorExpr>(from, arena.data(from), rows);
        // Rows of two sequences, one after the other, or of one.
        const int64_t first = below(2) ? rows : 1 + below(rows - 1);
        Compute compute(1);
        try {
            for (const auto& [begin, count] :
                 {std::pair{int64_t{0}, first}, {first, rows - first}}) {
                if (count == 0) continue;
                const auto part = std::make_shared<TensorExpr>(
                    from, arena.data(from) + begin * from.stride, count);
                evaluate_into(compute, std::make_shared<ConcatExpr>(std::vector<ExprPtr>{part}), to,
                              arena.data(to) + begin * to.stride, {begin, rows - begin - count});
                compute.workers.finish();
            }
        } catch (const Error&) {
            EXPECT_TRUE(share_bytes(from.bytes(), to.bytes()));
            ++refused;
            continue;
        }
        ++stored;
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t c = 0; c < width; ++c)
                ASSERT_EQ(value(to, r, c), static_cast<float>(r * 10 + c)) << i;
        arena.note_written(1, rows);
        arena.note_written(2, rows);
        ASSERT_EQ(arena.rows_held(2), rows);
        const bool gone = share_bytes(from.bytes(), to.bytes());
        EXPECT_EQ(held(arena, 1), gone ? 0 : rows);
    }
    EXPECT_GT(stored, 100);
    EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace llmsql
