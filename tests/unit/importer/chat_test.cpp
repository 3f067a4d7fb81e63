// SPDX-License-Identifier: MIT
// Chat templates: what is recognised, and what is said of what isn't. That the queries give what
// Jinja gives is tests/end_to_end/test_chat_imports.py's.
#include "importer/chat.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>

#include "importer/special_tokens.h"
#include "tests/unit/importer/gguf_builder.h"
#include "tests/unit/importer/sql.h"

namespace llmsql::test {
namespace {

constexpr const char* kPlain =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' "
    "}}{% endif %}";
// Another way of writing it.
constexpr const char* kDotted =
    "{%- for message in messages -%}\n  {{ \"<|im_start|>\" + message.role + \"\\n\" + "
    "message.content + \"<|im_end|>\\n\" }}\n{%- endfor -%}\n{%- if add_generation_prompt -%}{{ "
    "'<|im_start|>assistant\\n' }}{%- endif -%}\n";
constexpr const char* kOlmo =
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}{{ "
    "'<|system|>\n' + message['content'] + '\n' }}{% elif message['role'] == 'user' %}{{ "
    "'<|user|>\n' + message['content'] + '\n' }}{% elif message['role'] == 'assistant' %}{% if not "
    "loop.last %}{{ '<|assistant|>\n'  + message['content'] + eos_token + '\n' }}{% else %}{{ "
    "'<|assistant|>\n'  + message['content'] + eos_token }}{% endif %}{% endif %}{% if loop.last "
    "and "
    "add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}";

/// The prompt that a query makes of messages, given as SQL values.
std::string prompt(const std::string& query, const std::string& messages) {
    const Sql sql(":memory:");
    sql.text("CREATE TABLE message(id INTEGER PRIMARY KEY, role TEXT, content TEXT)");
    if (!messages.empty()) sql.text("INSERT INTO message(role, content) VALUES " + messages);
    return sql.text(
        "SELECT group_concat(coalesce(a, '') || coalesce(b, '') || coalesce(c, ''), '') "
        "FROM (SELECT NULL AS a, NULL AS b, NULL AS c WHERE 0 UNION ALL " +
        query + ")");
}

TEST(Chat, TurnsChatMlIntoSql) {
    for (const char* jinja : {kPlain, kDotted}) {
        const auto query = known_query(jinja, {});
        ASSERT_TRUE(query) << template_fingerprint(jinja).value_or("not read");
        EXPECT_EQ(prompt(*query, "('user', 'hi'), ('assistant', 'yes?'), ('user', 'it''s me')"),
                  "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyes?<|im_end|>\n"
                  "<|im_start|>user\nit's me<|im_end|>\n<|im_start|>assistant\n");
    }
}

TEST(Chat, TokensThatATemplateNamesAreTheModels) {
    EXPECT_FALSE(known_query(kOlmo, {})) << "without the tokens there is no such text";
    SourceTokenizer tokenizer;
    tokenizer.spec = {"bpe", "gpt2"};
    tokenizer.bos = 0;
    tokenizer.eos = 1;
    tokenizer.tokens.set(0, "<it's>", PieceKind::control, 0);
    tokenizer.tokens.set(1, "<end>", PieceKind::control, 0);
    const auto query = known_query(kOlmo, tokenizer);
    ASSERT_TRUE(query) << template_fingerprint(kOlmo).value_or("not read");
    EXPECT_EQ(prompt(*query, "('user', 'hi'), ('assistant', 'yes?'), ('user', 'no')"),
              "<it's><|user|>\nhi\n<|assistant|>\nyes?<end>\n<|user|>\nno\n<|assistant|>\n");
    tokenizer.tokens.set(0, std::string_view("a\0b", 3), PieceKind::control, 0);
    EXPECT_FALSE(known_query(kOlmo, tokenizer));
}

TEST(Chat, LeavesOtherTemplatesAlone) {
    const std::string plain = kPlain;
    for (const std::string& jinja :
         {std::string(), "{{ bos_token }}" + plain, plain + " ", "{% raw %}" + plain,
          plain.substr(0, plain.size() - 1), plain + plain})
        EXPECT_FALSE(known_query(jinja, {})) << jinja;
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
        const auto text = checked_template(gguf.text("tokenizer.chat_template"), "do this", note);
        return chat_of(text, tokenizer, "do this", note);
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
    EXPECT_EQ(chat("{{ messages }}", {3, 3, 3, 3, 3}).query, "");
    EXPECT_EQ(chat("\xff", {3, 3, 3, 3, 3}).query, "");
    EXPECT_EQ(chat(std::string(kLongestTemplate + 1, 'x').c_str(), {3, 3, 3, 3, 3}).query, "");
    // One note each, and that there is none only where there is none.
    ASSERT_EQ(notes_.size(), 3u);
    EXPECT_NE(notes_[0].find("not one that llmsql knows"), std::string::npos);
    EXPECT_NE(notes_[0].find("do this"), std::string::npos);
    EXPECT_NE(notes_[1].find("not text in UTF-8: left out; do this"), std::string::npos);
    EXPECT_NE(notes_[2].find("longer than 1 MB: left out; do this"), std::string::npos);
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
