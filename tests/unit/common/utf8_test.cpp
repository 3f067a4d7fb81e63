// SPDX-License-Identifier: MIT
// UTF-8 decoding and the stream that keeps characters whole.
#include "common/utf8.h"

#include <gtest/gtest.h>

namespace llmsql {
namespace {

const std::string kBad = "\xEF\xBF\xBD";  // U+FFFD

TEST(Utf8, DecodesTheBordersOfEachLength) {
    const std::pair<const char*, char32_t> cases[] = {{"\x7F", 0x7F},
                                                      {"\xC2\x80", 0x80},
                                                      {"\xDF\xBF", 0x7FF},
                                                      {"\xE0\xA0\x80", 0x800},
                                                      {"\xED\x9F\xBF", 0xD7FF},
                                                      {"\xEE\x80\x80", 0xE000},
                                                      {"\xEF\xBF\xBF", 0xFFFF},
                                                      {"\xF0\x90\x80\x80", 0x10000},
                                                      {"\xF4\x8F\xBF\xBF", 0x10FFFF}};
    for (const auto& [bytes, code] : cases) {
        const Utf8Char got = utf8_at(bytes);
        EXPECT_EQ(got.status, Utf8Status::valid);
        EXPECT_EQ(got.code, code);
        EXPECT_EQ(got.length, std::string(bytes).size());
    }
}

TEST(Utf8, FindsTheFirstInvalidByte) {
    EXPECT_EQ(first_invalid_utf8("grün 東京"), std::nullopt);
    EXPECT_EQ(first_invalid_utf8("caf\xE9"), 3u);           // Latin-1
    EXPECT_EQ(first_invalid_utf8("a\xC0\xAF"), 1u);         // overlong
    EXPECT_EQ(first_invalid_utf8("\xED\xA0\x80"), 0u);      // surrogate
    EXPECT_EQ(first_invalid_utf8("\xF4\x90\x80\x80"), 0u);  // above U+10FFFF
    EXPECT_EQ(first_invalid_utf8("ab\xE2\x82"), 2u);        // cut short
}

std::string stream(const std::string& text, size_t piece) {
    Utf8Stream characters;
    std::string out;
    for (size_t at = 0; at < text.size(); at += piece) {
        const std::string ready = characters.push(text.substr(at, piece));
        EXPECT_EQ(first_invalid_utf8(ready), std::nullopt);
        out += ready;
    }
    return out + characters.finish();
}

TEST(Utf8Stream, KeepsCharactersWholeHoweverTheyArrive) {
    const std::string text = "aé東👨‍👩‍👧x\U0010FFFFz";
    for (size_t piece = 1; piece < 8; ++piece) EXPECT_EQ(stream(text, piece), text);
    Utf8Stream characters;
    EXPECT_EQ(characters.push("\xE6\x9D"), "");
    EXPECT_EQ(characters.push("\xB1!"), "東!");
    EXPECT_EQ(characters.finish(), "");
}

TEST(Utf8Stream, ReplacesWhatIsNoCharacter) {
    for (size_t piece = 1; piece < 5; ++piece) {
        EXPECT_EQ(stream("a\xFF z", piece), "a" + kBad + " z");
        EXPECT_EQ(stream("\xE2\x82z", piece), kBad + "z");  // one for the cut character
        EXPECT_EQ(stream("\xED\xA0\x80", piece), kBad + kBad + kBad);
        EXPECT_EQ(stream("end\xF0\x9F\x98", piece), "end" + kBad);
        EXPECT_EQ(stream("\xF0\x9F\xF0\x9F\x98\x80", piece), kBad + "😀");
    }
}

}  // namespace
}  // namespace llmsql
