// SPDX-License-Identifier: MIT
// The tokenizer on vocabularies small enough to check by hand.
#include "runtime/text/tokenizer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "common/error.h"
#include "vocabulary_db.h"

namespace llmsql {
namespace {

using Ids = std::vector<int32_t>;

// Byte-level BPE. A byte's token is its value; byte 4 has none.
std::string byte_tokens() {
    std::string sql =
        "INSERT INTO llm_meta VALUES ('tokenizer.kind', 'bpe'), ('tokenizer.pre', 'gpt2');";
    for (int byte = 0; byte < 256; ++byte)
        if (byte != 4)
            sql += fmt::format("INSERT INTO llm_token VALUES ({}, x'{:02X}', 1, 0);", byte, byte);
    return sql;
}

const std::string kWords = byte_tokens() + R"sql(
    INSERT INTO llm_token VALUES
      (256, CAST('he' AS BLOB), 1, 0), (257, CAST('ll' AS BLOB), 1, 0),
      (258, CAST('hell' AS BLOB), 1, 0), (259, CAST('hello' AS BLOB), 1, 0),
      (260, CAST('aa' AS BLOB), 1, 0), (261, CAST('aaaa' AS BLOB), 1, 0),
      (262, CAST('el' AS BLOB), 1, 0),
      (300, CAST('<|end|>' AS BLOB), 3, 0), (301, CAST('<tag>' AS BLOB), 4, 0),
      (302, CAST('<t' AS BLOB), 4, 0), (303, CAST('<s>' AS BLOB), 3, 0);
    INSERT INTO llm_merge VALUES (104, 101, 0, 256), (108, 108, 1, 257), (256, 257, 2, 258),
      (258, 111, 3, 259), (97, 97, 4, 260), (260, 260, 5, 261), (101, 108, 6, 262);
    INSERT INTO llm_meta VALUES ('tokenizer.bos', 303), ('tokenizer.add_bos', 1),
      ('tokenizer.eos', 300);
)sql";

std::string decode(const Tokenizer& tokenizer, const Ids& ids) {
    std::string text;
    for (const int32_t id : ids) text += tokenizer.text_of(id);
    return text;
}

class BytePairs : public testing::Test {
  protected:
    VocabularyDb file_{kWords};
    ModelDb db_{file_.path()};
    Tokenizer tokenizer_{db_};
};

TEST_F(BytePairs, MergesByRankAndThenFromTheLeft) {
    EXPECT_EQ(tokenizer_.encode("hello", false), (Ids{259}));
    EXPECT_EQ(tokenizer_.encode("hell", false), (Ids{258}));
    // "he" (rank 0) goes before "el" (rank 6), although "el" would also be possible.
    EXPECT_EQ(tokenizer_.encode("hel", false), (Ids{256, 108}));
    EXPECT_EQ(tokenizer_.encode("ell", false), (Ids{101, 257}));
    EXPECT_EQ(tokenizer_.encode("aaa", false), (Ids{260, 97}));
    EXPECT_EQ(tokenizer_.encode("aaaaaaa", false), (Ids{261, 260, 97}));
}

TEST_F(BytePairs, WordsDoNotMergeAcrossTheirBorders) {
    EXPECT_EQ(tokenizer_.encode("a a", false), (Ids{97, 32, 97}));
    EXPECT_EQ(tokenizer_.encode("h!e", false), (Ids{104, 33, 101}));
}

TEST_F(BytePairs, ControlTokensAreRecognizedInMarkupOnly) {
    const std::string end = "<|end|>";
    EXPECT_EQ(tokenizer_.encode(end, false).size(), end.size());

    const std::vector<Fragment> markup{{"a" + end + "a", true}};
    EXPECT_EQ(tokenizer_.encode(markup, false), (Ids{97, 300, 97}));

    // What a user typed between two pieces of markup can't complete one.
    const std::vector<Fragment> around{{"<|e", true}, {"nd", false}, {"|>", true}};
    EXPECT_EQ(tokenizer_.encode(around, false).size(), end.size());
    const std::vector<Fragment> before{{"<|end", true}, {"|>", false}};
    EXPECT_EQ(tokenizer_.encode(before, false).size(), end.size());
    const std::vector<Fragment> after{{"<", false}, {"|end|>", true}};
    EXPECT_EQ(tokenizer_.encode(after, false).size(), end.size());

    // Markup that the template's columns happen to cut is one text.
    const std::vector<Fragment> cut{{"<|e", true}, {"", false}, {"nd|>", true}};
    EXPECT_EQ(tokenizer_.encode(cut, false), (Ids{300}));
}

TEST_F(BytePairs, FragmentsAreTokenizedAsOneText) {
    const std::vector<Fragment> fragments{{"he", true}, {"ll", false}, {"o", true}};
    EXPECT_EQ(tokenizer_.encode(fragments, false), (Ids{259}));
}

TEST_F(BytePairs, UserDefinedTokensAreRecognizedEverywhereTheLongestFirst) {
    EXPECT_EQ(tokenizer_.encode("a<tag>a", false), (Ids{97, 301, 97}));
    EXPECT_EQ(tokenizer_.encode("<tab", false), (Ids{302, 97, 98}));
    EXPECT_EQ(tokenizer_.encode("<ta", false), (Ids{302, 97}));
    EXPECT_EQ(tokenizer_.encode("<<t", false), (Ids{60, 302}));
    const std::vector<Fragment> across{{"<t", true}, {"ag>", false}};
    EXPECT_EQ(tokenizer_.encode(across, false), (Ids{301}));
}

TEST_F(BytePairs, TheStartTokenComesOnce) {
    EXPECT_EQ(tokenizer_.encode("a", true), (Ids{303, 97}));
    EXPECT_EQ(tokenizer_.encode("", true), (Ids{303}));
    EXPECT_EQ(tokenizer_.encode("", false), (Ids{}));
    const std::vector<Fragment> written{{"<s>a", true}};
    EXPECT_EQ(tokenizer_.encode(written, true), (Ids{303, 97}));
}

TEST_F(BytePairs, EveryByteComesBackAndAMissingOneIsCounted) {
    std::string all(256, '\0');
    std::iota(all.begin(), all.end(), '\0');
    const Ids ids = tokenizer_.encode(all, false);
    all.erase(4, 1);
    EXPECT_EQ(decode(tokenizer_, ids), all);
    EXPECT_EQ(tokenizer_.bytes_left_out(), 1u);
}

TEST_F(BytePairs, InvalidUtf8KeepsItsBytes) {
    for (const std::string text :
         {"caf\xE9 hello", "\xFF\xFEhello", "hello\xE2\x82", "\xED\xA0\x80"})
        EXPECT_EQ(decode(tokenizer_, tokenizer_.encode(text, false)), text);
}

TEST_F(BytePairs, AMegabyteThatIsOneWord) {
    const Ids ids = tokenizer_.encode(std::string(1'000'001, 'a'), false);
    ASSERT_EQ(ids.size(), 250'001u);
    EXPECT_EQ(ids.front(), 261);
    EXPECT_EQ(ids.back(), 97);
}

TEST(BytePair, ALetterThatIsAnAddedTokenIsStillAByte) {
    const VocabularyDb file(R"sql(
        INSERT INTO llm_meta VALUES ('tokenizer.kind', 'bpe'), ('tokenizer.pre', 'gpt2'),
          ('tokenizer.single_word', 0);
        INSERT INTO llm_token VALUES (0, CAST('x' AS BLOB), 4, 0), (1, CAST('a' AS BLOB), 1, 0),
          (2, CAST('ax' AS BLOB), 1, 0), (3, CAST(' ' AS BLOB), 1, 0);
        INSERT INTO llm_merge VALUES (1, 0, 0, 2);
    )sql");
    const ModelDb db(file.path());
    Tokenizer tokenizer(db);
    EXPECT_EQ(tokenizer.encode("ax x xx", false), (Ids{2, 3, 0, 3, 0, 0}));
}

TEST_F(BytePairs, LooksUpTokens) {
    EXPECT_EQ(tokenizer_.find_piece("<|end|>"), 300);
    EXPECT_EQ(tokenizer_.find_piece("nothing"), std::nullopt);
    EXPECT_TRUE(tokenizer_.is_control(300));
    EXPECT_FALSE(tokenizer_.is_control(301));
    EXPECT_EQ(tokenizer_.start_token(), 303);
    EXPECT_EQ(tokenizer_.end_token(), 300);
    EXPECT_EQ(tokenizer_.ends(), (Ids{300}));
    EXPECT_THROW(tokenizer_.text_of(999), Error);
    EXPECT_THROW(tokenizer_.text_of(-1), Error);
}

TEST(Ends, AreTheEosTokenAndThoseListed) {
    const VocabularyDb file(kWords +
                            "INSERT INTO llm_meta VALUES ('tokenizer.ends', '256 301 300');");
    const ModelDb db(file.path());
    EXPECT_EQ(Tokenizer(db).ends(), (Ids{256, 300, 301}));
    for (const char* list : {"x", "1 x", "1  2", "1,2", "-1", "99999999999", "1 2 "}) {
        const VocabularyDb bad(kWords + "INSERT INTO llm_meta VALUES ('tokenizer.ends', '" + list +
                               "');");
        const ModelDb bad_db(bad.path());
        EXPECT_EQ(std::string_view(list) == "1 2 ", [&] {
            try {
                Tokenizer tokenizer(bad_db);
                return true;
            } catch (const Error&) {
                return false;
            }
        }()) << list;
    }
}

constexpr const char* kPieces = R"sql(
    INSERT INTO llm_meta VALUES ('tokenizer.kind', 'spm'), ('tokenizer.unk', 0);
    INSERT INTO llm_token VALUES (0, CAST('<unk>' AS BLOB), 2, 0),
      (1, CAST('a' AS BLOB), 1, -5), (2, CAST('b' AS BLOB), 1, -6), (3, CAST('▁' AS BLOB), 1, -7),
      (4, CAST('ab' AS BLOB), 1, -2), (5, CAST('▁a' AS BLOB), 1, -1), (6, CAST('▁ab' AS BLOB), 1, -4),
      (7, CAST('ba' AS BLOB), 1, -3), (8, CAST('<' AS BLOB), 1, -8), (9, CAST('e>' AS BLOB), 1, -9),
      (10, CAST('<e>' AS BLOB), 3, 0), (11, CAST('e' AS BLOB), 1, -10), (12, CAST('>' AS BLOB), 1, -11),
      (13, CAST('  ' AS BLOB), 4, 0), (14, CAST('aa' AS BLOB), 1, -2.5),
      (20, CAST('<0xC3>' AS BLOB), 6, 0), (21, CAST('<0xA9>' AS BLOB), 6, 0),
      (22, CAST('<0x41>' AS BLOB), 6, 0);
)sql";

TEST(SentencePiece, MergesTheBestScoredPair) {
    const VocabularyDb file(kPieces);
    const ModelDb db(file.path());
    Tokenizer tokenizer(db);
    EXPECT_EQ(tokenizer.encode("ab", false), (Ids{4}));
    EXPECT_EQ(tokenizer.encode(" ab", false), (Ids{6}));     // ▁a (-1), then ▁ab
    EXPECT_EQ(tokenizer.encode("aba", false), (Ids{4, 1}));  // ab (-2) before ba (-3)
    EXPECT_EQ(tokenizer.encode("aaa", false), (Ids{14, 1}));
    EXPECT_EQ(tokenizer.encode("b a", false), (Ids{2, 5}));
    EXPECT_EQ(decode(tokenizer, {6, 1, 3, 13}), " aba   ");
}

TEST(SentencePiece, FallsBackToBytesAndThenToUnknown) {
    const VocabularyDb file(kPieces);
    const ModelDb db(file.path());
    Tokenizer tokenizer(db);
    EXPECT_EQ(tokenizer.encode("\xC3\xA9", false), (Ids{20, 21}));
    EXPECT_EQ(decode(tokenizer, {20, 21}), "\xC3\xA9");
    EXPECT_EQ(tokenizer.encode("aA", false), (Ids{1, 22}));
    EXPECT_EQ(tokenizer.encode("a\xC3", false), (Ids{1, 20}));  // cut short
    EXPECT_EQ(tokenizer.encode("\xC3"
                               "ab",
                               false),
              (Ids{20, 4}));  // swallows nothing
    EXPECT_EQ(tokenizer.encode("aZ", false), (Ids{1, 0}));
}

// As Hugging Face's tokenizers do it, whose BPE has neither unknown token nor bytes here.
TEST(SentencePiece, WhatIsLeftOutPartsNothing) {
    const VocabularyDb file(R"sql(
        INSERT INTO llm_meta VALUES ('tokenizer.kind', 'spm'), ('tokenizer.unknown', 'none'),
          ('tokenizer.byte_fallback', 0), ('tokenizer.normalize.1', 'replace (?!)');
        INSERT INTO llm_token VALUES (0, CAST('a' AS BLOB), 1, 0), (1, CAST('b' AS BLOB), 1, 0),
          (2, CAST('ab' AS BLOB), 1, 0);
        INSERT INTO llm_merge VALUES (0, 1, 0, 2);
    )sql");
    const ModelDb db(file.path());
    Tokenizer tokenizer(db);
    EXPECT_EQ(tokenizer.encode("a\u00e9\xffzb", false), (Ids{2}));
    EXPECT_EQ(tokenizer.bytes_left_out(), 4u);
    EXPECT_EQ(tokenizer.encode("\u00e9", false), Ids());
}

TEST(SentencePiece, TypedTextBecomesNeitherControlNorByteTokens) {
    const VocabularyDb file(kPieces);
    const ModelDb db(file.path());
    Tokenizer tokenizer(db);
    EXPECT_EQ(tokenizer.encode("<e>", false), (Ids{8, 9}));
    const std::vector<Fragment> markup{{"<e>", true}};
    EXPECT_EQ(tokenizer.encode(markup, false), (Ids{10}));
    const Ids typed = tokenizer.encode("<0x41>", false);
    EXPECT_EQ(std::count(typed.begin(), typed.end(), 22), 0);
}

TEST(SentencePiece, ASpaceInFrontWhereTheModelWantsOne) {
    const VocabularyDb file(std::string(kPieces) +
                            "INSERT INTO llm_meta VALUES ('tokenizer.add_space_prefix', 1);");
    const ModelDb db(file.path());
    Tokenizer tokenizer(db);
    EXPECT_EQ(tokenizer.encode("ab", false), (Ids{6}));
    // After a special token too, as llama.cpp does.
    EXPECT_EQ(tokenizer.encode("b  ab", false), (Ids{3, 2, 13, 6}));
}

TEST(Tokenizer, RefusesWhatItDoesNotKnow) {
    const auto message = [](const std::string& sql) -> std::string {
        const VocabularyDb file(sql);
        const ModelDb db(file.path());
        try {
            Tokenizer tokenizer(db);
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    };
    const std::string insert = "INSERT INTO llm_meta VALUES ";
    EXPECT_NE(message(insert + "('tokenizer.kind', 'wordlevel')").find("'wordlevel'"),
              std::string::npos);
    EXPECT_NE(message(insert + "('a', 1)").find("tokenizer kind"), std::string::npos);
    EXPECT_NE(message(insert + "('tokenizer.kind', 'bpe'), ('tokenizer.pre', 'odd')").find("'odd'"),
              std::string::npos);
    EXPECT_NE(message(insert + "('tokenizer.kind', 'spm'), ('tokenizer.bos', 'x')").find("'x'"),
              std::string::npos);
    EXPECT_NE(
        message(insert + "('tokenizer.kind', 'spm'), ('tokenizer.add_bos', 1)").find("add_bos"),
        std::string::npos);
}

const std::string kUnigram = R"sql(
    INSERT INTO llm_meta VALUES ('tokenizer.kind', 'unigram'), ('tokenizer.unk', 0),
      ('tokenizer.unknown', 'fused');
    INSERT INTO llm_token VALUES (0, CAST('<unk>' AS BLOB), 2, 0), (1, CAST('a' AS BLOB), 1, -3),
      (2, CAST('b' AS BLOB), 1, -3), (3, CAST('ab' AS BLOB), 1, -4), (4, CAST('bc' AS BLOB), 1, -1),
      (5, CAST('abc' AS BLOB), 3, 0), (6, CAST('c' AS BLOB), 1, -3);
)sql";

TEST(Unigram, TakesTheBestCover) {
    const VocabularyDb file(kUnigram);
    const ModelDb db(file.path());
    Tokenizer tokenizer(db);
    EXPECT_EQ(tokenizer.encode("ab", false), (Ids{3}));
    EXPECT_EQ(tokenizer.encode("abc", false),
              (Ids{1, 4}));  // -4 is more than -7; 5 is a control token
    EXPECT_EQ(tokenizer.encode("", false), (Ids{}));
    EXPECT_EQ(tokenizer.encode("xéa\xffz", false), (Ids{0, 1, 0}));
    EXPECT_EQ(decode(tokenizer, {3, 4}), "abbc");
}

const std::string kWordPiece = R"sql(
    INSERT INTO llm_meta VALUES ('tokenizer.kind', 'wordpiece'), ('tokenizer.unk', 0),
      ('tokenizer.continuing', '##'), ('tokenizer.longest_word', '6'),
      ('tokenizer.normalize.1', 'lowercase'), ('tokenizer.split.1', 'removed \s');
    INSERT INTO llm_token VALUES (0, CAST('[UNK]' AS BLOB), 3, 0), (1, CAST('un' AS BLOB), 1, 0),
      (2, CAST('##a' AS BLOB), 1, 0), (3, CAST('##able' AS BLOB), 1, 0), (4, CAST('##' AS BLOB), 1, 0),
      (5, CAST('a' AS BLOB), 1, 0);
)sql";

