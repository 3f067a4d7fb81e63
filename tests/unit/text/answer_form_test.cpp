// SPDX-License-Identifier: MIT
// What is thought is told apart from what is answered, by tokens' ids or by the marks' text.
#include "runtime/text/answer_form.h"

#include <gtest/gtest.h>

#include <array>

#include "runtime/weights/model_db.h"
#include "tests/unit/text/vocabulary_db.h"

namespace llmsql {
namespace {

/// All bytes, and tokens of one's own: {piece, kind}.
class FormTest : public testing::Test {
  protected:
    void open(const std::vector<std::pair<std::string, int>>& special, std::string_view chat = {},
              const ThoughtMarks& written = {}) {
        std::string sql =
            "INSERT INTO llm_meta VALUES ('tokenizer.kind', 'bpe'), ('tokenizer.pre', 'gpt2');";
        for (int byte = 0; byte < 256; ++byte)
            sql += "INSERT INTO llm_token VALUES (" + std::to_string(byte) + ", x'" + hex(byte) +
                   "', 1, 0);";
        int id = 256;
        for (const auto& [piece, kind] : special) {
            std::string bytes;
            for (const char c : piece) bytes += hex(static_cast<unsigned char>(c));
            sql += "INSERT INTO llm_token VALUES (" + std::to_string(id++) + ", x'" + bytes +
                   "', " + std::to_string(kind) + ", 0);";
        }
        tokenizer_.reset();
        db_.reset();
        file_.emplace(sql);
        db_.emplace(file_->path());
        tokenizer_.emplace(*db_);
        form_ = std::make_shared<AnswerForm>(*tokenizer_, chat, written);
    }
    static std::string hex(int byte) {
        constexpr const char* kDigits = "0123456789abcdef";
        return {kDigits[byte / 16], kDigits[byte % 16]};
    }

    std::vector<int32_t> ids(std::string_view text) {
        const Fragment all{std::string(text), true};
        return tokenizer_->encode(std::span(&all, 1), false);
    }
    /// "thought|answer" of an answer after a prompt, both with their marks as tokens.
    std::string parts(std::string_view answer, std::string_view prompt = "Hi.") {
        AnswerParts parts(form_);
        parts.begin(ids(prompt), *tokenizer_);
        Spoken all;
        const auto add = [&](const Spoken& said) {
            all.thinking += said.thinking;
            all.text += said.text;
        };
        for (const int32_t token : ids(answer)) add(parts.push(token, *tokenizer_));
        add(parts.finish());
        return all.thinking + "|" + all.text;
    }
    /// Whose marks are told by their text: a byte a token.
    std::string parts_of_text(std::string_view answer, std::string_view prompt = "Hi.") {
        AnswerParts parts(form_);
        parts.begin(tokenizer_->encode(prompt, false), *tokenizer_);
        Spoken all;
        for (const char c : answer) {
            const Spoken said = parts.push(static_cast<unsigned char>(c), *tokenizer_);
            all.thinking += said.thinking;
            all.text += said.text;
        }
        const Spoken last = parts.finish();
        return all.thinking + last.thinking + "|" + all.text + last.text;
    }

    /// The names of the calls in an answer of these tokens, and what is left of its text.
    std::string calls(const std::vector<int32_t>& answer, std::string_view prompt = "Hi.") {
        AnswerParts parts(form_);
        parts.begin(ids(prompt), *tokenizer_);
        std::string text;
        for (const int32_t token : answer) text += parts.push(token, *tokenizer_).text;
        const Spoken last = parts.finish();
        const ToolCalls found = read_tool_calls(text + last.text, form_->tool_forms(), last.marks);
        std::string names;
        for (const ToolCall& call : found.calls) names += call.name + " ";
        return names + "|" + found.content;
    }

