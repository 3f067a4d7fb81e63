// SPDX-License-Identifier: MIT
// Tokenizers from GGUF metadata into tables.
#include "importer/tokenizer.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <atomic>
#include <set>

#include "tests/unit/error_of.h"
#include "tests/unit/importer/gguf_builder.h"
#include "tests/unit/importer/sql.h"
#include "tests/unit/says.h"

namespace llmsql::test {
namespace {

GgufBuilder bpe() {
    GgufBuilder builder;
    builder.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "smollm");
    return builder;
}

GgufBuilder spm() {
    GgufBuilder builder;
    builder.text("tokenizer.ggml.model", "llama")
        .texts("tokenizer.ggml.tokens", {"<unk>", "<s>", "\u2581a", "<0x0A>"})
        .floats("tokenizer.ggml.scores", {0, 0, -2.5f, 0})
        .integers("tokenizer.ggml.token_type", {2, 3, 1, 6});
    return builder;
}

class TokenizerTest : public testing::Test {
  protected:
    /// Reads and writes a tokenizer; the tables are then there to be queried.
    void import(const GgufBuilder& builder) {
        const Gguf gguf(folder_.write("x.gguf", builder.build()));
        ModelWriter writer(folder_ / "x.db", canceled_);
        write_tokenizer(read_tokenizer(gguf, note()), writer);
        writer.finish();
        writer.publish();
    }
    std::string error_for(const GgufBuilder& builder) {
        const std::string error = error_of([&] { import(builder); });
        EXPECT_FALSE(std::filesystem::exists(folder_ / "x.db"));
        return error;
    }
    Note note() {
        return [this](const std::string& line) { notes_.push_back(line); };
    }
    std::string query(const std::string& sql) { return Sql(folder_ / "x.db").text(sql); }

