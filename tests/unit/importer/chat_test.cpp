// Chat templates: what is recognised, and that the SQL gives what the Jinja would.
#include "importer/chat.h"

#include <gtest/gtest.h>

#include <atomic>

#include "tests/unit/importer/gguf_builder.h"
#include "tests/unit/importer/sql.h"

namespace llmsql::test {
namespace {

// The forms in which GGUFs have it: with \n as two characters or one, dots or brackets.
constexpr const char* kPlain =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' "
    "}}{% endif %}";
constexpr const char* kWithDefault =
    "{%- if tools %}{{- '<|im_start|>system\\n' }}{%- else %}"
    "{%- if messages[0]['role'] == 'system' %}"
    "{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}{%- else %}"
    "{{- '<|im_start|>system\\nYou are kind.<|im_end|>\\n' }}{%- endif %}{%- endif %}"
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}"
    "{%- endfor %}{{- '<|im_start|>assistant\\n' }}";

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
    const auto query = chatml_query(kPlain);
    ASSERT_TRUE(query);
    EXPECT_EQ(prompt(*query, "('user', 'hi'), ('assistant', 'yes?'), ('user', 'it''s me')"),
              "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nyes?<|im_end|>\n"
              "<|im_start|>user\nit's me<|im_end|>\n<|im_start|>assistant\n");
}

TEST(Chat, PutsTheDefaultSystemMessageFirst) {
    const auto query = chatml_query(kWithDefault);
    ASSERT_TRUE(query);
    EXPECT_EQ(prompt(*query, "('user', 'hi')"),
              "<|im_start|>system\nYou are kind.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
              "<|im_start|>assistant\n");
    EXPECT_EQ(prompt(*query, "('system', 'Be brief.'), ('user', 'hi')"),
              "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
              "<|im_start|>assistant\n");
}

TEST(Chat, LeavesOtherTemplatesAlone) {
    EXPECT_FALSE(chatml_query(""));
    EXPECT_FALSE(chatml_query("{{ '<start_of_turn>' + message['role'] + '\n' }}"));
    EXPECT_FALSE(chatml_query("{{ '<|im_start|>' }}{{ '<|im_end|>' }}"));
    // ChatML around something else than role and content.
    EXPECT_FALSE(
        chatml_query("{{'<|im_start|>' + role + '\n' + message['content'] + '<|im_end|>'}}"
                     "{{ '<|im_start|>assistant\n' }}"));
}

class ChatOfTest : public testing::Test {
  protected:
    ChatSpec chat(const char* jinja, const std::vector<int32_t>& kinds) {
        GgufBuilder builder;
        builder.text("tokenizer.ggml.model", "llama")
            .texts("tokenizer.ggml.tokens",
                   {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<end_of_turn>", "</s>"})
            .integers("tokenizer.ggml.token_type", kinds)
            .floats("tokenizer.ggml.scores", {0, 0, 0, 0, 0})
            .number("tokenizer.ggml.eos_token_id", 4);
        if (jinja) builder.text("tokenizer.chat_template", jinja);
        const Gguf gguf(folder_.write("x.gguf", builder.build()));
        const Note note = [&](const std::string& line) { notes_.push_back(line); };
        return chat_of(gguf.text("tokenizer.chat_template"), read_tokenizer(gguf, note), note);
    }
    TemporaryFolder folder_;
    std::vector<std::string> notes_;
};

TEST_F(ChatOfTest, StopsAreControlTokensAndTheEndOfText) {
    using Pieces = std::vector<std::string>;
    const ChatSpec all = chat(kPlain, {3, 3, 3, 3, 3});
    EXPECT_FALSE(all.query.empty());
    EXPECT_EQ(all.stop, (Pieces{"<|im_end|>", "<|endoftext|>", "<end_of_turn>", "</s>"}));
    EXPECT_TRUE(notes_.empty());
    // Spelled alike but not control tokens: no stops.
    EXPECT_EQ(chat(kPlain, {1, 1, 4, 1, 1}).stop, (Pieces{"</s>"}));
}

TEST_F(ChatOfTest, SaysWhenThereIsNoChat) {
    EXPECT_EQ(chat(nullptr, {3, 3, 3, 3, 3}).query, "");
    EXPECT_EQ(chat("{{ messages }}", {3, 3, 3, 3, 3}).query, "");
    ASSERT_EQ(notes_.size(), 2u);
    EXPECT_NE(notes_[0].find("no chat template"), std::string::npos);
    EXPECT_NE(notes_[1].find("is not ChatML"), std::string::npos);
}

}  // namespace
}  // namespace llmsql::test
