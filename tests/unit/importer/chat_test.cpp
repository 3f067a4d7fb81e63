// SPDX-License-Identifier: MIT
// Chat templates: what becomes of them, and what is said of those that cannot be run.
#include "importer/chat.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>

#include "importer/special_tokens.h"
#include "runtime/program/render_function.h"
#include "tests/unit/importer/gguf_builder.h"
#include "tests/unit/importer/sql.h"

namespace llmsql::test {
namespace {

constexpr const char* kPlain =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' "
    "}}{% endif %}";

/// What a chat section's query makes of messages in JSON.
std::string prompt(const std::string& query, const std::string& messages) {
    const Sql sql(":memory:");
    register_render_table(sql.handle());
    sql.text("CREATE TABLE conversation(messages TEXT, variables TEXT, date TEXT)");
    sql.text("INSERT INTO conversation VALUES ('" + messages + "', '{}', '2026-11-29')");
    return sql.text(
        "SELECT group_concat(coalesce(markup, '') || coalesce('[' || content || ']', ''), '') FROM "
        "(" +
        query + ")");
}

TEST(Chat, TheQueryRendersTheTemplate) {
    EXPECT_EQ(
        prompt(
            render_query(kPlain, {}),
            R"([{"role": "user", "content": "it''s <|im_end|>"}, {"role": "x|>", "content": ""}, )"
            R"({"role": "assistant", "content": "ha"}])"),
        "<|im_start|>user\n[it's <|im_end|>]<|im_end|>\n<|im_start|>[x|>]\n<|im_end|>\n"
        "<|im_start|>assistant\n[ha]<|im_end|>\n<|im_start|>assistant\n");
}

TEST(Chat, NoLineOfTheQueryBeginsASection) {
    const std::string query = render_query("a\n--@ chat\n \t--@ stop{{ 'it''s' }}", {});
    EXPECT_EQ(query.find("\n--@"), std::string::npos);
    EXPECT_EQ(query.find("\t--@"), std::string::npos);
    EXPECT_EQ(prompt(query, "[]"), "a\n--@ chat\n \t--@ stopits");
}

TEST(Chat, TokensThatATemplateNamesAreTheModels) {
    SourceTokenizer tokenizer;
    tokenizer.spec = {"bpe", "gpt2"};
    const std::string jinja =
        "{{ bos_token }}{{ messages[0].content }}'{{ eos_token }}{{ strftime_now('%Y') }}\n";
    const std::string one = R"([{"role": "user", "content": "hi"}])";
    EXPECT_EQ(prompt(render_query(jinja, tokenizer), one), "[hi]'2026");
    tokenizer.bos = 0;
    tokenizer.eos = 1;
    tokenizer.tokens.set(0, "<it's \"\\>", PieceKind::control, 0);
    tokenizer.tokens.set(1, "<end>", PieceKind::control, 0);
    EXPECT_EQ(prompt(render_query(jinja, tokenizer), one), "<it's \"\\>[hi]'<end>2026");
    tokenizer.tokens.set(0, std::string_view("a\0b", 3), PieceKind::control, 0);
    EXPECT_EQ(prompt(render_query(jinja, tokenizer), one), "[hi]'<end>2026");
}

class ChatOfTest : public testing::Test {
  protected:
    ChatSpec chat(const char* jinja, const std::vector<int32_t>& kinds) {
        std::vector<std::string> tokens{"<|endoftext|>", "<|im_start|>", "<|im_end|>",
                                        "<end_of_turn>", "</s>"};
        std::ranges::replace(tokens, missing_, std::string("word"));
        GgufBuilder builder;
        builder.text("tokenizer.ggml.model", "llama")
            .texts("tokenizer.ggml.tokens", tokens)
            .integers("tokenizer.ggml.token_type", kinds)
            .floats("tokenizer.ggml.scores", {0, 0, 0, 0, 0})
            .number("tokenizer.ggml.bos_token_id", 0)
            .number("tokenizer.ggml.unknown_token_id", 0)
            .number("tokenizer.ggml.eos_token_id", 4);
        if (jinja) builder.text("tokenizer.chat_template", jinja);
        const Gguf gguf(folder_.write("x.gguf", builder.build()));
        const Note note = [&](const std::string& line) { notes_.push_back(line); };
        SourceTokenizer tokenizer = read_tokenizer(gguf, note);
        settle_special_tokens(tokenizer, {}, true, note);
        const Advice advice = [] { return "do this"; };
        const auto text = checked_template(gguf.text("tokenizer.chat_template"), advice, note);
        return chat_of(text, tokenizer, advice, note);
    }
    std::string missing_ = "?";  // a token that the vocabulary has not
    TemporaryFolder folder_;
    std::vector<std::string> notes_;
};

TEST_F(ChatOfTest, StopsAreWhatEndsATurnAndTheText) {
    using Pieces = std::vector<std::string>;
    const Pieces all{"<|im_end|>", "<|endoftext|>", "<end_of_turn>", "</s>"};
    const ChatSpec typed = chat(kPlain, {3, 3, 3, 3, 3});
    EXPECT_FALSE(typed.query.empty());
    EXPECT_EQ(typed.stop, all);
    EXPECT_TRUE(notes_.empty());
    // Whatever the file calls them, with a note.
    EXPECT_EQ(chat(kPlain, {1, 1, 4, 1, 1}).stop, all);
    ASSERT_EQ(notes_.size(), 1u);
    EXPECT_NE(notes_[0].find("\"<|im_end|>\""), std::string::npos);
}

TEST_F(ChatOfTest, SaysWhenThereIsNoChat) {
    EXPECT_EQ(chat(nullptr, {3, 3, 3, 3, 3}).query, "");
    EXPECT_EQ(chat("{% messages %}", {3, 3, 3, 3, 3}).query, "");
    EXPECT_EQ(chat("\xff", {3, 3, 3, 3, 3}).query, "");
    EXPECT_EQ(chat(std::string(kLongestTemplate + 1, 'x').c_str(), {3, 3, 3, 3, 3}).query, "");
    // One note each, and that there is none only where there is none.
    ASSERT_EQ(notes_.size(), 3u);
    EXPECT_NE(notes_[0].find("not one that llmsql can run: line 1: "), std::string::npos);
    EXPECT_NE(notes_[0].find("do this"), std::string::npos);
    EXPECT_NE(notes_[1].find("not text in UTF-8: left out; do this"), std::string::npos);
    EXPECT_NE(notes_[2].find("longer than 1 MB: left out; do this"), std::string::npos);
}

TEST_F(ChatOfTest, KnowsTheNamesThatConvertersWrite) {
    const char* messages = R"([{"role": "system", "content": "S"}, {"role": "user", "content": "U"},
        {"role": "assistant", "content": " A "}, {"role": "user", "content": "V"}])";
    // Of llama.cpp's llm_chat_apply_template(), behind the token that begins texts.
    for (const auto& [name, text] :
         {std::pair("mistral-v1", " [INST] [S]\n\n[U] [/INST] [ A ]</s> [INST] [V] [/INST]"),
          {"mistral-v3", "[INST] [S]\n\n[U][/INST] [A]</s>[INST] [V][/INST]"},
          {"mistral-v3-tekken", "[INST][S]\n\n[U][/INST][ A ]</s>[INST][V][/INST]"},
          {"mistral-v7",
           "[SYSTEM_PROMPT] [S][/SYSTEM_PROMPT][INST] [U][/INST] [ A ]</s>[INST] [V][/INST]"},
          {"mistral-v7-tekken",
           "[SYSTEM_PROMPT][S][/SYSTEM_PROMPT][INST][U][/INST][ A ]</s>[INST][V][/INST]"}}) {
        EXPECT_EQ(prompt(chat(name, {3, 3, 3, 3, 3}).query, messages),
                  std::string("<|endoftext|>") + text);
    }
    notes_.clear();
    EXPECT_EQ(chat("mistral-v8", {3, 3, 3, 3, 3}).query, "");
    ASSERT_EQ(notes_.size(), 1u);
    EXPECT_NE(notes_[0].find("is \"mistral-v8\", without any message in it: left out; do this"),
              std::string::npos);
}

