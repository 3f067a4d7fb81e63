// SPDX-License-Identifier: MIT
// Hugging Face's tokenizers into tables: which are taken for what, and which are refused.
#include "importer/hf_tokenizer.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>

#include "importer/chat.h"
#include "importer/special_tokens.h"
#include "tests/unit/error_of.h"
#include "tests/unit/importer/safetensors_builder.h"
#include "tests/unit/importer/sql.h"
#include "tests/unit/says.h"

namespace llmsql::test {
namespace {

using nlohmann::json;

const json kByteLevel = {{"type", "ByteLevel"},
                         {"add_prefix_space", false},
                         {"trim_offsets", true},
                         {"use_regex", true}};

json split_by(const std::string& digits) {
    json byte_level = kByteLevel;
    byte_level["use_regex"] = false;
    return {{"type", "Sequence"},
            {"pretokenizers",
             {{{"type", "Split"},
               {"pattern",
                {{"Regex", R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)" + digits +
                               R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"}}},
               {"behavior", "Isolated"},
               {"invert", false}},
              byte_level}}};
}

json added(int64_t id, const char* text, bool special, bool normalized = false) {
    return {{"id", id},          {"content", text}, {"single_word", false},
            {"lstrip", false},   {"rstrip", false}, {"normalized", normalized},
            {"special", special}};
}

/// "a", "b", " " and what merges make of them, two added tokens.
json byte_pairs() {
    return {{"added_tokens", {added(5, "<tool>", false), added(6, "<|end|>", true)}},
            {"normalizer", nullptr},
            {"pre_tokenizer", kByteLevel},
            {"post_processor", kByteLevel},
            {"model",
             {{"type", "BPE"},
              {"unk_token", nullptr},
              {"vocab", {{"a", 0}, {"b", 1}, {"\u0120", 2}, {"\u0120a", 3}, {"\u0120ab", 4}}},
              {"merges", json::array({"\u0120 a", "\u0120a b"})}}}};
}

json pair(const char* left, const char* right) {
    return json::array({left, right});
}

/// SentencePiece's as transformers converts it.
json pieces() {
    return {{"added_tokens",
             {added(0, "<unk>", true), added(1, "<s>", true), added(7, "\u2581\u2581", false)}},
            {"normalizer",
             {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", "\u2581"}}},
            {"pre_tokenizer",
             {{"type", "Split"},
              {"pattern", {{"String", " "}}},
              {"behavior", "MergedWithPrevious"},
              {"invert", false}}},
            {"post_processor",
             {{"type", "TemplateProcessing"},
              {"single",
               {{{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}},
                {{"Sequence", {{"id", "A"}, {"type_id", 0}}}}}}}},
            {"model",
             {{"type", "BPE"},
              {"unk_token", "<unk>"},
              {"byte_fallback", true},
              {"vocab",
               {{"<unk>", 0},
                {"<s>", 1},
                {"<0x0A>", 2},
                {"\u2581", 3},
                {"a", 4},
                {"\u2581a", 5},
                {"aa", 6},
                {"\u2581\u2581", 7}}},
              {"merges",
               json::array({pair("a", "a"), pair("\u2581", "a"), pair("\u2581", "\u2581")})}}}};
}

class HfTokenizerTest : public testing::Test {
  protected:
    HfTokenizerTest() {
        folder_.write("config.json", "{}");
        SafetensorsBuilder builder;
        folder_.write("model.safetensors", builder.build());
    }
    SourceTokenizer read(const json& tokenizer, int64_t vocabulary = 8) {
        folder_.write("tokenizer.json", tokenizer.dump());
        return read_tokenizer(HfFolder(folder_ / "."), vocabulary, note());
    }
    void import(const json& tokenizer, int64_t vocabulary = 8) {
        ModelWriter writer(folder_ / "x.db", canceled_);
        write_tokenizer(read(tokenizer, vocabulary), writer);
        writer.finish();
        writer.publish();
    }
    std::string error_for(const json& tokenizer, int64_t vocabulary = 8) {
        const std::string error = error_of([&] { read(tokenizer, vocabulary); });
        EXPECT_EQ(error.find('\n'), std::string::npos);
        return error;
    }
    Note note() {
        return [this](const std::string& line) { notes_.push_back(line); };
    }
    void config(const char* file, const json& value) { folder_.write(file, value.dump()); }
    std::string query(const std::string& sql) { return Sql(folder_ / "x.db").text(sql); }

    TemporaryFolder folder_;
    std::atomic<bool> canceled_ = false;
    std::vector<std::string> notes_;
};

TEST_F(HfTokenizerTest, WritesByteLevelBpe) {
    import(byte_pairs());
    EXPECT_EQ(query("SELECT id, CAST(piece AS TEXT), kind, score FROM llm_token"),
              "0|a|1|0.0;1|b|1|0.0;2| |1|0.0;3| a|1|0.0;4| ab|1|0.0;5|<tool>|4|0.0;"
              "6|<|end|>|3|0.0;7|[PAD7]|5|0.0");
    EXPECT_EQ(query("SELECT \"left\", \"right\", rank, merged FROM llm_merge"), "2|0|0|3;3|1|1|4");
    EXPECT_EQ(query("SELECT key || '=' || value FROM llm_meta WHERE key NOT LIKE 'digest.%'"),
              "tokenizer.add_bos=0;tokenizer.kind=bpe;tokenizer.pre=gpt2;tokenizer.unicode=16.0");
    EXPECT_TRUE(notes_.empty());
}

TEST_F(HfTokenizerTest, ReadsMergesInBothForms) {
    json pairs = byte_pairs();
    pairs["model"]["merges"] = json::array({pair("\u0120", "a"), pair("\u0120a", "b")});
    import(pairs);
    EXPECT_EQ(query("SELECT \"left\", \"right\", rank, merged FROM llm_merge"), "2|0|0|3;3|1|1|4");
    for (const json& bad :
         {json("ab"), json(""), json(" "), json::array({"a"}), json::array({"a", "b", "c"}),
          json::array({"a", 1}), json(7), json(nullptr)}) {
        json broken = byte_pairs();
        broken["model"]["merges"] = json::array({bad});
        EXPECT_CONTAINS(error_for(broken), "merge 0 is ");
    }
    json unknown = byte_pairs();
    unknown["model"]["merges"] = json::array({"a b"});
    EXPECT_CONTAINS(error_for(unknown), "merge 0 is \"a b\", but \"ab\" is not a token");
    unknown["model"]["merges"] = json::array();
    EXPECT_CONTAINS(error_for(unknown), "has no merges");
}

TEST_F(HfTokenizerTest, KnowsHowTextIsSplit) {
    const auto pre = [&](const json& pre_tokenizer, bool ignore_merges = false) {
        json tokenizer = byte_pairs();
        tokenizer["pre_tokenizer"] = pre_tokenizer;
        tokenizer["model"]["ignore_merges"] = ignore_merges;
        std::string name;
        const std::string error = error_of([&] { name = read(tokenizer).spec.pre; });
        return error.empty() ? name : error;
    };
    const json digits = {{"type", "Digits"}, {"individual_digits", true}};
    const auto sequence = [](const json& steps) {
        return json{{"type", "Sequence"}, {"pretokenizers", steps}};
    };
    EXPECT_EQ(pre(kByteLevel), "gpt2");
    EXPECT_EQ(pre(sequence(json::array({kByteLevel}))), "gpt2");
    EXPECT_EQ(pre(sequence(json::array({digits, kByteLevel}))), "smollm");
    EXPECT_EQ(pre(split_by(R"(\p{N})")), "qwen2");
    EXPECT_EQ(pre(split_by(R"(\p{N}{1,3})")), "cl100k");
    EXPECT_EQ(pre(split_by(R"(\p{N}{1,3})"), true), "llama3");
    // Without ByteLevel its pieces are of characters.
    json characters = byte_pairs();
    characters["pre_tokenizer"] = {{"type", "Whitespace"}};
    const SourceTokenizer read_back = read(characters);
    EXPECT_EQ(read_back.spec.kind, "spm");
    EXPECT_EQ(read_back.split.size(), 1u);
    EXPECT_FALSE(read_back.falls_back);
    EXPECT_EQ(read_back.unknown, "none");
    // Steps behind ByteLevel see bytes; there is one such step.
    EXPECT_EQ(pre(sequence(json::array({kByteLevel, digits}))), "own");
    EXPECT_CONTAINS(pre(sequence(json::array({kByteLevel, digits, kByteLevel}))),
                    "a step ByteLevel");
    EXPECT_CONTAINS(
        pre(sequence(json::array({kByteLevel, {{"type", "Metaspace"}, {"replacement", "_"}}}))),
        "a step Metaspace behind a step ByteLevel");
}

TEST_F(HfTokenizerTest, TakesOtherSplittersAsTheFileHasThem) {
    const auto rules = [&](const json& steps, bool ignore_merges = false) {
        json tokenizer = byte_pairs();
        tokenizer["pre_tokenizer"] = {{"type", "Sequence"}, {"pretokenizers", steps}};
        tokenizer["model"]["ignore_merges"] = ignore_merges;
        std::string all;
        const std::string error = error_of([&] {
            const SourceTokenizer read_back = read(tokenizer);
            all = read_back.spec.pre + (read_back.takes_words ? " words" : "");
            for (const std::string& rule : read_back.split) all += "; " + rule;
        });
        return error.empty() ? all : error;
    };
    json bytes = kByteLevel;
    bytes["use_regex"] = false;
    const auto split = [](const json& pattern, const char* behavior, bool invert) {
        return json{
            {"type", "Split"}, {"pattern", pattern}, {"behavior", behavior}, {"invert", invert}};
    };
    EXPECT_EQ(rules({split({{"Regex", "a+|\\p{L}"}}, "Isolated", false), bytes}),
              "own; isolated a+|\\p{L}");
    EXPECT_EQ(rules({split({{"Regex", "b"}}, "Removed", true),
                     split({{"String", "."}}, "MergedWithPrevious", false), bytes},
                    true),
              "own words; inverted removed b; merged_with_previous \\x{2e}");
    EXPECT_EQ(rules({split({{"Regex", "b"}}, "Contiguous", false),
                     split({{"Regex", "c"}}, "MergedWithNext", false), bytes}),
              "own; contiguous b; merged_with_next c");
    json spaced = bytes;
    spaced["add_prefix_space"] = true;
    EXPECT_EQ(rules(json::array({{{"type", "Digits"}, {"individual_digits", false}}, spaced})),
              "own; contiguous [\\p{N}\\x{11de0}-\\x{11de9}\\x{16ff4}-\\x{16ff6}]; prefix  ");
    EXPECT_EQ(rules(json::array({kByteLevel}), true), "gpt2 words");
    EXPECT_EQ(rules({bytes, split({{"Regex", "[0-9]{3}"}}, "Isolated", false)}),
              "own; bytes; isolated [\\x{30}-\\x{39}]{3}");
    EXPECT_CONTAINS(rules({split({{"Regex", "("}}, "Isolated", false), bytes}),
                    "the expression (: ");
    EXPECT_CONTAINS(rules({split({{"Regex", "\\Gx"}}, "Isolated", false), bytes}),
                    "no counterpart");
    EXPECT_CONTAINS(rules({split({{"Regex", "x"}}, "Elsewhere", false), bytes}), "Elsewhere");
    EXPECT_CONTAINS(rules(json::array({{{"type", "UnicodeScripts"}}, bytes})),
                    "a step UnicodeScripts");
}

TEST_F(HfTokenizerTest, WritesSentencePiece) {
    import(pieces(), 9);
    // What is in runs of marks is found by merging; the unknown token is not a control token.
    EXPECT_EQ(query("SELECT id, CAST(piece AS TEXT), kind FROM llm_token"),
              "0|<unk>|2;1|<s>|3;2|<0x0A>|6;3|\u2581|1;4|a|1;5|\u2581a|1;6|aa|1;7|\u2581\u2581|1;"
              "8|[PAD8]|5");
    EXPECT_EQ(query("SELECT \"left\", \"right\", rank, merged FROM llm_merge"),
              "3|3|2|7;3|4|1|5;4|4|0|6");
    EXPECT_EQ(query("SELECT key || '=' || value FROM llm_meta WHERE key NOT LIKE 'digest.%'"),
              "tokenizer.add_bos=1;tokenizer.add_space_prefix=0;tokenizer.bos=1;"
              "tokenizer.kind=spm;tokenizer.literal=7;tokenizer.unk=0");
}

TEST_F(HfTokenizerTest, KnowsWhetherSentencePiecePutsASpaceInFront) {
    const json prepend = {{"type", "Prepend"}, {"prepend", "\u2581"}};
    json llama2 = pieces();
    llama2["normalizer"] = {{"type", "Sequence"},
                            {"normalizers", json::array({prepend, pieces()["normalizer"]})}};
    llama2["pre_tokenizer"] = nullptr;
    EXPECT_TRUE(read(llama2).add_space_prefix);
    const auto metaspace = [&](const char* scheme, bool split) {
        json tokenizer = pieces();
        tokenizer["normalizer"] = nullptr;
        tokenizer["pre_tokenizer"] = {{"type", "Metaspace"},
                                      {"replacement", "\u2581"},
                                      {"prepend_scheme", scheme},
                                      {"split", split}};
        return tokenizer;
    };
    EXPECT_FALSE(read(metaspace("never", false)).add_space_prefix);
    // What does more is done as the file has it.
    const auto steps = [&](const json& tokenizer) {
        const SourceTokenizer read_back = read(tokenizer);
        std::string all;
        for (const auto& [rule, by] : read_back.normalize) all += rule + " " + by + "; ";
        for (const std::string& rule : read_back.split) all += rule + "; ";
        return all;
    };
    EXPECT_EQ(steps(metaspace("never", false)), "");
    EXPECT_EQ(steps(metaspace("always", false)), "mark \u2581; prefix \u2581; ");
    EXPECT_EQ(steps(metaspace("first", true)),
              "mark \u2581; first \u2581; merged_with_next \u2581; ");
    EXPECT_CONTAINS(error_for(metaspace("last", true)), "Metaspace of an unknown form");
    json unmarked = pieces();
    unmarked["normalizer"] = nullptr;
    EXPECT_EQ(steps(unmarked), "merged_with_previous \\x{20}; ");
    unmarked["pre_tokenizer"] = nullptr;
    EXPECT_EQ(steps(unmarked), "replace (?!) ; ");
    json nfkc = pieces();
    nfkc["normalizer"] = {{"type", "NFKC"}};
    EXPECT_EQ(steps(nfkc), "nfkc ; merged_with_previous \\x{20}; ");
    json after = pieces();
    after["normalizer"] = {{"type", "Sequence"},
                           {"normalizers", json::array({pieces()["normalizer"], prepend})}};
    EXPECT_EQ(steps(after),
              "replace \\x{20} \u2581; prepend \u2581; merged_with_previous \\x{20}; ");
}

TEST_F(HfTokenizerTest, RefusesKindsThatItDoesNotHave) {
    EXPECT_CONTAINS(error_of([&] { read_tokenizer(HfFolder(folder_ / "."), 8, note()); }),
                    "tokenizer.json: is missing; of other forms of tokenizer llmsql reads "
                    "Mistral's tekken.json alone");
    EXPECT_CONTAINS(error_for(json::object()), "holds no tokenizer (model is missing)");
    const auto with = [](const char* key, const json& value) {
        json tokenizer = byte_pairs();
        tokenizer["model"][key] = value;
        return tokenizer;
    };
    EXPECT_CONTAINS(error_for(with("type", "WordLevel")), "of the kind \"WordLevel\" (model)");
    EXPECT_CONTAINS(error_for(with("continuing_subword_prefix", "##")), "marks parts of words");
    EXPECT_CONTAINS(error_for(with("end_of_word_suffix", "</w>")), "marks parts of words");
    EXPECT_CONTAINS(error_for(with("dropout", 0.1)), "at random");
    EXPECT_EQ(error_for(with("dropout", nullptr)), "");
    EXPECT_CONTAINS(error_for(with("byte_fallback", 1)), "byte_fallback is neither true nor false");
    EXPECT_CONTAINS(error_for(with("vocab", json::object())), "has no vocabulary");
    json other = byte_pairs();
    other["pre_tokenizer"] = nullptr;
    other["normalizer"] = {{"type", "Sequence"},
                           {"normalizers", {{{"type", "ByteLevel"}}, {{"type", "Lowercase"}}}}};
    EXPECT_CONTAINS(error_for(other), "(normalizer): a step Lowercase behind a step ByteLevel");
    other["normalizer"] = {{"type", "ByteLevel"}};
    other["pre_tokenizer"] = {{"type", "Metaspace"}};
    EXPECT_CONTAINS(error_for(other),
                    "(pre_tokenizer): a step Metaspace behind a normalizer ByteLevel");
    other["pre_tokenizer"] = kByteLevel;
    other["normalizer"] = {{"type", "Replace"}, {"pattern", {{"Regex", "("}}}, {"content", ""}};
    EXPECT_CONTAINS(error_for(other), "(normalizer): the expression (: ");
    other["normalizer"] = {{"type", "Precompiled"}, {"precompiled_charsmap", "?"}};
    EXPECT_CONTAINS(error_for(other), "whose map is not base64");
    other["normalizer"] = {{"type", "NFC"}};
    EXPECT_EQ(read(other).normalize, (decltype(SourceTokenizer::normalize){{"nfc", ""}}));
    EXPECT_TRUE(notes_.empty());
}

// Without ByteLevel among the steps that cut, it is byte-level BPE by its normalizer.
TEST_F(HfTokenizerTest, TakesBytesThatANormalizerSpells) {
    json tokenizer = byte_pairs();
    tokenizer["normalizer"] = {{"type", "Sequence"},
                               {"normalizers", {{{"type", "NFC"}}, {{"type", "ByteLevel"}}}}};
    tokenizer["pre_tokenizer"] = {{"type", "Split"},
                                  {"pattern", {{"String", "\u0120"}}},
                                  {"behavior", "MergedWithNext"},
                                  {"invert", false}};
    import(tokenizer);
    EXPECT_EQ(query("SELECT value FROM llm_meta WHERE key = 'tokenizer.kind'"), "bpe");
    EXPECT_EQ(query("SELECT value FROM llm_meta WHERE key LIKE 'tokenizer.normalize.%'"),
              "nfc;bytes");
    EXPECT_EQ(query("SELECT value FROM llm_meta WHERE key LIKE 'tokenizer.split.%'"),
              "spelled;merged_with_next \u0120");
    EXPECT_EQ(query("SELECT CAST(piece AS TEXT) FROM llm_token WHERE id = 4"), " ab");
    tokenizer["pre_tokenizer"] = kByteLevel;  // which spells what is spelled
    const SourceTokenizer twice = read(tokenizer);
    EXPECT_EQ(twice.spec.pre, "gpt2");
    EXPECT_EQ(twice.normalize.size(), 2);
}

TEST_F(HfTokenizerTest, TakesUnigramAndWordPiece) {
    const json unigram = {
        {"added_tokens", {added(0, "<unk>", true)}},
        {"normalizer", nullptr},
        {"pre_tokenizer", {{"type", "WhitespaceSplit"}}},
        {"model",
         {{"type", "Unigram"},
          {"unk_id", 0},
          {"vocab", json::array({json::array({"<unk>", 0.0}), json::array({"a", -1.5}),
                                 json::array({"ab", -2})})}}}};
    import(unigram, 3);
    EXPECT_EQ(query("SELECT id, CAST(piece AS TEXT), kind, score FROM llm_token"),
              "0|<unk>|3|0.0;1|a|1|-1.5;2|ab|1|-2.0");
    EXPECT_EQ(query("SELECT value FROM llm_meta WHERE key = 'tokenizer.kind'"), "unigram");
    // As Hugging Face's tokenizers read numbers: not to the nearest.
    json scored = unigram;
    scored["model"]["vocab"] =
        json::array({json::array({"<unk>", 0.0}), json::array({"a", -10.413266654746877}),
                     json::array({"b", -1e-7}), json::array({"c", -9.222574290196015})});
    const SourceTokenizer scores = read(scored, 4);
    EXPECT_EQ(scores.tokens.score(1), -10.413266654746876);
    EXPECT_EQ(scores.tokens.score(2), -1e-7);
    EXPECT_EQ(scores.tokens.score(3), -9.222574290196016);
    json broken = unigram;
    broken["model"]["vocab"][1] = json::array({"a"});
    EXPECT_CONTAINS(error_for(broken, 3), "the token 1 is not a text and a score");
    const json wordpiece = {{"normalizer", {{"type", "BertNormalizer"}}},
                            {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
                            {"model",
                             {{"type", "WordPiece"},
                              {"unk_token", "[UNK]"},
                              {"continuing_subword_prefix", "##"},
                              {"vocab", {{"[UNK]", 0}, {"a", 1}, {"##b", 2}}}}}};
    const SourceTokenizer read_back = read(wordpiece, 3);
    EXPECT_EQ(read_back.spec.kind, "wordpiece");
    EXPECT_EQ(read_back.continuing, "##");
    EXPECT_EQ(read_back.longest_word, 100u);
    EXPECT_EQ(read_back.unk, 0);
    EXPECT_EQ(read_back.split.size(), 2u);
}

TEST_F(HfTokenizerTest, RefusesTokensThatDoNotFit) {
    for (const json& bad : {json(-1), json(1.5), json("1"), json(nullptr), json(1 << 22)}) {
        json tokenizer = byte_pairs();
        tokenizer["model"]["vocab"]["c"] = bad;
        EXPECT_CONTAINS(error_for(tokenizer), "the id of the token \"c\" is not a number below");
    }
    json twice = byte_pairs();
    twice["model"]["vocab"]["c"] = 1;
    EXPECT_CONTAINS(error_for(twice), "the token 1 is both \"b\" and \"c\"");
    json between = byte_pairs();  // tokenizers, too, would give one of them the number of a piece
    between["model"]["vocab"] = {
        {"a", 0}, {"b", 1}, {"\u0120", 5}, {"\u0120a", 3}, {"\u0120ab", 4}};
    EXPECT_CONTAINS(error_for(between), "the token 5 is both \"\u0120\" and \"<tool>\"");
    for (const json& bad : {json(1), json::object(), json{{"id", 7}}, json{{"content", "x"}},
                            added(-1, "x", true), added(1 << 22, "x", true), added(7, "", true)}) {
        json tokenizer = byte_pairs();
        tokenizer["added_tokens"].push_back(bad);
        EXPECT_CONTAINS(error_for(tokenizer), "the added token 2 lacks an id or its text");
    }
    EXPECT_CONTAINS(error_for(byte_pairs(), 4),
                    "the token 4 (\"\u0120ab\") is beyond the model's 4");
    // As in Gemma 3, whose image token has no row.
    EXPECT_EQ(error_for(byte_pairs(), 6), "");
    ASSERT_EQ(notes_.size(), 1u);
    EXPECT_CONTAINS(notes_[0], "1 added token beyond the model's 6 is left out");
    json stripping = byte_pairs();
    stripping["added_tokens"][1]["rstrip"] = true;
    stripping["added_tokens"][0]["lstrip"] = true;
    stripping["added_tokens"][0]["single_word"] = true;
    stripping["added_tokens"][0]["normalized"] = true;
    const SourceTokenizer read_back = read(stripping);
    EXPECT_EQ(read_back.takes_right, (std::vector<int64_t>{6}));
    EXPECT_EQ(read_back.takes_left, (std::vector<int64_t>{5}));
    EXPECT_EQ(read_back.single_word, (std::vector<int64_t>{5}));
    EXPECT_EQ(read_back.normalized, (std::vector<int64_t>{5}));
}

TEST_F(HfTokenizerTest, NumbersAddedTokensAsTokenizersDoes) {
    // What tokenizers 0.23.3 made of them.
    json gaps = byte_pairs();
    gaps["added_tokens"] = {added(7, "<tool>", false), added(4, "\u0120ab", false),
                            added(5, "<|end|>", true)};
    const SourceTokenizer tokenizer = read(gaps);
    EXPECT_EQ(tokenizer.tokens.text(5), "<tool>");
    EXPECT_EQ(tokenizer.tokens.text(6), "<|end|>");
    EXPECT_EQ(tokenizer.tokens.kind(4), PieceKind::user_defined);
    EXPECT_EQ(tokenizer.tokens.kind(7), PieceKind::unused);
    ASSERT_EQ(notes_.size(), 1u);
    EXPECT_CONTAINS(notes_[0], "2 added tokens have the id that follows on the vocabulary");
    EXPECT_CONTAINS(notes_[0], "\"<tool>\" is 5, not 7");
}

TEST_F(HfTokenizerTest, FindsTheSpecialTokens) {
    config("generation_config.json", {{"bos_token_id", 5}, {"eos_token_id", {6, 5, 99, -1}}});
    SourceTokenizer tokenizer = read(byte_pairs());
    ASSERT_EQ(notes_.size(), 2u);
    EXPECT_CONTAINS(notes_[0],
                    "generation_config.json: eos_token_id is 99, but there are 8 tokens: left out");
    EXPECT_CONTAINS(notes_[1], "eos_token_id is -1");
    EXPECT_EQ(tokenizer.bos, 5);
    EXPECT_EQ(tokenizer.eos, 6);
    EXPECT_EQ(tokenizer.ends, (std::vector<int64_t>{6, 5}));
    EXPECT_FALSE(tokenizer.add_bos);
    // tokenizer_config.json knows better, even that there is none.
    config("tokenizer_config.json",
           {{"bos_token", nullptr}, {"eos_token", {{"content", "<tool>"}}}, {"unk_token", "a"}});
    tokenizer = read(byte_pairs());
    EXPECT_EQ(tokenizer.bos, std::nullopt);
    EXPECT_EQ(tokenizer.eos, 5);
    EXPECT_EQ(tokenizer.unk, 0);
    config("tokenizer_config.json", {{"bos_token", "<|end|>"}, {"add_bos_token", true}});
    EXPECT_EQ(read(byte_pairs()).bos, 6);
    EXPECT_TRUE(read(byte_pairs()).add_bos);
    config("tokenizer_config.json", {{"bos_token", "<none>"}});
    EXPECT_CONTAINS(error_for(byte_pairs()), "bos_token is \"<none>\", which is not a token");
    config("tokenizer_config.json", {{"bos_token", 7}});
    EXPECT_CONTAINS(error_for(byte_pairs()), "bos_token is not a token's text");
    config("tokenizer_config.json", {{"add_bos_token", true}});
    EXPECT_CONTAINS(error_for(byte_pairs()), "there is no bos_token");
    // The post-processor says what is put before a text, unless the configuration does.
    config("tokenizer_config.json", {{"add_bos_token", false}});
    EXPECT_FALSE(read(pieces()).add_bos);
    config("tokenizer_config.json", json::object());
    json unknown = pieces();
    unknown["post_processor"]["single"][0]["SpecialToken"]["id"] = "<none>";
    EXPECT_CONTAINS(error_for(unknown), "puts \"<none>\" before a text, which is not a token");
    json ended = pieces();
    ended["post_processor"]["single"].push_back({{"SpecialToken", {{"id", "<s>"}}}});
    EXPECT_EQ(error_for(ended), "");
    EXPECT_CONTAINS(notes_.back(), "puts an end token after a text");
}

TEST_F(HfTokenizerTest, IdsThatAreNone) {
    const std::pair<const char*, const char*> kNone[] = {
        {"\"6\"", "\"6\""},     {"1.5", "1.5"},
        {"NaN", "NaN"},         {"-Infinity", "-Infinity"},
        {"true", "true"},       {"{\"a\":1}", "{\"a\":1}"},
        {"[[1]]", "[[1]]"},     {"[1,\"x\"]", "[1,\"x\"]"},
        {"[1,[2]]", "[1,[2]]"}, {"[2.5]", "[2.5]"},
        {"1e300", "1e+300"},
    };
    for (const char* file : {"generation_config.json", "config.json"}) {
        for (const char* key : {"eos_token_id", "bos_token_id"})
            for (const auto& [value, shown] : kNone) {
                folder_.write(file, fmt::format("{{\"{}\": {}}}", key, value));
                const std::string error = error_for(byte_pairs());
                EXPECT_CONTAINS(error, fmt::format("{}: {} is {}: a token's id", file, key, shown));
            }
        folder_.write(file, "{}");
    }
    // What transformers takes, or says that it ends nothing.
    for (const auto& [value, ends, notes] : {std::tuple("6.0", "6", 0),
                                             {"[]", "", 0},
                                             {"null", "", 0},
                                             {"8", "", 1},
                                             {"18446744073709551615", "", 1},
                                             {"[-7, 5]", "5", 1},
                                             {"-1.0", "", 1}}) {
        notes_.clear();
        folder_.write("generation_config.json", fmt::format("{{\"eos_token_id\": {}}}", value));
        EXPECT_EQ(fmt::format("{}", fmt::join(read(byte_pairs()).ends, " ")), ends) << value;
        EXPECT_EQ(notes_.size(), static_cast<size_t>(notes)) << value;
    }
}

TEST_F(HfTokenizerTest, FindsTheChatTemplate) {
    const auto found = [&] { return chat_template(HfFolder(folder_ / "."), note()); };
    EXPECT_EQ(found(), std::nullopt);
    config("chat_template.json", {{"chat_template", "processor's"}});
    EXPECT_EQ(found(), "processor's");
    config("tokenizer_config.json", {{"chat_template", "one"}});
    EXPECT_EQ(found(), "one");
    config("tokenizer_config.json",
           {{"chat_template",
             {{{"name", "tools"}, {"template", "t"}}, {{"name", "default"}, {"template", "d"}}}}});
    EXPECT_TRUE(notes_.empty());
    EXPECT_EQ(found(), "d");
    ASSERT_EQ(notes_.size(), 1);
    EXPECT_CONTAINS(notes_[0], "the default one is taken; left out: tools");
    config("tokenizer_config.json", {{"chat_template", {{{"name", "tools"}, {"template", "t"}}}}});
    EXPECT_CONTAINS(error_of(found), "neither a text nor a list");
    folder_.write("chat_template.jinja", "own file");
    EXPECT_EQ(found(), "own file");
}

TEST_F(HfTokenizerTest, EveryEndIsAStop) {
    config("generation_config.json", {{"eos_token_id", {5, 6}}});
    config("tokenizer_config.json", {{"eos_token", "<|end|>"}});
    SourceTokenizer tokenizer = read(byte_pairs());
    settle_special_tokens(tokenizer, {}, false, note());
    EXPECT_EQ(tokenizer.ends, (std::vector<int64_t>{5, 6}));
    EXPECT_EQ(tokenizer.tokens.kind(5), PieceKind::control);
    EXPECT_EQ(tokenizer.tokens.kind(6), PieceKind::control);
    EXPECT_EQ(chat_of(std::nullopt, tokenizer, nullptr, note()).stop,
              (std::vector<std::string>{"<|end|>", "<tool>"}));
}

}  // namespace
}  // namespace llmsql::test