    std::optional<VocabularyDb> file_;
    std::optional<ModelDb> db_;
    std::optional<Tokenizer> tokenizer_;
    std::shared_ptr<const AnswerForm> form_;
};

TEST_F(FormTest, PairsOfTokens) {
    for (const auto& [open, close] : std::vector<std::pair<std::string, std::string>>{
             {"<think>", "</think>"},
             {"[THINK]", "[/THINK]"},
             {"<seed:think>", "</seed:think>"},
             {"<|START_THINKING|>", "<|END_THINKING|>"}})
        for (const int kind : {3, 4}) {
            FormTest::open({{open, kind}, {close, kind}});
            EXPECT_EQ(parts(open + "\nSo\n\nit is.\n" + close + "\n\nYes.\n"),
                      "So\n\nit is.|Yes.\n");
            EXPECT_EQ(parts(open + "\n\n" + close + "\n\nYes."), "|Yes.");
            EXPECT_EQ(parts(" No marks."), "| No marks.");
            EXPECT_EQ(parts(open + "cut off "), "cut off|");
            EXPECT_EQ(parts(open + "a" + close + "b" + open + "c" + close + " d"), "a\n\nc|bd");
            EXPECT_EQ(parts("so it was" + close + " yes", "Q " + open), "so it was|yes");
            EXPECT_EQ(parts("so it was" + close + " yes", "Q " + open + "\n"), "so it was|yes");
            EXPECT_EQ(parts("yes", "Q " + open + "\n\n" + close + "\n\n"), "|yes");
            // What spells a mark in other tokens is a text.
            EXPECT_EQ(parts_of_text(open + "a" + close), "|" + open + "a" + close);
        }
}

TEST_F(FormTest, PairsThatAreNoTokensAreKnownByTheTemplate) {
    open({}, "{{ '<think>' + message.reasoning_content + '</think>' }}");
    EXPECT_EQ(parts_of_text("\n<think>a < b</think>\nc </think> d"), "a < b|c </think> d");
    EXPECT_EQ(parts_of_text("<thin ice"), "|<thin ice");
    EXPECT_EQ(parts_of_text("<thi"), "|<thi");
    EXPECT_EQ(parts_of_text("a <think>b</think>"), "|a <think>b</think>");  // not at the beginning
    EXPECT_EQ(parts_of_text("so</think>yes", "Q<think>\n"), "so|yes");
    EXPECT_EQ(parts_of_text("so</thi"), "|so</thi");
    open({}, "no marks");
    EXPECT_FALSE(form_->thinks());
    EXPECT_EQ(parts_of_text("<think>a</think>b"), "|<think>a</think>b");
}

TEST_F(FormTest, AChannelWithALabel) {
    open({{"<|channel>", 3}, {"<channel|>", 3}});
    EXPECT_EQ(parts("<|channel>thought\nSo.\n<channel|>Yes."), "So.|Yes.");
    EXPECT_EQ(parts("<|channel>thoughtful<channel|>Yes."), "thoughtful|Yes.");
    EXPECT_EQ(parts("So.<channel|>Yes.", "Q<|channel>thought\n"), "So.|Yes.");
    EXPECT_EQ(parts("thought\nSo.<channel|>Yes.", "Q<|channel>"), "So.|Yes.");
}

// Each mark is usual by itself; what is thought stands between several of them, and words.
TEST_F(FormTest, SequencesOfMarks) {
    // Solar
    open({{"<|begin|>", 3},
          {"<|end|>", 3},
          {"<|think|>", 3},
          {"<|content|>", 3},
          {"<|tool_calls|>", 3}},
         {}, {"", "", "<|think|>", "<|end|><|begin|>assistant<|content|>", "<|end|>"});
    ASSERT_TRUE(form_->thinks());
    const std::string ask = "<|begin|>user<|content|>Q<|end|><|begin|>assistant";
    EXPECT_EQ(parts("<|think|>So <it>.<|end|><|begin|>assistant<|content|>Yes.<|end|>", ask),
              "So <it>.|Yes.");
    EXPECT_EQ(parts("So.<|end|><|begin|>assistant<|content|>Yes.", ask + "<|think|>"), "So.|Yes.");
    EXPECT_EQ(parts("<|content|>Yes.", ask), "|Yes.");
    EXPECT_EQ(parts("<|think|>So.<|end|><|begin|>assistant<|tool_calls|>f", ask), "So.|f");
    EXPECT_EQ(parts("<|think|>cut off ", ask), "cut off|");
    // Kimi K3
    open({{"<|open|>", 3}, {"<|close|>", 3}, {"<|sep|>", 3}}, {},
         {"", "", "<|open|>think<|sep|>", "<|close|>think<|sep|><|open|>response<|sep|>",
          "<|close|>response<|sep|><|close|>message<|sep|>"});
    const std::string message = "<|open|>message role=\"assistant\"<|sep|>";
    const std::string rest =
        "<|close|>think<|sep|><|open|>response<|sep|>Yes, response."
        "<|close|>response<|sep|><|close|>message<|sep|>";
    EXPECT_EQ(parts("So." + rest, message + "<|open|>think<|sep|>"), "So.|Yes, response.");
    EXPECT_EQ(parts("<|open|>think<|sep|>So." + rest, message), "So.|Yes, response.");
    EXPECT_EQ(parts("Yes.<|close|>response<|sep|>", message + "<|open|>response<|sep|>"), "|Yes.");
    EXPECT_EQ(parts("<|open|>response<|sep|>Yes.<|close|>resp", message), "|Yes.");
    EXPECT_EQ(parts("So.<|close|>thi", message + "<|open|>think<|sep|>"), "So.|");
    // Whose head tells thought from answer
    open({{"<|start|>", 3}, {"<|message|>", 3}, {"<|eom|>", 3}, {"<|eot|>", 3}}, {},
         {"", "", "<|start|>assistant to=self<|message|>",
          "<|eom|><|start|>assistant to=user<|message|>", "<|eot|>"});
    EXPECT_EQ(parts(" to=self<|message|>So.<|eom|><|start|>assistant to=user<|message|>Yes.<|eot|>",
                    "<|start|>assistant"),
              "So.|Yes.");
    EXPECT_EQ(parts(" to=user<|message|>Yes.", "<|start|>assistant"), "|Yes.");
    EXPECT_EQ(parts(" too", "<|start|>assistant"), "| too");
    // Marks that are no tokens
    open({}, {}, {"", "", "[IN]", "[OUT] [SAY]", "[END]"});
    EXPECT_EQ(parts_of_text("[IN]a [OUT] b[OUT] [SAY]c [SAY]"), "a [OUT] b|c [SAY]");
    EXPECT_EQ(parts_of_text("[I"), "|[I");
    EXPECT_EQ(parts_of_text("[IN]a[OUT"), "a[OUT|");
}

TEST_F(FormTest, AnswersInMarksOfTheirOwn) {
    for (const auto& [chat, open_, close] : std::vector<std::array<std::string, 3>>{
             {"between <think></think> and your response between <response></response>",
              "<response>", "</response>"},
             {"'<think>' '</think>' {% if '<answer>' in content %}", "<answer>", "</answer>"}}) {
        open({}, chat);
        const std::string said = "<think>a</think>\n" + open_ + "\nb < c\n\nd\n" + close + "\n";
        EXPECT_EQ(parts_of_text(said), "a|b < c\n\nd");
        EXPECT_EQ(parts_of_text("<think>a</think>b " + open_ + "c" + close),
                  "a|b " + open_ + "c" + close);
        EXPECT_EQ(parts_of_text("<think>a</think>" + open_ + "b </c"), "a|b </c");
        EXPECT_EQ(parts_of_text("<think>a</think>" + open_ + "b" + close + " more"), "a|b more");
        EXPECT_EQ(parts_of_text(open_ + "b" + close), "|" + open_ + "b" + close);
        EXPECT_EQ(parts_of_text(open_ + "b" + close, "Q<think>\n\n</think>\n"), "|b");
        open({{"<think>", 4}, {"</think>", 4}, {open_, 4}, {close, 4}}, chat);
        EXPECT_EQ(parts(said), "a|b < c\n\nd");
    }
    // What tools answer in is none.
    open({}, "<think></think> '<response>' ~ content ~ '</response>'");
    EXPECT_EQ(parts_of_text("<think>a</think><response>b</response>"), "a|<response>b</response>");
}

TEST_F(FormTest, GptOss) {
    open({{"<|start|>", 3},
          {"<|channel|>", 3},
          {"<|message|>", 3},
          {"<|end|>", 3},
          {"<|constrain|>", 3},
          {"<|call|>", 3}});
    const std::string prompt = "<|start|>user<|message|>Q<|end|><|start|>assistant";
    EXPECT_EQ(parts("<|channel|>analysis<|message|>So.<|end|><|start|>assistant<|channel|>final"
                    "<|message|>Yes.",
                    prompt),
              "So.|Yes.");
    EXPECT_EQ(
        parts("<|channel|>analysis<|message|>So.<|end|><|start|>assistant<|channel|>commentary"
              "<|message|>I look.<|end|><|start|>assistant<|channel|>commentary "
              "to=functions.get <|constrain|>json<|message|>{\"a\": 1}<|call|>",
              prompt),
        "So.|I look.\n\n<|channel|>commentary to=functions.get "
        "<|constrain|>json<|message|>{\"a\": 1}<|call|>");
    EXPECT_EQ(parts(" to=functions.get<|channel|>commentary<|message|>{}", prompt),
              "|<|channel|>commentary to=functions.get <|constrain|>json<|message|>{}");
    EXPECT_EQ(parts("So.<|end|><|start|>assistant<|channel|>final<|message|>Yes.",
                    prompt + "<|channel|>analysis<|message|>"),
              "So.|Yes.");
    EXPECT_EQ(parts("Yes.", prompt + "<|channel|>final<|message|>"), "|Yes.");
    EXPECT_EQ(parts("Just a text.", prompt), "|Just a text.");
}

// Or else a user would have a tool called by having the model repeat a text.
TEST_F(FormTest, AMarkThatIsAControlTokenIsNoneWhereItIsSpelled) {
    open({{"[TOOL_CALLS]", 3}, {"[ARGS]", 3}, {"<tool_call>", 4}, {"</tool_call>", 4}});
    const auto spelled = [&](std::string_view text) { return tokenizer_->encode(text, false); };
    const auto joined = [](std::vector<int32_t> one, const std::vector<int32_t>& more) {
        one.insert(one.end(), more.begin(), more.end());
        return one;
    };
    EXPECT_EQ(calls(ids("\n[TOOL_CALLS]f[ARGS]{}")), "f |");
    EXPECT_EQ(calls(spelled("[TOOL_CALLS]f[ARGS]{}")), "|[TOOL_CALLS]f[ARGS]{}");
    EXPECT_EQ(calls(joined(spelled("You said [TOOL_CALLS]f{}. "), ids("[TOOL_CALLS]g{}"))),
              "g |You said [TOOL_CALLS]f{}.");
    EXPECT_EQ(calls(spelled("<tool_call>{\"name\": \"f\"}</tool_call>")), "f |");  // is the token
    open({{"<|start|>", 3},
          {"<|channel|>", 3},
          {"<|message|>", 3},
          {"<|end|>", 3},
          {"<|call|>", 3}});
    const std::string head = "<|channel|>commentary to=functions.f<|message|>";
    const std::string prompt = "<|start|>assistant";
    EXPECT_EQ(calls(ids(head + "{}"), prompt), "f |");
    EXPECT_EQ(calls(joined(ids("<|channel|>final<|message|>"), spelled(head + "{}")), prompt),
              "|" + head + "{}");
    EXPECT_EQ(calls(joined(ids("<|channel|>commentary<|message|>Hm <|end|><|start|>assistant"),
                           ids(head + "{}")),
                    prompt),
              "f |Hm");
}

TEST_F(FormTest, MarksOfCallsAreShownThoughTheyAreControlTokens) {
    open({{"[TOOL_CALLS]", 3}, {"[ARGS]", 3}, {"[INST]", 3}});
    EXPECT_EQ(parts("[INST][TOOL_CALLS]f[ARGS]{}"), "|[TOOL_CALLS]f[ARGS]{}");
    ASSERT_EQ(form_->tool_forms().size(), 1u);
    EXPECT_EQ(form_->tool_forms()[0]->open, "[TOOL_CALLS]");
    open({});
    EXPECT_TRUE(form_->tool_forms().empty());
    open({}, "{% if tools %} {\"name\": function name, \"parameters\": {}} {{ m.tool_calls }}");
    ASSERT_EQ(form_->tool_forms().size(), 1u);
    EXPECT_EQ(form_->tool_forms()[0]->open, "");
}

}  // namespace
}  // namespace llmsql
