// SPDX-License-Identifier: MIT
// Glob patterns of [weights] and [parameters].
#include <gtest/gtest.h>

#include "compiler/model/model_file.h"

namespace llmsql::compiler {
namespace {

TEST(Matches, StarsAreAnyRunOfCharacters) {
    EXPECT_TRUE(matches("*", ""));
    EXPECT_TRUE(matches("*", "layer.0.attn_q"));
    EXPECT_TRUE(matches("*_norm", "layer.0.attn_norm"));
    EXPECT_TRUE(matches("layer.*.attn_q", "layer.12.attn_q"));
    EXPECT_TRUE(matches("*a*b*", "xaxxabx"));
    EXPECT_TRUE(matches("a**", "a"));
    EXPECT_TRUE(matches("output", "output"));
    EXPECT_FALSE(matches("output", "output_norm"));
    EXPECT_FALSE(matches("*_norm", "layer.0.attn_normal"));
    EXPECT_FALSE(matches("a*b", "a"));
    EXPECT_FALSE(matches("", "a"));
    EXPECT_TRUE(matches("", ""));
}

TEST(Matches, ManyStarsTakeNoTime) {
    std::string pattern;
    for (int i = 0; i < 200; ++i) pattern += "*a";
    EXPECT_FALSE(matches(pattern + "b", std::string(5000, 'a')));
}

}  // namespace
}  // namespace llmsql::compiler