    TemporaryFolder folder_;
    std::atomic<bool> canceled_ = false;
    std::vector<std::string> notes_;
};

TEST_F(TokenizerTest, UndoesByteLevelSpelling) {
    // The alphabet has one character a byte, and every byte has one.
    std::set<std::string> bytes;
    for (uint32_t c = 0; c < 0x144; ++c) {
        std::string utf8;
        if (c < 0x80) {
            utf8 = static_cast<char>(c);
        } else {
            utf8 = {static_cast<char>(0xc0 | c >> 6), static_cast<char>(0x80 | (c & 63))};
        }
        if (const auto decoded = bytes_of_byte_level(utf8)) {
            EXPECT_EQ(decoded->size(), 1u);
            EXPECT_TRUE(bytes.insert(*decoded).second) << c;
        }
    }
    EXPECT_EQ(bytes.size(), 256u);
    EXPECT_EQ(bytes_of_byte_level("\u0120the"), " the");
    EXPECT_EQ(bytes_of_byte_level("\u010a\u00c3\u00a9!"), "\n\xc3\xa9!");
    EXPECT_EQ(bytes_of_byte_level("\u0143"), "\xad");
    EXPECT_EQ(bytes_of_byte_level(""), "");
    EXPECT_EQ(bytes_of_byte_level("a b"), std::nullopt);     // a space is not in the alphabet
    EXPECT_EQ(bytes_of_byte_level("\u0144"), std::nullopt);  // the first character past it
    EXPECT_EQ(bytes_of_byte_level("\u2581"), std::nullopt);
    EXPECT_EQ(bytes_of_byte_level("\xc4"), std::nullopt);
}

TEST_F(TokenizerTest, WritesByteLevelBpe) {
    import(bpe()
               .texts("tokenizer.ggml.tokens",
                      {"<|im_end|>", "a", "b", "\u0120", "\u0120a", "\u0120ab", "<\u0120>"})
               .integers("tokenizer.ggml.token_type", {3, 1, 1, 1, 1, 1, 4})
               .texts("tokenizer.ggml.merges", {"\u0120 a", "\u0120a b", "\u0120 a"})
               .number("tokenizer.ggml.eos_token_id", 0));
    EXPECT_EQ(query("SELECT id, hex(piece), kind, score FROM llm_token"),
              "0|3C7C696D5F656E647C3E|3|0.0;1|61|1|0.0;2|62|1|0.0;3|20|1|0.0;4|2061|1|0.0;"
              "5|206162|1|0.0;6|3CC4A03E|4|0.0");  // a user's token is taken literally
    EXPECT_EQ(query("SELECT \"left\", \"right\", rank, merged FROM llm_merge"), "3|1|0|4;4|2|1|5");
    EXPECT_EQ(query("SELECT key || '=' || value FROM llm_meta WHERE key NOT LIKE 'digest.%'"),
              "tokenizer.add_bos=0;tokenizer.eos=0;tokenizer.kind=bpe;tokenizer.pre=smollm;"
              "tokenizer.unicode=15.1");
    EXPECT_TRUE(notes_.empty());
}

TEST_F(TokenizerTest, WritesSentencePiece) {
    import(spm()
               .number("tokenizer.ggml.bos_token_id", 1)
               .number("tokenizer.ggml.unknown_token_id", 0));
    EXPECT_EQ(query("SELECT id, CAST(piece AS TEXT), kind, score FROM llm_token"),
              "0|<unk>|2|0.0;1|<s>|3|0.0;2|\u2581a|1|-2.5;3|<0x0A>|6|0.0");
    // A bos token and a space in front, unless the file says otherwise.
    EXPECT_EQ(query("SELECT key || '=' || value FROM llm_meta WHERE key NOT LIKE 'digest.%'"),
              "tokenizer.add_bos=1;tokenizer.add_space_prefix=1;tokenizer.bos=1;"
              "tokenizer.kind=spm;tokenizer.unk=0");
    import(spm()
               .number("tokenizer.ggml.bos_token_id", 1)
               .flag("tokenizer.ggml.add_bos_token", false)
               .flag("tokenizer.ggml.add_space_prefix", false));
    EXPECT_EQ(query("SELECT value FROM llm_meta WHERE key LIKE 'tokenizer.add%'"), "0;0");
}

TEST_F(TokenizerTest, AMergeMeansTheNormalTokenOfTwoAlike) {
    import(bpe()
               .texts("tokenizer.ggml.tokens", {"a", "b", "ab", "ab"})
               .integers("tokenizer.ggml.token_type", {1, 1, 1, 4})
               .texts("tokenizer.ggml.merges", {"a b"}));
    EXPECT_EQ(query("SELECT merged FROM llm_merge"), "2");
}

TEST_F(TokenizerTest, NamesWhatItTakesForTheUnnamed) {
    GgufBuilder unnamed;
    unnamed.text("tokenizer.ggml.model", "gpt2")
        .texts("tokenizer.ggml.tokens", {"a"})
        .texts("tokenizer.ggml.merges", {});
    import(unnamed);
    EXPECT_EQ(query("SELECT value FROM llm_meta WHERE key = 'tokenizer.pre'"), "default");
    ASSERT_EQ(notes_.size(), 1u);
    EXPECT_CONTAINS(notes_[0], "as llama.cpp does then");
}

TEST_F(TokenizerTest, RefusesKindsThatItDoesNotHave) {
    EXPECT_CONTAINS(error_for(GgufBuilder()), "holds no tokenizer (tokenizer.ggml.model");
    GgufBuilder no_tokens = bpe();
    EXPECT_CONTAINS(error_for(no_tokens), "holds no tokenizer (tokenizer.ggml.tokens");
    GgufBuilder rwkv;
    rwkv.text("tokenizer.ggml.model", "rwkv").texts("tokenizer.ggml.tokens", {"a"});
    EXPECT_CONTAINS(error_for(rwkv), "kind \"rwkv\"");
    GgufBuilder unigram;
    unigram.text("tokenizer.ggml.model", "t5").texts("tokenizer.ggml.tokens", {"a"});
    EXPECT_CONTAINS(error_for(unigram), "no scores");
    GgufBuilder pre;
    pre.text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "elvish")
        .texts("tokenizer.ggml.tokens", {"a"});
    EXPECT_CONTAINS(error_for(pre),
                    "\"elvish\" (tokenizer.ggml.pre), which llmsql does not have; it has gpt-2, ");
}

