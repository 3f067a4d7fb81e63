// SPDX-License-Identifier: MIT
// Mistral's tekken.json into tables, and what is said to files that do not hold together.
#include "importer/tekken.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <atomic>

#include "importer/hf_tokenizer.h"
#include "tests/unit/error_of.h"
#include "tests/unit/importer/safetensors_builder.h"
#include "tests/unit/importer/sql.h"
#include "tests/unit/says.h"

namespace llmsql::test {
namespace {

using nlohmann::json;

std::string base64(std::string_view bytes) {
    constexpr std::string_view kDigits =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string text;
    for (size_t at = 0; at < bytes.size(); at += 3) {
        uint32_t bits = 0;
        for (size_t i = 0; i < 3; ++i)
            bits = bits << 8 | (at + i < bytes.size() ? static_cast<uint8_t>(bytes[at + i]) : 0);
        for (size_t i = 0; i < 4; ++i)
            text += at + i > bytes.size() ? '=' : kDigits[bits >> (18 - 6 * i) & 63];
    }
    return text;
}

json special(int64_t rank, const char* text) {
    return {{"rank", rank}, {"token_str", text}, {"is_control", true}};
}

/// The bytes, and "ab", "bc", "abc"; four special tokens, one of which has no name.
json tekken() {
    json vocab = json::array();
    const auto add = [&](const std::string& bytes) {
        vocab.push_back(
            {{"rank", vocab.size()}, {"token_bytes", base64(bytes)}, {"token_str", nullptr}});
    };
    for (int byte = 0; byte < 256; ++byte) add(std::string(1, static_cast<char>(byte)));
    for (const char* more : {"ab", "bc", "abc", "beyond"}) add(more);
    return {{"config",
             {{"pattern", R"(\p{L}+|\s+|[^\s\p{L}]+)"},
              {"num_vocab_tokens", 260},
              {"default_vocab_size", 263},
              {"default_num_special_tokens", 4},
              {"version", "v13"}}},
            {"vocab", vocab},
            {"special_tokens", {special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")}}};
}

class TekkenTest : public testing::Test {
  protected:
    TekkenTest() {
        folder_.write("config.json", "{}");
        SafetensorsBuilder builder;
        folder_.write("model.safetensors", builder.build());
    }
    SourceTokenizer read(const json& file, int64_t vocabulary = 264) {
        folder_.write("tekken.json", file.dump());
        const Note note = [this](const std::string& line) { notes_.push_back(line); };
        return read_tokenizer(HfFolder(folder_ / "."), vocabulary, note);
    }
    void import(const json& file) {
        ModelWriter writer(folder_ / "x.db", canceled_);
        write_tokenizer(read(file), writer);
        writer.finish();
        writer.publish();
    }
    std::string error_for(const json& file, int64_t vocabulary = 264) {
        const std::string error = error_of([&] { read(file, vocabulary); });
        EXPECT_EQ(error.find('\n'), std::string::npos);
        return error;
    }
    std::string query(const std::string& sql) { return Sql(folder_ / "x.db").text(sql); }

    TemporaryFolder folder_;
    std::atomic<bool> canceled_ = false;
    std::vector<std::string> notes_;
};

TEST_F(TekkenTest, SpecialTokensComeFirst) {
    import(tekken());
    EXPECT_EQ(query("SELECT group_concat(id || ' ' || CAST(piece AS TEXT), ',') FROM llm_token "
                    "WHERE kind = 3"),
              "0 <unk>,1 <s>,2 </s>,3 <SPECIAL_3>");
    // Of the vocabulary as many as there is room for; then what the model has rows for.
    EXPECT_EQ(query("SELECT group_concat(CAST(piece AS TEXT), ',') FROM llm_token WHERE id >= 260"),
              "ab,bc,abc,[PAD263]");
    EXPECT_EQ(query("SELECT hex(piece) FROM llm_token WHERE id = 4 + 0xe4"), "E4");
    EXPECT_EQ(query("SELECT group_concat(value, ' ') FROM llm_meta WHERE key IN ('tokenizer.bos', "
                    "'tokenizer.eos', 'tokenizer.unk', 'tokenizer.add_bos') ORDER BY key"),
              "1 1 2 0");
    EXPECT_EQ(query("SELECT value FROM llm_meta WHERE key = 'tokenizer.ignore_merges'"), "1");
    EXPECT_EQ(query("SELECT value FROM llm_meta WHERE key = 'tokenizer.split.1'").substr(0, 17),
              "inverted removed ");
}

// Each way of making a token has that token's rank, so that of two the left one is made.
TEST_F(TekkenTest, MergesAreByTheRankOfWhatTheyMake) {
    import(tekken());
    EXPECT_EQ(query("SELECT group_concat((SELECT CAST(piece AS TEXT) FROM llm_token WHERE id = "
                    "left) || '+' || (SELECT CAST(piece AS TEXT) FROM llm_token WHERE id = right) "
                    "|| ' ' || rank, ', ') FROM (SELECT * FROM llm_merge ORDER BY rank, left)"),
              "a+b 256, b+c 257, a+bc 258, ab+c 258");
}

TEST_F(TekkenTest, VersionsUpTo7MeanTheTokensOfTheirTime) {
    json file = tekken();
    file.erase("special_tokens");
    file["config"]["version"] = "v3";
    file["config"]["default_num_special_tokens"] = 24;
    file["config"]["default_vocab_size"] = 24 + 260;
    const SourceTokenizer tokenizer = read(file, 284);
    EXPECT_EQ(tokenizer.tokens.text(0), "<unk>");
    EXPECT_EQ(tokenizer.tokens.text(9), "[TOOL_CALLS]");
    EXPECT_EQ(tokenizer.tokens.text(19), "[TOOL_CONTENT]");
    EXPECT_EQ(tokenizer.tokens.text(20), "<SPECIAL_20>");
    EXPECT_EQ(tokenizer.tokens.text(283), "beyond");
    for (const char* version : {"v11", "v13", "7", ""}) {
        file["config"]["version"] = version;
        EXPECT_CONTAINS(error_for(file, 284),
                        "tekken.json: lists no special_tokens, which after "
                        "version v7");
    }
    file["config"]["version"] = "v7";
    file["config"]["default_num_special_tokens"] = 4;
    file["config"]["default_vocab_size"] = 264;
    EXPECT_CONTAINS(error_for(file, 284),
                    "tekken.json: lists no special_tokens, and default_num_special_tokens is 4");
}

TEST_F(TekkenTest, OtherFilesNameEnds) {
    folder_.write("generation_config.json", R"({"eos_token_id": [2, 3]})");
    EXPECT_EQ(read(tekken()).ends, (std::vector<int64_t>{2, 3}));
    folder_.write("tokenizer.json", "{}");  // which is the other form, and comes first
    EXPECT_CONTAINS(error_for(tekken()), "tokenizer.json: holds no tokenizer");
}

TEST_F(TekkenTest, RefusesWhatDoesNotHoldTogether) {
    const auto changed = [](const auto& change) {
        json file = tekken();
        change(file);
        return file;
    };
    const auto said = [&](const auto& change) { return error_for(changed(change)); };
    EXPECT_CONTAINS(said([](json& f) { f.erase("config"); }), "tekken.json: has no config");
    EXPECT_CONTAINS(said([](json& f) { f["config"].erase("pattern"); }), "config.pattern");
    EXPECT_CONTAINS(said([](json& f) { f["config"]["pattern"] = "(a"; }),
                    "config.pattern): the expression (a: ");
    EXPECT_CONTAINS(said([](json& f) { f["config"]["default_vocab_size"] = 300; }),
                    "default_vocab_size is 300, but there are 4 special tokens and 260 others");
    EXPECT_CONTAINS(said([](json& f) { f["config"]["default_vocab_size"] = -1; }),
                    "default_vocab_size is -1, not a whole number from 1");
    EXPECT_CONTAINS(said([](json& f) { f["config"]["default_num_special_tokens"] = 264; }),
                    "default_num_special_tokens is 264, not a whole number from 0 to 263");
    EXPECT_CONTAINS(error_for(tekken(), 100),
                    "has 263 tokens (default_vocab_size), but the model has 100");
    EXPECT_CONTAINS(said([](json& f) { f["vocab"][7]["rank"] = 8; }),
                    "token 7 of vocab has the rank 8");
    EXPECT_CONTAINS(said([](json& f) { f["vocab"][7]["token_bytes"] = "?"; }),
                    "token 7 of vocab has no token_bytes in base64");
    EXPECT_CONTAINS(said([](json& f) { f["vocab"][7] = 1; }),
                    "token 7 of vocab has no token_bytes");
    EXPECT_CONTAINS(said([](json& f) { f["vocab"][7]["token_bytes"] = "AA=="; }),
                    "token 7 of vocab is not the byte 7");
    EXPECT_CONTAINS(
        said([](json& f) { f["vocab"][257]["token_bytes"] = f["vocab"][256]["token_bytes"]; }),
        "token 257 of vocab is also token 256");
    EXPECT_CONTAINS(said([](json& f) { f["special_tokens"][2]["rank"] = 1; }),
                    "the special token 1 is both \"<s>\" and \"</s>\"");
    EXPECT_CONTAINS(said([](json& f) { f["special_tokens"][2]["rank"] = 4; }),
                    "rank is 4, not a whole number from 0 to 3");
    EXPECT_CONTAINS(said([](json& f) { f["special_tokens"][2].erase("token_str"); }),
                    "the special token 2 has no token_str");
    EXPECT_CONTAINS(said([](json& f) { f["special_tokens"] = 1; }), "special_tokens is not a list");
    folder_.write("tekken.json", "[");
    EXPECT_CONTAINS(error_of([&] { read_tekken(HfFolder(folder_ / "."), 9, {}); }), "tekken.json");
}

}  // namespace
}  // namespace llmsql::test
