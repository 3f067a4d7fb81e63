// SPDX-License-Identifier: MIT
// Recurrent states: which position they are at, and what begins, goes on, fails and is copied.
#include "runtime/state/recurrent.h"

#include <gtest/gtest.h>

#include "common/error.h"

namespace llmsql {
namespace {

RecurrentStates two_states() {
    RecurrentStates states(3);
    states.declare(0, {.name = "conv", .heads = 1, .rows = 3, .width = 4});
    states.declare(1, {.name = "memory", .heads = 2, .rows = 5, .width = 4});
    return states;
}

/// A pass of `rows` rows at `position` that adds 1 to everything.
void pass(RecurrentStates& states, int64_t sequence, int64_t position, int64_t rows) {
    for (int64_t id = 0; id < 2; ++id) {
        states.begin(sequence, id, position, rows);
        const RecurrentState state = states.state(sequence, id);
        for (int64_t i = 0; i < state.elements(); ++i) state.data[i] += 1;
    }
    states.commit();
}

TEST(RecurrentStates, GoOnFromWhereTheyAreAndNowhereElse) {
    RecurrentStates states = two_states();
    EXPECT_EQ(states.bytes_per_sequence(), (12 + 40) * 4);
    EXPECT_EQ(states.bytes(), 3 * (12 + 40) * 4);
    EXPECT_EQ(states.rewind(1, 0), 0);
    EXPECT_EQ(states.rewind(1, 4), 0);
    pass(states, 1, 0, 7);
    EXPECT_EQ(states.position(1, 1), 7);
    EXPECT_EQ(states.position(0, 1), 0);
    pass(states, 1, 7, 2);
    EXPECT_EQ(states.state(1, 0).data[11], 2);
    EXPECT_EQ(states.rewind(1, 9), 9);
    EXPECT_EQ(states.rewind(1, 8), 0);
    EXPECT_THROW(states.begin(1, 0, 8, 1), Error);
    pass(states, 1, 0, 1);  // anew, from zeros
    EXPECT_EQ(states.state(1, 0).data[11], 1);
    EXPECT_THROW(states.begin(3, 0, 0, 1), Error);
    EXPECT_THROW(states.begin(0, 2, 0, 1), Error);
}

TEST(RecurrentStates, HaveOneScanInAPass) {
    RecurrentStates states = two_states();
    states.begin(0, 0, 0, 2);
    EXPECT_THROW(states.begin(0, 0, 0, 2), Error);
    EXPECT_THROW(states.begin(0, 0, 2, 2), Error);
    states.begin(1, 0, 0, 2);  // another sequence's
    states.commit();
    EXPECT_EQ(states.position(0, 0), 2);
}

TEST(RecurrentStates, OfAPassThatFailsAreGoodForNothing) {
    RecurrentStates states = two_states();
    pass(states, 0, 0, 7);
    states.begin(0, 0, 7, 1);
    EXPECT_EQ(states.rewind(0, 7), 0);
    states.abandon();
    EXPECT_EQ(states.rewind(0, 7), 0);
    EXPECT_EQ(states.rewind(0, 8), 0);
    EXPECT_THROW(states.begin(0, 0, 7, 1), Error);
    pass(states, 0, 0, 3);
    EXPECT_EQ(states.rewind(0, 3), 3);
}

TEST(RecurrentStates, AreCopiedAndRestored) {
    RecurrentStates states = two_states();
    pass(states, 0, 0, 7);
    states.copy(0, 2, 7);
    pass(states, 0, 7, 1);
    EXPECT_EQ(states.rewind(2, 7), 7);
    EXPECT_EQ(states.state(2, 1).data[39], 1);
    EXPECT_EQ(states.state(0, 1).data[39], 2);
    for (int64_t id = 0; id < 2; ++id) {
        const RecurrentState state = states.state(0, id);
        states.restore(1, id, 8,
                       std::as_bytes(std::span(state.data, static_cast<size_t>(state.elements()))));
    }
    EXPECT_EQ(states.rewind(1, 8), 8);
    EXPECT_EQ(states.state(1, 1).data[39], 2);
    EXPECT_THROW(states.restore(1, 0, 8, {}), Error);
}

TEST(RecurrentStates, ForgetWhatIsRolledBack) {
    RecurrentStates states = two_states();
    pass(states, 0, 0, 7);
    const uint64_t before = states.writes();
    pass(states, 0, 7, 2);
    states.forget_since(before);
    EXPECT_EQ(states.rewind(0, 9), 0);
    EXPECT_EQ(states.rewind(0, 7), 0);
    states.undeclare(1);
    EXPECT_EQ(states.shapes().size(), 1U);
    EXPECT_EQ(states.position(0, 0), 0);
}

TEST(RecurrentStates, AreDeclaredInOrderAndWithinBounds) {
    RecurrentStates states(1);
    EXPECT_THROW(states.declare(1, {"a", 1, 1, 1}), Error);
    EXPECT_THROW(states.declare(0, {"a", 0, 1, 1}), Error);
    EXPECT_THROW(states.declare(0, {"a", 1 << 20, 1 << 20, 1 << 20}), Error);
    states.declare(0, {"a", 1, 1, 1});
    states.begin(0, 0, 0, 1);
    EXPECT_THROW(states.declare(1, {"b", 1, 1, 1}), Error);
}

}  // namespace
}  // namespace llmsql