TEST_F(TokenizerTest, WordsBetweenSpaces) {
    const auto words = [](const char* pre) {
        GgufBuilder builder;
        builder.text("tokenizer.ggml.model", "whitespace")
            .text("tokenizer.ggml.pre", pre)
            .texts("tokenizer.ggml.tokens", {"a", "b", "ab"})
            .texts("tokenizer.ggml.merges", {"a b"});
        return builder;
    };
    EXPECT_CONTAINS(error_for(words("qwen2")),
                    "of the kind \"whitespace\", but splits text in the way \"qwen2\"");
    import(words("whitespace"));
    EXPECT_EQ(query("SELECT group_concat(key || '=' || value, ' ') FROM (SELECT * FROM llm_meta "
                    "WHERE key LIKE 'tokenizer.%' AND key NOT LIKE '%.split.%' ORDER BY key)"),
              "tokenizer.add_bos=0 tokenizer.add_space_prefix=0 tokenizer.kind=spm "
              "tokenizer.unicode=15.1");
    EXPECT_EQ(query("SELECT count(*) FROM llm_meta WHERE key = 'tokenizer.split.1' AND value LIKE "
                    "'removed %'"),
              "1");
    EXPECT_EQ(query("SELECT * FROM llm_merge"), "0|1|0|2");
}

TEST_F(TokenizerTest, RefusesTablesThatDoNotFit) {
    const auto with_tokens = [] { return bpe().texts("tokenizer.ggml.tokens", {"a", "b", "ab"}); };
    EXPECT_CONTAINS(error_for(with_tokens()), "no merges");
    EXPECT_CONTAINS(error_for(with_tokens().texts("tokenizer.ggml.merges", {"a c"})),
                    "merge 0 is \"a c\", but \"c\" is not a token");
    EXPECT_CONTAINS(error_for(with_tokens().texts("tokenizer.ggml.merges", {"a b", "b a"})),
                    "merge 1 is \"b a\", but \"ba\" is not a token");
    for (const char* merge : {"", " ", "ab", "a"})
        EXPECT_CONTAINS(error_for(with_tokens().texts("tokenizer.ggml.merges", {merge})),
                        "not two pieces");
    EXPECT_CONTAINS(error_for(with_tokens()
                                  .texts("tokenizer.ggml.merges", {})
                                  .integers("tokenizer.ggml.token_type", {1, 1})),
                    "token_type has 2 elements, but there are 3 tokens");
    EXPECT_CONTAINS(error_for(with_tokens()
                                  .texts("tokenizer.ggml.merges", {})
                                  .integers("tokenizer.ggml.token_type", {1, 1, 7})),
                    "token 2 is of the type 7");
    GgufBuilder no_scores;
    no_scores.text("tokenizer.ggml.model", "llama").texts("tokenizer.ggml.tokens", {"a"});
    EXPECT_CONTAINS(error_for(no_scores), "no scores");
    EXPECT_CONTAINS(error_for(no_scores.floats("tokenizer.ggml.scores", {1, 2})), "2 elements");
    GgufBuilder integers = bpe();
    integers.integers("tokenizer.ggml.tokens", {1}).texts("tokenizer.ggml.merges", {});
    EXPECT_CONTAINS(error_for(integers), "not an array of strings");
}

TEST_F(TokenizerTest, ChecksSpecialIds) {
    for (const char* key : {"bos_token_id", "eos_token_id", "unknown_token_id"}) {
        const std::string name = std::string("tokenizer.ggml.") + key;
        EXPECT_CONTAINS(error_for(spm().number(name, 4)), "is 4, but there are 4 tokens");
        EXPECT_CONTAINS(error_for(spm().raw_key(name, 5, bytes_of(int32_t{-1}))), "is -1, but");
    }
    EXPECT_CONTAINS(error_for(bpe()
                                  .texts("tokenizer.ggml.tokens", {"a"})
                                  .texts("tokenizer.ggml.merges", {})
                                  .flag("tokenizer.ggml.add_bos_token", true)),
                    "there is no bos token");
    for (const char* key : {"eot", "eom", "fim_pad", "fim_rep", "fim_sep"})
        EXPECT_CONTAINS(error_for(spm().number(fmt::format("tokenizer.ggml.{}_token_id", key), 4)),
                        "is 4, but there are 4 tokens");
}

