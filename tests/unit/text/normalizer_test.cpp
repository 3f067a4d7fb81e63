// SPDX-License-Identifier: MIT
// What a tokenizer makes of a text before it cuts it.
#include "runtime/text/normalizer.h"

#include <gtest/gtest.h>

#include "common/error.h"

namespace llmsql {
namespace {

std::string normal(const std::vector<NormalStep>& steps, const std::string& text) {
    return Normalizer(steps).apply(text);
}

TEST(Normalizer, NormalForms) {
    EXPECT_EQ(normal({{"nfc", ""}}, "e\u0301 \u1100\u1161\u11a8 \u2126 \u00bd"),
              "é 각 \u03a9 \u00bd");
    EXPECT_EQ(normal({{"nfd", ""}}, "é각\u00bd"), "e\u0301\u1100\u1161\u11a8\u00bd");
    EXPECT_EQ(normal({{"nfkc", ""}}, "\ufb01\uff21\u00bd\u2460e\u0301"),
              "fiA1\u20442"
              "1é");
    EXPECT_EQ(normal({{"nfkd", ""}}, "\ufb01é"), "fie\u0301");
    // Marks are put in the order of their classes; those of one class stay as they are.
    EXPECT_EQ(normal({{"nfd", ""}}, "a\u0301\u0323\u0300"), "a\u0323\u0301\u0300");
    EXPECT_EQ(normal({{"nfc", ""}}, "plain \u00e9\xff\u0065\u0301\xc3"),
              "plain \u00e9\xff\u00e9\xc3");
}

// As Hugging Face's tokenizers, whose tables are Unicode 9's.
TEST(Normalizer, CharactersSinceUnicode9HaveNoNormalForms) {
    EXPECT_EQ(normal({{"nfkd", ""}}, "\u32ff\u32fe\U0001fbf0"), "\u32ff\u30f2\U0001fbf0");
    EXPECT_EQ(normal({{"nfc", ""}}, "q\u0301\u1ac1\u0327"), "q\u0301\u1ac1\u0327");
    EXPECT_EQ(normal({{"nfc", ""}}, "q\u0301\u1ab5\u0327"), "q\u0327\u1ab5\u0301");
    EXPECT_EQ(normal({{"nfc", ""}}, "\U00011935\U00011930\U00011938"),
              "\U00011935\U00011930\U00011938");
}

TEST(Normalizer, BytesAsCharacters) {
    EXPECT_EQ(normal({{"bytes", ""}}, "a \n\u00e9\xff\x7f"),
              "a\u0120\u010a\u00c3\u00a9\u00ff\u0121");
}

// llama.cpp's way with accents.
TEST(Normalizer, Bases) {
    EXPECT_EQ(normal({{"bases", ""}}, "\u1f82e\u0301é각\u0130\xff\u00bd"),
              "\u03b1e\u0301e\u1100I\xff\u00bd");
}

TEST(Normalizer, TellsWhetherTheBeginIsLeft) {
    const auto begins = [](const std::vector<NormalStep>& steps, const std::string& text) {
        return Normalizer(steps).made_of(text).begins;
    };
    EXPECT_TRUE(begins({{"nfc", ""}, {"prepend", "x"}}, "abc"));
    EXPECT_TRUE(begins({{"replace b|(?=a)", ""}}, "abc"));
    EXPECT_FALSE(begins({{"replace a", ""}}, "abc"));
    EXPECT_TRUE(begins({{"replace a", "x"}}, "abc"));
    EXPECT_FALSE(begins({{"replace ab", "x"}}, "abc"));
    EXPECT_TRUE(begins({{"strip both", ""}}, "abc "));
    EXPECT_FALSE(begins({{"strip left", ""}, {"lowercase", ""}}, " abc "));
}

TEST(Normalizer, ALongRunOfMarksTakesNoLonger) {
    std::string marks = "a", sorted = "a";
    constexpr int kPairs = 200'000;
    for (int i = 0; i < kPairs; ++i) marks += "\u0301\u0323";
    for (int i = 0; i < kPairs; ++i) sorted += "\u0323";
    for (int i = 0; i < kPairs; ++i) sorted += "\u0301";
    EXPECT_TRUE(normal({{"nfd", ""}}, marks) == sorted);
}

TEST(Normalizer, OtherSteps) {
    EXPECT_EQ(normal({{"lowercase", ""}}, "AÉΣ\u0130ǅ"), "aéσi\u0307ǆ");
    EXPECT_EQ(Normalizer({{"lowercase", ""}}, 160).apply("\ua7dc\U00010d50"), "\u019b\U00010d70");
    EXPECT_EQ(Normalizer({{"lowercase", ""}}, 151).apply("\U00010d50"), "\U00010d50");
    EXPECT_EQ(normal({{"strip left", ""}}, " \u3000a \n"), "a \n");
    EXPECT_EQ(normal({{"strip right", ""}}, " a\xff \n"), " a\xff");
    EXPECT_EQ(normal({{"strip both", ""}}, " \n"), "");
    EXPECT_EQ(normal({{"prepend", "▁"}}, "a"), "▁a");
    EXPECT_EQ(normal({{"prepend", "▁"}}, ""), "");
    EXPECT_EQ(normal({{"replace \\x{20}{2,}", "_"}}, "a  b c   "), "a_b c_");
    EXPECT_EQ(normal({{"replace [\\p{Han}]|(?=b)", "<>"}}, "a好b\xff"), "a<>b\xff");
    EXPECT_EQ(normal({{"replace \\x{20}", "▁"}, {"prepend", "▁"}}, "a b"), "▁a▁b");
    EXPECT_THROW(normal({{"elsewhere", ""}}, "a"), Error);
    EXPECT_THROW(normal({{"replace (", ""}}, "a"), Error);
}

/// A map of one key, "a", to `text`: the root's child under 'a', then the unit of its value.
std::string map_of(const std::string& text, uint32_t value = 0) {
    std::string bytes;
    const auto add = [&](uint32_t unit) {
        for (int i = 0; i < 4; ++i) bytes += static_cast<char>(unit >> (8 * i) & 0xff);
    };
    constexpr uint32_t kUnits = 256;
    add(kUnits * 4);
    for (uint32_t i = 0; i < kUnits; ++i)
        if (i == 0)
            add(1u << 10);  // its children lie at 1 ^ their byte
        else if (i == (1u ^ 'a'))
            add('a' | 1u << 8 | 2u << 10);  // a key ends: its value lies at 2 ^ this place
        else if (i == (1u ^ 'a' ^ 2u))
            add(1u << 31 | value);
        else
            add(0);
    return bytes + text + '\0';
}

TEST(Normalizer, MapsOfCharacters) {
    for (const char* rule : {"map prefixes", "map graphemes"}) {
        EXPECT_EQ(normal({{rule, map_of("xy")}}, "bab\xff"), "bxyb\xff");
        EXPECT_EQ(normal({{rule, map_of("")}}, "bab"), "bb");
    }
    // A grapheme is replaced whole, where the map knows its begin.
    EXPECT_EQ(normal({{"map graphemes", map_of("x")}}, "a\u0301"), "x");
    EXPECT_EQ(normal({{"map prefixes", map_of("x")}}, "a\u0301"), "x\u0301");
    EXPECT_EQ(normal({{"map graphemes", map_of("x")}}, "a\u0301\u0302\u0303"),
              "x\u0301\u0302\u0303");
    EXPECT_THROW(normal({{"map prefixes", ""}}, "a"), Error);
    EXPECT_THROW(normal({{"map prefixes", std::string(12, '\xff')}}, "a"), Error);
    EXPECT_THROW(normal({{"map prefixes", map_of("x", 1000)}}, "a"), Error);
}

}  // namespace
}  // namespace llmsql
