// SPDX-License-Identifier: MIT
// Whole plans, byte for byte, against tests/golden/plans. LLMSQL_UPDATE_GOLDEN=1 writes those anew.
#include <gtest/gtest.h>

#include <cstdlib>

#include "common/error.h"
#include "common/files.h"
#include "compiler/emit/compile.h"
#include "compiler/emit/operators_page.h"
#include "compiler/emit/statements.h"
#include "operators/operators.h"
#include "tests/unit/compiler/fuse_graphs.h"

namespace llmsql::compiler::test {
namespace {

void expect_golden(const std::string& path, const std::string& text) {
    const std::filesystem::path file = std::filesystem::path(LLMSQL_SOURCE_DIR) / path;
    if (std::getenv("LLMSQL_UPDATE_GOLDEN")) write_file_atomically(file, text);
    EXPECT_EQ(read_file(file), text)
        << "if this is what you want: LLMSQL_UPDATE_GOLDEN=1 and run this test again";
}

std::string plan_of(const GraphBuilder& b, PlanSizes sizes = {}) {
    return plan_text(b.model, make_plan(b.model, b.graph, sizes));
}

TEST(Plan, Llama) {
    expect_golden("tests/golden/plans/llama.sql", plan_of(small_llama()));
}
TEST(Plan, Qwen) {
    expect_golden("tests/golden/plans/qwen.sql", plan_of(small_qwen()));
}
TEST(Plan, Gemma) {
    expect_golden("tests/golden/plans/gemma.sql", plan_of(small_gemma(), {.context = 4096}));
}
TEST(Plan, LlamaAsAGraph) {
    const GraphBuilder b = small_llama(1);
    expect_golden("tests/golden/plans/llama.txt", to_text(b.graph, b.model.params));
}

TEST(Plan, AQ8CacheIsSaidOnceAndChangesNothingElse) {
    const std::string f16 = plan_of(small_gemma(), {.context = 4096});
    std::string expected = f16;
    const auto replace = [&](const std::string& from, const std::string& to) {
        ASSERT_NE(expected.find(from), std::string::npos) << from;
        expected.replace(expected.find(from), from.size(), to);
    };
    replace("llm_kv(context=4096, type='f16', sequences=1)",
            "llm_kv(context=4096, type='q8', sequences=1)");
    const auto cache = [](const std::string& plan) {
        const size_t begin = plan.find("key-value cache ");
        return plan.substr(begin, plan.find(" when the context is full") - begin);
    };
    const std::string q8 = plan_of(small_gemma(), {.context = 4096, .kv = KvType::q8});
    EXPECT_NE(cache(q8), cache(f16));
    replace(cache(f16), cache(q8));
    // The captions of what is stored in it say its type.
    size_t captions = 0;
    for (size_t at = 0; (at = expected.find("-- cache ", at)) != std::string::npos; ++captions) {
        const size_t type = expected.find("  f16[", at), end = expected.find('\n', at);
        ASSERT_LT(type, end);
        expected.replace(type, 6, "  q8[");
        at = type;
    }
    EXPECT_GT(captions, 0u);
    EXPECT_EQ(q8, expected);
}

TEST(OperatorsPage, IsWhatTheTableSays) {
    const std::string page = operators_page();
    expect_golden("docs/operators.md", page);
    for (const Operator& op : operators())
        EXPECT_NE(page.find(fmt::format("\n### {}\n", op.name.empty() ? op.sql : op.name)),
                  std::string::npos)
            << op.sql;
    // The operators in short stand in the language's reference, between two marks.
    const std::string language =
        read_file(std::filesystem::path(LLMSQL_SOURCE_DIR) / "docs/graph-language.md");
    const size_t start = language.find("\n", language.find("<!-- operators: ")) + 1;
    const size_t end = language.find("<!-- /operators -->");
    ASSERT_LE(start, end);
    ASSERT_NE(end, std::string::npos);
    expect_golden("docs/graph-language.md", language.substr(0, start) + "\n" + operators_summary() +
                                                "\n" + language.substr(end));
}

TEST(Plan, CountsItsStatements) {
    const std::string text = plan_of(small_qwen(3));
    size_t semicolons = 0;  // no string of this plan holds one
    for (size_t at = 0; (at = text.find(";\n", at)) != std::string::npos; ++at) ++semicolons;
    EXPECT_NE(text.find(fmt::format("\n--@ end {}\n", semicolons)), std::string::npos);
}

TEST(Plan, HostileNamesStayInTheirStringsAndComments) {
    GraphBuilder b;
    b.model.name = "it's; DROP TABLE --";
    b.model.graph = "x\n--@ init";
    b.named("select", b.embed(b.matrix("a'b", 8, 32)));
    b.model.chat.stop = {"'\n--@ end 1"};
    const std::string text = plan_of(b);
    EXPECT_NE(text.find("USING llm_param(model='it''s; DROP TABLE --', "), std::string::npos);
    EXPECT_NE(text.find("· x --@ init ·"), std::string::npos);
    EXPECT_NE(text.find("(1, 'a''b', 'q8', 8, 32)"), std::string::npos);
    EXPECT_NE(text.find("FROM tensor select2 WHERE select2.id = 1;"), std::string::npos);
    EXPECT_NE(text.find("VALUES ('''' || char(10) || '--@ end 1');"), std::string::npos);
    b.model.name = "two\nlines";
    EXPECT_THROW(plan_of(b), Error);
}

TEST(Plan, ANumberThatIsNoneIsRefused) {
    GraphBuilder b;
    b.scale(b.embed(b.matrix("table", 8, 32)), std::nan(""));
    EXPECT_THROW(plan_of(b), Error);
}

TEST(Plan, BiasesBeforeTheirWeightsWalkAlongToo) {
    GraphBuilder b;
    const int x = b.embed(b.matrix("table", 8, 32));
    const int b1 = b.vector("b1", 32), b2 = b.vector("b2", 32);
    const int w1 = b.matrix("w1", 32, 32), w2 = b.matrix("w2", 32, 32);
    const int k = b.linear(x, w1, b1), v = b.linear(x, w2, b2);
    b.attention(x, k, v);
    EXPECT_NE(plan_of(b).find("w.id BETWEEN 4 AND 5 AND b.id = w.id - 2;"), std::string::npos);
}

}  // namespace
}  // namespace llmsql::compiler::test