TEST_F(TokenizerTest, NamesOfSplittersAreLlamaCppsGroups) {
    // Which share an expression in llama.cpp's llama-vocab.cpp, and which of them put bos in front.
    const std::vector<std::pair<const char*, std::vector<const char*>>> groups{
        {"gpt2",
         {"gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "a.x-4.0", "mellum", "modern-bert",
          "exaone4", "mpt", "olmo", "jais", "trillion", "granite-docling"}},
        {"qwen2",
         {"qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan",
          "solar-open", "grok-2"}},
        {"qwen35", {"qwen35"}},
        {"smollm",
         {"smollm", "refact", "starcoder", "command-r", "codeshell", "exaone", "minerva-7b",
          "mellum2"}},
        {"llama3",
         {"llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2",
          "jina-v5-nano", "glm4", "glm5"}},
        {"cl100k", {"dbrx", "smaug-bpe", "chatglm-bpe"}},
    };
    for (const auto& [ours, names] : groups)
        for (const std::string name : names) {
            GgufBuilder builder;
            import(builder.text("tokenizer.ggml.model", "gpt2")
                       .text("tokenizer.ggml.pre", name)
                       .texts("tokenizer.ggml.tokens", {"a", "<s>"})
                       .texts("tokenizer.ggml.merges", {})
                       .number("tokenizer.ggml.bos_token_id", 1));
            EXPECT_EQ(query("SELECT value FROM llm_meta WHERE key = 'tokenizer.pre'"), ours)
                << name;
            EXPECT_EQ(query("SELECT value FROM llm_meta WHERE key = 'tokenizer.add_bos'"),
                      ours == std::string("llama3") && !name.starts_with("glm") ? "1" : "0")
                << name;
        }
    EXPECT_TRUE(notes_.empty());
}

TEST_F(TokenizerTest, SentencePieceHasIdsOfItsOwn) {
    const auto tokens = [](std::vector<std::string> texts, std::vector<int32_t> kinds) {
        GgufBuilder builder;
        builder.text("tokenizer.ggml.model", "llama")
            .floats("tokenizer.ggml.scores", std::vector<float>(texts.size()))
            .texts("tokenizer.ggml.tokens", texts);
        if (!kinds.empty()) builder.integers("tokenizer.ggml.token_type", kinds);
        return builder;
    };
    const std::string ids =
        "SELECT key || '=' || value FROM llm_meta WHERE key LIKE '%.%os' OR key = "
        "'tokenizer.unk'";
    import(tokens({"<unk>", "<s>", "</s>", "a"}, {2, 3, 3, 1}));
    EXPECT_EQ(query(ids), "tokenizer.add_bos=1;tokenizer.bos=1;tokenizer.eos=2;tokenizer.unk=0");
    ASSERT_EQ(notes_.size(), 1u);
    EXPECT_CONTAINS(notes_[0], "bos \"<s>\", eos \"</s>\", unknown \"<unk>\"");
    // Without types, and with one of them said.
    import(tokens({"<unk>", "<s>", "</s>", "<e>"}, {}).number("tokenizer.ggml.eos_token_id", 3));
    EXPECT_EQ(query(ids), "tokenizer.add_bos=1;tokenizer.bos=1;tokenizer.eos=3;tokenizer.unk=0");
    // add_bos_token alone needs none named either.
    import(tokens({"<unk>", "<s>", "</s>"}, {2, 3, 3}).flag("tokenizer.ggml.add_bos_token", true));
    EXPECT_EQ(query(ids), "tokenizer.add_bos=1;tokenizer.bos=1;tokenizer.eos=2;tokenizer.unk=0");
    // Words and bytes at these places are none of them.
    import(tokens({"a", "b", "<0x0A>"}, {1, 1, 6}));
    EXPECT_EQ(query(ids), "tokenizer.add_bos=0");
}

TEST_F(TokenizerTest, NoTextMergesIntoAControlToken) {
    import(bpe()
               .texts("tokenizer.ggml.tokens", {"a", "b", "ab", "c", "abc"})
               .integers("tokenizer.ggml.token_type", {1, 1, 1, 1, 3})
               .texts("tokenizer.ggml.merges", {"a b", "ab c"}));
    EXPECT_EQ(query("SELECT merged FROM llm_merge"), "2");
}

}  // namespace
}  // namespace llmsql::test
