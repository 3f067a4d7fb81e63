// SPDX-License-Identifier: MIT
// A text that goes on from a snapshot has the states and logits that it has from its beginning.
#include <gtest/gtest.h>

#include "common/error.h"
#include "tests/unit/error_of.h"
#include "tests/unit/runtime/opened_recurrent.h"
#include "tests/unit/says.h"

namespace llmsql {
namespace {

using test::error_of;

using test::OpenedRecurrent;
using test::recurrent_plan;
using test::same_bits;
using test::tiny_tokens;

std::vector<std::byte> state_at(const OpenedRecurrent& of, int id, int position) {
    const auto bytes = of.states().at(0, id, position);
    return {bytes.begin(), bytes.end()};
}

void pass(const OpenedRecurrent& of, std::span<const int32_t> tokens, int position, int snapshot,
          int sequence = 0) {
    const llmsql::Run run{tokens, position, sequence, false, snapshot};
    of->forward(std::span(&run, 1));
}

// The convolution, the gated delta rule and the selective scan, at every row of a pass.
TEST(Snapshots, AreTheStatesOfTheRowsBeforeThem) {
    for (const int threads : {1, 3}) {
        const OpenedRecurrent keeping(threads, recurrent_plan(0, 1)), plain(1, recurrent_plan(0));
        for (const int before : {0, 1, 5})
            for (int at = std::max(before, 1); at <= before + 7; ++at) {
                SCOPED_TRACE(fmt::format("at {} of a pass from {}", at, before));
                const auto tokens = tiny_tokens(before + 7, before), other = tiny_tokens(9, 77);
                const auto first = [&](int n) {
                    return std::span(tokens).first(static_cast<size_t>(n));
                };
                if (before > 0) keeping->forward(first(before), 0);
                pass(keeping, std::span(tokens).last(7), before, at);
                EXPECT_EQ(keeping->rewind(before + 7), before + 7);
                EXPECT_EQ(keeping->rewind(before + 6), at <= before + 6 ? at : 0);
                plain->forward(first(at), 0);
                for (int id = 0; id < 3; ++id)
                    EXPECT_EQ(state_at(keeping, id, at), state_at(plain, id, at));
                // Another text from there on, as if the first had not been.
                keeping->forward(other, at);
                plain->forward(other, at);
                EXPECT_TRUE(same_bits(keeping.logits(8), plain.logits(8)));
                for (int id = 0; id < 3; ++id)
                    EXPECT_EQ(state_at(keeping, id, at + 9), state_at(plain, id, at + 9));
            }
    }
}

TEST(Snapshots, GoWhereAnotherTextTakesTheirPlace) {
    const OpenedRecurrent opened(1, recurrent_plan(0, 4));
    const auto tokens = tiny_tokens(16, 1);
    pass(opened, tokens, 0, 8);
    pass(opened, std::span(tokens).first(8), 16, 20);
    EXPECT_EQ(opened->rewind(19), 8);
    EXPECT_EQ(opened->rewind(23), 20);
    EXPECT_EQ(opened->rewind(7), 0);
    opened->forward(std::span(tokens).first(1), 8);
    EXPECT_EQ(opened->rewind(23), 8);
    opened->forward(std::span(tokens).first(2), 0);
    EXPECT_EQ(opened->rewind(8), 0);
    EXPECT_SAYS(error_of([&] { opened->forward(std::span(tokens).first(1), 1); }),
                "…is that at position 2, from which no pass at 1 can go on");
}

// The only one makes room for another in the pass that goes on from it.
TEST(Snapshots, MayGoWhileAPassGoesOnFromThem) {
    const OpenedRecurrent opened(1, recurrent_plan(0, 1)), plain(1, recurrent_plan(0));
    const auto tokens = tiny_tokens(12, 1), next = tiny_tokens(5, 2);
    pass(opened, tokens, 0, 7);
    pass(opened, next, 7, 9);
    plain->forward(std::span(tokens).first(7), 0);
    plain->forward(next, 7);
    EXPECT_TRUE(same_bits(opened.logits(4), plain.logits(4)));
    EXPECT_EQ(opened->rewind(11), 9);
    EXPECT_EQ(opened->rewind(8), 0);
}

TEST(Snapshots, OfOneTextAreCopiedToAnother) {
    const OpenedRecurrent opened(1, recurrent_plan(0, 2)), plain(1, recurrent_plan(0));
    const auto tokens = tiny_tokens(14, 1), next = tiny_tokens(3, 2);
    pass(opened, tokens, 0, 9);
    pass(opened, tiny_tokens(12, 3), 0, 6, 1);
    EXPECT_FALSE(opened->copy(0, 1, 10));
    EXPECT_TRUE(opened->copy(0, 1, 9));
    EXPECT_EQ(opened->rewind(8, 1), 0);  // those of what was there have gone
    opened->forward(next, 9, 1);
    plain->forward(std::span(tokens).first(9), 0);
    plain->forward(next, 9);
    EXPECT_TRUE(same_bits(opened.logits(2), plain.logits(2)));
    EXPECT_EQ(opened->rewind(14), 14);
    EXPECT_EQ(opened->rewind(13), 9);
}

TEST(Snapshots, OfAPassThatFailsAreNone) {
    const std::string plan =
        test::replaced(recurrent_plan(0, 3), "WHERE e.id = 50 AND d.id = 59 AND s.id = 60",
                       "WHERE e.id = 50 AND d.id = 59 AND s.id = 60 AND :position < 9");
    const OpenedRecurrent opened(1, plan);
    const auto tokens = tiny_tokens(6, 1);
    pass(opened, tokens, 0, 4);
    pass(opened, std::span(tokens).first(3), 6, 7);
    EXPECT_SAYS(error_of([&] { pass(opened, tokens, 9, 11); }), "…stored nothing…");
    EXPECT_EQ(opened->rewind(15), 7);
    opened->forward(std::span(tokens).first(2), 7);
    EXPECT_EQ(opened->rewind(9), 9);
    EXPECT_EQ(opened->rewind(6), 4);
}

TEST(Snapshots, MayBeOfAPassThatIsCut) {
    const OpenedRecurrent opened(1, recurrent_plan(8, 1)), plain(1, recurrent_plan(0));
    const auto tokens = tiny_tokens(6, 1), guessed = tiny_tokens(5, 2), next = tiny_tokens(3, 4);
    opened->forward(tokens, 0);
    const llmsql::Run run{guessed, 6, 0, true, 6};
    opened->forward(std::span(&run, 1));
    EXPECT_TRUE(opened->cut(8));
    EXPECT_EQ(opened->rewind(8), 8);
    EXPECT_EQ(opened->rewind(7), 6);
    opened->forward(next, 6);
    plain->forward(tokens, 0);
    plain->forward(next, 6);
    EXPECT_TRUE(same_bits(opened.logits(2), plain.logits(2)));
}

// What is read a token at a time, with a snapshot asked for now and then: they are never more than
// there is room for, the further apart the further back, and the question's stays.
TEST(Snapshots, ThatAreMissedLeastGoFirst) {
    RecurrentStates states(2, 0, 4);
    states.declare(0, {.name = "memory", .heads = 1, .rows = 1, .width = 3});
    EXPECT_EQ(states.bytes(), (2 + 4) * 12);
    const auto pass = [&](int64_t sequence, int64_t position, int64_t rows, int64_t snapshot,
                          bool question = false) {
        states.keep(sequence, position, snapshot, question);
        states.begin(sequence, 0, position, rows);
        states.commit();
    };
    pass(0, 0, 100, 90, true);
    pass(1, 0, 40, 30, true);
    for (int64_t at = 100; at < 1000; at += 10) pass(0, at, 10, at);
    EXPECT_EQ(states.question(0), 90);
    EXPECT_EQ(states.rewind(0, 99), 90);
    EXPECT_EQ(states.rewind(1, 39), 30);
    EXPECT_EQ(states.rewind(0, 999), 990);
    const int64_t between = states.rewind(0, 989);
    EXPECT_GT(between, 300);
    EXPECT_EQ(states.rewind(0, between - 1), 90);
    // Another question: the one before may go now.
    pass(0, 1000, 100, 1095, true);
    EXPECT_EQ(states.question(0), 1095);
    EXPECT_EQ(states.question(1), 30);
    for (int64_t at = 1100; at < 9000; at += 10) pass(0, at, 10, at);
    EXPECT_EQ(states.rewind(0, 1099), 1095);
    EXPECT_EQ(states.rewind(1, 39), 30);
    // There is room for questions alone.
    RecurrentStates one(2, 0, 1);
    one.declare(0, {.name = "memory", .heads = 1, .rows = 1, .width = 3});
    one.keep(0, 0, 5, true);
    one.begin(0, 0, 0, 8);
    one.commit();
    one.keep(0, 8, 8, false);
    one.begin(0, 0, 8, 1);
    one.commit();
    EXPECT_EQ(one.rewind(0, 8), 5);
    one.keep(1, 0, 6, true);
    one.begin(1, 0, 0, 8);
    one.commit();
    EXPECT_EQ(one.rewind(0, 8), 0);
    EXPECT_EQ(one.rewind(1, 7), 6);
}

TEST(Snapshots, AreAsManyAsThePlanSays) {
    EXPECT_SAYS(error_of([] { OpenedRecurrent(1, recurrent_plan(0, -1)); }),
                "…llm_state: snapshots=-1 must be 0 to 4096");
    EXPECT_SAYS(error_of([] { OpenedRecurrent(1, recurrent_plan(0, 4097)); }),
                "…snapshots=4097 must be 0 to 4096");
    const OpenedRecurrent opened(1, recurrent_plan(0, 3));
    EXPECT_EQ(opened.states().bytes(), (3 + 2) * opened.states().bytes_per_sequence());
}

}  // namespace
}  // namespace llmsql
