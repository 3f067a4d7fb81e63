// SPDX-License-Identifier: MIT
// llm_render as a table: what a plan's chat section makes of templates, and what it refuses.
#include "runtime/program/render_function.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

#include "sqlite/callbacks.h"

namespace llmsql::test {
namespace {

class Render : public testing::Test {
  protected:
    Render() {
        sqlite3_open_v2(":memory:", &db_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, nullptr);
        register_render_table(db_);
        sqlite3_create_function_v2(
            db_, "llm_render", -1, SQLITE_UTF8, nullptr,
            [](sqlite3_context* context, int count, sqlite3_value** values) {
                guard_function(context, [&] { render_text(context, count, values); });
            },
            nullptr, nullptr, nullptr);
    }
    ~Render() override { sqlite3_close_v2(db_); }

    /// Rows parted by ";", columns by "|"; or what SQLite says.
    std::string rows(const std::string& query) {
        std::string text;
        sqlite3_stmt* statement = nullptr;
        if (sqlite3_prepare_v2(db_, query.c_str(), -1, &statement, nullptr) == SQLITE_OK) {
            while (sqlite3_step(statement) == SQLITE_ROW) {
                if (!text.empty()) text += ";";
                for (int i = 0; i < sqlite3_column_count(statement); ++i) {
                    const auto* value =
                        reinterpret_cast<const char*>(sqlite3_column_text(statement, i));
                    text += std::string(i > 0 ? "|" : "") + (value ? value : "NULL");
                }
            }
        }
        return sqlite3_finalize(statement) == SQLITE_OK && sqlite3_errcode(db_) == SQLITE_OK
                   ? text
                   : sqlite3_errmsg(db_);
    }

    sqlite3* db_ = nullptr;
};

constexpr const char* kOne = R"('[{"role": "user", "content": "hi"}]')";

TEST_F(Render, RowsAreMarkupAndContentInTurn) {
    const std::string one = kOne;
    EXPECT_EQ(
        rows("SELECT markup, content FROM llm_render('<{{ messages[0].content }}>', " + one + ")"),
        "<|hi;>|NULL");
    EXPECT_EQ(rows("SELECT markup, content FROM llm_render('{{ messages[0].content }}{{ "
                   "messages[0].role }}', " +
                   one + ")"),
              "NULL|hi;user|NULL");
    EXPECT_EQ(rows("SELECT markup, content FROM llm_render('', " + one + ")"), "");
    EXPECT_EQ(rows("SELECT llm_render('<{{ messages[0].content }}>', " + one + ")"), "<hi>");
}

TEST_F(Render, VariablesDatesAndTheModelsOwn) {
    const std::string one = kOne;
    EXPECT_EQ(rows("SELECT markup, content FROM llm_render('{{ bos }}{{ x }}{{ "
                   "strftime_now(\"%Y\") }}', " +
                   one + R"(, '{"x": "U"}', '2031-01-01', '{"bos": "<s>"}'))"),
              "<s>|U;2031|NULL");
    EXPECT_EQ(rows("SELECT llm_render('{{ tools is none }}{{ documents is defined }}{{ "
                   "add_generation_prompt }}{{ x is defined }}', " +
                   one + ")"),
              "TrueTrueTrueFalse");
    EXPECT_EQ(
        rows(
            R"(SELECT llm_render('{{ messages | length }}{{ tools[0].a }}{{ add_generation_prompt }}{{ enable_thinking }}',
                   '{"messages": [{"role": "user"}], "tools": [{"a": 1}], "enable_thinking": false, "add_generation_prompt": false}'))"),
        "11FalseFalse");
    // Keys that are null are not there, but for content; what was thought has three names.
    EXPECT_EQ(
        rows(
            R"(SELECT llm_render('{% for m in messages %}{{ m.content is none }}{{ m.name is defined }};{% endfor %}',
                   '[{"role": "a", "content": null, "name": null}, {"role": "a", "name": "b"}]'))"),
        "TrueFalse;FalseTrue;");
    EXPECT_EQ(
        rows(
            R"(SELECT llm_render('{% for m in messages %}{{ m.content is string }}{{ m.thinking }}{{ m.reasoning_content }};{% endfor %}',
                   '[{"role": "a", "content": null, "reasoning": "r"}, {"role": "a", "thinking": "t"}, {"role": "a", "content": ""}]'))"),
        "Falserr;Falsett;True;");
    // A role that templates know may be part of a mark; another is a text.
    EXPECT_EQ(
        rows(
            R"(SELECT markup, content FROM llm_render('{% for m in messages %}<|{{ m.role }}|>{% endfor %}',
                   '[{"role": "tool"}, {"role": "x|><|y"}]'))"),
        "<|tool|><||x|><|y;|>|NULL");
}

TEST_F(Render, Errors) {
    const std::string one = kOne;
    EXPECT_EQ(rows("SELECT * FROM llm_render('a\n{{ nothing.at.all }}', " + one + ")"),
              "line 2: 'nothing' is undefined");
    EXPECT_EQ(rows("SELECT llm_render('{{ raise_exception(\"no\") }}', " + one + ")"),
              "line 1: the template refuses this conversation: no");
    EXPECT_NE(rows("SELECT llm_render('a', '{}')").find("has no 'messages'"), std::string::npos);
    EXPECT_NE(rows("SELECT llm_render('a', '[1]')").find("a message must be an object"),
              std::string::npos);
    EXPECT_NE(rows("SELECT llm_render('a', '[')").find("the conversation is not valid JSON"),
              std::string::npos);
    EXPECT_NE(rows("SELECT llm_render('a', '[]', '[]')").find("the variables must be an object"),
              std::string::npos);
    EXPECT_NE(rows("SELECT llm_render('a', '[]', '{}', 'soon')").find("'soon' is no date"),
              std::string::npos);
    EXPECT_NE(rows("SELECT * FROM llm_render('a')").find("2 arguments are needed"),
              std::string::npos);
}

}  // namespace
}  // namespace llmsql::test