TEST(WordPiece, TakesTheLongestFirst) {
    const VocabularyDb file(kWordPiece);
    const ModelDb db(file.path());
    Tokenizer tokenizer(db);
    EXPECT_EQ(tokenizer.encode("UNable  A una", false), (Ids{1, 3, 5, 1, 2}));
    // A word with a rest that is no piece is unknown as a whole; so is one that is too long.
    EXPECT_EQ(tokenizer.encode("unx a aaaaaa aaaaaaa", false), (Ids{0, 5, 5, 2, 2, 2, 2, 2, 0}));
    EXPECT_EQ(decode(tokenizer, {1, 3, 5}), " unable a");
}

TEST(AddedTokens, AreFoundAsTheyAreToBe) {
    const VocabularyDb file(kWords + R"sql(
        INSERT INTO llm_token VALUES (400, CAST('cat' AS BLOB), 4, 0), (401, CAST('Dog' AS BLOB), 4, 0);
        INSERT INTO llm_meta VALUES ('tokenizer.normalize.1', 'lowercase'),
          ('tokenizer.single_word', '400'), ('tokenizer.normalized', '401'),
          ('tokenizer.takes_left', '301'), ('tokenizer.takes_right', '301');)sql");
    const ModelDb db(file.path());
    Tokenizer tokenizer(db);
    EXPECT_EQ(tokenizer.encode("cat", false), (Ids{400}));
    EXPECT_EQ(tokenizer.encode("cats", false), (Ids{'c', 'a', 't', 's'}));
    EXPECT_EQ(tokenizer.encode("!cat!", false), (Ids{'!', 400, '!'}));
    // Looked for in what the normalizer makes, as it makes the token.
    EXPECT_EQ(tokenizer.encode("dOG", false), (Ids{401}));
    EXPECT_EQ(tokenizer.encode("Cat", false), (Ids{'c', 'a', 't'}));
    EXPECT_EQ(tokenizer.encode("a \n<tag>\u3000 a", false), (Ids{'a', 301, 'a'}));
    EXPECT_EQ(tokenizer.encode("<tag> <tag>", false), (Ids{301, 301}));
    EXPECT_EQ(tokenizer.encode(" <tag>", false), (Ids{301}));
}

}  // namespace
}  // namespace llmsql
