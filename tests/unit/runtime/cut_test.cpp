// SPDX-License-Identifier: MIT
// A pass that is cut leaves the states that a pass of the rows that count would have left.
#include <gtest/gtest.h>

#include <random>

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

constexpr int kDrafts = 8;

void expect_same_states(const OpenedRecurrent& a, const OpenedRecurrent& b, int sequence) {
    for (int id = 0; id < 3; ++id) {
        SCOPED_TRACE(fmt::format("state {} of sequence {}", id, sequence));
        EXPECT_EQ(a.states().position(sequence, id), b.states().position(sequence, id));
        EXPECT_TRUE(same_bits(a.values(sequence, id), b.values(sequence, id)));
    }
}

void expect_cut(const OpenedRecurrent& drafting, const OpenedRecurrent& plain, int before, int rows,
                int n) {
    const auto prompt = tiny_tokens(before, 1), next = tiny_tokens(rows, 2 + rows);
    if (before > 0) {
        drafting->forward(prompt, 0);
        plain->forward(prompt, 0);
    }
    const llmsql::Run run{next, before, 0, true};
    drafting->forward(std::span(&run, 1));
    std::vector<float> logits;
    if (n > 0) {
        logits = drafting.logits(n - 1);
        plain->forward(std::span(next).first(static_cast<size_t>(n)), before);
    }
    const uint64_t weights = drafting->stats().weight_bytes;
    ASSERT_TRUE(drafting->cut(before + n));
    EXPECT_EQ(drafting->stats().weight_bytes, weights);
    if (before + n > 0) expect_same_states(drafting, plain, 0);
    if (n > 0) {
        EXPECT_TRUE(same_bits(logits, plain.logits(n - 1)));
        EXPECT_TRUE(same_bits(logits, drafting.logits(n - 1)));
    }
    // And go on alike.
    const auto last = tiny_tokens(5, 50);
    drafting->forward(last, before + n);
    plain->forward(last, before + n);
    expect_same_states(drafting, plain, 0);
    EXPECT_TRUE(same_bits(drafting.logits(4), plain.logits(4)));
}

// The convolution, the gated delta rule and the selective scan, for every number of rows.
TEST(Cut, LeavesTheStatesOfAPassOfTheRowsThatCount) {
    for (const int threads : {1, 3}) {
        const OpenedRecurrent drafting(threads, recurrent_plan(kDrafts)),
            plain(1, recurrent_plan(kDrafts));
        for (int rows = 1; rows <= kDrafts + 1; ++rows)
            for (int n = 0; n <= rows; ++n)
                for (const int before : {0, 1, 7}) {
                    SCOPED_TRACE(fmt::format("{} of {} rows after {}", n, rows, before));
                    expect_cut(drafting, plain, before, rows, n);
                }
    }
}

// Two beside each other, either cut first; of one all rows count now and then, without its having
// said that it may be cut.
TEST(Cut, IsOfEachSequenceForItself) {
    const OpenedRecurrent drafting(2, recurrent_plan(kDrafts)), plain(1, recurrent_plan(kDrafts));
    std::mt19937 random(3);
    constexpr int kBefore[] = {6, 4};
    for (int i = 0; i < 30; ++i) {
        SCOPED_TRACE(i);
        std::vector<int32_t> tokens[2];
        std::vector<llmsql::Run> runs;
        for (int s = 0; s < 2; ++s) {
            const auto prompt = tiny_tokens(kBefore[s], i);
            drafting->forward(prompt, 0, s);
            plain->forward(prompt, 0, s);
            tokens[s] = tiny_tokens(1 + static_cast<int>(random() % 6), 10 * i + s);
            runs.push_back({tokens[s], kBefore[s], s, i % 3 != s});
        }
        drafting->forward(runs);
        for (const int s : {i % 2, 1 - i % 2}) {
            size_t counted = tokens[s].size();
            if (runs[static_cast<size_t>(s)].may_be_cut) counted = 1 + random() % counted;
            EXPECT_TRUE(drafting->cut(kBefore[s] + static_cast<int>(counted), s));
            plain->forward(std::span(tokens[s]).first(counted), kBefore[s], s);
        }
        for (int s = 0; s < 2; ++s) expect_same_states(drafting, plain, s);
    }
}

