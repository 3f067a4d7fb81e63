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
    pre_tokenizer.split(text, true, [&](std::string_view word) { out.emplace_back(word); });
    return out;
}

TEST(PreTokenizer, Gpt2) {
    EXPECT_EQ(words("gpt2", "It's 12 o'clock!!  ok"),
              (Words{"It", "'s", " 12", " o", "'", "clock", "!!", " ", " ok"}));
    EXPECT_EQ(words("gpt2", "IT'S"), (Words{"IT", "'", "S"}));
    EXPECT_EQ(words("gpt2", "a\n\n b \n"), (Words{"a", "\n\n", " b", " \n"}));
    EXPECT_EQ(words("gpt2", ""), (Words{}));
}

// U+1FAE8 is of Unicode 15.0, U+2EBF0 of 15.1; U+1FAE9, U+10D70, U+1C8A and U+A7DB are of 16.0.
TEST(PreTokenizer, NewerCharactersAreThoseOfItsVersion) {
    const auto cut = [](const char* expression, int unicode, const std::string& text) {
        const PreTokenizer made({piece_rule_of(std::string("isolated ") + expression)}, unicode);
        Words out;
        made.split(text, true, [&](std::string_view word) { out.emplace_back(word); });
        return out;
    };
    const std::string emoji = "\U0001fae8\U0001fae9", letters = "\U0002ebf0\U00010d70\ua7db";
    EXPECT_EQ(cut("\\p{S}", 160, "a" + emoji), (Words{"a", "\U0001fae8", "\U0001fae9"}));
    EXPECT_EQ(cut("\\p{S}", 151, "a" + emoji), (Words{"a", "\U0001fae8", "\U0001fae9"}));
    EXPECT_EQ(cut("\\p{S}", 151, "\U0001fae9" + emoji),
              (Words{"\U0001fae9", "\U0001fae8", "\U0001fae9"}));
    EXPECT_EQ(cut("\\p{S}", 151, "a\U0001fae9"), (Words{"a\U0001fae9"}));
    EXPECT_EQ(cut("\\p{L}+", 160, "1" + letters + "\xff"), (Words{"1", letters, "\xff"}));
    EXPECT_EQ(cut("\\p{Han}", 151, "a\U0002ebf0"), (Words{"a", "\U0002ebf0"}));
    EXPECT_EQ(cut("\\p{Lu}", 160, "\U00010d50\U00010d70"), (Words{"\U00010d50", "\U00010d70"}));
    EXPECT_EQ(cut("\\p{L}", 151, "\u1c8a\ua500"), (Words{"\u1c8a", "\ua500"}));
    EXPECT_EQ(cut("\\p{L}", 151, "\u1c8a"), (Words{"\u1c8a"}));
    EXPECT_EQ(cut("[^\\p{L}]", 151, "a\u1c8a"), (Words{"a", "\u1c8a"}));
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

Words cut(const std::vector<std::string>& rules, const std::string& text) {
    std::vector<PieceRule> all;
    for (const std::string& rule : rules) all.push_back(piece_rule_of(rule));
    const PreTokenizer pre_tokenizer(all);
    Words out;
    pre_tokenizer.split(text, true, [&](std::string_view word) { out.emplace_back(word); });
    return out;
}

// As Hugging Face's tokenizers document them, of "the-final--countdown" cut at "-".
TEST(PreTokenizer, EachBehavior) {
    const std::string text = "the-final--countdown";
    EXPECT_EQ(cut({"removed -"}, text), (Words{"the", "final", "countdown"}));
    EXPECT_EQ(cut({"isolated -"}, text), (Words{"the", "-", "final", "-", "-", "countdown"}));
    EXPECT_EQ(cut({"merged_with_previous -"}, text), (Words{"the-", "final-", "-", "countdown"}));
    EXPECT_EQ(cut({"merged_with_next -"}, text), (Words{"the", "-final", "-", "-countdown"}));
    EXPECT_EQ(cut({"contiguous -"}, text), (Words{"the", "-", "final", "--", "countdown"}));
    EXPECT_EQ(cut({"inverted removed [a-z]+"}, text), (Words{"the", "final", "countdown"}));
    EXPECT_EQ(cut({"isolated (?=f|c)"}, text), (Words{"the-", "final--", "countdown"}));
    EXPECT_EQ(cut({"isolated -", "prefix  "}, "a- b"), (Words{" a", " -", " b"}));
    EXPECT_EQ(cut({}, "a b"), (Words{"a b"}));
    // An empty match is a match to what it is merged with.
    EXPECT_EQ(cut({"merged_with_previous -|(?=f)"}, text),
              (Words{"the-", "final-", "-", "countdown"}));
    EXPECT_EQ(cut({"mark _", "prefix _", "merged_with_next _"}, "a  b"), (Words{"_a", "_", "_b"}));
    EXPECT_EQ(cut({"removed ,", "first _"}, "a,b"), (Words{"_a", "b"}));
    EXPECT_EQ(cut({"removed ,", "first _"}, ",b"), (Words{"b"}));
    // U+00F2 is the bytes C3 B2, the second of which is spelled as a raised two.
    EXPECT_EQ(cut({"bytes", "isolated \\p{N}"}, "a\u00f2b1\xb9"),
              (Words{"a\xc3", "\xb2", "b", "1", "\xb9"}));
    EXPECT_EQ(cut({"isolated  ", "bytes", "merged_with_next \u0120"}, "a \n"),
              (Words{"a", " ", "\n"}));
    // What a normalizer has spelled is bytes again in the end.
    EXPECT_EQ(cut({"spelled", "merged_with_next \u0120"}, "a\u0120\u00c3\u00a9\u010a"),
              (Words{"a", " é\n"}));
    EXPECT_THROW(piece_rule_of("elsewhere -"), Error);
    EXPECT_THROW(cut({"isolated ("}, "a"), Error);
}

TEST(PreTokenizer, AHostileExpressionIsAnError) {
    // PCRE2 by itself knows that there is no match where a letter that each has is missing.
    EXPECT_THROW(cut({"isolated (a+)+[bc]"}, std::string(100, 'a')), Error);
    EXPECT_THROW(cut({"isolated (?:(a)|b)*[cd]"}, std::string(4'000'000, 'a')), Error);
    EXPECT_THROW(cut({"isolated (?=[ab]*[cd])"}, std::string(200'000, 'a')), Error);
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