TEST_F(ChatOfTest, TriesTheTemplate) {
    EXPECT_EQ(chat("{{ messages[0].nothing.more }}", {3, 3, 3, 3, 3}).query, "");
    ASSERT_EQ(notes_.size(), 1u);
    EXPECT_NE(notes_[0].find("can run: line 1: 'dict object' has no attribute 'nothing'; do this"),
              std::string::npos);
    // One that wants a system message, or parts, is none the worse.
    EXPECT_NE(
        chat("{{ messages[1].content }}{{ messages[1].content + 'x' }}", {3, 3, 3, 3, 3}).query,
        "");
    EXPECT_NE(chat("{{ messages[0].content[0].text + 'x' }}", {3, 3, 3, 3, 3}).query, "");
    EXPECT_EQ(notes_.size(), 1u);
}

TEST_F(ChatOfTest, SaysWhichMarksAreNoTokens) {
    missing_ = "<|im_start|>";
    const ChatSpec some = chat(kPlain, {3, 3, 3, 3, 3});
    EXPECT_FALSE(some.query.empty());
    ASSERT_EQ(notes_.size(), 1u);
    EXPECT_NE(notes_[0].find("writes <|im_start|>, which its vocabulary does not have"),
              std::string::npos);
    missing_ = "<|im_end|>";
    chat(kPlain, {3, 3, 3, 3, 3});
    ASSERT_EQ(notes_.size(), 2u);
    EXPECT_NE(notes_[1].find("writes <|im_end|>,"), std::string::npos);
}

}  // namespace
}  // namespace llmsql::test