TEST(Cut, IsOfTheLastPassAndOnce) {
    const OpenedRecurrent opened(1, recurrent_plan(kDrafts));
    const auto tokens = tiny_tokens(6, 1);
    opened->forward(tokens, 0);
    EXPECT_TRUE(opened->cut(6));   // there is nothing to cut
    EXPECT_FALSE(opened->cut(5));  // it had not said so
    const llmsql::Run run{tokens, 6, 0, true};
    opened->forward(std::span(&run, 1));
    const auto whole = opened.values(0, 1);
    EXPECT_FALSE(opened->cut(5));
    EXPECT_FALSE(opened->cut(13));
    EXPECT_TRUE(opened->cut(12));
    EXPECT_TRUE(same_bits(opened.values(0, 1), whole));
    EXPECT_TRUE(opened->cut(9));
    EXPECT_FALSE(same_bits(opened.values(0, 1), whole));
    EXPECT_FALSE(opened->cut(8));
    EXPECT_EQ(opened->rewind(9), 9);
    EXPECT_EQ(opened->rewind(8), 0);
    // Not after another sequence's state has been copied there, nor after another pass.
    opened->forward(tokens, 0, 1);
    EXPECT_FALSE(opened->cut(8));
    const llmsql::Run more{tokens, 9, 0, true};
    opened->forward(std::span(&more, 1));
    EXPECT_TRUE(opened->copy(1, 0, 6));
    EXPECT_FALSE(opened->cut(5));
    EXPECT_FALSE(opened->cut(12));
    EXPECT_TRUE(opened->cut(6));
}

// A state whose pass has failed is good for nothing, whether it might have been cut or not.
TEST(Cut, IsNotOfAPassThatFails) {
    std::string plan = recurrent_plan(kDrafts);
    plan = test::replaced(plan, "WHERE e.id = 50 AND d.id = 59 AND s.id = 60",
                          "WHERE e.id = 50 AND d.id = 59 AND s.id = 60 AND :position < 6");
    const OpenedRecurrent opened(1, plan);
    const auto tokens = tiny_tokens(6, 1);
    opened->forward(tokens, 0);
    const llmsql::Run run{tokens, 6, 0, true};
    EXPECT_SAYS(error_of([&] { opened->forward(std::span(&run, 1)); }), "…stored nothing…");
    EXPECT_FALSE(opened->cut(6));
    EXPECT_FALSE(opened->cut(9));
    EXPECT_EQ(opened->rewind(6), 0);
}

TEST(Cut, TakesRoomThatThePlanMustHave) {
    const auto tokens = tiny_tokens(10, 1);
    const llmsql::Run run{tokens, 0, 0, true};
    {
        const OpenedRecurrent opened(1, recurrent_plan(kDrafts));
        EXPECT_SAYS(error_of([&] { opened->forward(std::span(&run, 1)); }),
                    "a pass of 10 rows of a sequence cannot be cut: `state` has room for 8 drafts");
        opened->forward(tokens, 0);
    }
    const std::string plan = recurrent_plan(kDrafts);
    const auto opening = [&](const std::string& from, const std::string& to) {
        return error_of(
            [&] { OpenedRecurrent(1, test::replaced(plan, from, to))->forward(tokens, 0); });
    };
    EXPECT_EQ(opening("6, 6, 56)", "6, 6, 57)"), "");
    EXPECT_SAYS(opening("6, 6, 56)", "6, 6, 55)"),
                "…state 1 'memory': its scan reads 56 values of a token, `state` says inputs=55");
    EXPECT_SAYS(opening("6, 6, 56)", "6, 6, -1)"), "…inputs must be 0 to 2^31");
    EXPECT_SAYS(opening("llm_state(sequences=2, drafts=8)", "llm_state(sequences=2, drafts=7)"),
                "…llm_kv says drafts=8, but llm_state has room for 7: both must say the same");
    EXPECT_SAYS(opening("llm_state(sequences=2, drafts=8)", "llm_state(sequences=2, drafts=-1)"),
                "…llm_state: drafts=-1 must be 0 to 4095");
}

}  // namespace
}  // namespace llmsql
