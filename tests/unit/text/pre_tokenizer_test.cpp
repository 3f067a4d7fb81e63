// SPDX-License-Identifier: MIT
// How each model family's rules cut a text.
#include "runtime/text/pre_tokenizer.h"

#include <gtest/gtest.h>

#include "common/error.h"

namespace llmsql {
namespace {

using Words = std::vector<std::string>;

Words words(const char* name, const std::string& text) {
    const PreTokenizer pre_tokenizer(name);
    Words out;
    pre_tokenizer.split(text, [&](std::string_view word) { out.emplace_back(word); });
    return out;
}

TEST(PreTokenizer, Gpt2) {
    EXPECT_EQ(words("gpt2", "It's 12 o'clock!!  ok"),
              (Words{"It", "'s", " 12", " o", "'", "clock", "!!", " ", " ok"}));
    EXPECT_EQ(words("gpt2", "IT'S"), (Words{"IT", "'", "S"}));
    EXPECT_EQ(words("gpt2", "a\n\n b \n"), (Words{"a", "\n\n", " b", " \n"}));
    EXPECT_EQ(words("gpt2", ""), (Words{}));
}

TEST(PreTokenizer, Qwen2) {
    EXPECT_EQ(words("qwen2", "IT'S 12 (ok)\n\n x"),
              (Words{"IT", "'S", " ", "1", "2", " (", "ok", ")\n\n", " x"}));
    EXPECT_EQ(words("qwen2", "a  \n  b"), (Words{"a", "  \n", " ", " b"}));
    EXPECT_EQ(words("qwen2", "\tx"), (Words{"\tx"}));
}

TEST(PreTokenizer, Qwen35KeepsMarksWithTheirLetters) {
    EXPECT_EQ(words("qwen35", "IT'S 12 (e\u0301t\u0301e)\n\n x"),
              (Words{"IT", "'S", " ", "1", "2", " (", "e\u0301t\u0301e", ")\n\n", " x"}));
    EXPECT_EQ(words("qwen2", "e\u0301t"), (Words{"e", "\u0301t"}));
}

TEST(PreTokenizer, Llama3TakesDigitsByThrees) {
    for (const char* name : {"llama3", "cl100k"}) {
        EXPECT_EQ(words(name, "IT'S 12345 (ok)\n\n x"),
                  (Words{"IT", "'S", " ", "123", "45", " (", "ok", ")\n\n", " x"}));
        EXPECT_EQ(words(name, "a  \n  b"), (Words{"a", "  \n", " ", " b"}));
    }
}

// llama.cpp's tokens of "a1234 !! 1234!!" and "it's $100", where a file says `default`.
TEST(PreTokenizer, DefaultSetsPunctuationAndThreeDigitsApart) {
    EXPECT_EQ(words("default", "a1234 !! 1234!!"),
              (Words{"a", "123", "4", " ", "!!", " ", "123", "4", "!!"}));
    EXPECT_EQ(words("default", "x $100, y"), (Words{"x", " ", "$", "100", ",", " y"}));
}

TEST(PreTokenizer, SmolLmSetsDigitsApartFirst) {
    EXPECT_EQ(words("smollm", "a 12"), (Words{"a", " ", "1", "2"}));
    // The spaces end where the digit begins, so none of them joins it.
    EXPECT_EQ(words("smollm", "a  1"), (Words{"a", "  ", "1"}));
    EXPECT_EQ(words("gpt2", "a  1"), (Words{"a", " ", " 1"}));
    EXPECT_EQ(words("smollm", "\u00BD\u2167"), (Words{"\u00BD", "\u2167"}));  // ½ and Ⅷ are \p{N}
}

TEST(PreTokenizer, SpacesAreUnicodesWhiteSpace) {
    EXPECT_EQ(words("gpt2", "a\u00A0\u3000b"), (Words{"a", "\u00A0", "\u3000", "b"}));
    EXPECT_EQ(words("gpt2", "a\u0085!"), (Words{"a", "\u0085", "!"}));
    EXPECT_EQ(words("gpt2", "a\u180E!"), (Words{"a", "\u180E!"}));  // no space since Unicode 6.3
    EXPECT_EQ(words("gpt2", "a\x1C!"), (Words{"a", "\x1C!"}));
}

TEST(PreTokenizer, LettersAreThoseOfEveryScript) {
    EXPECT_EQ(words("gpt2", "Привет 東京 e\u0301"), (Words{"Привет", " 東京", " e", "\u0301"}));
}

TEST(PreTokenizer, InvalidBytesAreSymbols) {
    EXPECT_EQ(words("gpt2", "caf\xE9 x"), (Words{"caf", "\xE9", " x"}));
    EXPECT_EQ(words("gpt2", "a \xFF\xFE!b"), (Words{"a", " \xFF\xFE!", "b"}));
    EXPECT_EQ(words("smollm",
                    "\xE2\x82"
                    "1"),
              (Words{"\xE2\x82", "1"}));
}

TEST(PreTokenizer, LongRuns) {
    const std::string spaces(300'000, ' ');
    for (const char* name : {"gpt2", "qwen2", "qwen35", "smollm", "llama3", "cl100k", "default"}) {
        EXPECT_EQ(words(name, spaces), (Words{spaces}));
        EXPECT_EQ(words(name, spaces + "x"), (Words{spaces.substr(1), " x"}));
        EXPECT_EQ(words(name, std::string(300'000, '!')).size(), 1u);
        EXPECT_EQ(words(name, std::string(300'000, 'x')).size(), 1u);
    }
}

TEST(PreTokenizer, UnknownName) {
    EXPECT_THROW(PreTokenizer("llama-bpe"), Error);
    EXPECT_THROW(PreTokenizer(""), Error);
}

}  // namespace
}  // namespace llmsql
