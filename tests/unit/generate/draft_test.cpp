// SPDX-License-Identifier: MIT
// What drafters propose, and how many guesses are worth checking.
#include "runtime/generate/draft.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "common/process_memory.h"
#include "runtime/generate/pass_costs.h"

namespace llmsql {
namespace {

std::vector<int32_t> proposed(const Drafter& drafter, size_t most) {
    std::vector<Draft> drafts;
    drafter.propose(most, drafts);
    std::vector<int32_t> tokens;
    for (const Draft& draft : drafts) {
        EXPECT_GT(draft.chance, 0);
        EXPECT_LE(draft.chance, 1);
        tokens.push_back(draft.token);
    }
    return tokens;
}

using Tokens = std::vector<int32_t>;

TEST(TextDrafter, GoesOnWhereTheLongestEndStoodBefore) {
    TextDrafter drafter(100);
    EXPECT_EQ(proposed(drafter, 3), Tokens());
    drafter.read(Tokens{1, 2, 3, 4, 5, 9, 2, 3, 7, 8, 1, 2});
    // "1 2" stood before "3 4 5", "2" alone once more.
    EXPECT_EQ(proposed(drafter, 4), Tokens({3, 4, 5, 9}));
    EXPECT_EQ(proposed(drafter, 0), Tokens());
    drafter.picked(3);
    EXPECT_EQ(proposed(drafter, 2), Tokens({4, 5}));
    drafter.picked(77);
    EXPECT_EQ(proposed(drafter, 2), Tokens());  // never seen, and what differed was short
    // A text that repeats itself goes on with what is proposed.
    TextDrafter round(100);
    round.read(Tokens{1, 2, 3, 1, 2, 3, 1});
    EXPECT_EQ(proposed(round, 7), Tokens({2, 3, 1, 2, 3, 1, 2}));
}

TEST(TextDrafter, TriesThePlaceBehindATokenThatDiffers) {
    TextDrafter drafter(100);
    Tokens text{10, 11, 12, 13, 14, 15, 16, 17};
    text.insert(text.end(), {10, 11, 12, 13});
    drafter.read(text);
    EXPECT_EQ(proposed(drafter, 2), Tokens({14, 15}));
    drafter.picked(99);  // for 14
    EXPECT_EQ(proposed(drafter, 2), Tokens({15, 16}));
    drafter.picked(15);
    EXPECT_EQ(proposed(drafter, 2), Tokens({16, 17}));
}

// A place may be lost where hashes are alike, but what is proposed stood behind an end of the text.
TEST(TextDrafter, WhatItProposesHasFollowedAnEndOfTheTextAndSeldomFallsShortOfTheLongest) {
    std::mt19937 random(1);
    for (int run = 0; run < 20; ++run) {
        TextDrafter drafter(400);
        Tokens text;
        int longest = 0, shorter = 0;
        for (int i = 0; i < 390; ++i) {
            const auto token = static_cast<int32_t>(random() % (2 + static_cast<size_t>(run)));
            text.push_back(token);
            drafter.picked(token);
            size_t most = 0;  // that any place shares
            const auto shared = [&](size_t next) {
                size_t count = 0;
                while (count < next && count < 32 &&
                       text[next - 1 - count] == text[text.size() - 1 - count])
                    ++count;
                return count;
            };
            for (size_t next = 1; next < text.size(); ++next) most = std::max(most, shared(next));
            const Tokens drafts = proposed(drafter, 1);
            if (drafts.empty()) continue;
            size_t best = 0;  // of the places whose next token was proposed
            bool stood = false;
            for (size_t next = 1; next < text.size(); ++next)
                if (text[next] == drafts[0]) {
                    stood = true;
                    best = std::max(best, shared(next));
                }
            ASSERT_TRUE(stood);
            ++(best == most ? longest : shorter);
        }
        EXPECT_GT(longest, 2 * shorter) << run;
    }
}

TEST(TextDrafter, TakesItsMemoryWhenItIsMadeHoweverLongTheTextGrows) {
    for (const size_t tokens : {1U, 100U, 1000U, 4096U}) {
        TextDrafter drafter(tokens);
        const size_t bytes = drafter.bytes();
        EXPECT_LE(bytes, static_cast<size_t>(draft_text_bytes(static_cast<int64_t>(tokens))));
        for (int32_t i = 0; i < 10000; ++i) drafter.picked(i % 40);
        EXPECT_EQ(drafter.bytes(), bytes);
        EXPECT_EQ(proposed(drafter, 3), Tokens({0, 1, 2}));  // 10,000 is 250 times 40
    }
}

TEST(TextDrafter, ChancesFollowWhatComesTrue) {
    const auto chance = [](const TextDrafter& drafter) {
        std::vector<Draft> drafts;
        drafter.propose(1, drafts);
        return drafts.empty() ? -1 : drafts[0].chance;
    };
    TextDrafter always(1000), never(1000);
    for (int i = 0; i < 40; ++i) {
        always.picked(i % 5);
        // "7 i": what followed a 7 never does again.
        never.picked(i % 2 == 0 ? 7 : 100 + i);
    }
    EXPECT_GT(chance(always), 0.95);
    never.picked(7);
    EXPECT_LT(chance(never), 0.05);
    EXPECT_GE(chance(never), 0);
}

std::vector<double> gains(std::initializer_list<double> chances) {
    std::vector<double> gains;
    double gain = 1;
    for (const double chance : chances) gains.push_back(gain *= chance);
    return gains;
}

TEST(PassCosts, GuessesAreCheckedWhileTheyPay) {
    PassCosts costs;
    EXPECT_EQ(costs.worth_checking(1, {}), 0U);
    // Rows that cost nothing: all that may come true.
    for (size_t rows = 1; rows <= 16; ++rows) costs.note(rows, 1);
    EXPECT_EQ(costs.worth_checking(1, gains({0.5, 0.5, 0.5, 0.5})), 4U);
    EXPECT_EQ(costs.worth_checking(1, gains({0.01, 0.5})), 0U);  // less than estimates err
    // Rows that cost as much as the first.
    for (int i = 0; i < 4; ++i)
        for (size_t rows = 1; rows <= 16; ++rows) costs.note(rows, static_cast<double>(rows));
    EXPECT_EQ(costs.worth_checking(1, gains({0.9, 0.9, 0.9})), 0U);
    EXPECT_EQ(costs.worth_checking(4, gains({0.9, 0.9, 0.9})), 0U);
    // Two cost little, three a lot.
    for (int i = 0; i < 4; ++i) {
        costs.note(1, 1);
        costs.note(2, 1.1);
        costs.note(3, 3);
        for (size_t rows = 4; rows <= 16; ++rows) costs.note(rows, 4);
    }
    EXPECT_EQ(costs.worth_checking(1, gains({0.9, 0.9, 0.9})), 1U);
    EXPECT_EQ(costs.worth_checking(1, gains({1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1})), 14U);
}

TEST(PassCosts, OneSlowPassSaysNothingAndWhatIsOldIsForgotten) {
    PassCosts costs;
    for (int i = 0; i < 4; ++i)
        for (size_t rows : {1U, 4U}) costs.note(rows, 1 + 0.1 * static_cast<double>(rows - 1));
    costs.note(4, 1000);
    EXPECT_DOUBLE_EQ(costs.of(4), 1.3);
    EXPECT_DOUBLE_EQ(costs.of(2), 1.1);  // between
    for (int i = 0; i < 4; ++i) costs.note(4, 1000);
    EXPECT_DOUBLE_EQ(costs.of(4), 1000);
    EXPECT_EQ(costs.worth_checking(1, gains({0.9, 0.9, 0.9})), 0U);
    for (int i = 0; i < 300; ++i) costs.note(1, 1);
    EXPECT_LT(costs.of(4), 2);
    EXPECT_EQ(costs.worth_checking(1, gains({0.9, 0.9, 0.9})), 3U);
    // One dear pass is looked at again soon; what stays dear, more and more seldom.
    PassCosts dear;
    dear.note(1, 1);
    std::vector<int> looked;
    for (int pass = 0; pass < 2000; ++pass) {
        const bool checks = dear.worth_checking(1, gains({0.9})) > 0;
        if (checks) looked.push_back(pass);
        dear.note(checks ? 2 : 1, checks ? 5 : 1);
    }
    ASSERT_GE(looked.size(), 5U);
    EXPECT_LE(looked.size(), 13U);
    EXPECT_LT(looked[1], 20);
    EXPECT_GT(looked.back() - looked[looked.size() - 2], 250);
    // More rows than are told apart.
    EXPECT_GT(costs.of(1000), costs.of(500));
}

}  // namespace
}  // namespace llmsql
