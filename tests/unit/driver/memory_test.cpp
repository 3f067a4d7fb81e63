// SPDX-License-Identifier: MIT
// The budget that is chosen where memory is short.
#include <gtest/gtest.h>

#include <bit>

#include "driver/prepare.h"
#include "tests/unit/error_of.h"
#include "tests/unit/says.h"

namespace llmsql::driver {
namespace {

using test::error_of;

TEST(Budget, LeavesSomeOfWhatIsFree) {
    constexpr uint64_t kMiB = 1 << 20;
    EXPECT_EQ(budget_within(0), 0);
    EXPECT_EQ(budget_within(kMiB), 0);
    EXPECT_EQ(budget_within(1024 * kMiB), 896 * static_cast<int64_t>(kMiB));
    int64_t last = 0;
    for (uint64_t free = 2 * kMiB; free < uint64_t{1} << 60; free += free / 7) {
        const auto budget = static_cast<uint64_t>(budget_within(free));
        EXPECT_EQ(budget % kMiB, 0u);
        EXPECT_LE(budget, free - free / 11);
        EXPECT_GE(static_cast<int64_t>(budget), last);
        last = static_cast<int64_t>(budget);
        if (free < uint64_t{1} << 49) {
            EXPECT_GE(budget + kMiB, free / 10 * 7);
        }
        // Coarse: four digits in base two.
        const uint64_t mib = budget / kMiB;
        EXPECT_LE(std::bit_width(mib) - std::countr_zero(mib | uint64_t{1} << 63), 4);
    }
    EXPECT_GT(budget_within(UINT64_MAX), 0);
}

TEST(MemoryPage, PartsAreRead) {
    const std::string page =
        "m · context 64\n\nparts 7\nheld weights   12     0.0 MiB\nsum           1234567     1.2 "
        "MiB\nbudget 99";
    EXPECT_EQ(bytes_on_page(page, "sum"), 1234567);
    EXPECT_EQ(bytes_on_page(page, "held weights"), 12);
    for (const std::string other : {"nothing of it", "\nsum x", "\nsums 5"})
        EXPECT_SAYS(error_of([&] { bytes_on_page(other, "sum"); }), "… memory …");
}

}  // namespace
}  // namespace llmsql::driver
